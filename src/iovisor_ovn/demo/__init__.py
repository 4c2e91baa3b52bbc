# SPDX-License-Identifier: Apache-2.0
"""A small OVN cloud on one machine: databases, a hypervisor and virtual machines in namespaces.

`make demo` shows it; the system tests build theirs from the same parts::

    central = Central(directory / "central")
    hypervisor = Hypervisor(directory / "hv", "hv1", central.sb)
    hypervisor.start()
    vm = hypervisor.add_vm("a", "lport-a", "02:00:00:00:00:01", ["10.0.0.1/24"])
"""

from iovisor_ovn.demo.central import Central
from iovisor_ovn.demo.hypervisor import Flavor, Hypervisor
from iovisor_ovn.demo.machines import Kind, Ping, Vm
from iovisor_ovn.demo.places import Namespace, sweep
from iovisor_ovn.demo.processes import CommandFailed, NotInTime, until
from iovisor_ovn.demo.releases import Release, find_release

__all__ = [
    "Central",
    "CommandFailed",
    "Flavor",
    "Hypervisor",
    "Kind",
    "Namespace",
    "NotInTime",
    "Ping",
    "Release",
    "Vm",
    "find_release",
    "sweep",
    "until",
]

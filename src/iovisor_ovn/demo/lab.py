# SPDX-License-Identifier: Apache-2.0
"""The demo's cloud, built in a directory; ``sweep`` of the directory takes it away."""

from collections.abc import Callable
from pathlib import Path

from iovisor_ovn.demo.central import Central
from iovisor_ovn.demo.hypervisor import Flavor, Hypervisor
from iovisor_ovn.demo.releases import Release
from iovisor_ovn.demo.topology import MACHINES, northbound
from iovisor_ovn.demo.traffic import listen

__all__ = ["Lab"]


class Lab:
    """The central with the demo's topology, and one hypervisor with its four machines."""

    def __init__(
        self,
        directory: Path,
        prefix: str,
        flavor: Flavor,
        release: Release,
        say: Callable[[str], None],
    ) -> None:
        """Build it in ``directory``; ``prefix`` opens the names of namespaces."""
        self.prefix = prefix
        say(f"OVN {release.name} central: ovsdb-server (Northbound, Southbound), ovn-northd")
        self.central = Central(directory / "central", release)
        self.central.nb_lines(northbound())
        say(f"hypervisor in namespace {prefix}: {_WHAT_RUNS[flavor]}")
        self.hypervisor = Hypervisor(
            directory / "hypervisor", "demo", self.central.sb, flavor, prefix, release
        )
        self.hypervisor.start()
        for machine in MACHINES:
            say(f"machine {machine.name} in namespace {prefix}-{machine.name}")
            number = machine.network_number
            self.hypervisor.add_vm(
                machine.name,
                machine.name,
                machine.mac,
                (f"{machine.ip4}/24", f"{machine.ip6}/64"),
                (f"10.0.{number}.1", f"fd00:{number}::1"),
            )
        say("waiting until the hypervisor has it all")
        self.hypervisor.wait_installed()
        self.central.sync()
        listen(self.hypervisor)


_WHAT_RUNS = {
    "iovisor": "iovisor-ovn agent",
    "ovn": "ovn-controller and ovs-vswitchd (ordinary OVN, user space data path)",
}

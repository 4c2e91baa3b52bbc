# SPDX-License-Identifier: Apache-2.0
"""Hypervisors and machines for tests: the demo's own."""

from iovisor_ovn.demo.hypervisor import Flavor, Hypervisor
from iovisor_ovn.demo.machines import Kind, Ping, Vm

__all__ = ["Flavor", "Hypervisor", "Kind", "Ping", "Vm"]

# SPDX-License-Identifier: Apache-2.0
"""Devices that the host keeps using (``host: true``), as modules can understand them.

The host is one more port of the device's switch, and its address one more that need not be
learned. So nothing for the host is ever flooded, and all else is what a switch does anyway::

    ports (eth0, vm)  ->  (eth0, vm, eth0/host), eth0's own address is behind eth0/host
"""

from collections.abc import Mapping
from dataclasses import replace

from iovisor_ovn.config.topology import (
    ExternalInterface,
    ForwardingEntry,
    Module,
    Switch,
    Topology,
    host_port,
)

__all__ = ["with_hosts"]


def with_hosts(topology: Topology, macs: Mapping[str, str]) -> Topology:
    """Give each such device's switch its second port; ``macs`` are addresses by device."""
    modules = []
    for module in topology.modules:
        hosts = [i for i in topology.interfaces if i.host and i.module == module.name]
        modules.append(_with_hosts(module, hosts, macs) if hosts else module)
    return replace(topology, modules=tuple(modules))


def _with_hosts(module: Module, hosts: list[ExternalInterface], macs: Mapping[str, str]) -> Module:
    assert isinstance(module.config, Switch), "the file's reader takes host: true for switches only"
    own = {
        macs[interface.device]: ForwardingEntry(host_port(interface.port), macs[interface.device])
        for interface in hosts
        if interface.device in macs
    }
    table = [entry for entry in module.config.forwarding_table if entry.mac not in own]
    return replace(
        module,
        config=replace(module.config, forwarding_table=(*table, *own.values())),
        ports=(*module.ports, *(host_port(interface.port) for interface in hosts)),
    )

# SPDX-License-Identifier: Apache-2.0
"""The types of modules: a file for each, with the keys of its ``config`` and what they mean.

A type is a :class:`~iovisor_ovn.config.shape.ModuleShape`: pydantic reads the keys, each for
itself; its ``value()`` looks at them together and with the module's ports.
"""

from collections.abc import Mapping
from types import MappingProxyType

from iovisor_ovn.config.module_types.dhcp import DhcpShape
from iovisor_ovn.config.module_types.ebpf import EbpfShape
from iovisor_ovn.config.module_types.firewall import FirewallShape
from iovisor_ovn.config.module_types.load_balancer import LoadBalancerShape
from iovisor_ovn.config.module_types.nat import NatShape, OneToOneNatShape
from iovisor_ovn.config.module_types.null import NullShape
from iovisor_ovn.config.module_types.router import RouterShape
from iovisor_ovn.config.module_types.switch import SwitchShape
from iovisor_ovn.config.shape import ModuleShape

__all__ = ["MODULE_TYPES"]

#: By what the file calls them.
MODULE_TYPES: Mapping[str, type[ModuleShape]] = MappingProxyType(
    {
        "switch": SwitchShape,
        "router": RouterShape,
        "nat": NatShape,
        "onetoonenat": OneToOneNatShape,
        "dhcp": DhcpShape,
        "null_node": NullShape,
        "null": NullShape,
        "firewall": FirewallShape,
        "loadbalancer": LoadBalancerShape,
        "ebpf": EbpfShape,
    }
)

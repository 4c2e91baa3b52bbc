# SPDX-License-Identifier: Apache-2.0
"""An interface's own address, written as CIDR or with a netmask beside it."""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    ip_interface,
)
from typing import Annotated

from iovisor_ovn.config.scalars import Prefixed, number
from iovisor_ovn.config.section import Key, Section

__all__ = ["Interface", "Mtu", "interface_address", "is_edge", "says_none"]

Interface = IPv4Interface | IPv6Interface
#: The least that IPv4 asks of a link, and the most that a packet can be (RFC 791).
Mtu = Annotated[int, number(68, 65535, "number of bytes")]


def says_none(written: Prefixed, netmask: int | None) -> bool:
    """Tell whether it is 0.0.0.0 with length 0 or none, which is how to write no address."""
    length = netmask if written.length is None else written.length
    return written.ip == IPv4Address(0) and not length


def is_edge(address: IPv4Address, network: IPv4Network) -> bool:
    """Tell whether an address is the network's own or its broadcast address."""
    edges = (network.network_address, network.broadcast_address)
    return network.prefixlen < 31 and address in edges


def interface_address(
    here: Section, written: Prefixed, netmask: int | None, *keys: Key
) -> Interface | None:
    """Return the address, which stands at ``keys``; ``None`` if it can be none."""
    ip, length = written.ip, written.length
    if length is None:
        length = netmask
    if length is None:
        example = "/64" if isinstance(ip, IPv6Address) else "/24) or a netmask (255.255.255.0"
        here.problem(f"{ip} needs the length of its network ({example})", *keys)
        return None
    if written.length is None and isinstance(ip, IPv6Address):
        here.problem(f"{ip} needs the length of its network (/64)", *keys)
        return None
    if ip.is_unspecified or ip.is_multicast or ip.is_loopback:
        here.problem(f"{ip} can be no interface's address", *keys)
        return None
    found = ip_interface((ip, length))
    if isinstance(found, IPv4Interface) and is_edge(found.ip, found.network):
        here.problem(f"{found} is the network itself or its broadcast address", *keys)
        return None
    return found

# SPDX-License-Identifier: Apache-2.0
"""A router with four devices, its neighbours, and frames between them.

Port N is ``wireN``; the router's MAC address there ends in N:01, a host's in N and its number.
"""

from ipaddress import ip_address, ip_network

from scapy.layers.l2 import Ether
from scapy.packet import Packet

from chain_rig import chain
from iovisor_ovn.config.topology import ArpEntry, Route, Router, Topology

__all__ = ["arrives", "host_mac", "known", "leaves", "one_router", "route", "router_mac"]


def router_mac(port: int) -> str:
    """The router's MAC address on a port."""
    return f"02:00:00:00:{port:02x}:01"


def host_mac(port: int, number: int = 2) -> str:
    """MAC address of a host behind a port."""
    return f"02:00:00:00:{port:02x}:{number:02x}"


def route(network: str, port: int, next_hop: str | None = None) -> Route:
    """A static route."""
    hop = None if next_hop is None else ip_address(next_hop)
    return Route(ip_network(network), f"wire{port}", hop)


def known(ip: str, port: int, number: int = 2) -> ArpEntry:
    """A neighbour that is configured."""
    return ArpEntry(ip_address(ip), host_mac(port, number))


def one_router(router: Router) -> Topology:
    """A router with all devices."""
    return chain({"r": router}, ["r"] * 4)


def arrives(port: int, packet: Packet, number: int = 2) -> bytes:
    """The frame in which a host sends a packet to the router."""
    return bytes(Ether(src=host_mac(port, number), dst=router_mac(port)) / packet)


def leaves(port: int, packet: Packet, number: int = 2) -> bytes:
    """The frame in which the router sends a packet to a host."""
    return bytes(Ether(src=router_mac(port), dst=host_mac(port, number)) / packet)

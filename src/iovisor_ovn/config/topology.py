# SPDX-License-Identifier: Apache-2.0
"""A service chain as values: modules, their links, the devices at their ends.

:mod:`.topology_file` reads them from YAML and has checked everything that a file alone can tell:
names lead somewhere, addresses and options are what they should be, no port is used twice.

A module's ports are named after what they lead to: the peer module, or the device. Only where two
modules share several links does the file name ports itself (``from: a:port1``).
"""

from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path
from typing import Literal

from iovisor_ovn.errors import Problem

__all__ = [
    "ArpEntry",
    "Backend",
    "Config",
    "Dhcp",
    "Ebpf",
    "Endpoint",
    "ExternalInterface",
    "Firewall",
    "FirewallAction",
    "FirewallRule",
    "ForwardingEntry",
    "HealthCheck",
    "Link",
    "LoadBalancer",
    "Module",
    "Nat",
    "NatEntry",
    "Null",
    "OneToOneNat",
    "Place",
    "Reservation",
    "Route",
    "Router",
    "RouterInterface",
    "Setting",
    "Switch",
    "Topology",
    "Vip",
    "host_port",
]

Address = IPv4Address | IPv6Address
Setting = int | str | bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the file: line and column count from 1, ``key`` leads to it.

    No part of what a chain is: values that differ in their places only are equal.
    """

    line: int
    column: int
    key: str = ""

    def problem(self, message: str) -> Problem:
        """Return what is wrong there."""
        return Problem(message, self.line, self.column, self.key)


@dataclass(frozen=True, slots=True)
class ForwardingEntry:
    """A MAC address that a switch need not learn; ``mac`` in lower case with colons."""

    port: str
    mac: str


@dataclass(frozen=True, slots=True)
class Switch:
    """A learning switch. Addresses not heard of for ``mac_age_s`` are forgotten; 0: never.

    Beyond ``max_macs`` learned addresses it learns no more, and floods.
    """

    forwarding_table: tuple[ForwardingEntry, ...] = ()
    mac_age_s: int = 300
    max_macs: int = 8192


@dataclass(frozen=True, slots=True)
class RouterInterface:
    """A router's port: its addresses (none: it only forwards) and MAC address.

    ``mtu``: longer packets that leave by it are answered with the ICMP error; ``None``: no limit.
    """

    name: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    mac: str
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A static route; without ``next_hop`` its destinations are on the link themselves."""

    network: IPv4Network | IPv6Network
    interface: str
    next_hop: Address | None = None


@dataclass(frozen=True, slots=True)
class ArpEntry:
    """A neighbour that need not be asked for, on whichever interface its address is routed to."""

    ip: Address
    mac: str


@dataclass(frozen=True, slots=True)
class Router:
    """A router, IPv4 and IPv6. Neighbours not used for ``neighbour_age_s`` are asked for again."""

    interfaces: tuple[RouterInterface, ...] = ()
    static_routes: tuple[Route, ...] = ()
    arp_entries: tuple[ArpEntry, ...] = ()
    neighbour_age_s: int = 300


@dataclass(frozen=True, slots=True)
class Nat:
    """Translation of source address and port to ``public_ip``, between two ports."""

    public_ip: IPv4Address
    inside: str
    outside: str


@dataclass(frozen=True, slots=True)
class NatEntry:
    """``internal`` is seen as ``external`` from outside."""

    internal: IPv4Address
    external: IPv4Address


@dataclass(frozen=True, slots=True)
class OneToOneNat:
    """Translation of addresses one to one, between two ports."""

    entries: tuple[NatEntry, ...]
    inside: str
    outside: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """An address that one client always gets and no other."""

    mac: str
    ip: IPv4Address


@dataclass(frozen=True, slots=True)
class Dhcp:
    """A DHCPv4 server with a pool of ``first`` to ``last``, both included."""

    server: IPv4Interface
    server_mac: str
    first: IPv4Address
    last: IPv4Address
    router: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    lease_time_s: int = 3600
    domain_name: str = ""
    mtu: int | None = None
    reservations: tuple[Reservation, ...] = ()


@dataclass(frozen=True, slots=True)
class Null:
    """Drops and counts; with ``forwards`` it counts and lets pass between its two ports."""

    forwards: bool = False


FirewallAction = Literal["allow", "allow-related", "drop", "reject"]


@dataclass(frozen=True, slots=True)
class FirewallRule:
    """A match in OVN's language (ports by the firewall's own port names) and what becomes of it.

    ``place`` is that of the match's text in the file.
    """

    match: str
    action: FirewallAction
    name: str = ""
    place: Place = field(default=Place(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Firewall:
    """Rules between two ports, first match wins; ``default`` is for what no rule matches."""

    rules: tuple[FirewallRule, ...]
    default: Literal["allow", "drop", "reject"]
    inside: str
    outside: str


@dataclass(frozen=True, slots=True)
class Backend:
    """A server behind a VIP; ``weight`` is its share of new connections relative to the others."""

    ip: Address
    port: int | None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How it is found out whether backends live: a TCP connect or a UDP probe every so often."""

    interval_s: int = 5
    timeout_s: int = 3
    success_count: int = 2
    failure_count: int = 3


@dataclass(frozen=True, slots=True)
class Vip:
    """A virtual address. Without ``port`` all of ``protocol`` goes to a backend unchanged."""

    ip: Address
    port: int | None
    protocol: Literal["tcp", "udp", "sctp"]
    backends: tuple[Backend, ...]
    affinity_s: int = 0
    health_check: HealthCheck | None = None


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """VIPs for clients on one port, served by backends on the other.

    With ``address`` and ``mac`` of its own it reaches backends on its own link and can check
    their health; without, a router behind it finds the way.
    """

    vips: tuple[Vip, ...]
    clients: str
    servers: str
    address: IPv4Interface | IPv6Interface | None = None
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Ebpf:
    """A program of the user's: an object file (``.o``) or C source (``.c``).

    ``settings`` by name: what is written without quotes and looks like a number or a truth value
    is one, all else is text. ``place`` is that of the program, ``setting_places`` those of the
    settings' values.
    """

    program: Path
    settings: dict[str, Setting] = field(default_factory=dict)
    place: Place = field(default=Place(0, 0), compare=False)
    setting_places: dict[str, Place] = field(default_factory=dict, compare=False)


Config = (
    Switch | Router | Nat | OneToOneNat | Dhcp | Null | Firewall | LoadBalancer | Ebpf
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Module:
    """A module with its ports, in the order in which the file connects them."""

    name: str
    config: Config
    ports: tuple[str, ...]
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a link."""

    module: str
    port: str


@dataclass(frozen=True, slots=True)
class Link:
    """What goes out of one end comes in at the other."""

    ends: tuple[Endpoint, Endpoint]
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class ExternalInterface:
    """A network device at a module's port.

    With ``host`` the device's own addresses stay reachable: what is for the host stack goes there,
    and what the host stack sends takes part as if it came from behind the device. ``place`` is
    that of the device's name.
    """

    module: str
    port: str
    device: str
    host: bool
    place: Place = field(compare=False)


def host_port(port: str) -> str:
    """Name of a second port of the module, at which the host is that keeps using a port's device.

    No file can give a port such a name.
    """
    return f"{port}/host"


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole file; ``source`` is what error messages call it."""

    modules: tuple[Module, ...]
    links: tuple[Link, ...]
    interfaces: tuple[ExternalInterface, ...]
    source: str

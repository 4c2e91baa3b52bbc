# SPDX-License-Identifier: Apache-2.0
"""What a module gives to the machine, and how it is written down.

::

    flows = FlowList("Switch1")
    flows.add(FORWARD, 100, "eth.mcast", 'outport = "_MC_flood"; output;')

Stages are numbered by each module as it likes, ingress and egress each from 0 on. Ports are
called ``MODULE:PORT`` in flows, since a logical port's name stands alone in the whole chain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

__all__ = ["BACK", "FLOOD", "FOR_MANY", "MARTIAN", "NOT_ANSWERED", "REJECT", "Emission", "Flow",
       "FlowList", "Neighbour", "Peer", "Speaker", "answer_arp", "braces", "link_counter",
       "port_name", "quoted"]  # fmt: skip

#: What sends a packet back by the port that it came by.
BACK = "outport = inport; flags.loopback = 1; output;"
#: What tells its sender that it is refused: a reset, or an ICMP error.
REJECT = f"reject {{ {BACK} }};"
#: Frames and packets for more than one: not forwarded by routers (RFC 1812, 5.3.4), not answered by
#: errors (RFC 1122, 3.2.2; RFC 4443, 2.4).
FOR_MANY = "(ip && eth.mcast) || ip4.dst == {224.0.0.0/4, 255.255.255.255} || ip6.dst == ff00::/8"
#: Addresses that no packet on a wire has (RFC 1812, 5.3.7; RFC 4291, 2.5.2 and 2.5.3).
MARTIAN = (
    "ip4.src == {0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/4, 255.255.255.255}"
    " || ip4.dst == {0.0.0.0/8, 127.0.0.0/8}"
    " || ip6.src == {::, ::1, ff00::/8} || ip6.dst == {::, ::1}"
)
#: Packets that are about others, or not the first part: not answered by errors (RFC 1812, 4.3.2.7).
NOT_ANSWERED = (
    "(icmp4 && icmp4.type == {3, 4, 5, 11, 12}) || (icmp6 && icmp6.type == {1, 2, 3, 4, 137})"
    " || ip.later_frag"
)
#: The multicast group of all ports of a module.
FLOOD = "_MC_flood"


@dataclass(frozen=True, slots=True)
class Flow:
    """A logical flow of one datapath; higher priorities win, 0 to 65535."""

    egress: bool
    table: int
    priority: int
    match: str
    actions: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A MAC address that is configured; ``port`` is a port of the module."""

    port: str
    ip: IPv4Address | IPv6Address
    mac: str


@dataclass(frozen=True, slots=True)
class Peer:
    """What lies behind a module's port: a device, or the addresses of a router's interface."""

    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Speaker:
    """How a module asks for neighbours on a port of its own.

    It speaks with the first of ``addresses`` in whose network the neighbour is.
    """

    port: str
    mac: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]

    def source(self, target: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address | None:
        """The address to ask for ``target`` with."""
        for address in self.addresses:
            if target.version == address.version and target in address.network:
                return address.ip
        return None


@dataclass(frozen=True, slots=True)
class Emission:
    """All of a module. ``groups`` maps names to ports of the module.

    ``has_zones``: the datapath has conntrack zones of its own, as a logical router has.
    ``counters`` are those that the flows raise. ``unreachable``: ingress stage at which packets go
    on whose neighbour does not answer; without one they end.
    """

    flows: tuple[Flow, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    neighbours: tuple[Neighbour, ...] = ()
    has_zones: bool = False
    counters: tuple[str, ...] = ()
    speakers: tuple[Speaker, ...] = ()
    unreachable: int | None = None


def answer_arp(ip: object, mac: str) -> str:
    """Return the actions that answer ARP for ``ip`` with ``mac``, a field or a constant."""
    return (
        f"eth.dst = eth.src; eth.src = {mac}; arp.op = 2; arp.tha = arp.sha; arp.sha = {mac};"
        f" arp.tpa = arp.spa; arp.spa = {ip}; {BACK}"
    )


def port_name(module: str, port: str) -> str:
    """Name of a module's port in the whole chain."""
    return f"{module}:{port}"


def link_counter(module: str, port: str) -> str:
    """Name of the counter of what leaves a module by a port that is linked."""
    return f"{module}:link {port}"


def quoted(text: str) -> str:
    """Return a string constant of the language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class FlowList:
    """Flows of one module, as they are written."""

    def __init__(self, module: str) -> None:
        """Start empty."""
        self._module = module
        self._flows: list[Flow] = []
        self._counters: list[str] = []

    def port(self, port: str) -> str:
        """Return the constant for one of the module's ports, quotes included."""
        return quoted(port_name(self._module, port))

    def count(self, what: str) -> str:
        """Return the action that counts the packet as ``what``, a text of the module's own."""
        name = f"{self._module}:{what}"
        if name not in self._counters:
            self._counters.append(name)
        return f"count({quoted(name)});"

    def add(self, table: int, priority: int, match: str, actions: str) -> None:
        """Add a flow to the ingress pipeline."""
        self._flows.append(Flow(False, table, priority, match, actions))

    def deliver(self) -> None:
        """Let the egress pipeline do nothing but send."""
        self._flows.append(Flow(True, 0, 0, "1", "output;"))

    def emission(
        self,
        groups: Mapping[str, tuple[str, ...]] | None = None,
        neighbours: tuple[Neighbour, ...] = (),
        *,
        has_zones: bool = False,
        speakers: tuple[Speaker, ...] = (),
        unreachable: int | None = None,
    ) -> Emission:
        """Return what was written."""
        return Emission(
            tuple(self._flows), groups or {}, neighbours, has_zones, tuple(self._counters),
            speakers, unreachable,
        )  # fmt: skip


def braces(values: Iterable[object]) -> str:
    """Return a set constant of the language."""
    return "{" + ", ".join(str(value) for value in values) + "}"

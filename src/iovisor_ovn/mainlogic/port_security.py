# SPDX-License-Identifier: Apache-2.0
"""Port security as logical flows of our own.

``check_in_port_sec()`` and ``check_out_port_sec()`` visit stages that northd does not fill: the
agent derives them from Port_Binding.port_security, as ovn-controller does with OpenFlow tables
of its own (ovn-nb(5) *Logical_Switch_Port port_security*; OVN controller/lflow.c,
build_in_port_sec_* and build_out_port_sec_*). Result 1 means that the packet is not allowed.

An entry is ``MAC [address[/prefix] ...]``. Per entry: without addresses any IP and any ARP/ND of
that MAC; with addresses only those, plus what an address needs before it has one (DHCP, DAD),
plus the link-local address of the MAC when an IPv6 address is listed.

Neighbour solicitations and advertisements follow OVN main: 23.03 lets every solicitation pass
and compares the hop limit of advertisements with 225 where 255 is meant.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

__all__ = ["Entry", "Outcome", "Rule", "Where", "parse_entry", "port_rules"]

_INTERFACE = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class Where(Enum):
    """The stage that a rule belongs to."""

    IN = "in"
    IN_ND = "in_nd"
    OUT = "out"


class Outcome(Enum):
    """What a rule says about a packet."""

    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"
    CHECK_ND = "check_nd"  # decide in the stage for ARP and ND


# ICMPv6 types that a host sends before it has an address: MLD reports, DAD.
_UNSPECIFIED_SOURCE = (
    (131, Outcome.ALLOWED),
    (135, Outcome.CHECK_ND),
    (143, Outcome.ALLOWED),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One flow: ``match`` is in OVN's language."""

    where: Where
    priority: int
    match: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of Port_Binding.port_security."""

    mac: str
    addresses: tuple[_INTERFACE, ...]

    @property
    def ip4(self) -> tuple[ipaddress.IPv4Interface, ...]:
        """IPv4 addresses with their prefixes."""
        return tuple(a for a in self.addresses if isinstance(a, ipaddress.IPv4Interface))

    @property
    def ip6(self) -> tuple[ipaddress.IPv6Interface, ...]:
        """IPv6 addresses with their prefixes."""
        return tuple(a for a in self.addresses if isinstance(a, ipaddress.IPv6Interface))


# What OVN's scanner takes for a MAC and for addresses (OVN lib/ovn-util.c,
# parse_and_store_addresses); commas as ovn-nb(5) promises.
_MAC = re.compile(r"\s*([0-9a-f]{1,2}(?::[0-9a-f]{1,2}){5})", re.IGNORECASE)
_QUAD = r"\d{1,3}(?:\.\d{1,3}){3}"
_IPV4 = re.compile(rf"[\s,]*({_QUAD})(?:/({_QUAD}|\d+))?")
_IPV6 = re.compile(r"[\s,]*([0-9a-f:.]{2,45})(?:/(\d+(?![0-9a-f:.])|[0-9a-f:.]+))?", re.IGNORECASE)


def parse_entry(text: str) -> Entry | None:
    """Read an entry; ``None`` if it begins with no MAC address (OVN ignores such entries).

    What cannot be read ends the list of addresses, as in OVN 23.03; later releases ignore such an
    entry as a whole.
    """
    found = _MAC.match(text)
    if found is None:
        return None
    mac = ":".join(f"{int(part, 16):02x}" for part in found[1].split(":"))
    addresses: list[_INTERFACE] = []
    end = found.end()
    while (step := _address(text, end)) is not None:
        address, end = step
        addresses.append(address)
    return Entry(mac, tuple(addresses))


def _address(text: str, start: int) -> tuple[_INTERFACE, int] | None:
    """Address at ``start`` and where the text goes on."""
    if found := _IPV4.match(text, start):
        parts = [int(part) for part in found[1].split(".")]
        plain = ".".join(str(part) for part in parts)
    elif found := _IPV6.match(text, start):
        plain = found[1]
    else:
        return None
    try:
        address = ipaddress.ip_address(plain)
        length = _prefix_length(found[2], address.max_prefixlen)
        return ipaddress.ip_interface(f"{address}/{length}"), found.end()
    except ValueError:
        return None


def _prefix_length(mask: str | None, width: int) -> int:
    """Bits of a mask that is written as their number or as an address; raises ValueError."""
    if mask is None:
        return width
    if mask.isdecimal():
        return int(mask)
    host = ~int(ipaddress.ip_address(mask)) & ((1 << width) - 1)
    if host & (host + 1):
        raise ValueError(f"{mask} is no prefix")
    return width - host.bit_length()


def port_rules(port: str, port_security: Iterable[str]) -> Iterator[Rule]:
    """All rules of a port; none if it has no usable entry (then everything is allowed)."""
    entries = [entry for text in port_security if (entry := parse_entry(text)) is not None]
    if not entries:
        return
    name = json.dumps(port)
    inport, outport = f"inport == {name}", f"outport == {name}"
    yield Rule(Where.IN, 80, inport, Outcome.FORBIDDEN)
    yield Rule(Where.IN, 95, f"{inport} && arp", Outcome.CHECK_ND)
    yield Rule(Where.IN_ND, 80, f"{inport} && arp", Outcome.FORBIDDEN)
    yield Rule(Where.IN_ND, 80, f"{inport} && icmp6.type == 135 && icmp6.code == 0 && "
               "ip.ttl == 255", Outcome.FORBIDDEN)  # fmt: skip
    yield Rule(Where.IN_ND, 80, f"{inport} && icmp6.type == 136 && icmp6.code == 0 && "
               "ip.ttl == 255", Outcome.FORBIDDEN)  # fmt: skip
    yield Rule(Where.OUT, 80, outport, Outcome.FORBIDDEN)
    for entry in entries:
        yield from _in_rules(inport, entry)
        yield from _in_nd_rules(inport, entry)
        yield from _out_rules(outport, entry)


def _in_rules(inport: str, entry: Entry) -> Iterator[Rule]:
    base = f"{inport} && eth.src == {entry.mac}"
    if not entry.addresses:
        yield Rule(Where.IN, 90, base, Outcome.CHECK_ND)
        return
    if entry.ip4:
        sources = ", ".join(_source(address) for address in entry.ip4)
        yield Rule(Where.IN, 90, f"{base} && ip4.src == {{{sources}}}", Outcome.ALLOWED)
        yield Rule(Where.IN, 90, f"{base} && ip4.src == 0.0.0.0 && ip4.dst == 255.255.255.255 && "
                   "udp.src == 68 && udp.dst == 67", Outcome.ALLOWED)  # fmt: skip
    if entry.ip6:
        sources = ", ".join([_link_local(entry.mac), *(_source(a) for a in entry.ip6)])
        yield Rule(Where.IN, 90, f"{base} && ip6.src == {{{sources}}}", Outcome.CHECK_ND)
        for kind, outcome in _UNSPECIFIED_SOURCE:
            yield Rule(Where.IN, 90, f"{base} && ip6.src == :: && ip6.dst == ff02::/16 && "
                       f"icmp6.type == {kind} && icmp6.code == 0", outcome)  # fmt: skip


def _in_nd_rules(inport: str, entry: Entry) -> Iterator[Rule]:
    mac = entry.mac
    arp = f"{inport} && eth.src == {mac} && arp.sha == {mac}"
    if entry.ip4:
        sources = ", ".join(_source(address) for address in entry.ip4)
        yield Rule(Where.IN_ND, 90, f"{arp} && arp.spa == {{{sources}}}", Outcome.ALLOWED)
    elif not entry.ip6:
        yield Rule(Where.IN_ND, 90, arp, Outcome.ALLOWED)
    nd = f"{inport} && eth.src == {mac} && ip.ttl == 255 && icmp6.code == 0"
    lla = f"{{00:00:00:00:00:00, {mac}}}"
    yield Rule(Where.IN_ND, 90, f"{nd} && icmp6.type == 135 && nd.sll == {lla}", Outcome.ALLOWED)
    advertisement = f"{nd} && icmp6.type == 136 && nd.tll == {lla}"
    if entry.ip6:
        targets = ", ".join([_link_local(entry.mac), *(_source(a) for a in entry.ip6)])
        advertisement += f" && nd.target == {{{targets}}}"
    yield Rule(Where.IN_ND, 90, advertisement, Outcome.ALLOWED)


def _out_rules(outport: str, entry: Entry) -> Iterator[Rule]:
    base = f"{outport} && eth.dst == {entry.mac}"
    yield Rule(Where.OUT, 85, base, Outcome.ALLOWED)
    if not entry.addresses:
        return
    if entry.ip4:
        targets = ["255.255.255.255", "224.0.0.0/4"]
        for address in entry.ip4:
            targets.append(_source(address))
            if address.network.prefixlen < 32 and not _is_network(address):
                targets.append(str(address.network.broadcast_address))
        yield Rule(Where.OUT, 95, f"{base} && ip4.dst == {{{', '.join(targets)}}}",
                   Outcome.ALLOWED)  # fmt: skip
    if entry.ip6:
        targets = [_link_local(entry.mac), "ff00::/8", *(_source(a) for a in entry.ip6)]
        yield Rule(Where.OUT, 95, f"{base} && ip6.dst == {{{', '.join(targets)}}}",
                   Outcome.ALLOWED)  # fmt: skip
    yield Rule(Where.OUT, 90, f"{base} && ip4", Outcome.FORBIDDEN)
    yield Rule(Where.OUT, 90, f"{base} && ip6", Outcome.FORBIDDEN)


def _is_network(address: _INTERFACE) -> bool:
    """The host part is zero: the entry stands for the whole network."""
    return address.ip == address.network.network_address


def _source(address: _INTERFACE) -> str:
    """The host, or the network if the host part is zero."""
    if address.network.prefixlen == address.max_prefixlen or not _is_network(address):
        return str(address.ip)
    return str(address.network)


def _link_local(mac: str) -> str:
    """The EUI-64 link-local address of a MAC (RFC 4291)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface_id = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface_id))

# SPDX-License-Identifier: Apache-2.0
"""Port security against OVN: what ovn-controller's flow tables would say about a packet."""

import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovisor_ovn.language import (
    Packet,
    SymbolTable,
    evaluate_conjunctions,
    normalize,
    parse_match,
)
from iovisor_ovn.mainlogic.port_security import (
    Entry,
    Outcome,
    Rule,
    Where,
    parse_entry,
    port_rules,
)

_SYMBOLS = SymbolTable.default()
MAC, OTHER = "00:00:00:00:00:01", "00:00:00:00:00:02"
LLA, OTHER_LLA = "fe80::200:ff:fe00:1", "fe80::200:ff:fe00:2"
ZERO = "00:00:00:00:00:00"


def mac(text: str) -> int:
    """The number of a MAC address."""
    return int(text.replace(":", ""), 16)


def ip(text: str) -> int:
    """The number of an IP address."""
    return int(ipaddress.ip_address(text))


def ip4(src: str, dst: str = "10.0.0.9", eth_src: str = MAC, eth_dst: str = OTHER) -> Packet:
    """An IPv4 packet."""
    return {"eth.src": mac(eth_src), "eth.dst": mac(eth_dst), "eth.type": 0x800, "ip.proto": 6,
            "ip4.src": ip(src), "ip4.dst": ip(dst), "ip.ttl": 64}  # fmt: skip


def dhcp(src: str = "0.0.0.0", dst: str = "255.255.255.255", ports: int = 68) -> Packet:
    """A DHCP request."""
    packet = ip4(src, dst, eth_dst="ff:ff:ff:ff:ff:ff")
    return {**packet, "ip.proto": 17, "udp.src": ports, "udp.dst": 67}


def ip6(src: str, dst: str = "fd00::9", eth_src: str = MAC, eth_dst: str = OTHER) -> Packet:
    """An IPv6 packet."""
    return {"eth.src": mac(eth_src), "eth.dst": mac(eth_dst), "eth.type": 0x86DD, "ip.proto": 6,
            "ip6.src": ip(src), "ip6.dst": ip(dst), "ip.ttl": 64}  # fmt: skip


def icmp6(kind: int, src: str, dst: str = "ff02::1", ttl: int = 255, **fields: int) -> Packet:
    """An ICMPv6 message; ``fields`` with ``_`` for ``.``."""
    named = {name.replace("_", "."): value for name, value in fields.items()}
    return {**ip6(src, dst), "ip.proto": 58, "icmp6.type": kind, "ip.ttl": ttl, **named}


def solicitation(src: str, sll: str = MAC, eth_src: str = MAC, ttl: int = 255) -> Packet:
    """A neighbour solicitation."""
    packet = icmp6(135, src, ttl=ttl, nd_sll=mac(sll), nd_target=ip("fd00::5"))
    return {**packet, "eth.src": mac(eth_src)}


def advertisement(target: str, tll: str = MAC, src: str = "fd00::1", ttl: int = 255) -> Packet:
    """A neighbour advertisement."""
    return icmp6(136, src, ttl=ttl, nd_tll=mac(tll), nd_target=ip(target))


def arp(spa: str, sha: str = MAC, eth_src: str = MAC) -> Packet:
    """An ARP request."""
    return {"eth.src": mac(eth_src), "eth.dst": mac("ff:ff:ff:ff:ff:ff"), "eth.type": 0x806,
            "arp.op": 1, "arp.spa": ip(spa), "arp.sha": mac(sha)}  # fmt: skip


def _find(rules: Iterable[Rule], where: Where, packet: Packet) -> Outcome | None:
    found = [
        rule
        for rule in rules
        if rule.where is where
        and evaluate_conjunctions(normalize(parse_match(rule.match, _SYMBOLS), _SYMBOLS), packet)
    ]
    best = max((rule.priority for rule in found), default=0)
    outcomes = {rule.outcome for rule in found if rule.priority == best}
    if outcomes == {Outcome.ALLOWED, Outcome.CHECK_ND}:
        # Rules of two entries with one MAC; which is taken must make no difference.
        assert _find(rules, Where.IN_ND, packet) in (None, Outcome.ALLOWED)
        return Outcome.ALLOWED
    assert len(outcomes) <= 1, f"{packet} meets {outcomes}"
    return next(iter(outcomes), None)


def may_send(entries: Iterable[str], packet: Packet) -> bool:
    """What the rules say about a packet from the port."""
    rules = list(port_rules("p", entries))
    outcome = _find(rules, Where.IN, {**packet, "inport": "p"})
    if outcome is Outcome.CHECK_ND:
        outcome = _find(rules, Where.IN_ND, {**packet, "inport": "p"})
    return outcome is not Outcome.FORBIDDEN


def may_receive(entries: Iterable[str], packet: Packet) -> bool:
    """What the rules say about a packet to the port."""
    rules = list(port_rules("p", entries))
    return _find(rules, Where.OUT, {**packet, "outport": "p"}) is not Outcome.FORBIDDEN


MAC_ONLY = (MAC,)
HOST4 = (f"{MAC} 10.0.0.1",)
HOST4_IN_NET = (f"{MAC} 10.0.0.1/24",)
NET4 = (f"{MAC} 10.0.0.0/24",)
HOST6 = (f"{MAC} fd00::1",)
NET6 = (f"{MAC} fd00::/64",)
HOST6_IN_NET = (f"{MAC} fd00::1/64",)
BOTH = (f"{MAC} 10.0.0.1 fd00::1",)
TWO = (f"{MAC} 10.0.0.1", f"{OTHER} 10.0.0.2 fd00::2")


@pytest.mark.parametrize(
    ("entries", "packet", "allowed"),
    [
        ((), ip4("1.2.3.4", eth_src=OTHER), True),
        (("unknown",), ip4("1.2.3.4", eth_src=OTHER), True),
        (MAC_ONLY, ip4("1.2.3.4"), True),
        (MAC_ONLY, ip6("fd00::1"), True),
        (MAC_ONLY, {"eth.src": mac(MAC), "eth.type": 0x88CC}, True),
        (MAC_ONLY, ip4("1.2.3.4", eth_src=OTHER), False),
        (MAC_ONLY, arp("1.2.3.4"), True),
        (MAC_ONLY, arp("1.2.3.4", sha=OTHER), False),
        (MAC_ONLY, arp("1.2.3.4", eth_src=OTHER), False),
        (MAC_ONLY, solicitation("fd00::1"), True),
        (MAC_ONLY, solicitation("fd00::1", sll=ZERO), True),
        (MAC_ONLY, solicitation("fd00::1", sll=OTHER), False),
        (MAC_ONLY, advertisement("fd00::7"), True),
        (MAC_ONLY, advertisement("fd00::7", tll=ZERO), True),
        (MAC_ONLY, advertisement("fd00::7", tll=OTHER), False),
        # Without the hop limit of ND nobody believes it, so nobody checks it.
        (MAC_ONLY, advertisement("fd00::7", tll=OTHER, ttl=64), True),
        (HOST4, ip4("10.0.0.1"), True),
        (HOST4, ip4("10.0.0.2"), False),
        (HOST4, ip4("10.0.0.1", eth_src=OTHER), False),
        (HOST4, ip6("fd00::1"), False),
        (HOST4, {"eth.src": mac(MAC), "eth.type": 0x8035}, False),
        (HOST4, arp("10.0.0.1"), True),
        (HOST4, arp("10.0.0.2"), False),
        (HOST4, arp("10.0.0.1", sha=OTHER), False),
        (HOST4, dhcp(), True),
        (HOST4, dhcp(ports=67), False),
        (HOST4, dhcp(dst="10.0.0.9"), False),
        (HOST4, advertisement("fd00::1"), False),
        (HOST4_IN_NET, ip4("10.0.0.1"), True),
        (HOST4_IN_NET, ip4("10.0.0.2"), False),
        (NET4, ip4("10.0.0.77"), True),
        (NET4, ip4("10.0.1.1"), False),
        (NET4, arp("10.0.0.77"), True),
        (NET4, arp("10.0.1.1"), False),
        (HOST6, ip6("fd00::1"), True),
        (HOST6, ip6(LLA), True),
        (HOST6, ip6(OTHER_LLA), False),
        (HOST6, ip6("fd00::2"), False),
        (HOST6, ip4("10.0.0.1"), False),
        (HOST6, arp("10.0.0.1"), False),
        (HOST6, dhcp(), False),
        (HOST6, icmp6(143, "::", "ff02::16", ttl=1, icmp6_code=0), True),
        (HOST6, icmp6(131, "::", "ff02::1:ff00:1", ttl=1), True),
        (HOST6, icmp6(132, "::", "ff02::2", ttl=1), False),
        (HOST6, icmp6(143, "::", "fd00::9", ttl=1), False),
        (HOST6, icmp6(143, "::", "ff02::16", icmp6_code=1), False),
        (HOST6, solicitation("::", sll=ZERO), True),
        (HOST6, solicitation("::", sll=OTHER), False),
        (HOST6, solicitation("fd00::1"), True),
        (HOST6, solicitation("fd00::2"), False),
        (HOST6, solicitation("fd00::1", sll=OTHER), False),
        (HOST6, advertisement("fd00::1"), True),
        (HOST6, advertisement(LLA, src=LLA), True),
        (HOST6, advertisement("fd00::2"), False),
        (HOST6, advertisement("fd00::1", tll=OTHER), False),
        (NET6, ip6("fd00::abcd"), True),
        (NET6, ip6("fd01::1"), False),
        (NET6, advertisement("fd00::abcd"), True),
        (HOST6_IN_NET, ip6("fd00::2"), False),
        (BOTH, ip4("10.0.0.1"), True),
        (BOTH, ip6("fd00::1"), True),
        (BOTH, arp("10.0.0.1"), True),
        (BOTH, {"eth.src": mac(MAC), "eth.type": 0x88CC}, False),
        (TWO, ip4("10.0.0.2"), False),
        (TWO, ip4("10.0.0.2", eth_src=OTHER), True),
        (TWO, ip6("fd00::2", eth_src=OTHER), True),
        (TWO, arp("10.0.0.1", eth_src=OTHER, sha=OTHER), False),
    ],
)
def test_sender_is_held_to_its_addresses(
    entries: tuple[str, ...], packet: Packet, allowed: bool
) -> None:
    """MAC, IP source and the addresses inside ARP and ND are checked, as OVN does."""
    assert may_send(entries, packet) is allowed


@pytest.mark.parametrize(
    ("entries", "packet", "allowed"),
    [
        ((), ip4("1.1.1.1", eth_dst=OTHER), True),
        (MAC_ONLY, ip4("1.1.1.1", "9.9.9.9", eth_dst=MAC), True),
        (MAC_ONLY, ip4("1.1.1.1", "9.9.9.9", eth_dst=OTHER), False),
        (HOST4, ip4("1.1.1.1", "10.0.0.1", eth_dst=MAC), True),
        (HOST4, ip4("1.1.1.1", "10.0.0.2", eth_dst=MAC), False),
        (HOST4, ip4("1.1.1.1", "255.255.255.255", eth_dst=MAC), True),
        (HOST4, ip4("1.1.1.1", "224.0.0.5", eth_dst=MAC), True),
        (HOST4, ip4("1.1.1.1", "10.0.0.255", eth_dst=MAC), False),
        (HOST4, ip6("fd00::9", "fd00::1", eth_dst=MAC), False),
        (HOST4, {"eth.dst": mac(MAC), "eth.type": 0x806}, True),
        (HOST4_IN_NET, ip4("1.1.1.1", "10.0.0.255", eth_dst=MAC), True),
        (HOST4_IN_NET, ip4("1.1.1.1", "10.0.0.7", eth_dst=MAC), False),
        (NET4, ip4("1.1.1.1", "10.0.0.7", eth_dst=MAC), True),
        (NET4, ip4("1.1.1.1", "10.0.1.7", eth_dst=MAC), False),
        (HOST6, ip6("fd00::9", "fd00::1", eth_dst=MAC), True),
        (HOST6, ip6("fd00::9", LLA, eth_dst=MAC), True),
        (HOST6, ip6("fd00::9", "ff02::1", eth_dst=MAC), True),
        (HOST6, ip6("fd00::9", "fd00::2", eth_dst=MAC), False),
        (HOST6, ip4("1.1.1.1", "10.0.0.1", eth_dst=MAC), False),
        (TWO, ip4("1.1.1.1", "10.0.0.2", eth_dst=OTHER), True),
        (TWO, ip4("1.1.1.1", "10.0.0.1", eth_dst=OTHER), False),
    ],
)
def test_receiver_gets_what_is_for_its_addresses(
    entries: tuple[str, ...], packet: Packet, allowed: bool
) -> None:
    """Own addresses, broadcast and multicast arrive at the own MAC, nothing else."""
    assert may_receive(entries, packet) is allowed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MAC, Entry(MAC, ())),
        ("0:0:0:0:0:1 10.0.0.1", Entry(MAC, (ipaddress.ip_interface("10.0.0.1/32"),))),
        ("00:00:00:00:00:0A", Entry("00:00:00:00:00:0a", ())),
        (
            f" {MAC}  10.0.0.1/24,fd00::1/64 10.0.0.9",
            Entry(
                MAC,
                tuple(map(ipaddress.ip_interface, ("10.0.0.1/24", "fd00::1/64", "10.0.0.9/32"))),
            ),
        ),
        (
            f"{MAC} 10.0.0.0/255.255.255.0 fd00::/ffff::",
            Entry(
                MAC, (ipaddress.ip_interface("10.0.0.0/24"), ipaddress.ip_interface("fd00::/16"))
            ),
        ),
        (f"{MAC} 10.0.0.1 x 10.0.0.2", Entry(MAC, (ipaddress.ip_interface("10.0.0.1"),))),
        (f"{MAC} 10.0.0.1x", Entry(MAC, (ipaddress.ip_interface("10.0.0.1"),))),
        (f"{MAC} 10.0.0.1/33 10.0.0.2", Entry(MAC, ())),
        (f"{MAC} 10.0.0.1/0.0.0.255", Entry(MAC, ())),
        (f"{MAC} fd00::1/129", Entry(MAC, ())),
        (f"{MAC} 300.0.0.1", Entry(MAC, ())),
        (f"{MAC}/ff:ff:ff:00:00:00 10.0.0.1", Entry(MAC, ())),
        ("unknown", None),
        ("VRRPv3 00:00:5e:00:01:01 10.0.0.1", None),
        ("10.0.0.1", None),
        ("00:00:00:00:01 10.0.0.1", None),
        ("", None),
    ],
)
def test_entries_are_read_as_ovn_scans_them(text: str, expected: Entry | None) -> None:
    """Unreadable text ends the list; a MAC address must come first and stands for itself."""
    assert parse_entry(text) == expected


def test_any_port_name_is_quoted() -> None:
    """A name with quotes and backslashes stays one string of the match language."""
    name = 'a"b\\c\t\u20ac'
    rules = list(port_rules(name, MAC_ONLY))
    assert _find(rules, Where.IN, {"inport": name, "eth.src": mac(OTHER)}) is Outcome.FORBIDDEN
    assert _find(rules, Where.IN, {"inport": "p", "eth.src": mac(OTHER)}) is None


# An independent reading of OVN controller/lflow.c (main), for random packets.

_NETWORKS = st.sampled_from(("10.0.0.1", "10.0.0.2/24", "10.0.0.0/24", "10.1.0.0/16", "fd00::1",
                             "fd00::2/64", "fd00::/64"))  # fmt: skip
_ENTRIES = st.lists(
    st.builds(lambda first, rest: " ".join((first, *rest)), st.sampled_from((MAC, OTHER)),
              st.lists(_NETWORKS, max_size=3)),
    min_size=1, max_size=3,
)  # fmt: skip
_MACS = st.sampled_from((MAC, OTHER, ZERO))
_IP4 = st.sampled_from(("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.255", "10.1.2.3", "0.0.0.0",
                        "224.0.0.1", "255.255.255.255"))  # fmt: skip
_IP6 = st.sampled_from(("fd00::1", "fd00::2", "fd00::3", "fd01::1", LLA, OTHER_LLA, "::",
                        "ff02::1", "ff05::1"))  # fmt: skip
_PACKETS = st.one_of(
    st.builds(ip4, _IP4, _IP4, _MACS, _MACS),
    st.builds(dhcp, _IP4, _IP4, st.sampled_from((67, 68))),
    st.builds(ip6, _IP6, _IP6, _MACS, _MACS),
    st.builds(arp, _IP4, _MACS, _MACS),
    st.builds(solicitation, _IP6, _MACS, _MACS, st.sampled_from((64, 255))),
    st.builds(advertisement, _IP6, _MACS, _IP6, st.sampled_from((64, 255))),
    st.builds(icmp6, st.sampled_from((128, 131, 132, 143)), _IP6, _IP6),
)


def _covers(entry: Entry, version: int, address: object, *, link_local: bool = True) -> bool:
    number = int(str(address))
    if version == 6 and link_local and number == ip(LLA if entry.mac == MAC else OTHER_LLA):
        return bool(entry.ip6)
    for item in entry.ip4 if version == 4 else entry.ip6:
        whole = item.ip == item.network.network_address
        if number == int(item.ip) or (
            whole
            and number
            in range(int(item.network.network_address), int(item.network.broadcast_address) + 1)
        ):
            return True
    return False


def _nd_allows(entry: Entry, packet: Packet) -> bool | None:
    """Whether ND of this entry's MAC is in order; ``None`` if the packet is no ND."""
    kind = packet.get("icmp6.type")
    if kind not in (135, 136) or packet["ip.ttl"] != 255:
        return None
    inner = packet["nd.sll" if kind == 135 else "nd.tll"]
    if inner not in (0, mac(entry.mac)):
        return False
    return kind == 135 or not entry.ip6 or _covers(entry, 6, packet["nd.target"])


def _expected_to_send(entries: list[Entry], packet: Packet) -> bool:
    mine = [entry for entry in entries if mac(entry.mac) == packet["eth.src"]]
    if packet["eth.type"] == 0x806:
        return any(
            packet["arp.sha"] == mac(entry.mac)
            and (_covers(entry, 4, packet["arp.spa"]) or not entry.addresses)
            for entry in mine
        )
    verdicts = [_nd_allows(entry, packet) for entry in mine]
    nd_allows = any(verdict is not False for verdict in verdicts)
    for entry in mine:
        if not entry.addresses:
            return nd_allows
        if packet["eth.type"] == 0x800 and entry.ip4:
            is_request = (packet.get("udp.src"), packet["ip4.src"]) == (68, 0)
            if _covers(entry, 4, packet["ip4.src"]) or (
                is_request and packet["ip4.dst"] == 0xFFFFFFFF
            ):
                return True
        if packet["eth.type"] == 0x86DD and entry.ip6:
            if _covers(entry, 6, packet["ip6.src"]):
                return nd_allows
            is_link_scope = int(str(packet["ip6.dst"])) >> 112 == 0xFF02
            if packet["ip6.src"] == 0 and is_link_scope and packet["ip.proto"] == 58:
                if packet["icmp6.type"] in (131, 143):
                    return True
                if packet["icmp6.type"] == 135:
                    return nd_allows
    return False


def _expected_to_receive(entries: list[Entry], packet: Packet) -> bool:
    mine = [entry for entry in entries if mac(entry.mac) == packet["eth.dst"]]
    for entry in mine:
        if packet["eth.type"] == 0x800 and entry.ip4:
            to = int(str(packet["ip4.dst"]))
            broadcasts = [int(i.network.broadcast_address) for i in entry.ip4
                          if i.network.prefixlen < 32]  # fmt: skip
            if _covers(entry, 4, to) or to == 0xFFFFFFFF or to >> 28 == 14 or to in broadcasts:
                return True
        if packet["eth.type"] == 0x86DD and entry.ip6:
            to = int(str(packet["ip6.dst"]))
            if _covers(entry, 6, to) or to >> 120 == 0xFF:
                return True
    if packet["eth.type"] in (0x800, 0x86DD) and any(entry.addresses for entry in mine):
        return False
    return bool(mine)


@settings(max_examples=400, deadline=None)
@given(entries=_ENTRIES, packet=_PACKETS)
def test_random_packets_are_judged_as_by_ovn(entries: list[str], packet: Packet) -> None:
    """Both directions agree with a separate reading of OVN's rules."""
    read = [entry for text in entries if (entry := parse_entry(text)) is not None]
    assert may_send(entries, packet) is _expected_to_send(read, packet)
    assert may_receive(entries, packet) is _expected_to_receive(read, packet)

# SPDX-License-Identifier: Apache-2.0
"""The firewall module, frame by frame. ``wire0`` is inside, ``wire1`` outside."""

from typing import Any, Literal

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from chain_rig import ChainRig, Output, chain
from iovisor_ovn.config.topology import Firewall, FirewallAction, FirewallRule, Topology
from iovisor_ovn.errors import LanguageError, TopologyError
from iovisor_ovn.modules import emit
from iovisor_ovn.modules.firewall import rule_match
from iovisor_ovn.standalone.report import report

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

IN, OUT = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
INSIDE, OUTSIDE = "10.0.0.1", "10.0.0.2"
DATA = b"0123456789abcdef" * 2
Default = Literal["allow", "drop", "reject"]


def firewall(default: Default, *rules: tuple[str, FirewallAction]) -> Topology:
    """A firewall between two devices."""
    wanted = tuple(FirewallRule(match, action) for match, action in rules)
    return chain({"fw": Firewall(wanted, default, "wire0", "wire1")}, ["fw", "fw"])


def out(packet: Packet) -> bytes:
    """A frame from inside."""
    return bytes(Ether(src=IN, dst=OUT) / packet)


def into(packet: Packet) -> bytes:
    """A frame from outside."""
    return bytes(Ether(src=OUT, dst=IN) / packet)


def tcp(flags: str, port: int = 80, client: int = 4000, **fields: Any) -> Packet:
    """A segment from inside."""
    return IP(src=INSIDE, dst=OUTSIDE) / TCP(sport=client, dport=port, flags=flags, **fields)


def tcp_back(flags: str, port: int = 80, client: int = 4000, **fields: Any) -> Packet:
    """A segment of the server outside."""
    return IP(src=OUTSIDE, dst=INSIDE) / TCP(sport=port, dport=client, flags=flags, **fields)


def udp(port: int = 53, client: int = 4000) -> Packet:
    """A datagram from inside."""
    return IP(src=INSIDE, dst=OUTSIDE) / UDP(sport=client, dport=port) / DATA


def udp_back(port: int = 53, client: int = 4000) -> Packet:
    """A datagram from outside, its answer."""
    return IP(src=OUTSIDE, dst=INSIDE) / UDP(sport=port, dport=client) / DATA


def passes(rig: ChainRig, packet: Packet, *, inward: bool = False) -> bool:
    """Send a packet; whether it came out on the other side as it was, and nothing else did."""
    data = into(packet) if inward else out(packet)
    got = rig.send(1 if inward else 0, data)
    if got:
        assert got == {0 if inward else 1: [data]}
    return bool(got)


# -- stateless -------------------------------------------------------------------------------

BOTH_WAYS = [
    ("UDP", udp()),
    ("TCP", tcp("S")),
    ("ICMP", IP(src=INSIDE, dst=OUTSIDE) / ICMP() / DATA),
    ("unknown protocol", IP(src=INSIDE, dst=OUTSIDE, proto=253) / Raw(DATA)),
    ("first fragment", IP(src=INSIDE, dst=OUTSIDE, flags="MF") / UDP() / DATA),
    ("TTL 1", IP(src=INSIDE, dst=OUTSIDE, ttl=1) / UDP() / DATA),
    ("IPv6", IPv6(src="fd00::1", dst="fd00::2") / UDP() / DATA),
    ("tagged", Dot1Q(vlan=9) / IP(src=INSIDE, dst=OUTSIDE) / UDP() / DATA),
]  # fmt: skip


@pytest.mark.parametrize("packet", [row[1] for row in BOTH_WAYS], ids=[r[0] for r in BOTH_WAYS])
@pytest.mark.parametrize("inward", [False, True], ids=["out", "in"])
@pytest.mark.parametrize("rules", [(), (("icmp4.type == 77", "allow-related"),)],
                         ids=["stateless", "stateful"])  # fmt: skip
def test_default_decides_about_ip(
    rig: ChainRig, packet: Packet, rules: tuple[tuple[str, FirewallAction], ...], *, inward: bool
) -> None:
    """In both directions, with rules that track connections and without."""
    rig.fresh(firewall("allow", *rules))
    assert passes(rig, packet, inward=inward)
    rig.fresh(firewall("drop", *rules))
    assert not passes(rig, packet, inward=inward)


def test_later_fragment_alone_is_no_packet(rig: ChainRig) -> None:
    """It passes where nothing is tracked; else nobody knows what it is a part of."""
    packet = IP(src=INSIDE, dst=OUTSIDE, frag=9, proto=17) / Raw(DATA)
    rig.fresh(firewall("allow"))
    assert passes(rig, packet)
    rig.fresh(firewall("allow", ("icmp4.type == 77", "allow-related")))
    assert not passes(rig, packet)


@pytest.mark.parametrize(
    "packet",
    [
        ARP(op=1, psrc=INSIDE, pdst=OUTSIDE),
        IPv6(src="fe80::1", dst="ff02::1:ff00:2", hlim=255) / ICMPv6ND_NS(tgt="fe80::2"),
        Raw(b"\x88" * 50),
    ],
    ids=["ARP", "neighbour discovery", "not IP"],
)
@pytest.mark.parametrize("rules", [(), (("tcp", "allow-related"),)],
                         ids=["stateless", "stateful"])  # fmt: skip
def test_what_is_not_ip_passes(
    rig: ChainRig, packet: Packet, rules: tuple[tuple[str, FirewallAction], ...]
) -> None:
    """Also with a default that drops."""
    rig.fresh(firewall("drop", *rules))
    for inward in (False, True):
        data = bytes(Ether(src=IN, dst=OUT, type=0x88B6) / packet) if Raw in packet else None
        data = data or out(packet)
        assert rig.always(int(inward), data) == {int(not inward): [data]}


def test_rule_may_take_arp(rig: ChainRig) -> None:
    """What is not IP passes unless a rule says otherwise."""
    rig.fresh(firewall("allow", ("arp.op == 1", "drop")))
    assert not passes(rig, ARP(op=1))
    assert passes(rig, ARP(op=2))


def test_first_rule_that_matches_decides(rig: ChainRig) -> None:
    """In the order of the file."""
    narrow: tuple[str, FirewallAction] = ("udp.dst == 53", "allow")
    wide: tuple[str, FirewallAction] = ("udp", "drop")
    rig.fresh(firewall("drop", narrow, wide))
    assert (passes(rig, udp(53)), passes(rig, udp(54))) == (True, False)
    rig.fresh(firewall("drop", wide, narrow))
    assert (passes(rig, udp(53)), passes(rig, udp(54))) == (False, False)


def test_rule_may_name_the_ports(rig: ChainRig) -> None:
    """By the firewall's own names, as where a packet comes in and as where it goes out."""
    rig.fresh(firewall("drop", ('inport == "wire0" && udp', "allow"),
                       ('outport == "wire0" && tcp', "allow")))  # fmt: skip
    assert passes(rig, udp())
    assert not passes(rig, udp_back(), inward=True)
    assert not passes(rig, tcp("S"))
    assert passes(rig, tcp_back("S"), inward=True)


def test_stateless_rule_knows_no_answers(rig: ChainRig) -> None:
    """`allow` is for the packet alone."""
    rig.fresh(firewall("drop", ("udp.dst == 53", "allow")))
    assert passes(rig, udp())
    assert not passes(rig, udp_back(), inward=True)


# -- reject ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [(), (("icmp4.type == 77", "allow-related"),)],
                         ids=["stateless", "stateful"])  # fmt: skip
def test_refused_sender_is_told(
    rig: ChainRig, rules: tuple[tuple[str, FirewallAction], ...]
) -> None:
    """TCP by a reset, all else by an ICMP error; nothing gets through."""
    rig.fresh(firewall("reject", *rules))
    for inward in (False, True):
        wire, (packet, probe) = int(inward), (udp(), tcp("S", seq=9))
        send = into if inward else out
        answer = _only(rig.send(wire, send(packet)), wire)
        assert (answer[ICMP].type, answer[ICMP].code) == (3, 3)
        assert (answer[IP].src, answer[IP].dst) == (OUTSIDE, INSIDE)
        assert bytes(answer[ICMP].payload) == bytes(packet)
        answer = _only(rig.send(wire, send(probe)), wire)
        assert (str(answer[TCP].flags), answer[TCP].ack) == ("RA", 10)
        ping = IP(src=INSIDE, dst=OUTSIDE) / ICMP() / DATA
        answer = _only(rig.send(wire, send(ping)), wire)
        assert (answer[ICMP].type, answer[ICMP].code) == (3, 1)
        six = IPv6(src="fd00::1", dst="fd00::2") / UDP() / DATA
        answer = _only(rig.send(wire, send(six)), wire)
        assert answer[ICMPv6DestUnreach].code == 4
        # Errors about errors would go on for ever.
        assert rig.send(wire, send(tcp("R"))) == {}
        assert rig.send(wire, send(IP(src=INSIDE, dst=OUTSIDE) / ICMP(type=3) / packet)) == {}


QUESTION = IP(src=INSIDE, dst=OUTSIDE) / UDP() / DATA
_TO_HOST = Ether(dst="02:00:00:00:00:0b")
UNANSWERED = [
    ("to all", Ether(dst="ff:ff:ff:ff:ff:ff") / IP(src=INSIDE, dst="255.255.255.255") / UDP()),
    ("to a network", Ether(dst="ff:ff:ff:ff:ff:ff") / IP(src=INSIDE, dst="10.0.0.255") / UDP()),
    ("to a group", Ether(dst="01:00:5e:00:00:05") / IP(src=INSIDE, dst="224.0.0.5") / UDP()),
    ("to an IPv6 group",
     Ether(dst="33:33:00:00:00:05") / IPv6(src="fd00::1", dst="ff02::5") / UDP()),
    ("TTL exceeded", _TO_HOST / IP(src=INSIDE, dst=OUTSIDE) / ICMP(type=11) / QUESTION),
    ("redirect", _TO_HOST / IP(src=INSIDE, dst=OUTSIDE) / ICMP(type=5) / QUESTION),
    ("too big", _TO_HOST / IPv6(src="fd00::1", dst="fd00::2") / ICMPv6PacketTooBig() / DATA),
    ("from nobody", _TO_HOST / IP(src="0.0.0.0", dst=OUTSIDE) / UDP() / DATA),
    ("from a group", _TO_HOST / IP(src="224.0.0.5", dst=OUTSIDE) / UDP() / DATA),
    ("from all", _TO_HOST / IP(src="255.255.255.255", dst=OUTSIDE) / UDP() / DATA),
    ("from IPv6's nobody", _TO_HOST / IPv6(src="::", dst="fd00::2") / UDP() / DATA),
    ("from an IPv6 group", _TO_HOST / IPv6(src="ff02::5", dst="fd00::2") / UDP() / DATA),
    ("fragment", _TO_HOST / IP(src=INSIDE, dst=OUTSIDE, frag=9, proto=17) / DATA),
]  # fmt: skip


@pytest.mark.parametrize("frame", [f for _n, f in UNANSWERED], ids=[n for n, _f in UNANSWERED])
def test_refused_in_silence(rig: ChainRig, frame: Packet) -> None:
    """What hosts and routers must not answer by an error (RFC 1122, 3.2.2; RFC 4443, 2.4)."""
    rig.fresh(firewall("reject"))
    frame.src = "02:00:00:00:00:0a"
    assert rig.send(0, bytes(frame)) == {}


def _only(got: Output, wire: int) -> Packet:
    assert list(got) == [wire]
    (data,) = got[wire]
    return Ether(data)


# -- stateful --------------------------------------------------------------------------------

WEB: tuple[str, FirewallAction] = ('inport == "wire0" && tcp.dst == 80', "allow-related")
DNS: tuple[str, FirewallAction] = ('inport == "wire0" && udp.dst == 53', "allow-related")


def stateful(default: Default = "drop", *more: tuple[str, FirewallAction]) -> Topology:
    """Web and DNS from inside, and what else is given."""
    return firewall(default, WEB, DNS, *more)


def handshake(rig: ChainRig, client: int = 4000) -> None:
    """Open a TCP connection from inside."""
    assert passes(rig, tcp("S", client=client, seq=1))
    assert passes(rig, tcp_back("SA", client=client, seq=7, ack=2), inward=True)
    assert passes(rig, tcp("A", client=client, seq=2, ack=8))


def test_answers_of_an_allowed_connection_pass(rig: ChainRig) -> None:
    """And nothing else from there."""
    rig.fresh(stateful())
    assert not passes(rig, udp_back(), inward=True)
    assert passes(rig, udp())
    assert passes(rig, udp_back(), inward=True)
    assert not passes(rig, udp_back(client=4001), inward=True)
    handshake(rig)
    assert passes(rig, tcp_back("PA", seq=8, ack=2), inward=True)
    assert not passes(rig, tcp_back("S", client=4009), inward=True)


def test_error_about_an_allowed_connection_passes(rig: ChainRig) -> None:
    """From whoever sends it; one about another does not."""
    rig.fresh(stateful())
    passes(rig, udp())
    about = IP(src="10.9.9.9", dst=INSIDE) / ICMP(type=3, code=1) / udp()
    assert passes(rig, about, inward=True)
    other = IP(src="10.9.9.9", dst=INSIDE) / ICMP(type=3, code=1) / udp(client=4001)
    assert not passes(rig, other, inward=True)


def test_fragments_of_an_allowed_connection_pass(rig: ChainRig) -> None:
    """A later one has no ports; the first had."""
    rig.fresh(stateful())
    datagram = bytes(UDP(sport=4000, dport=53) / (b"f" * 64))
    head: dict[str, Any] = {"src": INSIDE, "dst": OUTSIDE, "id": 99, "proto": 17}
    first = IP(**head, flags="MF") / Raw(datagram[:40])
    later = IP(**head, frag=5) / Raw(datagram[40:])
    stranger = IP(**head | {"id": 98}, frag=5) / Raw(datagram[40:])
    assert passes(rig, first)
    assert passes(rig, later)
    assert not passes(rig, stranger)


def test_ping_is_a_connection_too(rig: ChainRig) -> None:
    """Its answer passes, the other way's question does not."""
    rig.fresh(firewall("drop", ('inport == "wire0" && icmp4.type == 8', "allow-related")))
    question = IP(src=INSIDE, dst=OUTSIDE) / ICMP(id=5) / DATA
    answer = IP(src=OUTSIDE, dst=INSIDE) / ICMP(type=0, id=5) / DATA
    assert not passes(rig, answer, inward=True)
    assert passes(rig, question)
    assert passes(rig, answer, inward=True)
    back = IP(src=OUTSIDE, dst=INSIDE) / ICMP(type=8, id=5) / DATA
    assert not passes(rig, back, inward=True)


def test_ipv6_is_tracked(rig: ChainRig) -> None:
    """As IPv4 is."""
    rig.fresh(firewall("drop", ('inport == "wire0" && ip6', "allow-related")))
    question = IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=9, dport=53) / DATA
    answer = IPv6(src="fd00::2", dst="fd00::1") / UDP(sport=53, dport=9) / DATA
    assert not passes(rig, answer, inward=True)
    assert passes(rig, question)
    assert passes(rig, answer, inward=True)
    error = IPv6(src="fd00::9", dst="fd00::1") / ICMPv6DestUnreach(code=3) / question
    assert passes(rig, error, inward=True)
    assert not passes(rig, IPv6(src="fd00::2", dst="fd00::1") / ICMPv6EchoRequest(), inward=True)


def test_segment_that_begins_no_connection_is_dropped(rig: ChainRig) -> None:
    """An answer nobody asked for, and flags that make no sense; as Open vSwitch has it."""
    rig.fresh(firewall("drop", ("tcp", "allow-related")))
    for flags in ("SA", "SF", "SR", ""):
        assert not passes(rig, tcp(flags))


def test_connection_of_a_rule_that_is_gone_ends(rig: ChainRig) -> None:
    """Both ways, from the next packet of the side that opened it; others go on."""
    rig.fresh(stateful())
    handshake(rig)
    passes(rig, udp())
    assert passes(rig, tcp_back("PA", seq=8, ack=2), inward=True)
    rig.apply(firewall("drop", DNS))
    assert not passes(rig, tcp("A", seq=2, ack=8))
    assert not passes(rig, tcp_back("PA", seq=8, ack=2), inward=True)
    assert passes(rig, udp_back(), inward=True)
    assert passes(rig, udp())
    # With the rule, the connection may begin anew.
    rig.apply(stateful())
    assert passes(rig, tcp("A", seq=2, ack=8))
    assert passes(rig, tcp_back("PA", seq=8, ack=2), inward=True)


def test_connection_outlives_a_change_that_leaves_its_rule(rig: ChainRig) -> None:
    """Rules before and behind it come and go."""
    rig.fresh(stateful())
    handshake(rig)
    rig.apply(firewall("reject", ("icmp4", "drop"), DNS, WEB))
    assert passes(rig, tcp_back("PA", seq=8, ack=2), inward=True)
    assert passes(rig, tcp("A", seq=2, ack=8))


def test_stateless_rule_beside_stateful_ones_tracks_nothing(rig: ChainRig) -> None:
    """Its packets may go one way only, and segments out of order of a connection pass."""
    rig.fresh(stateful("drop", ("tcp.dst == 22", "allow")))
    assert passes(rig, tcp("SA", port=22))
    assert passes(rig, tcp("R", port=22))
    assert not passes(rig, tcp_back("A", port=22), inward=True)


def test_default_that_allows_lets_answers_of_refused_ones_wait(rig: ChainRig) -> None:
    """What a rule refuses stays refused, whatever the default."""
    rig.fresh(firewall("allow", WEB, ('inport == "wire1" && udp.dst == 9', "drop")))
    assert passes(rig, udp_back(), inward=True)
    assert not passes(rig, IP(src=OUTSIDE, dst=INSIDE) / UDP(dport=9) / DATA, inward=True)
    handshake(rig)


def test_two_firewalls_track_apart(rig: ChainRig) -> None:
    """The same connection through both, one of which has seen its beginning."""
    allow = FirewallRule('inport == "wire0" && udp', "allow-related")
    modules = {
        "a": Firewall((allow,), "drop", "wire0", "wire1"),
        "b": Firewall((FirewallRule('inport == "wire2" && udp', "allow-related"),), "drop",
                      "wire2", "wire3"),
    }  # fmt: skip
    rig.fresh(chain(modules, ["a", "a", "b", "b"]))
    assert passes(rig, udp())
    answer = into(udp_back())
    assert rig.send(3, answer) == {}
    assert rig.send(1, answer) == {0: [answer]}


def test_rules_count(rig: ChainRig) -> None:
    """Packets and bytes, by the rule's place and match, and for the default."""
    rig.fresh(firewall("drop", ("udp.dst == 53", "allow"), ("udp", "drop")))
    for _ in range(5):
        passes(rig, udp(53))
    passes(rig, udp(54))
    passes(rig, tcp("S"))
    counted = {row["what"]: (row["packets"], row["bytes"]) for row in report(rig.chain)["counters"]}
    assert counted == {
        "rule 1 udp.dst == 53": (5, 5 * len(out(udp(53)))),
        "rule 2 udp": (1, len(out(udp(54)))),
        "default": (1, len(out(tcp("S")))),
    }


# -- matches that are none ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("tcp.dst == 99999", "out of range|too|width|bits"),
        ("ip4.dst = 10.0.0.1", "="),
        ('inport == "nobody"', "no port nobody"),
        ("ip4.src == $friends", "no set"),
        ("inport == @group", "no set"),
        ('is_chassis_resident("x")', "no chassis"),
        ("ip4.dst == 10.0.0.1 && udp || tcp", "parenthes"),
        ("", "expected"),
    ],
)
def test_wrong_match_is_named(match: str, message: str) -> None:
    """Before anything changes; the chain's error says so, too."""
    with pytest.raises(LanguageError, match=message):
        rule_match(match, {"wire0": "fw:wire0", "wire1": "fw:wire1"})
    with pytest.raises(TopologyError):
        emit(firewall("drop", (match, "allow")), {}, {})


def test_default_allow_beside_tracked_rules_lets_connections_pass(rig: ChainRig) -> None:
    """The answer to a SYN that only the default let through is no stranger."""
    rig.fresh(firewall("allow", ("icmp4", "allow-related")))
    assert passes(rig, tcp("S"))
    assert passes(rig, tcp_back("SA"), inward=True)
    assert passes(rig, tcp("A"))

# SPDX-License-Identifier: Apache-2.0
"""Bindings of NAT in the tables: both entries live and die together, no port stays taken.

What Open vSwitch does otherwise, or cannot show, is here too: identifiers of ICMP, ports of SCTP,
fragments, packets of which several copies leave.
"""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Raw

from conntrack_packets import (
    A4,
    A6,
    B4,
    B6,
    ETHER,
    N4,
    N6,
    Talk,
    error_about,
    icmp,
    tcp,
    tcp_reply,
    udp,
    udp_reply,
    unreachable,
)
from conntrack_rig import Tracker, commit_in, dnat_in, next_in, snat_in, unnat_in
from iovisor_ovn.abi import ConnFlag, Drop, Word
from iovisor_ovn.abi.structs import STRUCTS
from iovisor_ovn.dataplane.conntrack import Conntrack

pytestmark = pytest.mark.needs_bpf

_OUT, _IN = Talk(A4, B4), Talk(N4, B4)
C4, C6 = "10.0.0.3", "2001:db8::3"


def _client(number: int) -> str:
    return f"10.1.{number >> 8}.{number & 255}"


def _packet(tracker: Tracker, frame: bytes, *verbs: Any) -> Any:
    """The packet that comes out; fails if it is dropped."""
    outcome = tracker.send(frame, *verbs)
    assert set(outcome.drops) == {Drop.NONE}
    return Ether(outcome.frame).payload


def _establish(tracker: Tracker, source: str = A4) -> int:
    """A TCP connection through SNAT; its port outside."""
    talk = Talk(source, B4)
    port = _packet(tracker, talk.there(tcp("S", 100)), snat_in(1, N4))[TCP].sport
    answer = _IN.back(tcp_reply("SA", 500, 101, dport=port))
    assert tracker.send(answer, unnat_in(1))[0].state == "est|rpl|trk|dnat"
    seen = tracker.send(talk.there(tcp("A", 101, 501)), snat_in(1, N4))[0]
    assert seen.state == "est|trk|snat"
    return int(port)


def _counts(tracker: Tracker) -> tuple[int, int]:
    return len(tracker.entries("ct_conns")), len(tracker.entries("ct_fresh"))


def test_both_entries_move_to_the_established_ones(tracker: Tracker) -> None:
    """After the handshake neither half can be pushed out any more."""
    tracker.send(_OUT.there(tcp("S", 100)), snat_in(1, N4))
    assert _counts(tracker) == (0, 2)
    _establish(tracker)
    assert _counts(tracker) == (2, 0)
    at = STRUCTS["conn"].offset_of("flags")
    values = [value for _key, value in tracker.maps["ct_conns"].items()]
    assert sorted(bool(value[at] & ConnFlag.ALIAS) for value in values) == [False, True]


def test_established_connections_survive_a_flood(
    tracker_of: Callable[[int, int], Tracker],
) -> None:
    """First packets for many times the room push out each other, never an established one."""
    tracker = tracker_of(64, 256)
    port = _establish(tracker)
    for number in range(2000):
        tracker.send(Talk(_client(number), B4).there(udp()), snat_in(1, N4))
    answer = _IN.back(tcp_reply("PA", 501, 101, 5, dport=port))
    assert tracker.send(answer, unnat_in(1))[0].state == "est|rpl|trk|dnat"


@pytest.mark.parametrize("lost", ["alias", "connection"])
def test_half_a_binding_counts_for_nothing(tracker: Tracker, lost: str) -> None:
    """Where room was made by dropping one entry, the connection begins anew with both."""
    tracker.send(_OUT.there(udp()), snat_in(1, N4))
    for key, value in tracker.maps["ct_fresh"].items():
        flags = value[STRUCTS["conn"].offset_of("flags")]
        if bool(flags & ConnFlag.ALIAS) == (lost == "alias"):
            tracker.maps["ct_fresh"].delete(key)
    packet = _packet(tracker, _OUT.there(udp()), snat_in(1, N4))
    assert packet.src == N4
    answer = _IN.back(udp(sport=53, dport=packet[UDP].sport))
    outcome = tracker.send(answer, unnat_in(1))
    assert outcome[0].state == "est|rpl|trk|dnat"
    assert Ether(outcome.frame)[UDP].dport == 5000
    # The port of a lost connection is another's only after its time.
    assert (packet[UDP].sport == 5000) == (lost == "alias")


def test_collector_removes_both_entries_and_the_port_is_free(tracker: Tracker) -> None:
    """Nothing is left of a connection that is over."""
    _establish(tracker)
    tracker.rewind(24 * 3600 + 2)
    connections = Conntrack(tracker.maps)
    assert connections.count() == 0
    assert connections.collect() == 2
    assert _counts(tracker) == (0, 0)
    assert _establish(tracker, C4) == 40000


def test_expired_bindings_do_not_wait_for_the_collector(tracker: Tracker) -> None:
    """Without an agent a port is free again when its connection is over."""
    _establish(tracker)
    tracker.rewind(24 * 3600 + 2)
    assert _establish(tracker, C4) == 40000


def test_flushed_zone_has_no_bindings(tracker: Tracker) -> None:
    """Ports are free at once, answers belong to nobody; other zones keep theirs."""
    _establish(tracker)
    tracker.send(_OUT.there(udp()), snat_in(2, N4))
    connections = Conntrack(tracker.maps)
    assert {binding.zone for binding in connections.bindings()} == {1, 2}
    connections.flush(1)
    assert [binding.zone for binding in connections.bindings()] == [2]
    answer = _IN.back(tcp_reply("PA", 501, 101, 5))
    assert tracker.send(answer, unnat_in(1))[0].state == "new|trk"
    assert tracker.send(_IN.back(udp_reply()), unnat_in(2))[0].state == "est|rpl|trk|dnat"
    assert _establish(tracker, C4) == 40000


def test_ended_connection_gives_its_port_back(tracker: Tracker) -> None:
    """A reset connection lives for another half minute, its binding no longer than that."""
    _establish(tracker)
    tracker.send(_OUT.there(tcp("R", 101)), snat_in(1, N4))
    tracker.rewind(31)
    assert _establish(tracker, C4) == 40000


def test_exhausted_ports_drop(tracker: Tracker) -> None:
    """With all ports of a range taken the packet is dropped, with a reason, until one is free."""
    ports = (30000, 30099)
    seen = {
        _packet(tracker, Talk(_client(number), B4).there(udp()), snat_in(1, N4, ports))[UDP].sport
        for number in range(100)
    }
    assert seen == set(range(30000, 30100))
    late = Talk(C4, B4).there(udp())
    assert tracker.send(late, snat_in(1, N4, ports)).drops == (Drop.NAT_EXHAUSTED,)
    assert len(list(Conntrack(tracker.maps).bindings())) == 100
    tracker.rewind(61)
    assert _packet(tracker, late, snat_in(1, N4, ports))[UDP].sport in seen


def test_hundred_thousand_bindings_live_at_once(
    tracker_of: Callable[[int, int], Tracker],
) -> None:
    """Each has its own port towards each server; all end, and nothing is left."""
    tracker = tracker_of(1 << 18, 1 << 18)
    total, servers = 100_000, 4
    verb = snat_in(1, N4)
    tracker.order([verb])
    base = bytearray(Talk(A4, B4).there(udp(0)))
    taken = set()
    for number in range(total):
        # All from one port: 25,000 clients towards each of four servers.
        struct.pack_into("!I", base, 26, 0x0A000000 | 1 << 20 | number // servers)
        struct.pack_into("!I", base, 30, 0x0A000002 + number % servers)
        out = tracker.program.test_run(bytes(base)).data_out
        assert out[26:30] == bytes([192, 0, 2, 1])
        taken.add(out[30:36])
    assert len(taken) == total
    assert len(tracker.maps["ct_fresh"].items()) == 2 * total
    connections = Conntrack(tracker.maps)
    assert sum(1 for _binding in connections.bindings(1)) == total
    connections.flush(1)
    assert connections.count() == 0


def test_identifiers_of_pings_are_told_apart(tracker: Tracker) -> None:
    """Two machines ping one host with the same identifier through one address."""
    for talk, other, seen, server, ask, answer in (
        (Talk(A4, B4), Talk(C4, B4), N4, B4, icmp(8), lambda number: icmp(0, number)),
        (Talk(A6, B6, IPv6), Talk(C6, B6, IPv6), N6, B6, ICMPv6EchoRequest(id=7),
         lambda number: ICMPv6EchoReply(id=number)),
    ):  # fmt: skip
        nat = snat_in(1, seen)
        assert _packet(tracker, talk.there(ask), nat).payload.id == 7
        packet = _packet(tracker, other.there(ask), nat)
        chosen = packet.payload.id
        assert chosen != 7
        _require_right_sums(packet)
        back = Talk(seen, server, talk.ip).back(answer(chosen))
        answered = _packet(tracker, back, unnat_in(1))
        assert (answered.dst, answered.payload.id) == (other.a, 7)
        _require_right_sums(answered)


def test_error_about_a_ping_with_another_identifier(tracker: Tracker) -> None:
    """The quote has the identifier that the client sent."""
    tracker.send(Talk(A4, B4).there(icmp(8)), snat_in(1, N4))
    chosen = _packet(tracker, Talk(C4, B4).there(icmp(8)), snat_in(1, N4))[ICMP].id
    error = error_about(_IN, unreachable(1), _IN.there(icmp(8, chosen)))
    packet = _packet(tracker, error, unnat_in(1))
    quote = IP(bytes(packet[ICMP].payload))
    assert (packet.dst, quote.src, quote[ICMP].id) == (C4, C4, 7)
    _require_right_sums(packet)
    _require_right_sums(quote)


def _require_right_sums(packet: Any) -> None:
    fresh = packet.copy()
    for layer in (fresh, fresh.payload):
        for name in ("chksum", "cksum"):
            if name in layer.fields:
                layer.delfieldval(name)
    assert bytes(fresh) == bytes(packet)


def _sctp(talk: Talk, sport: int, dport: int) -> bytes:
    return talk.there(SCTP(sport=sport, dport=dport, tag=9) / SCTPChunkData(data=b"data"))


def test_sctp_ports_are_translated(tracker: Tracker) -> None:
    """With the checksum over the whole packet right, though only the ports differ."""
    tracker.send(_sctp(Talk(A4, B4), 5000, 7), snat_in(1, N4))
    packet = _packet(tracker, _sctp(Talk(C4, B4), 5000, 7), snat_in(1, N4))
    chosen = packet[SCTP].sport
    assert chosen != 5000
    fresh = packet.copy()
    fresh[SCTP].delfieldval("chksum")
    assert bytes(fresh) == bytes(packet)
    answer = _packet(tracker, _sctp(Talk(B4, N4), 7, chosen), unnat_in(1))
    assert (answer.dst, answer[SCTP].dport) == (C4, 5000)


def test_sctp_checksum_that_a_device_computes_is_left_to_it(tracker: Tracker) -> None:
    """0 means that it is yet to be filled in, over a field that must then be 0."""
    frame = Talk(A4, B4).there(SCTP(sport=5000, dport=7, chksum=0) / SCTPChunkData(data=b"data"))
    packet = _packet(tracker, frame, dnat_in(1, N4, (8080, 8080)))
    assert packet[SCTP].dport == 8080
    assert packet[SCTP].chksum == 0


def test_fragments_are_translated_together(tracker: Tracker) -> None:
    """All have the new address; put together they are the datagram, its checksum included."""
    tracker.send(Talk(C4, B4).there(udp()), snat_in(1, N4))
    whole: Any = IP(src=A4, dst=B4, id=77) / UDP(sport=5000, dport=53) / Raw(bytes(range(200)))
    datagram: Any = IP(bytes(whole))
    frames = [bytes(ETHER / part) for part in datagram.fragment(80)]
    parts = [_packet(tracker, frame, snat_in(1, N4)) for frame in frames]
    assert len(parts) > 2
    assert {part.src for part in parts} == {N4}
    payload = b"".join(bytes(part.payload) for part in parts)
    again = IP(bytes(IP(src=N4, dst=B4, id=77, proto=17) / Raw(payload)))
    assert (again[UDP].dport, bytes(again[UDP].payload)) == (53, bytes(range(200)))
    assert again[UDP].sport != 5000
    _require_right_sums(again)


def test_fragments_over_ipv6_are_translated_together(tracker: Tracker) -> None:
    """The same, behind extension headers."""
    datagram = bytes(IPv6(src=A6, dst=B6) / UDP(sport=5000, dport=53) / Raw(bytes(100)))[40:]
    parts = [
        _packet(
            tracker,
            bytes(ETHER / IPv6(src=A6, dst=B6)
                  / IPv6ExtHdrFragment(nh=17, id=5, offset=at // 8, m=at + 64 < len(datagram))
                  / Raw(datagram[at : at + 64])),
            dnat_in(1, N6, (8080, 8080)),
        )
        for at in range(0, len(datagram), 64)
    ]  # fmt: skip
    assert [part.dst for part in parts] == [N6, N6]
    payload = b"".join(bytes(part)[48:] for part in parts)
    again = IPv6(bytes(IPv6(src=A6, dst=N6, nh=17) / Raw(payload)))
    assert again[UDP].dport == 8080
    _require_right_sums(again)


def test_marks_are_written_with_the_translation(tracker: Tracker) -> None:
    """A commit with NAT writes mark and label as one without; both directions see them."""
    verb = snat_in(1, N4)
    marked = type(verb)(verb.op, 1, (7, 0xF), (9, 0xFF), verb.flags, N4)
    first = tracker.send(_OUT.there(udp()), marked)[0]
    assert (first.mark, first.label) == (7, 9)
    seen = tracker.send(_IN.back(udp_reply()), unnat_in(1))[0]
    assert (seen.mark, seen.label) == (7, 9)
    assert tracker.send(_OUT.there(udp()), next_in(1))[0].mark == 7


def test_packet_is_followed_once_through_nat(tracker: Tracker) -> None:
    """Verbs behind the translation in its zone count nothing again."""
    verbs = snat_in(1, N4), next_in(1), commit_in(1), snat_in(1, N4)
    outcome = tracker.send(_OUT.there(udp()), *verbs)
    assert [seen.state for seen in outcome.seen] == ["new|trk|snat"] * 4
    (connection,) = Conntrack(tracker.maps).dump()
    assert connection.packets == (1, 0)
    assert Ether(outcome.frame)[IP].src == N4


def test_bindings_are_read(tracker: Tracker) -> None:
    """As shown to people: both forms, the zone, the state."""
    _establish(tracker)
    tracker.send(_OUT.there(icmp(8)), dnat_in(2, N4))
    connections = Conntrack(tracker.maps)
    (tcp_binding,), (ping,) = connections.bindings(1), connections.bindings(2)
    assert (tcp_binding.kind, tcp_binding.state) == ("snat", "ESTABLISHED")
    assert str(tcp_binding.original.source) == A4
    assert str(tcp_binding.translated.source) == N4
    assert tcp_binding.translated.ports == (40000, 80)
    assert (ping.kind, ping.state, ping.original.icmp_id) == ("dnat", "one way", 7)
    assert str(ping.translated.destination) == N4
    assert 59 < ping.expires_s <= 60


def test_words_of_a_connection_without_nat_are_left(tracker: Tracker) -> None:
    """In a zone with bindings a plain connection is plain."""
    tracker.send(_OUT.there(udp()), snat_in(1, N4))
    frame = Talk(C4, "10.0.0.9").there(udp())
    outcome = tracker.send(frame, next_in(1), commit_in(1), unnat_in(1))
    assert [seen.state for seen in outcome.seen] == ["new|trk"] * 3
    assert outcome.words[Word.IP4_SRC] == outcome.wire[Word.IP4_SRC]
    assert outcome.frame == frame

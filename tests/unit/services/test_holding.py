# SPDX-License-Identifier: Apache-2.0
"""Packets that wait for a neighbour, and their checksums."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from iovisor_ovn.services.holding import (
    HOLD_S,
    MAX_BYTES,
    MAX_HOPS,
    HoldQueue,
    Hop,
    Patience,
    complete_checksum,
    held_per_hop,
)

HOP = (1, 2, 0x0A000001)
WORDS = (7,) * 24
# With addresses given Scapy looks none up in the network.
_ETHER = Ether(src="00:00:00:00:00:01", dst="00:00:00:00:00:02")


def _queue() -> tuple[HoldQueue, list[tuple[bytes, tuple[int, ...], int]]]:
    sent: list[tuple[bytes, tuple[int, ...], int]] = []
    return HoldQueue(lambda *what: sent.append(what)), sent


def test_queue_may_be_bounded_by_bytes() -> None:
    """The latest that fit are kept, and one that is larger alone."""
    sent: list[bytes] = []
    queue = HoldQueue(lambda frame, _words, _mac: sent.append(frame), Patience(most_bytes=100))
    for number in range(12):
        queue.hold(HOP, bytes([number]) * 10, WORDS, 0)
    queue.resolved(HOP, 1)
    assert sent == [bytes([number]) * 10 for number in range(2, 12)]
    queue.hold(HOP, b"large" * 30, WORDS, 0)
    queue.resolved(HOP, 1)
    assert sent[-1] == b"large" * 30
    assert queue.dropped == 2


def test_all_packets_together_are_bounded() -> None:
    """By bytes; what was let go or given up makes room."""
    queue, sent = _queue()
    frame = bytes(MAX_BYTES // 4)
    for number in range(5):
        queue.hold((1, 2, number), frame, WORDS, 0)
    assert (len(queue), queue.dropped) == (4, 1)
    queue.resolved((1, 2, 0), 1)
    queue.hold((1, 2, 5), frame, WORDS, 0)
    queue.expire(HOLD_S)
    assert (len(queue), len(sent)) == (0, 1)
    for number in range(4):
        queue.hold((1, 2, number), frame, WORDS, 0)
    assert len(queue) == 4


def test_answer_lets_packets_go_oldest_first() -> None:
    """All packets of a next hop leave once, in order, with state and MAC; others stay."""
    queue, sent = _queue()
    for number in range(3):
        queue.hold(HOP, bytes([number]), WORDS, 0)
    queue.hold((1, 2, 9), b"other", WORDS, 0)
    queue.resolved(HOP, 0xABC)
    queue.resolved(HOP, 0xABC)
    assert sent == [(bytes([number]), WORDS, 0xABC) for number in range(3)]
    assert len(queue) == 1


@pytest.mark.parametrize(("release", "kept"), [
    ("23.03", (3, 4, 5)), ("23.06", (2, 3, 4, 5)), ("main", (2, 3, 4, 5)),
])  # fmt: skip
def test_full_queue_drops_its_oldest(release: str, kept: tuple[int, ...]) -> None:
    """A next hop keeps as many packets as ovn-controller of the release does, the latest."""
    queue, sent = _queue()
    queue.most_per_hop = held_per_hop(release)
    for number in range(6):
        queue.hold(HOP, bytes([number]), WORDS, 0)
    queue.resolved(HOP, 1)
    assert [frame for frame, _words, _mac in sent] == [bytes([n]) for n in kept]
    assert queue.dropped == 6 - len(kept)


def test_next_hop_is_asked_for_again_until_it_is_given_up() -> None:
    """At equal distances from its first packet, whatever comes after; then its packets are told."""
    asked: list[Hop] = []
    given_up: list[tuple[Hop, list[bytes]]] = []
    queue = HoldQueue(
        lambda *_what: None,
        Patience(3, from_latest=False, ask_every_s=1),
        asked.append,
        lambda hop, packets: given_up.append((hop, [held.frame for held in packets])),
    )
    queue.hold(HOP, b"a", WORDS, 10.0)
    queue.hold(HOP, b"b", WORDS, 10.9)
    assert queue.next_due == 11.0
    queue.expire(10.9)
    assert asked == []
    queue.expire(11.0)
    assert (asked, queue.next_due) == ([HOP], 12.0)
    queue.expire(12.0)
    assert (asked, given_up) == ([HOP] * 2, [])
    queue.expire(13.0)
    assert (asked, given_up) == ([HOP] * 2, [(HOP, [b"a", b"b"])])
    assert len(queue) == 0
    queue.expire(60.0)
    assert len(given_up) == 1


def test_next_hop_that_answers_is_not_asked_again() -> None:
    """Its packets have gone; nobody hears that it was unreachable."""
    asked: list[Hop] = []
    given_up: list[Hop] = []
    queue = HoldQueue(
        lambda *_what: None,
        Patience(3, from_latest=False, ask_every_s=1),
        asked.append,
        lambda hop, _packets: given_up.append(hop),
    )
    queue.hold(HOP, b"a", WORDS, 10.0)
    queue.resolved(HOP, 1)
    queue.expire(20.0)
    queue.hold(HOP, b"b", WORDS, 30.0)
    queue.forget(HOP[0])
    queue.expire(40.0)
    assert (asked, given_up) == ([], [])


def test_packets_wait_ten_seconds_after_the_latest() -> None:
    """All packets of a next hop have one end, which each new one puts off; others have theirs."""
    queue, sent = _queue()
    other = (1, 2, 9)
    moments = [queue.next_due]
    for moment, hop in ((100.0, HOP), (101.0, other), (102.0, HOP)):
        queue.hold(hop, b"x", WORDS, moment)
        moments.append(queue.next_due)
    assert moments == [None, 100.0 + HOLD_S, 100.0 + HOLD_S, 101.0 + HOLD_S]
    queue.expire(101.0 + HOLD_S - 0.001)
    assert len(queue) == 3
    queue.expire(101.0 + HOLD_S)
    assert (len(queue), queue.next_due, queue.dropped) == (2, 102.0 + HOLD_S, 1)
    queue.expire(102.0 + HOLD_S)
    assert (len(queue), queue.next_due, queue.dropped) == (0, None, 3)
    queue.resolved(HOP, 1)
    assert not sent


def test_scan_is_bounded() -> None:
    """Beyond the limit new next hops are refused; known ones still take packets."""
    queue, sent = _queue()
    for address in range(MAX_HOPS + 5):
        queue.hold((1, 2, address), b"x", WORDS, 0)
    assert (len(queue), queue.dropped) == (MAX_HOPS, 5)
    queue.hold((1, 2, 0), b"y", WORDS, 0)
    queue.resolved((1, 2, 0), 1)
    assert [frame for frame, _words, _mac in sent] == [b"x", b"y"]


def test_packet_held_while_packets_are_sent_waits_anew() -> None:
    """Sending may bring the next packet to hold; it is not lost and not sent twice."""
    sent: list[bytes] = []

    def send(frame: bytes, _words: tuple[int, ...], _mac: int) -> None:
        sent.append(frame)
        queue.hold(HOP, b"again", WORDS, 0)

    queue = HoldQueue(send)
    queue.hold(HOP, b"first", WORDS, 0)
    queue.resolved(HOP, 1)
    assert (sent, len(queue)) == ([b"first"], 1)


def test_packets_of_a_datapath_are_given_up() -> None:
    """An index that stands for another datapath must not get the old one's packets."""
    queue, sent = _queue()
    queue.hold((1, 2, 3), b"a", WORDS, 0)
    queue.hold((2, 2, 3), b"b", WORDS, 0)
    queue.forget(1)
    queue.resolved((1, 2, 3), 9)
    queue.resolved((2, 2, 3), 9)
    assert [frame for frame, _words, _mac in sent] == [b"b"]
    assert queue.dropped == 1


def _partial(packet: Packet) -> tuple[bytes, bytes]:
    """A frame as a device would finish it, and the finished one."""
    whole = bytes(packet)
    is_ip4 = packet.type == 0x0800
    start = 14 + (whole[14] & 15) * 4 if is_ip4 else 54
    end = 14 + int(packet[IP].len or len(whole) - 14) if is_ip4 else len(whole)
    protocol = whole[23] if is_ip4 else whole[20]
    addresses = whole[26:34] if is_ip4 else whole[22:54]
    pseudo = addresses + struct.pack(">II", end - start, protocol)
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    at = start + (16 if protocol == 6 else 6)
    return whole[:at] + struct.pack(">H", total) + whole[at + 2 :], whole


@settings(max_examples=150, deadline=None)
@given(
    payload=st.binary(max_size=70),
    ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    six=st.booleans(),
    tcp=st.booleans(),
    options=st.booleans(),
)
def test_checksum_is_finished(
    payload: bytes, ports: tuple[int, int], six: bool, tcp: bool, options: bool
) -> None:
    """TCP and UDP over both families, odd lengths and IP options included, as Scapy has them."""
    l4 = TCP if tcp else UDP
    head = IPv6(src="fd00::1", dst="fd00::2") if six else IP(
        src="10.0.0.1", dst="10.0.0.2", options=[("NOP")] * 4 if options else []
    )  # fmt: skip
    packet = Ether(bytes(_ETHER / head / l4(sport=ports[0], dport=ports[1]) / Raw(payload)))
    partial, whole = _partial(packet)
    assert complete_checksum(partial) == whole


def test_udp_sum_of_zero_is_sent_as_ones() -> None:
    """A zero checksum would say that there is none (RFC 768)."""
    blank = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(b"\0\0")
    # The blank one's checksum is what its payload lacks to a sum of all ones.
    lacking = bytes(blank)[26:28]
    blank[Raw].load = lacking
    frame = bytes(_ETHER / blank)
    partial, _whole = _partial(Ether(frame))
    assert complete_checksum(partial)[40:42] == b"\xff\xff"


def test_padding_behind_the_packet_does_not_count() -> None:
    """A short frame is padded by Ethernet; the IP length tells where the segment ends."""
    packet = Ether(bytes(_ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2)))
    partial, whole = _partial(packet)
    assert complete_checksum(partial + b"\xee" * 18) == whole + b"\xee" * 18


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(_ETHER / ARP()),
        bytes(_ETHER / IP(proto=47) / Raw(b"x" * 40)),
        bytes(_ETHER / IPv6(src="::1", dst="::2") / ICMPv6EchoRequest()),
        bytes(_ETHER / IPv6(src="::1", dst="::2") / IPv6ExtHdrDestOpt() / UDP()),
        bytes(_ETHER / Dot1Q(vlan=5) / IP() / UDP()),
        bytes(_ETHER / IP(len=400) / UDP()),
        bytes(_ETHER / IP(proto=6) / Raw(b"short")),
        bytes(_ETHER / IP(proto=17) / Raw(b"short")),
        bytes(_ETHER / IPv6(nh=6))[:40],
    ],
)
def test_other_frames_stay_as_they_are(frame: bytes) -> None:
    """What is no whole TCP or UDP segment is not touched."""
    assert complete_checksum(frame) == frame

# SPDX-License-Identifier: Apache-2.0
"""The tables of connections: what moves, expires, gives way, and what the agent does to them."""

import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from threading import Semaphore
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from conntrack_rig import Tracker, clear, commit_in, next_in
from iovisor_ovn.abi.structs import STRUCTS
from iovisor_ovn.dataplane.conntrack import Connection, Conntrack

pytestmark = pytest.mark.needs_bpf

_ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
_A, _B = "10.0.0.1", "10.0.0.2"


def _udp(sport: int = 5000, *, back: bool = False, source: str = _A) -> bytes:
    if back:
        return bytes(_ETHER / IP(src=_B, dst=source) / UDP(sport=53, dport=sport) / Raw(b"x"))
    return bytes(_ETHER / IP(src=source, dst=_B) / UDP(sport=sport, dport=53) / Raw(b"x"))


def _tcp(flags: str, seq: int, ack: int, *, back: bool = False, port: int = 40000) -> bytes:
    ends = (_B, _A) if back else (_A, _B)
    ports = (80, port) if back else (port, 80)
    return bytes(
        _ETHER / IP(src=ends[0], dst=ends[1])
        / TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, ack=ack, window=9000)
    )  # fmt: skip


def _establish(tracker: Tracker, zone: int = 1, port: int = 40000) -> None:
    verbs = next_in(zone), commit_in(zone)
    tracker.send(_tcp("S", 100, 0, port=port), *verbs)
    tracker.send(_tcp("SA", 500, 101, back=True, port=port), *verbs)
    assert tracker.send(_tcp("A", 101, 501, port=port), *verbs)[0].state == "est|trk"


def _data(tracker: Tracker, zone: int = 1, port: int = 40000) -> str:
    """State that the answering end's data sees, which cannot open a connection unseen."""
    frame = _tcp("PA", 501, 101, back=True, port=port)
    return tracker.send(frame, next_in(zone))[0].state


def test_handshake_moves_a_connection_to_the_established_ones(tracker: Tracker) -> None:
    """Half open connections stay where a flood may push them out."""
    verbs = next_in(1), commit_in(1, mark=(7, 0xFF), label=(5 << 96 | 3, 2**128 - 1))
    tracker.send(_tcp("S", 100, 0), *verbs)
    tracker.send(_tcp("SA", 500, 101, back=True), *verbs)
    assert (len(tracker.entries("ct_conns")), len(tracker.entries("ct_fresh"))) == (0, 1)
    tracker.send(_tcp("A", 101, 501), next_in(1))
    (entry,) = tracker.entries("ct_conns")
    assert tracker.entries("ct_fresh") == []
    assert (entry["mark"], entry["label"]) == (7, (5, 0, 0, 3))
    assert _data(tracker) == "est|rpl|trk"


def test_question_and_answer_do_not_make_an_established_connection(tracker: Tracker) -> None:
    """A datagram each way stays in the table of the new; traffic that goes on moves."""
    tracker.send(_udp(), next_in(1), commit_in(1))
    tracker.send(_udp(back=True), next_in(1))
    tracker.send(_udp(), next_in(1))
    assert (len(tracker.entries("ct_conns")), len(tracker.entries("ct_fresh"))) == (0, 1)
    tracker.rewind(1)
    assert tracker.send(_udp(), next_in(1))[0].state == "est|trk"
    assert (len(tracker.entries("ct_conns")), len(tracker.entries("ct_fresh"))) == (1, 0)


def test_flood_of_first_packets_leaves_established_connections(
    tracker_of: Callable[[int, int], Tracker],
) -> None:
    """Many times the room of the new connections is asked for; what was established goes on."""
    tracker = tracker_of(64, 256)
    ports = range(40000, 40020)
    for port in ports:
        _establish(tracker, port=port)
    for host in range(2000):
        source = f"10.1.{host >> 8}.{host & 255}"
        outcome = tracker.send(_udp(source=source), next_in(1), commit_in(1))
        assert outcome[0].state == "new|trk"
        assert outcome[1].state == "new|trk"
    assert [_data(tracker, port=port) for port in ports] == ["est|rpl|trk"] * len(ports)
    _establish(tracker, port=50000)
    assert _data(tracker, port=50000) == "est|rpl|trk"


def test_connections_beyond_the_room_of_the_established_work(
    tracker_of: Callable[[int, int], Tracker],
) -> None:
    """With that table full, connections stay among the new and see the same states."""
    tracker = tracker_of(4, 256)
    ports = range(40000, 40020)
    for port in ports:
        _establish(tracker, port=port)
    assert len(tracker.entries("ct_conns")) == 4
    assert [_data(tracker, port=port) for port in ports] == ["est|rpl|trk"] * len(ports)


def test_full_table_takes_over_once_there_is_room(
    tracker_of: Callable[[int, int], Tracker],
) -> None:
    """A connection left among the new moves with a later packet."""
    tracker = tracker_of(1, 256)
    _establish(tracker, port=40000)
    _establish(tracker, port=40001)
    tracker.maps["ct_conns"].clear()
    assert _data(tracker, port=40001) == "est|rpl|trk"
    assert tracker.entries("ct_conns") == [], "not at every packet"
    tracker.rewind(1)
    assert _data(tracker, port=40001) == "est|rpl|trk"
    assert [entry["port"] for entry in tracker.entries("ct_conns")] == [(40001, 80)]


def test_expired_connection_is_begun_anew(tracker: Tracker) -> None:
    """An entry past its end counts as absent, and a new one takes its place."""
    _establish(tracker)
    tracker.rewind(86401)
    assert tracker.send(_tcp("SA", 1, 1, back=True), next_in(1))[0].state == "inv|trk"
    _establish(tracker)
    assert _data(tracker) == "est|rpl|trk"
    assert Conntrack(tracker.maps).count() == 1


def test_collector_removes_only_what_is_dead(tracker: Tracker) -> None:
    """Expired entries go, live ones stay, and the room is there again."""
    _establish(tracker, port=40000)
    _establish(tracker, port=40001)
    tracker.rewind(86300)
    assert _data(tracker, port=40001) == "est|rpl|trk"
    tracker.rewind(200)
    connections = Conntrack(tracker.maps)
    assert connections.collect() == 1
    assert connections.collect() == 0
    assert [item.ports for item in connections.dump()] == [(40001, 80)]
    assert _data(tracker, port=40001) == "est|rpl|trk"


def test_collector_waits_a_second_after_expiry(tracker: Tracker) -> None:
    """A CPU may still write to an entry that it saw alive."""
    _establish(tracker)
    (key, value), *_ = tracker.maps["ct_conns"].items()
    ends_ns = time.monotonic_ns()
    value = struct.pack("=Q", ends_ns) + value[8:]
    tracker.maps["ct_conns"].update(key, value)
    half_second = Conntrack(tracker.maps, clock=lambda: ends_ns + 500_000_000)
    later = Conntrack(tracker.maps, clock=lambda: ends_ns + 1_500_000_000)
    assert half_second.count() == 0
    assert half_second.collect() == 0
    assert later.collect() == 1


def test_collector_works_in_portions(tracker_of: Callable[[int, int], Tracker]) -> None:
    """Without time each call does one batch, and all together do everything."""
    tracker = tracker_of(20_000, 16)
    table = tracker.maps["ct_conns"]
    keys = [
        STRUCTS["conn_key"].pack(zone=1, proto=17, family=4, port=(at, at))
        for at in range(1, 10_001)
    ]
    dead = STRUCTS["conn"].pack(expires_ns=1)
    table.update_many(b"".join(keys), dead * len(keys))
    connections = Conntrack(tracker.maps)
    portions = [connections.collect(budget_s=0) for _ in range(8)]
    assert max(portions) < len(keys)
    assert sum(portions) == len(keys)
    assert table.items() == []


def test_flushed_zone_is_empty_at_once(tracker: Tracker) -> None:
    """Connections of the zone are gone, those of others stay, new ones begin."""
    _establish(tracker, zone=1)
    _establish(tracker, zone=2)
    tracker.send(_udp(), next_in(1), commit_in(1))
    connections = Conntrack(tracker.maps)
    connections.flush(1)
    assert (connections.count(1), connections.count(2)) == (0, 1)
    assert _data(tracker, zone=2) == "est|rpl|trk"
    assert tracker.send(_udp(back=True), next_in(1))[0].state == "new|trk"
    assert _data(tracker, zone=1) == "new|trk"
    _establish(tracker, zone=1)
    assert _data(tracker, zone=1) == "est|rpl|trk"
    assert connections.count(1) == 1


def test_dump_tells_connections_as_their_originator_sees_them(tracker: Tracker) -> None:
    """Both ends, marks, states and times, whichever end of the key is the lesser."""
    frame = bytes(_ETHER / IP(src=_B, dst=_A) / TCP(sport=9, dport=80, flags="S", seq=1))
    tracker.send(frame, next_in(3), commit_in(3, mark=(9, 15), label=(1 << 127 | 4, 2**128 - 1)))
    ping = bytes(_ETHER / IPv6(src="2001:db8::1", dst="2001:db8::2") / _echo6(77))
    tracker.send(ping, next_in(4), commit_in(4))
    connections = Conntrack(tracker.maps)
    (tcp,), (echo,) = connections.dump(3), connections.dump(4)
    assert 29 < tcp.timeout_s <= 30
    assert 59 < echo.timeout_s <= 60
    assert _without_time(tcp) == Connection(
        zone=3, protocol=6, source=IPv4Address(_B), destination=IPv4Address(_A), ports=(9, 80),
        icmp_id=None, icmp_type=None, mark=9, label=1 << 127 | 4, timeout_s=0, answered=False,
        states=("SYN_SENT", "CLOSED"), packets=(1, 0),
    )  # fmt: skip
    assert _without_time(echo) == Connection(
        zone=4, protocol=58, source=IPv6Address("2001:db8::1"),
        destination=IPv6Address("2001:db8::2"), ports=(0, 0), icmp_id=77, icmp_type=128, mark=0,
        label=0, timeout_s=0, answered=False, states=None, packets=(1, 0),
    )  # fmt: skip
    assert connections.count() == 2


def test_only_masked_bits_of_mark_and_label_change(tracker: Tracker) -> None:
    """A commit leaves the bits outside its masks as they were, in all words of the label."""
    full = 2**128 - 1
    tracker.send(_udp(), next_in(1), commit_in(1, mark=(0x11223344, 0xFFFFFFFF),
                                               label=(int("12345678" * 4, 16), full)))  # fmt: skip
    mask = 0xFF << 100 | 0xF0 << 64 | 0xFF << 32 | 1
    tracker.send(_udp(), next_in(1), commit_in(1, mark=(0x0000AA00, 0x0000FF00),
                                               label=(0, mask)))  # fmt: skip
    seen = tracker.send(_udp(), next_in(1))[0]
    assert seen.mark == 0x1122AA44
    assert seen.label == int("12345678" * 4, 16) & ~mask


def test_packet_is_followed_once_per_zone(tracker: Tracker) -> None:
    """Verbs that come after the lookup of a packet do not count it again."""
    verbs = next_in(1), commit_in(1), commit_in(1), next_in(1), next_in(2), commit_in(2)
    outcome = tracker.send(_udp(), *verbs)
    assert [seen.state for seen in outcome.seen] == ["new|trk"] * 6
    assert [entry["packets"] for entry in tracker.entries("ct_fresh")] == [(1, 0), (1, 0)]
    tracker.send(_udp(), next_in(1), clear(), next_in(2))
    assert [entry["packets"] for entry in tracker.entries("ct_fresh")] == [(2, 0), (2, 0)]


def test_offloaded_segment_counts_whole(tracker: Tracker) -> None:
    """Of a packet that stands for many segments all data must be inside the window."""
    _establish(tracker)
    states = []
    for seq in (101 + 9000 - 2999, 101 + 9000 - 3000):
        segment = TCP(sport=40000, dport=80, flags="PA", seq=seq, ack=501, window=9000)
        frame = bytes(_ETHER / IP(src=_A, dst=_B) / segment / Raw(bytes(3000)))
        states.append(tracker.send(frame, next_in(1), gso_size=1000)[0].state)
    assert states == ["inv|trk", "est|trk"]


def test_directions_on_two_cpus_break_nothing(tracker: Tracker) -> None:
    """Data and acknowledgments of one connection at once: every packet is established."""
    _establish(tracker)
    tracker.order([next_in(1)])
    total, size, window = 800, 100, 9000
    room, ready = Semaphore(window // size), Semaphore(0)

    def send(frames: list[bytes], before: Semaphore, after: Semaphore) -> set[str]:
        seen = set()
        for frame in frames:
            assert before.acquire(timeout=30)
            seen.add(tracker.state_of(frame))
            after.release()
        return seen

    data = [_data_at(101 + size * at, size) for at in range(total)]
    acks = [_tcp("A", 501, 101 + size * (at + 1), back=True) for at in range(total)]
    with ThreadPoolExecutor(2) as pool:
        there, back = pool.submit(send, data, room, ready), pool.submit(send, acks, ready, room)
        assert there.result() == {"est|trk"}
        assert back.result() == {"est|rpl|trk"}
    (entry,) = tracker.entries("ct_conns")
    assert entry["packets"] == (2 + total, 1 + total)
    assert entry["seqlo"] == (101 + total * size, 501)


def test_frame_without_ip_is_invalid(tracker: Tracker) -> None:
    """Nothing is tracked of ARP, nor of a network header that lies about its length."""
    arp = bytes(Ether(type=0x0806) / Raw(bytes(28)))
    assert tracker.send(arp, next_in(1))[0].state == "inv|trk"
    short = bytes(_ETHER / IP(src=_A, dst=_B, len=200) / ICMP())
    assert tracker.send(short, next_in(1), commit_in(1))[0].state == "inv|trk"
    assert tracker.entries("ct_fresh") == []


def _data_at(seq: int, size: int) -> bytes:
    segment = TCP(sport=40000, dport=80, flags="PA", seq=seq, ack=501, window=9000)
    return bytes(_ETHER / IP(src=_A, dst=_B) / segment / Raw(bytes(size)))


def _echo6(number: int) -> Any:
    return ICMPv6EchoRequest(id=number)


def _without_time(connection: Connection) -> Connection:
    return replace(connection, timeout_s=0)

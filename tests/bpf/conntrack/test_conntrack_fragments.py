# SPDX-License-Identifier: Apache-2.0
"""Fragments count as their whole datagram once a ct verb has seen them."""

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    fragment6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from conntrack_rig import Outcome, Tracker, commit_in, next_in
from iovisor_ovn.abi.layout import Drop, PacketClass, Word

pytestmark = pytest.mark.needs_bpf

_ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
_TRACK = (next_in(1), commit_in(1))
_FRAGMENT_BITS = 3


# They have no types.
_make_fragments4: Any = fragment
_make_fragments6: Any = fragment6


def _ends(first: str, second: str, *, back: bool) -> dict[str, Any]:
    return {"src": second, "dst": first} if back else {"src": first, "dst": second}


def _fragments4(payload: Any, *, back: bool = False, number: int = 77) -> list[bytes]:
    whole = IP(**_ends("10.0.0.1", "10.0.0.2", back=back), id=number) / payload
    return [bytes(_ETHER / part) for part in _make_fragments4(whole, 800)]


def _fragments6(payload: Any, *, back: bool = False) -> list[bytes]:
    ends = _ends("2001:db8::1", "2001:db8::2", back=back)
    whole = IPv6(**ends) / IPv6ExtHdrFragment(id=77) / payload
    return [bytes(_ETHER / part) for part in _make_fragments6(whole, 900)]


def _udp(sport: int = 5000, dport: int = 53) -> Any:
    return UDP(sport=sport, dport=dport) / Raw(bytes(range(250)) * 10)


def _states(tracker: Tracker, frames: list[bytes]) -> list[str]:
    return [tracker.send(frame, *_TRACK)[0].state for frame in frames]


def _is_whole(outcome: Outcome, frame: bytes, l4: int) -> None:
    assert outcome.words[Word.IP_META] & _FRAGMENT_BITS == 0
    assert outcome.words[Word.L4] == l4
    assert outcome.wire[Word.L4] == l4
    assert outcome.frame == frame


@pytest.mark.parametrize("fragments", [_fragments4, _fragments6], ids=["ipv4", "ipv6"])
def test_later_fragments_share_ports_and_state_of_the_first(
    tracker: Tracker, fragments: Any
) -> None:
    """All fragments of a datagram see one connection, and stay as they are on the wire."""
    frames = fragments(_udp())
    assert len(frames) > 2
    for frame in frames:
        outcome = tracker.send(frame, *_TRACK)
        assert outcome[0].state == "new|trk"
        assert outcome.words[Word.CLASS] & PacketClass.UDP
        _is_whole(outcome, frame, 5000 << 16 | 53)
    assert _states(tracker, fragments(_udp(53, 5000), back=True)) == ["est|rpl|trk"] * len(frames)
    assert len(tracker.entries("ct_fresh")) + len(tracker.entries("ct_conns")) == 1


@pytest.mark.parametrize(
    ("frames", "answers"),
    [
        (_fragments4(ICMP(id=7) / Raw(bytes(2500))),
         _fragments4(ICMP(id=7, type=0) / Raw(bytes(2500)), back=True)),
        (_fragments6(ICMPv6EchoRequest(id=7, data=bytes(2500))),
         _fragments6(ICMPv6EchoReply(id=7, data=bytes(2500)), back=True)),
    ],
    ids=["ipv4", "ipv6"],
)  # fmt: skip
def test_fragmented_pings_are_tracked_by_identifier(
    tracker: Tracker, frames: list[bytes], answers: list[bytes]
) -> None:
    """Each fragment finds the ping that its first one belongs to, in a second zone as well."""
    both_zones = (next_in(1), commit_in(1), next_in(2), commit_in(2))
    for frame in frames:
        outcome = tracker.send(frame, *both_zones)
        assert [outcome[0].state, outcome[2].state] == ["new|trk", "new|trk"]
        assert outcome.frame == frame
    for frame in answers:
        outcome = tracker.send(frame, *both_zones)
        assert [outcome[0].state, outcome[2].state] == ["est|rpl|trk", "est|rpl|trk"]
    assert len(tracker.entries("ct_fresh")) == 2


def test_fragmented_tcp_segment_is_followed_once(tracker: Tracker) -> None:
    """Fragments of a segment are established; the numbers move by its first fragment."""
    opening = [("S", 100, 0, False), ("SA", 500, 101, True), ("A", 101, 501, False)]
    for flags, seq, ack, back in opening:
        sport, dport = (80, 40000) if back else (40000, 80)
        segment = TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack, window=9000)
        _states(tracker, _fragments4(segment, back=back))
    segment = TCP(sport=40000, dport=80, flags="PA", seq=101, ack=501, window=9000)
    frames = _fragments4(segment / Raw(bytes(2500)))
    assert _states(tracker, frames) == ["est|trk"] * len(frames)
    answer = TCP(sport=80, dport=40000, flags="A", seq=501, ack=2601, window=9000)
    assert _states(tracker, _fragments4(answer, back=True)) == ["est|rpl|trk"]
    (entry,) = tracker.entries("ct_conns")
    assert entry["packets"] == (2 + len(frames), 2)


def test_later_fragment_of_tcp_opens_nothing(tracker: Tracker) -> None:
    """Without the header there are no numbers to begin with."""
    segment = TCP(sport=40000, dport=80, flags="A", seq=101, ack=501, window=9000)
    first, *later = _fragments4(segment / Raw(bytes(2500)))
    assert tracker.send(first, next_in(1))[0].state == "new|trk"
    for frame in later:
        assert tracker.send(frame, *_TRACK)[0].state == "new|trk"
    assert tracker.entries("ct_fresh") == []


@pytest.mark.parametrize("fragments", [_fragments4, _fragments6], ids=["ipv4", "ipv6"])
def test_later_fragment_before_the_first_is_dropped(tracker: Tracker, fragments: Any) -> None:
    """Reversed, only the first fragment passes: the rest of the datagram is lost."""
    frames = fragments(_udp())
    drops = [tracker.send(frame, *_TRACK).drops[0] for frame in reversed(frames)]
    assert drops == [Drop.FRAGMENT] * (len(frames) - 1) + [Drop.NONE]


def test_first_fragment_is_forgotten_after_a_while(tracker: Tracker) -> None:
    """A later fragment is dropped once the first one is 30 seconds ago."""
    frames = _fragments4(_udp())
    tracker.send(frames[0], *_TRACK)
    tracker.rewind(29)
    assert tracker.send(frames[1], *_TRACK).drops[0] == Drop.NONE
    tracker.rewind(2)
    assert tracker.send(frames[1], *_TRACK).drops[0] == Drop.FRAGMENT


def test_fragments_belong_to_their_datagram_and_zone(tracker: Tracker) -> None:
    """Identification, protocol and zone tell datagrams apart."""
    first, later = _fragments4(_udp())[:2]
    other_id = _fragments4(_udp(), number=78)[1]
    other_protocol = _fragments4(ICMP(id=7) / Raw(bytes(2500)))[1]
    tracker.send(first, next_in(1))
    assert tracker.send(other_id, next_in(1)).drops == (Drop.FRAGMENT,)
    assert tracker.send(other_protocol, next_in(1)).drops == (Drop.FRAGMENT,)
    assert tracker.send(later, next_in(2)).drops == (Drop.FRAGMENT,)
    assert tracker.send(later, next_in(1)).drops == (Drop.NONE,)


@pytest.mark.parametrize("units", [1, 99])
def test_fragment_that_overlaps_the_first_is_dropped(tracker: Tracker, units: int) -> None:
    """Nothing may be laid over the part that the decision was made on."""
    first = _fragments4(_udp())[0]
    assert tracker.send(first, *_TRACK)[0].state == "new|trk"
    assert IP(first[14:]).len == 20 + 100 * 8
    overlap = IP(src="10.0.0.1", dst="10.0.0.2", id=77, proto=17, frag=units) / Raw(bytes(64))
    assert tracker.send(bytes(_ETHER / overlap), *_TRACK).drops[0] == Drop.FRAGMENT
    behind = IP(src="10.0.0.1", dst="10.0.0.2", id=77, proto=17, frag=100) / Raw(bytes(64))
    assert tracker.send(bytes(_ETHER / behind), *_TRACK)[0].state == "new|trk"


def test_first_fragment_without_a_whole_header_is_invalid(tracker: Tracker) -> None:
    """A header cut by fragmentation is not tracked, nor is what follows."""
    tiny = IP(src="10.0.0.1", dst="10.0.0.2", id=5, proto=6, flags="MF") / Raw(bytes(16))
    rest = IP(src="10.0.0.1", dst="10.0.0.2", id=5, proto=6, frag=2) / Raw(bytes(64))
    assert tracker.send(bytes(_ETHER / tiny), *_TRACK)[0].state == "inv|trk"
    assert tracker.send(bytes(_ETHER / rest), *_TRACK).drops[0] == Drop.FRAGMENT


def test_other_protocols_need_no_first_fragment(tracker: Tracker) -> None:
    """Where addresses say it all, a later fragment is tracked as it is."""
    later = IP(src="10.0.0.1", dst="10.0.0.2", id=5, proto=47, frag=9) / Raw(bytes(64))
    assert tracker.send(bytes(_ETHER / later), *_TRACK)[0].state == "new|trk"


def test_extension_header_behind_the_fragment_header(tracker: Tracker) -> None:
    """A later fragment names another header than UDP, and is part of the datagram still."""
    frames = _fragments6(IPv6ExtHdrDestOpt() / _udp())
    for frame in frames:
        outcome = tracker.send(frame, *_TRACK)
        assert outcome[0].state == "new|trk"
        _is_whole(outcome, frame, 5000 << 16 | 53)
        assert outcome.words[Word.IP_META] >> 24 == 17


def test_second_zone_sees_the_first_fragment_as_a_datagram(tracker: Tracker) -> None:
    """The length in a UDP header is the datagram's, also where nothing says fragment any more."""
    for frame in _fragments4(_udp()):
        outcome = tracker.send(frame, next_in(1), commit_in(1), next_in(2), commit_in(2))
        assert [outcome[0].state, outcome[2].state] == ["new|trk", "new|trk"]
    assert sorted(int(str(entry["zone"])) for entry in tracker.entries("ct_fresh")) == [1, 2]

# SPDX-License-Identifier: Apache-2.0
"""NAT: each packet as it goes in and comes out, in our module and in Open vSwitch.

Every test here runs on both, with the same expectations. What a packet is told of is its state,
addresses, and ports, a chosen port by the name that the test gives it; its checksums must be
right, those that an ICMP error quotes included.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
)
from scapy.packet import Raw

from conntrack_ovs import OvsConntrack, running_ovs
from conntrack_packets import (
    A4,
    A6,
    B4,
    B6,
    N4,
    N6,
    PORTS,
    Talk,
    Via,
    error_about,
    icmp,
    tcp,
    tcp_reply,
    udp,
    udp_reply,
    unreachable,
)
from conntrack_rig import (
    Seen,
    Tracker,
    Verb,
    commit_in,
    dnat_in,
    next_in,
    snat_in,
    unnat_in,
)
from iovisor_ovn.abi import Drop

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_ovs]

C4 = "10.0.0.3"
_ERRORS = (ICMP, ICMPv6DestUnreach, ICMPv6PacketTooBig)
_SUMMED = (IP, TCP, UDP, *_ERRORS, ICMPv6EchoRequest, ICMPv6EchoReply)


def _verbs(via: Via, version: int) -> tuple[Verb, ...]:
    nat, server = (N4, B4) if version == 4 else (N6, B6)
    return {
        Via.LOOK: (next_in(1),),
        Via.UNNAT: (unnat_in(1),),
        Via.SNAT: (snat_in(1, nat),),
        Via.SNAT_PORTS: (snat_in(1, nat, PORTS),),
        Via.DNAT: (dnat_in(1, nat),),
        Via.DNAT_PORT: (dnat_in(1, nat, (8080, 8080)),),
        Via.DNAT_PORTS: (dnat_in(1, nat, PORTS),),
        Via.UNNAT_THEN_SNAT: (unnat_in(2), snat_in(1, nat)),
        Via.DNAT_THEN_SNAT: (dnat_in(2, server), snat_in(1, nat)),
        Via.UNNAT_TWICE: (unnat_in(1), unnat_in(2)),
        Via.ZERO: (commit_in(1), next_in(1)),
        Via.SNAT_THEN_LOOK: (snat_in(1, nat), next_in(1)),
    }[via]


class _Side(Protocol):
    """Who translates: ``translate`` gives the last ct words and the IP packet that came out."""

    def translate(self, frame: bytes, via: Via) -> tuple[Seen, bytes]: ...

    def wait(self, seconds: float) -> None: ...

    def forget(self) -> None: ...


class _Ours:
    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def translate(self, frame: bytes, via: Via) -> tuple[Seen, bytes]:
        """Run our verbs."""
        outcome = self._tracker.send(frame, *_verbs(via, 4 if frame[12:14] == b"\x08\0" else 6))
        assert set(outcome.drops) == {Drop.NONE}
        return outcome.seen[-1], outcome.frame[14:]

    def wait(self, seconds: float) -> None:
        """Let our entries age."""
        self._tracker.rewind(seconds)

    def forget(self) -> None:
        """Empty our maps."""
        self._tracker.forget()


@dataclass
class Nat:
    """What a test talks to; ``names`` are words for ports that NAT has chosen."""

    side: _Side
    is_ours: bool
    names: dict[int, str] = field(default_factory=dict)
    last: Any = None

    def send(self, frame: bytes, via: Via, wait_s: float = 0) -> str:
        """Put a frame through; what came out as ``state: source > destination``."""
        self.side.wait(wait_s)
        seen, data = self.side.translate(frame, via)
        packet = (IP if data[0] >> 4 == 4 else IPv6)(data)
        self.last = packet
        _check_sums(packet)
        if self.is_ours:  # OVS 3.1 gets a quoted TCP checksum over IPv6 wrong
            _check_quote(packet)
        return f"{seen.state}: {self._tell(packet)}"

    def _tell(self, packet: Any) -> str:
        layer = packet.payload
        if isinstance(layer, _ERRORS) and not _tells_no_error(layer):
            return f"{packet.src} > {packet.dst} about {self._tell(_quoted(layer.payload))}"
        if isinstance(layer, (ICMP, ICMPv6EchoRequest, ICMPv6EchoReply)):
            return f"{packet.src} > {packet.dst} id {self.names.get(layer.id, layer.id)}"
        if not hasattr(layer, "sport"):
            return f"{packet.src} > {packet.dst}"
        sport, dport = (self.names.get(port, port) for port in (layer.sport, layer.dport))
        return f"{packet.src}:{sport} > {packet.dst}:{dport}"


def _tells_no_error(layer: Any) -> bool:
    return isinstance(layer, ICMP) and layer.type not in (3, 4, 5, 11, 12)


def _quoted(layer: Any) -> Any:
    """The packet in an error, whatever scapy has taken it for."""
    data = bytes(layer)
    return (IP if data[0] >> 4 == 4 else IPv6)(data)


def _check_sums(packet: Any) -> None:
    """Fail unless the checksums of a packet are those of its bytes."""
    fresh = packet.copy()
    for layer in _SUMMED:
        if layer in fresh:
            fresh[layer].delfieldval("cksum" if "cksum" in fresh[layer].fields else "chksum")
    assert bytes(fresh) == bytes(packet), "a checksum is wrong"


def _check_quote(packet: Any) -> None:
    """Fail unless the checksums in the packet that an error quotes are right, too."""
    if not isinstance(packet.payload, _ERRORS) or _tells_no_error(packet.payload):
        return
    quote = _quoted(packet.payload.payload)
    if isinstance(quote, IP):
        header = quote.copy()
        header.chksum = None
        assert bytes(header)[10:12] == bytes(quote)[10:12], "the quoted header's checksum is wrong"
    size = quote.len if isinstance(quote, IP) else quote.plen + 40
    if len(bytes(quote)) == size:
        _check_sums(quote)


@pytest.fixture(scope="module")
def ovs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OvsConntrack]:
    """Run Open vSwitch for the tests of this file."""
    with running_ovs(tmp_path_factory.mktemp("ovs")) as switch:
        yield switch


@pytest.fixture(params=["ours", "ovs"])
def nat(request: pytest.FixtureRequest, tracker: Tracker, ovs: OvsConntrack) -> Nat:
    """Give one side after the other, without connections."""
    side: _Side = _Ours(tracker) if request.param == "ours" else ovs
    side.forget()
    return Nat(side, request.param == "ours")


def _from(source: str, payload: Any, destination: str = B4) -> bytes:
    return Talk(source, destination).there(payload)


def test_source_is_translated_and_back(nat: Nat) -> None:
    """A datagram and its answer; the port stays, since nobody has it."""
    out = f"{N4}:5000 > {B4}:53"
    back = f"{B4}:53 > {A4}:5000"
    assert nat.send(_from(A4, udp()), Via.SNAT) == f"new|trk|snat: {out}"
    assert nat.send(_from(B4, udp_reply(), N4), Via.UNNAT) == f"est|rpl|trk|dnat: {back}"
    assert nat.send(_from(A4, udp()), Via.SNAT) == f"est|trk|snat: {out}"
    assert nat.send(_from(A4, udp()), Via.UNNAT) == f"est|trk|snat: {out}"


def test_lookup_without_nat_translates_nothing(nat: Nat) -> None:
    """ct_next finds the connection from both sides and leaves the packet alone."""
    nat.send(_from(A4, udp()), Via.SNAT)
    reply = f"{B4}:53 > {N4}:5000"
    assert nat.send(_from(B4, udp_reply(), N4), Via.LOOK) == f"est|rpl|trk: {reply}"
    assert nat.send(_from(A4, udp()), Via.LOOK) == f"est|trk: {A4}:5000 > {B4}:53"


def test_translated_packet_is_found_again_in_its_zone(nat: Nat) -> None:
    """A second lookup in the zone that translated sees the same connection."""
    told = f"{N4}:5000 > {B4}:53"
    assert nat.send(_from(A4, udp()), Via.SNAT_THEN_LOOK) == f"new|trk|snat: {told}"
    nat.send(_from(B4, udp_reply(), N4), Via.UNNAT)
    assert nat.send(_from(A4, udp()), Via.SNAT_THEN_LOOK) == f"est|trk|snat: {told}"


def test_untranslated_forms_are_other_connections(nat: Nat) -> None:
    """What nobody sent through NAT does not belong to its connection."""
    nat.send(_from(A4, udp()), Via.SNAT)
    answer = f"{B4}:53 > {A4}:5000"
    assert nat.send(_from(B4, udp_reply(), A4), Via.UNNAT) == f"new|trk: {answer}"
    own = f"{N4}:5000 > {B4}:53"
    assert nat.send(_from(N4, udp()), Via.UNNAT) == f"new|trk: {own}"


def test_taken_port_is_replaced(nat: Nat) -> None:
    """A second client with the same port gets another; both get their answers."""
    nat.send(_from(A4, udp()), Via.SNAT)
    nat.send(_from(C4, udp()), Via.SNAT)
    chosen = nat.last[UDP].sport
    assert chosen not in (5000, 53)
    assert chosen >= 1024
    nat.names[chosen] = "chosen"
    told = f"{N4}:chosen > {B4}:53"
    assert nat.send(_from(C4, udp()), Via.SNAT) == f"new|trk|snat: {told}"
    answer = udp(sport=53, dport=chosen)
    assert nat.send(_from(B4, answer, N4), Via.UNNAT) == (f"est|rpl|trk|dnat: {B4}:53 > {C4}:5000")
    assert nat.send(_from(B4, udp_reply(), N4), Via.UNNAT) == (
        f"est|rpl|trk|dnat: {B4}:53 > {A4}:5000"
    )


def test_privileged_port_stays_privileged(nat: Nat) -> None:
    """Ports below 512 and below 1024 are replaced by such."""
    for sport, low, high in ((500, 1, 511), (700, 600, 1023)):
        nat.send(_from(A4, udp(sport=sport)), Via.SNAT)
        nat.send(_from(C4, udp(sport=sport)), Via.SNAT)
        assert low <= nat.last[UDP].sport <= high
        assert nat.last[UDP].sport != sport


def test_other_destination_shares_the_port(nat: Nat) -> None:
    """A port is taken only towards one endpoint."""
    nat.send(_from(A4, udp()), Via.SNAT)
    told = nat.send(_from(C4, udp(), "10.0.0.9"), Via.SNAT)
    assert told == f"new|trk|snat: {N4}:5000 > 10.0.0.9:53"


def test_ports_of_a_range_are_used(nat: Nat) -> None:
    """Each of two clients gets one of two ports."""
    seen = set()
    for client in (A4, C4):
        nat.send(_from(client, udp()), Via.SNAT_PORTS)
        assert nat.last.src == N4
        seen.add(nat.last[UDP].sport)
    assert seen == set(PORTS)


def test_port_is_free_again_after_expiry(nat: Nat) -> None:
    """What nobody has spoken on for a minute may be another's."""
    nat.send(_from(A4, udp()), Via.SNAT)
    told = nat.send(_from(C4, udp()), Via.SNAT, wait_s=61)
    assert told == f"new|trk|snat: {N4}:5000 > {B4}:53"
    assert nat.send(_from(B4, udp_reply(), N4), Via.UNNAT) == (
        f"est|rpl|trk|dnat: {B4}:53 > {C4}:5000"
    )


def test_traffic_of_either_side_keeps_the_port(nat: Nat) -> None:
    """Answers alone keep a binding alive as long as the connection."""
    nat.send(_from(A4, udp()), Via.SNAT)
    for _ in range(4):
        told = nat.send(_from(B4, udp_reply(), N4), Via.UNNAT, wait_s=29)
        assert told == f"est|rpl|trk|dnat: {B4}:53 > {A4}:5000"
    nat.send(_from(C4, udp()), Via.SNAT)
    assert nat.last[UDP].sport != 5000


def test_destination_is_translated_and_back(nat: Nat) -> None:
    """Address and port of the server are hidden from the client."""
    there = f"{A4}:5000 > {N4}:8080"
    back = f"{B4}:53 > {A4}:5000"
    assert nat.send(_from(A4, udp()), Via.DNAT_PORT) == f"new|trk|dnat: {there}"
    reply = udp(sport=8080, dport=5000)
    assert nat.send(_from(N4, reply, A4), Via.UNNAT) == f"est|rpl|trk|snat: {back}"
    assert nat.send(_from(A4, udp()), Via.UNNAT) == f"est|trk|dnat: {there}"


def test_destination_keeps_its_port(nat: Nat) -> None:
    """Without a port only the address is another."""
    assert nat.send(_from(A4, udp()), Via.DNAT) == f"new|trk|dnat: {A4}:5000 > {N4}:53"
    assert nat.send(_from(N4, udp_reply(), A4), Via.UNNAT) == (
        f"est|rpl|trk|snat: {B4}:53 > {A4}:5000"
    )


def test_ports_of_a_destination_range_are_used(nat: Nat) -> None:
    """The third connection to two ports, from the same source port, gets another of these."""
    seen = []
    for server in (B4, "10.0.0.8", "10.0.0.9"):
        nat.send(_from(A4, udp(), server), Via.DNAT_PORTS)
        seen.append((nat.last[UDP].sport, nat.last[UDP].dport))
    assert {dport for _sport, dport in seen[:2]} == set(PORTS)
    assert [sport for sport, _dport in seen[:2]] == [5000, 5000]
    assert seen[2][0] != 5000
    assert seen[2][1] in PORTS


def test_two_ways_to_one_server_are_told_apart(nat: Nat) -> None:
    """A client's port serves for the virtual address and, translated, for the server itself."""
    nat.send(_from(A4, udp()), Via.DNAT)
    direct = nat.send(_from(A4, udp(), N4), Via.ZERO)
    chosen = nat.last[UDP].sport
    assert chosen != 5000
    assert direct.startswith("new|trk")
    assert nat.send(_from(N4, udp_reply(), A4), Via.UNNAT) == (
        f"est|rpl|trk|snat: {B4}:53 > {A4}:5000"
    )
    assert nat.send(_from(N4, udp(sport=53, dport=chosen), A4), Via.UNNAT) == (
        f"est|rpl|trk|dnat: {N4}:53 > {A4}:5000"
    )


def test_nat_avoids_the_ports_of_plain_connections(nat: Nat) -> None:
    """A connection of the address itself is left alone."""
    nat.send(_from(N4, udp()), Via.ZERO)
    nat.send(_from(A4, udp()), Via.SNAT)
    assert nat.last.src == N4
    assert nat.last[UDP].sport != 5000


def test_both_ends_are_translated_in_two_zones(nat: Nat) -> None:
    """Destination in one zone, source in the other, and the way back."""
    virtual = "10.9.9.9"
    assert nat.send(_from(A4, udp(), virtual), Via.DNAT_THEN_SNAT) == (
        f"new|trk|snat: {N4}:5000 > {B4}:53"
    )
    assert nat.send(_from(B4, udp_reply(), N4), Via.UNNAT_TWICE) == (
        f"est|rpl|trk|snat: {virtual}:53 > {A4}:5000"
    )
    assert nat.send(_from(A4, udp(), virtual), Via.DNAT_THEN_SNAT) == (
        f"est|trk|snat: {N4}:5000 > {B4}:53"
    )


def test_errors_about_both_ends_are_translated_in_two_zones(nat: Nat) -> None:
    """The quote goes back step by step."""
    virtual = "10.9.9.9"
    nat.send(_from(A4, udp(), virtual), Via.DNAT_THEN_SNAT)
    sent = Talk(N4, B4).there(udp())
    assert nat.send(error_about(Talk(N4, B4), unreachable(), sent), Via.UNNAT_TWICE) == (
        f"rel|rpl|trk|snat: {virtual} > {A4} about {A4}:5000 > {virtual}:53"
    )


def test_tcp_handshake_through_nat(nat: Nat) -> None:
    """States, windows and numbers are those of the connection."""
    talk, seen = Talk(A4, B4), Talk(N4, B4)
    out, back = f"{N4}:40000 > {B4}:80", f"{B4}:80 > {A4}:40000"
    assert nat.send(talk.there(tcp("S", 100)), Via.SNAT) == f"new|trk|snat: {out}"
    assert nat.send(seen.back(tcp_reply("SA", 500, 101)), Via.UNNAT) == (
        f"est|rpl|trk|dnat: {back}"
    )
    assert nat.send(talk.there(tcp("A", 101, 501)), Via.SNAT) == f"est|trk|snat: {out}"
    assert nat.send(talk.there(tcp("PA", 101, 501, 50)), Via.SNAT) == f"est|trk|snat: {out}"
    assert nat.send(seen.back(tcp_reply("A", 501, 151)), Via.UNNAT, wait_s=3600) == (
        f"est|rpl|trk|dnat: {back}"
    )
    # Invalid is what is outside the window; it is translated all the same.
    assert nat.send(seen.back(tcp_reply("PA", 9 * 10**8, 151, 10)), Via.UNNAT) == (
        f"inv|trk|dnat: {back}"
    )
    assert nat.send(talk.there(tcp("R", 151)), Via.SNAT) == f"est|trk|snat: {out}"
    # OVS 3.1 still has the old binding in the way.
    assert nat.send(talk.there(tcp("S", 900)), Via.SNAT).startswith("new|trk|snat")
    assert nat.last.src == N4
    if nat.is_ours:
        assert nat.last[TCP].sport == 40000


def test_ping_through_nat(nat: Nat) -> None:
    """Echo requests and replies over both versions."""
    assert nat.send(_from(A4, icmp(8)), Via.SNAT) == f"new|trk|snat: {N4} > {B4} id 7"
    assert nat.send(_from(B4, icmp(0), N4), Via.UNNAT) == f"est|rpl|trk|dnat: {B4} > {A4} id 7"
    v6, seen = Talk(A6, B6, IPv6), Talk(N6, B6, IPv6)
    assert nat.send(v6.there(ICMPv6EchoRequest(id=3)), Via.SNAT) == (
        f"new|trk|snat: {N6} > {B6} id 3"
    )
    assert nat.send(seen.back(ICMPv6EchoReply(id=3)), Via.UNNAT) == (
        f"est|rpl|trk|dnat: {B6} > {A6} id 3"
    )


def test_ipv6_datagrams_and_segments(nat: Nat) -> None:
    """Source and destination, with the checksums over the longer addresses."""
    v6, seen = Talk(A6, B6, IPv6), Talk(N6, B6, IPv6)
    assert nat.send(v6.there(udp()), Via.SNAT) == f"new|trk|snat: {N6}:5000 > {B6}:53"
    assert nat.send(seen.back(udp_reply()), Via.UNNAT) == (f"est|rpl|trk|dnat: {B6}:53 > {A6}:5000")
    assert nat.send(v6.there(tcp("S", 1)), Via.DNAT_PORT) == (
        f"new|trk|dnat: {A6}:40000 > {N6}:8080"
    )
    reply = Talk(A6, N6, IPv6).back(tcp("SA", 5, 2, sport=8080, dport=40000))
    assert nat.send(reply, Via.UNNAT) == f"est|rpl|trk|snat: {B6}:80 > {A6}:40000"


def test_other_protocols_by_address(nat: Nat) -> None:
    """What has no ports is translated as long as the address is free."""
    talk, seen = Talk(fields={"proto": 47}), Talk(N4, B4, fields={"proto": 47})
    assert nat.send(talk.there(Raw(b"abcd")), Via.SNAT) == f"new|trk|snat: {N4} > {B4}"
    assert nat.send(seen.back(Raw(b"abcd")), Via.UNNAT) == f"est|rpl|trk|dnat: {B4} > {A4}"


@pytest.mark.parametrize("size", [28, None])
def test_error_from_outside_reaches_the_client(nat: Nat, size: int | None) -> None:
    """An error about a translated packet: its quote is what the client sent."""
    nat.send(_from(A4, udp()), Via.SNAT)
    error = error_about(Talk(N4, B4), unreachable(), Talk(N4, B4).there(udp()), size)
    assert nat.send(error, Via.UNNAT) == (
        f"rel|rpl|trk|dnat: 10.0.9.9 > {A4} about {A4}:5000 > {B4}:53"
    )


def test_error_from_inside_hides_the_client(nat: Nat) -> None:
    """An error about the answer: its quote is what the server sent."""
    nat.send(_from(A4, udp()), Via.SNAT)
    answer = Talk(B4, A4).there(udp_reply())
    error = error_about(Talk(B4, A4), unreachable(), answer)
    assert nat.send(error, Via.UNNAT) == (f"rel|trk|snat: {N4} > {B4} about {B4}:53 > {N4}:5000")


def test_error_about_tcp_over_ipv6(nat: Nat) -> None:
    """Packet too big, about a translated segment with a changed port."""
    v6, seen = Talk(A6, B6, IPv6), Talk(N6, B6, IPv6)
    nat.send(v6.there(tcp("S", 1)), Via.SNAT)
    error = error_about(seen, ICMPv6PacketTooBig(mtu=1280), seen.there(tcp("PA", 2, 1, 90)))
    assert nat.send(error, Via.UNNAT) == (
        f"rel|rpl|trk|dnat: 2001:db8:9::9 > {A6} about {A6}:40000 > {B6}:80"
    )
    inner = Talk(B6, A6, IPv6).there(tcp_reply("A", 1, 2))
    error = error_about(Talk(B6, A6, IPv6), ICMPv6DestUnreach(), inner)
    told = nat.send(error, Via.UNNAT)
    # OVS 3.1 writes a checksum over the quoted source.
    if nat.is_ours:
        assert told == f"rel|trk|snat: {N6} > {B6} about {B6}:80 > {N6}:40000"


def test_error_about_a_translated_destination(nat: Nat) -> None:
    """The server's error seems to come from the virtual address."""
    nat.send(_from(A4, udp()), Via.DNAT_PORT)
    sent = Talk(A4, N4).there(udp(dport=8080))
    error = error_about(Talk(A4, N4), unreachable(), sent)
    assert nat.send(error, Via.UNNAT) == (
        f"rel|rpl|trk|snat: {B4} > {A4} about {A4}:5000 > {B4}:53"
    )


def test_error_about_a_changed_port(nat: Nat) -> None:
    """The quote has the port that the client sent from."""
    nat.send(_from(A4, tcp("S", 1)), Via.SNAT)
    nat.send(_from(C4, tcp("S", 1)), Via.SNAT)
    chosen = nat.last[TCP].sport
    sent = Talk(N4, B4).there(tcp("S", 1, sport=chosen))
    assert nat.send(error_about(Talk(N4, B4), unreachable(), sent), Via.UNNAT) == (
        f"rel|rpl|trk|dnat: 10.0.9.9 > {C4} about {C4}:40000 > {B4}:80"
    )


def test_error_about_a_ping(nat: Nat) -> None:
    """Errors quote ICMP, too."""
    nat.send(_from(A4, icmp(8)), Via.SNAT)
    error = error_about(Talk(N4, B4), unreachable(1), Talk(N4, B4).there(icmp(8)))
    assert nat.send(error, Via.UNNAT) == f"rel|rpl|trk|dnat: 10.0.9.9 > {A4} about {A4} > {B4} id 7"


def test_zero_checksum_of_udp_stays(nat: Nat) -> None:
    """A datagram without a checksum gets none."""
    frame = _from(A4, UDP(sport=5000, dport=53, chksum=0) / Raw(b"abcd"))
    nat.side.translate(frame, Via.SNAT)
    _seen, data = nat.side.translate(frame, Via.SNAT)
    assert IP(data).src == N4
    assert IP(data)[UDP].chksum == 0


def test_zones_translate_apart(nat: Nat) -> None:
    """The same client and port in another zone's binding."""
    nat.send(_from(A4, udp()), Via.UNNAT_THEN_SNAT)
    assert nat.send(_from(B4, udp_reply(), N4), Via.UNNAT_TWICE).startswith("new|trk")
    assert nat.last.dst == A4

# SPDX-License-Identifier: Apache-2.0
"""Packets for the tests of connection tracking: shorthand for sequences, and random ones.

Step(V4.there(tcp("S", 100)), "new|trk")        # sequence number 100
Step(V4.back(tcp_reply("SA", 500, 101)), "est|rpl|trk")
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

__all__ = [
    "A4",
    "A6",
    "B4",
    "B6",
    "ETHER",
    "LABEL",
    "MARK",
    "N4",
    "N6",
    "PORTS",
    "R4",
    "V4",
    "V6",
    "WSCALE",
    "Case",
    "Packet",
    "Step",
    "Talk",
    "Via",
    "cut",
    "error_about",
    "icmp",
    "opened",
    "random_frames",
    "tcp",
    "tcp_reply",
    "udp",
    "udp_reply",
    "unreachable",
]

Packet = Any  # scapy's packets have no types

A4, B4, R4 = "10.0.0.1", "10.0.0.2", "10.0.9.9"
A6, B6, R6 = "2001:db8::1", "2001:db8::2", "2001:db8:9::9"

#: What NAT translates into, and the ports of a range.
N4, N6 = "192.0.2.1", "2001:db8:99::1"
PORTS = (30000, 30001)

#: (value, mask) that :attr:`Via.MARK` commits.
MARK = (0x00AB0000, 0x00FF0000)
LABEL = (0x0034, 0x00FF)


class Via(Enum):
    """What a packet goes through; all begin with ``ct_next``."""

    LOOK = "ct_next in zone 1"
    COMMIT = "and ct_commit"
    MARK = "and ct_commit with mark and label"
    NAT = "and ct_commit_nat; the words are those after it"
    ZONE2 = "ct_next in zone 2 only"
    UNNAT = "ct_snat in zone 1 only"
    SNAT = "ct_snat(N4) or (N6) in zone 1 only"
    SNAT_PORTS = "ct_snat with PORTS"
    DNAT = "ct_dnat(N4) or (N6) in zone 1 only"
    DNAT_PORT = "ct_dnat with port 8080"
    DNAT_PORTS = "ct_dnat with PORTS"
    UNNAT_THEN_SNAT = "ct_dnat in zone 2, then ct_snat(N4) or (N6) in zone 1"
    DNAT_THEN_SNAT = "ct_dnat(B4) or (B6) in zone 2, then ct_snat(N4) or (N6) in zone 1"
    UNNAT_TWICE = "ct_snat in zone 1, then ct_dnat in zone 2"
    ZERO = "ct_commit in zone 1 as OVN encodes it: nat(src=0.0.0.0)"
    SNAT_THEN_LOOK = "ct_snat(N4) or (N6), then ct_next, both in zone 1"


@dataclass(frozen=True, slots=True)
class Step:
    """One packet and the ct words that it sees after ``wait_s`` seconds."""

    frame: bytes
    state: str
    via: Via = Via.COMMIT
    wait_s: float = 0
    mark: int = 0
    label: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A sequence; ``differs`` says why OVS 3.1 does not agree, if it does not."""

    name: str
    steps: tuple[Step, ...]
    differs: str = ""


@dataclass(frozen=True, slots=True)
class Talk:
    """Two ends; :meth:`there` and :meth:`back` wrap a payload between their addresses."""

    a: str = A4
    b: str = B4
    ip: Callable[..., Packet] = IP
    fields: dict[str, Any] = field(default_factory=dict)

    def there(self, payload: Packet) -> bytes:
        """Packet from the first end."""
        return bytes(ETHER / self.ip(src=self.a, dst=self.b, **self.fields) / payload)

    def back(self, payload: Packet) -> bytes:
        """Packet from the second end."""
        return bytes(ETHER / self.ip(src=self.b, dst=self.a, **self.fields) / payload)


ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = Talk()
V6 = Talk(A6, B6, IPv6)


def tcp(flags: str, seq: int, ack: int = 0, size: int = 0, **more: Any) -> Packet:
    """A segment from client to server; ``size`` bytes of data."""
    more = {"sport": 40000, "dport": 80, "window": 1000} | more
    header = TCP(flags=flags, seq=seq % 2**32, ack=ack % 2**32, **more)
    return header / Raw(bytes(size)) if size else header


def tcp_reply(flags: str, seq: int, ack: int = 0, size: int = 0, **more: Any) -> Packet:
    """A segment from server to client."""
    return tcp(flags, seq, ack, size, **({"sport": 80, "dport": 40000} | more))


def opened(
    talk: Talk = V4, *, client: int = 100, server: int = 500,
    options: tuple[list[Any], list[Any]] = ([], []),
) -> tuple[Step, ...]:  # fmt: skip
    """Three segments that open a connection, with the options of both SYNs."""
    return (
        Step(talk.there(tcp("S", client, options=options[0])), "new|trk"),
        Step(talk.back(tcp_reply("SA", server, client + 1, options=options[1])), "est|rpl|trk"),
        Step(talk.there(tcp("A", client + 1, server + 1)), "est|trk"),
    )


def udp(size: int = 4, **more: Any) -> Packet:
    """A datagram from client to server."""
    """Three segments that open a connection, with the options of both SYNs."""
    return UDP(**({"sport": 5000, "dport": 53} | more)) / Raw(bytes(size))


def udp_reply(size: int = 4) -> Packet:
    """The answer to it."""
    return udp(size, sport=53, dport=5000)


def error_about(talk: Talk, error: Packet, frame: bytes, size: int | None = None) -> bytes:
    """An ICMP error from a router to the first end, quoting ``size`` bytes of a frame's packet."""
    source = R4 if talk.ip is IP else R6
    quote = Raw(frame[14:] if size is None else frame[14 : 14 + size])
    return bytes(ETHER / talk.ip(src=source, dst=talk.a) / error / quote)


def cut(frame: bytes, size: int) -> bytes:
    """The IPv4 packet shortened to ``size`` bytes, its header saying so."""
    packet = IP(frame[14 : 14 + size])
    packet.len = size
    del packet.chksum
    return bytes(ETHER / packet)


WSCALE = [("WScale", 7)]


def icmp(kind: int, number: int = 7, code: int = 0) -> Packet:
    """A query or answer of some type."""
    return ICMP(type=kind, code=code, id=number, seq=1) / Raw(b"data")


def unreachable(code: int = 3) -> Packet:
    """An error: destination unreachable."""
    return ICMP(type=3, code=code)


def random_frames(chance: random.Random, count: int) -> Iterator[tuple[bytes, Via, float]]:
    """Frames of a few connections, many of them near the edges of their windows."""
    # Not Via.NAT: where nothing is translated, OVS 3.1 opens entries that no answer finds.
    ways = (Via.LOOK, Via.COMMIT, Via.COMMIT, Via.COMMIT, Via.MARK)
    makers = (_random_tcp, _random_tcp, _random_tcp, _random_udp, _random_icmp)
    ends = [chance.randrange(2**32), chance.randrange(2**32)]
    for _ in range(count):
        wait_s = chance.choice((0, 0, 0, 0, 0, 1, 20, 31, 50))
        frame = chance.choice(makers)(chance, ends)
        yield frame, chance.choice(ways), wait_s
        if not chance.randrange(40):
            ends = [chance.randrange(2**32), chance.randrange(2**32)]


def _random_tcp(chance: random.Random, ends: list[int]) -> bytes:
    talk = chance.choice((V4, V6))
    side = chance.randrange(2)
    size = chance.choice((0, 0, 0, 1, 100, 1000))
    drift = chance.choice((0,) * 12 + (1, -1, 2, -2, 900, 1500, -70000, 66000, 70000, 1 << 30))
    ack_drift = chance.choice((0,) * 12 + (1, -1, 900, -66000, 70000))
    flags = chance.choice(("S", "A", "A", "PA", "PA", "PA", "FA", "R", "RA", "SA", "F", "SF"))
    if chance.randrange(4) and flags not in {"S", "SA"}:
        flags = "A"
    segment = tcp(
        flags, ends[side] + drift, ends[1 - side] + ack_drift, size,
        window=chance.choice((0, 1, 1000, 1000, 65535)),
        sport=(40000, 80)[side], dport=(80, 40000)[side],
        options=WSCALE if "S" in flags and chance.randrange(2) else [],
    )  # fmt: skip
    if not drift:
        ends[side] = (ends[side] + size + ("S" in flags) + ("F" in flags)) % 2**32
    return talk.back(segment) if side else talk.there(segment)


def _random_udp(chance: random.Random, _ends: list[int]) -> bytes:
    talk = chance.choice((V4, V6))
    payload = udp(sport=5000 + chance.randrange(2))
    if chance.randrange(2):
        return talk.there(payload)
    answer = talk.back(udp_reply())
    if chance.randrange(3):
        return answer
    error = unreachable() if talk is V4 else ICMPv6DestUnreach()
    return error_about(talk, error, talk.there(payload))


def _random_icmp(chance: random.Random, _ends: list[int]) -> bytes:
    number = chance.randrange(2)
    if chance.randrange(2):
        return chance.choice((V4.there, V4.back))(icmp(chance.choice((8, 0, 8, 0, 13, 14)), number))
    kind = chance.choice((ICMPv6EchoRequest, ICMPv6EchoReply))
    return chance.choice((V6.there, V6.back))(kind(id=number))

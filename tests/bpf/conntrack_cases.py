# SPDX-License-Identifier: Apache-2.0
"""Packet sequences and the ct words that each packet must see.

The same cases run through our module and, byte for byte, through the userspace conntrack of
Open vSwitch: what stands here is the judge of both.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

__all__ = ["CASES", "LABEL", "MARK", "Case", "Step", "Via", "random_frames"]

Packet = Any  # scapy's packets have no types

A4, B4, R4 = "10.0.0.1", "10.0.0.2", "10.0.9.9"
A6, B6, R6 = "2001:db8::1", "2001:db8::2", "2001:db8:9::9"

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
        return bytes(_ETHER / self.ip(src=self.a, dst=self.b, **self.fields) / payload)

    def back(self, payload: Packet) -> bytes:
        """Packet from the second end."""
        return bytes(_ETHER / self.ip(src=self.b, dst=self.a, **self.fields) / payload)


_ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = Talk()
V6 = Talk(A6, B6, IPv6)


def _tcp(flags: str, seq: int, ack: int = 0, size: int = 0, **more: Any) -> Packet:
    more = {"sport": 40000, "dport": 80, "window": 1000} | more
    header = TCP(flags=flags, seq=seq % 2**32, ack=ack % 2**32, **more)
    return header / Raw(bytes(size)) if size else header


def _reply(flags: str, seq: int, ack: int = 0, size: int = 0, **more: Any) -> Packet:
    return _tcp(flags, seq, ack, size, **({"sport": 80, "dport": 40000} | more))


def _open(
    talk: Talk = V4, *, client: int = 100, server: int = 500,
    options: tuple[list[Any], list[Any]] = ([], []),
) -> tuple[Step, ...]:  # fmt: skip
    return (
        Step(talk.there(_tcp("S", client, options=options[0])), "new|trk"),
        Step(talk.back(_reply("SA", server, client + 1, options=options[1])), "est|rpl|trk"),
        Step(talk.there(_tcp("A", client + 1, server + 1)), "est|trk"),
    )


def _udp(size: int = 4, **more: Any) -> Packet:
    return UDP(**({"sport": 5000, "dport": 53} | more)) / Raw(bytes(size))


def _udp_reply(size: int = 4) -> Packet:
    return _udp(size, sport=53, dport=5000)


def _quote(talk: Talk, error: Packet, quoted: bytes, *, router: str = "") -> bytes:
    """An ICMP error from ``router`` to the first end, about a frame that it had sent."""
    source = router or (R4 if talk.ip is IP else R6)
    return bytes(_ETHER / talk.ip(src=source, dst=talk.a) / error / Raw(quoted))


def _l3(frame: bytes, size: int | None = None) -> bytes:
    return frame[14:] if size is None else frame[14 : 14 + size]


def _cut(frame: bytes, size: int) -> bytes:
    """The IPv4 packet shortened to ``size`` bytes, its header saying so."""
    packet = IP(frame[14 : 14 + size])
    packet.len = size
    del packet.chksum
    return bytes(_ETHER / packet)


_WSCALE = [("WScale", 7)]

_TCP_CASES = (
    Case("tcp whole life", (
        *_open(),
        Step(V4.there(_tcp("PA", 101, 501, 100)), "est|trk"),
        Step(V4.back(_reply("A", 501, 201)), "est|rpl|trk"),
        Step(V4.there(_tcp("FA", 201, 501)), "est|trk"),
        Step(V4.back(_reply("FA", 501, 202)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 202, 502)), "est|trk"),
        Step(V4.there(_tcp("S", 9000)), "new|trk"),
        Step(V4.back(_reply("SA", 7000, 9001)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 9001, 7001)), "est|trk"),
    )),
    Case("tcp over ipv6", (
        *_open(V6),
        Step(V6.there(_tcp("PA", 101, 501, 100)), "est|trk"),
        Step(V6.back(_reply("A", 501, 201)), "est|rpl|trk"),
    )),
    Case("tcp opened by the greater address", (
        Step(V4.back(_tcp("S", 100)), "new|trk"),
        Step(V4.there(_reply("SA", 500, 101)), "est|rpl|trk"),
        Step(V4.back(_tcp("A", 101, 501)), "est|trk"),
        Step(V4.there(_reply("PA", 501, 101, 5)), "est|rpl|trk"),
    )),
    Case("tcp reopened by the other end", (
        *_open(),
        Step(V4.there(_tcp("FA", 101, 501)), "est|trk"),
        Step(V4.back(_reply("FA", 501, 102)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 102, 502)), "est|trk"),
        Step(V4.back(_reply("S", 3000)), "new|trk"),
        Step(V4.there(_tcp("SA", 4000, 3001)), "est|rpl|trk"),
    )),
    Case("tcp closed connection looked at only", (
        *_open(),
        Step(V4.there(_tcp("RA", 101, 501)), "est|trk"),
        Step(V4.there(_tcp("S", 3000)), "new|trk", Via.LOOK),
        Step(V4.back(_reply("SA", 1, 3001)), "inv|trk", Via.LOOK),
    )),
    Case("tcp retransmissions", (
        Step(V4.there(_tcp("S", 100)), "new|trk"),
        Step(V4.there(_tcp("S", 100)), "new|trk"),
        Step(V4.back(_reply("SA", 500, 101)), "est|rpl|trk"),
        Step(V4.back(_reply("SA", 500, 101)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 101, 501)), "est|trk"),
        Step(V4.there(_tcp("PA", 101, 501, 50)), "est|trk"),
        Step(V4.there(_tcp("PA", 101, 501, 50)), "est|trk"),
        Step(V4.back(_reply("A", 501, 151)), "est|rpl|trk"),
        Step(V4.there(_tcp("PA", 101, 501, 50)), "est|trk"),
    )),
    Case("tcp simultaneous open", (
        Step(V4.there(_tcp("S", 100)), "new|trk"),
        Step(V4.back(_reply("S", 500)), "new|trk"),
        Step(V4.there(_tcp("SA", 100, 501)), "est|trk"),
        Step(V4.back(_reply("SA", 500, 101)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 101, 501)), "est|trk"),
    )),
    Case("tcp syn in an established connection", (
        *_open(),
        Step(V4.there(_tcp("S", 101)), "est|trk"),
        Step(V4.there(_tcp("S", 90000000)), "inv|trk"),
    )),
    Case("tcp answer without a question", (
        Step(V4.back(_reply("SA", 500, 101)), "inv|trk"),
        Step(V4.back(_reply("SA", 500, 101)), "inv|trk"),
    )),
    Case("tcp not committed", (
        Step(V4.there(_tcp("S", 100)), "new|trk", Via.LOOK),
        Step(V4.back(_reply("SA", 500, 101)), "inv|trk", Via.LOOK),
        Step(V4.there(_tcp("S", 100)), "new|trk", Via.LOOK),
    )),
    Case("tcp flags that make no sense", tuple(
        Step(V4.there(_tcp(flags, 100, 1)), "inv|trk")
        for flags in ("SF", "SR", "", "F", "P", "U", "FPU", "SFA", "SRA", "SP", "SU")
    )),
    Case("tcp flags that may open", tuple(
        Step(V4.there(_tcp(flags, 100, 1, sport=41000 + at)), "new|trk")
        for at, flags in enumerate(("S", "A", "PA", "FA", "R", "RA", "SE", "SEC", "UA"))
    )),
    Case("tcp refused", (
        Step(V4.there(_tcp("S", 100)), "new|trk"),
        Step(V4.back(_reply("RA", 0, 101, window=0)), "est|rpl|trk"),
        Step(V4.there(_tcp("S", 100)), "new|trk"),
        Step(V4.back(_reply("SA", 500, 101)), "est|rpl|trk"),
    )),
    Case("tcp resets", (
        *_open(),
        Step(V4.back(_reply("R", 900)), "inv|trk"),
        Step(V4.back(_reply("R", 503)), "inv|trk"),
        Step(V4.there(_tcp("PA", 101, 501, 5)), "est|trk"),
        Step(V4.back(_reply("R", 501)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 106, 501)), "est|trk"),
        Step(V4.there(_tcp("S", 5000)), "new|trk"),
    )),
    Case("tcp reset off by one", (
        *_open(),
        Step(V4.there(_tcp("R", 103)), "inv|trk"),
        Step(V4.there(_tcp("PA", 101, 501, 9)), "est|trk"),
        Step(V4.there(_tcp("R", 112)), "inv|trk"),
        Step(V4.there(_tcp("R", 111)), "est|trk"),
    )),
    Case("tcp half close", (
        *_open(),
        Step(V4.there(_tcp("FA", 101, 501)), "est|trk"),
        Step(V4.back(_reply("A", 501, 102)), "est|rpl|trk"),
        Step(V4.back(_reply("PA", 501, 102, 400)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 102, 901)), "est|trk"),
        Step(V4.back(_reply("PA", 901, 102, 400)), "est|rpl|trk", wait_s=800),
        Step(V4.there(_tcp("A", 102, 1301)), "est|trk", wait_s=800),
        Step(V4.back(_reply("FA", 1301, 102)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 102, 1302)), "est|trk"),
        Step(V4.back(_reply("A", 1302, 102)), "new|trk", wait_s=46),
    )),
    Case("tcp outside the window", (
        *_open(),
        Step(V4.there(_tcp("PA", 3000, 501, 100)), "inv|trk"),
        Step(V4.there(_tcp("PA", 101, 501, 1000)), "est|trk"),
        Step(V4.there(_tcp("PA", 1101, 501, 2)), "inv|trk"),
        Step(V4.back(_reply("A", 501, 1101)), "est|rpl|trk"),
        Step(V4.there(_tcp("PA", 1101, 501, 2)), "est|trk"),
        Step(V4.there(_tcp("PA", 102 - 900000, 501, 2)), "inv|trk"),
        Step(V4.back(_reply("PA", 501, 1101 + 70000, 3)), "inv|trk"),
        Step(V4.back(_reply("PA", 501, 1101 - 70000, 3)), "inv|trk"),
        Step(V4.back(_reply("PA", 501, 1103, 3)), "est|rpl|trk"),
    )),
    Case("tcp keepalive and closed window", (
        *_open(),
        Step(V4.there(_tcp("A", 100, 501)), "est|trk", wait_s=7200),
        Step(V4.back(_reply("A", 501, 101, window=0)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 101, 501, 1)), "est|trk"),
        Step(V4.back(_reply("A", 501, 101, window=0)), "est|rpl|trk"),
        Step(V4.back(_reply("A", 501, 102, window=1000)), "est|rpl|trk"),
    )),
    Case("tcp window scaling", (
        *_open(options=(_WSCALE, _WSCALE)),
        Step(V4.there(_tcp("PA", 101 + 1024, 501, 1)), "inv|trk"),
        Step(V4.back(_reply("A", 501, 101)), "est|rpl|trk"),
        Step(V4.there(_tcp("PA", 101, 501, 1400)), "est|trk"),
        Step(V4.there(_tcp("PA", 101 + 120000, 501, 1400)), "est|trk"),
        Step(V4.there(_tcp("PA", 101 + 130000, 501, 1400)), "inv|trk"),
        Step(V4.back(_reply("A", 501, 121501)), "est|rpl|trk"),
        Step(V4.there(_tcp("PA", 101 + 130000, 501, 1400)), "est|trk"),
    )),
    Case("tcp window scale refused by the other end", (
        *_open(options=(_WSCALE, [])),
        Step(V4.there(_tcp("PA", 101, 501, 900)), "est|trk"),
        Step(V4.there(_tcp("PA", 1001, 501, 1400)), "inv|trk"),
        Step(V4.back(_reply("PA", 501, 1001, 1400)), "inv|trk"),
        Step(V4.back(_reply("PA", 501, 1001, 900)), "est|rpl|trk"),
    )),
    Case("tcp options around the window scale", (
        *_open(options=(
            [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 14)],
            [("NOP", None), ("NOP", None), ("WScale", 20), ("EOL", None)],
        )),
        Step(V4.back(_reply("A", 501, 101)), "est|rpl|trk"),
        Step(V4.there(_tcp("PA", 101 + 3000000, 501, 1400)), "est|trk"),
        Step(V4.back(_reply("PA", 501 + 3000000, 101, 1400)), "est|rpl|trk"),
    )),
    Case("tcp sequence numbers wrap", (
        *_open(client=2**32 - 50, server=2**32 - 2),
        Step(V4.there(_tcp("PA", 2**32 - 49, 2**32 - 1, 900)), "est|trk"),
        Step(V4.back(_reply("PA", 2**32 - 1, 851, 900)), "est|rpl|trk"),
        Step(V4.there(_tcp("PA", 851, 899, 900)), "est|trk"),
        Step(V4.back(_reply("A", 899, 1751)), "est|rpl|trk"),
        Step(V4.there(_tcp("PA", 2**31, 899, 900)), "inv|trk"),
    )),
    Case("tcp picked up in the middle", (
        Step(V4.there(_tcp("PA", 5000, 9000, 100)), "new|trk"),
        Step(V4.there(_tcp("PA", 5100, 9000, 100)), "est|trk"),
        Step(V4.back(_reply("A", 9000, 5200)), "est|rpl|trk"),
        Step(V4.back(_reply("PA", 9000, 5200, 1000)), "est|rpl|trk"),
        Step(V4.there(_tcp("A", 5200, 10000)), "est|trk"),
        Step(V4.there(_tcp("PA", 5200 + 9000000, 10000, 100)), "est|trk"),
        Step(V4.there(_tcp("PA", 5200 + 1 << 30, 10000, 100)), "inv|trk"),
    )),
    Case("tcp picked up from the answering end", (
        Step(V4.back(_reply("PA", 9000, 5200, 1000)), "new|trk"),
        Step(V4.there(_tcp("A", 5200, 10000)), "est|rpl|trk"),
        Step(V4.back(_reply("PA", 10000, 5200, 1000)), "est|trk"),
    )),
    Case("tcp half open expires", (
        Step(V4.there(_tcp("S", 100)), "new|trk"),
        Step(V4.back(_reply("SA", 500, 101)), "inv|trk", wait_s=31),
        Step(V4.there(_tcp("S", 100)), "new|trk"),
        Step(V4.back(_reply("SA", 500, 101)), "est|rpl|trk", wait_s=29),
        Step(V4.there(_tcp("A", 101, 501)), "est|trk", wait_s=29),
        Step(V4.there(_tcp("A", 101, 501)), "est|trk", wait_s=86000),
        Step(V4.there(_tcp("A", 101, 501)), "new|trk", wait_s=86401),
        Step(V4.back(_reply("SA", 500, 101)), "est|rpl|trk"),
    )),
    Case("tcp ports and lengths that cannot be", (
        Step(V4.there(_tcp("S", 1, sport=0)), "inv|trk"),
        Step(V4.there(_tcp("S", 1, dport=0)), "inv|trk"),
        Step(V4.there(_tcp("S", 1, dataofs=4)), "inv|trk"),
        Step(V4.there(_tcp("S", 1, dataofs=6)), "inv|trk"),
        Step(_cut(V4.there(_tcp("S", 1)), 36), "inv|trk"),
        Step(_cut(V4.there(_tcp("S", 1)), 24), "inv|trk"),
    )),
)

_UDP_CASES = (
    Case("udp", (
        Step(V4.there(_udp()), "new|trk"),
        Step(V4.there(_udp()), "new|trk"),
        Step(V4.back(_udp_reply()), "est|rpl|trk"),
        Step(V4.there(_udp()), "est|trk"),
        Step(V4.back(_udp_reply()), "est|rpl|trk"),
        Step(V4.back(_udp_reply()), "est|rpl|trk", wait_s=29),
        Step(V4.back(_udp_reply()), "new|trk", wait_s=31),
        Step(V4.there(_udp()), "est|rpl|trk"),
    )),
    Case("udp over ipv6", (
        Step(V6.back(_udp()), "new|trk"),
        Step(V6.there(_udp_reply()), "est|rpl|trk"),
        Step(V6.back(_udp()), "est|trk"),
    )),
    Case("udp one way lives on", (
        Step(V4.there(_udp()), "new|trk"),
        Step(V4.there(_udp()), "new|trk", Via.LOOK, wait_s=59),
        Step(V4.there(_udp()), "new|trk", Via.LOOK, wait_s=59),
        Step(V4.back(_udp_reply()), "est|rpl|trk", Via.LOOK, wait_s=59),
        Step(V4.back(_udp_reply()), "new|trk", Via.LOOK, wait_s=31),
    )),
    Case("udp lengths and ports that cannot be", (
        Step(V4.there(_udp(len=7)), "inv|trk"),
        Step(V4.there(_udp(len=13)), "inv|trk"),
        Step(V4.there(_udp(sport=0)), "inv|trk"),
        Step(V4.there(_udp(dport=0)), "inv|trk"),
        Step(_cut(V4.there(_udp()), 26), "inv|trk"),
    )),
    Case("zones are apart", (
        Step(V4.there(_udp()), "new|trk"),
        Step(V4.back(_udp_reply()), "new|trk", Via.ZONE2),
        Step(V4.back(_udp_reply()), "est|rpl|trk"),
        Step(V4.there(_udp()), "new|trk", Via.ZONE2),
    )),
)

_OTHER_CASES = (
    Case("other protocols by address", (
        Step(V4.there(Raw(bytes(8))), "new|trk"),
        Step(V4.back(Raw(bytes(8))), "est|rpl|trk"),
        Step(V4.there(Raw(b"")), "est|trk"),
    )),
    Case("gre", (
        Step(bytes(_ETHER / IP(src=A4, dst=B4, proto=47) / Raw(b"x")), "new|trk"),
        Step(bytes(_ETHER / IP(src=A4, dst=B4, proto=47) / Raw(b"x")), "new|trk"),
        Step(bytes(_ETHER / IP(src=B4, dst=A4, proto=50) / Raw(b"x")), "new|trk"),
        Step(bytes(_ETHER / IP(src=B4, dst=A4, proto=47) / Raw(b"x")), "est|rpl|trk"),
    )),
    Case("sctp", (
        Step(bytes(_ETHER / IP(src=A4, dst=B4, proto=132) / Raw(b"\0\5\0\7" + bytes(8))),
             "new|trk"),
        Step(bytes(_ETHER / IP(src=B4, dst=A4, proto=132) / Raw(b"\0\7\0\5" + bytes(8))),
             "est|rpl|trk"),
        Step(bytes(_ETHER / IP(src=A4, dst=B4, proto=132) / Raw(b"\0\5\0\7" + bytes(8))),
             "est|trk"),
    )),
    Case("sctp associations between the same hosts", (
        Step(bytes(_ETHER / IP(src=A4, dst=B4, proto=132) / Raw(b"\0\5\0\7" + bytes(8))),
             "new|trk"),
        Step(bytes(_ETHER / IP(src=B4, dst=A4, proto=132) / Raw(b"\0\7\0\6" + bytes(8))),
             "new|trk"),
    ), differs="OVS 3.1 does not look at the ports of SCTP; the kernel and OVS 3.5 do"),
)


def _icmp(kind: int, number: int = 7, code: int = 0) -> Packet:
    return ICMP(type=kind, code=code, id=number, seq=1) / Raw(b"data")


_ICMP_CASES = (
    Case("ping", (
        Step(V4.there(_icmp(8)), "new|trk"),
        Step(V4.there(_icmp(8)), "new|trk"),
        Step(V4.back(_icmp(0)), "est|rpl|trk"),
        Step(V4.there(_icmp(8)), "est|trk"),
        Step(V4.there(_icmp(8, 8)), "new|trk"),
        Step(V4.there(_icmp(8)), "new|trk", wait_s=31),
    )),
    Case("ping over ipv6", (
        Step(V6.back(ICMPv6EchoRequest(id=3)), "new|trk"),
        Step(V6.there(ICMPv6EchoReply(id=3)), "est|rpl|trk"),
        Step(V6.back(ICMPv6EchoRequest(id=3)), "est|trk"),
        Step(V6.there(ICMPv6EchoRequest(id=3)), "new|trk"),
        Step(V6.there(ICMPv6EchoReply(id=4)), "inv|trk"),
    )),
    Case("pings both ways with one identifier", (
        Step(V4.there(_icmp(8)), "new|trk"),
        Step(V4.back(_icmp(8)), "new|trk"),
        Step(V4.there(_icmp(0)), "est|rpl|trk"),
        Step(V4.there(_icmp(8)), "new|trk"),
        Step(V4.back(_icmp(0)), "est|rpl|trk"),
    )),
    Case("timestamp and information", (
        Step(V4.there(_icmp(13)), "new|trk"),
        Step(V4.back(_icmp(14)), "est|rpl|trk"),
        Step(V4.there(_icmp(15)), "new|trk"),
        Step(V4.back(_icmp(16)), "est|rpl|trk"),
        Step(V4.back(_icmp(0)), "inv|trk"),
    )),
    Case("icmp that opens nothing", (
        Step(V4.there(_icmp(0)), "inv|trk"),
        Step(V4.there(_icmp(17)), "inv|trk"),
        Step(V4.there(_icmp(9)), "inv|trk"),
        Step(V4.there(_icmp(8, code=1)), "inv|trk"),
        Step(V6.there(ICMPv6ND_NS(tgt=B6)), "inv|trk"),
        Step(V6.there(ICMPv6EchoRequest(id=3, code=1)), "inv|trk"),
        Step(_cut(V4.there(_icmp(8)), 26), "inv|trk"),
    )),
)


def _unreachable(code: int = 3) -> Packet:
    return ICMP(type=3, code=code)


_MARKED = {"mark": MARK[0], "label": LABEL[0]}

_RELATED_CASES = (
    Case("error about a udp packet", (
        Step(V4.there(_udp()), "new|trk", Via.MARK),
        Step(_quote(V4, _unreachable(), _l3(V4.there(_udp()), 28)), "rel|rpl|trk", **_MARKED),
        Step(_quote(V4, _unreachable(), _l3(V4.there(_udp()), 28)), "rel|rpl|trk", Via.NAT,
             **_MARKED),
        Step(_quote(V4, ICMP(type=11), _l3(V4.there(_udp()), 28)), "rel|rpl|trk", **_MARKED),
        Step(_quote(V4, ICMP(type=4), _l3(V4.there(_udp()), 28)), "rel|rpl|trk", **_MARKED),
        Step(_quote(V4, ICMP(type=5, gw=B4), _l3(V4.there(_udp()), 28)), "rel|rpl|trk", **_MARKED),
        Step(_quote(V4, ICMP(type=12), _l3(V4.there(_udp()), 28)), "rel|rpl|trk", **_MARKED),
        Step(_quote(Talk(B4, A4), _unreachable(), _l3(V4.back(_udp_reply()))), "rel|trk",
             **_MARKED),
    )),
    Case("error keeps nothing alive", (
        Step(V4.there(_udp()), "new|trk"),
        Step(_quote(V4, _unreachable(), _l3(V4.there(_udp()))), "rel|rpl|trk", wait_s=50),
        Step(_quote(V4, _unreachable(), _l3(V4.there(_udp()))), "inv|trk", wait_s=11),
    )),
    Case("error about nothing known", (
        Step(_quote(V4, _unreachable(), _l3(V4.there(_udp()))), "inv|trk"),
        Step(_quote(V4, _unreachable(), _l3(V4.there(_udp()))), "inv|trk", Via.NAT),
        Step(V4.there(_udp()), "new|trk"),
    )),
    Case("error about tcp, eight bytes quoted", (
        *_open(),
        Step(_quote(V4, _unreachable(4), _l3(V4.there(_tcp("PA", 101, 501, 90)), 28)),
             "rel|rpl|trk"),
        Step(_quote(V4, _unreachable(4), _l3(V4.there(_tcp("PA", 101, 501, 90)), 27)), "inv|trk"),
        Step(_quote(V4, _unreachable(4), _l3(V4.there(_tcp("PA", 101, 501, 90)), 19)), "inv|trk"),
    )),
    Case("error about tcp over ipv6", (
        *_open(V6),
        Step(_quote(V6, ICMPv6PacketTooBig(mtu=1280), _l3(V6.there(_tcp("PA", 101, 501, 90)))),
             "rel|rpl|trk"),
        Step(_quote(V6, ICMPv6PacketTooBig(), _l3(V6.there(_tcp("PA", 101, 501, 90)), 60)),
             "rel|rpl|trk"),
        Step(_quote(V6, ICMPv6PacketTooBig(), _l3(V6.there(_tcp("PA", 101, 501, 90)), 59)),
             "inv|trk"),
    )),
    Case("error about udp over ipv6", (
        Step(V6.there(_udp()), "new|trk"),
        *(Step(_quote(V6, error, _l3(V6.there(_udp()))), "rel|rpl|trk")
          for error in (ICMPv6DestUnreach(), ICMPv6TimeExceeded(), ICMPv6ParamProblem())),
        Step(_quote(Talk(B6, A6, IPv6), ICMPv6DestUnreach(), _l3(V6.back(_udp_reply()))),
             "rel|trk"),
        Step(_quote(V6, ICMPv6DestUnreach(), _l3(V6.there(_udp()), 47)), "inv|trk"),
    )),
    Case("quote with options", (
        Step(V4.there(_udp()), "new|trk"),
        Step(_quote(V4, _unreachable(), _l3(Talk(fields={"options": [IPOption_NOP()] * 4}).there(
            _udp()))), "rel|rpl|trk"),
    )),
    Case("quote with extension headers", (
        Step(V6.there(_udp()), "new|trk"),
        Step(_quote(V6, ICMPv6DestUnreach(), _l3(V6.there(
            IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / _udp()))), "rel|rpl|trk"),
        Step(_quote(V6, ICMPv6DestUnreach(), _l3(V6.there(
            IPv6ExtHdrFragment(id=3, m=0) / _udp()))), "rel|rpl|trk"),
    )),
    Case("quoted fragments", (
        Step(V4.there(_udp()), "new|trk"),
        Step(_quote(V4, _unreachable(), _l3(Talk(fields={"flags": "MF"}).there(_udp()))),
             "inv|trk"),
        Step(_quote(V4, _unreachable(), _l3(Talk(fields={"frag": 3}).there(_udp()))), "inv|trk"),
        Step(V6.there(_udp()), "new|trk"),
        Step(_quote(V6, ICMPv6DestUnreach(), _l3(V6.there(
            IPv6ExtHdrFragment(id=3, m=1) / _udp()))), "inv|trk"),
    )),
    Case("quote that is not the receiver's", (
        Step(V4.there(_udp()), "new|trk"),
        Step(_quote(Talk(B4, A4), _unreachable(), _l3(V4.there(_udp()))), "inv|trk"),
        Step(_quote(Talk(R4, A4), _unreachable(), _l3(V4.there(_udp()))), "inv|trk"),
    )),
    Case("error about a ping", (
        Step(V4.there(_icmp(8)), "new|trk"),
        Step(_quote(V4, _unreachable(1), _l3(V4.there(_icmp(8)))), "rel|rpl|trk"),
        Step(_quote(Talk(B4, A4), _unreachable(1), _l3(V4.back(_icmp(0)))), "rel|trk"),
        Step(_quote(V4, _unreachable(1), _l3(V4.there(_icmp(8, 99)))), "inv|trk"),
        Step(V6.there(ICMPv6EchoRequest(id=3)), "new|trk"),
        Step(_quote(V6, ICMPv6DestUnreach(), _l3(V6.there(ICMPv6EchoRequest(id=3)))),
             "rel|rpl|trk"),
    )),
    Case("error about an error", (
        Step(V4.there(_udp()), "new|trk"),
        Step(_quote(V4, _unreachable(), _l3(V4.there(
            _unreachable() / Raw(_l3(V4.back(_udp_reply())))))), "inv|trk"),
    )),
    Case("error about gre", (
        Step(bytes(_ETHER / IP(src=A4, dst=B4, proto=47) / Raw(b"x")), "new|trk"),
        Step(_quote(V4, _unreachable(2), bytes(IP(src=A4, dst=B4, proto=47))), "rel|rpl|trk"),
    )),
)

_MARK_CASES = (
    Case("mark and label are seen by both directions", (
        Step(V4.there(_udp()), "new|trk", Via.MARK),
        Step(V4.back(_udp_reply()), "est|rpl|trk", Via.LOOK, **_MARKED),
        Step(V4.there(_udp()), "est|trk", Via.LOOK, **_MARKED),
        Step(V4.there(_udp()), "new|trk", Via.LOOK, wait_s=31),
        Step(V4.there(_udp()), "new|trk"),
        Step(V4.there(_udp()), "new|trk", Via.LOOK),
    )),
    Case("mark of an entry that is there", (
        Step(V4.there(_udp()), "new|trk"),
        Step(V4.back(_udp_reply()), "est|rpl|trk", Via.MARK),
        Step(V4.there(_udp()), "est|trk", **_MARKED),
        Step(V4.there(_udp()), "est|trk", **_MARKED),
    )),
    Case("invalid packet marks the entry that it belongs to", (
        *_open(),
        Step(V4.there(_tcp("PA", 900000000, 501, 100)), "inv|trk", Via.MARK),
        Step(V4.there(_tcp("PA", 101, 501, 10)), "est|trk", Via.LOOK, **_MARKED),
        Step(V4.there(_tcp("PA", 900000000, 501, 100)), "inv|trk", Via.LOOK, **_MARKED),
    )),
    Case("related packet marks the entry", (
        Step(V4.there(_udp()), "new|trk"),
        Step(_quote(V4, _unreachable(), _l3(V4.there(_udp()))), "rel|rpl|trk", Via.MARK),
        Step(V4.there(_udp()), "new|trk", Via.LOOK, **_MARKED),
    )),
    Case("reopened connection has no mark", (
        Step(V4.there(_tcp("S", 100)), "new|trk", Via.MARK),
        Step(V4.back(_reply("RA", 0, 101)), "est|rpl|trk", Via.LOOK, **_MARKED),
        Step(V4.there(_tcp("S", 200)), "new|trk", Via.LOOK),
    )),
    Case("commit with nat and no translation", (
        Step(V4.there(_udp()), "new|trk"),
        Step(V4.back(_udp_reply()), "est|rpl|trk", Via.NAT),
        Step(V4.there(_udp()), "est|trk", Via.NAT),
    )),
)

CASES: tuple[Case, ...] = (
    *_TCP_CASES, *_UDP_CASES, *_OTHER_CASES, *_ICMP_CASES, *_RELATED_CASES, *_MARK_CASES,
)  # fmt: skip


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
    segment = _tcp(
        flags, ends[side] + drift, ends[1 - side] + ack_drift, size,
        window=chance.choice((0, 1, 1000, 1000, 65535)),
        sport=(40000, 80)[side], dport=(80, 40000)[side],
        options=_WSCALE if "S" in flags and chance.randrange(2) else [],
    )  # fmt: skip
    if not drift:
        ends[side] = (ends[side] + size + ("S" in flags) + ("F" in flags)) % 2**32
    return talk.back(segment) if side else talk.there(segment)


def _random_udp(chance: random.Random, _ends: list[int]) -> bytes:
    talk = chance.choice((V4, V6))
    payload = _udp(sport=5000 + chance.randrange(2))
    if chance.randrange(2):
        return talk.there(payload)
    answer = talk.back(_udp_reply())
    if chance.randrange(3):
        return answer
    error = _unreachable() if talk is V4 else ICMPv6DestUnreach()
    return _quote(talk, error, _l3(talk.there(payload)))


def _random_icmp(chance: random.Random, _ends: list[int]) -> bytes:
    number = chance.randrange(2)
    if chance.randrange(2):
        return chance.choice((V4.there, V4.back))(_icmp(chance.choice((8, 0, 8, 0, 13, 14)), number))
    kind = chance.choice((ICMPv6EchoRequest, ICMPv6EchoReply))
    return chance.choice((V6.there, V6.back))(kind(id=number))

# SPDX-License-Identifier: Apache-2.0
"""A stream of steps: random frames, the machines' reactions to what reaches them, changes between.

Reactions build up connections: a machine that gets a SYN answers it from the very bytes that it
received, so that what routers changed on the way is part of the conversation.
"""

import random
from collections import deque
from collections.abc import Callable

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkCookieAck, SCTPChunkInit, SCTPChunkInitAck
from scapy.packet import Raw

from differential.case import Send, Step
from differential.changes import Changes
from differential.frames import Drawn, Frames
from differential.headers import Headers, Packet
from differential.odd_frames import OddFrames
from differential.plan import Host, Plan
from differential.side import Outputs
from differential.topology import Topology

__all__ = ["Traffic"]

_Maker = Callable[[Host], Drawn]
_CHANGE_EVERY = 40
_MOST_WAITING = 12


class Traffic:
    """Gives the next step, and is told what came out of it."""

    def __init__(self, seed: int, topology: Topology, plan: Plan) -> None:
        """Draw from ``seed``."""
        self._chance = random.Random(seed)
        self._plan = plan
        self._kinds = _kinds(self._chance, plan)
        self._changes = Changes(self._chance, topology, plan)
        self._waiting: deque[Send] = deque()
        self._last: Send | None = None

    def next(self) -> Step:
        """Return what happens next."""
        if not self._chance.randrange(_CHANGE_EVERY):
            return self._changes.draw()
        if self._waiting and self._chance.randrange(4):
            return self._waiting.popleft()
        if (
            self._last is not None
            and not self._chance.randrange(12)
            and self._may_repeat(self._last)
        ):
            return self._last
        host = self._chance.choice(self._plan.hosts)
        makers, weights = zip(*self._kinds, strict=True)
        frames, what = self._chance.choices(makers, weights)[0](host)
        self._last = Send(host.port, frames, what)
        if not self._chance.randrange(4) and self._may_repeat(self._last):
            # The next of a kind may take another way than the first, and must fare alike. Not at
            # once: ordinary OVN learns later than we do what the first one brings about.
            self._waiting.extendleft([self._last] * self._chance.randint(1, 2))
        return self._last

    def _may_repeat(self, step: Send) -> bool:
        """Not a SYN through NAT, of a connection refused: OVS 3.1 gives it another port then."""
        return not self._plan.translated or not step.what.startswith("tcp")

    def saw(self, outputs: Outputs) -> None:
        """Let the machines react to what they received."""
        for port in sorted(outputs):
            for frame in outputs[port]:
                reaction = self._react(self._plan.at(port), frame)
                if reaction is not None and len(self._waiting) < _MOST_WAITING:
                    self._waiting.append(Send(port, (bytes(reaction[0]),), reaction[1]))

    def _react(self, host: Host, data: bytes) -> tuple[Packet, str] | None:
        frame = Ether(data)
        if Dot1Q in frame or not self._chance.randrange(5):
            return None
        if ARP in frame:
            return _arp_reply(host, frame)
        if ICMPv6ND_NS in frame:
            if host.port in self._plan.secured:
                return None  # see Frames
            return _advertisement(host, frame)
        if frame.dst != host.mac or (IP not in frame and IPv6 not in frame):
            return None
        if IP in frame and (frame[IP].frag or frame[IP].flags.MF):
            return None
        for layer, reaction in _REACTIONS:
            if layer in frame and (answer := reaction(self._chance, frame)) is not None:
                if not self._chance.randrange(6):
                    return _unreachable(frame), "icmp error about what was received"
                payload, what = answer
                return _back(frame, payload), what
        return None


def _kinds(chance: random.Random, plan: Plan) -> list[tuple[_Maker, int]]:
    """Return the kinds of frames with their weights."""
    headers = Headers(chance, plan)
    frames = Frames(chance, plan, headers)
    odd = OddFrames(chance, plan, headers, frames)
    return [
        (frames.plain, 50),
        (frames.arp, 8),
        (frames.neighbour, 8),
        (frames.to_group, 6),
        (frames.error, 4),
        (frames.large, 3),
        (frames.service, 2),
        (odd.with_options, 6),
        (odd.tagged, 5),
        (odd.spoofed, 5),
        (odd.fragments, 4),
        (odd.broken, 4),
        (odd.other_ethernet, 3),
    ]


def _arp_reply(host: Host, frame: Packet) -> tuple[Packet, str] | None:
    arp = frame[ARP]
    if arp.op != 1 or arp.pdst != host.ip4 or arp.hwtype != 1:
        return None
    reply = ARP(op=2, hwsrc=host.mac, psrc=host.ip4, hwdst=arp.hwsrc, pdst=arp.psrc)
    return Ether(src=host.mac, dst=arp.hwsrc) / reply, "arp reply"


def _advertisement(host: Host, frame: Packet) -> tuple[Packet, str] | None:
    if frame[ICMPv6ND_NS].tgt != host.ip6 or frame[IPv6].src == "::":
        return None
    packet = IPv6(src=host.ip6, dst=frame[IPv6].src, hlim=255)
    message = ICMPv6ND_NA(tgt=host.ip6, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=host.mac)
    return Ether(src=host.mac, dst=frame.src) / packet / message, "nd reply"


def _back(frame: Packet, payload: Packet) -> Packet:
    ether = Ether(src=frame.dst, dst=frame.src)
    if IP in frame:
        return ether / IP(src=frame[IP].dst, dst=frame[IP].src, id=frame[IP].id ^ 0x55) / payload
    return ether / IPv6(src=frame[IPv6].dst, dst=frame[IPv6].src) / payload


def _unreachable(frame: Packet) -> Packet:
    if IP in frame:
        return _back(frame, ICMP(type=3, code=3) / Raw(bytes(frame[IP])[:60]))
    return _back(frame, ICMPv6DestUnreach(code=4) / Raw(bytes(frame[IPv6])[:300]))


def _tcp(chance: random.Random, frame: Packet) -> tuple[Packet, str] | None:
    got = frame[TCP]
    flags = str(got.flags)
    ends = {"sport": got.dport, "dport": got.sport, "window": 5000}
    size = len(got.payload)
    following = (got.seq + size + ("S" in flags) + ("F" in flags)) % 2**32
    if "R" in flags:
        return None
    if flags == "S":
        if not chance.randrange(5):
            return TCP(**ends, flags="RA", ack=following), "tcp refusal"
        answer = TCP(**ends, flags="SA", seq=chance.randrange(2**32), ack=following,
                     options=[("WScale", 3)])  # fmt: skip
        return answer, "tcp reply to SYN"
    flags = chance.choice(("A", "A", "PA", "PA", "PA", "FA", "RA"))
    data = Raw(chance.randbytes(20)) if flags == "PA" else b""
    drift = chance.choice((0,) * 10 + (1, 100000, -1))
    segment = TCP(**ends, flags=flags, seq=(got.ack + drift) % 2**32, ack=following) / data
    return segment, f"tcp reply {flags}"


def _udp(chance: random.Random, frame: Packet) -> tuple[Packet, str] | None:
    got = frame[UDP]
    if got.dport == got.sport:
        return None
    return UDP(sport=got.dport, dport=got.sport) / Raw(chance.randbytes(9)), "udp reply"


def _ping(_chance: random.Random, frame: Packet) -> tuple[Packet, str] | None:
    got = frame[ICMP]
    if got.type != 8:
        return None
    return ICMP(type=0, id=got.id, seq=got.seq) / Raw(bytes(got.payload)), "icmp4 reply"


def _ping6(_chance: random.Random, frame: Packet) -> tuple[Packet, str] | None:
    got = frame[ICMPv6EchoRequest]
    return ICMPv6EchoReply(id=got.id, seq=got.seq, data=got.data), "icmp6 reply"


def _sctp(_chance: random.Random, frame: Packet) -> tuple[Packet, str] | None:
    got = frame[SCTP]
    chunk = SCTPChunkInitAck(init_tag=6) if SCTPChunkInit in frame else SCTPChunkCookieAck()
    return SCTP(sport=got.dport, dport=got.sport, tag=5) / chunk, "sctp reply"


_Reaction = Callable[[random.Random, Packet], tuple[Packet, str] | None]
_REACTIONS: tuple[tuple[type[Packet], _Reaction], ...] = (
    (ICMP, _ping), (ICMPv6EchoRequest, _ping6), (TCP, _tcp), (UDP, _udp), (SCTP, _sctp),
)  # fmt: skip

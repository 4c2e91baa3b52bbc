# SPDX-License-Identifier: Apache-2.0
"""Whether the backends of a load balancer live: probes, answers, and what follows from them.

As OVN's service monitor (controller/pinctrl.c): TCP lives if a SYN is answered by SYN and ACK; the
handshake is not finished. UDP is dead if a datagram is answered by ICMP port unreachable; silence
is no sign of death there. A backend counts as alive until it has failed often enough.

Frames are built and read here; how they travel is the caller's matter.
"""

import random
import struct
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

__all__ = ["HealthChecker", "Probe", "Target"]

_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_FIN_SYN_RST_ACK = 0x17
_SYN, _RST, _SYN_ACK = 0x02, 0x04, 0x12
_FIRST_PORT, _LAST_PORT = 49152, 65535
_TTL = 64

_Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Target:
    """A backend as it is probed; ``owner`` is the caller's, times are in seconds."""

    owner: Hashable
    source: _Address
    source_mac: bytes
    ip: _Address
    port: int
    protocol: str  # "tcp" or "udp"
    interval_s: float
    timeout_s: float
    success_count: int
    failure_count: int


class _Answer(Enum):
    ALIVE = 1
    DEAD = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """What is out at the moment: our port, and the number of a SYN."""

    port: int
    sequence: int
    until: float


@dataclass(slots=True)
class _State:
    target: Target
    next_probe: float
    probe: Probe | None = None
    is_alive: bool = True
    successes: int = 0
    failures: int = 0


@dataclass(slots=True)
class HealthChecker:
    """Probes its targets one by one. ``send(target, frame)`` brings a frame on its way.

    The frame's destination MAC address is 0: who sends it resolves the next hop. ``on_change`` is
    called with a target that is taken for dead, or alive again.
    """

    send: Callable[[Target, bytes], None]
    on_change: Callable[[Target, bool], None]
    rng: random.Random = field(default_factory=random.SystemRandom)
    _states: dict[Target, _State] = field(default_factory=dict)

    def follow(self, targets: Iterable[Target], now: float) -> None:
        """Probe these from now on; what is known of those followed before stays."""
        wanted = list(dict.fromkeys(targets))
        old = self._states
        self._states = {}
        for target in wanted:
            # Spread over an interval, so that a thousand backends are no burst.
            first = now + self.rng.random() * min(1.0, target.interval_s)
            self._states[target] = old.get(target) or _State(target, first)

    def is_alive(self, target: Target) -> bool:
        """Whether a target is taken for alive; one that is not followed is."""
        state = self._states.get(target)
        return state is None or state.is_alive

    def alive(self) -> dict[Target, bool]:
        """All targets."""
        return {target: state.is_alive for target, state in self._states.items()}

    @property
    def next_due(self) -> float | None:
        """When :meth:`run` has something to do."""
        return min(
            (state.probe.until if state.probe else state.next_probe
             for state in self._states.values()), default=None,
        )  # fmt: skip

    def run(self, now: float) -> None:
        """Send what is due, give up what was not answered."""
        for state in list(self._states.values()):
            if state.probe is not None and state.probe.until <= now:
                silence = _Answer.ALIVE if state.target.protocol == "udp" else _Answer.DEAD
                self._conclude(state, silence, now)
            if state.probe is None and state.next_probe <= now:
                port = self.rng.randint(_FIRST_PORT, _LAST_PORT)
                state.probe = Probe(port, self.rng.getrandbits(32), now + state.target.timeout_s)
                self.send(state.target, _probe_frame(state.target, state.probe))

    def receive(self, owner: Hashable, frame: bytes, now: float) -> None:
        """Take a frame that came for a source address; one that answers nothing is ignored."""
        packet = _read(frame)
        if packet is None:
            return
        for state in self._states.values():
            probe, target = state.probe, state.target
            if probe is None or target.owner != owner:
                continue
            answer = _answer(packet, target, probe)
            if answer is None:
                continue
            if answer is _Answer.ALIVE and target.protocol == "tcp":
                self.send(target, _tcp_frame(target, probe.port, probe.sequence + 1, _RST))
            self._conclude(state, answer, now)
            return

    def _conclude(self, state: _State, answer: _Answer, now: float) -> None:
        state.probe = None
        state.next_probe = now + state.target.interval_s
        if answer is _Answer.ALIVE:
            state.successes, state.failures = state.successes + 1, 0
        else:
            state.successes, state.failures = 0, state.failures + 1
        target = state.target
        was_alive = state.is_alive
        if was_alive and state.failures >= target.failure_count:
            state.is_alive = False
        elif not was_alive and state.successes >= target.success_count:
            state.is_alive = True
        if state.is_alive != was_alive:
            self.on_change(target, state.is_alive)


@dataclass(frozen=True, slots=True)
class _Packet:
    """An IP packet; ``quoted`` is what an ICMP port unreachable carries."""

    source: _Address
    destination: _Address
    protocol: int
    payload: bytes
    quoted: "_Packet | None" = None


def _answer(packet: _Packet, target: Target, probe: Probe) -> _Answer | None:
    """What a packet says about a probe; None if it is about something else."""
    protocol = _TCP if target.protocol == "tcp" else _UDP
    if packet.quoted is not None:
        about = packet.quoted
        is_ours = (about.source, about.destination) == (target.source, target.ip)
        ports = struct.pack(">HH", probe.port, target.port)
        is_ours = is_ours and about.protocol == protocol and about.payload.startswith(ports)
        return _Answer.DEAD if is_ours else None
    if (packet.source, packet.destination) != (target.ip, target.source):
        return None
    ports = struct.pack(">HH", target.port, probe.port)
    if packet.protocol != protocol or not packet.payload.startswith(ports):
        return None
    if protocol == _UDP:
        return _Answer.ALIVE
    if len(packet.payload) < 20:
        return None
    (acknowledged,) = struct.unpack_from(">I", packet.payload, 8)
    flags = packet.payload[13] & _FIN_SYN_RST_ACK
    if acknowledged != (probe.sequence + 1) & 0xFFFFFFFF:
        return None
    if flags & _RST:
        return _Answer.DEAD
    return _Answer.ALIVE if flags == _SYN_ACK else None


def _read(frame: bytes) -> _Packet | None:
    """The IP packet of an untagged Ethernet frame; None for what is none or is cut."""
    if len(frame) < 14:
        return None
    return _read_ip(frame[14:], quotes=True)


def _read_ip(data: bytes, *, quotes: bool) -> _Packet | None:
    if len(data) >= 20 and data[0] >> 4 == 4:
        start, protocol = (data[0] & 15) * 4, data[9]
        source: _Address = IPv4Address(data[12:16])
        destination: _Address = IPv4Address(data[16:20])
    elif len(data) >= 40 and data[0] >> 4 == 6:
        start, protocol = 40, data[6]
        source, destination = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    else:
        return None
    payload = data[start:]
    quoted = None
    if quotes and protocol in (_ICMP, _ICMP6):
        unreachable = b"\x03\x03" if protocol == _ICMP else b"\x01\x04"
        if payload[:2] != unreachable:
            return None
        quoted = _read_ip(payload[8:], quotes=False)
        if quoted is None:
            return None
    return _Packet(source, destination, protocol, payload, quoted)


def _probe_frame(target: Target, probe: Probe) -> bytes:
    if target.protocol == "tcp":
        return _tcp_frame(target, probe.port, probe.sequence, _SYN)
    header = struct.pack(">HHHH", probe.port, target.port, 8, 0)
    checksum = _checksum(_pseudo(target, _UDP, 8) + header) or 0xFFFF
    return _frame(target, _UDP, header[:6] + struct.pack(">H", checksum))


def _tcp_frame(target: Target, port: int, sequence: int, flags: int) -> bytes:
    header = struct.pack(
        ">HHIIBBHHH", port, target.port, sequence & 0xFFFFFFFF, 0, 5 << 4, flags, 1024, 0, 0
    )
    checksum = _checksum(_pseudo(target, _TCP, len(header)) + header)
    return _frame(target, _TCP, header[:16] + struct.pack(">H", checksum) + header[18:])


def _pseudo(target: Target, protocol: int, size: int) -> bytes:
    return target.source.packed + target.ip.packed + struct.pack(">II", size, protocol)


def _frame(target: Target, protocol: int, payload: bytes) -> bytes:
    addresses = target.source.packed + target.ip.packed
    if target.ip.version == 4:
        kind = b"\x08\x00"
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, _TTL, protocol, 0)
        checksum = _checksum(head + addresses)
        head = head[:10] + struct.pack(">H", checksum) + addresses
    else:
        kind = b"\x86\xdd"
        head = struct.pack(">IHBB", 6 << 28, len(payload), protocol, _TTL) + addresses
    return bytes(6) + target.source_mac + kind + head + payload


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    words: tuple[int, ...] = struct.unpack(f">{len(data) // 2}H", data)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

# SPDX-License-Identifier: Apache-2.0
"""Packets that wait for a neighbour.

``arp{}`` and ``nd_ns{}`` ask for a MAC address; the packet that needs it comes here and goes on
to its output when the answer is known. How long that may take is a :class:`Patience`. That of
ovn-controller is the default: three or four packets a next hop, until ten seconds after the latest
(OVN controller/pinctrl.c of 23.03, controller/mac-cache.c since, buffered packets).
"""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["HOLD_S", "MAX_BYTES", "MAX_HOPS", "Held", "HoldQueue", "Hop", "Patience",
       "complete_checksum", "held_per_hop"]  # fmt: skip

HOLD_S = 10.0
#: Next hops with packets waiting, and bytes of all these packets; beyond it new ones are refused (a
#: scan must not eat memory).
MAX_HOPS = 1000
MAX_BYTES = 16 << 20

Hop = tuple[int, int, int]  # datapath index, logical port key, address


@dataclass(frozen=True, slots=True)
class Held:
    """A frame and the pipeline state (24 words) with which it goes on."""

    frame: bytes
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Patience:
    """How a next hop's packets wait: for ``hold_s`` seconds, of the latest one or of the first.

    With ``ask_every_s`` the next hop is asked for again so often meanwhile. With ``most_bytes`` so
    many wait for a next hop, not so many packets as for ovn-controller.
    """

    hold_s: float = HOLD_S
    from_latest: bool = True
    ask_every_s: float | None = None
    most_bytes: int | None = None


@dataclass(slots=True)
class _Queue:
    """Packets for one next hop; all are given up at ``due``."""

    due: float
    ask_at: float | None
    held: deque[Held] = field(default_factory=deque)
    size: int = 0

    @property
    def next_s(self) -> float:
        """When something is to be done."""
        return self.due if self.ask_at is None else min(self.due, self.ask_at)


def held_per_hop(release: str) -> int:
    """Packets that ovn-controller holds for a next hop: 23.03's ring of four has one free place."""
    return 3 if release == "23.03" else 4


class HoldQueue:
    """``send(frame, words, mac)`` puts a packet back on its way.

    ``ask(hop)`` asks for a next hop again, ``give_up(hop, packets)`` hears of those that nobody
    answered for.
    """

    def __init__(
        self, send: Callable[[bytes, tuple[int, ...], int], None],
        patience: Patience = Patience(),  # frozen
        ask: Callable[[Hop], None] = lambda _hop: None,
        give_up: Callable[[Hop, Sequence[Held]], None] = lambda _hop, _packets: None,
    ) -> None:  # fmt: skip
        """Start empty."""
        self._send = send
        self._patience = patience
        self._ask = ask
        self._unanswered = give_up
        self._waiting: dict[Hop, _Queue] = {}
        self.most_per_hop = held_per_hop("main")
        self.dropped = 0
        self._size = 0

    def hold(self, hop: Hop, frame: bytes, words: tuple[int, ...], now: float) -> None:
        """Keep a packet; the oldest of a full queue makes room."""
        queue = self._waiting.get(hop)
        is_too_much = queue is None and len(self._waiting) >= MAX_HOPS
        if is_too_much or self._size + len(frame) > MAX_BYTES:
            self.dropped += 1
            return
        if queue is None:
            every_s = self._patience.ask_every_s
            ask_at = None if every_s is None else now + every_s
            queue = self._waiting[hop] = _Queue(now + self._patience.hold_s, ask_at)
        while self._is_full(queue, len(frame)):
            self._count(queue, -len(queue.held.popleft().frame))
            self.dropped += 1
        queue.held.append(Held(frame, words))
        self._count(queue, len(frame))
        if self._patience.from_latest:
            queue.due = now + self._patience.hold_s

    def _is_full(self, queue: _Queue, more: int) -> bool:
        if self._patience.most_bytes is None:
            return len(queue.held) >= self.most_per_hop
        return bool(queue.held) and queue.size + more > self._patience.most_bytes

    def _count(self, queue: _Queue, size: int) -> None:
        queue.size += size
        self._size += size

    def _take_out(self, hop: Hop) -> Sequence[Held]:
        queue = self._waiting.pop(hop, None)
        if queue is None:
            return ()
        self._size -= queue.size
        return queue.held

    def resolved(self, hop: Hop, mac: int) -> None:
        """The MAC address of a next hop is known: let its packets go, oldest first."""
        for held in self._take_out(hop):
            self._send(held.frame, held.words, mac)

    def forget(self, datapath: int) -> None:
        """Give up the packets of a datapath: its index may stand for another soon."""
        for hop in [hop for hop in self._waiting if hop[0] == datapath]:
            self._give_up(hop)

    def expire(self, now: float) -> None:
        """Give up on what waited too long; ask again for what has not."""
        every_s = self._patience.ask_every_s
        for hop, queue in list(self._waiting.items()):
            if queue.due <= now:
                self._unanswered(hop, self._give_up(hop))
            elif every_s is not None and queue.ask_at is not None and queue.ask_at <= now:
                queue.ask_at = now + every_s
                self._ask(hop)

    def _give_up(self, hop: Hop) -> Sequence[Held]:
        held = self._take_out(hop)
        self.dropped += len(held)
        return held

    @property
    def next_due(self) -> float | None:
        """When :meth:`expire` has something to do."""
        return min((queue.next_s for queue in self._waiting.values()), default=None)

    def __len__(self) -> int:
        """Packets waiting."""
        return sum(len(queue.held) for queue in self._waiting.values())


def complete_checksum(frame: bytes) -> bytes:
    """Finish a TCP or UDP checksum that a device was to finish (only the pseudo header is in it).

    Frames that are neither come back as they are.
    """
    place = _transport(frame)
    if place is None:
        return frame
    start, end, protocol = place
    at = start + {6: 16, 17: 6}[protocol]
    if at + 2 > end:
        return frame
    # The field holds the sum over the pseudo header: sum it up with the rest.
    total = _fold(frame[start:end])
    value = ~total & 0xFFFF
    if protocol == 17 and value == 0:
        value = 0xFFFF
    return frame[:at] + struct.pack(">H", value) + frame[at + 2 :]


def _transport(frame: bytes) -> tuple[int, int, int] | None:
    """(first, end, protocol) of a TCP or UDP segment in an untagged frame."""
    if len(frame) < 34:
        return None
    (ethertype,) = struct.unpack_from(">H", frame, 12)
    if ethertype == 0x0800:
        protocol = frame[23]
        start = 14 + (frame[14] & 15) * 4
        end = 14 + int(struct.unpack_from(">H", frame, 16)[0])
    elif ethertype == 0x86DD and len(frame) >= 54:
        protocol, start = frame[20], 54
        end = 54 + int(struct.unpack_from(">H", frame, 18)[0])
    else:
        return None
    if protocol not in (6, 17) or end > len(frame):
        return None
    return start, end, protocol


def _fold(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    words: tuple[int, ...] = struct.unpack(f">{len(data) // 2}H", data)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total

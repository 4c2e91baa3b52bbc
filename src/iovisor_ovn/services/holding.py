# SPDX-License-Identifier: Apache-2.0
"""Packets that wait for a neighbour.

``arp{}`` and ``nd_ns{}`` ask for a MAC address; the packet that needs it comes here and goes on
to its output when the answer is known. As ovn-controller: three or four packets a next hop, until
ten seconds after the latest (OVN controller/pinctrl.c of 23.03, controller/mac-cache.c since,
buffered packets).
"""

import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

__all__ = ["HOLD_S", "Held", "HoldQueue", "Hop", "complete_checksum", "held_per_hop"]

HOLD_S = 10.0
#: Next hops with packets waiting; beyond it new ones are refused (a scan must not eat memory).
MAX_HOPS = 1000

Hop = tuple[int, int, int]  # datapath index, logical port key, address


@dataclass(frozen=True, slots=True)
class Held:
    """A frame and the pipeline state (24 words) with which it goes on."""

    frame: bytes
    words: tuple[int, ...]


@dataclass(slots=True)
class _Queue:
    """Packets for one next hop; all are given up at ``due``."""

    due: float = 0.0
    held: deque[Held] = field(default_factory=deque)


def held_per_hop(release: str) -> int:
    """Packets that ovn-controller holds for a next hop: 23.03's ring of four has one free place."""
    return 3 if release == "23.03" else 4


class HoldQueue:
    """``send(frame, words, mac)`` puts a packet back on its way."""

    def __init__(self, send: Callable[[bytes, tuple[int, ...], int], None]) -> None:
        """Start empty."""
        self._send = send
        self._waiting: dict[Hop, _Queue] = {}
        self.most_per_hop = held_per_hop("main")
        self.dropped = 0

    def hold(self, hop: Hop, frame: bytes, words: tuple[int, ...], now: float) -> None:
        """Keep a packet; the oldest of a full queue makes room."""
        queue = self._waiting.get(hop)
        if queue is None:
            if len(self._waiting) >= MAX_HOPS:
                self.dropped += 1
                return
            queue = self._waiting[hop] = _Queue()
        while len(queue.held) >= self.most_per_hop:
            queue.held.popleft()
            self.dropped += 1
        queue.held.append(Held(frame, words))
        queue.due = now + HOLD_S

    def resolved(self, hop: Hop, mac: int) -> None:
        """The MAC address of a next hop is known: let its packets go, oldest first."""
        queue = self._waiting.pop(hop, None)
        for held in queue.held if queue else ():
            self._send(held.frame, held.words, mac)

    def forget(self, datapath: int) -> None:
        """Give up the packets of a datapath: its index may stand for another soon."""
        self._give_up([hop for hop in self._waiting if hop[0] == datapath])

    def expire(self, now: float) -> None:
        """Give up on what waited too long."""
        self._give_up([hop for hop, queue in self._waiting.items() if queue.due <= now])

    def _give_up(self, hops: Iterable[Hop]) -> None:
        for hop in hops:
            self.dropped += len(self._waiting.pop(hop).held)

    @property
    def next_due(self) -> float | None:
        """When :meth:`expire` has something to do."""
        return min((queue.due for queue in self._waiting.values()), default=None)

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

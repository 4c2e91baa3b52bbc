# SPDX-License-Identifier: Apache-2.0
"""Records of the machine's ring buffer: packets that wait for a neighbour, and what is learned.

A held packet goes back into the pipeline when its next hop is known, whether the machine learned it
or a row brought it.
"""

import time
from collections.abc import Callable

import ovs.poller
import ovs.vlog

from iovisor_ovn.abi import STRUCTS, EventKind
from iovisor_ovn.dataplane.ringbuf import RingReader
from iovisor_ovn.errors import DataplaneError
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.services.holding import HoldQueue, Hop, complete_checksum, held_per_hop
from iovisor_ovn.services.learning import Learned

__all__ = ["PacketPump", "Send"]

_log = ovs.vlog.Vlog("events")
_EVENT = STRUCTS["event"]
_STATE_WORDS = 24

Send = Callable[[bytes, tuple[int, ...], int], None]  # frame, words, MAC address


class PacketPump:
    """Reads events of a pipeline's machine and lets held packets go when their time has come.

    ``on_learned`` gets each learned fact and the time (``time.monotonic``), ``on_gone`` the index
    of a datapath that is no longer local, before the index stands for another; ``on_packet`` gets
    what `punt` sends: datapath index, logical port key, frame.
    """

    def __init__(
        self, pipeline: Pipeline, on_learned: Callable[[Learned, float], None],
        on_gone: Callable[[int], None],
        on_packet: Callable[[int, int, bytes], None] = lambda _dp, _port, _frame: None,
        hold: Callable[[Send], HoldQueue] = HoldQueue,
    ) -> None:  # fmt: skip
        """Start to listen; ``hold`` makes the queue of held packets."""
        self._machine = pipeline.machine
        self._flows = pipeline.flows
        self._neighbours = pipeline.neighbours
        self._on_learned = on_learned
        self._on_gone = on_gone
        self._on_packet = on_packet
        self._reader = RingReader(pipeline.machine.maps["events"])
        self._held = hold(self._send)
        pipeline.neighbours.on_resolved = self._resolved
        pipeline.neighbours.on_gone = self._forget

    def run(self, now: float) -> None:
        """Take up what has come, give up what has waited too long."""
        self._take_all(now)
        self._held.expire(now)

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when :meth:`run` has something to do."""
        poller.fd_wait(self._reader.fileno(), ovs.poller.POLLIN)
        if self._held.next_due is not None:
            left_ms = max(0.0, self._held.next_due - time.monotonic()) * 1000
            poller.timer_wait(int(left_ms) + 1)

    def close(self) -> None:
        """Stop listening."""
        self._reader.close()

    def _take_all(self, now: float) -> None:
        for record in self._reader.consume():
            self._take(record, now)

    def _take(self, record: bytes, now: float) -> None:
        event = _EVENT.unpack(record)
        kind, datapath, port = event["kind"], event["dp"], event["port"]
        words, address_words = event["words"], event["ip"]
        assert isinstance(datapath, int)
        assert isinstance(port, int)
        assert isinstance(words, tuple)
        assert isinstance(address_words, tuple)
        address = 0
        for word in address_words:
            address = address << 32 | word
        mac = _number(event["mac_hi"]) << 32 | _number(event["mac_lo"])
        if kind == EventKind.HOLD:
            if event["gso_size"]:
                return  # one packet for many segments: its sender sends it again
            frame = record[_EVENT.size : _EVENT.size + _number(event["len"])]
            if event["partial"]:
                frame = complete_checksum(frame)
            self._hold((datapath, port, address), frame, words[:_STATE_WORDS], now)
        elif kind == EventKind.PACKET:
            frame = record[_EVENT.size : _EVENT.size + _number(event["len"])]
            self._on_packet(datapath, port, frame)
        elif kind == EventKind.NEIGHBOUR:
            self._on_learned(Learned("neighbour", datapath, port, address, mac), now)
            self._held.resolved((datapath, port, address), mac)
        elif kind == EventKind.FDB:
            self._on_learned(Learned("fdb", datapath, port, 0, mac), now)

    def _hold(self, hop: Hop, frame: bytes, words: tuple[int, ...], now: float) -> None:
        """Keep a packet, unless the answer came while its event was on the way."""
        self._held.most_per_hop = held_per_hop(self._flows.symbols.release)
        self._held.hold(hop, frame, words, now)
        mac = self._neighbours.mac_of(*hop)
        if mac:
            self._held.resolved(hop, mac)

    def _forget(self, datapath: int) -> None:
        # What is in the ring buffer is about this datapath, too, and not about its successor.
        self._take_all(time.monotonic())
        self._held.forget(datapath)
        self._on_gone(datapath)

    def _resolved(self, datapath: int, port: int, address: int, mac: int) -> None:
        self._held.resolved((datapath, port, address), mac)

    def _send(self, frame: bytes, words: tuple[int, ...], mac: int) -> None:
        try:
            self._machine.inject(frame, words, mac=mac)
        except DataplaneError as error:
            _log.warn(f"held_packet_lost bytes={len(frame)} reason={error}")


def _number(value: int | tuple[int, ...]) -> int:
    assert isinstance(value, int)
    return value

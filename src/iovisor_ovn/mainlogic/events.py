# SPDX-License-Identifier: Apache-2.0
"""Records of the machine's ring buffer: learned addresses and packets that wait.

Learned facts become MAC_Binding and FDB rows; held packets go back into the pipeline when
their next hop is known, whether the machine learned it or a row brought it.
"""

import ipaddress
import time
from uuid import UUID

import ovs.poller
import ovs.vlog

from iovisor_ovn.abi import STRUCTS, EventKind
from iovisor_ovn.dataplane.ringbuf import RingReader
from iovisor_ovn.errors import DataplaneError
from iovisor_ovn.mainlogic.clock import now_ms
from iovisor_ovn.mainlogic.neighbours import mac_text
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.ovsdb import Database
from iovisor_ovn.services.holding import HoldQueue, Hop, complete_checksum, held_per_hop
from iovisor_ovn.services.learning import Learned, LearnQueue

__all__ = ["EventPump"]

_log = ovs.vlog.Vlog("events")
_EVENT = STRUCTS["event"]
_STATE_WORDS = 24
_IPV4_MAX = 0xFFFFFFFF


class EventPump:
    """Reads events of a pipeline's machine, writes rows into ``southbound``."""

    def __init__(self, pipeline: Pipeline, southbound: Database) -> None:
        """Start to listen."""
        self._machine = pipeline.machine
        self._world = pipeline.world
        self._flows = pipeline.flows
        self._neighbours = pipeline.neighbours
        self._southbound = southbound
        self._reader = RingReader(pipeline.machine.maps["events"])
        self._learned = LearnQueue()
        self._held = HoldQueue(self._send)
        pipeline.neighbours.on_resolved = self._resolved
        pipeline.neighbours.on_gone = self._forget

    def run(self) -> None:
        """Take up what has come and write what is due."""
        now = time.monotonic()
        self._take_all(now)
        self._held.expire(now)
        self._write(now)

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when :meth:`run` has something to do."""
        poller.fd_wait(self._reader.fileno(), ovs.poller.POLLIN)
        due = [self._held.next_due]
        if not self._southbound.busy:
            due.append(self._learned.next_due)
        moments = [moment for moment in due if moment is not None]
        if moments:
            left_ms = max(0.0, min(moments) - time.monotonic()) * 1000
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
        elif kind == EventKind.NEIGHBOUR:
            self._learned.add(Learned("neighbour", datapath, port, address, mac), now)
            self._held.resolved((datapath, port, address), mac)
        elif kind == EventKind.FDB:
            self._learned.add(Learned("fdb", datapath, port, 0, mac), now)

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
        self._learned.forget(datapath)

    def _resolved(self, datapath: int, port: int, address: int, mac: int) -> None:
        self._held.resolved((datapath, port, address), mac)

    def _send(self, frame: bytes, words: tuple[int, ...], mac: int) -> None:
        try:
            self._machine.inject(frame, words, mac=mac)
        except DataplaneError as error:
            _log.warn(f"held_packet_lost bytes={len(frame)} reason={error}")

    # -- rows ----------------------------------------------------------------------------

    def _write(self, now: float) -> None:
        facts = list(self._learned.due(now))
        if not facts or self._southbound.busy:
            return
        datapaths = {index: uuid for uuid, index in self._world.local.items()}
        with self._southbound.transaction() as transaction:
            for fact in facts:
                uuid = datapaths.get(fact.datapath)
                if uuid is None or not self._is_news(fact, uuid):
                    self._learned.done(fact)
                elif fact.kind == "fdb":
                    self._write_fdb(transaction, fact, uuid)
                else:
                    self._write_neighbour(transaction, fact, uuid)

    def _is_news(self, fact: Learned, datapath: UUID) -> bool:
        if fact.kind == "fdb":
            known = self._neighbours.fdb_row(self._world.datapaths[datapath].key, fact.mac)
            return known is None or known[1] != fact.port
        place = self._place(fact, datapath)
        if place is None:
            return False
        learned = self._neighbours.learned(place)
        return learned is None or learned[1] != fact.mac

    def _place(self, fact: Learned, datapath: UUID) -> tuple[UUID, str, str] | None:
        port = self._world.port_at(datapath, fact.port)
        return None if port is None else (datapath, port.name, _address_text(fact.address))

    def _write_neighbour(self, transaction, fact: Learned, datapath: UUID) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  no types in ovs
        place = self._place(fact, datapath)
        table = self._southbound.tables["MAC_Binding"]
        datapath_row = self._southbound.tables["Datapath_Binding"].rows.get(datapath)
        if place is None or datapath_row is None:
            return
        known = self._neighbours.learned(place)
        row = table.rows.get(known[0]) if known else None
        if row is None:
            row = transaction.insert(table)
            row.logical_port = place[1]
            row.ip = place[2]
            row.datapath = datapath_row
        row.mac = mac_text(fact.mac)
        if "timestamp" in table.columns:
            row.timestamp = now_ms()

    def _write_fdb(self, transaction, fact: Learned, datapath: UUID) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  no types in ovs
        table = self._southbound.tables["FDB"]
        key = self._world.datapaths[datapath].key
        known = self._neighbours.fdb_row(key, fact.mac)
        row = table.rows.get(known[0]) if known else None
        if row is None:
            row = transaction.insert(table)
            row.mac = mac_text(fact.mac)
            row.dp_key = key
        row.port_key = fact.port
        if "timestamp" in table.columns:
            row.timestamp = now_ms()


def _number(value: int | tuple[int, ...]) -> int:
    assert isinstance(value, int)
    return value


def _address_text(number: int) -> str:
    if number <= _IPV4_MAX:
        return str(ipaddress.IPv4Address(number))
    return str(ipaddress.IPv6Address(number))

# SPDX-License-Identifier: Apache-2.0
"""What the machine has learned becomes MAC_Binding and FDB rows."""

import ipaddress
import time
from uuid import UUID

import ovs.poller

from iovisor_ovn.mainlogic.clock import now_ms
from iovisor_ovn.mainlogic.neighbours import mac_text
from iovisor_ovn.mainlogic.packets import PacketPump
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.ovsdb import Database
from iovisor_ovn.services.learning import Learned, LearnQueue

__all__ = ["EventPump"]

_IPV4_MAX = 0xFFFFFFFF


class EventPump:
    """Reads events of a pipeline's machine, writes rows into ``southbound``."""

    def __init__(self, pipeline: Pipeline, southbound: Database) -> None:
        """Start to listen."""
        self._world = pipeline.world
        self._neighbours = pipeline.neighbours
        self._southbound = southbound
        self._learned = LearnQueue()
        self._packets = PacketPump(pipeline, self._learned.add, self._learned.forget)

    def run(self) -> None:
        """Take up what has come and write what is due."""
        now = time.monotonic()
        self._packets.run(now)
        self._write(now)

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when :meth:`run` has something to do."""
        self._packets.wait(poller)
        if not self._southbound.busy and self._learned.next_due is not None:
            left_ms = max(0.0, self._learned.next_due - time.monotonic()) * 1000
            poller.timer_wait(int(left_ms) + 1)

    def close(self) -> None:
        """Stop listening."""
        self._packets.close()

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


def _address_text(number: int) -> str:
    if number <= _IPV4_MAX:
        return str(ipaddress.IPv4Address(number))
    return str(ipaddress.IPv6Address(number))

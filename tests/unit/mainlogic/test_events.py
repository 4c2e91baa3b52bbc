# SPDX-License-Identifier: Apache-2.0
"""Events of the machine: learned addresses become rows, held packets go on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from iovisor_ovn.abi import STRUCTS, EventKind
from iovisor_ovn.errors import DataplaneError
from iovisor_ovn.mainlogic import packets
from iovisor_ovn.mainlogic.events import EventPump
from unit.mainlogic.fakes import Database, FakeInterface, FakeMap, FakeRow, make_pipeline

if TYPE_CHECKING:
    from iovisor_ovn import ovsdb

_MAC = 0x0000000000AA
_ADDRESS = 0x0A000001


class _Ring:
    """Records that wait; stands in for the reader of a ring buffer."""

    waiting: list[bytes] = []  # noqa: RUF012  one ring for a test

    def __init__(self, _ring: object) -> None:
        self.closed = False

    def consume(self) -> list[bytes]:
        """Take all."""
        records, _Ring.waiting = _Ring.waiting, []
        return records

    def fileno(self) -> int:
        """No descriptor."""
        return 0

    def close(self) -> None:
        """Note it."""
        self.closed = True


class _Southbound:
    """Tables whose transactions take effect only when the test says so."""

    def __init__(self, db: Database) -> None:
        self.busy = False
        self._db = db
        self.inserted: list[SimpleNamespace] = []
        self.timestamps = True

    @property
    def tables(self) -> dict[str, SimpleNamespace]:
        """Rows by UUID, and columns."""
        columns = {"timestamp"} if self.timestamps else set()
        names = ("MAC_Binding", "FDB", "Datapath_Binding")
        return {
            name: SimpleNamespace(name=name, columns=columns, rows={r.uuid: _Writable(r)
                                  for r in self._db.of(name)})
            for name in names
        }  # fmt: skip

    @contextmanager
    def transaction(self) -> Iterator["_Southbound"]:
        """Begin; what is inserted stays invisible, as until the server's answer."""
        yield self

    def insert(self, table: SimpleNamespace) -> SimpleNamespace:
        """A new row."""
        row = SimpleNamespace(table=table.name)
        self.inserted.append(row)
        return row


class _Writable:
    """Writes columns of a fake row at once."""

    def __init__(self, row: FakeRow) -> None:
        self.__dict__["row"] = row

    def __setattr__(self, column: str, value: object) -> None:
        self.__dict__["row"].columns[column] = value

    def __getattr__(self, column: str) -> object:
        return getattr(self.__dict__["row"], column)


class _Rig:
    """A router `lr` (key 5) with port `lrp` (key 2), which has an interface."""

    def __init__(self) -> None:
        self.db = Database()
        self.clock = 1000.0
        self.pipeline, self.machine = make_pipeline()
        self.machine.maps["events"] = FakeMap("events")
        self.lr = self.db.insert("Datapath_Binding", tunnel_key=5, external_ids={
            "name": "lr", "logical-router": "x"})  # fmt: skip
        self.lrp = self.db.insert("Port_Binding", logical_port="lrp", type="", options={},
                                  datapath=self.lr, tunnel_key=2)  # fmt: skip
        self.interfaces = {"lrp": FakeInterface(7)}
        self.southbound = _Southbound(self.db)
        self.update()
        self.pump = EventPump(self.pipeline, cast("ovsdb.Database", self.southbound))

    def update(self) -> None:
        """Let the pipeline take what changed."""
        self.pipeline.update(self.db.take(), self.interfaces, {}, "hv1")

    @property
    def index(self) -> int:
        """What the machine calls the router."""
        return self.pipeline.world.local[self.lr.uuid]

    def tell(self, kind: EventKind, **fields: int) -> None:
        """Let the machine tell something; ``mac`` and ``address`` are numbers."""
        mac, address = fields.pop("mac", _MAC), fields.pop("address", _ADDRESS)
        values: dict[str, int | tuple[int, ...]] = {
            "kind": kind, "dp": self.index, "port": 2,
            "ip": tuple(address >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0)),
            "mac_hi": mac >> 32, "mac_lo": mac & 0xFFFFFFFF, **fields,
        }  # fmt: skip
        _Ring.waiting.append(STRUCTS["event"].pack(**values))

    def hold(self, frame: bytes, **fields: int) -> None:
        """Let the machine hand over a packet; the ring pads records."""
        self.tell(EventKind.HOLD, len=len(frame), **fields)
        _Ring.waiting[-1] += frame + bytes(8)

    def run(self) -> None:
        """A pass a second later: all delays are over."""
        self.clock += 1
        self.pump.run()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> _Rig:
    """A pump with a clock of its own."""
    _Ring.waiting = []
    monkeypatch.setattr(packets, "RingReader", _Ring)
    made = _Rig()
    monkeypatch.setattr("time.monotonic", lambda: made.clock)
    return made


def test_learned_neighbour_becomes_a_row(rig: _Rig) -> None:
    """Port, address, MAC and time are written once the delay is over."""
    before_ms = int(time.time() * 1000)
    rig.tell(EventKind.NEIGHBOUR)
    rig.pump.run()
    rig.run()
    (row,) = rig.southbound.inserted
    assert (row.table, row.logical_port, row.ip, row.mac) == (
        "MAC_Binding", "lrp", "10.0.0.1", "00:00:00:00:00:aa")  # fmt: skip
    assert row.datapath.uuid == rig.lr.uuid
    assert isinstance(row.timestamp, int)  # the database refuses anything else
    assert before_ms <= row.timestamp <= time.time() * 1000


def test_older_schema_has_no_timestamps(rig: _Rig) -> None:
    """A column that the server lacks is not written."""
    rig.southbound.timestamps = False
    rig.tell(EventKind.NEIGHBOUR, address=0xFD << 120 | 1)
    rig.pump.run()
    rig.run()
    (row,) = rig.southbound.inserted
    assert row.ip == "fd00::1"
    assert not hasattr(row, "timestamp")


def test_row_that_came_meanwhile_is_not_written_again(rig: _Rig) -> None:
    """Another chassis was quicker: nothing is left to do, and nothing is due."""
    rig.tell(EventKind.NEIGHBOUR)
    rig.pump.run()
    rig.db.insert("MAC_Binding", logical_port="lrp", ip="10.0.0.1", mac="00:00:00:00:00:aa",
                  datapath=rig.lr)  # fmt: skip
    rig.update()
    rig.run()
    rig.run()
    assert not rig.southbound.inserted
    assert rig.pump._learned.next_due is None


def test_row_with_another_mac_is_changed(rig: _Rig) -> None:
    """A neighbour that moved keeps its row."""
    row = rig.db.insert("MAC_Binding", logical_port="lrp", ip="10.0.0.1", mac="00:00:00:00:00:bb",
                        datapath=rig.lr)  # fmt: skip
    rig.update()
    rig.tell(EventKind.NEIGHBOUR)
    rig.pump.run()
    rig.run()
    assert not rig.southbound.inserted
    assert row.mac == "00:00:00:00:00:aa"


def test_learned_mac_becomes_an_fdb_row_and_moves(rig: _Rig) -> None:
    """FDB rows have tunnel keys; a MAC address on another port changes its row."""
    rig.tell(EventKind.FDB)
    rig.pump.run()
    rig.run()
    (row,) = rig.southbound.inserted
    assert (row.table, row.mac, row.dp_key, row.port_key) == ("FDB", "00:00:00:00:00:aa", 5, 2)
    stored = rig.db.insert("FDB", mac=row.mac, dp_key=5, port_key=2)
    rig.update()
    rig.run()
    rig.tell(EventKind.FDB, port=3)
    rig.pump.run()
    rig.run()
    assert stored.port_key == 3
    assert len(rig.southbound.inserted) == 1


def test_nothing_is_lost_while_the_database_is_away(rig: _Rig) -> None:
    """Facts wait for the connection."""
    rig.southbound.busy = True
    rig.tell(EventKind.NEIGHBOUR)
    rig.run()
    rig.run()
    assert not rig.southbound.inserted
    rig.southbound.busy = False
    rig.run()
    assert len(rig.southbound.inserted) == 1


def test_fact_about_a_port_that_is_gone_is_dropped(rig: _Rig) -> None:
    """It is no news, and it is not due for ever."""
    rig.tell(EventKind.NEIGHBOUR, port=99)
    rig.pump.run()
    rig.run()
    assert not rig.southbound.inserted
    assert rig.pump._learned.next_due is None


def test_facts_do_not_outlive_their_datapath(rig: _Rig) -> None:
    """The index of a datapath that went may stand for another: nothing is written about that."""
    rig.southbound.busy = True
    rig.tell(EventKind.FDB)
    rig.pump.run()
    rig.hold(b"frame")
    rig.interfaces.clear()
    rig.update()
    other = rig.db.insert("Datapath_Binding", tunnel_key=6, external_ids={"logical-switch": "x"})
    rig.db.insert("Port_Binding", logical_port="lsp", type="", options={}, datapath=other,
                  tunnel_key=2)  # fmt: skip
    before, rig.interfaces["lsp"] = rig.pipeline.world._free[0], FakeInterface(8)
    rig.update()
    assert rig.pipeline.world.local == {other.uuid: before}
    rig.southbound.busy = False
    rig.run()
    rig.run()
    assert not rig.southbound.inserted
    assert len(rig.pump._packets._held) == 0


def test_held_packet_goes_when_the_machine_learns(rig: _Rig) -> None:
    """The first 24 words go with the packet; the padding of the record does not."""
    rig.hold(b"frame")
    rig.run()
    assert rig.machine.injected == []
    rig.tell(EventKind.NEIGHBOUR)
    rig.run()
    assert rig.machine.injected == [(b"frame", (0,) * 24, _MAC)]


def test_packet_of_many_segments_is_not_held(rig: _Rig) -> None:
    """Put back whole it would be too long for the wire; its sender sends it again."""
    rig.hold(b"frame", gso_size=1448)
    rig.tell(EventKind.NEIGHBOUR)
    rig.run()
    assert rig.machine.injected == []


def test_held_packet_goes_when_a_row_comes(rig: _Rig) -> None:
    """Whoever resolved the neighbour, its row lets the packet go."""
    rig.hold(b"frame")
    rig.run()
    rig.db.insert("MAC_Binding", logical_port="lrp", ip="10.0.0.1", mac="00:00:00:00:00:aa",
                  datapath=rig.lr)  # fmt: skip
    rig.update()
    assert rig.machine.injected == [(b"frame", (0,) * 24, _MAC)]


def test_packet_that_is_told_of_late_does_not_wait(rig: _Rig) -> None:
    """The neighbour became known while the event was on the way."""
    rig.db.insert("MAC_Binding", logical_port="lrp", ip="10.0.0.1", mac="00:00:00:00:00:aa",
                  datapath=rig.lr)  # fmt: skip
    rig.update()
    rig.hold(b"late")
    rig.run()
    assert rig.machine.injected == [(b"late", (0,) * 24, _MAC)]


def test_frame_that_the_kernel_refuses_is_lost_alone(
    rig: _Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next packet goes all the same."""
    sent: list[bytes] = []

    def inject(frame: bytes, _words: tuple[int, ...], *, mac: int = 0) -> None:
        if frame == b"bad":
            raise DataplaneError("too long")
        sent.append(frame)
        assert mac == _MAC

    monkeypatch.setattr(rig.machine, "inject", inject)
    rig.hold(b"bad")
    rig.hold(b"good")
    rig.tell(EventKind.NEIGHBOUR)
    rig.run()
    assert sent == [b"good"]


def test_closing_lets_go_of_the_ring(rig: _Rig) -> None:
    """Two readers would share out its records."""
    rig.pump.close()
    reader = cast("_Ring", rig.pump._packets._reader)
    assert reader.closed


def test_wait_is_for_what_is_due(rig: _Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The poller's timer is the nearest end; facts do not count while nothing can be written."""
    timers: list[int] = []
    poller = SimpleNamespace(fd_wait=lambda *_a: None, timer_wait=timers.append)
    rig.pump.wait(poller)
    assert timers == []
    monkeypatch.setattr(rig.pump._learned, "_delay", lambda: 0.0625)
    rig.hold(b"frame")
    rig.tell(EventKind.FDB)
    rig.pump.run()
    rig.pump.wait(poller)
    rig.southbound.busy = True
    rig.pump.wait(poller)
    assert timers == [10001, 63, 10001]

# SPDX-License-Identifier: Apache-2.0
"""The switch between a database and devices that are both in memory."""

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from iovisor_ovn.vswitch import Vswitch
from iovisor_ovn.vswitch.rows import COLUMNS
from iovisor_ovn.vswitch.rtnl import IFF_RUNNING, IFF_UP

MAPS = {"other_config", "external_ids", "options", "status", "statistics"}


@dataclass(frozen=True)
class Change:
    """A change as the database tells it."""

    table: str
    kind: str
    row: object
    columns: frozenset[str] = frozenset()


class Row:
    """A row that notes which columns are set."""

    def __init__(self, table: str, **columns: Any) -> None:
        """Fill the columns that are not given with their empty values."""
        values: dict[str, Any] = {c: {} if c in MAPS else [] for c in COLUMNS[table]}
        self.__dict__.update(values, **columns)
        self.__dict__.update(uuid=uuid.uuid4(), table=table, noted=set())

    def __getattr__(self, column: str) -> Any:
        """Refuse a column that is not there."""
        raise AttributeError(column)

    def __setattr__(self, column: str, value: object) -> None:
        """Set and note."""
        self.__dict__[column] = value
        self.noted.add(column)


class FakeDatabase:
    """Tables of rows; `writes` lists the columns set by each transaction."""

    def __init__(self) -> None:
        """Start with the one row that every database has, and bridge br-int."""
        self.tables = {table: SimpleNamespace(rows={}) for table in COLUMNS}
        self.ever_connected = True
        self.busy = False
        self.writes: list[dict[str, set[str]]] = []
        self._changes: list[Change] = []
        self.root = self.add("Open_vSwitch", next_cfg=1, cur_cfg=0, dpdk_initialized=False)
        self.bridge = self.add("Bridge", name="br-int", datapath_version="")

    def add(self, table: str, **columns: Any) -> Row:
        """Add a row."""
        row = Row(table, **columns)
        self.tables[table].rows[row.uuid] = row
        self._changes.append(Change(table, "insert", row))
        return row

    def add_port(self, name: str, **columns: Any) -> Row:
        """Add a port of one interface to br-int."""
        row = self.add("Interface", **{"name": name, "type": "", **columns})
        port = self.add("Port", name=name, interfaces=[row])
        self.set(self.bridge, ports=[*self.bridge.ports, port])
        return row

    def set(self, row: Row, **columns: Any) -> None:
        """Change a row as another client would, and count the configuration up."""
        row.__dict__.update(columns)
        self._changes.append(Change(row.table, "update", row, frozenset(columns)))
        if row is not self.root:
            self.set(self.root, next_cfg=self.root.next_cfg + 1)

    def changes(self) -> list[Change]:
        """Return the changes since the last call."""
        changes, self._changes = self._changes, []
        return changes

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Note what is set meanwhile, and tell it as changes, as the server's echo does."""
        yield
        written: dict[str, set[str]] = {}
        for table in self.tables.values():
            for row in table.rows.values():
                if row.noted:
                    written.setdefault(row.table, set()).update(row.noted)
                    columns = frozenset(row.noted)
                    self._changes.append(Change(row.table, "update", row, columns))
                    row.noted.clear()
        self.writes.append(written)


@pytest.fixture
def database() -> FakeDatabase:
    """Return a database with br-int."""
    return FakeDatabase()


class Clock:
    """A clock that stands until it is moved."""

    now_ms = 1000

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    """Return the clock."""
    return Clock()


@pytest.fixture
def switch(database: FakeDatabase, devices: Any, clock: Clock) -> Iterator[Vswitch]:
    """Return a switch on both."""
    one = Vswitch(database, devices, clock)
    yield one
    one.close()


def settle(switch: Vswitch) -> None:
    """Run until nothing is left to do."""
    for _ in range(5):
        switch.run()


def test_everything_of_a_configuration_is_one_transaction(
    switch: Vswitch, database: FakeDatabase, devices: Any
) -> None:
    """cur_cfg is never seen before the columns of the rows that it stands for."""
    devices.plug("tap0")
    database.add_port("tap0")
    database.add_port("tap1")
    switch.run()
    assert len(database.writes) == 1
    assert {"ofport", "mac_in_use", "error"} <= database.writes[0]["Interface"]
    assert "cur_cfg" in database.writes[0]["Open_vSwitch"]
    assert database.root.cur_cfg == database.root.next_cfg


def test_a_bad_port_does_not_hold_up_the_configuration(
    switch: Vswitch, database: FakeDatabase
) -> None:
    """The failed interface says why, and the caller of ovs-vsctl gets an answer."""
    bad = database.add_port("tap1")
    switch.run()
    assert bad.ofport == [-1]
    assert bad.error == ["could not open network device tap1 (No such device)"]
    assert database.root.cur_cfg == database.root.next_cfg


def test_nothing_is_written_again(switch: Vswitch, database: FakeDatabase, devices: Any) -> None:
    """Neither the echo of one's own writing nor other devices cause another transaction."""
    devices.plug("tap0")
    database.add_port("tap0")
    settle(switch)
    database.writes.clear()
    devices.plug("unrelated")
    devices.unplug("unrelated")
    settle(switch)
    assert database.writes == []


def test_no_device_is_touched_before_the_database_has_been_read(
    switch: Vswitch, database: FakeDatabase, devices: Any
) -> None:
    """An empty picture of a database that is not connected yet must not remove what it wants."""
    switch.run()
    database.ever_connected = False
    database.tables["Bridge"].rows.clear()
    database.set(database.root, next_cfg=9)
    devices.orders.clear()
    assert not switch.run()
    assert devices.orders == []


def test_writing_waits_for_the_answer_to_the_last_transaction(
    switch: Vswitch, database: FakeDatabase, devices: Any
) -> None:
    """While one is on its way the interfaces are told, and the rest is written after it."""
    settle(switch)
    devices.plug("tap0")
    row = database.add_port("tap0")
    database.busy = True
    assert switch.run()
    assert row.ofport == []
    database.busy = False
    switch.run()
    assert row.ofport == [1]
    assert database.root.cur_cfg == database.root.next_cfg


def test_changed_interfaces_are_told_once(
    switch: Vswitch, database: FakeDatabase, devices: Any
) -> None:
    """A device made again is a change; a look without change tells nothing."""
    devices.plug("tap0")
    database.add_port("tap0", external_ids={"iface-id": "lp"})
    assert switch.run()
    assert switch.take_changed() == {"tap0"}
    before = switch.interfaces()["tap0"]
    assert before.iface_id == "lp"
    devices.unplug("tap0")
    devices.plug("tap0")
    assert switch.run()
    assert switch.take_changed() == {"tap0"}
    assert switch.interfaces()["tap0"].ifindex != before.ifindex
    assert not switch.run()
    assert switch.take_changed() == frozenset()


def test_link_resets_count_what_was_seen(
    switch: Vswitch, database: FakeDatabase, devices: Any
) -> None:
    """Each time the carrier comes or goes is one; a device made again starts at 0."""
    devices.plug("tap0")
    row = database.add_port("tap0")
    switch.run()
    assert row.link_resets == [0]
    devices.change("tap0", IFF_UP)
    switch.run()
    devices.change("tap0", IFF_UP | IFF_RUNNING)
    switch.run()
    assert row.link_resets == [2]
    devices.unplug("tap0")
    devices.plug("tap0")
    switch.run()
    assert row.link_resets == [0]


def test_link_resets_go_on_after_a_restart(database: FakeDatabase, devices: Any) -> None:
    """A new agent that finds the same device takes the count over."""
    link = devices.plug("tap0")
    row = database.add_port("tap0", link_resets=[7], ifindex=[link.ifindex])
    with closing(Vswitch(database, devices)) as switch:
        switch.run()
    assert row.link_resets == [7]


def test_counters_are_written_at_their_interval(
    switch: Vswitch, database: FakeDatabase, devices: Any, clock: Clock, monkeypatch: Any
) -> None:
    """Between two refreshes counters stand still, whatever else happens."""
    devices.plug("tap0")
    row = database.add_port("tap0")
    switch.run()
    first = row.statistics
    assert first["rx_packets"] == devices.get("tap0").ifindex
    double = dict(devices.statistics())
    ifindex = devices.get("tap0").ifindex
    double[ifindex] = type(double[ifindex])(*range(50, 66))
    monkeypatch.setattr(devices, "statistics", lambda: double)
    database.set(database.root, next_cfg=77)
    clock.now_ms += 4999
    switch.run()
    assert row.statistics == first
    clock.now_ms += 1
    switch.run()
    assert row.statistics["rx_packets"] == 50


def test_what_a_peer_elsewhere_received_counts_as_sent(
    switch: Vswitch, database: FakeDatabase, devices: Any, clock: Clock
) -> None:
    """Frames given to the peer by bpf_redirect_peer are not in the counters of the end here."""
    row = database.add_port("i0", type="internal")
    switch.run()
    devices.move_away("i0")
    row_before = dict(row.statistics)
    clock.now_ms += 5000
    switch.run()
    away = switch.interfaces()["i0"]
    assert away.peer_elsewhere
    assert row.statistics["tx_packets"] >= 1000
    assert row.statistics["tx_packets"] == row.statistics["tx_bytes"]
    assert row.statistics["rx_packets"] == row_before["rx_packets"] == away.ifindex


def test_other_bridges_are_kept_apart(
    switch: Vswitch, database: FakeDatabase, devices: Any
) -> None:
    """The integration bridge is the one that the chassis names; others are asked for by name."""
    devices.plug("eth0", mac="02:00:00:00:00:05")
    row = database.add("Interface", name="eth0", type="")
    port = database.add("Port", name="eth0", interfaces=[row])
    other = database.add("Bridge", name="br-ex", ports=[port], datapath_version="")
    switch.run()
    assert set(switch.interfaces()) == set()
    assert set(switch.interfaces("br-ex")) == {"eth0"}
    assert row.ofport == [1]
    assert other.datapath_id == ["0000020000000005"]
    database.set(database.root, external_ids={"ovn-bridge": "br-ex"})
    assert switch.run()
    assert set(switch.interfaces()) == {"eth0"}


def test_given_changes_replace_the_databases_own(
    switch: Vswitch, database: FakeDatabase, devices: Any
) -> None:
    """An owner that needs the changes too hands them on."""
    switch.run(database.changes())
    devices.plug("tap0")
    row = database.add_port("tap0")
    switch.run(database.changes())
    assert row.ofport == [1]


def test_the_machine_is_described_once(switch: Vswitch, database: FakeDatabase) -> None:
    """Versions and types are written; an operating system that is known already is left alone."""
    database.root.__dict__.update(system_type=["else"], system_version=["1"])
    switch.run()
    assert database.root.ovs_version == ["3.1.0"]
    assert "internal" in database.root.iface_types
    assert database.root.system_type == ["else"]

# SPDX-License-Identifier: Apache-2.0
"""Read the rows, write what differs: this room's dealings with the database itself.

Reading a column through the ``ovs`` package costs 15 to 40 µs, which a thousand interfaces with
twenty columns turn into half a second.  So every row is read once, and again only in the columns
that a change names.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar
from uuid import UUID

from iovisor_ovn.vswitch.ports import ColumnValue
from iovisor_ovn.vswitch.rows import (
    CONFIG_COLUMNS,
    Bridge,
    BridgeRow,
    InterfaceRow,
    PortRow,
    RootRow,
    read_bridge,
    read_interface,
    read_port,
    read_root,
    row_uuid,
)

__all__ = ["Change", "Database", "Store", "WantedRows"]

T = TypeVar("T")
WantedRows = Mapping[str, Mapping[UUID, Mapping[str, ColumnValue]]]


class _Table(Protocol):
    @property
    def rows(self) -> Mapping[UUID, object]:
        """All rows by UUID."""


class Change(Protocol):
    """A row that came ("insert"), changed in some columns ("update") or went ("delete")."""

    @property
    def table(self) -> str:
        """The table's name."""

    @property
    def kind(self) -> str:
        """What happened, one of the three words."""

    @property
    def row(self) -> object:
        """The row object of the ovs package."""

    @property
    def columns(self) -> frozenset[str]:
        """The columns that an update changed."""


class Database(Protocol):
    """What is needed of the connection to the Open_vSwitch database."""

    @property
    def tables(self) -> Mapping[str, _Table]:
        """All registered tables by name."""

    @property
    def ever_connected(self) -> bool:
        """Whether the first contents have come."""

    @property
    def busy(self) -> bool:
        """Whether a transaction is on its way, its answer not yet known."""

    def changes(self) -> Sequence[Change]:
        """Return the changes since the last call."""

    def transaction(self) -> AbstractContextManager[object]:
        """Set columns of rows inside; sent at the end, without waiting for the answer."""


class Store:
    """The rows as values.

    While a transaction is on its way nothing is written, since the rows still show what was there
    before it; `has_news` then stays true, so that what remains is written after the answer.
    """

    def __init__(self, database: Database) -> None:
        """Take the connection; its columns are those of `rows.COLUMNS`."""
        self._database = database
        self._has_news = True
        self._owes_write = False
        self._bridges: dict[UUID, BridgeRow] = {}
        self._ports: dict[UUID, PortRow] = {}
        self._interfaces: dict[UUID, InterfaceRow] = {}
        self._shown: dict[UUID, dict[str, object]] = {}

    def take(self, changes: Iterable[Change]) -> None:
        """Forget what was read of the rows and columns that changed.

        A change of state columns only, such as the echo of one's own writing, is no news.
        """
        for change in changes:
            uuid = row_uuid(change.row)
            if change.kind == "update":
                shown = self._shown.get(uuid, {})
                for column in change.columns:
                    shown.pop(column, None)
                if not change.columns & CONFIG_COLUMNS.get(change.table, frozenset()):
                    continue
            else:
                self._shown.pop(uuid, None)
            self._has_news = True
            for read in (self._bridges, self._ports, self._interfaces):
                read.pop(uuid, None)

    def take_own(self) -> None:
        """Take the changes from the database itself: for when nobody else asks it for them."""
        self.take(self._database.changes())

    def has_news(self) -> bool:
        """Return whether the rows ask for something else, or something is still to be written."""
        return self._has_news or (self._owes_write and not self._database.busy)

    def read(self) -> tuple[RootRow, tuple[Bridge, ...]] | None:
        """Return what the rows ask for; None before the first contents have come."""
        if not self._database.ever_connected:
            return None
        self._has_news = False
        for root in self._database.tables["Open_vSwitch"].rows.values():
            return read_root(root), self._read_bridges()
        return None

    def _read_bridges(self) -> tuple[Bridge, ...]:
        rows = self._database.tables["Bridge"].rows
        bridges = [_once(self._bridges, uuid, rows, read_bridge) for uuid in rows]
        found = [self._join(bridge) for bridge in bridges if bridge is not None]
        return tuple(sorted(found, key=lambda bridge: bridge.row.name))

    def _join(self, bridge: BridgeRow) -> Bridge:
        tables = self._database.tables
        interfaces: list[InterfaceRow] = []
        macs: dict[str, str] = {}
        for port_uuid in bridge.ports:
            port = _once(self._ports, port_uuid, tables["Port"].rows, read_port)
            for uuid in port.interfaces if port is not None else ():
                row = _once(self._interfaces, uuid, tables["Interface"].rows, read_interface)
                if row is None:
                    continue
                interfaces.append(row)
                if port is not None and port.mac is not None:
                    macs[row.name] = port.mac
        return Bridge(bridge, tuple(sorted(interfaces, key=lambda row: row.name)), macs)

    def write(self, wanted: WantedRows) -> None:
        """Set the columns that are not as wanted, all in one transaction."""
        self._owes_write = self._database.busy
        if self._owes_write:
            return
        differing = [
            (row, column, value)
            for table, rows in wanted.items()
            for uuid, columns in rows.items()
            if (row := self._database.tables[table].rows.get(uuid)) is not None
            for column, value in columns.items()
            if self._value(uuid, row, column) != value
        ]
        if not differing:
            return
        with self._database.transaction():
            for row, column, value in differing:
                setattr(row, column, value)

    def _value(self, uuid: UUID, row: object, column: str) -> object:
        shown = self._shown.setdefault(uuid, {})
        if column not in shown:
            shown[column] = getattr(row, column)
        return shown[column]


def _once(
    read: dict[UUID, T], uuid: UUID, rows: Mapping[UUID, object], reader: Callable[[object], T]
) -> T | None:
    """Return a row's value, read now if it has not been; None when the row is not there."""
    row = rows.get(uuid)
    if row is None:
        return None
    if uuid not in read:
        read[uuid] = reader(row)
    return read[uuid]

# SPDX-License-Identifier: Apache-2.0
"""Read the rows, write what differs: this room's dealings with the database itself."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from iovisor_ovn.vswitch.ports import ColumnValue
from iovisor_ovn.vswitch.rows import BridgeRow, RootRow, read_bridges, read_root

__all__ = ["Database", "Store", "WantedRows"]

WantedRows = Mapping[str, Mapping[UUID, Mapping[str, ColumnValue]]]


class _Table(Protocol):
    @property
    def rows(self) -> Mapping[UUID, object]: ...


class Database(Protocol):
    """What is needed of the connection to the Open_vSwitch database."""

    @property
    def tables(self) -> Mapping[str, _Table]: ...
    @property
    def change_seqno(self) -> int: ...
    @property
    def ever_connected(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    def transaction(self) -> AbstractContextManager[object]: ...


class Store:
    """Tells whether there is news, and writes only differences.

    While a transaction is on its way nothing is written, since the rows still show what was there
    before it; `has_news` then stays true, so that what remains is written after the answer.
    """

    def __init__(self, database: Database) -> None:
        """Take the connection; its columns are those of `rows.COLUMNS`."""
        self._database = database
        self._read_at: int | None = None
        self._owes_write = False

    def has_news(self) -> bool:
        """Return whether the rows are not as last read, or something is still to be written."""
        if self._database.change_seqno != self._read_at:
            return True
        return self._owes_write and not self._database.busy

    def read(self) -> tuple[RootRow, tuple[BridgeRow, ...]] | None:
        """Return what the rows ask for; None before the first contents have come."""
        if not self._database.ever_connected:
            return None
        self._read_at = self._database.change_seqno
        tables = self._database.tables
        root = read_root(tables["Open_vSwitch"].rows.values())
        if root is None:
            return None
        return root, read_bridges(tables["Bridge"].rows.values())

    def write(self, wanted: WantedRows) -> None:
        """Set the columns that are not as wanted, all in one transaction."""
        if self._database.busy:
            self._owes_write = True
            return
        self._owes_write = False
        differing = [
            (row, column, value)
            for table, rows in wanted.items()
            for uuid, columns in rows.items()
            if (row := self._database.tables[table].rows.get(uuid)) is not None
            for column, value in columns.items()
            if getattr(row, column) != value
        ]
        if not differing:
            return
        with self._database.transaction():
            for row, column, value in differing:
                setattr(row, column, value)

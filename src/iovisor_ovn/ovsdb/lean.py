# SPDX-License-Identifier: Apache-2.0
"""Rows that are only read, in a fifth of the memory.

A row of the ``ovs`` package is made for being changed: with its dictionaries, and an object or two
for each value, one of Logical_Flow takes 2.5 KB, and there may be 50,000 of them. A `LeanRow` is a
tuple of plain values. It is for tables that nothing here writes or finds by reference, and whose
columns hold at most one value each.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

import ovs.db.error
import ovs.db.idl
import ovs.db.types
import ovs.ovsuuid
import ovs.vlog

__all__ = ["LeanRow", "LeanTable"]

_log = ovs.vlog.Vlog("ovsdb")

_Value = str | int | float | bool | UUID | None

_SHORT = 16  # characters of a text that is likely to be in many rows
_LIMIT = 100_000


class LeanRow:
    """Columns are attributes as in ``ovs.db.idl.Row``, but references are UUIDs.

    It never changes: where a column became different there is another row of the same UUID.
    """

    __slots__ = ("_table", "_values", "uuid")

    def __init__(self, table: "LeanTable", uuid: UUID, values: tuple[_Value, ...]) -> None:
        """Hold values in the order of the table's columns."""
        self._table = table
        self._values = values
        self.uuid = uuid

    def __getattr__(self, column: str) -> object:
        """Value of a column; a list where there may be none."""
        place = self._table.places.get(column)
        if place is None:
            raise AttributeError(f"table {self._table.name} has no column {column}")
        value = self._values[place]
        if not self._table.is_optional[place]:
            return value
        return [] if value is None else [value]

    def values(self, columns: tuple[str, ...]) -> tuple[Any, ...]:
        """Values of several columns at once; ``None`` where there is none, or no such column."""
        places = self._table.places_of(columns)
        stored = self._values
        return tuple([None if place is None else stored[place] for place in places])

    @property
    def _data(self) -> Mapping[str, _Value]:
        """Values by column, under the package's name for them."""
        return dict(zip(self._table.places, self._values, strict=True))


class LeanTable:
    """Follows a table of an ``ovs.db.idl.Idl`` in place of the package."""

    def __init__(self, table: ovs.db.idl.IdlTable) -> None:
        """Take over a table that has no rows yet."""
        kinds: list[ovs.db.types.Type] = [column.type for column in table.columns.values()]
        assert all(kind.n_max == 1 and not kind.is_map() for kind in kinds), table.name
        self.name: str = table.name
        self.places = {name: place for place, name in enumerate(table.columns)}
        self.is_optional = tuple(kind.n_min == 0 for kind in kinds)
        self._blank = tuple(None if kind.n_min == 0 else kind.key.type.default for kind in kinds)
        self._rows: dict[UUID, LeanRow] = {}
        table.rows = self._rows  # the package's own keep a list for each row
        self._shared: dict[tuple[type, object], _Value] = {}
        self.places_of = cache(lambda columns: tuple([self.places.get(name) for name in columns]))

    def update2(self, uuid: UUID, change: Mapping[str, Any]) -> ovs.db.idl.Notice | None:
        """Take a ``<row-update2>`` (ovsdb-server(7), 4.1.14)."""
        if "delete" in change:
            return self._delete(uuid)
        if "modify" in change:
            # A column of one value at most is sent as it is now.
            row = self._rows.get(uuid)
            before = self._blank if row is None else row._values  # noqa: SLF001 - of this file
            return self._put(uuid, before, change["modify"])
        return self._put(uuid, self._blank, change.get("insert") or change.get("initial") or {})

    def update(self, uuid: UUID, change: Mapping[str, Any]) -> ovs.db.idl.Notice | None:
        """Take a ``<row-update>`` (RFC 7047 section 4.1.6)."""
        new = change.get("new")
        return self._put(uuid, self._blank, new) if new else self._delete(uuid)

    def _delete(self, uuid: UUID) -> ovs.db.idl.Notice | None:
        row = self._rows.pop(uuid, None)
        return None if row is None else ovs.db.idl.Notice(ovs.db.idl.ROW_DELETE, row)

    def _put(
        self, uuid: UUID, before: tuple[_Value, ...], changes: Mapping[str, Any]
    ) -> ovs.db.idl.Notice:
        """Make a row; what of it is new the reader sees by its former one."""
        values = list(before)
        for name, json in changes.items():
            place = self.places.get(name)
            if place is None:
                continue
            try:
                values[place] = self._read(json)
            except ovs.db.error.Error as error:
                _log.warn(f"value_ignored table={self.name} column={name} error={str(error)!r}")
        row = self._rows[uuid] = LeanRow(self, uuid, tuple(values))
        return ovs.db.idl.Notice(ovs.db.idl.ROW_CREATE, row)

    def _read(self, json: Any) -> _Value:
        """A value from JSON; the server has made sure of its type."""
        match json:
            case str() if len(json) > _SHORT:
                return json
            case str() | int() | float():
                return self._share((type(json), json), json)
            case ["uuid", str(text)]:
                known = self._shared.get((UUID, text))
                return known or self._share((UUID, text), ovs.ovsuuid.from_string(text))
            case ["set", []]:
                return None
            case ["set", [one]]:
                return self._read(one)
        raise ovs.db.error.Error("not one value or none", json)

    def _share(self, key: tuple[type, object], value: _Value) -> _Value:
        if len(self._shared) >= _LIMIT:
            self._shared.clear()
        return self._shared.setdefault(key, value)

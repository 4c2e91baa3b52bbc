# SPDX-License-Identifier: Apache-2.0
"""What changed in a database, as values that survive the loss of the connection."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

import ovs.db.idl

__all__ = ["ChangeLog", "Kind", "RowChange", "Table"]

Kind = Literal["insert", "update", "delete"]

_KINDS: Mapping[str, Kind] = {
    ovs.db.idl.ROW_CREATE: "insert",
    ovs.db.idl.ROW_UPDATE: "update",
    ovs.db.idl.ROW_DELETE: "delete",
}


class Table(Protocol):
    """What is used of a table of the ``ovs`` package."""

    @property
    def rows(self) -> Mapping[UUID, ovs.db.idl.Row]:
        """The rows by UUID."""

    @property
    def columns(self) -> Mapping[str, object]:
        """The columns that are registered and that the schema has, by name."""


class RowChange(NamedTuple):
    """A row that came, changed in ``columns`` or went.

    ``row`` is the row as it is now; of a row that went, as it was. ``columns`` is empty for rows
    that came or went.
    """

    table: str
    kind: Kind
    row: ovs.db.idl.Row
    columns: frozenset[str]


class ChangeLog:
    """Changes since the last `take`.

    A server that cannot tell what a client missed sends all rows again, and the ``ovs`` package
    forgets its own silently.  Between `begin_reload` and `end_reload` rows are therefore compared
    with what was known: what did not become different is no change.
    """

    def __init__(self) -> None:
        """Begin with no rows, the first load ahead."""
        self._known: dict[str, dict[UUID, ovs.db.idl.Row]] = {}
        self._changes: list[RowChange] = []
        self._is_reloading = True

    @property
    def is_reloading(self) -> bool:
        """Whether a (re)connection has not delivered its rows yet."""
        return self._is_reloading

    def begin_reload(self) -> None:
        """Expect all rows again."""
        self._is_reloading = True

    def note(self, event: str, row: ovs.db.idl.Row, columns: frozenset[str]) -> None:
        """Take one notification of the ``ovs`` package."""
        table = row._table.name  # noqa: SLF001 - the package has no public way
        known = self._known.setdefault(table, {})
        kind = _KINDS[event]
        if kind == "delete":
            known.pop(row.uuid, None)
        else:
            before = known.get(row.uuid)
            known[row.uuid] = row
            if kind == "insert" and before is not None:
                kind, columns = "update", _differences(before, row)
        if kind == "update" and not columns:
            return
        self._changes.append(RowChange(table, kind, row, columns))

    def end_reload(self, tables: Mapping[str, Table]) -> None:
        """Note as gone what the server no longer has."""
        self._is_reloading = False
        for name, known in self._known.items():
            rows = tables[name].rows if name in tables else {}
            for uuid in [uuid for uuid in known if uuid not in rows]:
                self._changes.append(RowChange(name, "delete", known.pop(uuid), frozenset()))

    def take(self) -> list[RowChange]:
        """Return the changes, oldest first, and forget them."""
        changes, self._changes = self._changes, []
        return changes


def _differences(before: ovs.db.idl.Row, after: ovs.db.idl.Row) -> frozenset[str]:
    old, new = before._data, after._data  # noqa: SLF001 - the package has no public way
    return frozenset(name for name in new if old.get(name) != new[name])

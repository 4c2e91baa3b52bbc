# SPDX-License-Identifier: Apache-2.0
"""Values of rows, each kept once however many rows have it.

The ``ovs`` package makes a new object for every column of every row, with a check that the server
has made already; most of a large database is a few values in many rows (types, keys, datapaths).
"""

from typing import Any

from ovs.db.data import Atom, Datum
from ovs.db.types import Type

__all__ = ["Datums"]

_LIMIT = 100_000


class Datums:
    """Makes values from JSON, the same object for the same value of a column.

    One for each schema: a column's type is known by its identity. Only where the package never
    changes a value in place: not in sets and maps, nor where a value is absent (``Datum.diff``).
    """

    def __init__(self) -> None:
        """Begin with nothing to share."""
        self._shared: dict[tuple[int, object, object], Datum] = {}

    def from_json(self, kind: Type, json: Any) -> Datum:
        """Value of a column; ovs.db.error.Error if it is none."""
        if kind.n_max != 1 or kind.is_map():
            return Datum.from_json(kind, json)
        key: tuple[int, object, object]
        if isinstance(json, str | int):
            key = (id(kind), type(json), json)
        elif isinstance(json, list) and len(json) == 2 and json[0] == "uuid":
            key = (id(kind), "uuid", json[1])
        else:
            return Datum.from_json(kind, json)
        known = self._shared.get(key)
        if known is None:
            if len(self._shared) >= _LIMIT:
                self._shared.clear()
            known = self._shared[key] = Datum(kind, {Atom.from_json(kind.key, json): None})
        return known

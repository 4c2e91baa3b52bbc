# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the machine, Southbound rows and local interfaces."""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

from iovisor_ovn.abi import STRUCTS, Drop, Replay
from iovisor_ovn.dataplane.machine import ArraySizes, Machine
from iovisor_ovn.errors import DataplaneError, MapFullError
from iovisor_ovn.mainlogic.pipeline import Change, Pipeline
from iovisor_ovn.mainlogic.southbound import Row

__all__ = ["Database", "FakeInterface", "FakeMachine", "FakeMap", "FakeRow", "RowChange",
           "make_pipeline"]  # fmt: skip

_STRIDES = {"insns": "insn", "guards": "guard", "shapes": "shape", "slots": "slot"}
_HASHES = ("ports", "devices", "members", "prefixes", "neighbours", "fdb_entries",
           "entries4", "entries8", "entries16", "entries40", "ct_conns", "ct_fresh",
           "ct_frags")  # fmt: skip


class FakeMap:
    """A hash map; ``writes`` counts the entries that were written or deleted."""

    def __init__(self, name: str, max_entries: int = 1 << 16) -> None:
        """Start empty."""
        self.name = name
        self.max_entries = max_entries
        self.contents: dict[bytes, bytes] = {}
        self.writes = 0

    def lookup(self, key: bytes) -> bytes | None:
        """The value, or None."""
        return self.contents.get(key)

    def update(self, key: bytes, value: bytes) -> None:
        """Write one entry."""
        if key not in self.contents and len(self.contents) >= self.max_entries:
            raise MapFullError(self.name, self.max_entries)
        self.contents[key] = value
        self.writes += 1

    def delete(self, key: bytes, *, missing_ok: bool = False) -> None:
        """Remove one entry."""
        if key in self.contents:
            del self.contents[key]
            self.writes += 1
        else:
            assert missing_ok, f"{self.name} has no such key"

    def update_many(self, keys: bytes, values: bytes) -> None:
        """Write joined entries; all keys are of one size, as are the values."""
        struct_name = {"members": "member_key", "prefixes": "prefix_key"}.get(self.name)
        size = STRUCTS[struct_name].size if struct_name else int(self.name[7:]) * 4
        count = len(keys) // size
        width = len(values) // count
        for at in range(count):
            self.update(keys[at * size : (at + 1) * size], values[at * width : (at + 1) * width])

    def delete_many(self, keys: bytes) -> None:
        """Remove joined keys; missing ones are passed over."""
        size = len(next(iter(self.contents))) if self.contents else 1
        for at in range(0, len(keys), size):
            self.delete(keys[at : at + size], missing_ok=True)

    def count(self) -> int:
        """Number of entries."""
        return len(self.contents)

    def items(self) -> list[tuple[bytes, bytes]]:
        """Every entry."""
        return list(self.contents.items())


class FakeMachine:
    """Records what the real one would hold, with the same methods."""

    def __init__(self, **sizes: int) -> None:
        """Be empty; ``sizes`` limit arrays (see ArraySizes) and maps by name."""
        arrays = {"slots": 4096, "insns": 1 << 16, "shapes": 256, "guards": 4096,
                  "lists": 1 << 16, "datapaths": 64}  # fmt: skip
        self.sizes = ArraySizes(**{name: sizes.get(name, size) for name, size in arrays.items()})
        self.maps = {name: FakeMap(name, sizes.get(name, 1 << 16)) for name in _HASHES}
        for name in arrays:
            self.maps["dps" if name == "datapaths" else name] = FakeMap(
                name, getattr(self.sizes, name)
            )
        self.arrays: dict[str, dict[int, bytes]] = {name: {} for name in (*_STRIDES, "lists")}
        self.rows: dict[tuple[int, int], Sequence[tuple[int, int, bool]]] = {}
        self.datapaths: dict[int, dict[str, int]] = {}
        self.dimensions: dict[int, tuple[int, bool, tuple[tuple[int, int, int], ...]]] = {}
        self.hooked: set[int] = set()
        self.pin_dir = Path("/nonexistent")
        self.shared: set[int] = set()
        self.paused: set[int] = set()
        self.refusals: dict[int, DataplaneError] = {}
        self.orders: list[str] = []
        self.injected: list[tuple[bytes, tuple[int, ...], int]] = []
        self.drop_counts: dict[Drop, int] = {}
        self.unsupported_counts: dict[int, int] = {}
        self.closed = False

    def settle(self) -> None:
        """Note that the first pass is done."""
        self.orders.append("settle")

    def write_array(self, name: str, index: int, data: bytes) -> None:
        """Write consecutive elements."""
        self.orders.append(name)
        stride = STRUCTS[_STRIDES[name]].size if name in _STRIDES else 4
        capacity = getattr(self.sizes, name)
        assert len(data) % stride == 0
        assert index + len(data) // stride <= capacity
        for at in range(0, len(data), stride):
            self.arrays[name][index + at // stride] = data[at : at + stride]

    def renew(self) -> None:
        """Note the moment."""
        self.orders.append("renew")

    def replays(self) -> dict[Replay, int]:
        """Nothing runs here."""
        return dict.fromkeys(Replay, 0)

    def put_entries(self, key_class: int, entries: Mapping[bytes, bytes]) -> None:
        """Add or replace entries."""
        if entries:
            self.orders.append("entries")
            table = self.maps[("entries4", "entries8", "entries16", "entries40")[key_class]]
            table.update_many(b"".join(entries), b"".join(entries.values()))

    def delete_entries(self, key_class: int, keys: Iterable[bytes]) -> None:
        """Delete entries."""
        for key in keys:
            self.orders.append("gone")
            name = ("entries4", "entries8", "entries16", "entries40")[key_class]
            self.maps[name].delete(key, missing_ok=True)

    def put_datapath(
        self, index: int, *, key: int, flags: int, dnat_zone: int, snat_zone: int
    ) -> None:
        """Set what a datapath is."""
        self.datapaths[index] = {"key": key, "flags": int(flags), "dnat_zone": dnat_zone,
                                 "snat_zone": snat_zone}  # fmt: skip

    def pause(self, index: int) -> None:
        """Drop a datapath's packets."""
        self.orders.append("pause")
        self.paused.add(index)

    def switch_rows(
        self, rows: Mapping[tuple[int, int], Sequence[tuple[int, int, bool]]],
        paused: Collection[int] = (),
    ) -> None:  # fmt: skip
        """Put stage rows into force."""
        self.paused -= {index for index, _stage in rows} | set(paused)
        if rows:
            self.orders.append("switch")
        self.rows |= rows

    def put_dimension(
        self, index: int, space: int, *, prefixes: bool, pieces: tuple[tuple[int, int, int], ...]
    ) -> None:
        """Define a dimension."""
        self.dimensions[index] = (space, prefixes, pieces)

    def attach(self, ifindex: int, *, shared: bool = False) -> None:
        """Hook a device."""
        error = self.refusals.get(ifindex)
        if error is not None:
            raise error
        self.hooked.add(ifindex)
        (self.shared.add if shared else self.shared.discard)(ifindex)

    def detach(self, ifindex: int) -> None:
        """Let a device go."""
        self.hooked.discard(ifindex)
        self.shared.discard(ifindex)

    def attached(self) -> frozenset[int]:
        """Hooked devices."""
        return frozenset(self.hooked)

    def inject(self, frame: bytes, words: tuple[int, ...], *, mac: int = 0) -> None:
        """Note what would be sent."""
        self.injected.append((frame, words, mac))

    def drops(self) -> dict[Drop, int]:
        """Packets by drop reason."""
        return self.drop_counts

    def unsupported(self) -> dict[int, int]:
        """Packets by number of verb."""
        return self.unsupported_counts

    def close(self) -> None:
        """Note it."""
        self.closed = True


@dataclass(frozen=True)
class FakeInterface:
    """A local interface."""

    ifindex: int
    peer_elsewhere: bool = False
    module: str = ""
    module_settings: str = ""


class FakeRow:
    """A row: columns are attributes, and references are UUIDs."""

    def __init__(self, table: str, uuid: UUID, **columns: object) -> None:
        """Set the columns."""
        self.table = table
        self.uuid = uuid
        self.columns = columns

    def __getattr__(self, column: str) -> object:
        """Value of a column; AttributeError where an older schema lacks it."""
        try:
            return self.columns[column]
        except KeyError:
            raise AttributeError(column) from None


@dataclass(frozen=True)
class RowChange:
    """A change as the database reports it."""

    table: str
    kind: str
    row: Row


class Database:
    """Rows by table, and what changed since :meth:`take`."""

    def __init__(self) -> None:
        """Start empty."""
        self.rows: dict[UUID, FakeRow] = {}
        self._changes: list[Change] = []
        self._numbers = itertools.count(1)

    def insert(self, table: str, **columns: object) -> FakeRow:
        """Add a row."""
        row = FakeRow(table, UUID(int=next(self._numbers)), **columns)
        self.rows[row.uuid] = row
        self._note("insert", row)
        return row

    def update(self, row: FakeRow, **columns: object) -> None:
        """Change columns of a row."""
        row.columns |= columns
        self._note("update", row)

    def delete(self, row: FakeRow) -> None:
        """Remove a row."""
        del self.rows[row.uuid]
        self._note("delete", row)

    def take(self) -> list[Change]:
        """Changes, oldest first."""
        changes, self._changes = self._changes, []
        return changes

    def everything(self) -> list[Change]:
        """All rows as a first load brings them."""
        return [RowChange(row.table, "insert", cast("Row", row)) for row in self.rows.values()]

    def of(self, table: str) -> Iterator[FakeRow]:
        """Rows of a table."""
        return (row for row in self.rows.values() if row.table == table)

    def _note(self, kind: str, row: FakeRow) -> None:
        self._changes.append(RowChange(row.table, kind, cast("Row", row)))


def make_pipeline(machine: FakeMachine | None = None) -> tuple[Pipeline, FakeMachine]:
    """A pipeline on a fake machine."""
    fake = machine or FakeMachine()
    return Pipeline(cast("Machine", fake)), fake

# SPDX-License-Identifier: Apache-2.0
"""All compiled stages of all datapaths, and what has to change in the maps.

A *flow* goes into its stage as (patterns, priority, program). Patterns with the same masks
form a *tuple*; a tuple is one slot of the stage and its entries share one entry map. A tuple
with a single entry needs no map: its guards tell all. Words that have the same value in all
entries of a tuple become guards too, so that most packets are turned away without a lookup.

Changes are collected per stage and handed out by :meth:`Image.drain` as a :class:`Delta`.
"""

import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from iovisor_ovn.abi import STRUCTS, GuardKind, Limit, PacketKind, Program, Word
from iovisor_ovn.compiler.allocate import Interned, Rows
from iovisor_ovn.compiler.insn import INSN_SIZE, Insn, ProgramText, decode, encode
from iovisor_ovn.compiler.patterns import Guard, Pattern
from iovisor_ovn.compiler.prune import is_impossible, written_bits
from iovisor_ovn.compiler.rows import RowBuilder
from iovisor_ovn.compiler.tuples import (
    Entry,
    EntryTuple,
    Identity,
    Layout,
    best_of,
    entry_of,
)

__all__ = ["Capacity", "Delta", "Image", "Insn", "Row"]

#: Entry maps by key class, and the words of their keys.
ENTRY_MAPS = ("entries4", "entries8", "entries16", "entries40")
KEY_WORDS = (4, 8, 16, 40)
_DIRECT_WORDS = 3
#: Tuples with more entries are not examined for ones that cannot match.
_PRUNED_ENTRIES = 64
_SLOT = STRUCTS["slot"]
_SHAPE = STRUCTS["shape"]
_GUARD = STRUCTS["guard"]
_ENTRY = STRUCTS["entry"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """Elements of the machine's arrays."""

    slots: int
    insns: int
    shapes: int
    guards: int
    lists: int


class Row(NamedTuple):
    """Slots of a stage that a kind of packet looks at; ``works``: more than pass packets on."""

    first: int
    length: int
    works: bool


@dataclass(slots=True)
class Delta:
    """Changes to the maps; apply in the order of the members.

    ``insns``, ``guards``, ``slots``, ``shapes``, ``lists``: (index, bytes) of array elements
    that nothing reads yet. ``entries``: per key class, key to value of new and changed
    entries. ``rows``: (datapath index, stage) to a row for each ``PacketKind``; a datapath's rows
    take effect together. ``gone``: per key class, keys to delete when the rows are in force.
    """

    insns: list[tuple[int, bytes]] = field(default_factory=list)
    guards: list[tuple[int, bytes]] = field(default_factory=list)
    shapes: list[tuple[int, bytes]] = field(default_factory=list)
    lists: list[tuple[int, bytes]] = field(default_factory=list)
    slots: list[tuple[int, bytes]] = field(default_factory=list)
    entries: tuple[dict[bytes, bytes], ...] = field(
        default_factory=lambda: tuple({} for _ in KEY_WORDS)
    )
    rows: dict[tuple[int, int], tuple[Row, ...]] = field(default_factory=dict)
    gone: tuple[set[bytes], ...] = field(default_factory=lambda: tuple(set() for _ in KEY_WORDS))

    def __bool__(self) -> bool:
        """There is something to apply."""
        return bool(
            self.insns or self.guards or self.shapes or self.lists or self.slots or self.rows
            or any(self.entries) or any(self.gone)
        )  # fmt: skip


#: (word, mask) pairs and the key class.
_ShapeText = tuple[tuple[tuple[int, int], ...], int]
_EVERY_BIT = (1 << 64) - 1
#: Tuples with more entries have no filter: most of its bits would be set.
_FILTERED_ENTRIES = 64
#: Words that tell entries apart best, before the others of as many tested bits.
_TELLING_WORDS = (
    Word.IP4_DST, Word.IP4_SRC, Word.ETH_DST_LO, Word.ETH_SRC_LO, Word.IP6_DST3, Word.IP6_SRC3,
    Word.ND_TARGET3, Word.ARP_TPA, Word.ARP_SPA, Word.REG0, Word.REG3,
)  # fmt: skip
_Key = TypeVar("_Key")


@dataclass(slots=True)
class _Stage:
    """Tuples of a stage; ``rows``, (first slot, slots), are in force or about to be."""

    tuples: dict[Identity, EntryTuple] = field(default_factory=dict)
    changed: set[Identity] = field(default_factory=set)
    rows: tuple[tuple[int, int], ...] = ()
    written: tuple[tuple[bytes, bool], ...] = ()
    stale: bool = False


class _Place(NamedTuple):
    """Where entries of a flow are: those of one call."""

    where: tuple[int, int]
    priority: int
    program: int  # its index
    entries: Sequence[Entry]


class Image:
    """The compiler's whole output. Flow ids are any hashable values of the caller."""

    def __init__(self, capacity: Capacity) -> None:
        """Start empty."""
        self._delta = Delta()
        self._slot_rows = Rows("slots", capacity.slots)
        self._guard_rows = Rows("guards", capacity.guards)
        self._shape_rows = Rows("shapes", capacity.shapes, first=1)
        self._insn_rows = Rows("insns", capacity.insns, first=Program.FIRST)
        self._list_rows = Rows("lists", capacity.lists, first=1)
        self._programs: Interned[bytes] = Interned(self._insn_rows, self._write_program)
        self._lists: Interned[tuple[int, ...]] = Interned(self._list_rows, self._write_list)
        self._shapes: Interned[_ShapeText] = Interned(self._shape_rows, self._write_shape)
        self._stages: dict[tuple[int, int], _Stage] = {}
        # Per datapath: its programs, and bits of tracked words that they write, with the numbers
        # of flows and programs.
        self._users: dict[int, dict[int, int]] = {}
        self._writers: dict[int, dict[tuple[int, int], int]] = {}
        self._rewritten: set[int] = set()
        self._changed: set[tuple[int, int]] = set()
        self._flows: dict[object, list[_Place]] = {}
        self._touched: set[int] = set()
        self._next_uid = 1
        self._now = time.monotonic()

    def begin_pass(self) -> None:
        """Look at the clock: rows that were given back and have rested are free from now on."""
        self._now = time.monotonic()

    def settle(self) -> None:
        """All that was drained is in force: what it stands in for may rest."""
        self._touched.clear()
        for rows in (self._slot_rows, self._guard_rows, self._shape_rows, self._insn_rows):
            rows.settle(self._now)

    @property
    def touched(self) -> frozenset[int]:
        """Datapaths (indexes) whose pipeline in force may name rows that were given back."""
        return frozenset(self._touched)

    # -- flows ---------------------------------------------------------------------------

    def add_flow(
        self, flow: object, where: tuple[int, int], priority: int, patterns: Iterable[Pattern],
        program: Program | ProgramText,
    ) -> None:  # fmt: skip
        """Put a flow into the stage ``where`` = (datapath index, stage); several calls add up."""
        code = program if isinstance(program, Program) else encode(program)
        self.add_entries(flow, where, priority, [entry_of(pattern) for pattern in patterns], code)

    def add_entries(
        self, flow: object, where: tuple[int, int], priority: int, entries: Sequence[Entry],
        code: Program | bytes,
    ) -> None:  # fmt: skip
        """As :meth:`add_flow`, with patterns and program as they are stored."""
        if not entries:
            return  # it never matches
        index = self._take_program(where[0], code)
        stage = self._stages.get(where)
        if stage is None:
            stage = self._stages[where] = _Stage()
        for identity, values in entries:
            item = stage.tuples.get(identity)
            if item is None:
                item = stage.tuples[identity] = EntryTuple(identity)
            candidates = item.entries.get(values)
            if candidates is None:
                item.entries[values] = [(priority, flow, index)]
            else:
                candidates.append((priority, flow, index))
            item.priorities[priority] = item.priorities.get(priority, 0) + 1
            item.programs[index] = item.programs.get(index, 0) + 1
            if not item.dirty:
                stage.changed.add(identity)
            item.dirty.add(values)
        self._changed.add(where)
        self._flows.setdefault(flow, []).append(_Place(where, priority, index, entries))

    def remove_flow(self, flow: object) -> None:
        """Take a flow out of every stage; unknown ones are ignored."""
        for where, priority, index, entries in self._flows.pop(flow, ()):
            stage = self._stages[where]
            for identity, values in entries:
                item = stage.tuples[identity]
                candidates = item.entries[values]
                candidates.remove((priority, flow, index))
                _count(item.priorities, priority, -1)
                _count(item.programs, index, -1)
                if not candidates:
                    del item.entries[values]
                item.dirty.add(values)
                stage.changed.add(identity)
            self._release_program(where[0], index)
            self._changed.add(where)
            self._touched.add(where[0])

    def program_text(self, index: int) -> ProgramText | Program:
        """Instructions of a stored program (for printing)."""
        code = self._code_at(index)
        return code if isinstance(code, Program) else decode(code)

    # -- lists ---------------------------------------------------------------------------

    def take_list(self, numbers: tuple[int, ...]) -> int:
        """Index of a list of numbers; 0 is the empty list. Give it back when unused."""
        if not numbers:
            return 0
        return self._lists.take(numbers, len(numbers) + 1, self._now)

    def release_list(self, index: int) -> None:
        """One user less."""
        if index:
            self._lists.give_back(index, len(self._lists.value_at(index)) + 1)
            self._list_rows.settle(self._now)  # members and ports named it, no stage did

    # -- what the maps need --------------------------------------------------------------

    def drain_lists(self) -> Delta:
        """Only the new lists: what is about to name them does not wait for the stages."""
        delta = Delta(lists=self._delta.lists)
        self._delta.lists = []
        return delta

    def drain(self) -> Delta:
        """Compile what changed since the last call; raises :class:`MapFullError`."""
        self.begin_pass()
        for datapath in self._rewritten:
            self._changed.update(where for where in self._stages if where[0] == datapath)
        self._touched.update(where[0] for where in self._changed)
        for where in sorted(self._changed):
            self._flush_stage(where, where[0] in self._rewritten)
        self._changed.clear()
        self._rewritten.clear()
        delta, self._delta = self._delta, Delta()
        return delta

    @property
    def entry_count(self) -> int:
        """Distinct entries of all stages: what grows with rules, not with set members."""
        return sum(len(t.entries) for s in self._stages.values() for t in s.tuples.values())

    @property
    def program_count(self) -> int:
        """Distinct action programs."""
        return len(self._programs)

    def use(self) -> dict[str, int]:
        """Elements in use by array, entries by map."""
        entries = dict.fromkeys(ENTRY_MAPS, 0)
        for stage in self._stages.values():
            for item in stage.tuples.values():
                if item.layout is not None:
                    entries[ENTRY_MAPS[item.layout.key_class]] += len(item.stored)
        return {
            "slots": self._slot_rows.used,
            "guards": self._guard_rows.used,
            "shapes": len(self._shapes),
            "insns": self._insn_rows.used,
            "lists": self._list_rows.used,
            **entries,
        }

    # -- internals -----------------------------------------------------------------------

    def _code_at(self, index: int) -> Program | bytes:
        return Program(index) if index < Program.FIRST else self._programs.value_at(index)

    def _take_program(self, datapath: int, code: Program | bytes) -> int:
        if isinstance(code, Program):
            return int(code)
        index = self._programs.take(code, len(code) // INSN_SIZE, self._now)
        users = self._users.setdefault(datapath, {})
        users[index] = users.get(index, 0) + 1
        if users[index] == 1:
            self._note_writes(datapath, code, 1)
        return index

    def _release_program(self, datapath: int, index: int) -> None:
        if index < Program.FIRST:
            return
        code = self._programs.value_at(index)
        users = self._users[datapath]
        _count(users, index, -1)
        if index not in users:
            self._note_writes(datapath, code, -1)
        self._programs.give_back(index, len(code) // INSN_SIZE)

    def _write_program(self, index: int, code: bytes) -> None:
        self._delta.insns.append((index, code))

    def _write_list(self, index: int, numbers: tuple[int, ...]) -> None:
        values = (len(numbers), *numbers)
        self._delta.lists.append((index, b"".join(v.to_bytes(4, "little") for v in values)))

    def _note_writes(self, datapath: int, code: bytes, change: int) -> None:
        """Keep the count of writers of each bit; note when the first comes or the last goes."""
        writers = self._writers.setdefault(datapath, {})
        for word, bits in written_bits(code).items():
            known = writers.get((word, bits), 0)
            _count(writers, (word, bits), change)
            if not known or (word, bits) not in writers:
                self._rewritten.add(datapath)

    def _possible(self, datapath: int) -> dict[int, int]:
        possible: dict[int, int] = {}
        for word, bits in self._writers.get(datapath, ()):
            possible[word] = possible.get(word, 0) | bits
        return possible

    def _flush_stage(self, where: tuple[int, int], reorder: bool) -> None:
        stage = self._stages[where]
        # Kept with the stage: where maps are full, the next drain goes on.
        stage.stale |= reorder
        for identity in stage.changed:
            item = stage.tuples.get(identity)
            if item is None:
                continue
            if item.entries:
                self._flush_tuple(item)
            else:
                self._drop_layout(item)
                self._release_more(item)
                del stage.tuples[identity]
                item.slot = b""
            shown = (item.slot, item.only_program)
            stage.stale |= shown != item.shown
            item.shown = shown
        stage.changed.clear()
        if stage.stale:
            self._write_rows(where, stage)
            stage.stale = False
        if not stage.tuples:
            del self._stages[where]

    def _write_rows(self, where: tuple[int, int], stage: _Stage) -> None:
        """Give each kind of packet a row without what cannot concern it; equal ones share."""
        possible = self._possible(where[0])
        ordered = [
            item
            for item in sorted(stage.tuples.values(), key=_order)
            if len(item.entries) > _PRUNED_ENTRIES
            or not is_impossible(item.identity[1], item.entries, possible)
        ]
        stage_of = RowBuilder(where[1], possible, self._code_at)
        wanted = tuple(stage_of.row(ordered, kind) for kind in PacketKind)
        if wanted == stage.written:
            return
        fresh: dict[bytes, int] = {}
        for data, _works in wanted:
            if data and data not in fresh:
                fresh[data] = self._slot_rows.take(len(data) // _SLOT.size, self._now)
        for first, length in stage.rows:
            self._slot_rows.give_back(first, length)
        stage.written = wanted
        stage.rows = tuple((first, len(data) // _SLOT.size) for data, first in fresh.items())
        self._delta.slots.extend((first, data) for data, first in fresh.items())
        self._delta.rows[where] = tuple(
            Row(fresh.get(data, 0), len(data) // _SLOT.size, works) for data, works in wanted
        )

    def _flush_tuple(self, item: EntryTuple) -> None:
        words = item.identity[1]
        if len(item.entries) == 1 and len(words) <= _DIRECT_WORDS:
            self._drop_layout(item)
            self._write_slot(item, *self._direct(item))
            item.dirty.clear()
            return
        if item.layout is None or not self._layout_holds(item, item.layout):
            layout = self._new_layout(item)
            self._drop_layout(item)
            item.layout = layout
            item.dirty = set(item.entries)
        layout = item.layout
        gone, entries = self._delta.gone[layout.key_class], self._delta.entries[layout.key_class]
        for values in item.dirty:
            stored = item.stored.pop(values, None)
            candidates = item.entries.get(values)
            if not candidates:
                if stored is not None:
                    gone.add(stored[0])
                    entries.pop(stored[0], None)
                continue
            key = stored[0] if stored else layout.key(values)
            priority, _flow, program = best_of(candidates)
            value = _ENTRY.pack_flat(program, priority)
            if stored is None or stored[1] != value:
                entries[key] = value
                gone.discard(key)
            item.stored[values] = (key, value)
        item.dirty.clear()
        tests = tuple(
            Guard(GuardKind.EQUAL, *words[position], value) for position, value in layout.fixed
        )
        self._write_slot(item, tests, layout, 0)

    def _direct(self, item: EntryTuple) -> tuple[tuple[Guard, ...], None, int]:
        """Guards that stand for the only entry's key, and its program."""
        _class, words, _guards, dims = item.identity
        ((values, candidates),) = item.entries.items()
        tests = [
            Guard(GuardKind.EQUAL, word, mask, value)
            for (word, mask), value in zip(words, values, strict=False)
        ]
        tests += [
            Guard(GuardKind.IN_SET, dim, 0, number)
            for dim, number in zip(dims, values[len(words) :], strict=True)
        ]
        return tuple(tests), None, best_of(candidates)[2]

    def _layout_holds(self, item: EntryTuple, layout: Layout) -> bool:
        return all(
            values[position] == value
            for values in item.dirty
            if values in item.entries
            for position, value in layout.fixed
        )

    def _new_layout(self, item: EntryTuple) -> Layout:
        _class, words, guards, dims = item.identity
        room = max(0, Limit.SLOT_GUARDS - len(guards))
        fixed: list[tuple[int, int]] = []
        some = next(iter(item.entries))
        for position in range(len(words)):
            if (
                len(fixed) < room
                and len(item.entries) > 1
                and all(values[position] == some[position] for values in item.entries)
            ):
                fixed.append((position, some[position]))
        taken = {position for position, _value in fixed}
        free = tuple(
            sorted(
                (position for position in range(len(words)) if position not in taken),
                key=lambda position: _filter_rank(words[position]),
            )
        )
        positions = (*free, *range(len(words), len(words) + len(dims)))
        length = 1 + len(positions)
        key_class = next(i for i, limit in enumerate(KEY_WORDS) if length <= limit)
        pad = 4 * (KEY_WORDS[key_class] - length)
        pack = struct.Struct(f"<{length}I{pad}x").pack
        text = (tuple(words[position] for position in free), key_class)
        shape = self._shapes.take(text, 1, self._now)
        uid = self._next_uid
        self._next_uid += 1
        return Layout(uid, tuple(fixed), free, key_class, shape, positions, pack)

    def _write_shape(self, index: int, text: _ShapeText) -> None:
        words, key_class = text
        data = _SHAPE.pack(
            n_words=len(words), key_class=key_class,
            words=tuple(word for word, _mask in words),
            masks=tuple(mask for _word, mask in words),
        )  # fmt: skip
        self._delta.shapes.append((index, data))

    def _drop_layout(self, item: EntryTuple) -> None:
        """Take the entries out; the shape is free for others, once it has rested."""
        if item.layout is None:
            return
        gone = self._delta.gone[item.layout.key_class]
        entries = self._delta.entries[item.layout.key_class]
        for key, _value in item.stored.values():
            gone.add(key)
            entries.pop(key, None)
        item.stored.clear()
        self._shapes.give_back(item.layout.shape, 1)
        item.layout = None

    def _release_more(self, item: EntryTuple) -> None:
        if item.more is not None:
            self._guard_rows.give_back(*item.more)
            item.more = None

    def _write_slot(
        self, item: EntryTuple, tests: tuple[Guard, ...], layout: Layout | None, program: int
    ) -> None:
        class_bits, _words, guards, dims = item.identity
        simple = [g for g in guards if g.kind != GuardKind.NOT_ALL_EQUAL]
        groups = [g for g in guards if g.kind == GuardKind.NOT_ALL_EQUAL]
        ordered = [*tests, *simple]
        inline, more = ordered[: Limit.SLOT_GUARDS], ordered[Limit.SLOT_GUARDS :] + groups
        first = self._write_more(item, more)
        item.slot = _SLOT.pack(
            uid=layout.uid if layout else program,
            classes=class_bits,
            bloom=_bloom(item, layout) if layout else 0,
            max_priority=item.max_priority,
            shape=layout.shape if layout else 0,
            n_guards=len(inline),
            n_more=len(more),
            more=first,
            n_dims=len(dims) if layout else 0,
            dims=dims if layout else (),
            guard_kind=tuple(g.kind for g in inline),
            guard_word=tuple(g.word for g in inline),
            guard_mask=tuple(g.mask for g in inline),
            guard_value=tuple(g.value for g in inline),
        )

    def _write_more(self, item: EntryTuple, more: list[Guard]) -> int:
        if item.more is not None and item.more_guards == tuple(more):
            return item.more[0]
        self._release_more(item)
        item.more_guards = tuple(more)
        if not more:
            return 0
        if len(more) > Limit.MORE_GUARDS:
            raise ValueError(f"a match needs {len(more)} tests, {Limit.MORE_GUARDS} are possible")
        first = self._guard_rows.take(len(more), self._now)
        item.more = (first, len(more))
        sizes: dict[int, int] = {}
        for guard in more:
            sizes[guard.group] = sizes.get(guard.group, 0) + 1
        data = b"".join(
            _GUARD.pack(kind=g.kind, word=g.word, n=sizes[g.group] if g.group else 1,
                        mask=g.mask, value=g.value)
            for g in sorted(more, key=lambda g: g.group)
        )  # fmt: skip
        self._delta.guards.append((first, data))
        return first


def _order(item: EntryTuple) -> tuple[int, bool, Identity]:
    """High priority first; among equals the match on everything last, then any fixed order."""
    return (-item.max_priority, not any(item.identity), item.identity)


def _filter_rank(word: tuple[int, int]) -> tuple[int, int]:
    """Order of the words of a key: its first makes the filter, so it should have many values."""
    index, mask = word
    known = _TELLING_WORDS.index(index) if index in _TELLING_WORDS else len(_TELLING_WORDS)
    return (-mask.bit_count(), known)


def _bloom(item: EntryTuple, layout: Layout) -> int:
    """The slot's filter: which values the first word of its entries' keys has."""
    if not layout.free or len(item.entries) > _FILTERED_ENTRIES:
        return _EVERY_BIT
    bits = 0
    for values in item.entries:
        bits |= bloom_bit(values[layout.free[0]])
    return bits


def bloom_bit(value: int) -> int:
    """The bit of a value in a slot's filter, as the machine works it out."""
    return 1 << ((value * 0x9E3779B1 & 0xFFFFFFFF) >> 26)


def _count(counts: dict[_Key, int], key: _Key, change: int) -> None:
    """Add to a count; counts of 0 are not kept."""
    now = counts.get(key, 0) + change
    if now:
        counts[key] = now
    else:
        del counts[key]

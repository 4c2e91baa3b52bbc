# SPDX-License-Identifier: Apache-2.0
"""The machine's classification in Python: what a packet finds in an image.

A second reading of the same bytes. It takes what the maps would get (:class:`Delta`, members
of sets, dimensions) and does with a packet's words what ``bpf/machine/classify.bpf.c`` does::

    reference = Reference()
    reference.apply(image.drain())
    found = reference.classify(words, stage=0)
    reference.insns[found.program]  # the first instruction

Tests compare it with the match evaluated directly and with the loaded program.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeVar

from iovisor_ovn.abi import STRUCTS, Drop, GuardKind, Limit, Struct, Word
from iovisor_ovn.compiler.image import KEY_WORDS, Delta, Row, bloom_bit
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.prune import packet_kind
from iovisor_ovn.compiler.sets import GROUP_DIMENSIONS, Dimension, Member, space_width

__all__ = ["Found", "Reference"]

_Fields = dict[str, int | tuple[int, ...]]
_Element = TypeVar("_Element")
_NO_ROWS = (Row(0, 0, True),) * Limit.KINDS


@dataclass(frozen=True, slots=True)
class Found:
    """``program`` of the flow found in ``stage``; a negative drop reason if there is none."""

    stage: int
    program: int


@dataclass(frozen=True, slots=True)
class _Guard:
    kind: int
    word: int
    mask: int
    value: int
    n: int = 1


@dataclass(frozen=True, slots=True)
class _Slot:
    uid: int
    classes: int
    bloom: int
    max_priority: int
    shape: int
    guards: tuple[_Guard, ...]
    more: range
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    key_class: int
    words: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Reference:
    """Contents of the maps that classification reads.

    ``groups``: (datapath index, port key) to set ids of the port's groups; ``members``: value
    or prefix to set ids, as :meth:`SetTable.drain` gives them; both may be changed directly.
    """

    groups: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)
    members: dict[Member, tuple[int, ...]] = field(default_factory=dict)
    entries: tuple[dict[bytes, tuple[int, int]], ...] = field(
        default_factory=lambda: tuple({} for _ in KEY_WORDS)
    )
    rows: dict[tuple[int, int], tuple[Row, ...]] = field(default_factory=dict)
    insns: dict[int, Insn] = field(default_factory=dict)
    _dimensions: dict[int, tuple[Dimension, bool]] = field(default_factory=dict)
    _slots: dict[int, _Slot] = field(default_factory=dict)
    _shapes: dict[int, _Shape] = field(default_factory=dict)
    _guards: dict[int, _Guard] = field(default_factory=dict)

    def apply(self, delta: Delta) -> None:
        """Take over the changes of a drain."""
        for index, data in delta.insns:
            self.insns |= _elements(index, data, STRUCTS["insn"], _insn)
        for index, data in delta.shapes:
            self._shapes |= _elements(index, data, STRUCTS["shape"], _shape)
        for index, data in delta.guards:
            self._guards |= _elements(index, data, STRUCTS["guard"], _guard)
        for index, data in delta.slots:
            self._slots |= _elements(index, data, STRUCTS["slot"], _slot)
        for table, new, gone in zip(self.entries, delta.entries, delta.gone, strict=True):
            for key, value in new.items():
                entry = STRUCTS["entry"].unpack(value)
                table[key] = (_int(entry, "priority"), _int(entry, "program"))
            for key in gone:
                table.pop(key, None)
        self.rows |= delta.rows

    def define(self, dimension: Dimension, *, prefixes: bool) -> None:
        """Say how a dimension reads the packet, and whether its space has prefixes."""
        self._dimensions[dimension.index] = (dimension, prefixes)

    def change_members(self, changes: Mapping[Member, tuple[int, ...]]) -> None:
        """Take over what :meth:`SetTable.drain` returned."""
        self.members |= changes
        for member in [member for member, ids in changes.items() if not ids]:
            del self.members[member]

    def classify(self, words: Sequence[int], stage: int) -> Found:
        """What a packet with these words (64 or more) finds from ``stage`` on."""
        datapath = words[Word.DATAPATH]
        kind = packet_kind(words[Word.CLASS])
        row = self.rows.get((datapath, stage), _NO_ROWS)[kind]
        while not row.works:
            stage += 1
            if stage % Limit.EGRESS == 0:
                return Found(stage - 1, -Drop.NO_FLOW)
            row = self.rows.get((datapath, stage), _NO_ROWS)[kind]
        first, length, _works = row
        best, program = -1, -int(Drop.NO_FLOW)
        for index in range(first, first + length):
            slot = self._slots[index]
            if best >= slot.max_priority:
                break
            if not self._admits(slot, words):
                continue
            if not slot.shape:
                program = slot.uid
                break
            for priority, candidate in self._lookup(slot, words):
                if priority > best:
                    best, program = priority, candidate
        return Found(stage, program)

    def entry_count(self) -> int:
        """Entries in the entry maps."""
        return sum(len(table) for table in self.entries)

    # -- inside --------------------------------------------------------------------------

    def _admits(self, slot: _Slot, words: Sequence[int]) -> bool:
        if words[Word.CLASS] & slot.classes != slot.classes:
            return False
        if not all(self._holds(guard, words) for guard in slot.guards):
            return False
        more = [self._guards[index] for index in slot.more]
        while more:
            size = more[0].n if more[0].kind == GuardKind.NOT_ALL_EQUAL else 1
            group, more = more[:size], more[size:]
            if not any(self._holds(guard, words) for guard in group):
                return False
        return True

    def _holds(self, guard: _Guard, words: Sequence[int]) -> bool:
        match guard.kind:
            case GuardKind.EQUAL:
                return words[guard.word] & guard.mask == guard.value
            case GuardKind.NOT_EQUAL | GuardKind.NOT_ALL_EQUAL:
                return words[guard.word] & guard.mask != guard.value
            case GuardKind.IN_SET:
                return guard.value in self._sets_of(guard.word, words)
            case _:
                return guard.value not in self._sets_of(guard.word, words)

    def _sets_of(self, index: int, words: Sequence[int]) -> tuple[int, ...]:
        """Ids of the sets that hold the packet's value of a dimension."""
        if index in GROUP_DIMENSIONS.values():
            port = Word.INPORT if index == GROUP_DIMENSIONS["inport"] else Word.OUTPORT
            return self.groups.get((words[Word.DATAPATH], words[port]), ())
        dimension, prefixes = self._dimensions[index]
        value = 0
        for piece in dimension.pieces:
            value = value << 32 | words[piece.word] >> piece.at & (1 << piece.width) - 1
        width = space_width(dimension.space)
        host = Member(dimension.space, value, width)
        lengths = range(width, -1, -1) if prefixes else range(width, width - 1, -1)
        found = (self.members.get(host.cut(length)) for length in lengths)
        return next((ids for ids in found if ids is not None), ())

    def _lookup(self, slot: _Slot, words: Sequence[int]) -> list[tuple[int, int]]:
        """(priority, program) of every combination of sets that has an entry."""
        shape = self._shapes[slot.shape]
        lists = [self._sets_of(index, words) for index in slot.dims]
        keys = (slot.uid, *(words[word] & mask for word, mask in shape.words))
        if shape.words and not slot.bloom & bloom_bit(keys[1]):
            return []
        found = []
        for ids in product(*lists):
            data = b"".join(number.to_bytes(4, "little") for number in (*keys, *ids))
            padded = data.ljust(KEY_WORDS[shape.key_class] * 4, b"\0")
            entry = self.entries[shape.key_class].get(padded)
            if entry is not None:
                found.append(entry)
        return found


def _elements(
    first: int, data: bytes, layout: Struct, read: Callable[[_Fields], _Element]
) -> dict[int, _Element]:
    """Consecutive array elements by index."""
    starts = range(0, len(data), layout.size)
    return {first + i: read(layout.unpack(data[at:])) for i, at in enumerate(starts)}


def _int(fields: _Fields, name: str) -> int:
    value = fields[name]
    assert isinstance(value, int), name
    return value


def _many(fields: _Fields, name: str) -> tuple[int, ...]:
    value = fields[name]
    assert isinstance(value, tuple), name
    return value


def _insn(fields: _Fields) -> Insn:
    return Insn(*(_int(fields, name) for name in Insn._fields))


def _shape(fields: _Fields) -> _Shape:
    length = _int(fields, "n_words")
    pairs = zip(_many(fields, "words"), _many(fields, "masks"), strict=True)
    return _Shape(_int(fields, "key_class"), tuple(pairs)[:length])


def _guard(fields: _Fields) -> _Guard:
    return _Guard(*(_int(fields, name) for name in ("kind", "word", "mask", "value", "n")))


def _slot(fields: _Fields) -> _Slot:
    names = ("guard_kind", "guard_word", "guard_mask", "guard_value")
    guards = zip(*(_many(fields, name) for name in names), strict=False)
    more = _int(fields, "more")
    return _Slot(
        uid=_int(fields, "uid"),
        classes=_int(fields, "classes"),
        bloom=_int(fields, "bloom"),
        max_priority=_int(fields, "max_priority"),
        shape=_int(fields, "shape"),
        guards=tuple(_Guard(*guard) for guard in guards)[: _int(fields, "n_guards")],
        more=range(more, more + _int(fields, "n_more")),
        dims=_many(fields, "dims")[: _int(fields, "n_dims")],
    )

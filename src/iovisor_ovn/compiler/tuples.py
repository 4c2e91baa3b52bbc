# SPDX-License-Identifier: Apache-2.0
"""Tuples of a stage: entries that test the same words with the same masks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from iovisor_ovn.compiler.patterns import Guard, Pattern

__all__ = [
    "Candidate", "Entry", "EntryTuple", "Identity", "Layout", "Values", "best_of", "entry_of",
]  # fmt: skip

#: Class bits, (word, mask) pairs, guards, dimensions.
Identity = tuple[int, tuple[tuple[int, int], ...], tuple[Guard, ...], tuple[int, ...]]
#: Of the words, then the set ids.
Values = tuple[int, ...]
#: A pattern in two: what it has in common with the others of its tuple, and what it has not.
Entry = tuple[Identity, Values]
#: A flow's claim to an entry: priority, flow, program index.
Candidate = tuple[int, object, int]


class Layout(NamedTuple):
    """How a tuple's entries lie in the maps."""

    uid: int
    fixed: tuple[tuple[int, int], ...]  # (position in the identity's words, value) guarded
    free: tuple[int, ...]  # positions of the words in the key
    key_class: int
    shape: int
    positions: tuple[int, ...]  # in the values, of the words in the key and the sets
    pack: Callable[..., bytes]  # a key, from the uid and the values at these positions

    def key(self, values: Values) -> bytes:
        """The key of an entry."""
        return self.pack(self.uid, *[values[position] for position in self.positions])


@dataclass(slots=True)
class EntryTuple:
    """Entries with the same masks in one stage, and what the maps hold of them.

    ``priorities`` and ``programs`` count candidates; ``stored`` has key and value by values.
    """

    identity: Identity
    entries: dict[Values, list[Candidate]] = field(default_factory=dict)
    priorities: dict[int, int] = field(default_factory=dict)
    programs: dict[int, int] = field(default_factory=dict)
    dirty: set[Values] = field(default_factory=set)
    layout: Layout | None = None
    stored: dict[Values, tuple[bytes, bytes]] = field(default_factory=dict)
    more: tuple[int, int] | None = None
    more_guards: tuple[Guard, ...] = ()
    slot: bytes = b""
    shown: tuple[bytes, int | None] = (b"", None)

    @property
    def max_priority(self) -> int:
        """Highest priority among its flows."""
        return max(self.priorities)

    @property
    def only_program(self) -> int | None:
        """The program of all entries, if they have the same."""
        return next(iter(self.programs)) if len(self.programs) == 1 else None


def entry_of(pattern: Pattern) -> Entry:
    """The pattern's tuple, and its values there."""
    identity = (
        pattern.class_bits,
        tuple((word, mask) for word, mask, _value in pattern.words),
        pattern.guards,
        tuple(dim for dim, _number in pattern.dims),
    )
    values = (
        *(value for _word, _mask, value in pattern.words),
        *(number for _dim, number in pattern.dims),
    )
    return identity, values


def best_of(candidates: list[Candidate]) -> Candidate:
    """Highest priority; among equals (undefined in OVN) the same one every time."""
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda item: (item[0], str(item[1])))

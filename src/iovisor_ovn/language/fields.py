# SPDX-License-Identifier: Apache-2.0
"""Fields of a packet as the language names them.

Every name ends in a *base field*: registers overlap, so ``reg1`` is bits 64 to 95 of the base
field ``xxreg0`` and ``ct.new`` is bit 0 of ``ct_state``. A :class:`FieldRef` says which bits of
which base field a text means; a name that stands for a whole expression is a *predicate*::

    >>> table = SymbolTable.default()
    >>> table.lookup("reg1").ref
    FieldRef(xxreg0[64..95], 'reg1')
    >>> table.lookup("tcp").predicate
    'ip.proto == 6'
"""

import dataclasses
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "RELEASES",
    "Access",
    "Field",
    "FieldKind",
    "FieldRef",
    "Level",
    "Symbol",
    "SymbolKind",
    "bits_suffix",
]

#: Releases of OVN that changed the symbols, oldest first; ``main`` is what comes after them.
RELEASES = ("23.03", "24.03", "24.09", "25.03", "25.09", "26.03", "main")


class Level(Enum):
    """What may be asked of a symbol.

    ``NOMINAL``: whether it equals a value, never whether it differs. ``BOOLEAN``: whether it
    is true or false. ``ORDINAL``: all of it, single bits and order included.
    """

    NOMINAL = "nominal"
    BOOLEAN = "Boolean"
    ORDINAL = "ordinal"


class FieldKind(Enum):
    """Type of the values of a field."""

    INTEGER = "integer"
    STRING = "string"


class Access(Enum):
    """Where an action may write a field."""

    RW = "rw"
    RO = "ro"
    CT_COMMIT_ONLY = "ct_commit"
    WRITE_ONLY = "write-only"


class SymbolKind(Enum):
    """How a symbol gets its meaning."""

    FIELD = "field"
    SUBFIELD = "subfield"
    PREDICATE = "predicate"
    OVN_FIELD = "ovn_field"


@dataclass(frozen=True, slots=True, repr=False)
class Field:
    """A base field: bits that no other integer field shares.

    ``width`` counts bits; a string field holds the 32-bit key that its name stands for.
    ``prereqs`` is an expression that must hold for the field to exist, or empty. ``since`` and
    ``until`` are the releases that brought it and dropped it (empty: still there).
    """

    name: str
    width: int
    kind: FieldKind = FieldKind.INTEGER
    level: Level = Level.ORDINAL
    writable: Access = Access.RW
    prereqs: str = ""
    since: str = "23.03"
    until: str = ""

    def __hash__(self) -> int:
        """The name's: clauses are hashed often, and a name means one field in nearly all cases."""
        return hash(self.name)

    def __repr__(self) -> str:
        """The name; the rest follows from it."""
        return f"Field({self.name})"


@dataclass(frozen=True, slots=True, repr=False)
class FieldRef:
    """Bits ``[offset, offset + width)`` of a base field; bit 0 is the least significant.

    ``symbol`` is how the text spelled it (``reg1[3]``); it takes no part in comparisons.
    """

    field: Field
    offset: int
    width: int
    symbol: str = dataclasses.field(default="", compare=False)

    def __repr__(self) -> str:
        """The bits, and the spelling."""
        last = self.offset + self.width - 1
        return f"FieldRef({self.field.name}[{self.offset}..{last}], {self.symbol!r})"

    def __str__(self) -> str:
        """The spelling, or one made from the base field."""
        if self.symbol:
            return self.symbol
        return self.field.name + bits_suffix(self.offset, self.width, self.field.width)

    @property
    def is_string(self) -> bool:
        """Its values are names."""
        return self.field.kind is FieldKind.STRING

    @property
    def mask(self) -> int:
        """The bits, as a mask over the base field."""
        return ((1 << self.width) - 1) << self.offset


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name of the language.

    ``ref`` is ``None`` for a predicate, whose ``predicate`` is the expression that it stands
    for. ``width`` is 0 for strings and 1 for predicates. ``prereqs`` are the symbol's own:
    those of its base field come on top only where a text writes the field.
    """

    name: str
    kind: SymbolKind
    width: int
    level: Level
    writable: Access
    prereqs: str = ""
    ref: FieldRef | None = None
    predicate: str = ""
    since: str = "23.03"
    until: str = ""


def bits_suffix(offset: int, width: int, whole: int) -> str:
    """``[a..b]`` for bits of something ``whole`` bits wide; empty for all of it."""
    if offset == 0 and width == whole:
        return ""
    return f"[{offset}]" if width == 1 else f"[{offset}..{offset + width - 1}]"

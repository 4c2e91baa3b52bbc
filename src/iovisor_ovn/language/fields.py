# SPDX-License-Identifier: Apache-2.0
"""Fields of a packet as the language names them, and the symbol table that holds the names.

Every name ends in a *base field*: registers overlap, so ``reg1`` is bits 64 to 95 of the base
field ``xxreg0`` and ``ct.new`` is bit 0 of ``ct_state``. A :class:`FieldRef` says which bits of
which base field a text means; a name that stands for a whole expression is a *predicate*::

    >>> table = SymbolTable.default()
    >>> table.lookup("reg1").ref
    FieldRef(xxreg0[64..95], 'reg1')
    >>> table.lookup("tcp").predicate
    'ip.proto == 6'

Names, widths, levels and prerequisites are those of ovn-sb(5), OVN's ``lib/logical-fields.c``.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

__all__ = [
    "RELEASES",
    "Access",
    "Field",
    "FieldKind",
    "FieldRef",
    "Level",
    "Symbol",
    "SymbolKind",
    "SymbolTable",
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


class SymbolTable:
    """The names that one release of OVN knows. Immutable."""

    __slots__ = ("_symbols", "release")

    def __init__(self, release: str, symbols: dict[str, Symbol]) -> None:
        """Keep ``symbols``, mapping of name to symbol."""
        self.release = release
        self._symbols = symbols

    @staticmethod
    def default(release: str = "main") -> "SymbolTable":
        """Names of ``release`` (such as ``23.03``) or, between two, of the older one.

        Names that a release dropped stay readable in later ones: OVN upgrades hypervisors
        before northd, so the flows may be older than the agent. Raises :class:`ValueError`
        for a text that is no release.
        """
        return _build(_known_release(release), False)

    @staticmethod
    def conntrack(release: str = "main") -> "SymbolTable":
        """As :meth:`default`, but for flows tagged ``acl_ct_translation``.

        There ``tcp``, ``udp``, ``sctp`` and their ports speak of the connection's original
        direction, base fields ``ct_proto``, ``ct_tp.src`` and ``ct_tp.dst``, and not of the
        packet, so that fragments without an L4 header match too.
        """
        return _build(_known_release(release), True)

    def lookup(self, name: str) -> Symbol | None:
        """The symbol of that name, or ``None``."""
        return self._symbols.get(name)

    def __iter__(self) -> Iterator[Symbol]:
        """Every symbol, in order of definition."""
        return iter(self._symbols.values())

    def __len__(self) -> int:
        """Number of symbols."""
        return len(self._symbols)


def _known_release(release: str) -> int:
    """Position in :data:`RELEASES` of the newest one not newer than ``release``."""
    if release in RELEASES:
        return RELEASES.index(release)
    wanted = _version(release)
    older = [n for n, known in enumerate(RELEASES[:-1]) if _version(known) <= wanted]
    # Before 23.03 nothing is described; reading such a release as 23.03 is the best guess.
    return older[-1] if older else 0


def _version(release: str) -> tuple[int, int]:
    year, _, month = release.partition(".")
    return int(year), int(month.partition(".")[0])


@cache
def _build(position: int, of_connections: bool) -> SymbolTable:
    # Imported here because the definitions are written with the types of this file.
    from iovisor_ovn.language._symbols import define_symbols

    return SymbolTable(RELEASES[position], define_symbols(position, of_connections))

# SPDX-License-Identifier: Apache-2.0
"""The tree of a match.

A match is a Boolean expression over fields. The tree keeps what was written, apart from three
liberties: chains of one operator are flat, a value set is an :class:`Or` of its members (an
:class:`And` where it follows ``!=``), and constants lose the bits that their field lacks::

    inport == "a" && tcp.dst == {80, 443}

    And(PortIs(inport, "a"), Or(Compare(tcp.dst, EQ, 80), Compare(tcp.dst, EQ, 443)))

Prerequisites (``tcp`` here) are not part of it: :mod:`iovisor_ovn.language.normalize` adds them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from iovisor_ovn.language.fields import FieldRef

__all__ = [
    "And",
    "BoolConst",
    "Compare",
    "Constant",
    "Expr",
    "Format",
    "GroupMember",
    "Not",
    "Or",
    "PortIs",
    "Predicate",
    "References",
    "Relop",
    "Resident",
    "SetMember",
    "all_of",
    "any_of",
    "negate",
    "references",
]


class Format(Enum):
    """How a constant was written; ``ABSENT`` is the 0 that a bare ``f`` is compared with."""

    DECIMAL = "decimal"
    HEXADECIMAL = "hexadecimal"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    ETHERNET = "ethernet"
    ABSENT = "absent"


class Relop(Enum):
    """Relational operators."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="

    @property
    def turned(self) -> "Relop":
        """The same relation with its sides swapped."""
        return _TURNED.get(self, self)


_TURNED = {
    Relop.LT: Relop.GT,
    Relop.LE: Relop.GE,
    Relop.GT: Relop.LT,
    Relop.GE: Relop.LE,
}


@dataclass(frozen=True, slots=True)
class Constant:
    """An integer, in as many bits as what it is compared with or stored into.

    Every 1-bit of ``value`` is one of ``mask``; ``mask`` is ``None`` for all bits. ``width``
    is that of the field bits, or 32, 48 or 128 for an address that stands alone.
    """

    value: int
    mask: int | None
    width: int
    form: Format = Format.DECIMAL


@dataclass(frozen=True, slots=True)
class BoolConst:
    """``0`` or ``1``."""

    value: bool


@dataclass(frozen=True, slots=True)
class Compare:
    """``symbol relop constant``; ``symbol`` as spelled, subfield included."""

    ref: FieldRef
    relop: Relop
    constant: Constant
    symbol: str


@dataclass(frozen=True, slots=True)
class Predicate:
    """A predicate of the symbol table holds."""

    symbol: str


@dataclass(frozen=True, slots=True)
class SetMember:
    """``symbol == $name``; negated, ``symbol != $name``."""

    ref: FieldRef
    name: str
    negated: bool
    symbol: str


@dataclass(frozen=True, slots=True)
class GroupMember:
    """``inport == @name``: the port is one of a port group."""

    ref: FieldRef
    name: str


@dataclass(frozen=True, slots=True)
class PortIs:
    """``inport == "name"``."""

    ref: FieldRef
    name: str


@dataclass(frozen=True, slots=True)
class Resident:
    """``is_chassis_resident("port")``, or its opposite."""

    port: str
    negated: bool


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more; none of them is an :class:`And`."""

    args: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more; none of them is an :class:`Or`."""

    args: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; never of a :class:`Resident`, which has its own."""

    arg: "Expr"


Expr = (
    BoolConst | Compare | Predicate | SetMember | GroupMember | PortIs | Resident | And | Or | Not
)


@dataclass(frozen=True, slots=True)
class References:
    """Names of rows that a match depends on."""

    address_sets: frozenset[str]
    port_groups: frozenset[str]
    ports: frozenset[str]
    residents: frozenset[str]


def all_of(args: tuple[Expr, ...]) -> Expr:
    """Conjunction of one or more expressions, flat."""
    if len(args) == 1:
        return args[0]
    flat: list[Expr] = []
    for arg in args:
        flat.extend(arg.args if isinstance(arg, And) else (arg,))
    return And(tuple(flat))


def any_of(args: tuple[Expr, ...]) -> Expr:
    """Disjunction of one or more expressions, flat."""
    if len(args) == 1:
        return args[0]
    flat: list[Expr] = []
    for arg in args:
        flat.extend(arg.args if isinstance(arg, Or) else (arg,))
    return Or(tuple(flat))


def negate(expr: Expr) -> Expr:
    """The opposite of ``expr``."""
    if isinstance(expr, Resident):
        return Resident(expr.port, not expr.negated)
    return Not(expr)


def references(expr: Expr) -> References:
    """Rows whose change can change what ``expr`` matches."""
    leaves = tuple(_leaves(expr))
    return References(
        address_sets=frozenset(leaf.name for leaf in leaves if isinstance(leaf, SetMember)),
        port_groups=frozenset(leaf.name for leaf in leaves if isinstance(leaf, GroupMember)),
        ports=frozenset(leaf.name for leaf in leaves if isinstance(leaf, PortIs)),
        residents=frozenset(leaf.port for leaf in leaves if isinstance(leaf, Resident)),
    )


def _leaves(expr: Expr) -> Iterator[Expr]:
    match expr:
        case And(args) | Or(args):
            for arg in args:
                yield from _leaves(arg)
        case Not(arg):
            yield from _leaves(arg)
        case _:
            yield expr

# SPDX-License-Identifier: Apache-2.0
"""Matches answered for one packet: what compiled forms are judged against.

A packet is a mapping of base field name to value; a field that is not there is 0, a port that
is not there is no port. What depends on database rows comes from a :class:`Context`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from iovisor_ovn.language.annotate import expansion
from iovisor_ovn.language.clauses import (
    Clause,
    Conjunction,
    FieldClause,
    PortClause,
    ResidentClause,
    SetClause,
    Term,
)
from iovisor_ovn.language.fields import FieldRef
from iovisor_ovn.language.match import (
    And,
    BoolConst,
    Compare,
    Expr,
    GroupMember,
    Not,
    Or,
    PortIs,
    Predicate,
    Relop,
    Resident,
    SetMember,
)
from iovisor_ovn.language.symbol_table import SymbolTable

__all__ = ["Context", "Packet", "evaluate", "evaluate_conjunctions"]

Packet = Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Context:
    """Rows that a match refers to.

    ``address_sets``: name to terms over the bits that are compared; ``port_groups``: name to
    port names; ``residents``: ports of this chassis. A name that is missing has no members.
    ``symbols`` says what predicates stand for.
    """

    address_sets: Mapping[str, Collection[Term]] = field(default_factory=dict)
    port_groups: Mapping[str, Collection[str]] = field(default_factory=dict)
    residents: Collection[str] = frozenset()
    symbols: SymbolTable = field(default_factory=SymbolTable.default)


_RELATIONS: dict[Relop, Callable[[int, int], bool]] = {
    Relop.EQ: lambda a, b: a == b,
    Relop.NE: lambda a, b: a != b,
    Relop.LT: lambda a, b: a < b,
    Relop.LE: lambda a, b: a <= b,
    Relop.GT: lambda a, b: a > b,
    Relop.GE: lambda a, b: a >= b,
}


def evaluate(expr: Expr, packet: Packet, context: Context = Context()) -> bool:
    """Whether ``expr`` holds, as written: prerequisites count only where it contains them."""
    match expr:
        case And(args):
            return all(evaluate(arg, packet, context) for arg in args)
        case Or(args):
            return any(evaluate(arg, packet, context) for arg in args)
        case Not(arg):
            return not evaluate(arg, packet, context)
        case BoolConst(value):
            return value
        case Predicate(symbol):
            return evaluate(expansion(symbol, context.symbols), packet, context)
        case Compare(ref, relop, constant):
            mask = ref.mask >> ref.offset if constant.mask is None else constant.mask
            return _RELATIONS[relop](_bits(packet, ref) & mask, constant.value)
        case SetMember(ref, name, negated):
            members = context.address_sets.get(name, ())
            return _matches(_bits(packet, ref), members) is not negated
        case GroupMember(ref, name):
            return packet.get(ref.field.name) in context.port_groups.get(name, ())
        case PortIs(ref, name):
            return packet.get(ref.field.name) == name
        case Resident(port, negated):
            return (port in context.residents) is not negated


def _bits(packet: Packet, ref: FieldRef) -> int:
    return (int(packet.get(ref.field.name, 0)) & ref.mask) >> ref.offset


def _matches(value: int, terms: Iterable[Term]) -> bool:
    return any(value & term.mask == term.value for term in terms)


def evaluate_conjunctions(
    conjunctions: Iterable[Conjunction],
    packet: Packet,
    context: Context = Context(),
) -> bool:
    """Whether some conjunction holds."""
    return any(
        all(_holds(clause, packet, context) for clause in conjunction)
        for conjunction in conjunctions
    )


def _holds(clause: Clause, packet: Packet, context: Context) -> bool:
    match clause:
        case FieldClause(field=known, any_of=any_of, none_of=none_of):
            value = int(packet.get(known.name, 0))
            return (not any_of or _matches(value, any_of)) and not _matches(value, none_of)
        case SetClause(ref, name, negated):
            members = context.address_sets.get(name, ())
            return _matches(_bits(packet, ref), members) is not negated
        case PortClause(known, names, groups, negated):
            port = packet.get(known.name)
            member = port in names or any(
                port in context.port_groups.get(group, ()) for group in groups
            )
            return member is not negated
        case ResidentClause(port, negated):
            return (port in context.residents) is not negated

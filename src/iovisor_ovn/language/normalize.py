# SPDX-License-Identifier: Apache-2.0
"""Match trees to an OR of conjunctions of clauses.

What one field may be stays one clause however many values there are, and ``!=`` stays an
exclusion; only an OR across fields takes several conjunctions::

    ip && (tcp.dst == {80, 443} || udp.dst == 53)

    eth.type any of (0x800, 0x86dd), ip.proto == 6,  tcp.dst any of (80, 443)
    eth.type any of (0x800, 0x86dd), ip.proto == 17, udp.dst == 53
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import zip_longest

from iovisor_ovn.errors import LanguageError
from iovisor_ovn.language.annotate import expansion, prerequisite
from iovisor_ovn.language.clauses import (
    Conjunction,
    FieldClause,
    PortClause,
    ResidentClause,
    SetClause,
    Term,
)
from iovisor_ovn.language.conjunctions import FALSE, TRUE, Draft, Drafts, TooComplex, both, either
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
from iovisor_ovn.language.printer import print_match
from iovisor_ovn.language.symbol_table import SymbolTable
from iovisor_ovn.language.terms import range_terms

__all__ = ["normalize"]


def normalize(
    expr: Expr, symbols: SymbolTable, extra_prereqs: Iterable[Expr] = ()
) -> tuple[Conjunction, ...]:
    """Conjunctions of which at least one must hold, prerequisites included.

    ``()`` never holds, ``((),)`` always. ``extra_prereqs`` are those of the flow's actions.
    Raises :class:`LanguageError` for a match whose alternatives multiply beyond
    :data:`iovisor_ovn.language.conjunctions.MAX_TERMS`.
    """
    try:
        drafts = _drafts(expr, symbols, positive=True)
        for extra in extra_prereqs:
            drafts = both(drafts, _drafts(extra, symbols, positive=True))
    except TooComplex:
        raise LanguageError("the match has too many alternatives", 0, print_match(expr)) from None
    return tuple(draft.conjunction() for draft in drafts)


def _drafts(expr: Expr, symbols: SymbolTable, positive: bool) -> Drafts:
    match expr:
        case Not(arg):
            return _drafts(arg, symbols, not positive)
        case And(args) | Or(args):
            parts = [_drafts(arg, symbols, positive) for arg in args]
            return _join(parts, conjoined=isinstance(expr, And) is positive)
        case Predicate(name):
            return _predicate(name, symbols, positive)
        case Compare() | SetMember():
            leaf = _leaf(expr, positive)
            needed = _prerequisite(expr.symbol, symbols)
            return leaf if needed is TRUE else both(leaf, needed)
        case _:
            return _leaf(expr, positive)


def _plain(expr: Expr, positive: bool) -> Drafts:
    """Drafts of an annotated tree: nothing is added to it."""
    match expr:
        case Not(arg):
            return _plain(arg, not positive)
        case And(args) | Or(args):
            parts = [_plain(arg, positive) for arg in args]
            return _join(parts, conjoined=isinstance(expr, And) is positive)
        case _:
            return _leaf(expr, positive)


def _join(parts: Sequence[Drafts], *, conjoined: bool) -> Drafts:
    if not conjoined:
        return either(parts)
    # In pairs, for a long list of exclusions would be sorted anew for each of them otherwise.
    while len(parts) > 1:
        pairs = zip_longest(parts[::2], parts[1::2], fillvalue=TRUE)
        parts = [both(a, b) for a, b in pairs]
    return parts[0]


@lru_cache(maxsize=1024)
def _predicate(name: str, symbols: SymbolTable, positive: bool) -> Drafts:
    return _plain(expansion(name, symbols), positive)


@lru_cache(maxsize=1024)
def _prerequisite(symbol_text: str, symbols: SymbolTable) -> Drafts:
    needed = prerequisite(symbol_text, symbols)
    return TRUE if needed is None else _plain(needed, positive=True)


def _leaf(expr: Expr, positive: bool) -> Drafts:
    match expr:
        case BoolConst(value):
            return TRUE if value is positive else FALSE
        case Compare():
            return _comparison(expr, positive)
        case SetMember(ref, name, negated):
            clause = SetClause(ref, name, negated is positive)
            return (Draft(others=frozenset({clause})),)
        case PortIs(ref, name):
            ports = PortClause(ref.field, frozenset({name}), frozenset(), not positive)
            return (Draft(others=frozenset({ports})),)
        case GroupMember(ref, name):
            ports = PortClause(ref.field, frozenset(), frozenset({name}), not positive)
            return (Draft(others=frozenset({ports})),)
        case Resident(port, negated):
            return (Draft(others=frozenset({ResidentClause(port, negated is positive)})),)
        case _:
            raise TypeError(f"{type(expr).__name__} is no leaf")


def _comparison(expr: Compare, positive: bool) -> Drafts:
    ref, constant = expr.ref, expr.constant
    relop = expr.relop if positive else _OPPOSITES[expr.relop]
    if relop in (Relop.EQ, Relop.NE):
        mask = ref.mask if constant.mask is None else constant.mask << ref.offset
        return _equality(ref, Term(constant.value << ref.offset, mask), relop is Relop.EQ)
    low, high = 0, (1 << ref.width) - 1
    match relop:
        case Relop.LT:
            high = constant.value - 1
        case Relop.LE:
            high = constant.value
        case Relop.GT:
            low = constant.value + 1
        case _:
            low = constant.value
    if low == 0 and high == (1 << ref.width) - 1:
        return TRUE
    terms = tuple(
        Term(term.value << ref.offset, term.mask << ref.offset)
        for term in range_terms(low, high, ref.width)
    )
    return (Draft.of(FieldClause(ref.field, terms, ())),) if terms else FALSE


def _equality(ref: FieldRef, term: Term, equal: bool) -> Drafts:
    if term.mask == 0:
        # Every value equals 0/0, and so none differs from it.
        return TRUE if equal else FALSE
    if equal:
        return (Draft.of(FieldClause(ref.field, (term,), ())),)
    if term.mask.bit_count() == 1:
        opposite = Term(term.value ^ term.mask, term.mask)
        return (Draft.of(FieldClause(ref.field, (opposite,), ())),)
    return (Draft.of(FieldClause(ref.field, (), (term,))),)


_OPPOSITES = {
    Relop.EQ: Relop.NE,
    Relop.NE: Relop.EQ,
    Relop.LT: Relop.GE,
    Relop.LE: Relop.GT,
    Relop.GT: Relop.LE,
    Relop.GE: Relop.LT,
}

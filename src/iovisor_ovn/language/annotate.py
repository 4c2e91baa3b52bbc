# SPDX-License-Identifier: Apache-2.0
"""Matches with everything spelled out: predicates expanded, prerequisites conjoined.

A symbol's prerequisite belongs to the relation that uses it, ``!`` in front or not; a predicate
however is negated together with the prerequisites of what it stands for::

    ip4.src != 10.0.0.1   →   ip4.src != 10.0.0.1 && eth.type == 0x800
    !ip.first_frag        →   !(ip.frag[0] && ip && !ip.frag[1] && ip)

As OVN's ``lib/expr.c``, ``expr_annotate``.
"""

from functools import lru_cache

from iovisor_ovn.language.match import (
    And,
    Compare,
    Expr,
    Not,
    Or,
    Predicate,
    SetMember,
    all_of,
    any_of,
    negate,
)
from iovisor_ovn.language.match_parser import parse_match
from iovisor_ovn.language.symbol_table import SymbolTable

__all__ = ["annotate", "expansion", "prerequisite"]


def annotate(expr: Expr, symbols: SymbolTable) -> Expr:
    """``expr`` without predicates and with its prerequisites."""
    return _annotate(expr, symbols, positive=True)


@lru_cache(maxsize=1024)
def expansion(name: str, symbols: SymbolTable) -> Expr:
    """What the predicate of that name stands for, annotated."""
    symbol = symbols.lookup(name)
    assert symbol is not None, "trees hold the names of their symbol table only"
    return annotate(parse_match(symbol.predicate, symbols), symbols)


@lru_cache(maxsize=1024)
def prerequisite(symbol_text: str, symbols: SymbolTable) -> Expr | None:
    """What a symbol (as spelled, subfield included) presumes; ``None`` for nothing."""
    symbol = symbols.lookup(symbol_text.partition("[")[0])
    if symbol is None or not symbol.prereqs:
        return None
    return annotate(parse_match(symbol.prereqs, symbols), symbols)


def _annotate(expr: Expr, symbols: SymbolTable, positive: bool) -> Expr:
    match expr:
        case Not(arg):
            return _annotate(arg, symbols, not positive)
        case And(args) | Or(args):
            parts = tuple(_annotate(arg, symbols, positive) for arg in args)
            return all_of(parts) if isinstance(expr, And) is positive else any_of(parts)
        case Predicate(name):
            expanded = expansion(name, symbols)
            return expanded if positive else negate(expanded)
        case Compare() | SetMember():
            leaf = expr if positive else negate(expr)
            needed = prerequisite(expr.symbol, symbols)
            return leaf if needed is None else all_of((leaf, needed))
        case _:
            return expr if positive else negate(expr)

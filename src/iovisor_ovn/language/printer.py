# SPDX-License-Identifier: Apache-2.0
"""Match trees to text, in OVN's spelling.

The text parses back to an equal tree; neighbours that compare one field with several values
are written as a value set.
"""

import json
from collections.abc import Iterable
from itertools import groupby
from socket import AF_INET6, inet_ntop

from iovisor_ovn.language.match import (
    And,
    BoolConst,
    Compare,
    Constant,
    Expr,
    Format,
    GroupMember,
    Not,
    Or,
    PortIs,
    Predicate,
    Relop,
    Resident,
    SetMember,
)

__all__ = ["print_constant", "print_match", "quote"]


def print_match(expr: Expr) -> str:
    """The text of a match."""
    match expr:
        case And(args):
            return _print_args(args, "&&", "!=")
        case Or(args):
            return _print_args(args, "||", "==")
        case Not(arg):
            return f"!{_print_operand(arg)}"
        case BoolConst(value):
            return "1" if value else "0"
        case Predicate(symbol):
            return symbol
        case Resident(port, negated):
            return f"{'!' if negated else ''}is_chassis_resident({quote(port)})"
        case Compare(constant=Constant(form=Format.ABSENT)):
            return expr.symbol
        case Compare() | SetMember() | GroupMember() | PortIs():
            symbol, relop, constant = _relation(expr)
            return f"{symbol} {relop} {constant}"


def _print_operand(expr: Expr) -> str:
    """What ``!`` stands before: parentheses unless the grammar needs none."""
    text = print_match(expr)
    bare = isinstance(expr, (BoolConst, Predicate)) or (
        isinstance(expr, Compare) and expr.constant.form is Format.ABSENT
    )
    return text if bare else f"({text})"


def _print_args(args: tuple[Expr, ...], operator: str, relop: str) -> str:
    runs = [tuple(run) for _, run in groupby(args, lambda arg: _run_key(arg, relop))]
    if len(runs) == 1 and len(args) > 1 and _run_key(args[0], relop):
        return _print_run(args)
    texts: list[str] = []
    for run in runs:
        if len(run) > 1 and _run_key(run[0], relop):
            texts.append(_print_run(run))
        else:
            texts += [_print_arg(arg) for arg in run]
    return f" {operator} ".join(texts)


def _print_arg(arg: Expr) -> str:
    """An operand of && or ||: an operator inside needs parentheses, a value set does not."""
    text = print_match(arg)
    if not isinstance(arg, (And, Or)):
        return text
    relop = "!=" if isinstance(arg, And) else "=="
    key = _run_key(arg.args[0], relop)
    return text if key and all(_run_key(a, relop) == key for a in arg.args) else f"({text})"


def _run_key(expr: Expr, relop: str) -> str:
    """The symbol of a relation that may join a value set after ``relop``; else empty."""
    if not isinstance(expr, (Compare, SetMember, GroupMember, PortIs)):
        return ""
    if isinstance(expr, Compare) and expr.constant.form is Format.ABSENT:
        return ""
    symbol, own, _ = _relation(expr)
    return symbol if own == relop else ""


def _print_run(args: Iterable[Expr]) -> str:
    relations = [_relation(arg) for arg in args]
    symbol, relop, _ = relations[0]
    return f"{symbol} {relop} {{{', '.join(constant for _, _, constant in relations)}}}"


def _relation(expr: Expr) -> tuple[str, str, str]:
    """Symbol, operator and constant of a relation."""
    match expr:
        case Compare(_, relop, constant, symbol):
            return symbol, relop.value, print_constant(constant)
        case SetMember(_, name, negated, symbol):
            return symbol, Relop.NE.value if negated else Relop.EQ.value, f"${name}"
        case GroupMember(ref, name):
            return str(ref), Relop.EQ.value, f"@{name}"
        case PortIs(ref, name):
            return str(ref), Relop.EQ.value, quote(name)
        case _:
            raise TypeError(f"{type(expr).__name__} is no relation")


def quote(text: str) -> str:
    """A string with its quotes and escapes."""
    return json.dumps(text, ensure_ascii=False)


def print_constant(constant: Constant) -> str:
    """A constant as it was written, save for leading zeros and the case of letters."""
    form = constant.form
    text = _print_value(constant.value, form)
    if constant.mask is None:
        return text
    bits = {Format.IPV4: 32, Format.IPV6: 128}.get(form)
    if bits and _is_prefix(constant.mask, bits):
        return f"{text}/{constant.mask.bit_count()}"
    return f"{text}/{_print_value(constant.mask, form)}"


def _is_prefix(mask: int, bits: int) -> bool:
    ones = mask.bit_count()
    return mask == ((1 << ones) - 1) << (bits - ones)


def _print_value(value: int, form: Format) -> str:
    match form:
        case Format.DECIMAL:
            return str(value)
        case Format.HEXADECIMAL:
            return f"0x{value:x}"
        case Format.IPV4:
            return ".".join(str(byte) for byte in value.to_bytes(4))
        case Format.IPV6:
            return inet_ntop(AF_INET6, value.to_bytes(16))
        case Format.ETHERNET:
            return value.to_bytes(6).hex(":")
        case Format.ABSENT:
            return ""

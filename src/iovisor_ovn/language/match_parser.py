# SPDX-License-Identifier: Apache-2.0
"""Matches: text to tree, as strict as OVN's own parser.

The checks are part of the grammar: what a symbol allows (nominal fields are only tested for
equality, counting the ``!`` around), what a constant fits, and that ``&&`` and ``||`` do not
mix without parentheses. Behaviour follows OVN's ``lib/expr.c``, ``expr_parse_string``.
"""

from collections.abc import Mapping

from iovisor_ovn.language.fields import FieldRef, Level, Symbol, SymbolKind
from iovisor_ovn.language.lexer import Token, expand_templates
from iovisor_ovn.language.match import (
    BoolConst,
    Compare,
    Constant,
    Expr,
    Format,
    GroupMember,
    PortIs,
    Predicate,
    Relop,
    Resident,
    SetMember,
    all_of,
    any_of,
    negate,
)
from iovisor_ovn.language.reader import Reader
from iovisor_ovn.language.symbol_table import SymbolTable

__all__ = ["MatchParser", "parse_match"]

_MAX_DEPTH = 100
_LEAST_ADDRESS_BITS = 32
_RELOPS = {relop.value: relop for relop in Relop}
_EQUALITY = (Relop.EQ, Relop.NE)
_UPWARDS = (Relop.LT, Relop.LE)
_DOWNWARDS = (Relop.GT, Relop.GE)
_ABSENT = Token("integer", 0, 0, form=Format.ABSENT)


def parse_match(
    text: str, symbols: SymbolTable, *, templates: Mapping[str, str] | None = None
) -> Expr:
    """The tree of a match; prerequisites are not in it yet.

    ``templates`` are the chassis template variables, name to text; columns then count in
    the expanded text. Raises :class:`iovisor_ovn.errors.LanguageError`.
    """
    if templates is not None:
        text = expand_templates(text, templates)
    reader = Reader(text, symbols)
    expr = MatchParser(reader).expression()
    reader.expect_end()
    return expr


class MatchParser:
    """Recursive descent over a reader, which it leaves behind the expression."""

    __slots__ = ("_depth", "_negated", "_reader")

    def __init__(self, reader: Reader) -> None:
        """Read from where ``reader`` stands."""
        self._reader = reader
        self._depth = 0
        # Inside an odd number of `!': nominal symbols are then tested the other way round.
        self._negated = False

    def expression(self) -> Expr:
        """Terms joined by ``&&`` or by ``||``."""
        reader = self._reader
        first = self._term()
        operator = reader.token.kind
        if operator not in ("&&", "||"):
            return first
        terms = [first]
        while reader.accept(operator):
            terms.append(self._term())
        if reader.token.kind in ("&&", "||"):
            raise reader.error("&& and || must be parenthesized when used together")
        return all_of(tuple(terms)) if operator == "&&" else any_of(tuple(terms))

    def _term(self) -> Expr:
        reader = self._reader
        if not reader.accept("!"):
            return self._primary()[0]
        at = reader.token
        self._negated = not self._negated
        expr, atomic = self._primary()
        self._negated = not self._negated
        if not atomic:
            raise reader.error("parentheses are missing around the operand of !", at)
        return negate(expr)

    def _primary(self) -> tuple[Expr, bool]:
        """An operand, and whether ``!`` may stand before it."""
        reader = self._reader
        token = reader.token
        if token.kind == "(":
            return self._parenthesized(), True
        if token.kind != "id":
            return self._constant_first()
        if reader.ahead.kind == "(":
            return self._function(), True
        symbol, ref = reader.symbol()
        relop = _RELOPS.get(reader.token.kind)
        if relop is None:
            return self._bare(symbol, ref, token), True
        reader.advance()
        members, in_braces = self._constants()
        return self._compare(symbol, ref, relop, members, in_braces), False

    def _parenthesized(self) -> Expr:
        reader = self._reader
        if self._depth >= _MAX_DEPTH:
            raise reader.error("parentheses are nested too deeply")
        reader.advance()
        self._depth += 1
        expr = self.expression()
        self._depth -= 1
        reader.expect(")")
        return expr

    def _function(self) -> Expr:
        reader = self._reader
        if reader.token.text != "is_chassis_resident":
            raise reader.error(f"{reader.token.text} is no function")
        reader.advance()
        reader.expect("(")
        port = reader.string("a port name")
        reader.expect(")")
        return Resident(port, negated=False)

    def _bare(self, symbol: Symbol, ref: FieldRef | None, at: Token) -> Expr:
        """A symbol without a relation: that it is not 0."""
        reader = self._reader
        if symbol.width == 0 or reader.token.kind == "=":
            raise reader.unexpected("a relational operator")
        bits = ref.width if ref else 1
        if bits > 1 and not self._negated:
            raise reader.error(f"a field of {bits} bits needs an explicit `!= 0'", at)
        return self._compare(symbol, ref, Relop.NE, [_ABSENT], in_braces=False, at=at)

    def _constant_first(self) -> tuple[Expr, bool]:
        """``0``, ``1``, ``c relop field`` or ``c relop field relop c``."""
        reader = self._reader
        at = reader.token
        members, in_braces = self._constants()
        relop = _RELOPS.get(reader.token.kind)
        if relop is None:
            if not in_braces and at.is_decimal and at.value <= 1:
                return BoolConst(at.value == 1), True
            raise reader.unexpected("a relational operator")
        reader.advance()
        symbol, ref = reader.symbol()
        second = _RELOPS.get(reader.token.kind)
        if second is None:
            return self._compare(symbol, ref, relop.turned, members, in_braces), False
        reader.advance()
        others, others_in_braces = self._constants()
        if not any(relop in way and second in way for way in (_UPWARDS, _DOWNWARDS)):
            raise reader.error("the two relations of a range must point the same way", at)
        left = self._compare(symbol, ref, relop.turned, members, in_braces)
        right = self._compare(symbol, ref, second, others, others_in_braces)
        return all_of((left, right)), False

    def _constants(self) -> tuple[list[Token], bool]:
        """One constant or a set in braces: the tokens, all integers or all strings."""
        reader = self._reader
        if not reader.accept("{"):
            return [self._constant(None)], False
        members = [self._constant(None)]
        reader.accept(",")
        while not reader.accept("}"):
            members.append(self._constant(members[0]))
            reader.accept(",")
        return members, True

    def _constant(self, like: Token | None) -> Token:
        reader = self._reader
        token = reader.token
        if token.kind == "template":
            raise reader.error(f"template variable {token.text} has no value here")
        if not (token.is_integer or token.kind in ("string", "set", "group")):
            raise reader.unexpected("a constant")
        if like is not None and _is_text(like) != _is_text(token):
            raise reader.unexpected("a string" if _is_text(like) else "an integer")
        reader.advance()
        return token

    def _compare(
        self,
        symbol: Symbol,
        ref: FieldRef | None,
        relop: Relop,
        members: list[Token],
        in_braces: bool,
        at: Token | None = None,
    ) -> Expr:
        """The relation of a symbol to each member, with every check that OVN makes."""
        if symbol.kind is SymbolKind.OVN_FIELD:
            raise self._reader.error(f"{symbol.name} is no field of a packet", members[0])
        self._check_types(symbol, members)
        if relop not in _EQUALITY:
            self._check_order(symbol, members[0], in_braces)
        if symbol.level is Level.NOMINAL:
            self._check_nominal(symbol, relop, members, at)
        leaves = tuple(self._leaf(symbol, ref, relop, member) for member in members)
        return all_of(leaves) if relop is Relop.NE else any_of(leaves)

    def _check_types(self, symbol: Symbol, members: list[Token]) -> None:
        reader = self._reader
        is_string = symbol.width == 0
        if _is_text(members[0]) != is_string:
            wants, has = ("string", "integer") if is_string else ("integer", "string")
            raise reader.error(
                f"{wants} field {symbol.name} cannot be compared with a constant that is "
                f"{'an' if has == 'integer' else 'a'} {has}",
                members[0],
            )
        for member in members:
            if member.is_integer:
                reader.check_width(symbol, member)
            elif member.kind == "set" and symbol.width < _LEAST_ADDRESS_BITS:
                raise reader.error(
                    f"no address fits into the {symbol.width} bits of {symbol.name}", member
                )

    def _check_order(self, symbol: Symbol, member: Token, in_braces: bool) -> None:
        reader = self._reader
        if in_braces:
            raise reader.error("only == and != may be used with value sets", member)
        if symbol.level is not Level.ORDINAL:
            raise reader.error(
                f"only == and != may be used with {symbol.level.value} field {symbol.name}", member
            )
        if member.kind == "set":
            # OVN would take some member of the set, whichever happens to come first.
            raise reader.error("only == and != may be used with address sets", member)
        if member.mask is not None:
            raise reader.error(
                "only == and != may be used with masked constants; a subfield may serve", member
            )

    def _check_nominal(
        self, symbol: Symbol, relop: Relop, members: list[Token], at: Token | None
    ) -> None:
        reader = self._reader
        if symbol.kind is not SymbolKind.PREDICATE:
            if relop is not (Relop.NE if self._negated else Relop.EQ) and at is None:
                raise self._only_equality(symbol, members[0])
            if at is not None and not self._negated:
                raise self._only_equality(symbol, at)
            return
        for member in members:
            if bool(member.value & 1) ^ (relop is Relop.NE) ^ self._negated:
                continue
            raise reader.error(
                f"nominal predicate {symbol.name} may only be tested for being true",
                member if at is None else at,
            )

    def _only_equality(self, symbol: Symbol, at: Token) -> Exception:
        return self._reader.error(
            f"nominal field {symbol.name} may only be tested for equality, counting the "
            "`!' around it",
            at,
        )

    def _leaf(self, symbol: Symbol, ref: FieldRef | None, relop: Relop, member: Token) -> Expr:
        if member.kind == "set" and ref is not None:
            return SetMember(ref, member.text, relop is Relop.NE, ref.symbol)
        if _is_text(member) and ref is not None:
            kind = GroupMember if member.kind == "group" else PortIs
            leaf = kind(ref, member.text)
            return leaf if relop is Relop.EQ else negate(leaf)
        if ref is None:
            holds = bool(member.value & 1) ^ (relop is Relop.NE)
            return Predicate(symbol.name) if holds else negate(Predicate(symbol.name))
        return Compare(ref, relop, _cut(member, ref.width), ref.symbol)


def _is_text(token: Token) -> bool:
    return token.kind in ("string", "group")


def _cut(token: Token, width: int) -> Constant:
    """A constant in ``width`` bits: those above are lost, as they are in OVN."""
    bits = (1 << width) - 1
    mask = None if token.mask is None else token.mask & bits
    return Constant(token.value & bits, mask, width, token.form)

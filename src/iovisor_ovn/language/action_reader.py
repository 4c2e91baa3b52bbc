# SPDX-License-Identifier: Apache-2.0
"""What every action needs to read: fields, with their types checked and prerequisites noted."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from iovisor_ovn.language.fields import Access, FieldRef, Symbol, SymbolKind
from iovisor_ovn.language.lexer import Token
from iovisor_ovn.language.match import Constant, Expr
from iovisor_ovn.language.match_parser import parse_match
from iovisor_ovn.language.reader import Reader
from iovisor_ovn.language.symbol_table import SymbolTable
from iovisor_ovn.language.verbs import Service

__all__ = ["ActionReader", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A field as an action names it; ``bits`` is 0 for strings."""

    symbol: Symbol
    ref: FieldRef
    at: Token

    @property
    def bits(self) -> int:
        """Width in bits of what was named."""
        return 0 if self.ref.is_string else self.ref.width


class ActionReader(Reader):
    """A reader that collects prerequisites.

    ``in_commit`` holds inside ``ct_commit { }``, where other fields may be written. ``services``
    are the verbs that are described by data, by name.
    """

    __slots__ = ("depth", "dictionaries", "in_commit", "prereqs", "services")

    def __init__(
        self,
        source: str,
        symbols: SymbolTable,
        dictionaries: Mapping[str, Mapping[str, str]],
        services: Mapping[str, Service],
    ) -> None:
        """Stand at the first token of ``source``; ``dictionaries`` supersede built-in options."""
        super().__init__(source, symbols)
        self.dictionaries = dictionaries
        self.services = services
        self.prereqs: list[Expr] = []
        self.in_commit = False
        self.depth = 0

    def demand(self, prereqs: str) -> None:
        """Note that the packet must match ``prereqs``, if that is anything."""
        if prereqs:
            self.prereqs.append(_parsed(prereqs, self.symbols))

    def target(self) -> Target:
        """Read a field."""
        at = self.token
        symbol, ref = self.symbol()
        if ref is None:
            raise self.error(f"{symbol.name} is a predicate, a field is expected", at)
        self.demand(symbol.prereqs)
        if symbol.kind is SymbolKind.SUBFIELD:
            self.demand(ref.field.prereqs)
        return Target(symbol, ref, at)

    def check(self, target: Target, bits: int, *, writable: bool) -> FieldRef:
        """The field, which must be ``bits`` wide (0 for a string) and perhaps writable."""
        name = target.symbol.name
        if target.bits != bits:
            if target.bits and bits:
                message = f"{target.ref} has {target.bits} bits where {bits} are needed"
            elif bits:
                message = f"{name} is a string field, a number is needed"
            else:
                message = f"{name} is a number, a string field is needed"
            raise self.error(message, target.at)
        if writable:
            self.check_writable(target)
        return target.ref

    def check_writable(self, target: Target) -> None:
        """Refuse a field that must not be written here."""
        access = target.symbol.writable
        wanted = Access.CT_COMMIT_ONLY if self.in_commit else Access.RW
        if access not in (wanted, Access.WRITE_ONLY):
            raise self.error(f"{target.symbol.name} cannot be written here", target.at)

    def field(self, bits: int) -> FieldRef:
        """Read a field that is ``bits`` wide, 0 for a string."""
        return self.check(self.packet_field(), bits, writable=False)

    def packet_field(self) -> Target:
        """Read a field that can be read from a packet."""
        target = self.target()
        if target.symbol.kind is SymbolKind.OVN_FIELD:
            raise self.error(f"{target.symbol.name} can only be set to a constant", target.at)
        return target

    def constant(self, target: Target) -> Constant | str:
        """Read one constant that fits the field."""
        token = self.token
        if token.kind == "template":
            raise self.error(f"template variable {token.text} has no value here")
        if not token.is_integer and token.kind != "string":
            raise self.unexpected("a constant")
        if token.is_integer == (target.bits == 0):
            wants = "a string" if target.bits == 0 else "an integer"
            raise self.error(f"{target.symbol.name} takes {wants}")
        if token.kind == "string":
            return self.advance().text
        self.check_width(target.symbol, token)
        self.advance()
        bits = (1 << target.ref.width) - 1
        mask = None if token.mask is None else token.mask & bits
        return Constant(token.value & bits, mask, target.ref.width, token.form)


@lru_cache(maxsize=1024)
def _parsed(text: str, symbols: SymbolTable) -> Expr:
    return parse_match(text, symbols)

# SPDX-License-Identifier: Apache-2.0
"""The cursor over tokens that the parsers of matches and actions share."""

from collections.abc import Container

from iovisor_ovn.errors import LanguageError
from iovisor_ovn.language.fields import FieldRef, Level, Symbol, bits_suffix
from iovisor_ovn.language.lexer import Token, tokenize
from iovisor_ovn.language.match import Constant, Format
from iovisor_ovn.language.symbol_table import SymbolTable

__all__ = ["Reader"]

_ADDRESS_BITS = {Format.IPV4: 32, Format.IPV6: 128, Format.ETHERNET: 48}
_MAX_INT = (1 << 31) - 1


class Reader:
    """Where a parser stands in a text.

    ``token`` is the token to read next. Methods named for a thing read it and move on, or
    raise :class:`LanguageError`; ``accept`` moves on only if it finds what it was asked for.
    """

    __slots__ = ("_position", "_tokens", "source", "symbols", "token")

    def __init__(self, source: str, symbols: SymbolTable) -> None:
        """Stand at the first token of ``source``."""
        self.source = source
        self.symbols = symbols
        self._tokens = tokenize(source)
        self._position = 0
        self.token = self._tokens[0]

    @property
    def ahead(self) -> Token:
        """The token behind the current one."""
        return self._tokens[min(self._position + 1, len(self._tokens) - 1)]

    def advance(self) -> Token:
        """Move to the next token and return the one left behind."""
        token = self.token
        if token.kind != "end":
            self._position += 1
            self.token = self._tokens[self._position]
        return token

    def error(self, message: str, at: Token | None = None) -> LanguageError:
        """An error at a token, by default the current one; a lexical error goes first."""
        token = self.token
        if token.kind == "error":
            return LanguageError(token.text, token.start, self.source)
        return LanguageError(message, (at or token).start, self.source)

    def unexpected(self, wanted: str) -> LanguageError:
        """An error for a current token that is not what the grammar wants."""
        token = self.token
        if token.kind == "end":
            return self.error(f"the text ends where {wanted} is expected")
        found = self.source[token.start : token.end]
        return self.error(f"`{found}' stands where {wanted} is expected")

    def accept(self, kind: str) -> bool:
        """Read a token of that kind if it is there."""
        if self.token.kind != kind:
            return False
        self._position += 1
        self.token = self._tokens[self._position]
        return True

    def accept_id(self, name: str) -> bool:
        """Read that name if it is there."""
        if self.token.kind != "id" or self.token.text != name:
            return False
        self.advance()
        return True

    def expect(self, kind: str) -> None:
        """Read a token of that kind."""
        if not self.accept(kind):
            raise self.unexpected(f"`{kind}'")

    def expect_end(self) -> None:
        """Stand at the end."""
        if self.token.kind != "end":
            raise self.unexpected("the end")

    def string(self, wanted: str) -> str:
        """Read a quoted string."""
        if self.token.kind != "string":
            raise self.unexpected(wanted)
        return self.advance().text

    def word(self, words: Container[str], wanted: str) -> str:
        """Read one of the names in ``words``."""
        if self.token.kind != "id" or self.token.text not in words:
            raise self.unexpected(wanted)
        return self.advance().text

    def small_integer(self, wanted: str = "a small integer", limit: int = _MAX_INT) -> int:
        """Read a decimal number of at most ``limit``."""
        if not self.token.is_decimal or self.token.value > limit:
            raise self.unexpected(wanted)
        return self.advance().value

    def symbol(self) -> tuple[Symbol, FieldRef | None]:
        """Read a symbol with its subfield, if any; no field belongs to a predicate."""
        token = self.token
        symbol = self.symbols.lookup(token.text) if token.kind == "id" else None
        if symbol is None:
            raise self.unexpected("a field name")
        self.advance()
        if self.token.kind != "[":
            return symbol, symbol.ref
        low, high = self._bit_range(symbol, token)
        if symbol.ref is None:
            return symbol, None
        name = symbol.name + bits_suffix(low, high - low + 1, symbol.width)
        return symbol, FieldRef(symbol.ref.field, symbol.ref.offset + low, high - low + 1, name)

    def _bit_range(self, symbol: Symbol, at: Token) -> tuple[int, int]:
        self.expect("[")
        if symbol.width == 0:
            raise self.error(f"string field {symbol.name} has no subfields", at)
        low = self.small_integer()
        high = self.small_integer() if self.accept("..") else low
        self.expect("]")
        if low > high:
            raise self.error(f"bits {low} to {high} are no range", at)
        if high >= symbol.width:
            raise self.error(
                f"{symbol.name} has {symbol.width} bits, none of them number {high}", at
            )
        if symbol.level is Level.NOMINAL and high - low + 1 != symbol.width:
            raise self.error(f"nominal field {symbol.name} has no subfields", at)
        return low, high

    def check_width(self, symbol: Symbol, token: Token) -> None:
        """Refuse a constant that is wider than the symbol (subfields are not looked at)."""
        if token.mask is not None:
            bits = token.mask.bit_length()
        else:
            bits = _ADDRESS_BITS.get(token.form) or token.value.bit_length()
        if bits > symbol.width:
            raise self.error(
                f"a constant of {bits} bits does not fit into the {symbol.width} bits of "
                f"{symbol.name}",
                token,
            )

    def address(self, wanted: str, *forms: Format) -> Constant:
        """Read an address without a mask, written in one of ``forms``."""
        token = self.token
        if token.kind != "integer" or token.form not in forms:
            raise self.unexpected(wanted)
        self.advance()
        return Constant(token.value, None, _ADDRESS_BITS[token.form], token.form)

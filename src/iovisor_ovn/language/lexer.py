# SPDX-License-Identifier: Apache-2.0
"""Texts to tokens, for matches and actions alike.

One regular expression finds the tokens; only constants need more than that::

    >>> [token.kind for token in tokenize("ip4.src == 10.0.0.0/8")]
    ['id', '==', 'integer', 'end']

A token that is no token becomes one of kind ``error`` instead of an exception: whether it
matters depends on how far the parser gets. The rules are those of OVN's ``lib/lex.c``.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from iovisor_ovn.errors import LanguageError
from iovisor_ovn.language.match import Format

__all__ = ["Token", "expand_templates", "read_address", "tokenize"]


@dataclass(slots=True)
class Token:
    """A token at ``text[start:end]``.

    ``kind`` is the punctuation itself, or ``id``, ``integer``, ``masked``, ``string``,
    ``set`` (``$name``), ``group`` (``@name``), ``template`` (``^name``), ``end`` or
    ``error``. ``text`` is the name, the string's value or the error's message.
    """

    kind: str
    start: int
    end: int
    text: str = ""
    value: int = 0
    mask: int | None = None
    form: Format = Format.DECIMAL

    @property
    def is_integer(self) -> bool:
        """A constant, masked or not."""
        return self.kind in ("integer", "masked")

    @property
    def is_decimal(self) -> bool:
        """A decimal number without a mask."""
        return self.kind == "integer" and self.form is Format.DECIMAL


# An address may contain colons only before its first dot, so that 10.0.0.1:80 is three tokens;
# two dots in a row are the token of bit ranges. A name may begin with hexadecimal letters, but
# none of them is followed by a colon. A comment that is not closed is wrong as a whole, so that
# its inside is not searched for further ones.
_NUMBER = r"[0-9A-Za-z:]*(?:\.(?!\.)[0-9A-Za-z]*)*"
_TOKEN = re.compile(
    rf"""
    (?: [ \t\n\r\v\f]+ | //[^\n]* | /\*(?:(?!\*/)[^\n])*\*/ )*
    (?:
      (?P<number>(?:[0-9]|::|[0-9A-Fa-f]+:){_NUMBER}(?:/{_NUMBER})?)
    | (?P<id>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<named>[$@^][A-Za-z_.][A-Za-z0-9_.]*)
    | (?P<punctuation><->|[=!<>]=|&&|\|\||\.\.|--|[(){{}}\[\]=!<>,;:-])
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<end>\Z)
    | (?P<wrong>/\*[^\n]*|.)
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_NAMED = {"$": "set", "@": "group", "^": "template"}
_WRONG = {
    "&": "`&' is only valid as part of `&&'",
    "|": "`|' is only valid as part of `||'",
    ".": "`.' is only valid as part of `..' or of a number",
    "$": "`$' must be followed by a name",
    "@": "`@' must be followed by a name",
    "^": "`^' must be followed by a name",
    '"': "the string is not closed",
}
_MAC = re.compile(r"(?:0[xX])?[0-9A-Fa-f]+(?::(?:0[xX])?[0-9A-Fa-f]+){5}")
_IPV4 = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+")
_DECIMAL = re.compile(r"[0-9]+")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_BITS = {Format.IPV4: 32, Format.IPV6: 128}
_ADDRESSES = (Format.IPV4, Format.IPV6, Format.ETHERNET)


class _Unreadable(Exception):
    """A constant or a string is malformed; the text says how."""


def tokenize(text: str) -> list[Token]:
    """Tokens of ``text``; the last one, and only that, is of kind ``end``."""
    tokens: list[Token] = []
    append = tokens.append
    # The last branch of the expression takes any character, so that nothing is skipped.
    for found in _TOKEN.finditer(text):
        group = found.lastgroup or ""
        start, stop = found.span(group)
        if group == "id":
            append(Token("id", start, stop, found[group]))
        elif group == "punctuation":
            append(Token(found[group], start, stop))
        elif group == "end":
            append(Token("end", start, start))
            break
        else:
            append(_special(group, found[group], start, stop))
    return tokens


def _special(group: str, text: str, start: int, end: int) -> Token:
    """A token that is neither a name nor punctuation."""
    try:
        match group:
            case "number":
                return _number(text, start, end)
            case "named":
                return Token(_NAMED[text[0]], start, end, text[1:])
            case "string":
                return Token("string", start, end, _unescape(text[1:-1]))
            case _:
                return Token("error", start, end, _complain(text))
    except _Unreadable as error:
        return Token("error", start, end, str(error))


def _complain(text: str) -> str:
    character = text[0]
    if character == "/":
        return "`/' is only valid as part of a comment or a mask"
    if character in _WRONG:
        return _WRONG[character]
    if character.isprintable():
        return f"`{character}' has no meaning here"
    return f"character 0x{ord(character):x} has no meaning here"


def _number(text: str, start: int, end: int) -> Token:
    plain, slash, mask_text = text.partition("/")
    value, form = _integer(plain)
    if not slash:
        return Token("integer", start, end, text, value, None, form)
    mask, mask_form = _integer(mask_text)
    if form is not mask_form:
        mask, form = _mixed_mask(value, form, mask, mask_form)
    return Token("masked", start, end, text, value & mask, mask, form)


def _mixed_mask(value: int, form: Format, mask: int, mask_form: Format) -> tuple[int, Format]:
    """Mask and form of a constant whose mask is not written as its value is."""
    bits = _BITS.get(form)
    if bits and mask_form is Format.DECIMAL and mask <= bits:
        return ((1 << mask) - 1) << (bits - mask), form
    # Zero looks the same in every base, and 0/0x1234 is what people write.
    if form is Format.DECIMAL and mask_form is Format.HEXADECIMAL and value == 0:
        return mask, mask_form
    raise _Unreadable("the value and its mask are written in different ways")


def _integer(text: str) -> tuple[int, Format]:
    if not text:
        raise _Unreadable("an integer is expected")
    if len(text) == 17 and _MAC.fullmatch(text):
        # OVN counts the characters of the whole, and keeps the low bits of each part.
        parts = [int(part, 16) & 0xFF for part in text.split(":")]
        return int.from_bytes(bytes(parts)), Format.ETHERNET
    if _DECIMAL.fullmatch(text):
        return _decimal(text), Format.DECIMAL
    if text[0] == "0" and text[1:2] in ("x", "X"):
        return _hexadecimal(text[2:]), Format.HEXADECIMAL
    if _IPV4.fullmatch(text):
        parts = [int(part) for part in text.split(".")]
        if max(parts) <= 255:
            return int.from_bytes(bytes(parts)), Format.IPV4
    elif _IPV6.fullmatch(text):
        try:
            return int.from_bytes(socket.inet_pton(socket.AF_INET6, text)), Format.IPV6
        except OSError:
            # The refusal below says all there is to say.
            pass
    raise _Unreadable("no number and no address looks like this")


def read_address(text: str) -> tuple[int, Format] | None:
    """Value of an address without a mask, and how it is written; ``None`` if it is none."""
    try:
        value, form = _integer(text)
    except _Unreadable:
        return None
    return (value, form) if form in _ADDRESSES else None


def _decimal(text: str) -> int:
    if text[0] == "0" and len(text) > 1:
        raise _Unreadable("a decimal number must not have leading zeros")
    # The bound comes before int(), whose cost grows with the square of the length.
    if len(text) > 20 or int(text) >> 64:
        raise _Unreadable("a decimal number must be less than 2**64")
    return int(text)


def _hexadecimal(digits: str) -> int:
    if not digits:
        raise _Unreadable("hexadecimal digits are expected after 0x")
    if not _HEXADECIMAL.fullmatch(digits):
        raise _Unreadable("a hexadecimal number has a digit that is none")
    value = int(digits, 16)
    if value >> 128:
        raise _Unreadable("a hexadecimal number must have no more than 128 bits")
    return value


def _unescape(text: str) -> str:
    if "\0" in text:
        raise _Unreadable("a string must not hold a null character")
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_unescaped, text)
    try:
        # Escaped surrogates come in pairs that make one character.
        return plain.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _Unreadable("a \\u escape is half of a surrogate pair") from None


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    if len(escape) == 5:
        code = int(escape[1:], 16)
        if not code:
            raise _Unreadable("a string must not hold a null character")
        return chr(code)
    if escape == "u":
        raise _Unreadable("a \\u escape needs four hexadecimal digits")
    if escape not in _ESCAPES:
        raise _Unreadable(f"\\{escape} is no escape")
    return _ESCAPES[escape]


def expand_templates(text: str, templates: Mapping[str, str]) -> str:
    """Replace each ``^name`` outside of strings by its text.

    Raises :class:`LanguageError` for a name that has none: a flow with a hole in it must not
    be read at all.
    """
    if "^" not in text:
        return text
    parts: list[str] = []
    done = 0
    for token in tokenize(text):
        if token.kind == "template":
            if token.text not in templates:
                raise LanguageError(
                    f"template variable {token.text} has no value", token.start, text
                )
            parts += [text[done : token.start], templates[token.text]]
            done = token.end
    return "".join(parts) + text[done:]

# SPDX-License-Identifier: Apache-2.0
"""Constants that can be found again in what a flow has become, for :mod:`.kinds`.

A *mark* is a value of which every 16 bits occur nowhere else. Translated in the place of a flow's
constants, marks come out where the constants' bits go::

    outport == "vm7" && reg0 == 10.0.0.17     outport == "me000e001" && reg0 == 224.2.224.3

    OUTPORT=7 REG0=0x0a000011                 OUTPORT=0xe000e001 REG0=0xe002e003
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from iovisor_ovn.compiler.packet import Piece, masked_words, pieces
from iovisor_ovn.compiler.sets import Dimension, SetTable
from iovisor_ovn.language import (
    And,
    Compare,
    Expr,
    Format,
    GroupMember,
    Not,
    Or,
    PortIs,
    Relop,
    SetMember,
)

__all__ = [
    "GROUP", "NUMBER", "PORT", "SET", "Blank", "Form", "MarkedSets", "Marks", "NotAlike", "mask_of",
]  # fmt: skip

#: Forms of names, by the character that they begin with in a text.
PORT, GROUP, SET = '"', "@", "$"
#: Form of a TCP or UDP port.
NUMBER = "number"
#: One of these, or how an address is written (a Format's value), with the length of a prefix.
Form = str
#: Bits of the packet: (word, mask).
_WordBits = tuple[tuple[int, int], ...]

_MARKS = range(0xE000, 0xF000)
_EACH = 16
#: Parts of 16 bits of a constant; a name stands for a number of 32.
_PARTS: dict[Form, int] = {
    NUMBER: 1, PORT: 2, GROUP: 2, SET: 2,
    Format.IPV4.value: 2, Format.ETHERNET.value: 3, Format.IPV6.value: 8,
}  # fmt: skip


#: Bits of addresses that may have a prefix.
_WIDTHS = {Format.IPV4.value: 32, Format.IPV6.value: 128}


def mask_of(form: Form) -> int | None:
    """The mask of a form with the length of a prefix; ``None`` where there is no such prefix."""
    address, _slash, length = form.partition("/")
    width = _WIDTHS.get(address, 0)
    if not 0 < int(length) <= width:
        return None
    return (1 << width) - (1 << width - int(length))


class NotAlike(Exception):
    """A flow does something with a constant that cannot be done again with others."""


class _Bits(NamedTuple):
    """``(constant >> right & mask) << left`` in the number at a place."""

    at: int
    constant: int
    right: int
    mask: int
    left: int


class Blank(NamedTuple):
    """Numbers that lack bits of constants."""

    numbers: tuple[int, ...]
    bits: tuple[_Bits, ...]

    def fill(self, values: Sequence[int]) -> Sequence[int]:
        """The numbers for these values of the constants."""
        if not self.bits:
            return self.numbers
        filled = list(self.numbers)
        for at, constant, right, mask, left in self.bits:
            filled[at] |= (values[constant] >> right & mask) << left
        return filled


class Marks:
    """A mark for each constant; stands in for the names of a datapath while it is translated."""

    def __init__(self, forms: Sequence[Form], known: Iterable[int]) -> None:
        """Make marks of these forms, with no 16 bits that one of the ``known`` numbers has."""
        self._taken = {number >> shift & 0xFFFF for number in known for shift in (0, _EACH)}
        self.texts: list[str] = []
        self._places: dict[int, tuple[int, int]] = {}  # of 16 bits: constant, and bits below them
        self._numbers: dict[str, int] = {}
        self._constants: dict[int, tuple[int, int | None]] = {}  # with its mask, by value
        self._missing: set[int] = set()
        for constant, form in enumerate(forms):
            value = 0
            address = form.partition("/")[0]
            mask = None if address == form else mask_of(form)
            for part in reversed(range(_PARTS[address])):
                tested = 0xFFFF if mask is None else mask >> _EACH * part & 0xFFFF
                mark = self._new_mark(tested) if tested else 0
                if mark:
                    self._places[mark] = (constant, _EACH * part)
                    self._missing.add(mark)
                value = value << _EACH | mark
            text = _spelled(address, value) + form.removeprefix(address)
            self.texts.append(text)
            self._constants[value] = (constant, mask)
            if form in (PORT, GROUP, SET):
                self._numbers[text.strip(PORT)] = value

    def _new_mark(self, mask: int) -> int:
        """A number with none but these bits that is nowhere yet."""
        for number in _MARKS:
            mark = number & mask
            if mark and mark not in self._taken:
                self._taken.add(mark)
                return mark
        raise NotAlike

    # -- as compiler.patterns.Names ------------------------------------------------------

    def port_key(self, name: str) -> int | None:
        """The mark of a port."""
        return self.number(name)

    def port_group(self, name: str) -> int:
        """The mark of a port group."""
        return self.number(f"{GROUP}{name}")

    def address_set(self, name: str) -> str:
        """Name of an address set, for :class:`MarkedSets`."""
        return f"{SET}{name}"

    def is_resident(self, _port: str) -> bool:
        """Raise NotAlike: the answer decides what becomes of the flow."""
        raise NotAlike

    def number(self, name: str) -> int:
        """The mark that is spelled so; NotAlike for a name that was not taken out."""
        if name not in self._numbers:
            raise NotAlike
        return self._numbers[name]

    # -- where they come out -------------------------------------------------------------

    def blank(self, numbers: Iterable[int]) -> Blank:
        """The numbers without the marks in them."""
        bare: list[int] = []
        bits: list[_Bits] = []
        for at, number in enumerate(numbers):
            found = self._bits_in(at, number)
            bare.append(number if not found else self._without_marks(number))
            bits += found
        return Blank(tuple(bare), tuple(bits))

    def _bits_in(self, at: int, number: int) -> list[_Bits]:
        bits: list[_Bits] = []
        for left in (0, _EACH):
            mark = number >> left & 0xFFFF
            if mark in self._places:
                constant, right = self._places[mark]
                bits.append(_Bits(at, constant, right, 0xFFFF, left))
                self._missing.discard(mark)
        if len(bits) == 2:
            low, high = bits
            if low.constant == high.constant and low.right + _EACH == high.right:
                bits = [_Bits(at, low.constant, low.right, 0xFFFFFFFF, 0)]
        return bits

    def _without_marks(self, number: int) -> int:
        parts = (number >> left & 0xFFFF for left in (0, _EACH))
        low, high = (0 if part in self._places else part for part in parts)
        return high << _EACH | low

    @property
    def all_came_out(self) -> bool:
        """Whether :meth:`blank` has seen all bits of all constants."""
        return not self._missing

    # -- what they meet ------------------------------------------------------------------

    def rivals(self, conditions: Iterable[Expr]) -> tuple[tuple[int, ...], ...]:
        """Constants that are compared with the same bits, together.

        ``conditions`` are the annotated expressions that the marks are in. Raises
        :class:`NotAlike` where bits are also compared with something that is no mark: then it
        would matter what a constant is. Among marks all that matters is whether they are equal.
        """
        tests: dict[object, set[int]] = {}
        of_bits: dict[tuple[_WordBits, int | None], set[int]] = {}
        others: dict[int, int] = {}
        for leaf in _leaves(conditions):
            if isinstance(leaf, SetMember | GroupMember):
                sign = SET if isinstance(leaf, SetMember) else GROUP
                constant, _mask = self._constants[self.number(f"{sign}{leaf.name}")]
                tests.setdefault((sign, leaf.ref), set()).add(constant)
            elif isinstance(leaf, Compare | PortIs):
                bits = _bits(leaf)
                known = self._constant_of(leaf)
                if known is not None:
                    constant, mask = known
                    of_bits.setdefault((bits, mask), set()).add(constant)
                else:
                    _add_bits(others, bits)
        for bits, _mask in of_bits:
            if any(others.get(word, 0) & mask for word, mask in bits):
                raise NotAlike
            _add_bits(others, bits)
        together = (*of_bits.values(), *tests.values())
        return tuple(tuple(constants) for constants in together if len(constants) > 1)

    def _constant_of(self, leaf: Compare | PortIs) -> tuple[int, int | None] | None:
        """The constant whose mark a value is compared with, and its mask, if it is one."""
        if isinstance(leaf, PortIs):
            return self._constants[self.number(leaf.name)]
        known = self._constants.get(leaf.constant.value)
        if known is None:
            return None
        if leaf.relop not in (Relop.EQ, Relop.NE) or leaf.constant.mask != known[1]:
            raise NotAlike
        return known


class MarkedSets(SetTable):
    """The sets of a machine while marks are translated: knows their dimensions, makes no set."""

    def __init__(self, sets: SetTable, marks: Marks) -> None:
        """Look into ``sets``, in which the flow itself has been translated."""
        super().__init__()
        self._real = sets
        self._marks = marks

    def set_id(self, name: str) -> int:
        """The mark of a set; NotAlike for others."""
        return self._marks.number(name)

    def space_of(self, _field_name: str) -> int:
        """Raise NotAlike: a list of values becomes a set of its own."""
        raise NotAlike

    def dimension(
        self, field_name: str, offset: int, space: int, place: tuple[Piece, ...]
    ) -> Dimension | None:
        """The machine's."""
        return self._real.dimension(field_name, offset, space, place)


def _spelled(form: Form, value: int) -> str:
    match form:
        case Format.IPV4.value:
            return ".".join(str(byte) for byte in value.to_bytes(4))
        case Format.IPV6.value:
            return value.to_bytes(16).hex(":", 2)
        case Format.ETHERNET.value:
            return value.to_bytes(6).hex(":")
        case _ if form == NUMBER:
            return str(value)
        case _:
            return f'"m{value:x}"' if form == PORT else f"{form}m{value:x}"


def _leaves(conditions: Iterable[Expr]) -> Iterator[Expr]:
    for expr in conditions:
        match expr:
            case And(args) | Or(args):
                yield from _leaves(args)
            case Not(arg):
                yield from _leaves((arg,))
            case _:
                yield expr


def _bits(leaf: Compare | PortIs) -> _WordBits:
    """The bits that a leaf looks at."""
    place = pieces(leaf.ref.field.name)
    if place is None:
        raise NotAlike
    tested = masked_words(place, 0, leaf.ref.mask)
    return tuple((word, mask) for word, (mask, _value) in tested.items())


def _add_bits(known: dict[int, int], bits: _WordBits) -> None:
    for word, mask in bits:
        known[word] = known.get(word, 0) | mask

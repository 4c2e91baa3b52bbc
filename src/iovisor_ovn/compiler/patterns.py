# SPDX-License-Identifier: Apache-2.0
"""Matches to patterns: what one entry of the machine tests.

A conjunction of clauses becomes one pattern or a few, for instance::

    reg0[7] == 1 && inport == @pg && ip4 && tcp.dst == {80, 443}

    class IP4|TCP  reg0 & 0x80 == 0x80  l4 & 0xffff == 80   inport groups: pg
    class IP4|TCP  reg0 & 0x80 == 0x80  l4 & 0xffff == 443  inport groups: pg

Alternatives multiply; where their product grows beyond :data:`MAX_ALTERNATIVES`, the longest
lists of exact values become sets of their own, so that entries grow with the sum of the lists.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Protocol

from iovisor_ovn.abi import GuardKind, Limit, PacketClass, Space
from iovisor_ovn.compiler.packet import Piece, masked_words, pieces, slice_pieces
from iovisor_ovn.compiler.sets import GROUP_DIMENSIONS, Member, SetTable, space_width
from iovisor_ovn.language import (
    Clause,
    Conjunction,
    Field,
    FieldClause,
    PortClause,
    ResidentClause,
    SetClause,
    Term,
)

__all__ = ["Guard", "Names", "Pattern", "Unexecutable", "compile_conjunction"]

#: Alternatives of one conjunction that are written out as entries.
MAX_ALTERNATIVES = 16

#: Patterns of one conjunction: lists that can be no sets might multiply into any number of them.
MAX_PATTERNS = 256

#: Excluded values of one field that are tested one by one.
MAX_EXCLUSIONS = 8

#: Guards of one pattern; the image adds a few where it needs no lookup.
MAX_GUARDS = Limit.MORE_GUARDS - Limit.SLOT_DIMS

_ALL = 0xFFFFFFFF

_ETHERTYPES = {
    frozenset({0x0800}): PacketClass.IP4,
    frozenset({0x86DD}): PacketClass.IP6,
    frozenset({0x0800, 0x86DD}): PacketClass.IP,
    frozenset({0x0806}): PacketClass.ARP,
    frozenset({0x8035}): PacketClass.RARP,
}
_PROTOCOLS = {6: PacketClass.TCP, 17: PacketClass.UDP, 132: PacketClass.SCTP}
_ICMP = {(1, PacketClass.IP4): PacketClass.ICMP4, (58, PacketClass.IP6): PacketClass.ICMP6}


class Unexecutable(Exception):
    """A construct of the language that the machine cannot execute; the text names it."""


class Names(Protocol):
    """What names mean on the datapath that a flow is compiled for."""

    def port_key(self, name: str) -> int | None:
        """Tunnel key of a port or multicast group; ``None`` if there is none."""

    def port_group(self, name: str) -> int:
        """Set id of a port group."""

    def address_set(self, name: str) -> str:
        """Name in the set table of an address set."""

    def is_resident(self, port: str) -> bool:
        """The port is bound to this chassis."""


@dataclass(frozen=True, slots=True, order=True)
class Guard:
    """A test besides the key: ``kind`` as in the machine, ``group`` > 0 for alternatives.

    For set kinds ``word`` is the dimension and ``value`` the set id.
    """

    kind: int
    word: int
    mask: int
    value: int
    group: int = 0


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a packet must look like for one entry: all of it must hold.

    ``words`` are (word, mask, value) by ascending word, ``dims`` (dimension, set id).
    """

    class_bits: int = 0
    words: tuple[tuple[int, int, int], ...] = ()
    guards: tuple[Guard, ...] = ()
    dims: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Alternative:
    """One way to satisfy a clause."""

    words: tuple[tuple[int, int, int], ...] = ()
    guards: tuple[Guard, ...] = ()
    dims: tuple[tuple[int, int], ...] = ()
    class_bits: int = 0


def compile_conjunction(
    conjunction: Conjunction, names: Names, sets: SetTable
) -> tuple[Pattern, ...]:
    """Patterns that together match what the conjunction matches; empty if it never holds.

    Raises :class:`Unexecutable` for a field that the machine does not hold, and for more than
    :data:`MAX_PATTERNS`.
    """
    class_bits, rest = _take_class(conjunction)
    choices: list[tuple[_Alternative, ...]] = []
    wide: list[tuple[FieldClause, int]] = []
    for clause in rest:
        alternatives = _alternatives(clause, names, sets)
        if alternatives is None:
            return ()
        if isinstance(clause, FieldClause) and len(clause.any_of) > 1 and not clause.none_of:
            wide.append((clause, len(choices)))
        choices.append(alternatives)
    _use_sets(choices, wide, sets)
    count = prod(map(len, choices))
    if count > MAX_PATTERNS:
        raise Unexecutable(f"match with {count} alternatives")
    patterns = (_merge(class_bits, picked) for picked in product(*choices))
    return tuple(dict.fromkeys(pattern for pattern in patterns if pattern is not None))


def _take_class(conjunction: Conjunction) -> tuple[int, list[Clause]]:
    """Class bits that stand for eth.type and ip.proto clauses, and the other clauses."""
    by_name = {c.field.name: c for c in conjunction if isinstance(c, FieldClause)}
    bits = PacketClass(0)
    taken: set[str] = set()
    ethertype = _exact_values(by_name.get("eth.type"), 16)
    if ethertype in _ETHERTYPES:
        bits |= _ETHERTYPES[ethertype]
        taken.add("eth.type")
        protocol = _exact_values(by_name.get("ip.proto"), 8)
        if len(protocol) == 1:
            (number,) = protocol
            known = _PROTOCOLS.get(number) or _ICMP.get((number, bits))
            if known and bits & (PacketClass.IP | PacketClass.IP4 | PacketClass.IP6):
                bits |= known
                taken.add("ip.proto")
    rest = [
        clause
        for clause in conjunction
        if not (isinstance(clause, FieldClause) and clause.field.name in taken)
    ]
    return int(bits), rest


def _exact_values(clause: FieldClause | None, width: int) -> frozenset[int]:
    """Values of a clause that lists whole values and excludes none; else empty."""
    full = (1 << width) - 1
    if clause is None or clause.none_of or any(t.mask != full for t in clause.any_of):
        return frozenset()
    return frozenset(term.value for term in clause.any_of)


def _alternatives(clause: Clause, names: Names, sets: SetTable) -> tuple[_Alternative, ...] | None:
    """Ways to satisfy a clause; ``None`` if there is none."""
    match clause:
        case FieldClause():
            return _field_alternatives(clause, sets)
        case SetClause():
            return (_set_alternative(clause, names, sets),)
        case PortClause():
            return _port_alternatives(clause, names) or None
        case ResidentClause():
            holds = names.is_resident(clause.port) != clause.negated
            return (_Alternative(),) if holds else None


def _place(field_name: str) -> tuple[Piece, ...]:
    place = pieces(field_name)
    if place is None:
        raise Unexecutable(f"match on {field_name}")
    return place


def _field_alternatives(clause: FieldClause, sets: SetTable) -> tuple[_Alternative, ...]:
    guards = _exclusions(clause, sets)
    if not clause.any_of:
        return (_Alternative(guards=guards),)
    return tuple(
        _Alternative(words=_word_tests(clause, term), guards=guards) for term in clause.any_of
    )


def _exclusions(clause: FieldClause, sets: SetTable) -> tuple[Guard, ...]:
    """Guards that turn away what the clause excludes."""
    if len(clause.none_of) > MAX_EXCLUSIONS:
        found = _literal_set(clause.field, clause.none_of, sets)
        if found is not None:
            return (Guard(GuardKind.NOT_IN_SET, found[0], 0, found[1]),)
    place = _place(clause.field.name)
    guards: list[Guard] = []
    for number, term in enumerate(clause.none_of):
        words = masked_words(place, term.value, term.mask)
        kind = GuardKind.NOT_EQUAL if len(words) == 1 else GuardKind.NOT_ALL_EQUAL
        # The last word is a field's own; eth.src and eth.dst share their first.
        group = 0 if len(words) == 1 else (place[-1].word << 16 | number) + 1
        guards.extend(
            Guard(kind, word, mask, value, group) for word, (mask, value) in sorted(words.items())
        )
    return tuple(guards)


def _word_tests(clause: FieldClause, term: Term) -> tuple[tuple[int, int, int], ...]:
    words = masked_words(_place(clause.field.name), term.value, term.mask)
    return tuple((word, mask, value) for word, (mask, value) in words.items())


def _set_alternative(clause: SetClause, names: Names, sets: SetTable) -> _Alternative:
    ref = clause.ref
    space = {32: Space.IP4, 128: Space.IP6, 48: Space.ETH}.get(ref.width)
    if space is None:
        raise Unexecutable(f"address set on the {ref.width} bits of {ref.field.name}")
    place = slice_pieces(_place(ref.field.name), ref.offset, ref.width)
    dimension = sets.dimension(ref.field.name, ref.offset, space, place)
    if dimension is None:
        raise Unexecutable(f"address set on these bits of {ref.field.name}")
    number = sets.set_id(names.address_set(clause.set_name))
    if clause.negated:
        return _Alternative(guards=(Guard(GuardKind.NOT_IN_SET, dimension.index, 0, number),))
    return _Alternative(dims=((dimension.index, number),))


def _port_alternatives(clause: PortClause, names: Names) -> tuple[_Alternative, ...]:
    word = _place(clause.field.name)[0].word
    dimension = GROUP_DIMENSIONS.get(clause.field.name, -1)
    if clause.groups and dimension < 0:
        raise Unexecutable(f"port group on {clause.field.name}")
    named = [0 if name == "none" else names.port_key(name) for name in sorted(clause.names)]
    keys = [key for key in named if key is not None]
    groups = [names.port_group(group) for group in sorted(clause.groups)]
    if clause.negated:
        guards = [Guard(GuardKind.NOT_EQUAL, word, _ALL, key) for key in keys]
        guards += [Guard(GuardKind.NOT_IN_SET, dimension, 0, group) for group in groups]
        return (_Alternative(guards=tuple(guards)),)
    exact = tuple(_Alternative(words=((word, _ALL, key),)) for key in keys)
    return exact + tuple(_Alternative(dims=((dimension, group),)) for group in groups)


def _use_sets(
    choices: list[tuple[_Alternative, ...]],
    wide: Iterable[tuple[FieldClause, int]],
    sets: SetTable,
) -> None:
    """Turn the longest value lists into sets until the product is small enough."""
    for clause, position in sorted(wide, key=lambda item: -len(item[0].any_of)):
        if prod(map(len, choices)) <= MAX_ALTERNATIVES:
            return
        found = _literal_set(clause.field, clause.any_of, sets)
        if found is not None:
            choices[position] = (_Alternative(dims=(found,)),)


def _literal_set(field: Field, terms: tuple[Term, ...], sets: SetTable) -> tuple[int, int] | None:
    """Dimension and id of a set of exactly these values and prefixes.

    ``None`` if they are not prefixes of one run of the field's bits, or no set can hold it.
    """
    bits = 0
    for term in terms:
        bits |= term.mask
    offset, top = _lowest_bit(bits), bits.bit_length()
    width = top - offset
    # Bits from the lowest that counts up to the top of the run: all of them must count.
    dropped = [_lowest_bit(term.mask) - offset for term in terms]
    if any(
        term.mask != (1 << top) - (1 << offset + drop)
        for term, drop in zip(terms, dropped, strict=True)
    ):
        return None
    space = {48: int(Space.ETH), 128: int(Space.IP6)}.get(width)
    if space is None:
        if width > 32:
            return None
        space = sets.space_of(f"{field.name}[{offset}+{width}]")
    place = slice_pieces(_place(field.name), offset, width)
    dimension = sets.dimension(field.name, offset, space, place)
    if dimension is None:
        return None
    members = sorted(
        (term.value >> offset, space_width(space) - drop)
        for term, drop in zip(terms, dropped, strict=True)
    )
    name = f"{{{space}:{','.join(f'{value:x}/{length}' for value, length in members)}}}"
    sets.define(name, (Member(space, value, length) for value, length in members))
    return (dimension.index, sets.set_id(name))


def _lowest_bit(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _merge(class_bits: int, picked: Sequence[_Alternative]) -> Pattern | None:
    """The conjunction of one alternative per clause; ``None`` if they contradict."""
    words: dict[int, tuple[int, int]] = {}
    guards: list[Guard] = []
    dims: dict[int, int] = {}
    for alternative in picked:
        guards.extend(alternative.guards)
        for word, mask, value in alternative.words:
            old_mask, old_value = words.get(word, (0, 0))
            if (old_value ^ value) & old_mask & mask:
                return None
            words[word] = (old_mask | mask, old_value | value)
        for dimension, number in alternative.dims:
            if dims.get(dimension, number) == number and len(dims) < Limit.SLOT_DIMS:
                dims[dimension] = number
            else:
                guards.append(Guard(GuardKind.IN_SET, dimension, 0, number))
    pattern = Pattern(
        class_bits=class_bits,
        words=tuple((word, *words[word]) for word in sorted(words)),
        guards=tuple(sorted(guards)),
        dims=tuple(sorted(dims.items())),
    )
    pattern = _spill_words(pattern)
    if len(pattern.guards) > MAX_GUARDS:
        raise Unexecutable(f"match with {len(pattern.guards)} separate tests")
    return pattern


def _spill_words(pattern: Pattern) -> Pattern:
    """Move words that do not fit into the longest key behind guards."""
    room = Limit.SHAPE_WORDS - len(pattern.dims)
    if len(pattern.words) <= room:
        return pattern
    extra = tuple(Guard(GuardKind.EQUAL, *word) for word in pattern.words[room:])
    return replace(
        pattern, words=pattern.words[:room], guards=tuple(sorted(pattern.guards + extra))
    )

# SPDX-License-Identifier: Apache-2.0
"""Sets stay sets: ids, members and the lists that resolve a packet's value to its sets.

The machine looks a value up once and gets the list of all sets that hold it; an entry's key
holds one set id per *dimension* (field of the packet that sets are tested on). So the number
of entries does not depend on the number of members, and a new member is one map update.

A set has members in several value spaces (``Space``): an address set can hold IPv4, IPv6 and
Ethernet addresses, each found by the fields of that space. Literal value lists that would
multiply entries become unnamed sets in a space of their own field.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from iovisor_ovn.abi import Limit, Space
from iovisor_ovn.compiler.packet import Piece

__all__ = ["Dimension", "Member", "SetTable", "parse_member"]

GROUP_DIMENSIONS = {"inport": 0, "outport": 1}
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}\Z")
_WIDTH = {Space.IP4: 32, Space.IP6: 128, Space.ETH: 48}


class Member(NamedTuple):
    """A prefix of a space: the ``length`` most significant bits of ``value`` count."""

    space: int
    value: int
    length: int

    @property
    def is_host(self) -> bool:
        """It stands for a single value."""
        return self.length == space_width(self.space)

    def cut(self, length: int) -> "Member":
        """The prefix of ``length`` bits that this one lies in."""
        dropped = space_width(self.space) - length
        return Member(self.space, self.value >> dropped << dropped, length)


def space_width(space: int) -> int:
    """Bits of a value in a space; literal sets' own spaces are as wide as their field."""
    return _WIDTH.get(Space(space), 32) if space < Space.OTHER else 32


@lru_cache(maxsize=1 << 16)
def parse_member(text: str) -> Member | None:
    """A member as written in Address_Set.addresses; ``None`` if it is not a host or prefix."""
    if _MAC.match(text):
        return Member(Space.ETH, int(text.replace(":", ""), 16), 48)
    host = _read_host(text)
    if host is not None:
        return host
    if "%" in text:
        return None  # the zone of an address means nothing to packets
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    space = Space.IP4 if network.version == 4 else Space.IP6
    return Member(space, int(network.network_address), network.prefixlen)


def _read_host(text: str) -> Member | None:
    """A host as it is usually written; to read any is slow."""
    for family, space, width in (
        (socket.AF_INET, Space.IP4, 32), (socket.AF_INET6, Space.IP6, 128),
    ):  # fmt: skip
        try:
            return Member(space, int.from_bytes(socket.inet_pton(family, text)), width)
        except (OSError, ValueError):
            continue
    return None


@dataclass(frozen=True, slots=True)
class Dimension:
    """How the machine reads the value of a dimension: pieces, most significant first."""

    index: int
    space: int
    pieces: tuple[Piece, ...]


def _is_in_words(place: tuple[Piece, ...]) -> bool:
    """Each piece is one whole 32-bit word of the value, the top one perhaps less."""
    top = max(piece.lsb for piece in place)
    return all(p.lsb % 32 == 0 and (p.lsb == top or p.width == 32) for p in place)


@dataclass(slots=True)
class _Set:
    id: int
    members: frozenset[Member] = frozenset()


@dataclass(slots=True)
class SetTable:
    """All sets in use, and what has to change in the maps since the last :meth:`drain`.

    ``alloc_list`` turns a tuple of set ids into a list index of the machine's list map.
    """

    _ids: dict[str, _Set] = field(default_factory=dict)
    _names: dict[int, str] = field(default_factory=dict)
    _fresh: set[str] = field(default_factory=set)
    _free: list[int] = field(default_factory=list)
    _next: int = 1
    _holders: dict[Member, set[int]] = field(default_factory=dict)
    _lengths: dict[int, dict[int, int]] = field(default_factory=dict)
    _dirty: set[Member] = field(default_factory=set)
    _dimensions: dict[tuple[str, int, int], Dimension] = field(default_factory=dict)
    _spaces: dict[str, int] = field(default_factory=dict)

    def set_id(self, name: str) -> int:
        """Id of a set, allocated on first use."""
        item = self._ids.get(name)
        if item is None:
            number = self._free.pop() if self._free else self._next
            if number == self._next:
                self._next += 1
            item = self._ids[name] = _Set(number)
            self._names[number] = name
            self._fresh.add(name)
        return item.id

    def known_id(self, name: str) -> int | None:
        """Id of a set, if it has one."""
        item = self._ids.get(name)
        return None if item is None else item.id

    def name_of(self, number: int) -> str:
        """Name of the set with an id; KeyError if there is none."""
        return self._names[number]

    def take_fresh(self) -> set[str]:
        """Names of sets that were made since the last call."""
        fresh, self._fresh = self._fresh, set()
        return fresh

    def define(self, name: str, members: Iterable[Member]) -> None:
        """Give a set exactly these members. Cost: linear in what changes, plus one hash each."""
        self.set_id(name)
        item = self._ids[name]
        wanted = frozenset(members)
        for member in item.members - wanted:
            self._remove(member, item.id)
        for member in wanted - item.members:
            self._add(member, item.id)
        item.members = wanted

    def forget(self, name: str) -> None:
        """Drop a set; its id may be used again."""
        item = self._ids.pop(name, None)
        if item is not None:
            for member in item.members:
                self._remove(member, item.id)
            self._free.append(item.id)
            del self._names[item.id]

    def items(self) -> Iterator[tuple[str, int]]:
        """Name and id of every set."""
        return ((name, item.id) for name, item in self._ids.items())

    def size(self, name: str) -> int:
        """Members of a set, 0 if there is none of this name."""
        item = self._ids.get(name)
        return len(item.members) if item else 0

    def space_of(self, field_name: str) -> int:
        """Space of literal sets of a field that is no address."""
        known = self._spaces.get(field_name)
        if known is None:
            taken = set(self._spaces.values())
            known = next(space for space in count(Space.OTHER) if space not in taken)
            self._spaces[field_name] = known
        return known

    def dimension(
        self, field_name: str, offset: int, space: int, place: tuple[Piece, ...]
    ) -> Dimension | None:
        """The dimension that reads a field's bits.

        ``None`` when the machine has no more, or cannot put these bits into words of a key.
        """
        if not _is_in_words(place):
            return None
        key = (field_name, offset, space)
        known = self._dimensions.get(key)
        if known is None:
            stable = all(piece.word >= 24 for piece in place)
            taken = {item.index for item in self._dimensions.values()}
            candidates = (
                range(len(GROUP_DIMENSIONS), Limit.CACHED_DIMS)
                if stable
                else range(Limit.CACHED_DIMS, Limit.DIMS)
            )
            index = next((i for i in candidates if i not in taken), None)
            if index is None:
                return None
            ordered = tuple(sorted(place, key=lambda piece: -piece.lsb))
            known = self._dimensions[key] = Dimension(index, space, ordered)
        return known

    def keep_dimensions(self, used: Container[int]) -> None:
        """Give up the other dimensions, with the spaces that literal sets had for them alone.

        To be called when the maps name them no more and the literal sets are forgotten.
        """
        kept = {key: item for key, item in self._dimensions.items() if item.index in used}
        self._dimensions = kept
        spaces = {item.space for item in kept.values()} | self._lengths.keys()
        self._spaces = {name: space for name, space in self._spaces.items() if space in spaces}

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Dimensions in use, except those of port groups."""
        return tuple(self._dimensions.values())

    def has_prefixes(self, space: int) -> bool:
        """Some member of the space is shorter than a host."""
        return any(
            n for length, n in self._lengths.get(space, {}).items() if length < space_width(space)
        )

    def drain(self) -> dict[Member, tuple[int, ...]]:
        """Members whose set ids changed, with their new ids (empty = delete), sorted.

        A host's ids include those of the prefixes that cover it, a prefix's those of shorter
        prefixes, because the machine stops at the first hit.
        """
        affected = self._dirty | self._covered(self._dirty)
        self._dirty = set()
        return {member: self._ids_of(member) for member in affected}

    def everything(self) -> dict[Member, tuple[int, ...]]:
        """All members with their set ids: what a rebuild of the maps needs."""
        return {member: self._ids_of(member) for member in self._holders}

    def _ids_of(self, member: Member) -> tuple[int, ...]:
        if member not in self._holders:
            return ()
        ids = set(self._holders[member])
        for length in self._lengths.get(member.space, {}):
            if length < member.length:
                ids |= self._holders.get(member.cut(length), set())
        return tuple(sorted(ids))

    def _covered(self, prefixes: set[Member]) -> set[Member]:
        """Members within some of the prefixes. Linear in members times lengths of prefixes."""
        lengths: dict[int, set[int]] = {}
        for prefix in prefixes:
            if not prefix.is_host:
                lengths.setdefault(prefix.space, set()).add(prefix.length)
        if not lengths:
            return set()
        return {
            member
            for member in self._holders
            if any(
                length < member.length and member.cut(length) in prefixes
                for length in lengths.get(member.space, ())
            )
        }

    def _add(self, member: Member, number: int) -> None:
        self._holders.setdefault(member, set()).add(number)
        lengths = self._lengths.setdefault(member.space, {})
        lengths[member.length] = lengths.get(member.length, 0) + 1
        self._dirty.add(member)

    def _remove(self, member: Member, number: int) -> None:
        holders = self._holders[member]
        holders.discard(number)
        if not holders:
            del self._holders[member]
        lengths = self._lengths[member.space]
        lengths[member.length] -= 1
        if not lengths[member.length]:
            del lengths[member.length]
            if not lengths:
                del self._lengths[member.space]
        self._dirty.add(member)


ListAllocator = Callable[[tuple[int, ...]], int]

# SPDX-License-Identifier: Apache-2.0
"""Learned MAC addresses: how many a datapath may have, and taking them away.

Packets count what they add, the agent what it takes away (`bpf/iomodules/fdb`); neither writes the
other's number.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from iovisor_ovn.abi import STRUCTS
from iovisor_ovn.dataplane.maps import Map

__all__ = ["FdbTable", "Room"]

_KEY = STRUCTS["fdb_key"]
_ROOM = STRUCTS["fdb_room"]
_32_BITS = 0xFFFFFFFF
_SIGN_BIT = 1 << 31


@dataclass(frozen=True, slots=True)
class Room:
    """Addresses learned on a datapath, the most there may be (0: no limit), packets refused."""

    learned: int
    limit: int
    refused: int


class FdbTable:
    """The entries of a machine, where those that go are counted."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        """Work on a machine's maps."""
        self._entries = maps["fdb_entries"]
        rooms = maps["fdb_rooms"]
        self._rooms = rooms.memory().cast("I")
        self._stride = rooms.element_stride // 4

    @property
    def capacity(self) -> int:
        """Addresses of all datapaths together."""
        return self._entries.max_entries

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """All entries, packed."""
        return self._entries.items()

    def forget(self, key: bytes) -> None:
        """Take an entry away; there must be nobody else who does."""
        self._entries.delete(key, missing_ok=True)
        at = self._at(_KEY.numbers(key)["dp"], "removed")
        self._rooms[at] = self._rooms[at] + 1 & _32_BITS

    def set_limit(self, index: int, limit: int) -> None:
        """Let a datapath learn at most so many; what it has learned stays."""
        self._rooms[self._at(index, "limit")] = limit

    def clear(self, index: int) -> None:
        """Count from zero, without limit: all entries of the datapath have been deleted."""
        self._rooms[self._at(index, "limit")] = 0
        self._rooms[self._at(index, "refused")] = 0
        self._rooms[self._at(index, "removed")] = self._rooms[self._at(index, "added")]

    def room(self, index: int) -> Room:
        """What a datapath has learned."""
        added, removed, limit, refused = (
            self._rooms[self._at(index, name)] for name in ("added", "removed", "limit", "refused")
        )
        learned = added - removed & _32_BITS
        return Room(0 if learned & _SIGN_BIT else learned, limit, refused)

    def close(self) -> None:
        """Let go of the memory."""
        self._rooms.release()

    def _at(self, index: int, member: str) -> int:
        return index * self._stride + _ROOM.offset_of(member) // 4

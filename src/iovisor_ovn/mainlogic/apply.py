# SPDX-License-Identifier: Apache-2.0
"""The compiler's changes into the machine's maps, in an order that packets never notice.

First what nothing reads yet, then each datapath's new stages at once, last the deletion of what
nothing reads any more.
"""

import time
from collections.abc import Mapping

from iovisor_ovn.abi import STRUCTS
from iovisor_ovn.compiler.image import Delta, Image
from iovisor_ovn.compiler.sets import Dimension, Member, SetTable, space_width
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.errors import DataplaneError, MapFullError

__all__ = ["GRACE_S", "Applier"]

#: Longer than a packet is in the machine (microseconds; no run is preempted).
GRACE_S = 0.002

_MEMBER_KEY = STRUCTS["member_key"]


class Applier:
    """Keeps a machine equal to an image and a set table."""

    def __init__(self, machine: Machine, image: Image, sets: SetTable) -> None:
        """Begin with empty maps."""
        self._machine = machine
        self._image = image
        self._sets = sets
        self._members: dict[Member, int] = {}
        self._dimensions: dict[int, tuple[Dimension, bool]] = {}
        # What the compiler has handed over and the machine has not taken yet.
        self._changes: dict[Member, tuple[int, ...]] = {}
        self._delta = Delta()
        # Keys of entries that stages in force may lead to, per key class.
        self._stored: tuple[set[bytes], ...] = tuple(set() for _ in self._delta.entries)
        # Lists that members may name since an attempt that failed.
        self._held: list[int] = []
        # Datapaths whose packets are dropped until their new pipeline fits.
        self._paused: set[int] = set()

    def write_lists(self) -> None:
        """Write new lists now: records that name them are about to be written."""
        self._write_arrays(self._image.drain_lists())

    def apply(self) -> bool:
        """Write everything that changed; tells whether stages did.

        Raises DataplaneError, as where a map is full; the next call does what is left.
        """
        self._changes |= self._sets.drain()
        stale = self._write_members(self._changes)
        self._changes = {}
        self._write_dimensions()
        _join(self._delta, self._image.drain())
        delta = self._delta
        if delta or self._paused:
            self._write_arrays(delta)
            for key_class, entries in enumerate(delta.entries):
                # What an attempt that failed has left is in nobody's way but ours.
                self._machine.delete_entries(
                    key_class, delta.gone[key_class] - self._stored[key_class]
                )
                self._put_entries(key_class, entries)
            self._machine.switch_rows(delta.rows, self._paused)
            self._machine.renew()
            if delta.rows and any(delta.gone):
                # Packets that began with the rows before may still look these entries up.
                time.sleep(GRACE_S)
            for key_class, keys in enumerate(delta.gone):
                self._machine.delete_entries(key_class, keys & self._stored[key_class])
                self._stored[key_class].update(delta.entries[key_class])
                self._stored[key_class].difference_update(keys)
            self._delta = Delta()
        self._image.settle()
        self._paused.clear()
        for index in stale:
            self._image.release_list(index)
        return bool(delta.rows) or any(delta.entries)

    def use(self) -> dict[str, int]:
        """Members in use by map."""
        hosts = sum(member.is_host for member in self._members)
        return {"members": hosts, "prefixes": len(self._members) - hosts}

    def make_room(self) -> None:
        """Where old and new do not fit side by side: let the old go, packets wait for the new.

        They are dropped, and only those of the datapaths that change, until :meth:`apply` is
        through, which is the next pass unless something else is in its way.
        """
        self._paused |= self._image.touched
        for index in self._paused:
            self._machine.pause(index)
        self._machine.renew()
        time.sleep(GRACE_S)
        for key_class, keys in enumerate(self._delta.gone):
            self._machine.delete_entries(key_class, keys & self._stored[key_class])
            self._stored[key_class].difference_update(keys)
        self._image.settle()

    def _put_entries(self, key_class: int, entries: Mapping[bytes, bytes]) -> None:
        try:
            self._machine.put_entries(key_class, entries)
        except MapFullError as error:
            # How many were written is not known: none of them is in force, so take them back.
            self._machine.delete_entries(key_class, entries.keys() - self._stored[key_class])
            kept = self._stored[key_class] - self._delta.gone[key_class] | entries.keys()
            fits = bool(self._image.touched - self._paused) and len(kept) <= error.capacity
            raise MapFullError(error.map_name, error.capacity, waits_for_force=fits) from error

    def _write_arrays(self, delta: Delta) -> None:
        """Write array elements; they are written once, as others may have them later."""
        for name in ("insns", "guards", "shapes", "lists", "slots"):
            elements: list[tuple[int, bytes]] = getattr(delta, name)
            for index, data in elements:
                self._machine.write_array(name, index, data)
            elements.clear()

    def _write_members(self, changes: Mapping[Member, tuple[int, ...]]) -> list[int]:
        """Resolve values to their new lists; returns the lists that they had."""
        lists: dict[Member, int] = {}
        try:
            for member, ids in changes.items():
                lists[member] = self._image.take_list(ids)
            self.write_lists()
            self._put_members(lists)
        except DataplaneError:
            held, self._held = self._held, list(lists.values())
            for index in held:
                self._image.release_list(index)
            raise
        stale, self._held = self._held, []
        for member, index in lists.items():
            old = self._members.pop(member, 0)
            if old:
                stale.append(old)
            if index:
                self._members[member] = index
        return stale

    def _put_members(self, lists: Mapping[Member, int]) -> None:
        """Write members; those that are in no set any more go first and make room."""
        fresh: dict[str, dict[bytes, bytes]] = {"members": {}, "prefixes": {}}
        for member, index in lists.items():
            name, key = _member_key(member)
            if index:
                fresh[name][key] = index.to_bytes(4, "little")
            else:
                self._machine.maps[name].delete(key, missing_ok=True)
        for name, items in fresh.items():
            if items:
                self._machine.maps[name].update_many(b"".join(items), b"".join(items.values()))

    def _write_dimensions(self) -> None:
        for dimension in self._sets.dimensions:
            state = (dimension, self._sets.has_prefixes(dimension.space))
            if self._dimensions.get(dimension.index) != state:
                self._dimensions[dimension.index] = state
                pieces = tuple(
                    (piece.word, piece.at, (1 << piece.width) - 1) for piece in dimension.pieces
                )
                self._machine.put_dimension(
                    dimension.index, dimension.space, prefixes=state[1], pieces=pieces
                )


def _join(delta: Delta, later: Delta) -> None:
    """Let ``delta`` do what itself and then ``later`` would do."""
    for name in ("insns", "guards", "shapes", "lists", "slots"):
        getattr(delta, name).extend(getattr(later, name))
    both = zip(delta.entries, delta.gone, later.entries, later.gone, strict=True)
    for entries, gone, new_entries, new_gone in both:
        for key in new_gone:
            entries.pop(key, None)
        gone.update(new_gone)
        entries.update(new_entries)
        gone.difference_update(new_entries)
    delta.rows |= later.rows


def _member_key(member: Member) -> tuple[str, bytes]:
    """Map and key of a member of a set."""
    if member.is_host:
        words = tuple((member.value >> shift) & 0xFFFFFFFF for shift in (96, 64, 32, 0))
        return "members", _MEMBER_KEY.pack(space=member.space, value=words)
    length = 32 + 128 - space_width(member.space) + member.length
    key = length.to_bytes(4, "little") + member.space.to_bytes(4, "big")
    return "prefixes", key + member.value.to_bytes(16, "big")

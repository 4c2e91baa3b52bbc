# SPDX-License-Identifier: Apache-2.0
"""Neighbours and learned MAC addresses: Southbound rows into the machine's maps.

The machine learns by itself and tells the agent, which writes the rows; rows that other
chassis or an operator write come in here. A neighbour can be known twice, learned
(MAC_Binding) and configured (Static_MAC_Binding): one map entry holds both.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from iovisor_ovn.abi import STRUCTS
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.mainlogic.southbound import Neighbour
from iovisor_ovn.mainlogic.world import World

__all__ = ["NeighbourTable", "Place", "mac_number", "mac_text"]

_KEY = STRUCTS["neigh_key"]
_VALUE = STRUCTS["neigh"]
_FDB_KEY = STRUCTS["fdb_key"]
_FDB_VALUE = STRUCTS["fdb"]

Place = tuple[UUID, str, str]  # datapath, logical port, IP address
Resolved = Callable[[int, int, int, int], None]  # datapath index, port key, address, MAC


def mac_number(text: str) -> int | None:
    """The 48 bits of a MAC address written with colons; ``None`` if it is none."""
    parts = text.split(":")
    if len(parts) != 6:
        return None
    try:
        return int.from_bytes(bytes(int(part, 16) for part in parts), "big")
    except ValueError:
        return None


def mac_text(number: int) -> str:
    """A MAC address as OVN writes it."""
    return ":".join(f"{byte:02x}" for byte in number.to_bytes(6, "big"))


@dataclass(slots=True)
class _Known:
    learned: dict[UUID, int] = field(default_factory=dict)
    static: dict[UUID, tuple[int, bool]] = field(default_factory=dict)


class NeighbourTable:
    """All neighbour and FDB rows; those of local datapaths are in the maps."""

    def __init__(self, machine: Machine, world: World) -> None:
        """Write into ``machine``."""
        self._machine = machine
        self._world = world
        self._rows: dict[UUID, Place] = {}
        self._known: dict[Place, _Known] = {}
        self._of_datapath: dict[UUID, set[Place]] = {}
        self._fdb: dict[UUID, tuple[int, int, int]] = {}  # datapath key, MAC, port key
        self.on_resolved: Resolved = _ignore

    def learned(self, place: Place) -> tuple[UUID, int] | None:
        """Row and MAC of what is learned about a place."""
        known = self._known.get(place)
        return next(iter(known.learned.items()), None) if known else None

    def fdb_row(self, datapath_key: int, mac: int) -> tuple[UUID, int] | None:
        """Row and port key of a learned MAC address."""
        for uuid, (key, known, port) in self._fdb.items():
            if (key, known) == (datapath_key, mac):
                return uuid, port
        return None

    def put(self, row: Neighbour) -> None:
        """Add or replace a row; one whose addresses cannot be read is as good as none."""
        self.drop(row.uuid)
        mac = mac_number(row.mac)
        if mac is None or _address(row.ip) is None:
            return
        place = (row.datapath, row.port, row.ip)
        self._rows[row.uuid] = place
        known = self._known.setdefault(place, _Known())
        if row.override is None:
            known.learned[row.uuid] = mac
        else:
            known.static[row.uuid] = (mac, row.override)
        self._of_datapath.setdefault(row.datapath, set()).add(place)
        self._write(place)

    def drop(self, uuid: UUID) -> None:
        """Forget a row."""
        place = self._rows.pop(uuid, None)
        if place is None:
            return
        known = self._known[place]
        known.learned.pop(uuid, None)
        known.static.pop(uuid, None)
        if not known.learned and not known.static:
            del self._known[place]
            self._of_datapath[place[0]].discard(place)
        self._write(place)

    def put_fdb(self, uuid: UUID, datapath_key: int, mac: str, port: int) -> None:
        """Add or replace an FDB row."""
        number = mac_number(mac)
        self.drop_fdb(uuid)
        if number is None:
            return
        self._fdb[uuid] = (datapath_key, number, port)
        for index in self._indexes(datapath_key):
            self._write_fdb(index, number, port)

    def drop_fdb(self, uuid: UUID) -> None:
        """Forget an FDB row."""
        old = self._fdb.pop(uuid, None)
        if old is None:
            return
        for index in self._indexes(old[0]):
            key = _fdb_key(index, old[1])
            self._machine.maps["fdb_entries"].delete(key, missing_ok=True)

    def datapath_is_local(self, uuid: UUID) -> None:
        """Write what is known of a datapath."""
        for place in self._of_datapath.get(uuid, ()):
            self._write(place)
        key = self._world.datapaths[uuid].key
        for datapath_key, mac, port in self._fdb.values():
            if datapath_key == key:
                self._write_fdb(self._world.local[uuid], mac, port)

    def datapath_is_gone(self, index: int) -> None:
        """Delete everything about a datapath, also what only the machine had learned."""
        prefix = index.to_bytes(4, "little")
        for name in ("neighbours", "fdb_entries"):
            table = self._machine.maps[name]
            stale = [key for key, _value in table.items() if key.startswith(prefix)]
            if stale:
                table.delete_many(b"".join(stale))

    def _write(self, place: Place) -> None:
        key = self._key(place)
        if key is None:
            return
        known = self._known.get(place)
        table = self._machine.maps["neighbours"]
        if known is None:
            table.delete(key, missing_ok=True)
            return
        learned = next(iter(known.learned.values()), 0)
        static, overrides = next(iter(known.static.values()), (0, False))
        value = _VALUE.pack(
            mac_hi=learned >> 32, mac_lo=learned & 0xFFFFFFFF,
            static_hi=static >> 32, static_lo=static & 0xFFFFFFFF, overrides=int(overrides),
        )  # fmt: skip
        table.update(key, value)
        port = self._world.ports.get(place[1])
        address = _address(place[2])
        if port is not None and address is not None:
            mac = static if static and (overrides or not learned) else learned
            self.on_resolved(self._world.local[place[0]], port.key, int(address), mac)

    def _key(self, place: Place) -> bytes | None:
        index = self._world.local.get(place[0])
        port = self._world.ports.get(place[1])
        address = _address(place[2])
        if index is None or port is None or address is None:
            return None
        number = int(address)
        words = tuple((number >> shift) & 0xFFFFFFFF for shift in (96, 64, 32, 0))
        return _KEY.pack(dp=index, port=port.key, ip=words)

    def _indexes(self, datapath_key: int) -> list[int]:
        return [
            index
            for uuid, index in self._world.local.items()
            if self._world.datapaths[uuid].key == datapath_key
        ]

    def _write_fdb(self, index: int, mac: int, port: int) -> None:
        self._machine.maps["fdb_entries"].update(_fdb_key(index, mac), _FDB_VALUE.pack(port=port))


def _fdb_key(index: int, mac: int) -> bytes:
    return _FDB_KEY.pack(dp=index, mac_hi=mac >> 32, mac_lo=mac & 0xFFFFFFFF)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _ignore(_index: int, _port: int, _address: int, _mac: int) -> None:
    """Nobody waits."""

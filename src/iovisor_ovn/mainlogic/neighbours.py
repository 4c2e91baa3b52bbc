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

import ovs.vlog

from iovisor_ovn.abi import STRUCTS
from iovisor_ovn.dataplane.fdb import FdbTable
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.errors import MapFullError
from iovisor_ovn.mainlogic.southbound import Neighbour, PortBinding
from iovisor_ovn.mainlogic.world import World

__all__ = ["NeighbourTable", "Place", "mac_number", "mac_text", "neighbour_key"]

_log = ovs.vlog.Vlog("neighbours")
_KEY = STRUCTS["neigh_key"]
_VALUE = STRUCTS["neigh"]
_FDB_KEY = STRUCTS["fdb_key"]
_FDB_VALUE = STRUCTS["fdb"]

Place = tuple[UUID, str, str]  # datapath, logical port, IP address as ipaddress writes it
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

    def says(self, row: UUID, mac: int, override: bool | None) -> bool:
        """Whether a row said the same before."""
        if override is None:
            return self.learned.get(row) == mac
        return self.static.get(row) == (mac, override)


@dataclass(frozen=True, slots=True)
class _Learned:
    """An FDB row; ``datapath`` and ``port`` are tunnel keys."""

    datapath: int
    mac: int
    port: int


class NeighbourTable:
    """All neighbour and FDB rows; those of local datapaths are in the maps.

    ``on_resolved`` is called when a neighbour becomes known, ``on_gone`` with the index of a
    datapath that is no longer local, before the index stands for another.
    """

    def __init__(self, machine: Machine, world: World, fdb: FdbTable | None = None) -> None:
        """Write into ``machine``.

        What the machine learns becomes rows, and goes when they go. With ``fdb`` there are no
        rows: what was learned behind a port goes with the port.
        """
        self._machine = machine
        self._world = world
        self._learned_fdb = fdb
        self._rows: dict[UUID, Place] = {}
        self._known: dict[Place, _Known] = {}
        self._of_port: dict[UUID, dict[str, set[Place]]] = {}
        self._fdb: dict[UUID, _Learned] = {}
        self._fdb_rows: dict[int, dict[int, list[UUID]]] = {}  # datapath key, MAC
        # Entries that found no room, by map.
        self._waiting: dict[str, dict[bytes, bytes]] = {"neighbours": {}, "fdb_entries": {}}
        self.on_resolved: Resolved = _ignore
        self.on_gone: Callable[[int], None] = _ignore_gone

    def learned(self, place: Place) -> tuple[UUID, int] | None:
        """Row and MAC of what is learned about a place."""
        known = self._known.get(place)
        return next(iter(known.learned.items()), None) if known else None

    def fdb_row(self, datapath_key: int, mac: int) -> tuple[UUID, int] | None:
        """Row and port key of a learned MAC address."""
        rows = self._fdb_rows.get(datapath_key, {}).get(mac)
        return (rows[-1], self._fdb[rows[-1]].port) if rows else None

    def mac_of(self, index: int, port: int, address: int) -> int:
        """The MAC that the machine would use for a neighbour now, 0 if it knows none."""
        value = self._machine.maps["neighbours"].lookup(neighbour_key(index, port, address))
        if value is None:
            return 0
        known = _VALUE.unpack(value)
        learned = _number(known["mac_hi"]) << 32 | _number(known["mac_lo"])
        static = _number(known["static_hi"]) << 32 | _number(known["static_lo"])
        return _preferred(learned, static, bool(known["overrides"]))

    # -- rows ----------------------------------------------------------------------------

    def put(self, row: Neighbour) -> None:
        """Add or replace a row; one whose addresses cannot be read is as good as none."""
        mac, address = mac_number(row.mac), _address(row.ip)
        if mac is None or address is None:
            _log.warn(f"neighbour_ignored row={row.uuid} ip={row.ip!r} mac={row.mac!r}")
            self.drop(row.uuid)
            return
        place = (row.datapath, row.port, str(address))
        known = self._known.get(place)
        if known is not None and known.says(row.uuid, mac, row.override):
            return  # northd and other agents touch timestamps all the time
        if self._rows.get(row.uuid) != place:
            self.drop(row.uuid)
        self._rows[row.uuid] = place
        known = self._known.setdefault(place, _Known())
        known.learned.pop(row.uuid, None)
        known.static.pop(row.uuid, None)
        if row.override is None:
            known.learned[row.uuid] = mac
        else:
            known.static[row.uuid] = (mac, row.override)
        self._of_port.setdefault(row.datapath, {}).setdefault(row.port, set()).add(place)
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
            ports = self._of_port[place[0]]
            ports[place[1]].discard(place)
            if not ports[place[1]]:
                del ports[place[1]]
            if not ports:
                del self._of_port[place[0]]
        self._write(place)

    def put_fdb(self, uuid: UUID, datapath_key: int, mac: str, port: int) -> None:
        """Add or replace an FDB row."""
        number = mac_number(mac)
        new = None if number is None or not port else _Learned(datapath_key, number, port)
        if new is None:
            _log.warn(f"fdb_ignored row={uuid} mac={mac!r} port_key={port}")
        if self._fdb.get(uuid) == new:
            return
        self.drop_fdb(uuid)
        if new is not None:
            self._fdb[uuid] = new
            macs = self._fdb_rows.setdefault(new.datapath, {})
            macs.setdefault(new.mac, []).append(uuid)
            self._write_fdb(new)

    def drop_fdb(self, uuid: UUID) -> None:
        """Forget an FDB row."""
        old = self._fdb.pop(uuid, None)
        if old is None:
            return
        macs = self._fdb_rows[old.datapath]
        macs[old.mac].remove(uuid)
        if not macs[old.mac]:
            del macs[old.mac]
        if not macs:
            del self._fdb_rows[old.datapath]
        self._write_fdb(old)

    # -- datapaths and ports -------------------------------------------------------------

    def datapath_is_local(self, uuid: UUID) -> None:
        """Write what is known of a datapath."""
        for places in self._of_port.get(uuid, {}).values():
            for place in places:
                self._write(place)
        for rows in self._fdb_rows.get(self._world.datapaths[uuid].key, {}).values():
            self._write_fdb(self._fdb[rows[-1]])

    def datapath_is_gone(self, index: int) -> None:
        """Delete everything about a datapath, also what only the machine had learned."""
        for name in ("neighbours", "fdb_entries"):
            self._clear(name, index.to_bytes(4, "little"))
        if self._learned_fdb is not None:
            self._learned_fdb.clear(index)
        self.on_gone(index)

    def port_is_here(self, datapath: UUID, name: str) -> None:
        """Write what is known of a port's neighbours: its key is another now, if it has one."""
        for place in self._of_port.get(datapath, {}).get(name, ()):
            self._write(place)

    def port_is_gone(self, port: PortBinding) -> None:
        """Delete the neighbours of a port; its key may be another's now."""
        index = self._world.local.get(port.datapath)
        if index is None:
            return
        if self._learned_fdb is not None:
            self.forget_learned(index, port.key)
        known = port.name in self._of_port.get(port.datapath, {})
        # Routers' ports may have neighbours that no row tells of yet.
        if known or self._world.datapaths[port.datapath].is_router:
            prefix = index.to_bytes(4, "little") + port.key.to_bytes(4, "little")
            self._clear("neighbours", prefix)
            other = self._world.port_at(port.datapath, port.key)
            if other is not None:
                self.port_is_here(other.datapath, other.name)

    def forget_learned(self, index: int, port: int) -> None:
        """Delete what the machine has learned behind a port; what rows say stays."""
        assert self._learned_fdb is not None
        datapath = index.to_bytes(4, "little")
        for key, value in self._learned_fdb.items():
            if key.startswith(datapath) and _FDB_VALUE.numbers(value)["port"] == port:
                self._learned_fdb.forget(key)
        table = self._machine.maps["neighbours"]
        for key, value in table.items():
            if key.startswith(datapath + port.to_bytes(4, "little")):
                known = _VALUE.numbers(value)
                if not known["static_hi"] and not known["static_lo"]:
                    table.delete(key, missing_ok=True)
        self._machine.renew()

    # -- full maps -----------------------------------------------------------------------

    def waiting(self) -> dict[str, int]:
        """Entries that found no room, by map; none for a map that has them all."""
        return {name: len(entries) for name, entries in self._waiting.items() if entries}

    def store_waiting(self) -> None:
        """Write what waits for room, as far as there is some now."""
        for name, entries in self._waiting.items():
            try:
                while entries:
                    key, value = next(iter(entries.items()))
                    self._machine.maps[name].update(key, value)
                    del entries[key]
            except MapFullError:
                continue

    # -- maps ----------------------------------------------------------------------------

    def _clear(self, name: str, prefix: bytes) -> None:
        table = self._machine.maps[name]
        stale = [key for key, _value in table.items() if key.startswith(prefix)]
        if stale:
            table.delete_many(b"".join(stale))
        waiting = self._waiting[name]
        for key in [key for key in waiting if key.startswith(prefix)]:
            del waiting[key]

    def _write(self, place: Place) -> None:
        index = self._world.local.get(place[0])
        port = self._world.ports_of.get(place[0], {}).get(place[1])
        if index is None or port is None:
            return
        address = int(ipaddress.ip_address(place[2]))
        key = neighbour_key(index, port.key, address)
        known = self._known.get(place)
        if known is None:
            self._delete("neighbours", key)
            return
        learned = next(reversed(known.learned.values()), 0)
        static, overrides = next(reversed(known.static.values()), (0, False))
        value = _VALUE.pack(
            mac_hi=learned >> 32, mac_lo=learned & 0xFFFFFFFF,
            static_hi=static >> 32, static_lo=static & 0xFFFFFFFF, overrides=int(overrides),
        )  # fmt: skip
        self._put("neighbours", key, value)
        self.on_resolved(index, port.key, address, _preferred(learned, static, overrides))

    def _write_fdb(self, what: _Learned) -> None:
        """Write what is learned about a MAC address, or that nothing is."""
        index = self._world.index_of_key(what.datapath)
        if index is None:
            return
        key = _fdb_key(index, what.mac)
        row = self.fdb_row(what.datapath, what.mac)
        if row is None:
            self._delete("fdb_entries", key)
        else:
            self._put("fdb_entries", key, _FDB_VALUE.pack(port=row[1]))

    def _put(self, name: str, key: bytes, value: bytes) -> None:
        """Write an entry; without room the machine asks or floods as if there were no row."""
        waiting = self._waiting[name]
        try:
            self._machine.maps[name].update(key, value)
        except MapFullError as error:
            if not waiting:
                _log.warn(f"neighbour_not_stored reason={error}")
            waiting[key] = value
        else:
            waiting.pop(key, None)

    def _delete(self, name: str, key: bytes) -> None:
        self._waiting[name].pop(key, None)
        self._machine.maps[name].delete(key, missing_ok=True)


def _fdb_key(index: int, mac: int) -> bytes:
    return _FDB_KEY.pack(dp=index, mac_hi=mac >> 32, mac_lo=mac & 0xFFFFFFFF)


def neighbour_key(index: int, port: int, address: int) -> bytes:
    """Key of a neighbour of datapath ``index`` behind a port, by its key and the IP address."""
    words = tuple((address >> shift) & 0xFFFFFFFF for shift in (96, 64, 32, 0))
    return _KEY.pack(dp=index, port=port, ip=words)


def _preferred(learned: int, static: int, overrides: bool) -> int:
    """The address that counts where both are known (OVN controller/lflow.c)."""
    return static if static and (overrides or not learned) else learned


def _number(value: int | tuple[int, ...]) -> int:
    assert isinstance(value, int)
    return value


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _ignore(_index: int, _port: int, _address: int, _mac: int) -> None:
    """Nobody waits."""


def _ignore_gone(_index: int) -> None:
    """Nobody waits."""

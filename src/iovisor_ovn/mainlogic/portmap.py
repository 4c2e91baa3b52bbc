# SPDX-License-Identifier: Apache-2.0
"""Where ports and multicast groups lead to on this hypervisor: the port and device maps."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from iovisor_ovn.abi import STRUCTS, Limit, PortFlag, PortKind
from iovisor_ovn.compiler.image import Image
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.errors import DataplaneError
from iovisor_ovn.mainlogic.apply import Applier
from iovisor_ovn.mainlogic.southbound import PortBinding
from iovisor_ovn.mainlogic.world import World

__all__ = ["Interface", "PortMap"]

_PORT = STRUCTS["port"]
_PORT_KEY = STRUCTS["port_key"]
_DEVICE = STRUCTS["device"]
_DEVICE_KEY = STRUCTS["device_key"]
#: By type of port. ``wire`` and ``host`` are the two ports of a device that the host keeps using;
#: OVN has no such types.
_FLAGS = {"localport": PortFlag.LOCALPORT, "wire": PortFlag.WIRE, "host": PortFlag.HOST}
_DELIVERABLE = (PortKind.VIF, PortKind.PATCH, PortKind.NESTED)

Where = tuple[UUID, str]  # datapath; port name, or group name behind a NUL (names may collide)
Entry = tuple[str, bytes]  # map, key


class Interface(Protocol):
    """What is needed of a local interface."""

    @property
    def ifindex(self) -> int:
        """Device whose ingress is hooked and to which packets are sent."""

    @property
    def peer_elsewhere(self) -> bool:
        """The device is a veth whose other end is in another network namespace."""

    @property
    def module(self) -> str:
        """Path of the user's module before the port, empty for none."""

    @property
    def module_settings(self) -> str:
        """Its settings as text."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What the maps hold for a port: where it leads, the device that leads to it.

    ``entries`` maps (map, key) to value, ``lists`` are the lists that the values name.
    """

    entries: dict[Entry, bytes]
    lists: tuple[int, ...]


class PortMap:
    """Records of the ports and groups of local datapaths, by what changed."""

    def __init__(
        self, machine: Machine, world: World, image: Image, sets: SetTable, applier: Applier,
        module_record: Callable[[str], int] = lambda _port: 0,
    ) -> None:  # fmt: skip
        """Write into ``machine``; lists of numbers come from ``image``.

        ``module_record``: 1 + the number of the user's module before a logical port, or 0.
        """
        self._module_record = module_record
        self._machine = machine
        self._world = world
        self._image = image
        self._sets = sets
        self._applier = applier
        self.interfaces: Mapping[str, Interface] = {}
        self.zones: Mapping[str, int] = {}
        self._records: dict[Where, _Record] = {}
        # Who wants an entry, and as what; the last of them is in the map.
        self._claims: dict[Entry, dict[Where, bytes]] = {}
        self._stale: list[tuple[Where, _Record]] = []
        self._dirty_ports: set[str] = set()
        self._dirty_groups: set[UUID] = set()
        self._gone: set[Where] = set()

    # -- what changed --------------------------------------------------------------------

    def note_local(self, interfaces: Mapping[str, Interface], zones: Mapping[str, int]) -> set[str]:
        """Take in interfaces (by logical port) and zones; returns whose interface changed."""
        changed = _differences(interfaces, self.interfaces)
        self._dirty_ports |= changed
        for name in changed:
            self._dirty_ports.update(port.name for port in self._world.children_of(name))
        self._dirty_ports |= _differences(zones, self.zones)
        self.zones = dict(zones)
        self.interfaces = dict(interfaces)
        return changed

    def ports_changed(self, names: Iterable[str]) -> None:
        """Work these ports out again."""
        self._dirty_ports.update(names)

    def groups_changed(self, rows: Iterable[UUID]) -> None:
        """Work these multicast groups out again."""
        self._dirty_groups.update(rows)

    def port_is_gone(self, datapath: UUID, name: str) -> None:
        """A port is no more, or has another key or datapath now."""
        self._gone.add((datapath, name))

    def group_is_gone(self, datapath: UUID, name: str) -> None:
        """A multicast group is no more, or has another key now."""
        self._gone.add((datapath, _group(name)))

    def datapath_is_local(self, datapath: UUID) -> None:
        """Add everything of a datapath, and what leads to it."""
        names = self._world.ports_of.get(datapath, {})
        self._dirty_ports.update(names)
        self._dirty_groups.update(
            group.uuid for group in self._world.groups_of.get(datapath, {}).values()
        )
        self._peers_changed(datapath)

    def datapath_is_gone(self, datapath: UUID) -> None:
        """Take out everything of a datapath."""
        self._gone.update(where for where in self._records if where[0] == datapath)
        self._peers_changed(datapath)

    def _peers_changed(self, datapath: UUID) -> None:
        for name in self._world.ports_of.get(datapath, {}):
            self._dirty_ports.update(port.name for port in self._world.pointing_at(name))

    def devices(self) -> dict[int, bool]:
        """Devices to hook by ifindex, and whether the host keeps using them."""
        found = {interface.ifindex: False for interface in self.interfaces.values()}
        for name, interface in self.interfaces.items():
            port = self._world.ports.get(name)
            found[interface.ifindex] |= port is not None and port.type == "host"
        return found

    def use(self) -> dict[str, int]:
        """Entries in use by map."""
        names = Counter(name for name, _key in self._claims)
        return {"ports": names["ports"], "devices": names["devices"]}

    # -- records -------------------------------------------------------------------------

    def compile(self) -> None:
        """Bring the maps up to date.

        Raises DataplaneError, as where a map is full; the next call does what is left.
        """
        for name in self._dirty_ports:
            port = self._world.ports.get(name)
            if port is not None:
                self._dirty_groups |= self._world.groups_holding(port.uuid)
        wanted: dict[Where, _Record] = {}
        try:
            self._add_records(wanted)
            self._applier.write_lists()
            gone = (self._gone - wanted.keys()) & self._records.keys()
            self._stale += [(where, self._records.pop(where)) for where in gone]
            kept = {entry for record in wanted.values() for entry in record.entries}
            # First what needs no room, and what nobody wants away, to make room; what changes
            # hands is never away.
            for where in [where for where, record in wanted.items() if not self._adds(record)]:
                self._put(where, wanted.pop(where))
            self._withdraw_stale(kept)
            while wanted:
                self._put(*wanted.popitem())
        except DataplaneError:
            self._release(wanted.values())
            raise
        self._withdraw_stale(frozenset())
        self._release(record for _where, record in self._stale)
        self._stale.clear()
        self._dirty_ports, self._dirty_groups, self._gone = set(), set(), set()

    def _add_records(self, wanted: dict[Where, _Record]) -> None:
        for name in self._dirty_ports:
            port = self._world.ports.get(name)
            if port is not None and port.datapath in self._world.local:
                wanted[port.datapath, name] = self._port_record(port)
        for uuid in self._dirty_groups:
            group = self._world.groups.get(uuid)
            if group is not None and group.datapath in self._world.local:
                wanted[group.datapath, _group(group.name)] = self._group_record(uuid)

    def _adds(self, record: _Record) -> bool:
        return not record.entries.keys() <= self._claims.keys()

    def _put(self, where: Where, record: _Record) -> None:
        """Write what differs from the record before, whose entries stay until all are written."""
        old = self._records.get(where)
        if old is not None:
            self._stale.append((where, old))
        self._records[where] = record
        for entry, value in record.entries.items():
            claims = self._claims.get(entry, {})
            if list(claims.items())[-1:] != [(where, value)]:
                self._machine.maps[entry[0]].update(entry[1], value)
                claims.pop(where, None)
                claims[where] = value
                self._claims[entry] = claims

    def _withdraw_stale(self, wanted: Container[Entry]) -> None:
        for where, record in self._stale:
            for entry in record.entries:
                if entry not in wanted:
                    self._withdraw(where, entry)

    def _withdraw(self, where: Where, entry: Entry) -> None:
        """Give up an entry of an old record: another may want it, or have it by now."""
        record = self._records.get(where)
        claims = self._claims.get(entry, {})
        if (record is not None and entry in record.entries) or where not in claims:
            return
        was_last = next(reversed(claims)) == where
        del claims[where]
        table = self._machine.maps[entry[0]]
        if not claims:
            del self._claims[entry]
            table.delete(entry[1], missing_ok=True)
        elif was_last:
            table.update(entry[1], next(reversed(claims.values())))

    def _release(self, records: Iterable[_Record]) -> None:
        for record in records:
            for index in record.lists:
                self._image.release_list(index)

    def _port_record(self, port: PortBinding) -> _Record:
        index = self._world.local[port.datapath]
        groups = self._image.take_list(self._port_group_ids(port))
        kind, values = self._destination(port)
        zone = self.zones.get(port.name, 0)
        interface = self.interfaces.get(port.parent or port.name)
        flags = PortFlag(0)
        if interface is not None and interface.peer_elsewhere:
            flags |= PortFlag.PEER
        flags |= _FLAGS.get(port.type, PortFlag(0))
        key = _PORT_KEY.pack(dp=index, port=port.key)
        module = self._module_record(port.parent or port.name)
        value = _PORT.pack(
            kind=kind, flags=flags, zone=zone, groups=groups, module=module, **values
        )
        entries: dict[Entry, bytes] = {("ports", key): value}
        if interface is not None and kind in (PortKind.VIF, PortKind.NESTED):
            tag = Limit.HOST_TAG if PortFlag.HOST in flags else values.get("tag", 0)
            device = _DEVICE_KEY.pack(ifindex=interface.ifindex, tag=tag)
            entries["devices", device] = _DEVICE.pack(
                dp=index, port=port.key, zone=zone, flags=flags, module=module
            )
        return _Record(entries, (groups,) if groups else ())

    def _destination(self, port: PortBinding) -> tuple[PortKind, dict[str, int]]:
        peer = self._world.peer_of(port)
        if peer is not None and peer.datapath in self._world.local:
            return PortKind.PATCH, {
                "peer_dp": self._world.local[peer.datapath],
                "peer_port": peer.key,
            }
        interface = self.interfaces.get(port.parent or port.name)
        if interface is not None and port.parent:
            # A tag of 0 would stand for the parent itself: northd has not given it one yet.
            if not port.tag:
                return PortKind.NONE, {}
            return PortKind.NESTED, {"ifindex": interface.ifindex, "tag": port.tag}
        if interface is not None:
            return PortKind.VIF, {"ifindex": interface.ifindex}
        if port.chassis and port.chassis != self._world.chassis:
            return PortKind.REMOTE, {}
        return PortKind.NONE, {}

    def _port_group_ids(self, port: PortBinding) -> tuple[int, ...]:
        prefix = f"{self._world.datapaths[port.datapath].key}_"
        names = self._world.groups_with.get(port.name, ())
        return tuple(
            sorted(self._sets.set_id(f"@{name}") for name in names if name.startswith(prefix))
        )

    def _group_record(self, uuid: UUID) -> _Record:
        group = self._world.groups[uuid]
        # The host last: what comes from its wire then goes to it as it is, and not as a copy.
        places = sorted(
            (port.type == "host", port.key)
            for row in group.ports
            if (port := self._world.port_rows.get(row)) is not None
            and self._destination(port)[0] in _DELIVERABLE
        )
        members = self._image.take_list(tuple(key for _is_host, key in places))
        key = _PORT_KEY.pack(dp=self._world.local[group.datapath], port=group.key)
        value = _PORT.pack(kind=PortKind.MULTICAST, list=members)
        return _Record({("ports", key): value}, (members,) if members else ())


def _differences(new: Mapping[str, object], old: Mapping[str, object]) -> set[str]:
    return {name for name in new.keys() | old.keys() if new.get(name) != old.get(name)}


def _group(name: str) -> str:
    return f"\0{name}"

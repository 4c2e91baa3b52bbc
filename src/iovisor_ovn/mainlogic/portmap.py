# SPDX-License-Identifier: Apache-2.0
"""Where ports and multicast groups lead to on this hypervisor: the port and device maps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from iovisor_ovn.abi import STRUCTS, PortFlag, PortKind
from iovisor_ovn.compiler.image import Image
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.mainlogic.apply import Applier
from iovisor_ovn.mainlogic.southbound import PortBinding
from iovisor_ovn.mainlogic.world import World

__all__ = ["Interface", "PortMap"]

_PORT = STRUCTS["port"]
_PORT_KEY = STRUCTS["port_key"]
_DEVICE = STRUCTS["device"]
_DEVICE_KEY = STRUCTS["device_key"]
_DELIVERABLE = (PortKind.VIF, PortKind.PATCH, PortKind.NESTED)

Where = tuple[UUID, str]  # datapath; port name, or group name behind a NUL (names may collide)


class Interface(Protocol):
    """What is needed of a local interface."""

    @property
    def ifindex(self) -> int:
        """Device whose ingress is hooked and to which packets are sent."""

    @property
    def peer_elsewhere(self) -> bool:
        """The device is a veth whose other end is in another network namespace."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What the maps hold for a port: where it leads, the device that leads to it."""

    key: bytes
    value: bytes
    lists: tuple[int, ...]
    device_key: bytes = b""
    device_value: bytes = b""


class PortMap:
    """Records of the ports and groups of local datapaths, by what changed."""

    def __init__(
        self, machine: Machine, world: World, image: Image, sets: SetTable, applier: Applier
    ) -> None:
        """Write into ``machine``; lists of numbers come from ``image``."""
        self._machine = machine
        self._world = world
        self._image = image
        self._sets = sets
        self._applier = applier
        self.interfaces: Mapping[str, Interface] = {}
        self.zones: Mapping[str, int] = {}
        self._records: dict[Where, _Record] = {}
        self._device_users: dict[bytes, Where] = {}
        self._dirty_ports: set[str] = set()
        self._dirty_groups: set[UUID] = set()
        self._gone: set[Where] = set()

    # -- what changed --------------------------------------------------------------------

    def note_local(self, interfaces: Mapping[str, Interface], zones: Mapping[str, int]) -> bool:
        """Take in interfaces (by logical port) and zones; tells whether interfaces changed."""
        changed = {
            name
            for name in interfaces.keys() | self.interfaces.keys()
            if interfaces.get(name) != self.interfaces.get(name)
        }
        self._dirty_ports |= changed
        for port in self._world.ports.values() if changed else ():
            if port.parent in changed:
                self._dirty_ports.add(port.name)
        if zones != self.zones:
            self._dirty_ports.update(
                name
                for name in zones.keys() | self.zones.keys()
                if zones.get(name) != self.zones.get(name)
            )
            self.zones = dict(zones)
        self.interfaces = dict(interfaces)
        return bool(changed)

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
        for port in names.values():
            peer = self._world.peer_of(port)
            if peer is not None:
                self._dirty_ports.add(peer.name)

    def datapath_is_gone(self, datapath: UUID) -> None:
        """Take out everything of a datapath."""
        self._gone.update(where for where in self._records if where[0] == datapath)

    # -- records -------------------------------------------------------------------------

    def compile(self) -> None:
        """Bring the maps up to date."""
        dirty, self._dirty_ports = self._dirty_ports, set()
        wanted: dict[Where, _Record] = {}
        for name in dirty:
            port = self._world.ports.get(name)
            if port is None:
                continue
            if port.datapath in self._world.local:
                wanted[port.datapath, name] = self._port_record(port)
            self._dirty_groups.update(self._groups_with(port))
        groups, self._dirty_groups = self._dirty_groups, set()
        for uuid in groups:
            group = self._world.groups.get(uuid)
            if group is not None and group.datapath in self._world.local:
                wanted[group.datapath, _group(group.name)] = self._group_record(uuid)
        self._applier.write_lists()
        gone, self._gone = self._gone - wanted.keys(), set()
        stale = [index for where in gone for index in self._drop(where)]
        for where, record in wanted.items():
            stale += self._put(where, record)
        for index in stale:
            self._image.release_list(index)

    def _put(self, where: Where, record: _Record) -> tuple[int, ...]:
        """Write a record; returns the lists that the one before it used."""
        ports, devices = self._machine.maps["ports"], self._machine.maps["devices"]
        old = self._records.get(where)
        if old is None or (old.key, old.value) != (record.key, record.value):
            ports.update(record.key, record.value)
        if record.device_key:
            devices.update(record.device_key, record.device_value)
            self._device_users[record.device_key] = where
        self._records[where] = record
        if old is None:
            return ()
        if old.key != record.key:
            ports.delete(old.key, missing_ok=True)
        if old.device_key != record.device_key:
            self._drop_device(where, old)
        return old.lists

    def _drop(self, where: Where) -> tuple[int, ...]:
        old = self._records.pop(where, None)
        if old is None:
            return ()
        self._machine.maps["ports"].delete(old.key, missing_ok=True)
        self._drop_device(where, old)
        return old.lists

    def _drop_device(self, where: Where, old: _Record) -> None:
        """Forget the device of a port, unless another port has it by now."""
        if old.device_key and self._device_users.get(old.device_key) == where:
            del self._device_users[old.device_key]
            self._machine.maps["devices"].delete(old.device_key, missing_ok=True)

    def _groups_with(self, port: PortBinding) -> list[UUID]:
        groups = self._world.groups_of.get(port.datapath, {}).values()
        return [group.uuid for group in groups if port.uuid in group.ports]

    def _port_record(self, port: PortBinding) -> _Record:
        index = self._world.local[port.datapath]
        groups = self._image.take_list(self._port_group_ids(port))
        kind, values = self._destination(port)
        zone = self.zones.get(port.name, 0)
        interface = self.interfaces.get(port.parent or port.name)
        flags = PortFlag(0)
        if interface is not None and interface.peer_elsewhere:
            flags |= PortFlag.PEER
        if port.type == "localport":
            flags |= PortFlag.LOCALPORT
        record = _Record(
            key=_PORT_KEY.pack(dp=index, port=port.key),
            value=_PORT.pack(kind=kind, flags=flags, zone=zone, groups=groups, **values),
            lists=(groups,) if groups else (),
        )
        if interface is None or kind not in (PortKind.VIF, PortKind.NESTED):
            return record
        return _Record(
            key=record.key,
            value=record.value,
            lists=record.lists,
            device_key=_DEVICE_KEY.pack(ifindex=interface.ifindex, tag=values.get("tag", 0)),
            device_value=_DEVICE.pack(dp=index, port=port.key, zone=zone, flags=flags),
        )

    def _destination(self, port: PortBinding) -> tuple[PortKind, dict[str, int]]:
        peer = self._world.peer_of(port)
        if peer is not None and peer.datapath in self._world.local:
            return PortKind.PATCH, {
                "peer_dp": self._world.local[peer.datapath],
                "peer_port": peer.key,
            }
        interface = self.interfaces.get(port.parent or port.name)
        if interface is not None and port.parent:
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
        keys = sorted(
            port.key
            for row in group.ports
            if (port := self._world.port_rows.get(row)) is not None
            and self._destination(port)[0] in _DELIVERABLE
        )
        members = self._image.take_list(tuple(keys))
        return _Record(
            key=_PORT_KEY.pack(dp=self._world.local[group.datapath], port=group.key),
            value=_PORT.pack(kind=PortKind.MULTICAST, list=members),
            lists=(members,) if members else (),
        )


def _group(name: str) -> str:
    return f"\0{name}"

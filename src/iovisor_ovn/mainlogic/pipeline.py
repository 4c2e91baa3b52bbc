# SPDX-License-Identifier: Apache-2.0
"""From Southbound rows to a running machine, and only what changed.

One pass (:meth:`Pipeline.update`):

1. rows that changed update the world and mark flows, ports and lists as dirty;
2. the set of local datapaths is worked out again if ports changed;
3. dirty flows are compiled into the image, dirty ports into port records;
4. what differs goes to the maps: first what nothing reads yet, then each datapath's new
   stages at once, then what nothing reads any more is deleted;
5. devices of new ports are hooked, those of old ones let go.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import ovs.vlog

from iovisor_ovn.abi import STRUCTS, DpFlag, Limit, Op, PortFlag, PortKind, Program, Temp
from iovisor_ovn.compiler.image import Capacity, Delta, Image, Insn
from iovisor_ovn.compiler.patterns import compile_conjunction
from iovisor_ovn.compiler.sets import Member, SetTable, parse_member, space_width
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.errors import DeviceError
from iovisor_ovn.language import SymbolTable, normalize, parse_match
from iovisor_ovn.mainlogic import port_security
from iovisor_ovn.mainlogic.lflows import Dependency, FlowTable
from iovisor_ovn.mainlogic.neighbours import NeighbourTable
from iovisor_ovn.mainlogic.southbound import (
    PortBinding,
    Row,
    read_datapath,
    read_flow,
    read_group,
    read_neighbour,
    read_port_binding,
    read_port_group,
)
from iovisor_ovn.mainlogic.world import World

__all__ = ["Change", "Interface", "Pipeline"]

_log = ovs.vlog.Vlog("pipeline")
_PORT = STRUCTS["port"]
_PORT_KEY = STRUCTS["port_key"]
_DEVICE = STRUCTS["device"]
_DEVICE_KEY = STRUCTS["device_key"]
_MEMBER_KEY = STRUCTS["member_key"]
_PREFIX_KEY = STRUCTS["prefix_key"]


class Change(Protocol):
    """A Southbound row that came, changed or went (``kind``: insert, update, delete)."""

    @property
    def table(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def row(self) -> Row: ...


class Interface(Protocol):
    """What is needed of a local interface."""

    @property
    def ifindex(self) -> int: ...
    @property
    def peer_elsewhere(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Port:
    """What the maps hold for a port: its record, the device that leads to it."""

    key: bytes
    value: bytes
    device_key: bytes | None
    device_value: bytes
    lists: tuple[int, ...]


class Pipeline:
    """The machine's contents for one integration bridge."""

    def __init__(self, machine: Machine) -> None:
        """Fill ``machine``, which is empty but for what an earlier agent left to adopt."""
        self.machine = machine
        sizes = machine.sizes
        self.image = Image(
            Capacity(sizes.slots, sizes.insns, sizes.shapes, sizes.guards, sizes.lists)
        )
        self.sets = SetTable()
        self.world = World(max_datapaths=sizes.datapaths)
        self.address_sets: dict[str, UUID] = {}
        self.flows = FlowTable(self.world, self.image, self.sets, self.address_sets)
        self.neighbours = NeighbourTable(machine, self.world)
        self._interfaces: Mapping[str, Interface] = {}
        self._zones: Mapping[str, int] = {}
        self._set_names: dict[UUID, str] = {}
        self._ports: dict[tuple[UUID, str], _Port] = {}
        self._port_gone: set[tuple[UUID, str]] = set()
        self._dirty_ports: set[str] = set()
        self._dirty_groups: set[UUID] = set()
        self._dirty_security: set[str] = set()
        self._ports_changed = False
        self._hooked: frozenset[int] = frozenset()
        self._members: dict[Member, int] = {}
        self._dimensions: dict[int, tuple[int, bool]] = {}
        self._readers: dict[str, Callable[[Change], None]] = {
            "Datapath_Binding": self._datapath_changed,
            "Port_Binding": self._port_changed,
            "Logical_Flow": self._flow_changed,
            "Logical_DP_Group": self._dp_group_changed,
            "Multicast_Group": self._group_changed,
            "Address_Set": self._address_set_changed,
            "Port_Group": self._port_group_changed,
            "MAC_Binding": self._neighbour_changed,
            "Static_MAC_Binding": self._neighbour_changed,
            "FDB": self._fdb_changed,
            "Chassis_Template_Var": self._template_changed,
            "SB_Global": self._global_changed,
        }

    # -- one pass ------------------------------------------------------------------------

    def update(
        self, changes: Sequence[Change], interfaces: Mapping[str, Interface],
        zones: Mapping[str, int], chassis: str,
    ) -> None:  # fmt: skip
        """Bring the maps to what the rows, interfaces (by logical port) and zones say.

        Returns when they are live. Raises :class:`MapFullError` when something does not fit:
        the pipelines that ran before go on.
        """
        if chassis != self.world.chassis:
            self.world.chassis = chassis
            self._dirty_ports.update(self.world.ports)
        for change in changes:
            reader = self._readers.get(change.table)
            if reader is not None:
                reader(change)
        self._note_local(interfaces, zones)
        if self._ports_changed:
            self._relocate()
        count = self.flows.compile()
        self._compile_security()
        self._compile_ports()
        if self._apply() or count:
            _log.dbg(f"image_applied units={count} entries={self.image.entry_count}")
        self._hook_devices()

    def recompute(self) -> None:
        """Compile everything again at the next update."""
        self.flows.recompile()
        self._dirty_ports.update(self.world.ports)
        self._dirty_security.update(self.world.ports)
        self._dirty_groups.update(self.world.groups)

    def close(self, *, keep: bool) -> None:
        """Let go of the machine; without ``keep`` take it off all devices first."""
        if not keep:
            for ifindex in self.machine.attached():
                self.machine.detach(ifindex)
        self.machine.close()

    # -- changes of rows -----------------------------------------------------------------

    def _datapath_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        self._ports_changed = True
        old = self.world.datapaths.get(uuid)
        if change.kind == "delete":
            self._leave_datapath(uuid)
            self.world.datapaths.pop(uuid, None)
            return
        new = read_datapath(change.row)
        if old is not None and old != new:
            self._leave_datapath(uuid)
        self.world.datapaths[uuid] = new

    def _port_changed(self, change: Change) -> None:
        self._ports_changed = True
        binding = None if change.kind == "delete" else read_port_binding(change.row)
        uuid = change.row.uuid
        old = self.world.port_rows.get(uuid)
        if binding == old:
            return
        if old is not None and (binding is None or _place(binding) != _place(old)):
            self._forget_port(old)
        if binding is not None:
            self.world.put_port(binding)
        else:
            self.world.drop_port(uuid)
        names = {item.name for item in (old, binding) if item is not None}
        asked: set[Dependency] = set()
        for item in (old, binding):
            if item is None:
                continue
            if old is None or binding is None or _place(old) != _place(binding):
                asked.add(("port", item.datapath, item.name))
            if old is None or binding is None or old.chassis != binding.chassis:
                asked.add(("resident", None, item.name))
            peer = self.world.peer_of(item)
            if peer is not None:
                names.add(peer.name)
        self.flows.changed(*asked)
        self._dirty_ports.update(names)
        if (old.port_security if old else ()) != (binding.port_security if binding else ()):
            self._dirty_security.update(names)
        for group in self.world.groups.values():
            if uuid in group.ports:
                self._dirty_groups.add(group.uuid)

    def _forget_port(self, old: PortBinding) -> None:
        self._port_gone.add((old.datapath, old.name))
        self._dirty_security.add(old.name)

    def _flow_changed(self, change: Change) -> None:
        if change.kind == "delete":
            self.flows.drop(change.row.uuid)
        else:
            self.flows.put(read_flow(change.row))

    def _dp_group_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        if change.kind == "delete":
            self.flows.drop_group(uuid)
            return
        datapaths = getattr(change.row, "datapaths", [])
        self.flows.put_group(uuid, [row.uuid for row in datapaths if row is not None])

    def _group_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        group = None if change.kind == "delete" else read_group(change.row)
        old = self.world.groups.get(uuid)
        if group is not None:
            self.world.put_group(group)
        else:
            self.world.drop_group(uuid)
        for item in (old, group):
            if item is not None and (
                old is None or group is None or (old.name, old.key) != (group.name, group.key)
            ):
                self.flows.changed(("port", item.datapath, item.name))
        if old is not None and (group is None or old.key != group.key):
            self._port_gone.add((old.datapath, _group_name(old.name)))
        self._dirty_groups.add(uuid)

    def _address_set_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        old = self._set_names.pop(uuid, None)
        if change.kind == "delete":
            if old is not None:
                self._drop_address_set(old, uuid)
            return
        name = str(getattr(change.row, "name", ""))
        if old is not None and old != name:
            self._drop_address_set(old, uuid)
        self._set_names[uuid] = name
        members = []
        for text in getattr(change.row, "addresses", []):
            member = parse_member(text)
            if member is None:
                _log.warn(f"address_set_member_ignored set={name} member={text}")
            else:
                members.append(member)
        self.sets.define(f"${name}", members)
        if self.address_sets.get(name) != uuid:
            self.address_sets[name] = uuid
            self.flows.changed(("set", None, name))

    def _drop_address_set(self, name: str, uuid: UUID) -> None:
        if self.address_sets.get(name) == uuid:
            del self.address_sets[name]
            self.sets.define(f"${name}", ())
            self.flows.changed(("set", None, name))

    def _port_group_changed(self, change: Change) -> None:
        group = read_port_group(change.row)
        known = group.name in self.world.port_groups
        if change.kind == "delete":
            self._dirty_ports |= self.world.drop_port_group(group.name)
        else:
            self._dirty_ports |= self.world.put_port_group(group.name, group.ports)
        if known != (group.name in self.world.port_groups):
            self.flows.changed(("group", None, group.name))

    def _neighbour_changed(self, change: Change) -> None:
        if change.kind == "delete":
            self.neighbours.drop(change.row.uuid)
            return
        neighbour = read_neighbour(change.row)
        if neighbour is not None:
            self.neighbours.put(neighbour)

    def _fdb_changed(self, change: Change) -> None:
        if change.kind == "delete":
            self.neighbours.drop_fdb(change.row.uuid)
            return
        row = change.row
        self.neighbours.put_fdb(
            row.uuid,
            int(str(getattr(row, "dp_key", 0))),
            str(getattr(row, "mac", "")),
            int(str(getattr(row, "port_key", 0))),
        )

    def _template_changed(self, change: Change) -> None:
        chassis = next(iter(_as_list(getattr(change.row, "chassis", []))), None)
        if getattr(chassis, "name", "") != self.world.chassis:
            return
        variables = getattr(change.row, "variables", {})
        wanted = dict(variables) if change.kind != "delete" else {}
        if wanted != self.flows.templates:
            self.flows.templates = wanted
            self.flows.recompile()

    def _global_changed(self, change: Change) -> None:
        options = getattr(change.row, "options", {})
        version = options.get("northd_internal_version", "") if isinstance(options, dict) else ""
        release = ".".join(version.split(".")[:2]) or "main"
        symbols = SymbolTable.default(release if release[0].isdigit() else "main")
        if symbols.release != self.flows.symbols.release:
            self.flows.symbols = symbols
            self.flows.recompile()

    # -- local datapaths -----------------------------------------------------------------

    def _note_local(self, interfaces: Mapping[str, Interface], zones: Mapping[str, int]) -> None:
        changed = {
            name
            for name in interfaces.keys() | self._interfaces.keys()
            if interfaces.get(name) != self._interfaces.get(name)
        }
        if changed:
            self._ports_changed = True
            self._dirty_ports |= changed
            for name in changed:
                self._dirty_ports |= self._nested_in(name)
        if zones != self._zones:
            moved = {n for n in zones.keys() | self._zones.keys()
                     if zones.get(n) != self._zones.get(n)}  # fmt: skip
            self._dirty_ports |= moved
            self._zones = dict(zones)
            for uuid in self.world.local:
                self._put_datapath(uuid)
        self._interfaces = dict(interfaces)

    def _nested_in(self, parent: str) -> set[str]:
        return {port.name for port in self.world.ports.values() if port.parent == parent}

    def _relocate(self) -> None:
        self._ports_changed = False
        bound = [
            name
            for name, port in self.world.ports.items()
            if name in self._interfaces or port.parent in self._interfaces
        ]
        new, gone = self.world.relocate(bound)
        for uuid, index in gone.items():
            self._clear_datapath(uuid, index)
        for uuid in new:
            self._put_datapath(uuid)
            self._add_security_defaults(uuid)
            self.flows.datapath_is_local(uuid)
            names = self.world.ports_of.get(uuid, {})
            self._dirty_ports.update(names)
            self._dirty_security.update(names)
            self._dirty_groups.update(g.uuid for g in self.world.groups_of.get(uuid, {}).values())
            for port in names.values():
                peer = self.world.peer_of(port)
                if peer is not None:
                    self._dirty_ports.add(peer.name)
            self.neighbours.datapath_is_local(uuid)

    def _leave_datapath(self, uuid: UUID) -> None:
        index = self.world.local.pop(uuid, None)
        if index is not None:
            self._clear_datapath(uuid, index)

    def _clear_datapath(self, uuid: UUID, index: int) -> None:
        self.flows.datapath_is_gone(uuid)
        self.image.remove_flow(("security", uuid))
        for name in self.world.ports_of.get(uuid, {}):
            self.image.remove_flow(("security", uuid, name))
        self._port_gone.update(where for where in self._ports if where[0] == uuid)
        self.neighbours.datapath_is_gone(uuid, index)
        self.world.release(index)

    def _put_datapath(self, uuid: UUID) -> None:
        datapath = self.world.datapaths[uuid]
        self.machine.put_datapath(
            self.world.local[uuid], key=datapath.key,
            flags=DpFlag.ROUTER if datapath.is_router else 0,
            dnat_zone=self._router_zone(uuid, "dnat"), snat_zone=self._router_zone(uuid, "snat"),
        )  # fmt: skip

    def _router_zone(self, uuid: UUID, kind: str) -> int:
        named = self._zones.get(f"{uuid}_{kind}")
        if named is None:
            named = self._zones.get(f"{self.world.datapaths[uuid].name}_{kind}", 0)
        return named

    # -- port security -------------------------------------------------------------------

    def _add_security_defaults(self, uuid: UUID) -> None:
        """Stages that a packet may visit must not be passed over: what no rule names is allowed."""
        index = self.world.local[uuid]
        for stage in (Limit.PORTSEC_IN, Limit.PORTSEC_IN_ND, Limit.PORTSEC_OUT):
            (everything,) = compile_conjunction((), _NoNames(), self.sets)
            self.image.add_flow(
                ("security", uuid), (index, stage), 0, (everything,), (Insn(Op.END),)
            )

    def _compile_security(self) -> None:
        dirty, self._dirty_security = self._dirty_security, set()
        for name in dirty:
            for uuid in self.world.datapaths:
                self.image.remove_flow(("security", uuid, name))
            port = self.world.ports.get(name)
            if port is None or port.datapath not in self.world.local:
                continue
            for rule in port_security.port_rules(name, port.port_security):
                self._add_rule(port, rule)

    def _add_rule(self, port: PortBinding, rule: port_security.Rule) -> None:
        tree = parse_match(rule.match, self.flows.symbols)
        names = _OnePort(port.name, port.key)
        patterns = [
            pattern
            for conjunction in normalize(tree, self.flows.symbols)
            for pattern in compile_conjunction(conjunction, names, self.sets)
        ]
        where = (self.world.local[port.datapath], _SECURITY_STAGES[rule.where])
        flow = ("security", port.datapath, port.name)
        self.image.add_flow(flow, where, rule.priority, patterns, _SECURITY_PROGRAMS[rule.outcome])

    # -- ports ---------------------------------------------------------------------------

    def _compile_ports(self) -> None:
        dirty, self._dirty_ports = self._dirty_ports, set()
        ports = self.machine.maps["ports"]
        devices = self.machine.maps["devices"]
        wanted: dict[tuple[UUID, str], _Port] = {}
        for name in dirty:
            port = self.world.ports.get(name)
            if port is None:
                continue
            where = (port.datapath, name)
            if port.datapath in self.world.local:
                wanted[where] = self._port_record(port)
            elif where in self._ports:
                self._port_gone.add(where)
            for group in self._groups_with(port):
                self._dirty_groups.add(group)
        groups, self._dirty_groups = self._dirty_groups, set()
        for uuid in groups:
            item = self.world.groups.get(uuid)
            if item is not None and item.datapath in self.world.local:
                wanted[item.datapath, _group_name(item.name)] = self._group_record(uuid)
        self._write_pending()
        gone, self._port_gone = self._port_gone - wanted.keys(), set()
        self._drop_records(gone)
        stale_lists: list[int] = []
        for where, record in wanted.items():
            old = self._ports.get(where)
            if old is not None:
                stale_lists.extend(old.lists)
                if old.key != record.key:
                    ports.delete(old.key, missing_ok=True)
                if old.device_key not in (None, record.device_key):
                    self._delete_device(old, record)
            if old is None or (old.key, old.value) != (record.key, record.value):
                ports.update(record.key, record.value)
            if record.device_key is not None and (
                old is None
                or (old.device_key, old.device_value) != (record.device_key, record.device_value)
            ):
                devices.update(record.device_key, record.device_value)
            self._ports[where] = record
        for index in stale_lists:
            self.image.release_list(index)

    def _delete_device(self, old: _Port, new: _Port | None) -> None:
        """A device may already lead to another port: then it stays."""
        users = [p for p in self._ports.values() if p.device_key == old.device_key]
        if len(users) <= 1 and old.device_key is not None:
            if new is None or new.device_key != old.device_key:
                self.machine.maps["devices"].delete(old.device_key, missing_ok=True)

    def _drop_records(self, gone: set[tuple[UUID, str]]) -> None:
        for where in gone:
            old = self._ports.get(where)
            if old is None:
                continue
            self.machine.maps["ports"].delete(old.key, missing_ok=True)
            self._delete_device(old, None)
            del self._ports[where]
            for index in old.lists:
                self.image.release_list(index)

    def _groups_with(self, port: PortBinding) -> list[UUID]:
        groups = self.world.groups_of.get(port.datapath, {}).values()
        return [group.uuid for group in groups if port.uuid in group.ports]

    def _port_record(self, port: PortBinding) -> _Port:
        index = self.world.local[port.datapath]
        groups = self.image.take_list(self._port_group_ids(port))
        kind, values = self._destination(port)
        zone = self._zones.get(port.name, 0)
        interface = self._interfaces.get(port.parent or port.name)
        flags = PortFlag(0)
        if interface is not None and interface.peer_elsewhere:
            flags |= PortFlag.PEER
        if port.type == "localport":
            flags |= PortFlag.LOCALPORT
        device_key = None
        if kind in (PortKind.VIF, PortKind.NESTED) and interface is not None:
            tag = port.tag if kind is PortKind.NESTED else 0
            device_key = _DEVICE_KEY.pack(ifindex=interface.ifindex, tag=tag)
        return _Port(
            key=_PORT_KEY.pack(dp=index, port=port.key),
            value=_PORT.pack(kind=kind, flags=flags, zone=zone, groups=groups, **values),
            device_key=device_key,
            device_value=_DEVICE.pack(dp=index, port=port.key, zone=zone, flags=flags),
            lists=(groups,) if groups else (),
        )

    def _destination(self, port: PortBinding) -> tuple[PortKind, dict[str, int]]:
        peer = self.world.peer_of(port)
        if peer is not None and peer.datapath in self.world.local:
            return PortKind.PATCH, {
                "peer_dp": self.world.local[peer.datapath],
                "peer_port": peer.key,
            }
        interface = self._interfaces.get(port.parent or port.name)
        if interface is not None and port.parent:
            return PortKind.NESTED, {"ifindex": interface.ifindex, "tag": port.tag}
        if interface is not None:
            return PortKind.VIF, {"ifindex": interface.ifindex}
        if port.chassis and port.chassis != self.world.chassis:
            return PortKind.REMOTE, {}
        return PortKind.NONE, {}

    def _port_group_ids(self, port: PortBinding) -> tuple[int, ...]:
        prefix = f"{self.world.datapaths[port.datapath].key}_"
        names = self.world.groups_with.get(port.name, ())
        return tuple(sorted(self.sets.set_id(f"@{n}") for n in names if n.startswith(prefix)))

    def _group_record(self, uuid: UUID) -> _Port:
        group = self.world.groups[uuid]
        keys = sorted(
            port.key
            for row in group.ports
            if (port := self.world.port_rows.get(row)) is not None
            and self._destination(port)[0] in (PortKind.VIF, PortKind.PATCH, PortKind.NESTED)
        )
        members = self.image.take_list(tuple(keys))
        return _Port(
            key=_PORT_KEY.pack(dp=self.world.local[group.datapath], port=group.key),
            value=_PORT.pack(kind=PortKind.MULTICAST, list=members),
            device_key=None,
            device_value=b"",
            lists=(members,) if members else (),
        )

    # -- to the maps ---------------------------------------------------------------------

    def _write_pending(self) -> None:
        """Lists that port records are about to name must be there first."""
        self._write_arrays(self.image.drain_lists())

    def _apply(self) -> bool:
        changes = self.sets.drain()
        stale = self._write_members(changes)
        self._write_dimensions()
        delta = self.image.drain()
        if delta:
            self._write_arrays(delta)
            for key_class, entries in enumerate(delta.entries):
                self.machine.put_entries(key_class, entries)
            self.machine.switch_rows(delta.rows)
            for key_class, keys in enumerate(delta.gone):
                self.machine.delete_entries(key_class, keys)
        for index in stale:
            self.image.release_list(index)
        return bool(delta)

    def _write_arrays(self, delta: Delta) -> None:
        for name in ("insns", "guards", "shapes", "lists", "slots"):
            for index, data in getattr(delta, name):
                self.machine.write_array(name, index, data)

    def _write_members(self, changes: Mapping[Member, tuple[int, ...]]) -> list[int]:
        """Resolve values to their new lists; returns the lists that they had."""
        stale = []
        lists = {member: self.image.take_list(ids) for member, ids in changes.items()}
        self._write_pending()
        fresh: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
        for member, index in lists.items():
            name, key = _member_key(member)
            old = self._members.pop(member, 0)
            if index:
                self._members[member] = index
                fresh[name == "prefixes"][key] = index.to_bytes(4, "little")
            elif old:
                self.machine.maps[name].delete(key, missing_ok=True)
            if old:
                stale.append(old)
        for name, items in zip(("members", "prefixes"), fresh, strict=True):
            if items:
                self.machine.maps[name].update_many(b"".join(items), b"".join(items.values()))
        return stale

    def _write_dimensions(self) -> None:
        for dimension in self.sets.dimensions:
            state = (dimension.space, self.sets.has_prefixes(dimension.space))
            if self._dimensions.get(dimension.index) != state:
                self._dimensions[dimension.index] = state
                self.machine.put_dimension(
                    dimension.index, dimension.space, prefixes=state[1],
                    pieces=tuple(
                        (piece.word, piece.at, (1 << piece.width) - 1)
                        for piece in dimension.pieces
                    ),
                )  # fmt: skip

    def _hook_devices(self) -> None:
        used = {interface.ifindex for interface in self._interfaces.values()}
        for ifindex in used - self._hooked:
            try:
                self.machine.attach(ifindex)
            except DeviceError as error:
                _log.warn(f"device_vanished ifindex={ifindex} reason={error}")
                used.discard(ifindex)
        for ifindex in (self._hooked or self.machine.attached()) - used:
            self.machine.detach(ifindex)
        self._hooked = frozenset(used)


@dataclass(frozen=True, slots=True)
class _OnePort:
    """Names for port security: the only one is the port's own."""

    name: str
    key: int

    def port_key(self, name: str) -> int | None:
        return self.key if name == self.name else None

    def port_group(self, name: str) -> int:
        raise KeyError(name)

    def address_set(self, name: str) -> str:
        raise KeyError(name)

    def is_resident(self, port: str) -> bool:
        raise KeyError(port)


class _NoNames(_OnePort):
    def __init__(self) -> None:
        super().__init__("", 0)


_SECURITY_STAGES = {
    port_security.Where.IN: Limit.PORTSEC_IN,
    port_security.Where.IN_ND: Limit.PORTSEC_IN_ND,
    port_security.Where.OUT: Limit.PORTSEC_OUT,
}


def _verdict(value: int) -> tuple[Insn, ...]:
    return (Insn(Op.LOAD, Temp.RESULT, x=0xFFFFFFFF, y=value), Insn(Op.END))


_SECURITY_PROGRAMS: dict[port_security.Outcome, Program | tuple[Insn, ...]] = {
    port_security.Outcome.ALLOWED: _verdict(0),
    port_security.Outcome.FORBIDDEN: _verdict(1),
    port_security.Outcome.CHECK_ND: (Insn(Op.NEXT, Limit.PORTSEC_IN_ND),),
}


def _place(port: PortBinding) -> tuple[UUID, str, int]:
    return (port.datapath, port.name, port.key)


def _group_name(name: str) -> str:
    """Multicast groups and ports share the port map; their names may collide."""
    return f"\0{name}"


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _member_key(member: Member) -> tuple[str, bytes]:
    """Map and key of a member of a set."""
    words = tuple((member.value >> shift) & 0xFFFFFFFF for shift in (96, 64, 32, 0))
    if member.is_host:
        return "members", _MEMBER_KEY.pack(space=member.space, value=words)
    unused = 128 - space_width(member.space)
    length = 32 + unused + member.length
    key = length.to_bytes(4, "little") + member.space.to_bytes(4, "big")
    return "prefixes", key + member.value.to_bytes(16, "big")

# SPDX-License-Identifier: Apache-2.0
"""From Southbound rows to a running machine, and only what changed.

One pass (:meth:`Pipeline.update`):

1. rows that changed update the world and mark flows, ports and lists as dirty;
2. which datapaths are local is worked out again if ports changed;
3. dirty flows are compiled into the image, dirty ports into records;
4. what differs goes to the maps (:mod:`.apply`);
5. devices of new ports are hooked, those of old ones let go.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import ovs.vlog

from iovisor_ovn.abi import DpFlag
from iovisor_ovn.compiler.image import Capacity, Image
from iovisor_ovn.compiler.sets import SetTable, parse_member
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.errors import DeviceError
from iovisor_ovn.language import SymbolTable
from iovisor_ovn.mainlogic.apply import Applier
from iovisor_ovn.mainlogic.lflows import Dependency, FlowTable
from iovisor_ovn.mainlogic.neighbours import NeighbourTable
from iovisor_ovn.mainlogic.portmap import Interface, PortMap
from iovisor_ovn.mainlogic.security_flows import SecurityFlows
from iovisor_ovn.mainlogic.southbound import (
    PortBinding,
    Row,
    read_datapath,
    read_flow,
    read_group,
    read_neighbour,
    read_port_binding,
    read_port_group,
    read_references,
)
from iovisor_ovn.mainlogic.world import World

__all__ = ["Change", "Pipeline"]

_log = ovs.vlog.Vlog("pipeline")


class Change(Protocol):
    """A Southbound row that came, changed or went."""

    @property
    def table(self) -> str:
        """Name of its table."""

    @property
    def kind(self) -> str:
        """``insert``, ``update`` or ``delete``."""

    @property
    def row(self) -> Row:
        """The row; of one that went, as it was."""


class Pipeline:
    """The machine's contents for one integration bridge."""

    def __init__(self, machine: Machine) -> None:
        """Fill ``machine``, which is empty but for the connections of an earlier agent."""
        self.machine = machine
        sizes = machine.sizes
        self.image = Image(
            Capacity(sizes.slots, sizes.insns, sizes.shapes, sizes.guards, sizes.lists)
        )
        self.sets = SetTable()
        self.world = World(max_datapaths=sizes.datapaths)
        self._applier = Applier(machine, self.image, self.sets)
        self._address_sets: dict[str, UUID] = {}
        self._set_names: dict[UUID, str] = {}
        self.flows = FlowTable(self.world, self.image, self.sets, self._address_sets)
        self.ports = PortMap(machine, self.world, self.image, self.sets, self._applier)
        self.neighbours = NeighbourTable(machine, self.world)
        self._security = SecurityFlows(self.world, self.image, self.sets)
        self._topology_changed = False
        self._hooked: frozenset[int] | None = None
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
        self,
        changes: Sequence[Change],
        interfaces: Mapping[str, Interface],
        zones: Mapping[str, int],
        chassis: str,
    ) -> None:
        """Bring the maps to what the rows, interfaces (by logical port) and zones say.

        Returns when they are live. Raises :class:`MapFullError` when something does not fit:
        the pipelines that ran before go on.
        """
        if chassis != self.world.chassis:
            self.world.chassis = chassis
            self.ports.ports_changed(self.world.ports)
        for change in changes:
            reader = self._readers.get(change.table)
            if reader is not None:
                reader(change)
        zones_changed = zones != self.ports.zones
        self._topology_changed |= self.ports.note_local(interfaces, zones)
        if self._topology_changed:
            self._relocate()
        if zones_changed:
            for uuid in self.world.local:
                self._put_datapath(uuid)
        count = self.flows.compile()
        self._security.compile()
        self.ports.compile()
        if self._applier.apply():
            _log.dbg(f"image_applied units={count} entries={self.image.entry_count}")
        self._hook_devices()

    def recompute(self) -> None:
        """Compile everything again at the next update."""
        self.flows.recompile()
        self.ports.ports_changed(self.world.ports)
        self.ports.groups_changed(self.world.groups)
        self._security.changed(self.world.ports)

    def close(self, *, keep: bool) -> None:
        """Let go of the machine; without ``keep`` take it off all devices first."""
        if not keep:
            for ifindex in self.machine.attached():
                self.machine.detach(ifindex)
        self.machine.close()

    # -- changes of rows -----------------------------------------------------------------

    def _datapath_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        self._topology_changed = True
        old = self.world.datapaths.get(uuid)
        new = None if change.kind == "delete" else read_datapath(change.row)
        if old is not None and old != new:
            index = self.world.local.pop(uuid, None)
            if index is not None:
                self._clear_datapath(uuid, index)
        if new is not None:
            self.world.datapaths[uuid] = new
        else:
            self.world.datapaths.pop(uuid, None)

    def _port_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        old = self.world.port_rows.get(uuid)
        new = None if change.kind == "delete" else read_port_binding(change.row)
        if new == old:
            return
        self._topology_changed = True
        if new is not None:
            self.world.put_port(new)
        else:
            self.world.drop_port(uuid)
        moved = old is None or new is None or _place(old) != _place(new)
        if old is not None and moved:
            self.ports.port_is_gone(old.datapath, old.name)
        asked: set[Dependency] = set()
        names: set[str] = set()
        for port in (old, new):
            if port is None:
                continue
            names.add(port.name)
            peer = self.world.peer_of(port)
            if peer is not None:
                names.add(peer.name)
            if moved:
                asked.add(("port", port.datapath, port.name))
            if old is None or new is None or old.chassis != new.chassis:
                asked.add(("resident", None, port.name))
        self.flows.changed(*asked)
        self.ports.ports_changed(names)
        if moved or (old and new and old.port_security != new.port_security):
            self._security.changed(names)

    def _flow_changed(self, change: Change) -> None:
        if change.kind == "delete":
            self.flows.drop(change.row.uuid)
        else:
            self.flows.put(read_flow(change.row))

    def _dp_group_changed(self, change: Change) -> None:
        if change.kind == "delete":
            self.flows.drop_group(change.row.uuid)
            return
        self.flows.put_group(change.row.uuid, read_references(change.row, "datapaths"))

    def _group_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        old = self.world.groups.get(uuid)
        new = None if change.kind == "delete" else read_group(change.row)
        if new is not None:
            self.world.put_group(new)
        else:
            self.world.drop_group(uuid)
        if old is None or new is None or (old.name, old.key) != (new.name, new.key):
            for group in (old, new):
                if group is not None:
                    self.flows.changed(("port", group.datapath, group.name))
            if old is not None:
                self.ports.group_is_gone(old.datapath, old.name)
        self.ports.groups_changed((uuid,))

    def _address_set_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        old = self._set_names.pop(uuid, None)
        name = "" if change.kind == "delete" else str(getattr(change.row, "name", ""))
        if old is not None and old != name and self._address_sets.get(old) == uuid:
            del self._address_sets[old]
            self.sets.define(f"${old}", ())
            self.flows.changed(("set", None, old))
        if change.kind == "delete":
            return
        self._set_names[uuid] = name
        members = []
        for text in _as_list(getattr(change.row, "addresses", [])):
            member = parse_member(str(text))
            if member is None:
                _log.warn(f"address_set_member_ignored set={name} member={text}")
            else:
                members.append(member)
        self.sets.define(f"${name}", members)
        if self._address_sets.get(name) != uuid:
            self._address_sets[name] = uuid
            self.flows.changed(("set", None, name))

    def _port_group_changed(self, change: Change) -> None:
        group = read_port_group(change.row)
        was_there = group.name in self.world.port_groups
        if change.kind == "delete":
            ports = self.world.drop_port_group(group.name)
        else:
            ports = self.world.put_port_group(group.name, group.ports)
        self.ports.ports_changed(ports)
        if was_there != (group.name in self.world.port_groups):
            self.flows.changed(("group", None, group.name))

    def _neighbour_changed(self, change: Change) -> None:
        neighbour = None if change.kind == "delete" else read_neighbour(change.row)
        if neighbour is not None:
            self.neighbours.put(neighbour)
        else:
            self.neighbours.drop(change.row.uuid)

    def _fdb_changed(self, change: Change) -> None:
        row = change.row
        if change.kind == "delete":
            self.neighbours.drop_fdb(row.uuid)
            return
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
        wanted = dict(variables) if change.kind != "delete" and isinstance(variables, dict) else {}
        if wanted != self.flows.templates:
            self.flows.templates = wanted
            self.flows.recompile()

    def _global_changed(self, change: Change) -> None:
        options = getattr(change.row, "options", {})
        version = options.get("northd_internal_version", "") if isinstance(options, dict) else ""
        release = ".".join(version.split(".")[:2])
        symbols = SymbolTable.default(release if release[:1].isdigit() else "main")
        if symbols.release != self.flows.symbols.release:
            self.flows.symbols = symbols
            self.flows.recompile()

    # -- local datapaths -----------------------------------------------------------------

    def _relocate(self) -> None:
        self._topology_changed = False
        interfaces = self.ports.interfaces
        bound = [
            name
            for name, port in self.world.ports.items()
            if name in interfaces or port.parent in interfaces
        ]
        new, gone = self.world.relocate(bound)
        for uuid, index in gone.items():
            self._clear_datapath(uuid, index)
        for uuid in new:
            self._put_datapath(uuid)
            self._security.datapath_is_local(uuid)
            self._security.changed(self.world.ports_of.get(uuid, {}))
            self.flows.datapath_is_local(uuid)
            self.ports.datapath_is_local(uuid)
            self.neighbours.datapath_is_local(uuid)

    def _clear_datapath(self, uuid: UUID, index: int) -> None:
        self.flows.datapath_is_gone(uuid)
        self._security.datapath_is_gone(uuid)
        self.ports.datapath_is_gone(uuid)
        self.neighbours.datapath_is_gone(index)
        self.world.release(index)

    def _put_datapath(self, uuid: UUID) -> None:
        datapath = self.world.datapaths[uuid]
        self.machine.put_datapath(
            self.world.local[uuid],
            key=datapath.key,
            flags=DpFlag.ROUTER if datapath.is_router else 0,
            dnat_zone=self._router_zone(uuid, "dnat"),
            snat_zone=self._router_zone(uuid, "snat"),
        )

    def _router_zone(self, uuid: UUID, kind: str) -> int:
        """Zones are named by the row up to 23.06, by the router's name since."""
        zones = self.ports.zones
        by_row = zones.get(f"{uuid}_{kind}")
        if by_row is not None:
            return by_row
        return zones.get(f"{self.world.datapaths[uuid].name}_{kind}", 0)

    def _hook_devices(self) -> None:
        wanted = {interface.ifindex for interface in self.ports.interfaces.values()}
        if self._hooked is None:
            # The first pass: what an earlier agent hooked runs its program until now.
            self._let_go(self.machine.attached() - wanted)
            self._hooked = frozenset()
        for ifindex in wanted - self._hooked:
            try:
                self.machine.attach(ifindex)
            except DeviceError as error:
                _log.warn(f"device_vanished ifindex={ifindex} reason={error}")
                wanted.discard(ifindex)
        self._let_go(self._hooked - wanted)
        self._hooked = frozenset(wanted)

    def _let_go(self, devices: frozenset[int]) -> None:
        for ifindex in devices:
            self.machine.detach(ifindex)


def _place(port: PortBinding) -> tuple[UUID, str, int]:
    return (port.datapath, port.name, port.key)


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple | set) else [value]

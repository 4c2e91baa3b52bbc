# SPDX-License-Identifier: Apache-2.0
"""From Southbound rows to a running machine, and only what changed.

One pass (:meth:`Pipeline.update`):

1. rows that changed update the world and mark flows, ports and lists as dirty;
2. which datapaths are local is worked out again if ports changed;
3. dirty flows are compiled into the image, dirty ports into records;
4. what differs goes to the maps (:mod:`.apply`);
5. devices of new ports are hooked, those of old ones let go.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import ovs.vlog

from iovisor_ovn.abi import DpFlag
from iovisor_ovn.compiler.image import Capacity, Image
from iovisor_ovn.compiler.sets import SetTable, parse_member
from iovisor_ovn.dataplane.fdb import FdbTable
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.dataplane.user_modules import UserModules
from iovisor_ovn.errors import AttachError, DataplaneError, DeviceError, MapFullError
from iovisor_ovn.language import SymbolTable
from iovisor_ovn.mainlogic.apply import Applier
from iovisor_ovn.mainlogic.counters import CounterTable
from iovisor_ovn.mainlogic.lflows import Dependency, FlowTable
from iovisor_ovn.mainlogic.neighbours import NeighbourTable
from iovisor_ovn.mainlogic.port_modules import PortModules
from iovisor_ovn.mainlogic.portmap import Interface, PortMap
from iovisor_ovn.mainlogic.security_flows import SecurityFlows
from iovisor_ovn.mainlogic.set_use import SetUse
from iovisor_ovn.mainlogic.southbound import (
    Group,
    PortBinding,
    Row,
    read_addresses,
    read_datapath,
    read_flow,
    read_group,
    read_learned,
    read_neighbour,
    read_port_binding,
    read_port_group,
    read_references,
)
from iovisor_ovn.mainlogic.world import World

__all__ = ["Change", "Pipeline"]

_log = ovs.vlog.Vlog("pipeline")
_RELEASE = re.compile(r"\d+\.\d+(?!\d)")


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

    def __init__(self, machine: Machine, *, extensions: bool = False) -> None:
        """Fill ``machine``, which is empty but for the connections of an earlier agent.

        ``extensions``: the rows are our own, see :class:`FlowTable`.
        """
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
        self._group_rows: dict[str, UUID] = {}
        self._group_names: dict[UUID, str] = {}
        self._templates: dict[UUID, tuple[str, dict[str, str]]] = {}
        self._set_use = SetUse(self.sets, self._has_set)
        self.counters = CounterTable(machine)
        self.modules = UserModules(machine)
        self._is_chain = extensions
        self.flows = FlowTable(
            self.world, self.image, self.sets, self._set_use, self._address_sets,
            extensions=extensions, counter_number=self.counters.number,
            module_number=self.modules.number,
        )  # fmt: skip
        self.port_modules = PortModules(self.modules)
        self.ports = PortMap(
            machine, self.world, self.image, self.sets, self._applier, self.port_modules.record
        )
        #: What is learned here and in no rows.
        self.fdb = FdbTable(machine.maps) if extensions else None
        self.neighbours = NeighbourTable(machine, self.world, self.fdb)
        self._security = SecurityFlows(self.world, self.image, self.sets, self._set_use)
        self._topology_changed = False
        self._zones_changed = False
        self._hooked: Mapping[int, bool] | None = None  # ifindex: the host keeps using it
        self._is_settled = False
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
        require: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring the maps to what the rows, interfaces (by logical port) and zones say.

        ``require`` is called when flows are compiled and none of them is in force yet; what it
        raises ends the pass.

        Returns when they are live. Raises DataplaneError when something does not fit or a device
        refuses: all else is live then, or goes on as it was where maps are full. The next call
        does what is left.
        """
        try:
            self._update(changes, interfaces, zones, chassis, require)
        finally:
            self.machine.renew()

    def _update(
        self,
        changes: Sequence[Change],
        interfaces: Mapping[str, Interface],
        zones: Mapping[str, int],
        chassis: str,
        require: Callable[[], None],
    ) -> None:
        self.image.begin_pass()
        if chassis != self.world.chassis:
            self._chassis_changed(chassis)
        for change in _latest(changes):
            reader = self._readers.get(change.table)
            if reader is not None:
                reader(change)
        self._zones_changed |= zones != self.ports.zones
        self.neighbours.store_waiting()
        self.port_modules.follow(interfaces)
        moved = self.ports.note_local(interfaces, zones)
        self._topology_changed |= bool(moved)
        self._security.changed(moved)
        problems: list[DataplaneError] = []
        if self._topology_changed:
            self._relocate(problems)
        if self._zones_changed:
            for uuid in self.world.local:
                self._put_datapath(uuid)
            self._zones_changed = False
        self._return_devices()
        try:
            self._compile(require)
        except MapFullError as error:
            # A chain rather stays as it was.
            if error.waits_for_force and not self._is_chain:
                _log.warn(f"datapaths_paused map={error.map_name} reason=no_room_for_both")
                self._applier.make_room()
            raise
        self._hook_devices(problems)
        if problems:
            raise problems[0]
        if not self._is_chain:
            self.port_modules.settle()

    def _compile(self, require: Callable[[], None]) -> None:
        """Compile what is dirty and put it into force."""
        count = self.flows.compile()
        require()
        self._security.compile(self.ports.interfaces)
        self.ports.compile()
        if self._applier.apply():
            _log.dbg(f"image_applied units={count}")
        if self._set_use.forget_unused():
            self._applier.apply()

    def use(self) -> dict[str, int]:
        """Elements in use by map, of those that only the agent fills."""
        local = {"dps": len(self.world.local)}
        return {**self.image.use(), **self._applier.use(), **self.ports.use(), **local}

    def refused_modules(self) -> dict[str, str]:
        """Why modules are not what their interfaces ask for, by logical port."""
        return self.port_modules.refused

    def waiting(self) -> dict[str, int]:
        """Rows that wait for room in a map, by map; all others are in."""
        return self.neighbours.waiting()

    def breathe_by(self, breathe: Callable[[], None]) -> None:
        """Let ``breathe`` be called every few milliseconds in the midst of long work."""
        self.flows.breathe = breathe

    def recompute(self) -> None:
        """Compile everything again at the next update."""
        self.flows.recompile()
        self.port_modules.recompute()
        self.ports.ports_changed(self.world.ports)
        self.ports.groups_changed(self.world.groups)
        self._security.changed(self.world.ports)

    def close(self, *, keep: bool) -> None:
        """Let go of the machine; without ``keep`` take it off all devices first."""
        if not keep:
            for ifindex in self.machine.attached():
                self.machine.detach(ifindex)
        self.modules.close(keep=keep)
        self.machine.close()

    # -- changes of rows -----------------------------------------------------------------

    def _chassis_changed(self, chassis: str) -> None:
        """Residence, templates and gateway ports depend on who we are."""
        self.world.chassis = chassis
        self._topology_changed = True
        self._take_templates()
        self.recompute()

    def _datapath_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        old = self.world.datapaths.get(uuid)
        new = None if change.kind == "delete" else read_datapath(change.row)
        if old == new:
            return
        self._topology_changed = True
        index = self.world.local.pop(uuid, None)
        if index is not None:
            self._clear_datapath(uuid, index)
        if new is not None:
            self.world.put_datapath(new)
        else:
            self.world.drop_datapath(uuid)

    def _port_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        old = self.world.port_rows.get(uuid)
        new = None if change.kind == "delete" else read_port_binding(change.row)
        if new == old:
            return
        if new is not None:
            self.world.put_port(new)
        else:
            self.world.drop_port(uuid)
        moved = old is None or new is None or _place(old) != _place(new)
        both = [port for port in (old, new) if port is not None]
        asked: set[Dependency] = set()
        names: set[str] = set()
        for port in both:
            names |= {port.name, port.peer}
            names.update(other.name for other in self.world.pointing_at(port.name))
            if moved:
                asked.add(("port", port.datapath, port.name))
            if moved or len({port.chassis for port in both}) > 1:
                asked.add(("resident", None, port.name))
        self._topology_changed |= moved or len({_links(port) for port in both}) > 1
        self.flows.changed(*asked)
        self.ports.ports_changed(names)
        self.ports.groups_changed(self.world.groups_holding(uuid))
        if moved or len({(port.port_security, port.parent) for port in both}) > 1:
            self._security.changed(names)
        if moved:
            self._port_moved(old, new)

    def _port_moved(self, old: PortBinding | None, new: PortBinding | None) -> None:
        if old is not None:
            self.ports.port_is_gone(old.datapath, old.name)
            self.neighbours.port_is_gone(old)
        for port in (old, new):
            if port is not None:
                self.neighbours.port_is_here(port.datapath, port.name)

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
        if old is None or new is None or _spot(old) != _spot(new):
            for group in (old, new):
                if group is not None:
                    self.flows.changed(("port", group.datapath, group.name))
            if old is not None:
                self.ports.group_is_gone(old.datapath, old.name)
                other = self.world.groups_of.get(old.datapath, {}).get(old.name)
                if other is not None:
                    self.ports.groups_changed((other.uuid,))
        self.ports.groups_changed((uuid,))

    def _address_set_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        old = self._set_names.pop(uuid, None)
        name = "" if change.kind == "delete" else str(getattr(change.row, "name", ""))
        if old is not None and old != name and self._address_sets.get(old) == uuid:
            del self._address_sets[old]
            self.sets.define(f"${old}", ())
            self.flows.changed(("set", None, old))
            self._set_use.row_is_gone(f"${old}")
        if change.kind == "delete":
            return
        self._set_names[uuid] = name
        members = []
        for text in read_addresses(change.row):
            member = parse_member(text)
            if member is None:
                _log.warn(f"address_set_member_ignored set={name} member={text}")
            else:
                members.append(member)
        self.sets.define(f"${name}", members)
        if self._address_sets.get(name) != uuid:
            self._address_sets[name] = uuid
            self.flows.changed(("set", None, name))

    def _port_group_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        group = None if change.kind == "delete" else read_port_group(change.row)
        old = self._group_names.pop(uuid, None)
        # A row of the same name may have come before this one went.
        if (
            old is not None
            and self._group_rows.get(old) == uuid
            and (group is None or group.name != old)
        ):
            del self._group_rows[old]
            self.ports.ports_changed(self.world.drop_port_group(old))
            self.flows.changed(("group", None, old))
            self._set_use.row_is_gone(f"@{old}")
        if group is None:
            return
        self._group_names[uuid] = group.name
        if group.name not in self._group_rows:
            self.flows.changed(("group", None, group.name))
        self._group_rows[group.name] = uuid
        self.ports.ports_changed(self.world.put_port_group(group.name, group.ports))

    def _has_set(self, name: str) -> bool:
        """Whether a named set has a row."""
        rows = self._address_sets if name.startswith("$") else self._group_rows
        return name[1:] in rows

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
        self.neighbours.put_fdb(row.uuid, *read_learned(row))

    def _template_changed(self, change: Change) -> None:
        uuid = change.row.uuid
        self._templates.pop(uuid, None)
        variables = getattr(change.row, "variables", {})
        if change.kind != "delete" and isinstance(variables, dict):
            self._templates[uuid] = (str(getattr(change.row, "chassis", "")), dict(variables))
        self._take_templates()

    def _take_templates(self) -> None:
        """Put our chassis' variables into force."""
        wanted: dict[str, str] = {}
        for chassis, variables in self._templates.values():
            if chassis == self.world.chassis:
                wanted |= variables
        if wanted != self.flows.templates:
            self.flows.templates = wanted
            self.flows.recompile()

    def _global_changed(self, change: Change) -> None:
        stored = getattr(change.row, "options", {})
        options = stored if isinstance(stored, dict) else {}
        release = _RELEASE.match(options.get("northd_internal_version", ""))
        name = release[0] if release else "main"
        flows = self.flows
        before = _dialect(flows)
        flows.symbols, flows.northd_is_newer = (
            SymbolTable.default(name),
            not SymbolTable.knows(name),
        )
        flows.explicit_output = options.get("arp_ns_explicit_output") == "true"
        flows.register_consolidation = options.get("register_consolidation") == "true"
        if before != _dialect(flows):
            flows.recompile()

    # -- local datapaths -----------------------------------------------------------------

    def _relocate(self, problems: list[DataplaneError]) -> None:
        interfaces = self.ports.interfaces
        nested = (child.name for name in interfaces for child in self.world.children_of(name))
        new, gone = self.world.relocate((*interfaces, *nested))
        for uuid, index in gone.items():
            self._clear_datapath(uuid, index)
        for uuid in sorted(new, key=str):
            try:
                self.world.settle(uuid)
            except MapFullError as error:
                problems.append(error)
                return
            self._put_datapath(uuid)
            self._security.datapath_is_local(uuid)
            self._security.changed(self.world.ports_of.get(uuid, {}))
            self.flows.datapath_is_local(uuid)
            self.ports.datapath_is_local(uuid)
            self.neighbours.datapath_is_local(uuid)
        self._topology_changed = False

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

    def _hook_devices(self, problems: list[DataplaneError]) -> None:
        wanted = self.ports.devices()
        if self._hooked is None:
            # The first pass: what an earlier agent hooked runs its program until now.
            self._let_go(self.machine.attached() - wanted.keys())
            self._hooked = {}
        hooked = dict(wanted.items() & self._hooked.items())
        for ifindex, shared in sorted(wanted.items() - self._hooked.items()):
            try:
                self.machine.attach(ifindex, shared=shared)
                hooked[ifindex] = shared
            except DeviceError as error:
                _log.warn(f"device_vanished ifindex={ifindex} reason={error}")
            except AttachError as error:
                problems.append(error)
        self._let_go(self._hooked.keys() - wanted.keys())
        self._hooked = hooked
        if not self._is_settled and not problems and not self._is_chain:
            self.machine.settle()  # a chain does that at the end of its takeover
            self._is_settled = True

    def _return_devices(self) -> None:
        """Take the programs off devices that are the host's alone now, before their ports go.

        Without a port, the program would drop what the host receives.
        """
        if self._hooked is None:
            return
        wanted = self.ports.devices()
        gone = {ifindex for ifindex, shared in self._hooked.items() if shared} - wanted.keys()
        self._let_go(gone)
        self._hooked = {i: shared for i, shared in self._hooked.items() if i not in gone}

    def _let_go(self, devices: Collection[int]) -> None:
        for ifindex in devices:
            self.machine.detach(ifindex)


def _latest(changes: Sequence[Change]) -> list[Change]:
    """The last change of each row, rows that went first.

    A row shows what it is now, whichever of its changes is looked at. Taken one by one, a name or
    key that went from row to row would seem to be in two places, and be lost with the wrong one.
    """
    last = {(change.table, change.row.uuid): change for change in changes}
    return sorted(last.values(), key=lambda change: change.kind != "delete")


def _dialect(flows: FlowTable) -> tuple[object, ...]:
    """What decides about the meaning of northd's texts."""
    return (
        flows.symbols.release, flows.northd_is_newer, flows.explicit_output,
        flows.register_consolidation,
    )  # fmt: skip


def _place(port: PortBinding) -> tuple[UUID, str, int]:
    return (port.datapath, port.name, port.key)


def _links(port: PortBinding) -> tuple[str, ...]:
    """What datapaths are reached by, besides the port's place."""
    chassis = port.chassis if port.type == "l3gateway" else ""
    return (port.type, port.parent, port.peer, chassis)


def _spot(group: Group) -> tuple[UUID, str, int]:
    return (group.datapath, group.name, group.key)

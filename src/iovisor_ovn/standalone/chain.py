# SPDX-License-Identifier: Apache-2.0
"""A running chain: a topology in, packets on their way.

What holds at all times: a topology that cannot be put into force changes nothing, and what two
topologies have in common (connections, leases, learned addresses, counters) lives through a change.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import ovs.poller
import ovs.vlog

from iovisor_ovn.config.topology import Ebpf, ExternalInterface, Module, Topology, host_port
from iovisor_ovn.dataplane.conntrack import Conntrack
from iovisor_ovn.dataplane.dhcp import DhcpServers
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.dataplane.user_modules import Exchange
from iovisor_ovn.dataplane.user_program import UserProgram
from iovisor_ovn.errors import (
    DataplaneError,
    DeviceError,
    Problem,
    TopologyError,
    UserModuleError,
)
from iovisor_ovn.mainlogic.packets import PacketPump
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.mainlogic.regularly import COLLECT_EVERY_S, Regularly
from iovisor_ovn.mainlogic.zones import Zones
from iovisor_ovn.modules import Emission, emit
from iovisor_ovn.modules.emission import port_name
from iovisor_ovn.standalone import ageing, lease_file, pools
from iovisor_ovn.standalone.ageing import Ageing
from iovisor_ovn.standalone.asking import Asking
from iovisor_ovn.standalone.health import Health
from iovisor_ovn.standalone.hosts import with_hosts
from iovisor_ovn.standalone.lease_file import LeaseFile
from iovisor_ovn.standalone.pools import Pools
from iovisor_ovn.standalone.promiscuity import Promiscuity
from iovisor_ovn.standalone.rows import CHASSIS, Keys, Rows, chain_rows, datapath_uuid, differences
from iovisor_ovn.standalone.store import Store
from iovisor_ovn.vswitch import NetDevices

__all__ = ["Chain", "Device"]

_log = ovs.vlog.Vlog("chain")
#: What could not be put into force is tried again this often.
_RETRY_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Device:
    """A network device at a port; what the pipeline needs of it.

    ``host_mac``: at the port of a host that keeps using the device, the host's address.
    """

    name: str
    ifindex: int
    peer_elsewhere: bool
    module: str = ""
    module_settings: str = ""
    host_mac: str = ""


class Chain:
    """One chain on one machine. Call `run`, then `wait`, again and again."""

    def __init__(
        self, machine: Machine, devices: NetDevices, store: Store, leases: LeaseFile
    ) -> None:
        """Start empty on ``machine``; connections of an earlier chain are adopted with it."""
        self.topology: Topology | None = None
        self.pipeline = Pipeline(machine, extensions=True)
        self.conntrack = Conntrack(machine.maps)
        self.devices = devices
        self._store = store
        self._rows: Rows = {}
        self._keys = Keys()
        self._zones = Zones(self.conntrack.flush)
        self._zones.restore(store.zones)
        self._promiscuity = Promiscuity(devices, store.promiscuous)
        self._interfaces: dict[str, Device] = {}
        self._devices_changed = False
        #: Why the machine is not what it should be; it is tried again. Empty: it is.
        self.behind = ""
        self._flow_counts: dict[str, int] = {}
        # Those of an earlier chain are given up when another is in force, not before.
        self._zone_users = frozenset(self._zones.current)
        self.pools = Pools(DhcpServers(machine.maps), store.pools, leases)
        self.health = Health(self.pipeline, self._health_changed)
        self._asking = Asking(self.pipeline)
        self._pump = PacketPump(
            self.pipeline, lambda _fact, _now: None, lambda _index: None, self.health.receive,
            self._asking.hold,
        )  # fmt: skip
        self._ageing = Ageing(self.pipeline)
        self._regular = (
            Regularly(ageing.EVERY_S, lambda: self._ageing.sweep(time.monotonic_ns())),
            Regularly(pools.EVERY_S, self.pools.sweep),
            Regularly(lease_file.EVERY_S, self.pools.save),
            Regularly(COLLECT_EVERY_S, self.conntrack.collect),
            Regularly(_RETRY_EVERY_S, self._catch_up),
        )

    # -- topologies ----------------------------------------------------------------------

    def apply(self, topology: Topology, confirm: Callable[[], None] = lambda: None) -> None:
        """Put a topology into force; what it has in common with the one before goes on.

        Raises TopologyError (a device is missing, a flow cannot be executed), DataplaneError (a
        map is full, a device refuses) and what ``confirm``, called last, raises: then all is as
        before.
        """
        self._devices_changed |= bool(self.devices.run())
        interfaces = self._find_devices(topology)
        keys = self._keys.copy()
        rows, emissions = self._emit(topology, interfaces, keys)
        zone_users = _zone_users(emissions)
        programs = self._load_programs(topology)
        # Until the new topology is in force, the old one's zones are not given up. All numbers are
        # saved before packets meet them, for whoever comes if we die now.
        self._zones.assign(zone_users | self._zone_users, {})
        self._save()
        with self.pipeline.machine.takeover() if self.topology is None else nullcontext():
            exchange = self._put_into_force(topology, rows, interfaces, programs, confirm)
        self.topology, self._keys, self._zone_users = topology, keys, zone_users
        self._zones.assign(zone_users, {})
        self.pipeline.modules.settle(exchange)
        self.pipeline.modules.keep_only(frozenset(programs))
        self._flow_counts = {name: len(emission.flows) for name, emission in emissions.items()}
        self._ageing.follow(topology)
        self._asking.follow(emissions)
        self.health.follow(topology)
        self.pipeline.counters.keep({name for e in emissions.values() for name in e.counters})
        self._promiscuity.follow(interface.device for interface in topology.interfaces)
        self._save()
        _log.info(
            f"topology_applied source={topology.source} modules={len(topology.modules)} "
            f"flows={len(self.pipeline.flows.flows)} entries={self.pipeline.image.entry_count}"
        )

    def _put_into_force(
        self, topology: Topology, rows: Rows, interfaces: dict[str, Device],
        programs: Mapping[str, UserProgram], confirm: Callable[[], None],
    ) -> Exchange:  # fmt: skip
        """Let packets meet a topology; all is as before if that raises."""
        before = (self._rows, self._interfaces)
        exchange = self.pipeline.modules.exchange(programs)
        try:
            self.pools.put(topology)
            self._update(rows, interfaces, lambda: self._require_whole(topology))
            confirm()
        except BaseException:
            if self.topology is not None:  # else what an earlier process left goes on
                self._try_update(*before)
            self.pools.put(self.topology)
            self._zones.assign(self._zone_users, {})
            self.pipeline.modules.revert(exchange)
            raise
        return exchange

    def _save(self) -> None:
        self._store.save(self._zones.differences({}), self.pools.numbers, self._promiscuity.names)

    def _load_programs(self, topology: Topology) -> dict[str, UserProgram]:
        """Load the users' programs, none of which packets meet yet."""
        loaded = {}
        problems = []
        for module in topology.modules:
            if isinstance(module.config, Ebpf):
                path, settings = module.config.program, module.config.settings
                try:
                    loaded[module.name] = self.pipeline.modules.load(module.name, path, settings)
                except UserModuleError as error:
                    problems.append(_unusable(module, error))
        if problems:
            for name, program in loaded.items():
                if program is not self.pipeline.modules.installed(name):
                    program.close()
            raise TopologyError(topology.source, problems)
        return loaded

    def _update(
        self,
        rows: Rows,
        interfaces: dict[str, Device],
        require: Callable[[], None] = lambda: None,
    ) -> None:
        changes = differences(self._rows, rows)
        self._rows, self._interfaces = rows, interfaces
        try:
            self.pipeline.update(changes, interfaces, self._zones.current, CHASSIS, require)
        except BaseException as error:
            self.behind = str(error) or type(error).__name__
            raise
        self.behind = ""

    def _try_update(self, rows: Rows, interfaces: dict[str, Device]) -> None:
        """Update, now or as soon as it can be done."""
        before = self.behind
        try:
            self._update(rows, interfaces)
        except DataplaneError as error:
            if self.behind != before:
                _log.err(f"update_failed error={str(error)!r} retry_s={_RETRY_EVERY_S}")

    def _catch_up(self) -> None:
        if self.behind:
            self._try_update(self._rows, self._interfaces)

    def _emit(
        self, topology: Topology, interfaces: Mapping[str, Device], keys: Keys
    ) -> tuple[Rows, Mapping[str, Emission]]:
        """What a topology's modules give with these devices, and all of it as rows."""
        macs = {device.name: device.host_mac for device in interfaces.values() if device.host_mac}
        whole = with_hosts(topology, macs)
        numbers = self.pools.assign(topology)
        emissions = emit(whole, self.health.dead_in(topology), numbers)
        return chain_rows(whole, emissions, keys), emissions

    def _health_changed(self) -> None:
        """Give new connections to the backends that are alive now."""
        assert self.topology is not None
        rows, _emissions = self._emit(self.topology, self._interfaces, self._keys)
        self._try_update(rows, self._interfaces)

    def _find_devices(self, topology: Topology) -> dict[str, Device]:
        problems = []
        for interface in topology.interfaces:
            link = self.devices.get(interface.device)
            if link is None:
                problems.append(_missing(interface))
            elif not link.is_ethernet:
                message = f"{interface.device} is no Ethernet device"
                problems.append(interface.place.problem(message))
        if problems:
            raise TopologyError(topology.source, problems)
        return self._present_devices(topology)

    def _present_devices(self, topology: Topology) -> dict[str, Device]:
        """Devices by logical port, of those that are there."""
        found = {}
        for interface in topology.interfaces:
            link = self.devices.get(interface.device)
            if link is None or not link.is_ethernet:
                continue
            name = port_name(interface.module, interface.port)
            elsewhere = link.kind == "veth" and link.peer_netns is not None
            if interface.host:
                host = port_name(interface.module, host_port(interface.port))
                found[host] = Device(link.name, link.ifindex, False, host_mac=link.mac)
                # Whoever looks at what the host's device sends shall see what we send.
                elsewhere = False
            found[name] = Device(link.name, link.ifindex, elsewhere)
        return found

    def _require_whole(self, topology: Topology) -> None:
        """Refuse flows that the machine could only drop: what is in the file works, all of it."""
        flows = self.pipeline.flows
        problems = [f"{what.source!r}: {what.message}" for what in flows.diagnostics.values()]
        problems += [f"{verb} cannot be executed" for verb in flows.unsupported]
        if problems:
            raise TopologyError(topology.source, [Problem(text) for text in problems])

    def flow_count(self, module: str) -> int:
        """Logical flows of a module."""
        return self._flow_counts[module]

    def zone_modules(self) -> dict[int, str]:
        """Modules by conntrack zone."""
        assert self.topology is not None
        zones = self._zones.current
        return {
            zones[user]: module.name
            for module in self.topology.modules
            for user in _zones_of(module.name)
            if user in zones
        }

    # -- running -------------------------------------------------------------------------

    def run(self) -> None:
        """Do what is due."""
        self._follow_devices()
        self._pump.run(time.monotonic())
        self._asking.run()
        self.health.run()
        for work in self._regular:
            work.run()

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when `run` has something to do."""
        poller.fd_wait(self.devices.fileno(), ovs.poller.POLLIN)
        self._pump.wait(poller)
        self._asking.wait(poller)
        self.health.wait(poller)
        for work in self._regular:
            work.wait(poller)

    def _follow_devices(self) -> None:
        """Take devices up that came back or have another address, let go of those that went."""
        try:
            self._devices_changed |= bool(self.devices.run())
        except DeviceError as error:
            _log.warn(f"devices_not_read reason={error}")
        if self._devices_changed and self.topology is not None:
            self._take_devices(self.topology)
            self._devices_changed = False

    def _take_devices(self, topology: Topology) -> None:
        found = self._present_devices(topology)
        if found == self._interfaces:
            return
        for name in self._interfaces.keys() - found.keys():
            _log.warn(f"device_gone port={name} device={self._interfaces[name].name}")
            self._forget_learned(name)
        rows, _emissions = self._emit(topology, found, self._keys)
        self._try_update(rows, found)
        if self._promiscuity.follow(interface.device for interface in topology.interfaces):
            self._save()

    def _forget_learned(self, name: str) -> None:
        """Whoever was behind a port may turn up behind another now."""
        world = self.pipeline.world
        port = world.ports.get(name)
        if port is not None and port.datapath in world.local:
            self.pipeline.neighbours.forget_learned(world.local[port.datapath], port.key)

    def close(self, *, keep: bool) -> None:
        """Let go of everything; ``keep`` leaves the packets flowing."""
        self._pump.close()
        if self.topology is not None:
            self.pools.save()
        self.pipeline.close(keep=keep)
        if not keep:
            self._promiscuity.follow(())
        self.devices.close()


def _unusable(module: Module, error: UserModuleError) -> Problem:
    return module.place.problem(str(error))


def _missing(interface: ExternalInterface) -> Problem:
    return interface.place.problem(f"there is no device {interface.device} here")


def _zone_users(emissions: Mapping[str, Emission]) -> frozenset[str]:
    return frozenset(
        user
        for name, emission in emissions.items()
        if emission.has_zones
        for user in _zones_of(name)
    )


def _zones_of(module: str) -> tuple[str, str]:
    """Names of a module's conntrack zones, as the pipeline looks for them."""
    return f"{datapath_uuid(module)}_dnat", f"{datapath_uuid(module)}_snat"

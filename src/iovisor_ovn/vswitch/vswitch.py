# SPDX-License-Identifier: Apache-2.0
"""Stand where ovs-vswitchd stood, for the other clients of the Open_vSwitch database.

A client (libvirt, os-vif, CNI plug-ins, ``ovs-vsctl``) adds rows and counts ``next_cfg`` up; the
switch makes or opens the devices, writes in the rows what came of it, and sets ``cur_cfg`` to the
``next_cfg`` that it has dealt with, all in one transaction.  An interface that cannot be opened
gets its ``error`` and holds nothing else up.  `Vswitch.run` compares the rows and the kernel's
devices and writes only differences, so any call may be the first: after a restart, a lost
connection, or a device that went and came back.

All bridges of the database are kept so.  Frames are switched only between the interfaces of the
integration bridge, by the data plane; other bridges have their ports' devices, numbers and state,
and no switching.
"""

import select
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import ovs.timeval
import ovs.vlog

from iovisor_ovn.errors import DeviceError
from iovisor_ovn.vswitch.bridge import BridgePorts, BridgeState, FailedPort, OpenPort
from iovisor_ovn.vswitch.carrier import LinkResets
from iovisor_ovn.vswitch.devices import NetDevices
from iovisor_ovn.vswitch.ethtool import Driver, LinkMode
from iovisor_ovn.vswitch.interfaces import LocalInterface, local_interface
from iovisor_ovn.vswitch.internal import InternalDevices, endpoint_name
from iovisor_ovn.vswitch.ports import (
    FAILED_COLUMNS,
    ColumnValue,
    datapath_id,
    device_columns,
    statistics_column,
)
from iovisor_ovn.vswitch.presence import Presence
from iovisor_ovn.vswitch.rows import Bridge, RootRow
from iovisor_ovn.vswitch.rtnl import Link, LinkStatistics
from iovisor_ovn.vswitch.store import Change, Database, Store, WantedRows
from iovisor_ovn.vswitch.system import root_columns

__all__ = ["Vswitch"]

_log = ovs.vlog.Vlog("vswitch")

_DATAPATH_VERSION = "iovisor-ovn"


class _Poller(Protocol):
    def fd_wait(self, fd: int, events: int) -> None: ...
    def timer_wait_until(self, msec: int) -> None: ...
    def immediate_wake(self) -> None: ...


def _monotonic_ms() -> int:
    return int(ovs.timeval.msec())


class Vswitch:
    """The Open_vSwitch database on one side, the kernel's devices on the other.

    The owner of the database runs it (``database.run()``) before each `run`.  Nothing is undone
    when the process ends: internal devices, numbers and rows stay for the next one.
    """

    def __init__(
        self,
        database: Database,
        devices: NetDevices,
        now_ms: Callable[[], int] = _monotonic_ms,
    ) -> None:
        """Take the two sides; ``now_ms`` is the clock that the poller's timers go by."""
        self._store = Store(database)
        self._devices = devices
        self._now_ms = now_ms
        self._owner: str | None = None
        self._presence: Presence | None = None
        self._internal = InternalDevices(devices, "")
        self._bridges: dict[str, BridgePorts] = {}
        self._watched: frozenset[str] = frozenset()
        self._interfaces: dict[str, dict[str, LocalInterface]] = {}
        self._integration_bridge = ""
        self._changed: set[str] = set()
        self._refresh_at_ms = 0
        self._counters: dict[int, LinkStatistics] = {}
        self._details: dict[int, tuple[Link, Driver, LinkMode]] = {}
        self._resets = LinkResets()

    def run(self, changes: Sequence[Change] | None = None) -> bool:
        """Do what is due; return whether `interfaces` is now another.

        ``changes`` are all the rows that changed in the database since the last call, for an owner
        who also needs them; without, the database is asked for them here.
        """
        if changes is None:
            self._store.take_own()
        else:
            self._store.take(changes)
        moved = self._devices.run()
        is_due = self._now_ms() >= self._refresh_at_ms
        if not (is_due or self._store.has_news() or moved & self._watched):
            return False
        read = self._store.read()
        if read is None:
            self._refresh_at_ms = 0  # nothing to refresh: only the database can change that
            return False
        root, bridges = read
        if is_due:
            self._refresh_at_ms = self._now_ms() + root.stats_interval_ms
            self._counters.clear()
        states = self._reconcile(root, bridges)
        self._store.write(self._wanted(root, bridges, states))
        return self._take(root, bridges, states)

    def close(self) -> None:
        """Give up the sign of being alive, as the process's end would; nothing else is undone."""
        if self._presence is not None:
            self._presence.end()
        self._owner = self._presence = None

    def wait(self, poller: _Poller) -> None:
        """Wake the poller at the next device event or refresh of counters."""
        poller.fd_wait(self._devices.fileno(), select.POLLIN)
        if self._devices.has_changes:
            poller.immediate_wake()  # read while own changes were made, and not yet looked at
        if self._refresh_at_ms:
            poller.timer_wait_until(self._refresh_at_ms)

    def interfaces(self, bridge: str | None = None) -> Mapping[str, LocalInterface]:
        """Return the working interfaces of a bridge (default: the integration bridge) by name."""
        found = self._interfaces.get(self._integration_bridge if bridge is None else bridge)
        return {} if found is None else found

    def take_changed(self) -> frozenset[str]:
        """Return the interfaces that came, went or changed since the last call, of all bridges."""
        changed = frozenset(self._changed)
        self._changed.clear()
        return changed

    def _reconcile(self, root: RootRow, bridges: tuple[Bridge, ...]) -> dict[UUID, BridgeState]:
        owner = str(root.uuid)
        if owner != self._owner:
            if self._presence is not None:
                self._presence.end()
            self._presence = Presence(owner)
            self._owner = owner
            self._internal = InternalDevices(self._devices, owner)
            self._bridges.clear()
        self._remove_internal(bridges)
        for name in self._bridges.keys() - {bridge.row.name for bridge in bridges}:
            del self._bridges[name]
        states: dict[UUID, BridgeState] = {}
        for bridge in bridges:
            ports = self._bridges.get(bridge.row.name)
            if ports is None:
                ports = BridgePorts(bridge.row.name, self._devices, self._internal)
                self._bridges[bridge.row.name] = ports
            states[bridge.row.uuid] = ports.reconcile(bridge)
        names = {row.name for bridge in bridges for row in bridge.interfaces}
        names |= {bridge.row.name for bridge in bridges}
        self._watched = frozenset(names | {endpoint_name(owner, name) for name in names})
        return states

    def _remove_internal(self, bridges: tuple[Bridge, ...]) -> None:
        wanted = {bridge.row.name for bridge in bridges}
        for bridge in bridges:
            wanted |= {row.name for row in bridge.interfaces if row.type in ("internal", "tap")}
        try:
            for name in self._internal.remove_except(wanted):
                _log.info(f"internal_device_removed interface={name}")
        except DeviceError as error:
            _log.warn(f"internal_device_not_removed reason={str(error)!r}")

    def _wanted(
        self,
        root: RootRow,
        bridges: tuple[Bridge, ...],
        states: Mapping[UUID, BridgeState],
    ) -> WantedRows:
        interfaces: dict[UUID, Mapping[str, ColumnValue]] = {}
        bridge_rows: dict[UUID, Mapping[str, ColumnValue]] = {}
        self._read_new_counters(states)
        for bridge in bridges:
            state = states[bridge.row.uuid]
            identity = datapath_id(bridge.row.datapath_id, state.mac)
            bridge_rows[bridge.row.uuid] = {
                "datapath_id": [] if identity is None else [identity],
                "datapath_version": _DATAPATH_VERSION,
            }
            for port in state.ports:
                interfaces[port.row.uuid] = self._columns(port)
        self._resets.forget_except(interfaces.keys())
        return {
            "Interface": interfaces,
            "Bridge": bridge_rows,
            "Open_vSwitch": {root.uuid: root_columns(root)},
        }

    def _columns(self, port: OpenPort | FailedPort) -> Mapping[str, ColumnValue]:
        if isinstance(port, FailedPort):
            return {**FAILED_COLUMNS, "error": [port.error]}
        if port.hook is None:
            return {**FAILED_COLUMNS, "ofport": [port.ofport], "error": []}
        driver, mode = self._detail(port.hook)
        columns = device_columns(port.shown, port.hook, driver, mode)
        columns["ofport"] = [port.ofport]
        columns["link_resets"] = [self._resets.count(port.row, port.shown or port.hook)]
        counters = self._counters.get(port.hook.ifindex)
        columns["statistics"] = {} if counters is None else statistics_column(counters)
        return columns

    def _detail(self, link: Link) -> tuple[Driver, LinkMode]:
        """Return driver and speed, asked again only when the device is not what it was."""
        known = self._details.get(link.ifindex)
        if known is None or known[0] != link:
            driver, mode = self._devices.driver(link.name), self._devices.link_mode(link.name)
            known = self._details[link.ifindex] = (link, driver, mode)
        return known[1], known[2]

    def _read_new_counters(self, states: Mapping[UUID, BridgeState]) -> None:
        """Read the counters of devices that came since the last refresh; the others wait."""
        hooks = {
            port.hook.ifindex: port.hook
            for state in states.values()
            for port in state.ports
            if isinstance(port, OpenPort) and port.hook is not None
        }
        self._details = {index: known for index, known in self._details.items() if index in hooks}
        new = hooks.keys() - self._counters.keys()
        if not new:
            return
        now = self._devices.statistics()
        for index in new:
            if index in now:
                self._counters[index] = now[index].with_peer(
                    self._devices.peer_statistics(hooks[index])
                )

    def _take(
        self,
        root: RootRow,
        bridges: tuple[Bridge, ...],
        states: Mapping[UUID, BridgeState],
    ) -> bool:
        before = self._interfaces
        self._integration_bridge, was = root.integration_bridge, self._integration_bridge
        self._interfaces = {
            bridge.row.name: {
                found.name: found
                for port in states[bridge.row.uuid].ports
                if isinstance(port, OpenPort) and (found := local_interface(port)) is not None
            }
            for bridge in bridges
        }
        changed = _differences(before, self._interfaces)
        self._changed |= changed
        return bool(changed) or was != self._integration_bridge


def _differences(
    before: Mapping[str, Mapping[str, LocalInterface]],
    after: Mapping[str, Mapping[str, LocalInterface]],
) -> set[str]:
    """Return the names of interfaces that are not the same in both."""
    old = {(bridge, name): one for bridge, found in before.items() for name, one in found.items()}
    new = {(bridge, name): one for bridge, found in after.items() for name, one in found.items()}
    return {name for _bridge, name in dict(old.items() ^ new.items())}

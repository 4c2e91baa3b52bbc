# SPDX-License-Identifier: Apache-2.0
"""The devices and numbers of one bridge's interfaces.

`BridgePorts.reconcile` takes what the database asks for and brings the devices to it: internal
devices are made, addresses and MTUs set, every interface gets its number or the reason why it has
none.  It may be called as often as one likes; what is already so is left alone.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import ovs.vlog

from iovisor_ovn.errors import DeviceError
from iovisor_ovn.vswitch.devices import NetDevices
from iovisor_ovn.vswitch.internal import InternalDevice, InternalDevices
from iovisor_ovn.vswitch.ports import NumberWish, PortNumbers, bridge_mac, least_mtu
from iovisor_ovn.vswitch.rows import Bridge, InterfaceRow, valid_mac
from iovisor_ovn.vswitch.rtnl import Link

__all__ = ["BridgePorts", "BridgeState", "FailedPort", "OpenPort"]

_log = ovs.vlog.Vlog("vswitch")

_TUNNEL_TYPES = frozenset({"geneve", "vxlan", "gre", "ip6gre", "erspan", "stt", "lisp", "gtpu"})


@dataclass(frozen=True, slots=True)
class OpenPort:
    """An interface that works.

    ``hook`` is the device that carries its frames between the agent's programs and the world, None
    for a patch; ``shown`` is the device with the interface's name, None when it is out of sight.
    """

    row: InterfaceRow
    ofport: int
    hook: Link | None
    shown: Link | None
    is_internal: bool


@dataclass(frozen=True, slots=True)
class FailedPort:
    """An interface that does not work, and why, worded as ovs-vswitchd does."""

    row: InterfaceRow
    error: str


@dataclass(frozen=True, slots=True)
class BridgeState:
    """What a bridge's interfaces came to; ``mac`` is the local device's address, if it has one."""

    ports: tuple[OpenPort | FailedPort, ...]
    mac: str | None


@dataclass(frozen=True, slots=True)
class _Opened:
    row: InterfaceRow
    device: Link | InternalDevice | None


def _is_internal(bridge: str, row: InterfaceRow) -> bool:
    """Return whether the agent makes the device: internal, tap, and the bridge's own port."""
    return row.name == bridge or row.type in ("internal", "tap")


class BridgePorts:
    """One bridge; remembers its ports' numbers and the MTU that its devices agreed on."""

    def __init__(self, name: str, devices: NetDevices, internal: InternalDevices) -> None:
        """Know the bridge by its name; nothing happens before `reconcile`."""
        self._name = name
        self._devices = devices
        self._internal = internal
        self._numbers = PortNumbers()
        self._number_of: dict[UUID, int] = {}
        self._mtu_bytes: int | None = None
        self._complaints: dict[str, str] = {}

    def reconcile(self, bridge: Bridge) -> BridgeState:
        """Bring the devices to what the rows say, and return what came of it."""
        failed: list[FailedPort] = []
        others = self._open_others(bridge, failed)
        macs = [mac for port in others if (mac := _port_mac(bridge, port)) is not None]
        mac = bridge_mac(bridge.row.mac, macs)
        internal = self._open_internal(bridge, mac, failed)
        local = self._local_device(mac, internal, failed)
        self._set_mtus(others, internal, local)
        opened = others + internal
        numbers = self._assign(opened)
        self._forget({row.uuid for row in bridge.interfaces})
        ports = [self._port(port, numbers[port.row.name]) for port in opened]
        named = local.named if local is not None else None
        return BridgeState((*ports, *failed), named.mac if named is not None else mac)

    def _open_others(self, bridge: Bridge, failed: list[FailedPort]) -> list[_Opened]:
        opened: list[_Opened] = []
        for row in bridge.interfaces:
            if _is_internal(self._name, row):
                continue
            error = _type_error(row)
            link = self._devices.get(row.name) if row.type in ("", "system") else None
            if error is None and row.type != "patch":
                error = _link_error(row.name, link)
            if error is not None:
                failed.append(FailedPort(row, error))
            else:
                opened.append(_Opened(row, link))
        return opened

    def _open_internal(
        self, bridge: Bridge, mac: str | None, failed: list[FailedPort]
    ) -> list[_Opened]:
        opened: list[_Opened] = []
        for row in bridge.interfaces:
            if not _is_internal(self._name, row):
                continue
            wanted = mac if row.name == self._name else row.mac
            try:
                opened.append(_Opened(row, self._ensure(row.name, wanted)))
            except DeviceError as error:
                failed.append(FailedPort(row, str(error)))
        return opened

    def _local_device(
        self,
        mac: str | None,
        internal: list[_Opened],
        failed: list[FailedPort],
    ) -> InternalDevice | None:
        """Return the bridge's own device; a bridge has one even if no Interface row names it."""
        for port in internal:
            if port.row.name == self._name and isinstance(port.device, InternalDevice):
                return port.device
        if any(port.row.name == self._name for port in failed):
            return None
        try:
            return self._ensure(self._name, mac)
        except DeviceError as error:
            self._complain(self._name, str(error))
            return None

    def _ensure(self, name: str, mac: str | None) -> InternalDevice:
        device = self._internal.ensure(name, mac)
        named = device.named
        if not device.is_here or named is None or mac in (None, named.mac):
            return device
        self._try(f"{name} mac", lambda: self._devices.set_mac(named, mac or ""))
        return self._internal.ensure(name, mac)

    def _set_mtus(
        self, others: list[_Opened], internal: list[_Opened], local: InternalDevice | None
    ) -> None:
        """Set requested MTUs; internal devices without a request follow the least of the others.

        They are lowered whenever theirs is greater, and set when the least changes, so that an
        administrator may choose a smaller one in between (ovs-vswitchd's rule).
        """
        for port in (*others, *internal):
            if port.row.mtu_request is not None:
                self._set_mtu(port.row.name, port.device, port.row.mtu_request)
        found = [self._devices.get(p.row.name) for p in others if isinstance(p.device, Link)]
        least = least_mtu(link.mtu for link in found if link is not None)
        changed = self._mtu_bytes not in (None, least)
        self._mtu_bytes = least
        followers = [(p.row.name, p.device) for p in internal if p.row.mtu_request is None]
        if local is not None and all(p.row.name != self._name for p in internal):
            followers.append((self._name, local))
        for name, device in followers:
            link = device.named if isinstance(device, InternalDevice) else None
            if link is not None and (changed or link.mtu > least):
                self._set_mtu(name, device, least)

    def _set_mtu(self, name: str, device: Link | InternalDevice | None, mtu_bytes: int) -> None:
        if isinstance(device, InternalDevice):
            link = device.named if device.is_here else None
        else:
            link = device
        if link is not None and link.mtu != mtu_bytes:
            self._try(f"{name} mtu", lambda: self._devices.set_mtu(link, mtu_bytes))

    def _assign(self, opened: list[_Opened]) -> dict[str, int]:
        wishes = []
        for port in opened:
            row = port.row
            current = self._number_of.get(row.uuid, row.ofport)
            wishes.append(NumberWish(row.name, row.ofport_request, current, row.name == self._name))
        numbers = self._numbers.assign(wishes)
        for port in opened:
            self._number_of[port.row.uuid] = numbers[port.row.name]
        return numbers

    def _forget(self, rows: set[UUID]) -> None:
        for uuid in self._number_of.keys() - rows:
            del self._number_of[uuid]

    def _port(self, port: _Opened, ofport: int) -> OpenPort:
        """Look once more: opening has changed the devices."""
        device = port.device
        if isinstance(device, InternalDevice):
            hook = self._devices.get(device.endpoint.name) or device.endpoint
            named = self._devices.peer(hook) if device.is_here else device.named
            return OpenPort(port.row, ofport, hook, named, is_internal=True)
        link = self._devices.get(port.row.name) if device is not None else None
        return OpenPort(port.row, ofport, link, link, is_internal=False)

    def _try(self, what: str, change: Callable[[], None]) -> None:
        """Change a device; a refusal is logged once, the port works without."""
        try:
            change()
        except DeviceError as error:
            self._complain(what, str(error))
        else:
            self._complaints.pop(what, None)

    def _complain(self, what: str, text: str) -> None:
        if self._complaints.get(what) != text:
            self._complaints[what] = text
            _log.warn(f"device_not_set bridge={self._name} what={what!r} reason={text!r}")


def _port_mac(bridge: Bridge, port: _Opened) -> str | None:
    """Return the address that a port lends to its bridge's local device."""
    own = port.device.mac if isinstance(port.device, Link) else None
    return bridge.port_macs.get(port.row.name) or valid_mac(own)


def _type_error(row: InterfaceRow) -> str | None:
    if row.type in ("", "system"):
        return None
    if row.type == "patch":
        if row.options.get("peer", row.name) != row.name:
            return None
        return f"{row.name}: patch type requires valid 'peer' argument"
    if row.type in _TUNNEL_TYPES:
        return f"{row.name}: no {row.type} interfaces: tunnels follow the Southbound database"
    return _not_opened(row.name, errno.EAFNOSUPPORT)


def _link_error(name: str, link: Link | None) -> str | None:
    if link is None:
        return _not_opened(name, errno.ENODEV)
    return None if link.is_ethernet else _not_opened(name, errno.EINVAL)


def _not_opened(name: str, number: int) -> str:
    return f"could not open network device {name} ({os.strerror(number)})"

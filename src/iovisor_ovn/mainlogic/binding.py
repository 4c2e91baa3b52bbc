# SPDX-License-Identifier: Apache-2.0
"""Which logical ports are here, and the rows that say so.

A port is *held* when an interface with its name is here and nothing speaks against it (`may_hold`);
the data plane gets the held ports.  Claiming is writing our Chassis into Port_Binding.chassis.
Only when the data plane holds the port as well, `up` and the interface's ``ovn-installed`` follow:
they are promises that packets flow (OVN controller/binding.c, controller/if-status.c).

Every write is worked out from the rows as they are, again and again until the rows agree, so that
a refused or lost transaction needs no care of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import ovs.db.idl
import ovs.vlog

from iovisor_ovn.mainlogic.chassis import Write, put
from iovisor_ovn.mainlogic.contention import Contention
from iovisor_ovn.mainlogic.ports import Port, PortIndex
from iovisor_ovn.ovsdb import RowChange
from iovisor_ovn.vswitch import LocalInterface

__all__ = ["CLAIM_BACK_OFF_MS", "Bindings", "Place", "by_logical_port", "may_hold"]

_log = ovs.vlog.Vlog("binding")

#: A port that another took over or gave back is claimed again at most this often.
CLAIM_BACK_OFF_MS = 500

_GATEWAY_OPTIONS: Mapping[str, str] = {
    "l2gateway": "l2gateway-chassis",
    "l3gateway": "l3gateway-chassis",
}
_CLAIMABLE = ("", "localport", *_GATEWAY_OPTIONS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where we are: the chassis' name and the host's."""

    chassis: str
    hostname: str


class _ChassisRow(Protocol):
    """What is used of our Chassis row."""

    encaps: list[ovs.db.idl.Row]


def by_logical_port(
    interfaces: Mapping[str, LocalInterface], before: Mapping[str, LocalInterface]
) -> dict[str, LocalInterface]:
    """Return the interfaces by logical port.

    Of two with the same iface-id the one that had the port ``before`` keeps it, else the first by
    name; the other is named in the log.
    """
    found: dict[str, LocalInterface] = {}
    for name in sorted(interfaces):
        interface = interfaces[name]
        port = interface.iface_id
        if not port:
            continue
        rival = found.get(port)
        if rival is not None:
            held = before.get(port)
            keeps = interface if held is not None and held.name == name else rival
            if held is None or held.name not in (name, rival.name):
                _log.warn(f"iface_id_twice port={port} interfaces={rival.name},{name}")
            interface = keeps
        found[port] = interface
    return found


def may_hold(port: Port, interface: LocalInterface | None, place: Place) -> bool:
    """Return whether a port's packets are ours to handle.

    ``interface`` is that of the port, for a nested port that of its parent.
    """
    option = _GATEWAY_OPTIONS.get(port.type)
    if option is not None:
        return port.options.get(option) == place.chassis
    if port.type == "localport":
        return interface is not None
    if port.type or interface is None:
        return False
    version = port.options.get("iface-id-ver")
    if version and not port.parent and version != interface.iface_id_ver:
        return False
    return _is_requested(port, place)


def _is_requested(port: Port, place: Place) -> bool:
    if port.requested == place.chassis:
        return True
    wanted = port.options.get("requested-chassis", "")
    # The first is where the port belongs, any others where it may be prepared to move.
    first = wanted.split(",")[0]
    return not wanted or first in (place.chassis, place.hostname)


class Bindings:
    """The held ports, and what is still to be written about them."""

    def __init__(self) -> None:
        """Begin with no rows and no interfaces."""
        self.ports = PortIndex()
        self.held: dict[str, LocalInterface] = {}
        self.claimed: set[str] = set()
        self.next_due_ms: int | None = None
        self.contention = Contention()
        self._bound: set[str] = set()
        self._interfaces: dict[str, LocalInterface] = {}
        self._unsettled: set[str] = set()
        self._planned: set[str] = set()
        self._live: set[str] = set()
        self._claimed_at_ms: dict[str, int] = {}
        self._place = Place("", "")

    def take(
        self,
        changes: Iterable[RowChange],
        interfaces: Mapping[str, LocalInterface],
        place: Place,
    ) -> None:
        """Follow rows, interfaces (by device) and our name; `held` and `claimed` are right then."""
        touched = self.ports.take(changes)
        if place == self._place:
            self._note_contention(touched)
        new = by_logical_port(interfaces, self._interfaces)
        for name in new.keys() | self._interfaces.keys():
            if new.get(name) != self._interfaces.get(name):
                touched |= {name} | self.ports.children.get(name, set())
        self._interfaces = new
        if place != self._place:
            self._place = place
            touched |= self.ports.by_name.keys()
        for name in touched:
            self._judge(name)
            port = self.ports.by_name.get(name)
            if port is not None and port.chassis == place.chassis:
                self._bound.add(name)
            else:
                self._bound.discard(name)
        self._unsettled |= touched

    def is_live(self) -> None:
        """Note that the data plane now has all that is held and claimed."""
        self._live = self.claimed | self.held.keys()

    def plan(
        self,
        rows: Mapping[UUID, ovs.db.idl.Row],
        chassis: _ChassisRow | None,
        now_ms: int,
    ) -> list[Write]:
        """Return what must be written to Port_Binding.

        ``chassis`` is our row, None while it is not registered; ``rows`` are those of Port_Binding.
        """
        self.next_due_ms = None
        self._planned.clear()
        writes: list[Write] = []
        for name in sorted(self._unsettled):
            port = self.ports.by_name.get(name)
            row = None if port is None else rows.get(port.uuid)
            if port is None or row is None:
                continue
            write = self._plan_port(port, row, chassis, now_ms)
            if write is not None:
                self._planned.add(name)
                writes.append(write)
        return writes

    def settle(self, installed: Mapping[str, bool]) -> None:
        """Forget the ports whose rows agree; ``installed`` tells it of interfaces by device."""
        self._unsettled = {
            name
            for name in self._unsettled
            if name in self._planned or not self._agrees(name, installed)
        }

    def plan_installed(self, installed: Mapping[str, bool]) -> dict[str, bool]:
        """Return the devices whose ``ovn-installed`` must be set (True) or taken away (False)."""
        wanted: dict[str, bool] = {}
        for name in self._unsettled:
            interface = self._interfaces.get(name)
            if interface is None or interface.name not in installed:
                continue
            here = self._wants_installed(name)
            if here is not None and installed[interface.name] != here:
                wanted[interface.name] = here
        return wanted

    def plan_release(self, rows: Mapping[UUID, ovs.db.idl.Row]) -> list[Write]:
        """Return what gives back every port that is bound here."""
        return [
            lambda _, row=row: _release(row)  # type: ignore[misc]
            for port in self.ports.by_name.values()
            if port.chassis == self._place.chassis and (row := rows.get(port.uuid)) is not None
        ]

    def _note_contention(self, touched: Iterable[str]) -> None:
        """Count rows that are not ours any more though claimed, or ours though not claimed."""
        for name in touched:
            port = self.ports.by_name.get(name)
            if port is None or port.type not in _CLAIMABLE:
                continue
            is_ours = port.chassis == self._place.chassis
            if is_ours not in (name in self._bound, name in self.claimed):
                self.contention.note(name, "" if is_ours else port.chassis)

    def _judge(self, name: str) -> None:
        port = self.ports.by_name.get(name)
        interface = self._interface_of(port) if port is not None else None
        held = port is not None and may_hold(port, interface, self._place)
        self.held.pop(name, None)
        self.claimed.discard(name)
        self._live.discard(name)
        if port is None or not held:
            return
        if port.type != "localport":
            self.claimed.add(name)
        if interface is not None and not port.parent:
            self.held[name] = interface

    def _interface_of(self, port: Port) -> LocalInterface | None:
        if not port.parent:
            return self._interfaces.get(port.name)
        parent = self.ports.by_name.get(port.parent)
        if parent is None or parent.type or parent.parent:
            return None
        interface = self._interfaces.get(port.parent)
        return interface if may_hold(parent, interface, self._place) else None

    def _plan_port(
        self, port: Port, row: ovs.db.idl.Row, chassis: _ChassisRow | None, now_ms: int
    ) -> Write | None:
        is_ours = port.chassis == self._place.chassis
        if port.name not in self.claimed:
            self._claimed_at_ms.pop(port.name, None)
            if is_ours and port.type in _CLAIMABLE:
                _log.info(f"port_releasing port={port.name}")
                return lambda _: _release(row)
            return None
        if chassis is None:
            return None
        encap = _encap_for(chassis, self._interface_of(port))
        if not is_ours:
            if not self._may_claim_again(port.name, now_ms):
                return None
            self._claimed_at_ms[port.name] = now_ms
            _log.info(f"port_claiming port={port.name} was={port.chassis or 'unbound'}")
            return lambda _: _claim(row, chassis, encap)
        wants_up = port.name in self._live and not port.is_up
        wants_encap = hasattr(row, "encap") and (
            (None if encap is None else encap.uuid) != port.encap
        )
        if not wants_up and not wants_encap:
            return None
        return lambda _: _complete(row, encap, up=wants_up)

    def _may_claim_again(self, name: str, now_ms: int) -> bool:
        due = self._claimed_at_ms.get(name, now_ms - CLAIM_BACK_OFF_MS) + CLAIM_BACK_OFF_MS
        if now_ms >= due:
            return True
        self.next_due_ms = due if self.next_due_ms is None else min(due, self.next_due_ms)
        return False

    def _wants_installed(self, name: str) -> bool | None:
        """Return whether the interface of a port carries the mark; None: leave it as it is."""
        port = self.ports.by_name.get(name)
        if port is None or name not in self.claimed:
            return False
        if port.chassis != self._place.chassis:
            return False  # a claim begins anew
        return True if name in self._live else None

    def _agrees(self, name: str, installed: Mapping[str, bool]) -> bool:
        port = self.ports.by_name.get(name)
        interface = self._interfaces.get(name)
        wanted = self._wants_installed(name)
        if interface is not None and installed.get(interface.name, False) != bool(wanted):
            return False
        if port is None:
            return True
        if name not in self.claimed:
            return port.chassis != self._place.chassis or port.type not in _CLAIMABLE
        return port.chassis == self._place.chassis and port.is_up and name in self._live


def _encap_for(chassis: _ChassisRow, interface: LocalInterface | None) -> ovs.db.idl.Row | None:
    """Return the Encap row that the interface asks for by its encap-ip."""
    if interface is None or interface.encap_ip is None:
        return None
    found = [encap for encap in chassis.encaps if encap is not None]
    return next((encap for encap in found if encap.ip == interface.encap_ip), None)


def _claim(row: ovs.db.idl.Row, chassis: _ChassisRow, encap: ovs.db.idl.Row | None) -> None:
    row.chassis = [chassis]
    put(row, "encap", [] if encap is None else [encap])
    additional = getattr(row, "additional_chassis", [])
    if chassis in additional:
        row.additional_chassis = [one for one in additional if one != chassis]


def _complete(row: ovs.db.idl.Row, encap: ovs.db.idl.Row | None, *, up: bool) -> None:
    row.verify("chassis")  # another may have taken the port over meanwhile
    put(row, "encap", [] if encap is None else [encap])
    if up:
        _log.info(f"port_up port={row.logical_port}")
        put(row, "up", True)


def _release(row: ovs.db.idl.Row) -> None:
    row.verify("chassis")  # another may have taken the port over meanwhile
    row.chassis = []
    put(row, "encap", [])
    put(row, "up", False)

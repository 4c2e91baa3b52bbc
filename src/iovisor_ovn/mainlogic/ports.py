# SPDX-License-Identifier: Apache-2.0
"""Port_Binding rows as far as binding and zones need them, found by name, parent and datapath.

Reading a column through the ``ovs`` package is slow, so a row is read when it changes, and the
rest works on values.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

import ovs.db.idl

from iovisor_ovn.ovsdb import RowChange

__all__ = ["COLUMNS", "NETWORK_TYPES", "UNKNOWN_CHASSIS", "Port", "PortIndex"]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Port_Binding": (
        "logical_port",
        "type",
        "options",
        "datapath",
        "parent_port",
        "chassis",
        "requested_chassis",
        "additional_chassis",
        "encap",
        "up",
    ),
    "Datapath_Binding": ("external_ids", "tunnel_key"),
}

#: Ports that lead to a network outside.
NETWORK_TYPES = ("localnet", "l2gateway")
_LINK_TYPES = ("patch", "l3gateway", *NETWORK_TYPES)

#: Stands for a chassis whose row is not in memory; no chassis has this name.
UNKNOWN_CHASSIS = "?"


@dataclass(frozen=True, slots=True)
class Port:
    """A logical port; ``chassis`` and ``requested`` are chassis names, empty for none."""

    uuid: UUID
    name: str
    type: str
    options: Mapping[str, str]
    datapath: UUID | None
    parent: str
    chassis: str
    requested: str
    additional: frozenset[str]
    encap: UUID | None
    is_up: bool


@dataclass(slots=True)
class PortIndex:
    """All ports, and which datapaths are reached from which."""

    by_name: dict[str, Port] = field(default_factory=dict)
    children: dict[str, set[str]] = field(default_factory=dict)
    _rows: dict[UUID, Port] = field(default_factory=dict)
    _links_of: dict[UUID, set[str]] = field(default_factory=dict)
    _routers: dict[UUID, int | None] = field(default_factory=dict)

    def take(self, changes: Iterable[RowChange]) -> set[str]:
        """Follow the rows; return the names of ports that may be another now."""
        touched: set[str] = set()
        for change in changes:
            if change.table == "Port_Binding":
                touched |= self._take_port(change)
            elif change.table == "Datapath_Binding":
                self._take_datapath(change)
        return touched

    def local_datapaths(self, names: Iterable[str]) -> set[UUID]:
        """Return the datapaths of these ports and those reached from them by patch ports."""
        found: set[UUID] = set()
        todo = [port.datapath for name in names if (port := self.by_name.get(name)) is not None]
        while todo:
            datapath = todo.pop()
            if datapath is None or datapath in found:
                continue
            found.add(datapath)
            todo += self._neighbours(datapath)
        return found

    def links_of(self, datapath: UUID) -> Iterator[Port]:
        """Return the ports of a datapath that lead to other datapaths or networks."""
        for name in self._links_of.get(datapath, ()):
            yield self.by_name[name]

    def is_router(self, datapath: UUID) -> bool:
        """Return whether a datapath is a logical router."""
        return datapath in self._routers

    def requested_snat_zone(self, datapath: UUID) -> int | None:
        """Return the zone that an operator asks for (snat-ct-zone)."""
        return self._routers.get(datapath)

    def _neighbours(self, datapath: UUID) -> Iterator[UUID | None]:
        for port in self.links_of(datapath):
            peer = self.by_name.get(port.options.get("peer", ""))
            if port.type not in NETWORK_TYPES and peer is not None:
                yield peer.datapath

    def _take_port(self, change: RowChange) -> set[str]:
        new = None if change.kind == "delete" else _read_port(change.row)
        old = self._rows.pop(change.row.uuid, None)
        if old is not None and self.by_name.get(old.name) is old:
            self._forget(old)
        if new is not None:
            self._rows[new.uuid] = new
            # The row that had the name may go only after this one has come.
            if new.name in self.by_name:
                self._forget(self.by_name[new.name])
            self.by_name[new.name] = new
            if new.datapath is not None and new.type in _LINK_TYPES:
                self._links_of.setdefault(new.datapath, set()).add(new.name)
            if new.parent:
                self.children.setdefault(new.parent, set()).add(new.name)
        touched = {port.name for port in (old, new) if port is not None}
        for name in list(touched):
            touched |= self.children.get(name, set())
        return touched

    def _forget(self, port: Port) -> None:
        del self.by_name[port.name]
        if port.datapath is not None:
            self._links_of.get(port.datapath, set()).discard(port.name)
        self.children.get(port.parent, set()).discard(port.name)

    def _take_datapath(self, change: RowChange) -> None:
        self._routers.pop(change.row.uuid, None)
        if change.kind == "delete":
            return
        external_ids = change.row.external_ids
        if "logical-router" in external_ids:
            zone = external_ids.get("snat-ct-zone", "")
            valid = zone.isascii() and zone.isdigit() and 0 < int(zone) <= 65535
            self._routers[change.row.uuid] = int(zone) if valid else None


def _read_port(row: ovs.db.idl.Row) -> Port:
    datapath = row.datapath
    encaps = [encap.uuid for encap in getattr(row, "encap", []) if encap is not None]
    return Port(
        uuid=row.uuid,
        name=row.logical_port,
        type=row.type,
        options=row.options,
        datapath=None if datapath is None else datapath.uuid,
        parent=_first(row.parent_port),
        chassis=_chassis_name(row.chassis),
        requested=_chassis_name(getattr(row, "requested_chassis", [])),
        additional=frozenset(
            _chassis_name([one]) for one in getattr(row, "additional_chassis", [])
        ),
        encap=encaps[0] if encaps else None,
        is_up=bool(getattr(row, "up", [True]) == [True]),
    )


def _first(values: list[str]) -> str:
    return values[0] if values else ""


def _chassis_name(rows: list[ovs.db.idl.Row | None]) -> str:
    for row in rows:
        return UNKNOWN_CHASSIS if row is None else str(row.name)
    return ""

# SPDX-License-Identifier: Apache-2.0
"""Southbound rows as values: what the pipeline needs of each, read once at the edge.

Columns that an older schema lacks read as empty. References read as row UUIDs, because the row
they lead to may not have arrived, or be gone.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

import ovs.db.data

from iovisor_ovn.ovsdb import LeanRow

__all__ = [
    "Datapath",
    "Flow",
    "Group",
    "Neighbour",
    "PortBinding",
    "PortGroup",
    "Row",
    "read_addresses",
    "read_datapath",
    "read_flow",
    "read_group",
    "read_learned",
    "read_neighbour",
    "read_port_binding",
    "read_port_group",
    "read_references",
]

#: Tables and columns that the readers below use.
COLUMNS: dict[str, tuple[str, ...]] = {
    "SB_Global": ("nb_cfg", "options"),
    "Chassis": ("name", "hostname", "encaps"),
    "Datapath_Binding": ("tunnel_key", "external_ids", "type"),
    "Port_Binding": (
        "logical_port", "type", "options", "datapath", "tunnel_key", "parent_port", "tag",
        "chassis", "port_security",
    ),
    "Logical_Flow": (
        "logical_datapath", "logical_dp_group", "pipeline", "table_id", "priority", "match",
        "actions",
    ),
    "Logical_DP_Group": ("datapaths",),
    "Multicast_Group": ("datapath", "name", "tunnel_key", "ports"),
    "Address_Set": ("name", "addresses"),
    "Port_Group": ("name", "ports"),
    "MAC_Binding": ("logical_port", "ip", "mac", "datapath", "timestamp"),
    "Static_MAC_Binding": ("logical_port", "ip", "mac", "datapath", "override_dynamic_mac"),
    "FDB": ("mac", "dp_key", "port_key", "timestamp"),
    "Chassis_Template_Var": ("chassis", "variables"),
}  # fmt: skip

#: Tables with many rows that are only read.
LEAN_TABLES = ("Logical_Flow",)

_KEY_MAX = 0xFFFFFF


class Row(Protocol):
    """What is used of an ``ovs.db.idl.Row``."""

    @property
    def uuid(self) -> UUID:
        """Its UUID."""

    def __getattr__(self, column: str) -> object:
        """Value of a column."""


@dataclass(frozen=True, slots=True)
class Datapath:
    """A logical switch or router. An operator may have named a router's zone for SNAT."""

    uuid: UUID
    key: int
    name: str
    is_router: bool
    has_snat_zone: bool = False


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A logical port. ``chassis`` is the name of the chassis it is bound to, or empty."""

    uuid: UUID
    name: str
    type: str
    options: dict[str, str]
    datapath: UUID
    key: int
    parent: str
    tag: int
    chassis: str
    port_security: tuple[str, ...]

    @property
    def peer(self) -> str:
        """Name of the other end of a patch port, or empty."""
        return self.options.get("peer", "")


class Flow(NamedTuple):
    """A logical flow; ``datapath`` and ``group`` exclude each other."""

    uuid: UUID
    datapath: UUID | None
    group: UUID | None
    egress: bool
    table: int
    priority: int
    match: str
    actions: str


@dataclass(frozen=True, slots=True)
class Group:
    """A multicast group: its ports' rows."""

    uuid: UUID
    datapath: UUID
    name: str
    key: int
    ports: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class PortGroup:
    """A port group of one datapath; the name carries the datapath's key in front."""

    name: str
    ports: frozenset[str]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A MAC_Binding or Static_MAC_Binding. ``override``: None for a learned one."""

    uuid: UUID
    datapath: UUID
    port: str
    ip: str
    mac: str
    override: bool | None


def _text(row: Row, column: str) -> str:
    value = getattr(row, column, "")
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value)


def _number(row: Row, column: str) -> int:
    value = getattr(row, column, 0)
    if isinstance(value, list):
        value = value[0] if value else 0
    return int(value) if isinstance(value, int) else 0


def _key(row: Row, column: str) -> int:
    """A tunnel key; 0, which no row has, for one that no schema permits."""
    number = _number(row, column)
    return number if 0 < number <= _KEY_MAX else 0


def _map(row: Row, column: str) -> dict[str, str]:
    value = getattr(row, column, {})
    return dict(value) if isinstance(value, dict) else {}


def _list(row: Row, column: str) -> list[object]:
    value = getattr(row, column, [])
    return value if isinstance(value, list) else [value]


def _stored(row: Row, column: str) -> list[object]:
    """A set as it is stored.

    To read a column takes long where members are many, and hides references whose row is not there.
    """
    if isinstance(row, LeanRow):
        return _list(row, column)
    stored = getattr(row, "_data", {}).get(column)
    if isinstance(stored, ovs.db.data.Datum):
        return [atom.value for atom in stored.values]
    return _list(row, column)


def _reference(row: Row, column: str) -> UUID | None:
    return next(iter(read_references(row, column)), None)


def _uuid_of(item: object) -> UUID:
    value = item if isinstance(item, UUID) else getattr(item, "uuid", None)
    if not isinstance(value, UUID):
        raise TypeError(f"{item!r} is no row")
    return value


def read_datapath(row: Row) -> Datapath:
    """A Datapath_Binding."""
    external_ids = _map(row, "external_ids")
    return Datapath(
        uuid=row.uuid,
        key=_key(row, "tunnel_key"),
        name=external_ids.get("name", ""),
        is_router="logical-router" in external_ids or _text(row, "type") == "logical-router",
        has_snat_zone="snat-ct-zone" in external_ids,
    )


def read_port_binding(row: Row) -> PortBinding | None:
    """A Port_Binding; ``None`` if it names no datapath."""
    datapath = _reference(row, "datapath")
    if datapath is None:
        return None
    chassis = next((item for item in _list(row, "chassis") if item is not None), None)
    return PortBinding(
        uuid=row.uuid,
        name=_text(row, "logical_port"),
        type=_text(row, "type"),
        options=_map(row, "options"),
        datapath=datapath,
        key=_key(row, "tunnel_key"),
        parent=_text(row, "parent_port"),
        tag=_number(row, "tag"),
        chassis=str(getattr(chassis, "name", "")),
        port_security=tuple(sorted(str(item) for item in _list(row, "port_security"))),
    )


def read_flow(row: Row) -> Flow:
    """A Logical_Flow."""
    if isinstance(row, LeanRow):
        datapath, group, pipeline, *others = row.values(COLUMNS["Logical_Flow"])
        return Flow(row.uuid, datapath, group, pipeline == "egress", *others)
    return Flow(
        uuid=row.uuid,
        datapath=_reference(row, "logical_datapath"),
        group=_reference(row, "logical_dp_group"),
        egress=_text(row, "pipeline") == "egress",
        table=_number(row, "table_id"),
        priority=_number(row, "priority"),
        match=_text(row, "match"),
        actions=_text(row, "actions"),
    )


def read_group(row: Row) -> Group | None:
    """A Multicast_Group; ``None`` if it names no datapath."""
    datapath = _reference(row, "datapath")
    if datapath is None:
        return None
    ports = read_references(row, "ports")
    return Group(row.uuid, datapath, _text(row, "name"), _key(row, "tunnel_key"), ports)


def read_references(row: Row, column: str) -> tuple[UUID, ...]:
    """Rows that a column leads to, in memory or not."""
    return tuple(_uuid_of(item) for item in _stored(row, column) if item is not None)


def read_addresses(row: Row) -> list[str]:
    """Members of an Address_Set."""
    return [str(value) for value in _stored(row, "addresses")]


def read_port_group(row: Row) -> PortGroup:
    """A Port_Group."""
    return PortGroup(_text(row, "name"), frozenset(str(item) for item in _list(row, "ports")))


def read_learned(row: Row) -> tuple[int, str, int]:
    """An FDB row: datapath key, MAC address, port key."""
    return _key(row, "dp_key"), _text(row, "mac"), _key(row, "port_key")


def read_neighbour(row: Row) -> Neighbour | None:
    """A MAC_Binding or Static_MAC_Binding; ``None`` if it names no datapath."""
    datapath = _reference(row, "datapath")
    if datapath is None:
        return None
    override = getattr(row, "override_dynamic_mac", None)
    if isinstance(override, list):
        override = override[0] if override else False
    return Neighbour(
        uuid=row.uuid,
        datapath=datapath,
        port=_text(row, "logical_port"),
        ip=_text(row, "ip"),
        mac=_text(row, "mac"),
        override=override if isinstance(override, bool) else None,
    )

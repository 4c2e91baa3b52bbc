# SPDX-License-Identifier: Apache-2.0
"""Rows of the Open_vSwitch database as typed values, read once here.

`COLUMNS` lists what this room reads and writes; whoever opens the database registers it.  Only the
functions of this file touch the untyped row objects of the ``ovs`` package.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

__all__ = [
    "COLUMNS",
    "CONFIG_COLUMNS",
    "Bridge",
    "BridgeRow",
    "InterfaceRow",
    "PortRow",
    "RootRow",
    "read_bridge",
    "read_interface",
    "read_port",
    "read_root",
    "row_uuid",
    "valid_mac",
]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Open_vSwitch": (
        "bridges",
        "next_cfg",
        "cur_cfg",
        "other_config",
        "external_ids",
        "ovs_version",
        "db_version",
        "system_type",
        "system_version",
        "datapath_types",
        "iface_types",
        "dpdk_initialized",
    ),
    "Bridge": (
        "name",
        "ports",
        "other_config",
        "external_ids",
        "datapath_id",
        "datapath_version",
    ),
    "Port": ("name", "interfaces", "mac"),
    "Interface": (
        "name",
        "type",
        "options",
        "mac",
        "mtu_request",
        "ofport_request",
        "ofport",
        "external_ids",
        "error",
        "ifindex",
        "mac_in_use",
        "mtu",
        "admin_state",
        "link_state",
        "link_resets",
        "link_speed",
        "duplex",
        "status",
        "statistics",
    ),
}

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_DATAPATH_ID = re.compile(r"(0x)?[0-9a-fA-F]{1,16}")
_DEFAULT_INTEGRATION_BRIDGE = "br-int"
_DEFAULT_STATS_INTERVAL_MS = 5000
_LEAST_STATS_INTERVAL_MS = 5000


# The columns that say what is wanted; a change of any other asks for nothing.
CONFIG_COLUMNS: Mapping[str, frozenset[str]] = {
    "Open_vSwitch": frozenset({"bridges", "next_cfg", "other_config", "external_ids"}),
    "Bridge": frozenset({"name", "ports", "other_config"}),
    "Port": frozenset({"interfaces", "mac"}),
    "Interface": frozenset(
        {"name", "type", "options", "mac", "mtu_request", "ofport_request", "external_ids"}
    ),
}


@dataclass(frozen=True, slots=True)
class InterfaceRow:
    """What others asked for in an Interface row.

    ``ofport``, ``link_resets`` and ``ifindex`` are what an agent before this one wrote there; they
    matter when the row is first met.
    """

    uuid: UUID
    name: str
    type: str
    options: Mapping[str, str]
    mac: str | None
    mtu_request: int | None
    ofport_request: int | None
    ofport: int | None
    link_resets: int | None
    ifindex: int | None
    iface_id: str | None
    iface_id_ver: str | None
    encap_ip: str | None
    module: str = ""
    module_settings: str = ""


@dataclass(frozen=True, slots=True)
class PortRow:
    """A port: the UUIDs of its interfaces, and the address that it lends to the bridge, if set."""

    interfaces: tuple[UUID, ...]
    mac: str | None


@dataclass(frozen=True, slots=True)
class BridgeRow:
    """A bridge: the UUIDs of its ports, and its configured address and datapath id, if any."""

    uuid: UUID
    name: str
    ports: tuple[UUID, ...]
    mac: str | None
    datapath_id: str | None


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge, its interfaces in order of their names, and Port addresses by interface."""

    row: BridgeRow
    interfaces: tuple[InterfaceRow, ...]
    port_macs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RootRow:
    """The one row of table Open_vSwitch."""

    uuid: UUID
    next_cfg: int
    integration_bridge: str
    stats_interval_ms: int
    system_type: str | None


def valid_mac(text: str | None) -> str | None:
    """Return a usable unicast Ethernet address in lower case, None for anything else."""
    if text is None or not _MAC.fullmatch(text.lower()):
        return None
    first = int(text[:2], 16)
    return None if first & 1 or not text.strip("0:") else text.lower()


def _texts(value: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _uuids(value: object) -> tuple[UUID, ...]:
    rows = value if isinstance(value, list) else []
    return tuple(row_uuid(row) for row in rows if row is not None)


def _first(value: object) -> object:
    """Return the value of an optional column, which the IDL gives as a list of at most one."""
    if isinstance(value, list):
        return value[0] if value else None
    return value


def _number(value: object) -> int | None:
    found = _first(value)
    return found if isinstance(found, int) else None


def _text(value: object) -> str | None:
    found = _first(value)
    return found if isinstance(found, str) else None


def _column(row: object, column: str) -> object:
    value: object = getattr(row, column)
    return value


def row_uuid(row: object) -> UUID:
    """Return the UUID of any row."""
    value = _column(row, "uuid")
    if not isinstance(value, UUID):
        raise TypeError(f"{row!r} has no UUID")
    return value


def read_root(row: object) -> RootRow:
    """Read the row of table Open_vSwitch."""
    config = _texts(_column(row, "other_config"))
    ids = _texts(_column(row, "external_ids"))
    chassis = ids.get("system-id", "")
    bridge = ids.get(f"ovn-bridge-{chassis}") or ids.get("ovn-bridge")
    return RootRow(
        uuid=row_uuid(row),
        next_cfg=_number(_column(row, "next_cfg")) or 0,
        integration_bridge=bridge or _DEFAULT_INTEGRATION_BRIDGE,
        stats_interval_ms=_interval(config.get("stats-update-interval", "")),
        system_type=_text(_column(row, "system_type")),
    )


def _interval(text: str) -> int:
    if not text.isdecimal():
        return _DEFAULT_STATS_INTERVAL_MS
    return max(int(text), _LEAST_STATS_INTERVAL_MS)


def read_bridge(row: object) -> BridgeRow:
    """Read a row of table Bridge."""
    config = _texts(_column(row, "other_config"))
    return BridgeRow(
        uuid=row_uuid(row),
        name=_text(_column(row, "name")) or "",
        ports=_uuids(_column(row, "ports")),
        mac=valid_mac(config.get("hwaddr")),
        datapath_id=_datapath_id(config.get("datapath-id", "")),
    )


def read_port(row: object) -> PortRow:
    """Read a row of table Port."""
    interfaces = _uuids(_column(row, "interfaces"))
    return PortRow(interfaces, valid_mac(_text(_column(row, "mac"))))


def _datapath_id(text: str) -> str | None:
    if not _DATAPATH_ID.fullmatch(text) or int(text, 16) == 0:
        return None
    return f"{int(text, 16):016x}"


def read_interface(row: object) -> InterfaceRow:
    """Read a row of table Interface."""
    ids = _texts(_column(row, "external_ids"))
    return InterfaceRow(
        uuid=row_uuid(row),
        name=_text(_column(row, "name")) or "",
        type=_text(_column(row, "type")) or "",
        options=_texts(_column(row, "options")),
        mac=valid_mac(_text(_column(row, "mac"))),
        mtu_request=_number(_column(row, "mtu_request")),
        ofport_request=_number(_column(row, "ofport_request")),
        ofport=_number(_column(row, "ofport")),
        link_resets=_number(_column(row, "link_resets")),
        ifindex=_number(_column(row, "ifindex")),
        iface_id=ids.get("iface-id") or None,
        iface_id_ver=ids.get("iface-id-ver") or None,
        encap_ip=ids.get("encap-ip") or None,
        module=ids.get("iovisor-module", ""),
        module_settings=ids.get("iovisor-module-settings", ""),
    )

# SPDX-License-Identifier: Apache-2.0
"""What is compared of the Southbound databases, in words that do not depend on row identifiers."""

import re
from typing import Any

from differential.rpc import Database

__all__ = ["flows", "learned", "ready_ports"]

_FLOWS = {
    "Datapath_Binding": ["tunnel_key"],
    "Logical_DP_Group": ["datapaths"],
    "Logical_Flow": [
        "logical_datapath", "logical_dp_group", "pipeline", "table_id", "priority", "match",
        "actions",
    ],
    "Multicast_Group": ["datapath", "name", "tunnel_key"],
    "Port_Binding": ["datapath", "logical_port", "tunnel_key", "type", "mac", "chassis"],
}  # fmt: skip
#: In which order northd of 25.03 numbers several next hops differs from run to run.
_HOP_NUMBER = re.compile(r"(reg8\[16\.\.31\] ==) \d+")
_LEARNED = {
    "Datapath_Binding": ["tunnel_key"],
    "FDB": ["mac", "dp_key", "port_key"],
    "MAC_Binding": ["datapath", "logical_port", "ip", "mac"],
}


def flows(southbound: Database) -> set[tuple[Any, ...]]:
    """Return logical flows, groups and ports as tuples with tunnel keys in place of references."""
    rows = southbound.read(_FLOWS)
    keys = {uuid: row["tunnel_key"] for uuid, row in rows["Datapath_Binding"].items()}
    groups = {
        uuid: tuple(sorted(keys[one] for one in _members(row["datapaths"])))
        for uuid, row in rows["Logical_DP_Group"].items()
    }
    found: set[tuple[Any, ...]] = set()
    for row in rows["Logical_Flow"].values():
        datapaths: tuple[int, ...] = tuple(keys[one] for one in _members(row["logical_datapath"]))
        for group in _members(row["logical_dp_group"]):
            datapaths += groups[group]
        row["match"] = _HOP_NUMBER.sub(r"\1 any", row["match"])
        flow = tuple(row[name] for name in _FLOWS["Logical_Flow"][2:])
        found |= {(key, *flow) for key in datapaths}
    for row in rows["Multicast_Group"].values():
        found.add((keys[row["datapath"][1]], "group", row["name"], row["tunnel_key"]))
    for row in rows["Port_Binding"].values():
        key = keys[row["datapath"][1]]
        bound = bool(_members(row["chassis"]))
        name, number, kind = (row[column] for column in ("logical_port", "tunnel_key", "type"))
        found.add((key, "port", name, number, kind, str(row["mac"]), bound))
    return found


def ready_ports(southbound: Database) -> set[str]:
    """Return the logical ports that a hypervisor has claimed and finished."""
    rows = southbound.read({"Port_Binding": ["logical_port", "chassis", "up", "type"]})
    return {
        row["logical_port"]
        for row in rows["Port_Binding"].values()
        if row["type"] == "" and _members(row["chassis"]) and row["up"] is True
    }


def learned(southbound: Database) -> frozenset[tuple[str, ...]]:
    """Return what was learned from packets: MAC_Binding and FDB."""
    rows = southbound.read(_LEARNED)
    bindings = {
        ("MAC_Binding", row["logical_port"], row["ip"], row["mac"])
        for row in rows["MAC_Binding"].values()
    }
    stations = {
        ("FDB", str(row["dp_key"]), str(row["port_key"]), row["mac"])
        for row in rows["FDB"].values()
    }
    return frozenset(bindings | stations)


def _members(value: list[Any]) -> list[str]:
    """Return the UUIDs in a column: one, or a set of any number."""
    if value[0] == "uuid":
        return [value[1]]
    return [one[1] for one in value[1]]

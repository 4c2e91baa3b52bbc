# SPDX-License-Identifier: Apache-2.0
"""Keeps a second Northbound database equal to the first, row identifiers included.

ovn-northd takes rows in the order of their UUIDs in places (ports of groups, routes), so two
databases filled by the same commands would not make the same logical flows.
"""

import json
from typing import Any

from differential.rpc import Database, Rows

__all__ = ["Mirror"]

# What ovn-northd writes; NB_Global besides is set on both sides when they start.
_OWN_COLUMNS = {"Logical_Switch_Port": {"up", "dynamic_addresses", "tag"}}
_OWN_TABLES = {"NB_Global", "Connection", "SSL"}


class Mirror:
    """Copies what changed since the last copy."""

    def __init__(self, original: Database, copy: Database) -> None:
        """Both databases are empty but for NB_Global."""
        self._original = original
        self._copy = copy
        self._tables = {
            table: [name for name in columns if name not in _OWN_COLUMNS.get(table, set())]
            for table, columns in original.tables().items()
            if table not in _OWN_TABLES
        }
        self._known: dict[str, Rows] = {table: {} for table in self._tables}

    def circumstances(self) -> list[str]:
        """Return which of "conntrack", "nat", "unknown addresses", "asking routers" play a part."""
        found = []
        is_translated = self._known["NAT"] or self._known["Load_Balancer"]
        acls = self._known["ACL"].values()
        if is_translated or any(row["action"] == "allow-related" for row in acls):
            found.append("conntrack")
        if is_translated:
            found.append("nat")
        ports = self._known["Logical_Switch_Port"].values()
        if any("unknown" in json.dumps(row["addresses"]) for row in ports):
            found.append("unknown addresses")
        routers = self._known["Logical_Router"].values()
        asks = '["dynamic_neigh_routers", "true"]'
        if any(asks in json.dumps(row["options"]) for row in routers):
            found.append("asking routers")
        return found

    def ports(self) -> set[str]:
        """Return the names of all switch ports."""
        return {row["name"] for row in self._known["Logical_Switch_Port"].values()}

    def copy(self) -> None:
        """Make the copy equal, in one transaction."""
        current = self._original.read(self._tables)
        operations: list[dict[str, Any]] = []
        for table, rows in current.items():
            known = self._known[table]
            operations += [
                {"op": "delete", "table": table, "where": _is(uuid)}
                for uuid in known.keys() - rows.keys()
            ]
            for uuid, row in rows.items():
                if uuid not in known:
                    operations.append({"op": "insert", "table": table, "uuid": uuid, "row": row})
                elif row != known[uuid]:
                    operations.append(
                        {"op": "update", "table": table, "where": _is(uuid), "row": row}
                    )
        if operations:
            self._copy.transact(*operations)
        self._known = current


def _is(uuid: str) -> list[Any]:
    return [["_uuid", "==", ["uuid", uuid]]]

# SPDX-License-Identifier: Apache-2.0
"""This hypervisor's rows in the Southbound database: Chassis, Chassis_Private, Encap.

`plan_chassis` compares the rows with the settings and returns what must be written; it is called on
every pass, so that a row which somebody deleted comes back.  Only columns that the role
ovn-controller may write are written (northd/ovn-northd.c, rbac_chassis_update and the like).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import ovs.db.idl
import ovs.vlog

from iovisor_ovn.mainlogic.options import AgentOptions
from iovisor_ovn.ovsdb import Database, Table, Transaction

__all__ = ["COLUMNS", "FEATURES", "Write", "find_row", "plan_chassis", "plan_removal", "put"]

_log = ovs.vlog.Vlog("chassis")

Write = Callable[[Transaction], None]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "SB_Global": ("nb_cfg", "options"),
    "Chassis": ("name", "hostname", "encaps", "other_config", "transport_zones"),
    "Chassis_Private": ("name", "chassis", "nb_cfg", "nb_cfg_timestamp"),
    "Encap": ("type", "options", "ip", "chassis_name"),
}

# northd writes flows that every chassis can run: a flag missing here changes those of the whole
# cluster, and one too many brings flows that this agent does not run.  docs/architecture.md says
# what each changes; the first three groups are of 23.03, 23.09 and 24.09 to 25.03.
FEATURES: Final[tuple[str, ...]] = (
    "port-up-notif",
    "ct-no-masked-label",
    "mac-binding-timestamp",
    "ovn-ct-lb-related",
    "fdb-timestamp",
    "ct-commit-nat-v2",
    "ct-commit-to-zone",
    "ct-next-zone",
)


def find_row(table: Table | None, column: str, value: str) -> ovs.db.idl.Row | None:
    """Return the row whose ``column`` is ``value``; cost: one read of the column per row."""
    rows: Iterable[ovs.db.idl.Row] = () if table is None else table.rows.values()
    return next((row for row in rows if getattr(row, column) == value), None)


def put(row: ovs.db.idl.Row, column: str, value: object) -> None:
    """Write a column that an older release may lack; there is nothing to write then."""
    if column in row._table.columns:  # noqa: SLF001 - the package has no public way
        setattr(row, column, value)


def plan_chassis(
    southbound: Database, options: AgentOptions, iface_types: Iterable[str], datapath_type: str
) -> list[Write]:
    """Return what must be written for the rows to say what the settings say; often nothing."""
    tables = southbound.tables
    chassis = find_row(tables["Chassis"], "name", options.chassis)
    wanted = _other_config(options, iface_types, datapath_type)
    if chassis is None:
        return [lambda transaction: _register(transaction, southbound, options, wanted)]
    writes: list[Write] = []
    if chassis.hostname != options.hostname:
        writes.append(lambda _: setattr(chassis, "hostname", options.hostname))
    # Keys of others (is-remote and the like) stay.
    if merged := _differing(chassis.other_config, wanted):
        writes.append(lambda _: _set_verified(chassis, "other_config", merged))
    zones = getattr(chassis, "transport_zones", options.transport_zones)
    if tuple(sorted(zones)) != options.transport_zones:
        wanted_zones = list(options.transport_zones)
        writes.append(lambda _: put(chassis, "transport_zones", wanted_zones))
    if _encaps_of(chassis) != _wanted_encaps(options):
        writes.append(lambda transaction: _write_encaps(transaction, southbound, chassis, options))
    private = find_row(tables.get("Chassis_Private"), "name", options.chassis)
    if private is None and "Chassis_Private" in tables:
        writes.append(lambda transaction: _add_private(transaction, southbound, chassis, options))
    elif private is not None and private.chassis != [chassis]:
        writes.append(lambda _: setattr(private, "chassis", [chassis]))
    return writes


def plan_removal(southbound: Database, chassis_name: str) -> list[Write]:
    """Return what removes this chassis; nothing when it is gone."""
    writes: list[Write] = []
    for name in ("Chassis_Private", "Chassis"):
        row = find_row(southbound.tables.get(name), "name", chassis_name)
        if row is not None:
            writes.append(lambda _, row=row: row.delete())  # type: ignore[misc]
    return writes


def _other_config(
    options: AgentOptions, iface_types: Iterable[str], datapath_type: str
) -> dict[str, str]:
    return {
        **options.mirrored,
        "datapath-type": datapath_type,
        "iface-types": ",".join(iface_types),
        "is-interconn": "true" if options.is_interconn else "false",
        **dict.fromkeys(FEATURES, "true"),
    }


def _differing(present: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str] | None:
    merged = {**present, **wanted}
    return None if merged == present else merged


def _set_verified(row: ovs.db.idl.Row, column: str, value: object) -> None:
    row.verify(column)
    setattr(row, column, value)


Encap = tuple[str, str, str, str]


def _encaps_of(chassis: ovs.db.idl.Row) -> set[Encap]:
    return {
        (encap.type, encap.ip, encap.options.get("csum", ""), encap.chassis_name)
        for encap in chassis.encaps
        if encap is not None
    }


def _wanted_encaps(options: AgentOptions) -> set[Encap]:
    return {
        (kind, ip, options.encap_csum, options.chassis)
        for kind in options.encap_types
        for ip in options.encap_ips
    }


def _register(
    transaction: Transaction,
    southbound: Database,
    options: AgentOptions,
    other_config: Mapping[str, str],
) -> None:
    row = transaction.insert(southbound.tables["Chassis"])
    row.name = options.chassis
    row.hostname = options.hostname
    row.other_config = dict(other_config)
    put(row, "transport_zones", list(options.transport_zones))
    _write_encaps(transaction, southbound, row, options)
    if "Chassis_Private" in southbound.tables:
        private = find_row(southbound.tables["Chassis_Private"], "name", options.chassis)
        if private is None:
            _add_private(transaction, southbound, row, options)
        else:
            private.chassis = [row]
    _log.info(f"chassis_registering chassis={options.chassis} hostname={options.hostname}")


def _write_encaps(
    transaction: Transaction, southbound: Database, chassis: ovs.db.idl.Row, options: AgentOptions
) -> None:
    """Give the chassis new Encap rows; the server collects those that nothing refers to."""
    encaps = []
    for kind, ip, csum, name in sorted(_wanted_encaps(options)):
        encap = transaction.insert(southbound.tables["Encap"])
        encap.type = kind
        encap.ip = ip
        encap.options = {"csum": csum}
        encap.chassis_name = name
        encaps.append(encap)
    chassis.encaps = encaps


def _add_private(
    transaction: Transaction, southbound: Database, chassis: ovs.db.idl.Row, options: AgentOptions
) -> None:
    private = transaction.insert(southbound.tables["Chassis_Private"])
    private.name = options.chassis
    private.chassis = [chassis]

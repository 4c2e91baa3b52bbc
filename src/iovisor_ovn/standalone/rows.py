# SPDX-License-Identifier: Apache-2.0
"""A chain as rows of a Southbound database that exists in memory only.

The pipeline reads Southbound rows. Here they are made of a topology and its modules' emissions,
instead of by ovn-northd; a change of the topology is the difference between two sets of rows::

    rows = chain_rows(topology, emissions, keys)
    pipeline.update(differences(old, rows), ...)

Rows are found again by name: each has a UUID that is made of what it stands for, and datapaths and
ports keep their numbers for as long as they are there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from iovisor_ovn.config.topology import ExternalInterface, Link, Module, Topology, host_port
from iovisor_ovn.errors import MapFullError
from iovisor_ovn.modules.emission import Emission, port_name

__all__ = ["CHASSIS", "Keys", "Row", "RowChange", "Rows", "chain_rows", "datapath_uuid",
       "differences"]  # fmt: skip

#: The name by which rows say that they are here.
CHASSIS = "standalone"

_NAMESPACE = UUID("8b6f9c1e-3d0a-4f57-9d55-6f1c0a7e2b41")
_FIRST_GROUP = 32768
_LAST_PORT = _FIRST_GROUP - 1
_LAST_DATAPATH = 0xFFFFFF

Value = str | int | bool | UUID | dict[str, str] | list[str] | list[UUID]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of ``table``; its columns are its attributes."""

    uuid: UUID
    table: str
    columns: Mapping[str, Value]

    def __getattr__(self, column: str) -> Value:
        """Value of a column; AttributeError without one, as of an older schema."""
        try:
            return self.columns[column]
        except KeyError:
            raise AttributeError(column) from None


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that came, changed or went, as the pipeline takes it."""

    table: str
    kind: str
    row: Row


Rows = Mapping[UUID, Row]


@dataclass(slots=True)
class Keys:
    """Numbers of datapaths and ports by name; one given stays until its owner is gone."""

    _given: dict[tuple[str, ...], dict[str, int]] = field(default_factory=dict)

    def assign(self, scope: tuple[str, ...], names: Iterable[str], last: int) -> dict[str, int]:
        """Give each name of a scope a number from 1 to ``last``. Raises MapFullError."""
        old = self._given.get(scope, {})
        wanted = list(dict.fromkeys(names))
        given = {name: old[name] for name in wanted if name in old}
        taken = set(given.values())
        number = 1
        for name in wanted:
            if name in given:
                continue
            while number in taken:
                number += 1
            if number > last:
                raise MapFullError(f"keys of {' '.join(scope)}", last)
            given[name] = number
            taken.add(number)
        self._given[scope] = given
        return given

    def keep(self, scopes: Iterable[tuple[str, ...]]) -> None:
        """Forget the numbers of all scopes but these."""
        kept = set(scopes)
        self._given = {scope: given for scope, given in self._given.items() if scope in kept}

    def copy(self) -> "Keys":
        """The same numbers, to be changed apart."""
        return Keys(dict(self._given))


def datapath_uuid(module: str) -> UUID:
    """Row of a module's datapath."""
    return _uuid("Datapath_Binding", module)


def chain_rows(topology: Topology, emissions: Mapping[str, Emission], keys: Keys) -> Rows:
    """All rows of a chain. Raises MapFullError when a module has too many ports."""
    rows: list[Row] = []
    datapath_keys = keys.assign(
        ("datapaths",), (module.name for module in topology.modules), _LAST_DATAPATH
    )
    peers = dict(_peers(topology.links))
    types = dict(_host_types(topology.interfaces))
    for module in topology.modules:
        emission = emissions[module.name]
        rows.append(_datapath(module, datapath_keys[module.name], emission))
        # Groups are served in order of these: a packet that floods a long chain of switches is at
        # the devices of one before it goes on to the next, and leaves nothing waiting behind.
        ordered = sorted(module.ports, key=lambda port: port_name(module.name, port) in peers)
        port_keys = keys.assign(("ports", module.name), ordered, _LAST_PORT)
        for port, key in port_keys.items():
            name = port_name(module.name, port)
            rows.append(_port(module.name, name, key, peers.get(name), types.get(name, "")))
        rows.extend(_contents(module.name, emission))
    keys.keep((("datapaths",), *(("ports", module.name) for module in topology.modules)))
    return {row.uuid: row for row in rows}


def differences(old: Rows, new: Rows) -> list[RowChange]:
    """What leads from old rows to new ones."""
    gone = [RowChange(row.table, "delete", row) for uuid, row in old.items() if uuid not in new]
    come = [
        RowChange(row.table, "update" if uuid in old else "insert", row)
        for uuid, row in new.items()
        if old.get(uuid) != row
    ]
    return gone + come


def _uuid(table: str, *names: object) -> UUID:
    return uuid5(_NAMESPACE, "\0".join((table, *map(str, names))))


def _row(table: str, names: tuple[object, ...], **columns: Value) -> Row:
    return Row(_uuid(table, *names), table, columns)


def _peers(links: Iterable[Link]) -> Iterable[tuple[str, str]]:
    for link in links:
        one, other = (port_name(end.module, end.port) for end in link.ends)
        yield one, other
        yield other, one


def _datapath(module: Module, key: int, emission: Emission) -> Row:
    kind = "logical-router" if emission.has_zones else "logical-switch"
    return Row(
        datapath_uuid(module.name),
        "Datapath_Binding",
        {"tunnel_key": key, "external_ids": {"name": module.name, kind: module.name}},
    )


def _host_types(interfaces: Iterable[ExternalInterface]) -> Iterable[tuple[str, str]]:
    """Types of the two ports of devices that the host keeps using."""
    for interface in interfaces:
        if interface.host:
            yield port_name(interface.module, interface.port), "wire"
            yield port_name(interface.module, host_port(interface.port)), "host"


def _port(module: str, name: str, key: int, peer: str | None, kind: str) -> Row:
    return _row(
        "Port_Binding",
        (name,),
        logical_port=name,
        datapath=datapath_uuid(module),
        tunnel_key=key,
        type=kind if peer is None else "patch",
        options={} if peer is None else {"peer": peer},
    )


def _contents(module: str, emission: Emission) -> Iterable[Row]:
    datapath = datapath_uuid(module)
    for flow in emission.flows:
        pipeline = "egress" if flow.egress else "ingress"
        yield _row(
            "Logical_Flow",
            (module, pipeline, flow.table, flow.priority, flow.match, flow.actions),
            logical_datapath=datapath,
            pipeline=pipeline,
            table_id=flow.table,
            priority=flow.priority,
            match=flow.match,
            actions=flow.actions,
        )
    for number, (name, ports) in enumerate(sorted(emission.groups.items())):
        yield _row(
            "Multicast_Group",
            (module, name),
            datapath=datapath,
            name=name,
            tunnel_key=_FIRST_GROUP + number,
            ports=[_uuid("Port_Binding", port_name(module, port)) for port in ports],
        )
    for neighbour in emission.neighbours:
        name = port_name(module, neighbour.port)
        yield _row(
            "Static_MAC_Binding",
            (name, neighbour.ip),
            datapath=datapath,
            logical_port=name,
            ip=str(neighbour.ip),
            mac=neighbour.mac,
            override_dynamic_mac=True,
        )

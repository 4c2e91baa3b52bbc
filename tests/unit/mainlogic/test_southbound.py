# SPDX-License-Identifier: Apache-2.0
"""Rows become values, whatever an older schema lacks and whatever is not in memory."""

from types import SimpleNamespace
from typing import cast
from uuid import UUID

import ovs.db.data
import ovs.db.idl
import pytest

from iovisor_ovn.mainlogic.southbound import (
    COLUMNS,
    Datapath,
    Flow,
    Group,
    Neighbour,
    PortBinding,
    PortGroup,
    Row,
    read_datapath,
    read_flow,
    read_group,
    read_neighbour,
    read_port_binding,
    read_port_group,
    read_references,
)
from iovisor_ovn.ovsdb.lean import LeanTable
from unit.mainlogic.fakes import FakeRow

ROW, DATAPATH, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
_REFERENCE = {"type": {"key": "uuid", "min": 0, "max": 1}}
_FLOW_TYPES = {
    "logical_datapath": _REFERENCE, "logical_dp_group": _REFERENCE,
    **{name: {"type": "string"} for name in ("pipeline", "match", "actions")},
    **{name: {"type": "integer"} for name in ("table_id", "priority")},
}  # fmt: skip


def row(**columns: object) -> Row:
    """A row with UUID 1."""
    return cast("Row", FakeRow("any", ROW, **columns))


@pytest.mark.parametrize(
    ("external_ids", "name", "is_router"),
    [
        ({"name": "ls", "logical-switch": str(OTHER)}, "ls", False),
        ({"name": "lr", "logical-router": str(OTHER)}, "lr", True),
        ({}, "", False),
    ],
)
def test_datapath_is_named_by_its_external_ids(
    external_ids: dict[str, str], name: str, is_router: bool
) -> None:
    """Northd marks routers by a key."""
    found = read_datapath(row(tunnel_key=7, external_ids=external_ids))
    assert found == Datapath(ROW, 7, name, is_router)


def test_port_binding_with_everything() -> None:
    """Optional columns come as lists, maps as dictionaries, sets in any order."""
    found = read_port_binding(row(
        logical_port="p", type="patch", options={"peer": "q"}, datapath=SimpleNamespace(
            uuid=DATAPATH), tunnel_key=5, parent_port=["parent"], tag=[42],
        chassis=[SimpleNamespace(name="hv1")], port_security=["b", "a"],
    ))  # fmt: skip
    assert found == PortBinding(
        ROW, "p", "patch", {"peer": "q"}, DATAPATH, 5, "parent", 42, "hv1", ("a", "b")
    )
    assert found.peer == "q"


def test_port_binding_with_nothing_optional() -> None:
    """What is empty or missing reads as empty."""
    found = read_port_binding(row(logical_port="p", datapath=DATAPATH, tunnel_key=5, chassis=[],
                                  parent_port=[], tag=[]))  # fmt: skip
    assert found == PortBinding(ROW, "p", "", {}, DATAPATH, 5, "", 0, "", ())
    assert found.peer == ""


def test_rows_without_datapath_are_no_values() -> None:
    """Ports, groups and neighbours are of a datapath."""
    empty = row(datapath=None)
    assert read_port_binding(empty) is None
    assert read_group(empty) is None
    assert read_neighbour(empty) is None


def test_chassis_that_is_not_in_memory_is_none() -> None:
    """A weak reference may lead nowhere."""
    found = read_port_binding(row(logical_port="p", datapath=DATAPATH, chassis=[None]))
    assert found is not None
    assert found.chassis == ""


def test_references_are_read_as_stored() -> None:
    """The ``ovs`` package hides references to rows that are not there; the store has them."""
    hidden = row(datapaths=[], _data={"datapaths": ovs.db.data.Datum.from_python(
        ovs.db.types.Type(ovs.db.types.BaseType(ovs.db.types.UuidType), None, 0, 9),
        [DATAPATH, OTHER], lambda uuid: uuid)})  # fmt: skip
    assert set(read_references(hidden, "datapaths")) == {DATAPATH, OTHER}


def test_references_to_what_is_no_row_are_a_bug() -> None:
    """A text where a reference should be is not passed over."""
    with pytest.raises(TypeError, match="no row"):
        read_references(row(ports=["p"]), "ports")


def test_flow_is_of_a_datapath_or_of_a_group() -> None:
    """Both columns are optional, one of them is set."""
    columns: dict[str, object] = {"pipeline": "egress", "table_id": 3, "priority": 100,
                                  "match": "1", "actions": "next;"}  # fmt: skip
    of_datapath = read_flow(row(logical_datapath=[DATAPATH], logical_dp_group=[], **columns))
    assert of_datapath == Flow(ROW, DATAPATH, None, True, 3, 100, "1", "next;")
    of_group = read_flow(row(logical_datapath=[], logical_dp_group=[OTHER], **columns))
    assert of_group == Flow(ROW, None, OTHER, True, 3, 100, "1", "next;")


def test_lean_flow_reads_as_any() -> None:
    """Of a schema without datapath groups, too."""
    wanted = COLUMNS["Logical_Flow"]
    for lacking in (set(), {"logical_dp_group"}):
        columns = {name: _FLOW_TYPES[name] for name in wanted if name not in lacking}
        schema = {"name": "S", "version": "1.0.0", "cksum": "0 0",
                  "tables": {"Logical_Flow": {"columns": columns}}}  # fmt: skip
        helper = ovs.db.idl.SchemaHelper(schema_json=schema)
        helper.register_table("Logical_Flow")
        table = LeanTable(ovs.db.idl.Idl("unix:/nowhere", helper).tables["Logical_Flow"])
        new = {"logical_datapath": ["uuid", str(DATAPATH)], "pipeline": "egress", "table_id": 3,
               "priority": 100, "match": "1", "actions": "next;"}  # fmt: skip
        notice = table.update2(ROW, {"insert": new})
        assert notice is not None
        assert read_flow(notice.row) == Flow(ROW, DATAPATH, None, True, 3, 100, "1", "next;")


def test_groups() -> None:
    """Multicast groups name rows, port groups names."""
    found = read_group(row(datapath=DATAPATH, name="mc", tunnel_key=32768, ports=[OTHER, None]))
    assert found == Group(ROW, DATAPATH, "mc", 32768, (OTHER,))
    assert read_port_group(row(name="5_pg", ports=["a", "b"])) == PortGroup(
        "5_pg", frozenset({"a", "b"})
    )


@pytest.mark.parametrize(
    ("columns", "override"),
    [({}, None), ({"override_dynamic_mac": True}, True), ({"override_dynamic_mac": [False]}, False),
     ({"override_dynamic_mac": []}, False)],
)  # fmt: skip
def test_configured_neighbours_say_whether_they_override(
    columns: dict[str, object], override: bool | None
) -> None:
    """A MAC_Binding row has no such column."""
    found = read_neighbour(row(datapath=DATAPATH, logical_port="p", ip="10.0.0.1",
                               mac="00:00:00:00:00:01", **columns))  # fmt: skip
    assert found == Neighbour(ROW, DATAPATH, "p", "10.0.0.1", "00:00:00:00:00:01", override)

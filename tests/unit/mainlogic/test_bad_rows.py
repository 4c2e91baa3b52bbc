# SPDX-License-Identifier: Apache-2.0
"""Rows that no schema should let through: named or as good as absent, and the others go on."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from uuid import UUID

import pytest

from iovisor_ovn.mainlogic.ports import PortIndex
from iovisor_ovn.ovsdb import RowChange
from unit.mainlogic.rig import Rig

if TYPE_CHECKING:
    import ovs.db.idl


@pytest.mark.parametrize(
    ("match", "actions", "table", "priority", "reason"),
    [
        ("", "next;", 0, 1, "the text ends"),
        ("ip4 &&", "next;", 0, 1, "constant"),
        ("foo.bar == 1", "next;", 0, 1, "foo.bar"),
        ('ip4.src == "x"', "next;", 0, 1, "integer"),
        ("ip4", "next;", 0, -5, "no priority -5"),
        ("ip4", "next;", 0, 1 << 40, "no priority"),
        ("(" * 5000 + "ip4" + ")" * 5000, "next;", 0, 1, "nested"),
    ],
)
def test_flow_with_an_error_is_named_and_alone(
    match: str, actions: str, table: int, priority: int, reason: str
) -> None:
    """It is left out, as ovn-controller does; flows that are right come into force beside it."""
    rig = Rig()
    before = len(rig.rules())
    rig.flow(match, actions, table=table, priority=priority)
    rig.flow("ip4", "drop;")
    rig.update()
    assert len(rig.rules()) == before + 1
    found = [d.message for d in rig.pipeline.flows.diagnostics.values()]
    assert len(found) == 1
    assert reason in found[0]


@pytest.mark.parametrize(
    ("actions", "table", "reason"),
    [
        ("next;", 77, "no table 77"),
        ("clone { " * 500 + "next;" + " };" * 500, 0, "nested"),
    ],
)
def test_flow_beyond_what_northd_writes_today_is_named_and_alone(
    actions: str, table: int, reason: str
) -> None:
    """It may be a later northd's; on a datapath without a complete pipeline the others go on."""
    rig = Rig()
    flow = rig.flow("ip4", actions, table=table, priority=1)
    rig.flow("ip4", "drop;")
    rig.update()
    assert 100 in {rule.priority for rule in rig.rules()}
    why = rig.pipeline.flows.unknown.why((flow.uuid, rig.sw.uuid))
    assert why is not None
    assert reason in why.message


@pytest.mark.parametrize("key", [0, -1, 1 << 40])
def test_keys_out_of_range_stop_nothing(key: int) -> None:
    """Ports, groups, datapaths and FDB rows with such keys; what comes with them is done."""
    rig = Rig()
    rig.port("x", key)
    rig.plug("x", 12)
    rig.db.insert("Datapath_Binding", tunnel_key=key, external_ids={})
    rig.db.insert("Multicast_Group", name="g", datapath=rig.sw, tunnel_key=key, ports=[rig.p0])
    rig.db.insert("FDB", mac="00:00:00:00:00:01", dp_key=5, port_key=key)
    rig.flow("ip4", "drop;")
    rig.update()
    assert len(rig.rules()) == 1
    assert not rig.machine.maps["fdb_entries"].contents


@pytest.mark.parametrize(
    ("ip", "mac"),
    [("", ""), ("10.0.0.1", "zz"), ("10.0.0.1", "0:0:0:0:0:100"), ("x", "0:0:0:0:0:1")],
)
def test_neighbour_that_cannot_be_read_is_absent(ip: str, mac: str) -> None:
    """Neither an entry nor an end, and it may become right."""
    rig = Rig()
    row = rig.db.insert("MAC_Binding", logical_port="p0", ip=ip, mac=mac, datapath=rig.sw)
    rig.update()
    assert not rig.machine.maps["neighbours"].contents
    rig.db.update(row, ip="10.0.0.1", mac="00:00:00:00:00:01")
    rig.update()
    assert len(rig.machine.maps["neighbours"].contents) == 1


def test_garbage_in_an_address_set_leaves_the_rest() -> None:
    """Members that are no address are passed over, one by one."""
    rig = Rig()
    rig.db.insert(
        "Address_Set", name="s", addresses=["", "x", "1.2.3.4/99", "fe80::1%lo", "10.0.0.1"]
    )
    rig.flow("ip4.src == $s", "drop;")
    rig.update()
    assert len(rig.contents.members) == 1


def test_missing_parents_peers_and_datapaths_stop_nothing() -> None:
    """Rows that lead nowhere."""
    rig = Rig()
    rig.port("child", 7, parent_port=["nobody"], tag=[5])
    rig.port("patch", 8, kind="patch", peer="nowhere")
    rig.port("loop", 9, kind="patch", peer="loop")
    rig.port("flying", 10, kind="flying")
    rig.db.insert("Port_Binding", logical_port="q", type="", options={}, datapath=[], tunnel_key=3)
    rig.flow('outport == "nobody"', "drop;")
    rig.flow("ip4", 'outport = "_MC_none"; output;')
    rig.db.insert("Port_Group", name="5_g", ports=["nope", ""])
    rig.flow("ip4", "drop;")
    rig.update()
    assert rig.machine.hooked == {10}
    assert not rig.pipeline.flows.diagnostics


def _port(number: int, datapath: UUID) -> RowChange:
    row = SimpleNamespace(
        uuid=UUID(int=number), logical_port="p", type="patch", options={}, parent_port=[],
        chassis=[],
        datapath=SimpleNamespace(uuid=datapath), up=[True],
        _table=SimpleNamespace(name="Port_Binding"),
    )  # fmt: skip
    return RowChange("Port_Binding", "insert", cast("ovs.db.idl.Row", row), frozenset())


def test_name_that_goes_from_datapath_to_datapath_is_in_one() -> None:
    """The new row may be told before the old one goes."""
    ports, first, second = PortIndex(), UUID(int=1), UUID(int=2)
    old, new = _port(11, first), _port(12, second)
    ports.take([old])
    ports.take([new, RowChange("Port_Binding", "delete", old.row, frozenset())])
    ports.take([RowChange("Port_Binding", "delete", new.row, frozenset())])
    assert list(ports.links_of(first)) == []
    assert list(ports.links_of(second)) == []

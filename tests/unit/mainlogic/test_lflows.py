# SPDX-License-Identifier: Apache-2.0
"""Flows are compiled when something that they mention changes, and then only."""

import time

import pytest

from iovisor_ovn.abi import Limit, Op
from iovisor_ovn.errors import MapFullError
from iovisor_ovn.mainlogic import lflows
from unit.mainlogic.contents import waste
from unit.mainlogic.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """A switch with a plugged port."""
    return Rig()


def compiled(rig: Rig) -> int:
    """Units compiled by a pass."""
    counts: list[int] = []
    compile_all = rig.pipeline.flows.compile

    def counted() -> int:
        counts.append(compile_all())
        return counts[-1]

    rig.pipeline.flows.compile = counted  # type: ignore[method-assign]  # to count
    rig.update()
    rig.pipeline.flows.compile = compile_all  # type: ignore[method-assign]  # as before
    return counts[0]


def priorities(rig: Rig, **where: object) -> set[int]:
    """Priorities of the flows in force."""
    return {rule.priority for rule in rig.rules(**where)}  # type: ignore[arg-type]


def test_flow_comes_changes_and_goes(rig: Rig) -> None:
    """What is in force follows the row."""
    flow = rig.flow("ip4", "drop;", priority=7)
    rig.update()
    assert priorities(rig) == {7}
    rig.db.update(flow, priority=8)
    rig.update()
    assert priorities(rig) == {8}
    rig.db.delete(flow)
    rig.update()
    assert priorities(rig) == set()


def test_flow_of_a_datapath_elsewhere_rests(rig: Rig) -> None:
    """It is compiled when its datapath becomes local, taken out when it stops being that."""
    far = rig.datapath("far", 6)
    rig.flow("ip4", "drop;", far)
    assert compiled(rig) == 0
    rig.port("q", 1, far)
    rig.plug("q", 11)
    assert compiled(rig) == 1
    assert priorities(rig, datapath=far) == {100}
    del rig.interfaces["q"]
    assert compiled(rig) == 0
    assert (far.uuid, 0, 1) not in rig.contents.stages


def test_flow_that_moves_in_the_pass_in_which_it_came(rig: Rig) -> None:
    """It ends up where the last row says, and not where the first said as well."""
    other = rig.datapath("other", 6)
    rig.port("q", 1, other)
    rig.plug("q", 11)
    rig.update()
    flow = rig.flow("ip4", "drop;")
    before = rig.db.take()
    rig.pipeline.update(before[:0], rig.interfaces, rig.zones, rig.chassis)
    for change in before:
        rig.pipeline._readers[change.table](change)
    rig.db.update(flow, logical_datapath=[other])
    rig.update()
    assert priorities(rig) == set()
    assert priorities(rig, datapath=other) == {100}


def test_datapath_group_changes(rig: Rig) -> None:
    """Flows follow their group's datapaths, also in the pass in which they came."""
    other = rig.datapath("other", 6)
    rig.port("q", 1, other)
    rig.plug("q", 11)
    group = rig.db.insert("Logical_DP_Group", datapaths=[rig.sw, other])
    rig.flow("ip4", "drop;", group)
    rig.update()
    assert priorities(rig) == priorities(rig, datapath=other) == {100}
    rig.flow("ip4 && tcp", "reg0 = 1; next;", group, priority=200)
    changes = rig.db.take()
    rig.db.update(group, datapaths=[other])
    rig.pipeline.update(changes + rig.db.take(), rig.interfaces, rig.zones, rig.chassis)
    assert priorities(rig) == set()
    assert priorities(rig, datapath=other) == {100, 200}
    rig.db.delete(group)
    rig.update()
    assert priorities(rig, datapath=other) == set()


def test_group_may_come_after_its_flows(rig: Rig) -> None:
    """The rows of a transaction come in any order."""
    group = rig.db.insert("Logical_DP_Group", datapaths=[rig.sw])
    changes = rig.db.take()
    rig.flow("ip4", "drop;", group)
    rig.update()
    assert priorities(rig) == set()
    rig.pipeline.update(changes, rig.interfaces, rig.zones, rig.chassis)
    assert priorities(rig) == {100}


@pytest.mark.parametrize(
    ("table", "match", "columns"),
    [
        ("Port_Group", "ip4 && inport == @g", {"name": "5_g", "ports": ["p0"]}),
        ("Address_Set", "ip4.src == $g", {"name": "g", "addresses": ["1.1.1.1"]}),
        ("Address_Set", "ip4 && ip4.src != $g", {"name": "g", "addresses": []}),
    ],
)
def test_set_comes_goes_and_comes_back(
    rig: Rig, table: str, match: str, columns: dict[str, object]
) -> None:
    """A flow that names a set which is not there does nothing; only that flow is compiled."""
    rig.flow(match, "drop;")
    rig.flow("udp", "drop;", priority=7)
    assert compiled(rig) == 2
    assert priorities(rig) == {7}
    for _ in range(2):
        row = rig.db.insert(table, **columns)
        assert compiled(rig) == 1
        assert priorities(rig) == {100, 7}
        rig.db.delete(row)
        assert compiled(rig) == 1
        assert priorities(rig) == {7}


def test_members_compile_nothing(rig: Rig) -> None:
    """Other members of sets that are there concern the maps of members alone."""
    group = rig.db.insert("Port_Group", name="5_g", ports=[])
    addresses = rig.db.insert("Address_Set", name="a", addresses=[])
    rig.flow("ip4 && inport == @g && ip4.src == $a", "drop;")
    assert compiled(rig) == 1
    rig.db.update(group, ports=["p0", "p1"])
    rig.db.update(addresses, addresses=["1.1.1.1", "2.0.0.0/8"])
    assert compiled(rig) == 0
    assert rig.record(1) == {"kind": 1, "ifindex": 10, "groups": ("@5_g",)}


def test_flow_is_compiled_for_ports_that_it_names(rig: Rig) -> None:
    """A port that comes, goes or gets another key concerns the flows that name it."""
    rig.flow('ip4 && inport == "p1"', "drop;")
    rig.flow("ip4", 'outport = "p1"; output;', priority=5)
    rig.flow("ip4", "drop;", priority=4)
    rig.update()
    assert priorities(rig) == {5}
    row = rig.port("p1", 7)
    assert compiled(rig) == 2
    assert priorities(rig) == {100, 5}
    rig.db.update(row, tunnel_key=8)
    assert compiled(rig) == 2
    (rule,) = (rule for rule in rig.rules() if rule.priority == 100)
    assert ("is", 0, 0xFFFFFFFF, 8) in rule.tests
    rig.db.update(row, chassis=[rig.hosts["hv2"]])
    assert compiled(rig) == 0
    rig.db.delete(row)
    assert compiled(rig) == 2


def test_multicast_groups_are_named_like_ports(rig: Rig) -> None:
    """Their key is part of the program."""
    rig.flow("ip4", 'outport = "_MC_flood"; output;')
    rig.update()
    group = rig.db.insert("Multicast_Group", datapath=rig.sw, name="_MC_flood",
                          tunnel_key=32768, ports=[])  # fmt: skip
    assert compiled(rig) == 1
    rig.db.update(group, ports=[rig.p0])
    assert compiled(rig) == 0
    rig.db.update(group, tunnel_key=32769)
    assert compiled(rig) == 1
    (rule,) = rig.rules()
    assert 32769 in {insn[5] for insn in rule.program}  # type: ignore[union-attr]


def test_residence_follows_chassis_and_name(rig: Rig) -> None:
    """Bound here, bound elsewhere, renamed, and us renamed."""
    rig.flow('ip4 && is_chassis_resident("p0")', "drop;", priority=1)
    rig.flow('ip4 && !is_chassis_resident("p0")', "drop;", priority=2)
    expected = []
    found = []
    for change, here in (
        ({"chassis": []}, False), ({"chassis": [rig.hosts["hv1"]]}, True),
        ({"chassis": [rig.hosts["hv2"]]}, False), ({"chassis": [rig.hosts["hv1"]]}, True),
    ):  # fmt: skip
        rig.db.update(rig.p0, **change)
        rig.update()
        found.append(priorities(rig))
        expected.append({1} if here else {2})
    assert found == expected
    other = rig.port("x", 9)
    rig.plug("x", 12)
    rig.db.update(rig.p0, logical_port="renamed")
    rig.update()
    assert priorities(rig) == {2}
    rig.db.delete(other)
    rig.db.update(rig.p0, logical_port="p0")
    rig.update()
    assert priorities(rig) == {1}
    rig.chassis = "hv2"
    rig.update()
    assert priorities(rig) == {2}


def test_templates_are_those_of_our_chassis(rig: Rig) -> None:
    """Chassis_Template_Var.chassis is a name; flows with a hole are diagnosed, not executed."""
    flow = rig.flow("ip4.dst == ^vip", "drop;")
    rig.update()
    assert rig.pipeline.flows.diagnostics[flow.uuid].column == 11
    rig.db.insert("Chassis_Template_Var", chassis="hv2", variables={"vip": "2.2.2.2"})
    rig.update()
    assert flow.uuid in rig.pipeline.flows.diagnostics
    mine = rig.db.insert("Chassis_Template_Var", chassis="hv1", variables={"vip": "1.1.1.1"})
    rig.update()
    assert not rig.pipeline.flows.diagnostics
    (rule,) = rig.rules()
    assert ("is", 30, 0xFFFFFFFF, 0x01010101) in rule.tests
    rig.chassis = "hv2"
    rig.update()
    (rule,) = rig.rules()
    assert ("is", 30, 0xFFFFFFFF, 0x02020202) in rule.tests
    rig.chassis = "hv1"
    rig.db.delete(mine)
    rig.update()
    assert flow.uuid in rig.pipeline.flows.diagnostics


def test_diagnostic_goes_with_its_flow_its_fault_and_its_datapath(rig: Rig) -> None:
    """It names place and text; two datapaths of a group make one, which stays for the second."""
    other = rig.datapath("other", 6)
    rig.port("q", 1, other)
    rig.plug("q", 11)
    group = rig.db.insert("Logical_DP_Group", datapaths=[rig.sw, other])
    flow = rig.flow("ip4 && no.such", "drop;", group)
    rig.update()
    (diagnostic,) = rig.pipeline.flows.diagnostics.values()
    assert (diagnostic.flow, diagnostic.source) == (flow.uuid, "ip4 && no.such")
    rig.db.update(group, datapaths=[other])
    rig.update()
    assert len(rig.pipeline.flows.diagnostics) == 1
    del rig.interfaces["q"]
    rig.update()
    assert not rig.pipeline.flows.diagnostics
    rig.plug("q", 11)
    rig.update()
    assert len(rig.pipeline.flows.diagnostics) == 1
    rig.db.update(flow, match="ip4")
    rig.update()
    assert not rig.pipeline.flows.diagnostics
    rig.db.update(flow, match="ip4 &&")
    rig.update()
    assert len(rig.pipeline.flows.diagnostics) == 1
    rig.db.delete(flow)
    rig.update()
    assert not rig.pipeline.flows.diagnostics


def test_tables_of_the_agent_are_not_northds(rig: Rig) -> None:
    """A flow in a stage that port security fills is beyond us."""
    flow = rig.flow("1", "next;", table=Limit.PORTSEC_IN)
    rig.update()
    why = rig.pipeline.flows.unknown.why((flow.uuid, rig.sw.uuid))
    assert why is not None
    assert "no table" in why.message


def test_unsupported_verbs_are_counted_and_forgotten(rig: Rig) -> None:
    """By flow and datapath; the program of such a flow is a counted drop."""
    flow = rig.flow("ip4", 'trigger_event(event = "empty_lb_backends", vip = "1.1.1.1", '
                    'protocol = "tcp");')  # fmt: skip
    rig.update()
    assert rig.pipeline.flows.unsupported == {"trigger_event": {(flow.uuid, rig.sw.uuid)}}
    (rule,) = rig.rules()
    assert rule.program == "trigger_event"
    rig.db.update(flow, actions="next;")
    rig.update()
    assert rig.pipeline.flows.unsupported == {}


def test_match_that_cannot_be_tested_drops_what_is_left_of_it(rig: Rig) -> None:
    """The flow keeps its place, so that nothing of lower priority gets its packets."""
    rig.db.insert("Address_Set", name="as", addresses=["10.0.0.1"])
    flow = rig.flow("tcp && ip4.dst[3..9] == $as", "next;", priority=7)
    rig.update()
    ((verb, units),) = rig.pipeline.flows.unsupported.items()
    assert units == {(flow.uuid, rig.sw.uuid)}
    assert {rule.program for rule in rig.rules() if rule.priority == 7} == {verb}


def test_release_of_northd_decides_what_names_mean(rig: Rig) -> None:
    """Another version compiles everything again; a strange one counts as the newest."""
    rig.flow("ip4", "drop;")
    sb_global = rig.db.insert("SB_Global", options={"northd_internal_version": "23.03.1-1-1"})
    rig.update()
    assert rig.pipeline.flows.symbols.release == "23.03"
    rig.db.update(sb_global, options={"northd_internal_version": "23.03.3-1-1"})
    assert compiled(rig) == 0
    for version in ("2x.03", "", "24", "..."):
        rig.db.update(sb_global, options={"northd_internal_version": version})
        rig.update()
        assert rig.pipeline.flows.symbols.release == "main"


@pytest.mark.parametrize(("written", "outputs"), [("true", 1), ("false", 2), (None, 2)])
def test_northd_says_whether_it_writes_what_a_held_packet_does(
    rig: Rig, written: str | None, outputs: int
) -> None:
    """If so the packet does it when its neighbour is known, and not beside the request."""
    options = {} if written is None else {"arp_ns_explicit_output": written}
    rig.flow("ip4", "arp { output; }; output;")
    rig.update()
    rig.db.insert("SB_Global", options=options)
    rig.update()
    (rule,) = rig.rules()
    assert isinstance(rule.program, tuple)
    assert [insn.op for insn in rule.program].count(Op.OUTPUT) == outputs


def test_held_packet_can_only_be_output(rig: Rig) -> None:
    """Anything else that it should do is a counted drop."""
    rig.db.insert("SB_Global", options={"arp_ns_explicit_output": "true"})
    rig.flow("ip4", "arp { output; }; next;")
    rig.update()
    assert list(rig.pipeline.flows.unsupported) == ["arp before other actions than output"]


def test_flows_that_do_not_fit_are_compiled_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full array stops the pass, and nothing is forgotten by it."""
    rig = Rig(insns=48)
    flows = [rig.flow(f"ip4 && tcp.dst == {n}", f"reg0 = {n}; reg1 = {n}; next;", priority=n)
             for n in range(1, 21)]  # fmt: skip
    with pytest.raises(MapFullError):
        rig.update()
    with pytest.raises(MapFullError):
        rig.update()
    for flow in flows[4:]:
        rig.db.delete(flow)
    # What was given back may still be read by a packet for half a second.
    with pytest.raises(MapFullError):
        rig.update()
    later = time.monotonic() + 1
    monkeypatch.setattr("time.monotonic", lambda: later)
    rig.update()
    assert priorities(rig) == {1, 2, 3, 4}
    # Four instructions of room each, and one for ports without port security.
    assert waste(rig.pipeline, rig.machine)["insns"] == 17


def test_literal_sets_go_with_their_flows(rig: Rig) -> None:
    """Their members would fill the maps of members."""
    ports = ", ".join(str(n) for n in range(1, 30))
    flow = rig.flow(f"ip4.src == {{1.1.1.1, 2.2.2.2}} && tcp.dst == {{{ports}}}", "drop;")
    rig.update()
    assert len(rig.contents.members) == 29
    rig.db.update(flow, match="ip4.src == {1.1.1.1, 2.2.2.2} && tcp.dst == 1")
    rig.update()
    assert rig.contents.members == {}
    assert not any(name.startswith("{") for name, _number in rig.pipeline.sets.items())


def test_long_work_breathes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While many flows are compiled, others get their turn again and again."""
    monkeypatch.setattr(lflows, "_UNITS_A_BREATH", 2)
    breaths: list[int] = []
    for priority in range(5):
        rig.flow(priority=priority)
    rig.pipeline.breathe_by(lambda: breaths.append(1))
    rig.pipeline.recompute()
    units = compiled(rig)
    assert len(breaths) == units // 2 > 0

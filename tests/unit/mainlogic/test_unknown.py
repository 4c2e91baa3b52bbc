# SPDX-License-Identifier: Apache-2.0
"""Flows beyond the agent: no half pipeline, no forgotten change, no wait for another's."""

import pytest

from iovisor_ovn.errors import MapFullError
from unit.mainlogic.fakes import FakeRow
from unit.mainlogic.rig import Rig

UNKNOWN = "reg0 = 1; frobnicate(reg0, 7); next;"


@pytest.fixture
def rig() -> Rig:
    """A switch with a complete pipeline of two flows."""
    rig = Rig()
    rig.flow("ip4", "next;", priority=1)
    rig.flow("ip4 && tcp", "drop;", priority=2)
    rig.update()
    return rig


def priorities(rig: Rig, datapath: FakeRow | None = None) -> set[int]:
    """Priorities of the flows in force."""
    return {rule.priority for rule in rig.rules(datapath=datapath)}


def test_datapath_keeps_its_last_complete_pipeline(rig: Rig) -> None:
    """All that came, changed and went with the unknown flow waits; all is done when it goes."""
    (first, second) = rig.db.of("Logical_Flow")
    before = rig.contents
    unknown = rig.flow("ip4 && udp", UNKNOWN, priority=9)
    rig.flow("ip4 && sctp", "drop;", priority=6)
    rig.db.update(first, priority=4)
    rig.db.delete(second)
    rig.update()
    assert rig.contents == before
    later = rig.flow("ip4 && igmp", "drop;", priority=5)
    rig.update()
    assert rig.contents == before
    rig.db.delete(later)
    rig.db.delete(unknown)
    rig.update()
    assert priorities(rig) == {4, 6}
    assert not rig.pipeline.flows.unknown.waiting


def test_unknown_flow_that_becomes_known_ends_the_wait(rig: Rig) -> None:
    """As when northd goes back a release."""
    unknown = rig.flow("ip4 && udp", UNKNOWN, priority=9)
    rig.update()
    assert priorities(rig) == {1, 2}
    rig.db.update(unknown, actions="drop;")
    rig.update()
    assert priorities(rig) == {1, 2, 9}


def test_known_flow_that_becomes_unknown_stays_as_it_was(rig: Rig) -> None:
    """A row that changes is held like one that comes."""
    (first, _second) = rig.db.of("Logical_Flow")
    before = rig.contents
    rig.db.update(first, actions=UNKNOWN)
    rig.update()
    assert rig.contents == before


def test_two_unknown_flows_must_both_go(rig: Rig) -> None:
    """The wait ends with the last."""
    unknown = [rig.flow("udp", UNKNOWN, priority=9), rig.flow("tcp", "ct_quantum;", priority=8)]
    rig.flow("ip4 && sctp", "drop;", priority=3)
    rig.update()
    for row in unknown:
        assert priorities(rig) == {1, 2}
        rig.db.delete(row)
        rig.update()
    assert priorities(rig) == {1, 2, 3}


def test_other_datapaths_go_on(rig: Rig) -> None:
    """A flow of a group is unknown on each of its datapaths, and holds no other."""
    other, third = rig.datapath("other", 6), rig.datapath("third", 7)
    for port, datapath, ifindex in (("q", other, 11), ("r", third, 12)):
        rig.port(port, 1, datapath)
        rig.plug(port, ifindex)
        rig.flow("ip4", "next;", datapath, priority=1)
    rig.update()
    group = rig.db.insert("Logical_DP_Group", datapaths=[rig.sw, other])
    rig.flow("udp", UNKNOWN, group, priority=9)
    for datapath in (rig.sw, other, third):
        rig.flow("ip4 && sctp", "drop;", datapath, priority=3)
    rig.update()
    assert (priorities(rig), priorities(rig, other)) == ({1, 2}, {1})
    assert priorities(rig, third) == {1, 3}
    rig.db.update(group, datapaths=[rig.sw])
    rig.update()
    assert (priorities(rig), priorities(rig, other)) == ({1, 2}, {1, 3})


def test_sets_and_ports_of_a_held_datapath_go_on(rig: Rig) -> None:
    """Members are no flows."""
    addresses = rig.db.insert("Address_Set", name="as", addresses=["10.0.0.1"])
    rig.flow("ip4.src == $as", "drop;", priority=3)
    rig.update()
    rig.flow("udp", UNKNOWN, priority=9)
    rig.update()
    rig.db.update(addresses, addresses=["10.0.0.1", "10.0.0.2"])
    rig.port("new", 5)
    rig.plug("new", 12)
    rig.update()
    assert len(rig.contents.members) == 2
    assert rig.record(5) is not None
    assert 12 in rig.machine.hooked


def test_new_datapath_drops_what_it_does_not_know(rig: Rig) -> None:
    """It has nothing to keep: the unknown flow keeps its place as a drop that bears its name."""
    other = rig.datapath("other", 6)
    rig.port("q", 1, other)
    rig.plug("q", 11)
    rig.flow("ip4", "next;", other, priority=1)
    unknown = rig.flow("ip4 && udp", UNKNOWN, other, priority=9)
    rig.update()
    assert {(rule.priority, rule.program) for rule in rig.rules(datapath=other)} >= {
        (9, "frobnicate")
    }
    assert list(rig.pipeline.flows.unsupported) == ["frobnicate"]
    # It goes on being built like that, until it is complete.
    rig.flow("ip4 && sctp", "drop;", other, priority=3)
    rig.update()
    assert priorities(rig, other) == {1, 3, 9}
    rig.db.delete(unknown)
    rig.update()
    assert priorities(rig, other) == {1, 3}
    rig.flow("ip4 && udp", UNKNOWN, other, priority=9)
    rig.update()
    assert priorities(rig, other) == {1, 3}


def test_unknown_field_of_a_newer_northd_takes_all_packets(rig: Rig) -> None:
    """On a new datapath: which it would have matched cannot be known."""
    rig.db.insert("SB_Global", options={"northd_internal_version": "99.03.0-1-1"})
    other = rig.datapath("other", 6)
    rig.port("q", 1, other)
    rig.plug("q", 11)
    rig.flow("ip4 && no.such.field == 1", "next;", other, priority=9)
    rig.update()
    ((rule),) = rig.rules(datapath=other)
    assert (rule.priority, rule.program, rule.tests) == (9, "no.such.field", frozenset())


@pytest.mark.parametrize(("version", "held"), [("25.03.2-1-1", False), ("99.03.0-1-1", True)])
def test_match_of_a_newer_northd_holds_and_a_wrong_rule_does_not(
    rig: Rig, version: str, held: bool
) -> None:
    """What people write into ACLs is theirs as long as northd's language is known."""
    rig.db.insert("SB_Global", options={"northd_internal_version": version})
    rig.update()
    rig.flow("ip4 && no.such.field == 1", "drop;", priority=9)
    rig.flow("ip4 && sctp", "drop;", priority=3)
    rig.update()
    assert priorities(rig) == ({1, 2} if held else {1, 2, 3})
    assert bool(rig.pipeline.flows.diagnostics) is not held


@pytest.mark.parametrize(
    "actions",
    ["reg0[3] = put_dhcp_opts(offerip = 10.0.0.5, no_such_option = 7); next;",
     "ct_lb_mark(backends=^pool);"],
)  # fmt: skip
def test_options_and_templates_that_people_wrote_hold_nothing(rig: Rig, actions: str) -> None:
    """They reach the actions as they are written."""
    rig.flow("udp", actions, priority=9)
    rig.flow("ip4 && sctp", "drop;", priority=3)
    rig.update()
    assert priorities(rig) == {1, 2, 3}
    assert len(rig.pipeline.flows.diagnostics) == 1


def test_known_verbs_that_are_not_executed_hold_nothing(rig: Rig) -> None:
    """They are in every pipeline of northd's, as counted drops."""
    rig.flow("ip4 && udp", "handle_dhcpv6_reply;", priority=9)
    rig.update()
    assert priorities(rig) == {1, 2, 9}


def test_datapath_that_left_and_came_back_is_new(rig: Rig) -> None:
    """What it had is gone with it."""
    rig.flow("ip4 && udp", UNKNOWN, priority=9)
    rig.update()
    plugged = rig.interfaces.pop("p0")
    rig.update()
    assert not rig.pipeline.flows.unknown.waiting
    rig.interfaces["p0"] = plugged
    rig.update()
    assert priorities(rig) == {1, 2, 9}


def test_half_a_pipeline_is_not_kept() -> None:
    """Where a full map stopped the compiler, an unknown flow later holds nothing."""
    rig = Rig(insns=24)
    rig.flow("ip4", "next;", priority=1)
    rig.update()
    many = [
        rig.flow(f"tcp.dst == {n}", f"reg0 = {n}; reg1 = {n}; next;", priority=n)
        for n in range(2, 20)
    ]
    with pytest.raises(MapFullError):
        rig.update()
    for row in many:
        rig.db.delete(row)
    rig.flow("ip4 && udp", UNKNOWN, priority=99)
    rig.update()
    assert priorities(rig) == {1, 99}


def test_log_names_each_missing_word_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the datapath, and again only when it has caught up in between."""
    lines: list[str] = []
    log = "iovisor_ovn.mainlogic.unknown._log"
    monkeypatch.setattr(f"{log}.warn", lines.append)
    monkeypatch.setattr(f"{log}.info", lines.append)
    unknown = [rig.flow("udp", UNKNOWN, priority=9)]
    rig.update()
    unknown.append(rig.flow("tcp", UNKNOWN.replace("7", "8"), priority=8))
    rig.update()
    (held,) = lines
    assert held.startswith("datapath_held datapath=sw missing='frobnicate'")
    for row in unknown:
        rig.db.delete(row)
    rig.update()
    assert lines == [held, "datapath_caught_up datapath=sw"]
    rig.flow("udp", UNKNOWN, priority=9)
    rig.update()
    assert len(lines) == 3

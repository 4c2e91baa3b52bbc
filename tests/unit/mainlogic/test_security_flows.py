# SPDX-License-Identifier: Apache-2.0
"""Port security in the private stages."""

import pytest

from iovisor_ovn.abi import Limit
from iovisor_ovn.errors import MapFullError
from unit.mainlogic.contents import waste
from unit.mainlogic.fakes import FakeRow
from unit.mainlogic.rig import Rig

_MAC = "00:00:00:00:00:01"


@pytest.fixture
def rig() -> Rig:
    """A switch with a plugged port."""
    return Rig()


def priorities(rig: Rig, datapath: FakeRow | None = None) -> list[int]:
    """Priorities of what IPv4 packets from ports meet."""
    return sorted({rule.priority for rule in rig.rules(Limit.PORTSEC_IN, datapath)})


def test_stages_are_never_empty(rig: Rig) -> None:
    """A datapath without port security lets all pass; an empty stage would drop."""
    for stage in (Limit.PORTSEC_IN, Limit.PORTSEC_IN_ND, Limit.PORTSEC_OUT):
        (rule,) = rig.rules(stage)
        assert (rule.priority, rule.tests) == (0, frozenset())


def test_rules_follow_the_column(rig: Rig) -> None:
    """They come, change and go with Port_Binding.port_security."""
    rig.db.update(rig.p0, port_security=[_MAC])
    rig.update()
    assert priorities(rig) == [0, 80, 90]
    rig.db.update(rig.p0, port_security=["unknown"])
    rig.update()
    assert priorities(rig) == [0]


def test_rules_test_the_key_that_the_port_has_now(rig: Rig) -> None:
    """Renumbered, renamed, moved."""
    rig.db.update(rig.p0, port_security=[_MAC])
    other = rig.datapath("other", 6)
    rig.update()

    def keys(datapath: FakeRow) -> set[object]:
        rules = rig.rules(Limit.PORTSEC_IN, datapath)
        return {test[3] for rule in rules for test in rule.tests if test[:2] == ("is", 0)}

    assert keys(rig.sw) == {1}
    rig.db.update(rig.p0, tunnel_key=9)
    rig.update()
    assert keys(rig.sw) == {9}
    rig.db.update(rig.p0, datapath=other)
    rig.update()
    assert keys(other) == {9}
    assert (rig.sw.uuid, Limit.PORTSEC_IN, 1) not in rig.contents.stages


def test_only_ports_with_an_interface_have_rules(rig: Rig) -> None:
    """Packets of the others are checked where they are; nested ports use their parent's."""
    rig.port("far", 2, port_security=[_MAC], chassis=[rig.hosts["hv2"]])
    rig.update()
    assert priorities(rig) == [0]
    rig.plug("far", 11)
    rig.update()
    assert priorities(rig) == [0, 80, 90]
    del rig.interfaces["far"]
    rig.port("nested", 3, port_security=[_MAC], parent_port=["p1"], tag=[5])
    rig.update()
    assert priorities(rig) == [0]
    rig.port("p1", 4)
    rig.plug("p1", 12)
    rig.update()
    assert priorities(rig) == [0, 80, 90]
    del rig.interfaces["p1"]
    rig.update()
    assert priorities(rig) == [0]


def test_strange_names_do_no_harm(rig: Rig) -> None:
    """A quote in a port's name is a quote in its rules."""
    rig.port('a"b\\', 2, port_security=[_MAC])
    rig.plug('a"b\\', 11)
    rig.update()
    assert priorities(rig) == [0, 80, 90]


def test_many_addresses_are_a_set_that_goes_with_the_port(rig: Rig) -> None:
    """Entries grow with the lists' sum, not their product, and leave no members behind."""
    addresses = " ".join(f"10.0.{n}.1" for n in range(40))
    rig.db.update(rig.p0, port_security=[f"{_MAC} {addresses}"])
    rig.update()
    assert len(rig.contents.members) >= 40
    rig.db.update(rig.p0, port_security=[])
    rig.update()
    assert rig.contents.members == {}


def test_rules_that_do_not_fit_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full array stops the pass; the next one goes on."""
    rig = Rig()
    monkeypatch.setattr(rig.pipeline.image._insn_rows, "capacity", 17)
    rig.db.update(rig.p0, port_security=[_MAC])
    for _ in range(2):
        with pytest.raises(MapFullError):
            rig.update()
    monkeypatch.setattr(rig.pipeline.image._insn_rows, "capacity", 1000)
    rig.update()
    assert priorities(rig) == [0, 80, 90]
    rig.db.delete(rig.p0)
    rig.update()
    assert waste(rig.pipeline, rig.machine)["insns"] == 0

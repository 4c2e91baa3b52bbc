# SPDX-License-Identifier: Apache-2.0
"""One pass of the pipeline: order, devices, what happens when something refuses."""

from collections.abc import Iterable
from uuid import UUID

import pytest

from iovisor_ovn.abi import Limit
from iovisor_ovn.errors import AttachError, DeviceError, MapFullError
from iovisor_ovn.mainlogic.world import World
from unit.mainlogic.fakes import FakeMachine, make_pipeline
from unit.mainlogic.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """A switch with a plugged port."""
    return Rig()


@pytest.fixture
def sharing(rig: Rig) -> Rig:
    """The device 10 is the host's, too; another port is on device 11."""
    rig.db.update(rig.p0, type="wire")
    rig.port("p0/host", 2, kind="host")
    rig.plug("p0/host", 10)
    rig.port("p1", 3)
    rig.plug("p1", 11)
    rig.update()
    return rig


def test_device_of_the_host_is_hooked_both_ways(sharing: Rig) -> None:
    """For as long as the host has a port there."""
    assert (sharing.machine.hooked, sharing.machine.shared) == ({10, 11}, {10})
    del sharing.interfaces["p0/host"]
    sharing.update()
    assert (sharing.machine.hooked, sharing.machine.shared) == ({10, 11}, set())
    sharing.plug("p0/host", 10)
    sharing.update()
    assert (sharing.machine.hooked, sharing.machine.shared) == ({10, 11}, {10})


def test_device_is_returned_to_the_host_before_its_ports_go(
    sharing: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that knows no port for a device drops what comes from it."""
    machine, known = sharing.machine, []

    def detach(ifindex: int) -> None:
        known.append((ifindex, set(sharing.contents.devices)))
        FakeMachine.detach(machine, ifindex)

    monkeypatch.setattr(machine, "detach", detach)
    del sharing.interfaces["p0"]
    del sharing.interfaces["p0/host"]
    sharing.update()
    assert known == [(10, {(10, 0), (10, Limit.HOST_TAG), (11, 0)})]
    assert sharing.contents.devices.keys() == {(11, 0)}
    assert machine.hooked == {11}


def test_devices_are_hooked_and_let_go(rig: Rig) -> None:
    """As interfaces come and go."""
    rig.port("p1", 2)
    rig.plug("p1", 11)
    rig.update()
    assert rig.machine.hooked == {10, 11}
    del rig.interfaces["p0"]
    rig.update()
    assert rig.machine.hooked == {11}


def test_devices_of_an_earlier_agent_are_let_go_last() -> None:
    """Those that nobody wants any more are unhooked on the first pass, when the maps are full."""
    machine = FakeMachine()
    machine.hooked |= {7, 10}
    pipeline, _machine = make_pipeline(machine)
    assert machine.hooked == {7, 10}
    rig = Rig()
    pipeline.update(rig.db.everything(), rig.interfaces, {}, "hv1")
    assert machine.hooked == {10}


def test_device_that_vanished_is_no_error(rig: Rig) -> None:
    """Its interface will go soon; it is tried again until then."""
    rig.port("p1", 2)
    rig.plug("p1", 11)
    rig.machine.refusals[11] = DeviceError("gone")
    rig.update()
    assert rig.machine.hooked == {10}
    rig.machine.refusals.clear()
    rig.update()
    assert rig.machine.hooked == {10, 11}


def test_device_that_refuses_holds_up_no_other(rig: Rig) -> None:
    """The pass is reported as failed, since the port does not work; all others do."""
    for n in range(3):
        rig.port(f"q{n}", 2 + n)
        rig.plug(f"q{n}", 20 + n)
    rig.machine.refusals[20] = AttachError("busy")
    rig.flow("ip4", "drop;")
    for _ in range(2):
        with pytest.raises(AttachError):
            rig.update()
    assert rig.machine.hooked == {10, 21, 22}
    assert len(rig.rules()) == 1
    rig.machine.refusals.clear()
    rig.update()
    assert rig.machine.hooked == {10, 20, 21, 22}


def test_datapath_that_does_not_fit_holds_up_no_other() -> None:
    """It is local as soon as another goes."""
    rig = Rig(datapaths=3)
    others = [rig.datapath(f"d{n}", 20 + n) for n in range(2)]
    for n, datapath in enumerate(others):
        rig.port(f"q{n}", 1, datapath)
        rig.plug(f"q{n}", 20 + n)
        rig.flow("ip4", "drop;", datapath)
    for _ in range(2):
        with pytest.raises(MapFullError):
            rig.update()
    assert len(rig.pipeline.world.local) == 2
    rig.flow("ip4", "drop;")
    with pytest.raises(MapFullError):
        rig.update()
    assert len(rig.rules()) == 1
    del rig.interfaces["p0"]
    rig.update()
    assert set(rig.pipeline.world.local) == {row.uuid for row in others}
    assert all(len(rig.rules(datapath=row)) == 1 for row in others)


def test_zones_of_routers_have_two_spellings(rig: Rig) -> None:
    """By the row's UUID up to OVN 23.06, by the router's name since; the row's counts first."""
    lr = rig.datapath("lr", 6, "logical-router")
    rig.port("lrp", 1, lr)
    rig.plug("lrp", 11)
    rig.zones |= {"lr_dnat": 7, "lr_snat": 8}
    rig.update()
    first = dict(rig.contents.datapaths[lr.uuid])
    rig.zones[f"{lr.uuid}_snat"] = 9
    rig.update()
    assert first == {"key": 6, "flags": 1, "dnat_zone": 7, "snat_zone": 8}
    assert rig.contents.datapaths[lr.uuid]["snat_zone"] == 9


def test_zones_survive_a_pass_that_failed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed pass has taken note of is done by the next."""
    rig.zones |= {"sw_dnat": 5, "p0": 6}
    rig.plug("p0", 12)

    def refuse(*_what: object, **_more: object) -> None:
        raise MapFullError("dps", 1)

    with monkeypatch.context() as patched:
        patched.setattr(rig.machine, "put_datapath", refuse)
        with pytest.raises(MapFullError):
            rig.update()
    rig.update()
    assert rig.contents.datapaths[rig.sw.uuid]["dnat_zone"] == 5
    assert rig.contents.devices == {(12, 0): (rig.sw.uuid, 1, 6, 0)}


def test_datapath_becomes_local_through_a_patch_port_and_stops(rig: Rig) -> None:
    """Its flows, ports and learned addresses come and go with it."""
    lr = rig.datapath("lr", 6, "logical-router")
    rig.flow("ip4", "drop;", lr)
    rig.port("lrp", 1, lr, kind="patch", peer="sw-lr")
    rig.update()
    assert set(rig.pipeline.world.local) == {rig.sw.uuid}
    patch = rig.port("sw-lr", 2, kind="patch", peer="lrp")
    rig.update()
    assert len(rig.rules(datapath=lr)) == 1
    rig.db.delete(patch)
    rig.update()
    assert set(rig.pipeline.world.local) == {rig.sw.uuid}
    assert {where[0] for where in rig.contents.stages} == {rig.sw.uuid}


def test_change_that_concerns_nobody_here_costs_no_search(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port_Binding.up and chassis of ports elsewhere change all the time."""
    far = rig.datapath("far", 6)
    row = rig.port("q", 1, far)
    rig.update()
    searches: list[object] = []
    relocate = World.relocate

    def search(world: World, bound: Iterable[str]) -> tuple[set[UUID], dict[UUID, int]]:
        searches.append(bound)
        return relocate(world, bound)

    monkeypatch.setattr(World, "relocate", search)
    rig.db.update(row, up=True)
    rig.db.update(row, chassis=[rig.hosts["hv2"]], port_security=["x"])
    rig.update()
    assert searches == []


def test_recompute_ends_where_it_began(rig: Rig) -> None:
    """Everything is compiled again, nothing changes."""
    rig.flow("ip4 && tcp.dst == {1, 2, 3}", "drop;")
    rig.db.insert("Multicast_Group", datapath=rig.sw, name="mc", tunnel_key=32768, ports=[rig.p0])
    rig.update()
    before = rig.contents
    rig.pipeline.recompute()
    rig.update()
    assert rig.contents == before


def test_members_that_are_no_addresses_are_passed_over(rig: Rig) -> None:
    """The others of their set count."""
    rig.db.insert("Address_Set", name="a", addresses=["10.0.0.1", "nonsense", "fd00::/8"])
    rig.update()
    assert len(rig.contents.members) == 2


@pytest.mark.parametrize("keep", [True, False])
def test_closing_keeps_packets_flowing_or_not(rig: Rig, keep: bool) -> None:
    """With ``keep`` what is hooked goes on."""
    rig.pipeline.close(keep=keep)
    assert rig.machine.closed
    assert rig.machine.hooked == ({10} if keep else set())

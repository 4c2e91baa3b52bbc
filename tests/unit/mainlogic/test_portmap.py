# SPDX-License-Identifier: Apache-2.0
"""Where ports, groups and devices lead to."""

import pytest

from iovisor_ovn.abi import Limit, PortFlag, PortKind
from iovisor_ovn.errors import MapFullError
from unit.mainlogic.contents import differences, read, waste
from unit.mainlogic.fakes import FakeInterface, make_pipeline
from unit.mainlogic.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """A switch with a plugged port."""
    return Rig()


def devices(rig: Rig) -> dict[tuple[int, int], object]:
    """Port keys by device and tag."""
    return {device: record[1] for device, record in rig.contents.devices.items()}


def test_interface_comes_changes_and_goes(rig: Rig) -> None:
    """The port leads to the device that the interface has now, and the device to the port."""
    found = []
    for ifindex in (10, 11, None, 12):
        if ifindex is None:
            del rig.interfaces["p0"]
        else:
            rig.plug("p0", ifindex)
        rig.port(f"keeper{ifindex}", 50 + (ifindex or 0))
        rig.plug(f"keeper{ifindex}", 100 + (ifindex or 0))
        rig.update()
        found.append((rig.record(1), {d for d, key in devices(rig).items() if key == 1}))
    vif = {"kind": PortKind.VIF}
    assert found == [
        ({**vif, "ifindex": 10}, {(10, 0)}), ({**vif, "ifindex": 11}, {(11, 0)}),
        ({"kind": PortKind.NONE}, set()), ({**vif, "ifindex": 12}, {(12, 0)}),
    ]  # fmt: skip


def test_two_ports_swap_devices(rig: Rig) -> None:
    """Neither device is without a port for a moment."""
    rig.port("p1", 2)
    rig.plug("p1", 11)
    rig.update()
    rig.plug("p0", 11)
    rig.plug("p1", 10)
    writes = rig.machine.maps["devices"].writes
    rig.update()
    assert devices(rig) == {(11, 0): 1, (10, 0): 2}
    assert rig.machine.maps["devices"].writes == writes + 2


def test_two_ports_swap_keys(rig: Rig) -> None:
    """Both records are there afterwards."""
    p1 = rig.port("p1", 2)
    rig.plug("p1", 11)
    rig.update()
    rig.db.update(rig.p0, tunnel_key=2)
    rig.db.update(p1, tunnel_key=1)
    rig.update()
    assert rig.record(1) == {"kind": PortKind.VIF, "ifindex": 11}
    assert rig.record(2) == {"kind": PortKind.VIF, "ifindex": 10}
    assert devices(rig) == {(10, 0): 2, (11, 0): 1}


def test_port_made_anew_in_one_transaction(rig: Rig) -> None:
    """Same name and key, another row; told of in either order."""
    for is_insert_first in (True, False):
        old = rig.p0
        if not is_insert_first:
            rig.db.delete(old)
        rig.p0 = rig.port("p0", 1, chassis=[rig.hosts["hv1"]])
        if is_insert_first:
            rig.db.delete(old)
        rig.update()
        assert rig.record(1) == {"kind": PortKind.VIF, "ifindex": 10}
        assert devices(rig) == {(10, 0): 1}


def test_port_moves_to_another_datapath(rig: Rig) -> None:
    """With the last port the old datapath goes."""
    other = rig.datapath("other", 6)
    rig.db.update(rig.p0, datapath=other)
    rig.update()
    assert rig.record(1, other) == {"kind": PortKind.VIF, "ifindex": 10}
    assert set(rig.pipeline.world.local) == {other.uuid}
    assert waste(rig.pipeline, rig.machine)["ports"] == 1


def test_remote_and_local_kinds(rig: Rig) -> None:
    """Bound elsewhere, bound nowhere, localport, veth into another namespace."""
    rig.port("far", 2, chassis=[rig.hosts["hv2"]])
    rig.port("unbound", 3)
    rig.port("meta", 4, kind="localport")
    rig.interfaces |= {"meta": FakeInterface(12), "p0": FakeInterface(10, peer_elsewhere=True)}
    rig.zones["p0"] = 77
    rig.update()
    assert rig.record(1) == {"kind": PortKind.VIF, "ifindex": 10, "zone": 77,
                             "flags": PortFlag.PEER}  # fmt: skip
    assert rig.record(2) == {"kind": PortKind.REMOTE}
    assert rig.record(3) == {"kind": PortKind.NONE}
    assert rig.record(4) == {"kind": PortKind.VIF, "ifindex": 12, "flags": PortFlag.LOCALPORT}
    assert rig.contents.devices[10, 0] == (rig.sw.uuid, 1, 77, PortFlag.PEER)
    rig.zones["p0"] = 78
    rig.update()
    assert rig.contents.devices[10, 0] == (rig.sw.uuid, 1, 78, PortFlag.PEER)


def test_device_of_the_host_is_two_ports(rig: Rig) -> None:
    """Found by device and by the host's tag; the host comes last in groups, whatever its key."""
    rig.db.update(rig.p0, type="wire")
    host = rig.port("p0/host", 2, kind="host")
    p1 = rig.port("p1", 3)
    rig.plug("p0/host", 10)
    rig.plug("p1", 11)
    rig.db.insert("Multicast_Group", name="all", datapath=rig.sw, tunnel_key=32768,
                  ports=[host, p1, rig.p0])  # fmt: skip
    rig.update()
    vif = {"kind": PortKind.VIF, "ifindex": 10}
    assert rig.record(1) == {**vif, "flags": PortFlag.WIRE}
    assert rig.record(2) == {**vif, "flags": PortFlag.HOST}
    assert rig.contents.devices == {
        (10, 0): (rig.sw.uuid, 1, 0, PortFlag.WIRE),
        (10, Limit.HOST_TAG): (rig.sw.uuid, 2, 0, PortFlag.HOST),
        (11, 0): (rig.sw.uuid, 3, 0, 0),
    }
    group = rig.record(32768)
    assert group is not None
    assert group["list"] == (1, 3, 2)


def test_nested_port_shares_its_parents_device(rig: Rig) -> None:
    """By a tag; without one, which northd may give later, it leads nowhere."""
    other = rig.datapath("other", 6)
    nested = rig.port("nested", 3, other, parent_port=["p0"], tag=[])
    rig.update()
    assert rig.record(3, other) == {"kind": PortKind.NONE}
    assert devices(rig) == {(10, 0): 1}
    rig.db.update(nested, tag=[42])
    rig.update()
    assert rig.record(3, other) == {"kind": PortKind.NESTED, "ifindex": 10, "tag": 42}
    assert devices(rig) == {(10, 0): 1, (10, 42): 3}
    rig.plug("p0", 11)
    rig.update()
    assert devices(rig) == {(11, 0): 1, (11, 42): 3}
    del rig.interfaces["p0"]
    rig.update()
    assert devices(rig) == {}
    assert not rig.pipeline.world.local


def test_two_nested_ports_with_one_tag(rig: Rig) -> None:
    """A mistake that heals: when one of them goes, the device leads to the other."""
    rig.port("a", 2, parent_port=["p0"], tag=[42])
    b = rig.port("b", 3, parent_port=["p0"], tag=[42])
    rig.update()
    assert devices(rig)[10, 42] in (2, 3)
    rig.db.delete(b)
    rig.update()
    assert devices(rig)[10, 42] == 2


def test_patch_ports_lead_to_their_peers(rig: Rig) -> None:
    """Both ways, whatever comes first, and after the peer's key changed."""
    lr = rig.datapath("lr", 6, "logical-router")
    rig.port("sw-lr", 2, kind="patch", peer="lr-sw")
    rig.update()
    assert rig.record(2) == {"kind": PortKind.NONE}
    peer = rig.port("lr-sw", 3, lr, kind="patch", peer="sw-lr")
    rig.update()
    assert rig.record(2) == {"kind": PortKind.PATCH, "peer_dp": lr.uuid, "peer_port": 3}
    assert rig.record(3, lr) == {"kind": PortKind.PATCH, "peer_dp": rig.sw.uuid, "peer_port": 2}
    rig.db.update(peer, tunnel_key=4)
    rig.update()
    assert rig.record(2) == {"kind": PortKind.PATCH, "peer_dp": lr.uuid, "peer_port": 4}
    rig.db.delete(peer)
    rig.update()
    assert rig.record(2) == {"kind": PortKind.NONE}
    assert set(rig.pipeline.world.local) == {rig.sw.uuid}


def test_multicast_group_has_the_ports_that_lead_somewhere(rig: Rig) -> None:
    """Devices and patch ports here; remote and unplugged ones are left out."""
    p1, far = rig.port("p1", 2), rig.port("far", 3, chassis=[rig.hosts["hv2"]])
    group = rig.db.insert("Multicast_Group", datapath=rig.sw, name="mc", tunnel_key=32768,
                          ports=[rig.p0, p1, far])  # fmt: skip
    found = []

    def look() -> None:
        rig.update()
        record = rig.record(32768)
        found.append(None if record is None else record.get("list", ()))

    look()
    rig.plug("p1", 11)
    look()
    rig.db.update(p1, tunnel_key=9)
    look()
    rig.db.update(group, ports=[p1])
    look()
    del rig.interfaces["p1"]
    look()
    rig.db.delete(group)
    look()
    assert found == [(1,), (1, 2), (1, 9), (9,), (), None]


def test_multicast_group_may_come_before_its_ports(rig: Rig) -> None:
    """A row that is not there yet joins when it comes, and leaves when it goes."""
    p1 = rig.port("p1", 2)
    rig.plug("p1", 11)
    later = rig.db.take()
    rig.db.insert("Multicast_Group", datapath=rig.sw, name="mc", tunnel_key=32768,
                  ports=[rig.p0.uuid, p1.uuid])  # fmt: skip
    rig.update()
    assert rig.record(32768) == {"kind": PortKind.MULTICAST, "list": (1,)}
    rig.pipeline.update(later, rig.interfaces, rig.zones, rig.chassis)
    assert rig.record(32768) == {"kind": PortKind.MULTICAST, "list": (1, 2)}
    rig.db.delete(p1)
    rig.update()
    assert rig.record(32768) == {"kind": PortKind.MULTICAST, "list": (1,)}


def test_port_groups_of_the_datapath_count(rig: Rig) -> None:
    """The name begins with the datapath's key; another datapath's group of the port does not."""
    group = rig.db.insert("Port_Group", name="5_pg", ports=["p0"])
    rig.db.insert("Port_Group", name="55_pg", ports=["p0"])
    rig.update()
    assert rig.record(1) == {"kind": PortKind.VIF, "ifindex": 10, "groups": ("@5_pg",)}
    rig.db.insert("Port_Group", name="5_pg", ports=["p0"])
    rig.db.delete(group)
    rig.update()
    assert rig.record(1) == {"kind": PortKind.VIF, "ifindex": 10, "groups": ("@5_pg",)}


def test_full_maps_are_no_end() -> None:
    """What did not fit is written when there is room, and the rest is as it should be."""
    rig = Rig(ports=3, devices=3)
    rows = [rig.port(f"q{n}", 10 + n) for n in range(5)]
    for n in range(5):
        rig.plug(f"q{n}", 20 + n)
    for _ in range(3):
        with pytest.raises(MapFullError):
            rig.update()
    for row in rows[2:]:
        rig.db.delete(row)
    rig.update()
    fresh, machine = make_pipeline()
    fresh.update(rig.db.everything(), rig.interfaces, rig.zones, rig.chassis)
    assert differences(rig.contents, read(fresh, machine)) == []
    assert waste(rig.pipeline, rig.machine)["lists"] == waste(fresh, machine)["lists"]


def test_thousands_of_ports_are_no_thousands_of_times_thousands() -> None:
    """A switch of 2,000 ports in three groups is one pass over its members, a plug one record."""
    rig = Rig()
    rows = [rig.port(f"q{n}", 10 + n) for n in range(2000)]
    for number in range(3):
        rig.db.insert("Multicast_Group", datapath=rig.sw, name=f"mc{number}",
                      tunnel_key=32768 + number, ports=rows)  # fmt: skip
    seen = 0
    destination = rig.pipeline.ports._destination

    def counted(port):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  as the original
        nonlocal seen
        seen += 1
        return destination(port)

    rig.pipeline.ports._destination = counted  # type: ignore[method-assign]  # to count
    rig.update()
    assert seen < 10_000
    seen = 0
    rig.plug("q7", 99)
    writes = rig.machine.maps["ports"].writes
    rig.update()
    assert seen < 7_000
    assert rig.machine.maps["ports"].writes == writes + 4

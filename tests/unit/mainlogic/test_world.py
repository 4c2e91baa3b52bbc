# SPDX-License-Identifier: Apache-2.0
"""Ports, groups and what is local."""

from uuid import UUID

import pytest

from iovisor_ovn.errors import MapFullError
from iovisor_ovn.mainlogic.southbound import Datapath, Group, PortBinding
from iovisor_ovn.mainlogic.world import World

_DATAPATHS = [UUID(int=n) for n in range(1, 6)]


def port(
    row: int, name: str, datapath: int = 0, key: int = 1, kind: str = "", peer: str = "",
    parent: str = "", chassis: str = "",
) -> PortBinding:  # fmt: skip
    """A port in the n-th datapath."""
    options = {"peer": peer} if peer else {}
    return PortBinding(UUID(int=100 + row), name, kind, options, _DATAPATHS[datapath], key, parent,
                       0, chassis, ())  # fmt: skip


def group(row: int, name: str, ports: tuple[int, ...], datapath: int = 0) -> Group:
    """A multicast group of ports by row."""
    rows = tuple(UUID(int=100 + n) for n in ports)
    return Group(UUID(int=200 + row), _DATAPATHS[datapath], name, 32768 + row, rows)


@pytest.fixture
def world() -> World:
    """Four datapaths, room for all."""
    made = World(chassis="hv1", max_datapaths=16)
    for number, uuid in enumerate(_DATAPATHS[:4]):
        made.put_datapath(Datapath(uuid, 10 + number, "", False))
    return made


def test_row_replaced_by_another_of_its_name(world: World) -> None:
    """The new row may come before the old one goes."""
    old, new = port(1, "p", key=1), port(2, "p", key=2)
    world.put_port(old)
    world.put_port(new)
    assert world.drop_port(old.uuid) == old
    assert world.ports == {"p": new}
    assert world.ports_of == {_DATAPATHS[0]: {"p": new}}
    assert world.key_of(_DATAPATHS[0], "p") == 2
    assert world.port_at(_DATAPATHS[0], 2) == new
    assert world.port_at(_DATAPATHS[0], 1) is None


def test_key_that_goes_from_port_to_port(world: World) -> None:
    """Whichever row is told of first."""
    world.put_port(port(1, "a", key=1))
    world.put_port(port(2, "b", key=2))
    world.put_port(port(1, "a", key=2))
    world.put_port(port(2, "b", key=1))
    found = [world.port_at(_DATAPATHS[0], key) for key in (1, 2)]
    assert [p.name for p in found if p is not None] == ["b", "a"]


def test_all_goes_with_its_rows(world: World) -> None:
    """Nothing stays in an index when ports and groups are gone."""
    world.put_port(port(1, "p", peer="q", parent="r", kind="patch"))
    world.put_group(group(1, "mc", (1, 7)))
    world.put_port_group("10_pg", frozenset({"p", "x"}))
    world.drop_port(UUID(int=101))
    world.drop_group(UUID(int=201))
    world.drop_port_group("10_pg")
    for uuid in _DATAPATHS[:4]:
        world.drop_datapath(uuid)
    assert world == World(chassis="hv1", max_datapaths=16)


def test_multicast_group_may_name_rows_that_come_later(world: World) -> None:
    """Who holds a row is known before the row is."""
    world.put_group(group(1, "mc", (1, 2)))
    assert world.groups_holding(UUID(int=102)) == {UUID(int=201)}
    world.put_group(group(1, "mc", (1,)))
    assert world.groups_holding(UUID(int=102)) == frozenset()
    assert world.groups_holding(UUID(int=101)) == {UUID(int=201)}


def test_group_replaced_by_another_of_its_name(world: World) -> None:
    """As with ports."""
    world.put_group(group(1, "mc", (1,)))
    world.put_group(group(2, "mc", (1,)))
    world.drop_group(UUID(int=201))
    assert world.key_of(_DATAPATHS[0], "mc") == 32770
    assert world.groups_holding(UUID(int=101)) == {UUID(int=202)}


def test_port_group_tells_whose_membership_changed(world: World) -> None:
    """Those that came and those that went."""
    assert world.put_port_group("10_pg", frozenset({"a", "b"})) == {"a", "b"}
    assert world.put_port_group("10_pg", frozenset({"b", "c"})) == {"a", "c"}
    assert world.groups_with == {"b": {"10_pg"}, "c": {"10_pg"}}
    assert world.drop_port_group("10_pg") == {"b", "c"}
    assert world.drop_port_group("10_pg") == frozenset()


@pytest.mark.parametrize(
    ("kind", "chassis", "is_linked"),
    [("patch", "", True), ("patch", "hv2", True), ("l3gateway", "hv1", True),
     ("l3gateway", "hv2", False), ("l3gateway", "", False), ("", "", False),
     ("localport", "hv1", False)],
)  # fmt: skip
def test_only_patch_ports_have_peers(
    world: World, kind: str, chassis: str, is_linked: bool
) -> None:
    """Those of a gateway router only on the chassis that it is bound to."""
    one, other = port(1, "a", kind=kind, peer="b", chassis=chassis), port(2, "b", 1)
    world.put_port(one)
    world.put_port(other)
    assert (world.peer_of(one) == other) is is_linked


def _settle(world: World, *bound: str) -> set[UUID]:
    new, gone = world.relocate(bound)
    for index in gone.values():
        world.release(index)
    for uuid in new:
        world.settle(uuid)
    return set(world.local)


def test_datapaths_are_local_through_patch_ports(world: World) -> None:
    """Switch, router, next switch: as far as patch ports lead, and no further than known rows."""
    world.put_port(port(1, "vif", 0))
    for row, (name, datapath, peer) in enumerate(
        [("s0r", 0, "rs0"), ("rs0", 1, "s0r"), ("rs2", 1, "s2r"), ("s2r", 2, "rs2"),
         ("s2x", 2, "xs2"), ("xs2", 4, "s2x"), ("dangling", 0, "nobody")], 2,
    ):  # fmt: skip
        world.put_port(port(row, name, datapath, key=row, kind="patch", peer=peer))
    assert _settle(world, "vif", "unknown") == set(_DATAPATHS[:3])
    assert _settle(world) == set()
    assert _settle(world, "vif") == set(_DATAPATHS[:3])
    world.drop_port(UUID(int=104))
    assert _settle(world, "vif") == set(_DATAPATHS[:2])


def test_index_given_back_last_is_used_again_last(world: World) -> None:
    """What is still on its way about a datapath is not taken for another's at once."""
    for number in range(4):
        world.put_port(port(number, f"p{number}", number))
    _settle(world, "p0", "p1")
    first, second = world.local[_DATAPATHS[0]], world.local[_DATAPATHS[1]]
    _settle(world, "p0")
    _settle(world)
    _settle(world, "p2")
    assert world.local == {_DATAPATHS[2]: second}
    assert first != second


def test_full_machine_refuses_the_next_datapath(world: World) -> None:
    """What has an index keeps it; index 0 is never given."""
    world.max_datapaths = 3
    for number in range(3):
        world.put_port(port(number, f"p{number}", number))
    _settle(world, "p0", "p1")
    assert set(world.local.values()) == {1, 2}
    with pytest.raises(MapFullError):
        _settle(world, "p0", "p1", "p2")
    assert set(world.local) == set(_DATAPATHS[:2])
    assert _settle(world, "p1", "p2") == set(_DATAPATHS[1:3])


def test_tunnel_key_leads_to_the_local_datapath(world: World) -> None:
    """A key may go from a row to another in one transaction."""
    assert world.index_of_key(10) is None
    world.local[_DATAPATHS[0]] = 7
    assert world.index_of_key(10) == 7
    world.put_datapath(Datapath(_DATAPATHS[1], 10, "", False))
    world.drop_datapath(_DATAPATHS[0])
    assert world.index_of_key(10) is None
    world.local[_DATAPATHS[1]] = 8
    assert world.index_of_key(10) == 8

# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to the rows, the maps end up as if the last rows had come first and alone."""

import os
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iovisor_ovn.mainlogic.pipeline import Pipeline
from unit.mainlogic.contents import Contents, differences, read, waste
from unit.mainlogic.fakes import Database, FakeInterface, FakeMachine, FakeRow, make_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

_MATCHES = (
    "1",
    "ip4 && inport == @pg0",
    "ip4 && inport == @pg1 && ip4.src == $as0",
    "outport == @pg0 && ip6 && ip6.dst == $as1",
    "ip4.src != $as1 && ip4",
    "ip4.dst == {$as0, 10.0.0.1}",
    'inport == "p0"',
    'inport == {"p1", "p2"} && eth.src == 00:00:00:00:00:01',
    'outport == "mc0"',
    'is_chassis_resident("p0")',
    '!is_chassis_resident("p1") && ip4.dst == 10.0.0.0/24',
    "tcp.dst == {1,2,3,4,5} && ip4.src == {10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5}",
    (
        "ip4.src == {1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4, 1.1.1.5} && ip4.dst == {2.1.1.1, 2.1.1.2, "
        "2.1.1.3, 2.1.1.4} && udp.dst != {7, 8}"
    ),
    "ip4 && no.such.field == 1",
    "ip4.dst == ^vip",
    "tcp.dst == 80 && reg0[0] == 1",
)
_UNKNOWN = "bogus;"
_ACTIONS = (
    "next;",
    "drop;",
    "reg0[0] = 1; next;",
    'outport = "p0"; output;',
    'outport = "mc0"; output;',
    'clone { outport = "p1"; output; }; next;',
    "ct_lb_mark(backends=10.0.0.9);",
    'trigger_event(event = "empty_lb_backends", vip = "1.1.1.1", protocol = "tcp");',
    "ip.ttl--; next;",
    _UNKNOWN,
)
_SECURITY = (
    (),
    ("00:00:00:00:00:01",),
    ("00:00:00:00:00:01 10.0.0.1",),
    ("00:00:00:00:00:01 10.0.0.1 fd00::1", "00:00:00:00:00:02 10.0.0.0/24"),
)
_ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.0/24", "0.0.0.0/0", "fd00::1", "fd00::/64",
              "00:00:00:00:00:05", "nonsense")  # fmt: skip


class _World:
    """A database that obeys OVN's indexes, changed at random; interfaces and zones beside it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.db = Database()
        self.interfaces: dict[str, FakeInterface] = {}
        self.zones: dict[str, int] = {}
        self.chassis = "hv1"
        self._next_key = 100
        self._chassis_rows = {name: self.db.insert("Chassis", name=name) for name in ("hv1", "hv2")}
        self.db.insert("SB_Global", options={}, nb_cfg=0)
        for _ in range(2):
            self.datapath()
        self.steps: tuple[Callable[[], None], ...] = (
            self.datapath, self.port, self.port, self.port, self.flow, self.flow, self.flow,
            self.flow, self.dp_group, self.multicast, self.address_set, self.port_group,
            self.port_group, self.neighbour, self.fdb, self.template, self.interface,
            self.interface, self.interface, self.zone, self.version, self.rename, self.again,
        )  # fmt: skip

    def step(self) -> None:
        """Change something."""
        self.chance.choice(self.steps)()

    # What may change

    def datapath(self) -> None:
        """Add, change or remove a switch or router; what refers to it may stay."""
        rows = list(self.db.of("Datapath_Binding"))
        ids = {
            "name": f"d{len(rows)}",
            self.chance.choice(("logical-switch", "logical-router")): "x",
        }
        if len(rows) < 4 and self.chance.random() < 0.5:
            self.db.insert("Datapath_Binding", tunnel_key=self._key(), external_ids=ids)
        elif rows and self.chance.random() < 0.3:
            self.db.delete(self.chance.choice(rows))
        elif rows:
            key = self._key() if self.chance.random() < 0.5 else self._shift(rows)
            self.db.update(self.chance.choice(rows), external_ids=ids, **key_of(key))

    def port(self) -> None:
        """Add, change, move, rename or remove a port; keys and names may go from row to row."""
        rows = {str(row.logical_port): row for row in self.db.of("Port_Binding")}
        name = f"p{self.chance.randrange(6)}"
        row = rows.get(name)
        columns: dict[str, object] = {
            "type": self.chance.choice(("", "", "", "patch", "patch", "localport", "l3gateway")),
            "options": {"peer": f"p{self.chance.randrange(6)}"},
            "datapath": self._datapath(),
            "tunnel_key": self._key(),
            "parent_port": self.chance.choice(([], [], [], [f"p{self.chance.randrange(6)}"])),
            "tag": self.chance.choice(([], [self._key() % 4096])),
            "chassis": self.chance.choice(([], *([row] for row in self._chassis_rows.values()))),
            "port_security": list(self.chance.choice(_SECURITY)),
        }
        if row is None:
            self.db.insert("Port_Binding", logical_port=name, **columns)
            return
        match self.chance.randrange(5):
            case 0:
                self.db.delete(row)
            case 1:
                self.db.delete(row)
                self.db.insert("Port_Binding", logical_port=name, **columns)
            case 2:
                # As one transaction may: the new row is told of before the old one goes.
                self.db.insert("Port_Binding", logical_port=name, **columns)
                self.db.delete(row)
            case 3:
                self._swap(row, self.chance.choice(list(rows.values())))
            case _:
                column = self.chance.choice(list(columns))
                self.db.update(row, **{column: columns[column]})

    def _swap(self, one: FakeRow, other: FakeRow) -> None:
        if one is other:
            return
        if self.chance.random() < 0.5:
            one_name, other_name = one.logical_port, other.logical_port
            self.db.update(one, logical_port=other_name)
            self.db.update(other, logical_port=one_name)
        else:
            places = [
                {c: row.columns[c] for c in ("datapath", "tunnel_key")} for row in (one, other)
            ]
            self.db.update(one, **places[1])
            self.db.update(other, **places[0])

    def flow(self) -> None:
        """Add, change or remove a logical flow, of one datapath or of a group."""
        rows = list(self.db.of("Logical_Flow"))
        groups = list(self.db.of("Logical_DP_Group"))
        one = not groups or self.chance.random() < 0.6
        columns: dict[str, object] = {
            "logical_datapath": [self._datapath()] if one else [],
            "logical_dp_group": [] if one else [self.chance.choice(groups)],
            "pipeline": self.chance.choice(("ingress", "egress")),
            "table_id": self.chance.randrange(2),
            # Equal priorities of overlapping flows have no meaning in OVN.
            "priority": self._key() % 65536,
            "match": self.chance.choice(_MATCHES),
            "actions": self.chance.choice(_ACTIONS),
        }
        if not rows or self.chance.random() < 0.6:
            self.db.insert("Logical_Flow", **columns)
        elif self.chance.random() < 0.4:
            self.db.delete(self.chance.choice(rows))
        else:
            self.db.update(self.chance.choice(rows), **columns)

    def dp_group(self) -> None:
        """Add, change or remove a datapath group; flows may go on naming it."""
        members = [r for r in self.db.of("Datapath_Binding") if self.chance.random() < 0.5]
        self._change("Logical_DP_Group", 2, datapaths=members)

    def multicast(self) -> None:
        """Add, change or remove a multicast group; ports may be gone."""
        rows = list(self.db.of("Multicast_Group"))
        ports = [r.uuid for r in self.db.of("Port_Binding") if self.chance.random() < 0.6]
        datapath = self._datapath()
        if any(r.datapath == datapath for r in rows):
            row = next(r for r in rows if r.datapath == datapath)
            if self.chance.random() < 0.3:
                self.db.delete(row)
            else:
                self.db.update(row, ports=ports, **key_of(32768 + self._key()))
            return
        self.db.insert("Multicast_Group", datapath=datapath, name="mc0", ports=ports,
                       tunnel_key=32768 + self._key())  # fmt: skip

    def address_set(self) -> None:
        """Add, change, replace or remove an address set."""
        addresses = [a for a in _ADDRESSES if self.chance.random() < 0.4]
        self._named("Address_Set", f"as{self.chance.randrange(2)}", addresses=addresses)

    def port_group(self) -> None:
        """Add, change, replace or remove a port group of a datapath."""
        ports = [f"p{n}" for n in range(6) if self.chance.random() < 0.5]
        keys = [r.tunnel_key for r in self.db.of("Datapath_Binding")] or [1]
        name = f"{self.chance.choice(keys)}_pg{self.chance.randrange(2)}"
        self._named("Port_Group", name, ports=ports)

    def neighbour(self) -> None:
        """Add, change or remove a neighbour, learned or configured."""
        table = self.chance.choice(("MAC_Binding", "Static_MAC_Binding"))
        port, ip = f"p{self.chance.randrange(3)}", self.chance.choice(("10.0.0.1", "fd00::1"))
        rows = [r for r in self.db.of(table) if (r.logical_port, r.ip) == (port, ip)]
        columns: dict[str, object] = {"mac": f"00:00:00:00:00:0{self.chance.randrange(5)}",
                                      "datapath": self._datapath()}  # fmt: skip
        if table == "Static_MAC_Binding":
            columns["override_dynamic_mac"] = self.chance.random() < 0.5
        if not rows:
            self.db.insert(table, logical_port=port, ip=ip, **columns)
        elif self.chance.random() < 0.4:
            self.db.delete(rows[0])
        else:
            self.db.update(rows[0], **columns)

    def fdb(self) -> None:
        """Add, change, replace or remove a learned MAC address."""
        keys = [r.tunnel_key for r in self.db.of("Datapath_Binding")] or [1]
        mac, key = f"00:00:00:00:00:0{self.chance.randrange(3)}", self.chance.choice(keys)
        rows = [r for r in self.db.of("FDB") if (r.mac, r.dp_key) == (mac, key)]
        port = self._key()
        if not rows or self.chance.random() < 0.3:
            self.db.insert("FDB", mac=mac, dp_key=key, port_key=port)
        for row in rows:
            self.db.delete(row)

    def template(self) -> None:
        """Set or take away this chassis' or another's variables."""
        name = self.chance.choice(("hv1", "hv2"))
        rows = [r for r in self.db.of("Chassis_Template_Var") if r.chassis == name]
        variables = self.chance.choice(({}, {"vip": "10.0.0.7"}, {"vip": "{10.0.0.7, 10.0.0.8}"}))
        if not rows:
            self.db.insert("Chassis_Template_Var", chassis=name, variables=variables)
        elif self.chance.random() < 0.4:
            self.db.delete(rows[0])
        else:
            self.db.update(rows[0], variables=variables)

    def interface(self) -> None:
        """Let an interface come, go, get another device or swap devices with another."""
        name = f"p{self.chance.randrange(6)}"
        match self.chance.randrange(4):
            case 0:
                self.interfaces.pop(name, None)
            case 1 if len(self.interfaces) > 1:
                one, other = self.chance.sample(sorted(self.interfaces), 2)
                swap = self.interfaces[one], self.interfaces[other]
                self.interfaces[other], self.interfaces[one] = swap
            case _:
                self.interfaces[name] = FakeInterface(self._key(), self.chance.random() < 0.5)

    def zone(self) -> None:
        """Change the zone of a port or a router."""
        users = [f"p{self.chance.randrange(6)}"]
        users += [f"{r.uuid}_dnat" for r in self.db.of("Datapath_Binding")] + ["d0_snat"]
        self.zones[self.chance.choice(users)] = self._key()

    def version(self) -> None:
        """Let northd be of another release."""
        row = next(self.db.of("SB_Global"))
        release = self.chance.choice(("23.03.1-20.27.0-70.6", "24.03.2-20.33.0-76.8", ""))
        self.db.update(row, options={"northd_internal_version": release})

    def rename(self) -> None:
        """Let us be another chassis."""
        if self.chance.random() < 0.2:
            self.chassis = self.chance.choice(("hv1", "hv2"))

    def again(self) -> None:
        """Tell of a row once more, as after a reconnection."""
        self.db.update(self.chance.choice(list(self.db.rows.values())))

    # How it changes

    def _change(self, table: str, limit: int, **columns: object) -> None:
        rows = list(self.db.of(table))
        if len(rows) < limit and self.chance.random() < 0.5:
            self.db.insert(table, **columns)
        elif rows and self.chance.random() < 0.3:
            self.db.delete(self.chance.choice(rows))
        elif rows:
            self.db.update(self.chance.choice(rows), **columns)

    def _named(self, table: str, name: str, **columns: object) -> None:
        row = next((r for r in self.db.of(table) if r.name == name), None)
        if row is None:
            self.db.insert(table, name=name, **columns)
            return
        match self.chance.randrange(4):
            case 0:
                self.db.delete(row)
            case 1:
                self.db.insert(table, name=name, **columns)
                self.db.delete(row)
            case _:
                self.db.update(row, **columns)

    def _key(self) -> int:
        self._next_key += 1
        return self._next_key

    def _shift(self, rows: list[FakeRow]) -> object:
        """The tunnel key of a datapath that goes."""
        row = self.chance.choice(rows)
        self.db.delete(row)
        rows.remove(row)
        if not rows:
            rows.append(self.db.insert("Datapath_Binding", tunnel_key=self._key(), external_ids={}))
        return row.tunnel_key

    def _datapath(self) -> FakeRow:
        rows = list(self.db.of("Datapath_Binding"))
        if not rows:
            return self.db.insert("Datapath_Binding", tunnel_key=self._key(), external_ids={})
        return self.chance.choice(rows)


def key_of(key: object) -> dict[str, object]:
    """The column of a tunnel key."""
    return {"tunnel_key": key}


def _fresh(world: _World) -> tuple[Contents, dict[str, int]]:
    pipeline, machine = make_pipeline()
    pipeline.update(world.db.everything(), world.interfaces, world.zones, world.chassis)
    return read(pipeline, machine), waste(pipeline, machine)


def _check(world: _World, pipeline: Pipeline, machine: FakeMachine) -> None:
    contents, used = read(pipeline, machine), waste(pipeline, machine)
    expected, needed = _fresh(world)
    assert differences(contents, expected) == []
    assert used == needed


_EXAMPLES = int(os.environ.get("PIPELINE_EXAMPLES", "60"))


@settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), passes=st.integers(1, 12))
def test_small_changes_end_where_a_fresh_start_does(seed: int, passes: int) -> None:
    """After every pass maps mean the same, and no more of anything is in use."""
    chance = random.Random(seed)
    world = _World(chance)
    pipeline, machine = make_pipeline()
    for _ in range(passes):
        for _ in range(chance.choice((1, 1, 2, 5, 20))):
            world.step()
        pipeline.update(world.db.take(), world.interfaces, world.zones, world.chassis)
        if not pipeline.flows.unknown.waiting:
            _check(world, pipeline, machine)
    # Datapaths that waited catch up when the flows that cannot be read are gone.
    for row in [row for row in world.db.of("Logical_Flow") if row.actions == _UNKNOWN]:
        world.db.delete(row)
    pipeline.update(world.db.take(), world.interfaces, world.zones, world.chassis)
    assert not pipeline.flows.unknown.flows
    _check(world, pipeline, machine)


@pytest.mark.parametrize("seed", range(3))
def test_everything_can_go(seed: int) -> None:
    """When all rows are gone, so is all that was taken for them."""
    world = _World(random.Random(seed))
    pipeline, machine = make_pipeline()
    for _ in range(10):
        for _ in range(20):
            world.step()
        pipeline.update(world.db.take(), world.interfaces, world.zones, world.chassis)
    for row in list(world.db.rows.values()):
        world.db.delete(row)
    world.interfaces.clear()
    pipeline.update(world.db.take(), {}, {}, "hv1")
    assert not any(waste(pipeline, machine).values())
    assert not machine.hooked
    assert not pipeline.world.local
    assert not pipeline.flows.diagnostics
    assert not pipeline.flows.unsupported

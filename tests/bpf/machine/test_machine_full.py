# SPDX-License-Identifier: Apache-2.0
"""Maps of the loaded machine that are full: what ran goes on, packets prove it, room brings back.

Each test fills the real map through the pipeline as the agent does.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv6Address
from pathlib import Path
from typing import cast

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from iovisor_ovn.dataplane import mount, unmount
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.demo import until
from iovisor_ovn.errors import MapFullError
from iovisor_ovn.mainlogic.report import report
from machine_rig import REDIRECT, Wire, inside
from unit.mainlogic.fakes import FakeMachine, FakeRow
from unit.mainlogic.rig import Rig

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

_ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
_MANY = 40


class _Net(Rig):
    """A switch on the real machine; ``p0`` and ``p1`` are wires, and p0 sends to p1."""

    def __init__(self, machine: Machine, wires: list[Wire]) -> None:
        self._real = machine
        self.wires = wires
        super().__init__(cast("FakeMachine", machine), wires[0].ifindex)
        self.port("p1", 2)
        self.plug("p1", wires[1].ifindex)
        self.flow("1", "output;", pipeline="egress")

    def sends(self, frame: Ether, port: int = 0) -> bytes | None:
        """The frame as it leaves, None if it is dropped."""
        verdict, out, _ns = self._real.test(bytes(frame), self.wires[port].ifindex)
        return out if verdict == REDIRECT else None

    def refuses(self, name: str) -> None:
        """A pass, then another, both refused for the map's sake."""
        for _ in range(2):
            with pytest.raises(MapFullError) as refused:
                self.update()
            assert refused.value.map_name == name
            assert not refused.value.waits_for_force

    def use(self, name: str) -> tuple[int, int]:
        """Elements in use and capacity, as shown."""
        rows = {row["map"]: row for row in report(self.pipeline)["maps"]}
        return rows[name]["used"], rows[name]["capacity"]


Maker = Callable[..., _Net]


@pytest.fixture
def make_net(object_path: Path) -> Iterator[Maker]:
    """Give a function that loads a machine with maps of given sizes, in a namespace entered."""
    with ExitStack() as stack:
        yield lambda **sizes: stack.enter_context(_made(object_path, sizes))


@contextmanager
def _made(path: Path, sizes: dict[str, int]) -> Iterator[_Net]:
    name = f"iofull{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    with tempfile.TemporaryDirectory(prefix="iofull-") as directory, ExitStack() as stack:
        stack.callback(lambda: subprocess.run(["ip", "netns", "del", name], check=True))
        pins = Path(directory) / "bpffs"
        stack.callback(unmount, pins)
        mounted = stack.enter_context(mount(pins))
        machine = Machine.load(mounted.path, sizes, path)
        stack.callback(machine.close)
        stack.enter_context(inside(name))
        wires = [Wire(f"wire{number}") for number in range(3)]
        for wire in wires:
            stack.callback(wire.close)
        yield _Net(machine, wires)


def _address(n: int) -> str:
    return ":".join([f"{n:x}"] * 8)


def _ip4(n: int) -> tuple[str, Ether]:
    return f"ip4.dst == 10.0.0.{n}", _ETHER / IP(dst=f"10.0.0.{n}") / UDP()


def _ip6(n: int) -> tuple[str, Ether]:
    return f"ip6.dst == {_address(n)}", _ETHER / IPv6(src="fd00::1", dst=_address(n)) / UDP()


def _pair(n: int) -> tuple[str, Ether]:
    text = f"ip6.src == {_address(n)} && ip6.dst == {_address(n)}"
    return text, _ETHER / IPv6(src=_address(n), dst=_address(n)) / UDP()


def _wide(n: int) -> tuple[str, Ether]:
    text, frame = _pair(n)
    return f"{text} && xxreg0 == {_address(n)} && xxreg1 == {_address(n)}", frame


def _masks(n: int) -> tuple[str, Ether]:
    """Two entries with a mask of their own."""
    address, other = (IPv6Address(top << 120 | 1 << (110 - n)) for top in (0x20, 0x30))
    text = f"ip6.dst == {{{address}/{n + 18}, {other}/{n + 18}}}"
    return text, _ETHER / IPv6(src="fd00::1", dst=str(address)) / UDP()


def _guarded(n: int) -> tuple[str, Ether]:
    """With more that must not be than fits into a slot."""
    text, frame = _masks(n)
    others = " && ".join(f"{field} != {n}" for field in ("udp.src", "udp.dst", "eth.src"))
    return f"{text} && {others} && eth.dst != {n}", frame


#: How a flow differs from the others, and the sizes with which some flows fit and many do not.
_FLOWS = {
    "entries4": (_ip4, 8),
    "entries8": (_ip6, 8),
    "entries16": (_pair, 8),
    "entries40": (_wide, 8),
    "shapes": (_masks, 8),
    "slots": (_masks, 40),
    "guards": (_guarded, 32),
    "insns": (_ip4, 128),
}
_HASHES = ("entries4", "entries8", "entries16", "entries40")


@pytest.mark.parametrize("name", _FLOWS)
def test_last_pipeline_goes_on_while_a_newer_does_not_fit(make_net: Maker, name: str) -> None:
    """Nothing of the newer one is in force, nothing of the last one away; then all at once."""
    kind, size = _FLOWS[name]
    net = make_net(**{name: size})
    net.flow("1", "next;", priority=0)
    net.flow("ip6", "xxreg0 = ip6.src; xxreg1 = ip6.dst; next;", priority=1)

    def allow(n: int) -> FakeRow:
        # A program of its own, too.
        return net.flow(kind(n)[0], f'reg9 = {n}; reg8 = {n}; outport = "p1"; output;', table=1)

    rows = {n: allow(n) for n in (1, 2)}
    net.update()
    assert net.sends(kind(1)[1]) == bytes(kind(1)[1])
    assert net.sends(kind(3)[1]) is None
    if name in _HASHES:
        net.db.delete(rows[1])
    rows |= {n: allow(n) for n in range(3, _MANY)}
    net.refuses(name)
    assert net.sends(kind(1)[1])
    assert net.sends(kind(2)[1])
    assert not any(net.sends(kind(n)[1]) for n in range(3, _MANY))
    for n in (*([] if name in _HASHES else [1]), *range(5, _MANY)):
        net.db.delete(rows[n])
    _until_it_fits(net)
    assert [n for n in range(1, _MANY) if net.sends(kind(n)[1])] == [2, 3, 4]
    used, capacity = net.use(name)
    assert 0 < used <= capacity == size


def _until_it_fits(net: _Net) -> None:
    """Make passes; freed elements of arrays rest for a while."""

    def fits() -> bool:
        try:
            net.update()
        except MapFullError:
            return False
        return True

    until(fits, "a pass that fits")


@pytest.mark.parametrize(
    ("name", "member"),
    [("members", "10.0.{}.7"), ("prefixes", "10.0.{}.0/24"), ("lists", "10.0.{}.7")],
)
def test_members_that_fit_stay_while_others_do_not(make_net: Maker, name: str, member: str) -> None:
    """A set that grows too large keeps what it has; when it shrinks it is right again."""
    net = make_net(**{name: 8})
    sets = {n: net.db.insert("Address_Set", name=f"s{n}", addresses=[]) for n in range(_MANY)}
    for n in sets:
        net.flow(f"ip4.src == $s{n}", 'outport = "p1"; output;')
    one = sets[0]

    def fill(count: int) -> None:
        for n in range(1, count):
            net.db.update(sets[n], addresses=[member.format(n)] if name == "lists" else [])
        whole = 1 if name == "lists" else count
        net.db.update(one, addresses=[member.format(n) for n in range(whole)])
        for n in range(count, _MANY):
            net.db.update(sets[n], addresses=[])

    def passing() -> list[int]:
        frames = {n: _ETHER / IP(src=f"10.0.{n}.7") / UDP() for n in range(_MANY)}
        return [n for n, frame in frames.items() if net.sends(frame)]

    fill(3)
    net.update()
    assert passing() == [0, 1, 2]
    fill(_MANY)
    net.refuses(name)
    assert passing()[:3] == [0, 1, 2]
    fill(2)
    _until_it_fits(net)
    assert passing() == [0, 1]
    used, capacity = net.use(name)
    assert 0 < used <= capacity == 8


@pytest.mark.parametrize(("name", "size"), [("ports", 4), ("devices", 2)])
def test_ports_that_fit_go_on_while_others_do_not(make_net: Maker, name: str, size: int) -> None:
    """What a new port lacks is only its own; it works as soon as another has gone."""
    net = make_net(**{name: size})
    net.flow("1", 'outport = "p1"; output;')
    net.update()
    frame = _ETHER / IP() / UDP()
    assert net.sends(frame)
    rows = [net.port(f"p{n}", n + 1) for n in range(2, 6)]
    net.plug("p2", net.wires[2].ifindex)
    net.refuses(name)
    assert net.sends(frame)
    for row in rows[1:]:
        net.db.delete(row)
    if name == "devices":
        del net.interfaces["p0"]
    _until_it_fits(net)
    assert net.sends(frame, 2)
    used, capacity = net.use(name)
    assert 0 < used <= capacity == size


def test_neighbours_that_do_not_fit_are_written_when_there_is_room(make_net: Maker) -> None:
    """Until then packets to them are resolved as if there were no row; others are right."""
    net = make_net(neighbours=2)
    net.flow("ip4", 'outport = "p1"; reg0 = ip4.dst; get_arp(outport, reg0); output;')
    rows = {}
    for n in range(1, 5):
        rows[n] = net.db.insert("MAC_Binding", datapath=net.sw, logical_port="p1",
                                ip=f"10.0.0.{n}", mac=f"02:00:00:00:09:0{n}")  # fmt: skip
    net.update()

    def resolved() -> list[int]:
        frames = {n: net.sends(_ETHER / IP(dst=f"10.0.0.{n}") / UDP()) for n in rows}
        return [n for n, out in frames.items() if out and out[:6] == bytes([2, 0, 0, 0, 9, n])]

    assert resolved() == [1, 2]
    assert net.pipeline.waiting() == {"neighbours": 2}
    net.db.delete(rows[1])
    net.update()
    assert resolved() == [2, 3]
    assert net.use("neighbours") == (2, 2)
    net.db.delete(rows[3])
    net.db.delete(rows[4])
    net.update()
    assert resolved() == [2]
    assert net.pipeline.waiting() == {}


def test_learned_addresses_that_do_not_fit_are_written_when_there_is_room(make_net: Maker) -> None:
    """Until then their port is unknown; others are found."""
    net = make_net(fdb_entries=2)
    net.flow("1", "outport = get_fdb(eth.dst); next;")
    net.flow("1", "output;", table=1)
    rows = {}
    for n in range(1, 5):
        rows[n] = net.db.insert("FDB", mac=f"02:00:00:00:09:0{n}", dp_key=5, port_key=2)
    net.update()

    def found() -> list[int]:
        return [n for n in rows if net.sends(Ether(dst=f"02:00:00:00:09:0{n}") / IP() / UDP())]

    assert found() == [1, 2]
    assert net.pipeline.waiting() == {"fdb_entries": 2}
    net.db.delete(rows[2])
    net.update()
    assert found() == [1, 3]
    assert net.use("fdb_entries") == (2, 2)

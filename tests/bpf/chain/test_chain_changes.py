# SPDX-License-Identifier: Apache-2.0
"""Changes of a chain: refused ones leave everything as it was, devices come and go."""

import time
from dataclasses import replace
from ipaddress import ip_interface
from itertools import pairwise

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from chain_rig import NOTHING, ChainRig, chain
from iovisor_ovn.abi import STRUCTS, Replay
from iovisor_ovn.config.topology import (
    Config,
    Firewall,
    FirewallRule,
    Null,
    Router,
    RouterInterface,
    Switch,
    Topology,
)
from iovisor_ovn.dataplane.conntrack import Conntrack
from iovisor_ovn.demo import until
from iovisor_ovn.errors import DataplaneError, MapFullError, TopologyError
from iovisor_ovn.standalone.report import report
from iovisor_ovn.standalone.store import Store
from machine_rig import run_ip

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
OUT = bytes(Ether(src=A, dst=B) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP() / (b"x" * 20))
BACK = bytes(Ether(src=B, dst=A) / IP(src="10.0.0.2", dst="10.0.0.1") / UDP() / (b"y" * 20))
RULE = FirewallRule('inport == "wire0" && udp', "allow-related")
FIREWALL = chain({"fw": Firewall((RULE,), "drop", "wire0", "wire1")}, ["fw", "fw"])


def works(rig: ChainRig) -> None:
    """The firewall's connection is open, inward, too."""
    assert rig.send(1, BACK) == {0: [BACK]}
    assert rig.send(0, OUT) == {1: [OUT]}


@pytest.fixture
def running(rig: ChainRig) -> ChainRig:
    """A firewall with a connection."""
    rig.fresh(FIREWALL)
    assert rig.send(1, BACK) == {}
    assert rig.send(0, OUT) == {1: [OUT]}
    works(rig)
    return rig


def without_device(topology: Topology) -> Topology:
    """The topology with a device that is not there."""
    first, *rest = topology.interfaces
    return replace(topology, interfaces=(replace(first, device="absent0"), *rest))


def test_missing_device_changes_nothing(running: ChainRig) -> None:
    """The file's line is named; what runs goes on."""
    other = chain({"sw": Switch(), "more": Switch()}, ["sw", "sw", "more"])
    with pytest.raises(TopologyError, match="there is no device absent0"):
        running.apply(without_device(other))
    assert running.chain.topology == FIREWALL
    works(running)


def test_wrong_rule_changes_nothing(running: ChainRig) -> None:
    """Found before anything is touched."""
    wrong = Firewall((RULE, FirewallRule("ip4.src == $none", "drop")), "drop", "wire0", "wire1")
    with pytest.raises(TopologyError, match="no set none"):
        running.apply(chain({"fw": wrong}, ["fw", "fw"]))
    works(running)


def test_full_map_changes_nothing(running: ChainRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found when half of it was in: the half goes out again, connections and counters stay."""
    before = report(running.chain)
    update, calls = running.chain.pipeline.update, []

    def once_full(*arguments: object) -> None:
        calls.append(arguments)
        update(*arguments)  # type: ignore[arg-type]
        if len(calls) == 1:
            raise MapFullError("entries8", 1)

    monkeypatch.setattr(running.chain.pipeline, "update", once_full)
    other = chain({"fw": Null(forwards=True), "sw": Switch()}, ["fw", "fw", "sw", "sw"])
    with pytest.raises(DataplaneError):
        running.apply(other)
    assert len(calls) == 2
    works(running)
    after = report(running.chain)
    assert after["modules"] == before["modules"]
    assert running.send(2, OUT) == {}
    first = [
        row["packets"]
        for state in (before, after)
        for row in state["counters"]
        if row["what"].startswith("rule 1")
    ]
    assert first[1] == first[0] + 1


def test_numbers_are_saved_before_packets_meet_them(
    rig: ChainRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever comes after a crash gives a zone's connections to another module."""
    rig.fresh(NOTHING)
    update, saved = rig.chain.pipeline.update, list[Store]()

    def note_saved(*arguments: object) -> None:
        saved.append(Store(rig.chain._store._path))
        update(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.chain.pipeline, "update", note_saved)
    rig.apply(FIREWALL)
    in_use = set(map(str, rig.chain.zone_modules()))
    assert in_use
    assert in_use <= set(saved[0].zones.values())


def test_way_back_that_fails_is_tried_again(
    running: ChainRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until all is as it was, and meanwhile `show` says why it is not."""
    update, refusals = running.chain.pipeline.update, [MapFullError("entries8", 1)] * 2

    def twice_full(*arguments: object) -> None:
        if refusals:
            raise refusals.pop()
        update(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(running.chain.pipeline, "update", twice_full)
    with pytest.raises(MapFullError):
        running.apply(chain({"fw": Null(forwards=False)}, ["fw", "fw"]))
    assert report(running.chain)["behind"] == "map entries8 is full (1 entries)"
    works(running)
    running.chain._catch_up()
    assert report(running.chain)["behind"] == ""
    works(running)


def test_change_that_needs_the_room_of_the_old_is_refused(
    running: ChainRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain is never paused to make room."""
    put, refused = running.machine.put_entries, list[int]()

    def once_full(key_class: int, entries: dict[bytes, bytes]) -> None:
        if entries and not refused:
            refused.append(key_class)
            raise MapFullError("entries", 1 << 30)
        put(key_class, entries)

    monkeypatch.setattr(running.machine, "put_entries", once_full)
    monkeypatch.setattr(running.machine, "pause", lambda _index: pytest.fail("paused"))
    last = FirewallRule("tcp.dst == {1, 2, 3}", "drop")
    with pytest.raises(MapFullError, match="old and new do not fit side by side"):
        running.apply(chain({"fw": Firewall((RULE, last), "drop", "wire0", "wire1")}, ["fw", "fw"]))
    assert refused
    works(running)


def test_connections_live_through_a_change(running: ChainRig) -> None:
    """Of other modules, of the order of modules, of rules behind."""
    last = FirewallRule("tcp", "drop")
    fw = Firewall((RULE, last), "reject", "wire0", "wire1")
    running.apply(chain({"sw": Switch(), "fw": fw}, ["fw", "fw", "sw", "sw"]))
    works(running)
    running.apply(FIREWALL)
    works(running)
    assert isinstance(running.chain.conntrack, Conntrack)


def test_module_that_was_taken_away_starts_anew(running: ChainRig) -> None:
    """Its connections are gone with it."""
    running.apply(NOTHING)
    running.apply(FIREWALL)
    assert running.send(1, BACK) == {}


def test_module_may_become_another(rig: ChainRig) -> None:
    """Under its name and on its ports; what it had learned is of no use and goes."""
    rig.fresh(chain({"m": Switch()}, ["m", "m"]))
    rig.send(0, OUT)
    assert rig.send(1, BACK) == {0: [BACK]}
    router = Router((
        RouterInterface("wire0", (ip_interface("10.0.0.1/24"),), A),
        RouterInterface("wire1", (ip_interface("10.0.1.1/24"),), B),
    ))  # fmt: skip
    rig.apply(chain({"m": router}, ["m", "m"]))
    assert rig.send(1, BACK) == {}
    rig.chain._ageing.sweep(2**63 - 1)
    assert not rig.machine.maps["fdb_entries"].keys()
    rig.apply(chain({"m": Switch()}, ["m", "m"]))
    assert rig.send(0, OUT) == {1: [OUT]}


def test_device_that_comes_back_works_again(rig: ChainRig) -> None:
    """Removed and made anew, it has another number; meanwhile the others work."""
    run_ip("link", "add", "spare", "type", "veth", "peer", "name", "sparep")
    topology = chain({"sw": Switch()}, ["sw", "sw", "sw"])
    spare = replace(topology.interfaces[2], device="spare")
    rig.apply(NOTHING)
    rig.apply(replace(topology, interfaces=(*topology.interfaces[:2], spare)))

    def state() -> str:
        rig.chain.run()
        (row,) = [row for row in report(rig.chain)["devices"] if row["device"] == "spare"]
        return row["state"]

    try:
        assert state() in ("up", "down")
        run_ip("link", "del", "spare")
        assert state() == "missing"
        assert rig.send(0, OUT) == {1: [OUT]}
        run_ip("link", "add", "spare", "type", "veth", "peer", "name", "sparep")
        for end in ("spare", "sparep"):
            run_ip("link", "set", end, "up")
        until(lambda: state() == "up", "the device is up")
        before = _received("sparep")
        rig.send(0, OUT)
        assert _received("sparep") > before
    finally:
        rig.apply(NOTHING)
        run_ip("link", "del", "spare")


def _received(device: str) -> int:
    """Packets that came out at a device."""
    lines = run_ip("-s", "link", "show", device).splitlines()
    (at,) = [number for number, line in enumerate(lines) if "RX:" in line]
    return int(lines[at + 1].split()[1])


def test_learned_addresses_go_with_their_device(rig: ChainRig) -> None:
    """The host may be behind another one now: frames to it go everywhere."""
    run_ip("link", "add", "spare", "type", "veth", "peer", "name", "sparep")
    topology = chain({"sw": Switch()}, ["sw", "sw", "sw"])
    spare = replace(topology.interfaces[0], device="spare")
    rig.apply(NOTHING)
    rig.apply(replace(topology, interfaces=(spare, *topology.interfaces[1:])))
    try:
        # As if A had been heard of behind the spare device.
        index = next(iter(rig.chain.pipeline.world.local.values()))
        key = index.to_bytes(4, "little") + (0x0200).to_bytes(4, "little") + bytes((10, 0, 0, 0))
        value = STRUCTS["fdb"].pack(port=1, used_ns=time.monotonic_ns())
        rig.machine.maps["fdb_entries"].update(key, value)
        assert rig.send(1, BACK) == {}
        run_ip("link", "del", "spare")
        rig.chain.run()
        assert rig.send(1, BACK) == {2: [BACK]}
    finally:
        rig.apply(NOTHING)


def test_links_are_counted_each_way(rig: ChainRig) -> None:
    """By packets and bytes, answers of a module's own too; copies of a flood each."""
    modules: dict[str, Config] = {"a": Switch(), "b": Null(forwards=True), "c": Switch()}
    rig.fresh(chain(modules, ["a", "a", "c"], [("a", "b"), ("b", "c")]))
    for _ in range(5):
        assert rig.send(0, OUT) == {1: [OUT], 2: [OUT]}
    for _ in range(3):
        assert rig.send(2, BACK) == {0: [BACK]}
    found = report(rig.chain)
    counted = (5, 5 * len(OUT), 3, 3 * len(BACK))
    assert [tuple(row.values()) for row in found["links"]] == [
        ("a:b", "b:a", *counted), ("b:c", "c:b", *counted),
    ]  # fmt: skip
    assert {row["module"] for row in found["counters"]} == {"b"}


@pytest.mark.parametrize(("length", "segments"), [(8, 1), (30, 4)])
def test_long_row_of_modules_is_replayed_whole(rig: ChainRig, length: int, segments: int) -> None:
    """A segment keeps the counters of eight modules with two each; another one follows it."""
    names = [f"n{number}" for number in range(length)]
    modules: dict[str, Config] = dict.fromkeys(names, Null(forwards=True))
    rig.fresh(chain(modules, ["n0", names[-1]], list(pairwise(names))))
    for _ in range(3):
        assert rig.send(0, OUT) == {1: [OUT]}
    before = rig.machine.replays()
    for _ in range(10):
        assert rig.send(0, OUT) == {1: [OUT]}
    after = rig.machine.replays()
    hits = 10 * segments if rig.mode == "replay" else 0
    assert after[Replay.HIT] - before[Replay.HIT] == hits
    assert after[Replay.MISS] == before[Replay.MISS]
    found = report(rig.chain)
    counted = [row["packets"] for row in found["counters"] if row["packets"]]
    assert counted == [13] * length
    assert [row["forth_packets"] for row in found["links"]] == [13] * (length - 1)

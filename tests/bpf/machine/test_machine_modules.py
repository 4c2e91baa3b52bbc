# SPDX-License-Identifier: Apache-2.0
"""Users' modules in the pipeline: what they may do to a packet, and what nobody else sees of it."""

import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from iovisor_ovn.abi import Drop, InjectKind, Limit, Op, PortKind, Temp, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.patterns import Pattern
from iovisor_ovn.dataplane.module_settings import Value
from iovisor_ovn.dataplane.user_modules import ModuleCounts, UserModules
from machine_rig import EGRESS, REDIRECT, SHOT, Datapath, Rig, inside, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

SOURCES = Path(__file__).parents[1] / "modules"
PASS, DROP, FIRST_PORT = 0, 2, 0x100
PACKET = (
    Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    / IP(src="10.0.0.1", dst="10.0.0.2", ttl=64)
    / UDP(sport=1, dport=2)
    / (b"x" * 30)
)
FRAME = bytes(PACKET)
DELIVER = (Insn(Op.DELIVER),)
FLOOD = 40000
ALL = 0xFFFFFFFF


@pytest.fixture
def modules(rig: Rig) -> Iterator[UserModules]:
    """Give the machine's modules, none so far."""
    made = UserModules(rig.machine)
    yield made
    made.keep_only(frozenset())


def install(modules: UserModules, name: str, source: str, **settings: Value) -> int:
    """Put a program of ``tests/bpf/modules`` into force; its number."""
    loaded = modules.load(name, SOURCES / f"{source}.bpf.c", settings)
    modules.settle(modules.exchange({name: loaded}))
    return modules.number(name)


def call(number: int, port: int = 0, ports: int = 2) -> tuple[Insn, ...]:
    """Ask a module for its result in reg0."""
    return (
        Insn(Op.MODULE, port, ports, x=number),
        Insn(Op.MOVE, Word.REG0, Temp.RESULT, x=ALL),
    )


def to(port: int) -> tuple[Insn, ...]:
    """Send to a port, back to where it came from, too."""
    return (load(Word.FLAGS, 1, 1), load(Word.OUTPORT, port), Insn(Op.OUTPUT))


def chain(rig: Rig, *program: Insn) -> Datapath:
    """Ports 1 to 4 on the wires; a result of 0 leads to port 2, n + 1 to port n + 1."""
    dp = rig.datapath()
    for number, wire in enumerate(rig.wires):
        dp.bind(number + 1, wire)
    dp.flow(0, (*program, Insn(Op.NEXT, 1)))
    for result in range(1, 5):
        chosen = Pattern(words=((Word.REG0, ALL, result),))
        dp.flow(1, to(result), chosen, 10)
    dp.flow(1, to(2))
    dp.flow(EGRESS, DELIVER)
    return dp


def flooding(rig: Rig, *modules: int) -> Datapath:
    """Each module stands before a port of a flood, from port 3 on; port 2 gets what was sent."""
    dp = rig.datapath()
    for number, wire in enumerate(rig.wires):
        dp.bind(number + 1, wire)
    members = tuple(range(2, 3 + len(modules)))
    dp.port(FLOOD, kind=PortKind.MULTICAST, list=rig.write_list(members))
    dp.flow(0, to(FLOOD))
    for port, number in enumerate(modules, start=3):
        mine = Pattern(words=((Word.OUTPORT, ALL, port),))
        dp.flow(EGRESS, (*call(number), Insn(Op.NEXT, EGRESS + 1)), mine, 5)
    dp.flow(EGRESS, DELIVER)
    dp.flow(EGRESS + 1, DELIVER)
    return dp


def received(rig: Rig) -> list[list[bytes]]:
    """Frames that left through each wire."""
    return [wire.received() for wire in rig.wires]


def wait_for(rig: Rig, wire: int) -> list[bytes]:
    """Frames that left through a wire, at least one: copies come through the kernel's backlog."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        frames = rig.wires[wire].received()
        if frames:
            return frames
    raise AssertionError(f"nothing came through wire {wire}")


# -- verdicts ----------------------------------------------------------------------------


def test_packet_that_passes_goes_on_behind_the_call(rig: Rig, modules: UserModules) -> None:
    """The result is 0; the mark is the module's to set; it is told port and ports."""
    number = install(modules, "a", "verdict", verdict=PASS)
    chain(rig, *call(number, 3, 5))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.frame, out.drops) == (REDIRECT, FRAME, {})
    assert out.mark == 3 << 8 | 5
    assert out.words[Word.OUTPORT] == 2
    assert modules.counts("a") == ModuleCounts(passed=1, sent=0, dropped=0, invalid=0, missing=0)


def test_packet_is_dropped_under_the_modules_name(rig: Rig, modules: UserModules) -> None:
    """A drop of the module is counted as such, and for it."""
    chain(rig, *call(install(modules, "a", "verdict", verdict=DROP)))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.drops) == (SHOT, {Drop.MODULE: 1})
    assert modules.counts("a").dropped == 1


def test_module_chooses_a_port(rig: Rig, modules: UserModules) -> None:
    """Port n gives n + 1 as result, port 0 included."""
    for port in (0, 2):
        number = install(modules, "a", "verdict", verdict=FIRST_PORT + port)
        chain(rig, *call(number, 0, 3))
        assert rig.run(FRAME, rig.wires[1]).words[Word.OUTPORT] == port + 1
    assert modules.counts("a").sent == 2


@pytest.mark.parametrize("verdict", [1, 3, 255, FIRST_PORT + 2, FIRST_PORT + 4711, -1, -2])
def test_garbage_is_dropped(rig: Rig, modules: UserModules, verdict: int) -> None:
    """What is no verdict, or a port that the module has not, drops the packet."""
    chain(rig, *call(install(modules, "a", "verdict", verdict=verdict)))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.drops) == (SHOT, {Drop.MODULE_VERDICT: 1})
    assert modules.counts("a").invalid == 1


def test_module_that_is_not_loaded_lets_nothing_through(rig: Rig, modules: UserModules) -> None:
    """Nobody is to believe a filter to work that is not there."""
    chain(rig, *call(modules.number("a")))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.drops) == (SHOT, {Drop.MODULE_MISSING: 1})
    assert modules.counts("a").missing == 1
    install(modules, "a", "verdict")
    assert rig.run(FRAME, rig.wires[0]).verdict == REDIRECT
    modules.withdraw("a")
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.MODULE_MISSING: 1}


def test_packet_goes_through_many_modules_but_not_for_ever(rig: Rig, modules: UserModules) -> None:
    """As many as the kernel allows tail calls for; then it is dropped."""
    number = install(modules, "a", "verdict")
    chain(rig, *call(number) * Limit.MODULE_CALLS)
    assert rig.run(FRAME, rig.wires[0]).verdict == REDIRECT
    assert modules.counts("a").passed == Limit.MODULE_CALLS
    chain(rig, *call(number) * (Limit.MODULE_CALLS + 1))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.drops) == (SHOT, {Drop.MODULE_CALLS: 1})
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.MODULE_CALLS: 1}, "the CPU is free again"


# -- what a module changes ---------------------------------------------------------------


def test_module_sees_what_the_pipeline_wrote_and_the_pipeline_what_it_wrote(
    rig: Rig, modules: UserModules
) -> None:
    """Words are written before the call and read after it."""
    number = install(modules, "a", "answer")
    dp = chain(rig, load(Word.ETH_SRC_LO, 0xAB), *call(number), load(Word.ETH_SRC_LO, 0xCD))
    out = rig.run(FRAME, rig.wires[0])
    wanted = PACKET.copy()
    wanted.dst, wanted.src = "02:00:00:00:00:ab", "02:00:00:00:00:cd"
    assert (out.frame, out.drops) == (bytes(wanted), {})
    assert out.words[Word.OUTPORT] == 1, "the answer leaves where the packet came in"
    assert out.words[Word.INPORT] == 1
    assert out.words[Word.DATAPATH] == dp.index


@pytest.mark.parametrize("grow", [-10, 0, 300])
def test_module_changes_size_and_bytes(rig: Rig, modules: UserModules, grow: int) -> None:
    """What it leaves is what goes out."""
    chain(rig, *call(install(modules, "a", "rewrite", grow=grow, last=0x55)))
    frame = bytes(PACKET.copy() / (b"t" * 12))  # a trailer, so that the datagram stays whole
    out = rig.run(frame, rig.wires[0])
    wanted = (frame + bytes(max(grow, 0)))[: len(frame) + grow]
    assert (out.frame, out.drops) == (wanted[:-1] + b"\x55", {})


def test_pipeline_goes_on_with_what_is_left_of_a_packet(rig: Rig, modules: UserModules) -> None:
    """A datagram that was cut has no IP fields any more: flows see that."""
    dp = chain(rig, *call(install(modules, "a", "rewrite", grow=-40)))
    dp.flow(1, to(3), Pattern(words=((Word.IP_META, ALL, 0),)), 20)
    assert rig.run(FRAME, rig.wires[0]).words[Word.OUTPORT] == 3
    assert rig.run(FRAME, rig.wires[0]).words[Word.OUTPORT] == 3


def test_tag_is_where_modules_look_for_it(rig: Rig, modules: UserModules) -> None:
    """A tag that the pipeline took off is off; the frame that comes out is whole."""
    untag = load(Word.ETH_TYPE_TCI, 0, 0xFFFF)
    chain(rig, untag, *call(install(modules, "a", "rewrite", last=0x55)))
    head = PACKET.copy()
    head.remove_payload()
    tagged = bytes(head / Dot1Q(vlan=777) / PACKET.payload)
    out = rig.run(tagged, rig.wires[0])
    assert (out.frame, out.drops) == (FRAME[:-1] + b"\x55", {})


def test_module_works_on_packets_that_are_to_be_segmented(rig: Rig, modules: UserModules) -> None:
    """A GSO packet goes through whole."""
    number = install(modules, "a", "answer")
    chain(rig, *call(number), load(Word.IP4_DST, 0x0A000003))
    big = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / IP(
        src="10.0.0.1", dst="10.0.0.2"
    )
    frame = bytes(big / TCP(sport=1, dport=2) / (b"y" * 3000))
    out = rig.run(frame, rig.wires[0], gso_size=1400)
    assert out.drops == {}
    assert len(out.frame) == len(frame)
    assert Ether(out.frame)[IP].dst == "10.0.0.3"


def test_complete_checksum_stays_right(rig: Rig, modules: UserModules) -> None:
    """The device's sum over the packet survives both rewrites (the kernel checks)."""
    number = install(modules, "a", "verdict")
    chain(rig, load(Word.IP4_DST, 0x0A000003), *call(number), load(Word.L4, 0x00010003))
    assert rig.run(FRAME, rig.wires[0], complete=True).drops == {}


# -- copies ------------------------------------------------------------------------------


def test_copies_see_nothing_of_what_a_module_does_to_another(
    rig: Rig, modules: UserModules
) -> None:
    """Two modules in one flood, of which each changes bytes and size, and a port without."""
    one = install(modules, "one", "rewrite", grow=50, last=0x11)
    two = install(modules, "two", "rewrite", grow=-7, last=0x22)
    flooding(rig, one, two)
    out = rig.run(FRAME, rig.wires[0])
    assert out.frame == FRAME[:-8] + b"\x22", "the last copy is the packet itself"
    assert wait_for(rig, 2) == [FRAME + bytes(49) + b"\x11"]
    assert received(rig) == [[], [FRAME], [], []]
    assert (out.verdict, out.drops) == (REDIRECT, {})
    assert modules.counts("one").passed == modules.counts("two").passed == 1


def test_module_before_the_other_copies_is_last_in_effect(rig: Rig, modules: UserModules) -> None:
    """A clone that is changed by a module, and then the original."""
    number = install(modules, "a", "rewrite", grow=100, last=0x11)
    dp = rig.datapath()
    for index, wire in enumerate(rig.wires):
        dp.bind(index + 1, wire)
    dp.flow(0, (Insn(Op.FORK, x=5), load(Word.REG3, 9), *call(number), Insn(Op.NEXT, 1), *to(3)))
    dp.flow(1, to(2), Pattern(words=((Word.REG3, ALL, 9),)), 5)
    dp.flow(EGRESS, DELIVER)
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.frame) == (REDIRECT, FRAME)
    assert wait_for(rig, 1) == [FRAME + bytes(99) + b"\x11"]


def test_copies_of_an_injected_packet_go_around_too(rig: Rig, modules: UserModules) -> None:
    """A packet that the agent puts in is flooded to two modules."""
    one = install(modules, "one", "rewrite", last=0x11)
    two = install(modules, "two", "rewrite", last=0x22)
    dp = flooding(rig, one, two)
    words: dict[int, int] = {Word.DATAPATH: dp.index, Word.INPORT: 1, Word.OUTPORT: FLOOD}
    assert rig.inject(FRAME, words, InjectKind.OUTPUT) == {}
    assert wait_for(rig, 2) == [FRAME[:-1] + b"\x11"]
    assert wait_for(rig, 3) == [FRAME[:-1] + b"\x22"]
    assert rig.wires[1].received() == [FRAME]


def test_answer_and_module_share_a_packet(rig: Rig, modules: UserModules) -> None:
    """What a verb asked for is built from the packet as it was, after the module's work."""
    number = install(modules, "a", "rewrite", grow=20, last=0x11)
    dp = rig.datapath()
    for index, wire in enumerate(rig.wires):
        dp.bind(index + 1, wire)
    reply = (Insn(Op.GENERATE, Op.GEN_ICMP4_ERROR, x=4), *to(1))
    dp.flow(0, (*reply, *call(number), *to(2)))
    dp.flow(EGRESS, DELIVER)
    out = rig.run(FRAME, rig.wires[0])
    assert out.drops == {}
    assert rig.wires[1].received() == [FRAME + bytes(19) + b"\x11"]
    assert Ether(out.frame)[IP].proto == 1
    assert bytes(PACKET[IP])[:28] in out.frame


def test_foreign_packet_on_the_device_is_dropped(rig: Rig, modules: UserModules) -> None:
    """What nobody sent around has no state to go on with."""
    install(modules, "a", "verdict")
    before = rig.machine.drops()
    context = bytearray(192)
    for ticket in (0, 1, 4711):
        struct.pack_into("=I", context, 48, ticket)
        assert rig.machine._programs["again"].test_run(FRAME, bytes(context)).retval == SHOT
    assert rig._drops_since(before) == {Drop.MODULE_COPY: 3}


# -- the module before a logical port ----------------------------------------------------


def at_port(rig: Rig, number: int) -> Datapath:
    """Port 1 (wire 0) has the module before it; whatever comes from port 2 goes to port 1."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0], module=number + 1)
    dp.port(1, kind=PortKind.VIF, ifindex=rig.wires[0].ifindex, module=number + 1)
    dp.bind(2, rig.wires[1])
    dp.flow(0, to(2), Pattern(words=((Word.INPORT, ALL, 1),)), 5)
    dp.flow(0, to(1))
    dp.flow(EGRESS, DELIVER)
    return dp


def test_module_before_a_port_sees_both_directions(rig: Rig, modules: UserModules) -> None:
    """Port 0 is the machine, port 1 the network; one that passes changes nothing."""
    at_port(rig, install(modules, "a", "verdict"))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.words[Word.OUTPORT], out.mark, out.frame) == (2, 0x10000 | 2, FRAME)
    out = rig.run(FRAME, rig.wires[1])
    assert (out.words[Word.OUTPORT], out.mark, out.frame) == (1, 0x10000 | 1 << 8 | 2, FRAME)
    assert (out.verdict, modules.counts("a").passed) == (REDIRECT, 2)


def test_module_before_a_port_drops_both_directions(rig: Rig, modules: UserModules) -> None:
    """Nothing gets past it."""
    at_port(rig, install(modules, "a", "verdict", verdict=DROP))
    for wire in rig.wires[:2]:
        out = rig.run(FRAME, wire)
        assert (out.verdict, out.drops) == (SHOT, {Drop.MODULE: 1})


def test_module_before_a_port_answers_to_either_side(rig: Rig, modules: UserModules) -> None:
    """To the machine past the pipeline, to the network as if the machine had sent it."""
    at_port(rig, install(modules, "a", "answer"))
    wanted = PACKET.copy()
    wanted.dst, wanted.src = PACKET.src, PACKET.dst
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.frame, out.words[Word.OUTPORT]) == (REDIRECT, bytes(wanted), 1)
    out = rig.run(FRAME, rig.wires[1])
    assert (out.verdict, out.frame) == (REDIRECT, bytes(wanted))
    assert (out.words[Word.INPORT], out.words[Word.OUTPORT]) == (1, 2)


def test_modules_before_two_ports_of_a_flood(rig: Rig, modules: UserModules) -> None:
    """Each delivers its own version."""
    dp = rig.datapath()
    for port, wire in enumerate(rig.wires, start=1):
        dp.bind(port, wire)
    for port in (2, 3):
        number = install(modules, f"m{port}", "rewrite", last=port)
        dp.port(port, kind=PortKind.VIF, ifindex=rig.wires[port - 1].ifindex, module=number + 1)
    dp.port(FLOOD, kind=PortKind.MULTICAST, list=rig.write_list((2, 3, 4)))
    dp.flow(0, to(FLOOD))
    dp.flow(EGRESS, DELIVER)
    assert rig.run(FRAME, rig.wires[0]).frame == FRAME
    assert wait_for(rig, 1) == [FRAME[:-1] + b"\x02"]
    assert wait_for(rig, 2) == [FRAME[:-1] + b"\x03"]


# -- replacing ---------------------------------------------------------------------------


def test_new_version_keeps_what_maps_hold(rig: Rig, modules: UserModules) -> None:
    """Maps that are declared alike go on, settings are new."""
    chain(rig, *call(install(modules, "a", "rewrite", last=1)))
    assert rig.run(FRAME, rig.wires[0]).frame[-1] == 1
    install(modules, "a", "rewrite", last=2)
    assert rig.run(FRAME, rig.wires[0]).frame[-1] == 2
    now = modules.installed("a")
    assert now is not None
    assert now.maps["seen"].lookup(bytes(4)) == struct.pack("=Q", 2)


def test_maps_outlive_the_agent(rig: Rig, modules: UserModules) -> None:
    """Who comes next finds them by the module's name, which may hold anything."""
    name = "br.int/vm:0 ü"
    chain(rig, *call(install(modules, name, "rewrite")))
    rig.run(FRAME, rig.wires[0])
    modules.close(keep=True)
    following = UserModules(rig.machine)
    loaded = following.load(name, SOURCES / "rewrite.bpf.c", {})
    assert loaded.maps["seen"].lookup(bytes(4)) == struct.pack("=Q", 1)
    following.keep_only(frozenset())
    anew = following.load(name, SOURCES / "rewrite.bpf.c", {})
    assert anew.maps["seen"].lookup(bytes(4)) == bytes(8), "removed with the module"
    loaded.close()
    anew.close()


def test_same_program_is_not_loaded_twice(modules: UserModules) -> None:
    """A change elsewhere in a chain does not touch a module."""
    install(modules, "a", "rewrite", last=1)
    now = modules.installed("a")
    assert modules.load("a", SOURCES / "rewrite.bpf.c", {"last": 1}) is now
    other = modules.load("a", SOURCES / "rewrite.bpf.c", {"last": 2})
    assert other is not now
    other.close()


def test_change_is_taken_back(rig: Rig, modules: UserModules) -> None:
    """The version before is in force again; a module that was new is gone."""
    chain(rig, *call(install(modules, "a", "rewrite", last=1)))
    second = modules.load("a", SOURCES / "rewrite.bpf.c", {"last": 2})
    other = modules.load("b", SOURCES / "verdict.bpf.c", {})
    change = modules.exchange({"a": second, "b": other})
    assert rig.run(FRAME, rig.wires[0]).frame[-1] == 2
    modules.revert(change)
    assert rig.run(FRAME, rig.wires[0]).frame[-1] == 1
    assert modules.names == {"a"}
    now = modules.installed("a")
    assert now is not None
    assert now.maps["seen"].lookup(bytes(4)) == struct.pack("=Q", 2)


def test_replacing_under_traffic_loses_nothing(rig: Rig, modules: UserModules) -> None:
    """Each packet meets the one version or the other, never none."""
    number = install(modules, "a", "rewrite", last=1)
    chain(rig, *call(number))
    rig.run(FRAME, rig.wires[0])
    before = rig.machine.drops()
    counted = modules.counts("a").passed
    stop = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        os.sched_setaffinity(0, {max(os.sched_getaffinity(1))})
        with inside(rig.namespace):
            while not stop.is_set():
                rig.machine.test(FRAME, rig.wires[0].ifindex, repeat=1000)
                sent += 1000

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for version in range(20):
            install(modules, "a", "rewrite", last=version)
    finally:
        stop.set()
        sender.join()
    assert sent >= 1000
    assert modules.counts("a").passed - counted == sent
    assert rig._drops_since(before) == {}

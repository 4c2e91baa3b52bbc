# SPDX-License-Identifier: Apache-2.0
"""A device that is two ports, its wire and the host: verdicts, copies, what cannot enter."""

import os
import struct

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from iovisor_ovn.abi import Drop, Limit, Op, PortFlag, PortKind, Program, Word
from iovisor_ovn.compiler.insn import Insn
from machine_rig import EGRESS, REDIRECT, SHOT, Datapath, Rig, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

FRAME = bytes(
    Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    / IP(src="10.0.0.1", dst="10.0.0.2")
    / UDP(sport=1, dport=2)
    / (b"x" * 18)
)
PASS = 0xFFFFFFFF  # TC_ACT_UNSPEC
WIRE, HOST, OTHER, FLOOD = 1, 2, 3, 40000
both_programs = pytest.mark.parametrize("program", ["ingress", "egress"])


def shared(rig: Rig, outport: int) -> Datapath:
    """Wire and host on the first wire's device, another port on the second; all to one port."""
    dp = rig.datapath()
    first = rig.wires[0]
    dp.bind(WIRE, first, flags=PortFlag.WIRE)
    dp.port(WIRE, kind=PortKind.VIF, ifindex=first.ifindex, flags=PortFlag.WIRE)
    dp.bind(HOST, first, flags=PortFlag.HOST, tag=Limit.HOST_TAG)
    dp.port(HOST, kind=PortKind.VIF, ifindex=first.ifindex, flags=PortFlag.HOST)
    dp.bind(OTHER, rig.wires[1])
    dp.port(FLOOD, kind=PortKind.MULTICAST, list=rig.write_list((WIRE, OTHER, HOST)))
    dp.flow(0, (load(Word.OUTPORT, outport), Insn(Op.OUTPUT)))
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    return dp


def received(rig: Rig) -> list[list[bytes]]:
    """Frames that left through the first two wires."""
    return [wire.received() for wire in rig.wires[:2]]


@pytest.mark.parametrize(("program", "inport", "outport"),
                         [("ingress", WIRE, HOST), ("egress", HOST, WIRE)])  # fmt: skip
def test_what_goes_to_the_other_side_goes_on_its_way(
    rig: Rig, program: str, inport: int, outport: int
) -> None:
    """Without a redirect, and unchanged."""
    shared(rig, outport)
    out = rig.run(FRAME, rig.wires[0], program=program)
    assert (out.verdict, out.frame, out.drops) == (PASS, FRAME, {})
    assert out.words[Word.INPORT] == inport
    assert received(rig) == [[], []]


def test_tagged_frame_of_the_host_enters_as_the_others(rig: Rig) -> None:
    """With the tag before the header, as from a packet socket."""
    shared(rig, OTHER)
    tagged = FRAME[:12] + bytes.fromhex("81000005") + FRAME[12:]
    out = rig.run(tagged, rig.wires[0], program="egress")
    assert (out.verdict, out.words[Word.INPORT], out.drops) == (REDIRECT, HOST, {})


@both_programs
def test_what_goes_elsewhere_is_redirected(rig: Rig, program: str) -> None:
    """As from any port."""
    shared(rig, OTHER)
    out = rig.run(FRAME, rig.wires[0], program=program)
    assert (out.verdict, out.frame, out.drops) == (REDIRECT, FRAME, {})


@pytest.mark.parametrize("outport", [WIRE, HOST])
def test_from_elsewhere_both_sides_are_redirects(rig: Rig, outport: int) -> None:
    """The device is the same, the frame is not on its way there."""
    shared(rig, outport)
    out = rig.run(FRAME, rig.wires[1])
    assert (out.verdict, out.frame, out.drops) == (REDIRECT, FRAME, {})


def test_flood_from_the_wire_copies_for_others_only(rig: Rig) -> None:
    """The host gets the frame itself: taps on its device see it once."""
    shared(rig, FLOOD)
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.drops) == (PASS, {})
    assert received(rig) == [[], [FRAME]]


def test_flood_from_the_host_goes_to_the_wire_and_to_others(rig: Rig) -> None:
    """To the wire a copy; the last of the others gets the frame itself."""
    shared(rig, FLOOD)
    out = rig.run(FRAME, rig.wires[0], program="egress")
    assert (out.verdict, out.frame, out.drops) == (REDIRECT, FRAME, {})
    assert received(rig) == [[FRAME], []]


@pytest.mark.parametrize(("program", "verdict"), [("ingress", SHOT), ("egress", REDIRECT)])
def test_what_the_chain_drops_is_lost(rig: Rig, program: str, verdict: int) -> None:
    """Counted; the host's stack is not told of a full queue."""
    dp = shared(rig, OTHER)
    dp.flow(0, Program.DROP, priority=1)
    out = rig.run(FRAME, rig.wires[0], program=program)
    assert (out.verdict, out.drops) == (verdict, {Drop.POLICY: 1})


# -- what cannot enter -------------------------------------------------------------------


def _set_busy(rig: Rig, busy: int) -> None:
    """Let the machine of this CPU seem to be at work, or not."""
    table = rig.machine.maps["machines"]
    values = table.lookup_per_cpu(bytes(4))
    assert values is not None
    (cpu,) = os.sched_getaffinity(0)
    changed = [bytearray(value) for value in values]
    struct.pack_into("=I", changed[cpu], 4 * (Limit.WORDS * 2 + Limit.TEMPS), busy)
    table.update(bytes(4), b"".join(changed))


@both_programs
def test_frame_that_cannot_enter_goes_past_the_chain(rig: Rig, program: str) -> None:
    """Between host and wire, counted with the reason."""
    shared(rig, OTHER)
    _set_busy(rig, 1)
    out = rig.run(FRAME, rig.wires[0], program=program)
    _set_busy(rig, 0)
    assert out.verdict == PASS
    assert out.drops == {Drop.NESTED_RUN: 1, Drop.BYPASS: 1}
    assert rig.run(FRAME, rig.wires[0], program=program).verdict == REDIRECT


def test_frame_of_another_device_that_cannot_enter_is_dropped(rig: Rig) -> None:
    """It is a machine's, and the host's stack must not see it."""
    shared(rig, OTHER)
    _set_busy(rig, 1)
    out = rig.run(FRAME, rig.wires[1])
    _set_busy(rig, 0)
    assert (out.verdict, out.drops) == (SHOT, {Drop.NESTED_RUN: 1})


def test_host_without_a_port_has_its_wire(rig: Rig) -> None:
    """What leaves by a device that no port knows goes out as if we were not there."""
    out = rig.run(FRAME, rig.wires[3], program="egress")
    assert out.verdict == PASS
    assert out.drops == {Drop.NO_DEVICE: 1, Drop.BYPASS: 1}

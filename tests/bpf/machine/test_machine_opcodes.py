# SPDX-License-Identifier: Apache-2.0
"""Each instruction, and the work stack of clones and calls."""

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from iovisor_ovn.abi import STRUCTS, Drop, EventKind, Limit, Op, Program, Space, Temp, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.packet import pieces
from iovisor_ovn.compiler.patterns import Pattern
from iovisor_ovn.compiler.sets import Member, SetTable
from iovisor_ovn.dataplane.ringbuf import RingReader
from machine_rig import EGRESS, REDIRECT, SHOT, Datapath, Rig, Run, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
PACKET = ETHER / IP(src="10.0.0.1", dst="10.0.0.2", ttl=64) / UDP(sport=1, dport=2) / (b"x" * 18)
FRAME = bytes(PACKET)
END = Insn(Op.END)
OUTPUT = Insn(Op.OUTPUT)


def execute(rig: Rig, *program: Insn, frame: bytes = FRAME) -> Run:
    """Run a program in stage 0 that ends there."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, program)
    return rig.run(frame, rig.wires[0])


def switch(rig: Rig, *program: Insn) -> Datapath:
    """Ports 1 to 4 on the wires, a program in stage 0, delivery behind it."""
    dp = rig.datapath()
    for number, wire in enumerate(rig.wires):
        dp.bind(number + 1, wire)
    dp.flow(0, program)
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    return dp


def to(port: int) -> tuple[Insn, ...]:
    """Send to a port."""
    return (load(Word.OUTPORT, port), OUTPUT)


def test_load_sets_only_the_bits_of_its_mask(rig: Rig) -> None:
    """Bits outside the mask stay."""
    out = execute(rig, load(Word.REG0, 0xFFFF0000), load(Word.REG0, 0x00A0, 0x0FF0), END)
    assert out.words[Word.REG0] == 0xFFFF00A0


@pytest.mark.parametrize(("turn", "mask", "wanted"), [
    (0, 0xFFFFFFFF, 0x12345678), (8, 0xFFFFFFFF, 0x34567812), (16, 0xFFFF0000, 0x5678EEEE),
    (31, 0xFFFFFFFF, 0x091A2B3C), (4, 0xF, 0xEEEEEEE1),
])  # fmt: skip
def test_move_turns_and_masks(rig: Rig, turn: int, mask: int, wanted: int) -> None:
    """Destination bits of the mask come from the source turned left."""
    out = execute(
        rig, load(Word.REG1, 0x12345678), load(Word.REG2, 0xEEEEEEEE),
        Insn(Op.MOVE, Word.REG2, Word.REG1, turn, mask), END,
    )  # fmt: skip
    assert out.words[Word.REG2] == wanted


def test_push_and_pop_are_a_stack(rig: Rig) -> None:
    """Four words at a time, last in first out."""
    program: list[Insn] = []
    for value in (1, 2, 3):
        program += [load(Temp.SCRATCH0 + i, value * 16 + i) for i in range(4)]
        program.append(Insn(Op.PUSH))
    for register in (Word.REG0, Word.REG1, Word.REG2):
        program += [Insn(Op.POP), Insn(Op.MOVE, register, Temp.SCRATCH0 + 3, 0, 0xFFFFFFFF)]
    out = execute(rig, *program, END)
    assert out.words[Word.REG0 : Word.REG3] == (3 * 16 + 3, 2 * 16 + 3, 16 + 3)


def test_stack_has_a_bottom_and_a_top(rig: Rig) -> None:
    """Popping nothing and pushing too much are counted drops."""
    assert execute(rig, Insn(Op.POP), END).drops == {Drop.STACK: 1}
    full = [Insn(Op.PUSH)] * Limit.STACK
    assert execute(rig, *full, END).drops == {}
    assert execute(rig, *full, Insn(Op.PUSH), END).drops == {Drop.STACK: 1}


@pytest.mark.parametrize(
    ("ttl", "drops"), [(64, {}), (2, {}), (1, {Drop.TTL: 1}), (0, {Drop.TTL: 1})]
)
@pytest.mark.parametrize("version", [4, 6])
def test_ttl_runs_out(rig: Rig, ttl: int, drops: dict[Drop, int], version: int) -> None:
    """A packet whose TTL would become 0 ends there."""
    ip = IP(ttl=ttl) if version == 4 else IPv6(hlim=ttl)
    switch(rig, Insn(Op.DEC_TTL), *to(2))
    out = rig.run(bytes(ETHER / ip / UDP() / (b"x" * 18)), rig.wires[0])
    assert out.drops == drops
    assert out.verdict == (SHOT if drops else REDIRECT)
    if not drops:
        assert out.frame == bytes(
            ETHER / (IP(ttl=ttl - 1) if version == 4 else IPv6(hlim=ttl - 1)) / UDP() / (b"x" * 18)
        )


def test_end_counts_its_reason(rig: Rig) -> None:
    """END with a reason is a counted drop, without one it is no drop."""
    assert execute(rig, END).drops == {}
    assert execute(rig, Insn(Op.END, x=Drop.POLICY)).drops == {Drop.POLICY: 1}


def test_next_goes_to_its_stage(rig: Rig) -> None:
    """Forward or back, in either pipeline."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.bind(2, rig.wires[1])
    dp.flow(0, (Insn(Op.NEXT, 40),))
    dp.flow(40, (load(Word.OUTPORT, 2), Insn(Op.NEXT, EGRESS + 5)))
    dp.flow(EGRESS + 5, (Insn(Op.DELIVER),))
    assert rig.run(FRAME, rig.wires[0]).verdict == REDIRECT


def test_unsupported_verb_is_counted_by_number(rig: Rig) -> None:
    """So that `show` can name what a cloud needs."""
    before = rig.unsupported().get(17, 0)
    assert execute(rig, Insn(Op.UNSUPPORTED, x=17)).drops == {Drop.UNSUPPORTED: 1}
    assert rig.unsupported()[17] == before + 1


def test_unknown_instruction_is_counted(rig: Rig) -> None:
    """A program that this machine does not understand ends the packet."""
    assert execute(rig, Insn(200), END).drops == {Drop.BAD_PROGRAM: 1}


def test_program_without_end_is_stopped(rig: Rig) -> None:
    """So many steps for a packet, then it is dropped and counted."""
    program = [load(Word.REG0, 1)] * (Limit.STEPS * Limit.STEP_INSNS + 8)
    assert execute(rig, *program, END).drops == {Drop.STEP_LIMIT: 1}


@pytest.mark.parametrize(("limit", "larger"), [(59, 1), (60, 0), (61, 0)])
def test_frame_length_is_compared(rig: Rig, limit: int, larger: int) -> None:
    """Bytes of the frame from the Ethernet header on."""
    assert len(FRAME) == 60
    out = execute(rig, Insn(Op.CHECK_LARGER, x=limit), END)
    assert out.words[Temp.RESULT] == larger


def test_length_counts_the_tag(rig: Rig) -> None:
    """A VLAN tag is on the wire though the kernel keeps it beside the packet."""
    tagged = ETHER / Dot1Q(vlan=5) / PACKET[IP]
    for limit, larger in ((63, 1), (64, 0)):
        out = execute(rig, Insn(Op.CHECK_LARGER, x=limit), END, frame=bytes(tagged))
        assert out.words[Temp.RESULT] == larger


def test_length_of_a_gso_packet_is_that_of_a_segment(rig: Rig) -> None:
    """It will be cut before it meets a wire."""
    frame = bytes(ETHER / IP() / UDP() / (b"x" * 3000))
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    for limit, larger in ((1041, 1), (1042, 0)):
        name = dp.flow(0, (Insn(Op.CHECK_LARGER, x=limit), END))
        out = rig.run(frame, rig.wires[0], gso_size=1000)
        assert out.words[Temp.RESULT] == larger
        rig.image.remove_flow(name)


def test_ct_clear_forgets_the_connection(rig: Rig) -> None:
    """State, mark and label of the packet are 0 again."""
    dirty = [load(word, 9) for word in range(Word.CT_STATE, Word.CT_LABEL3 + 1)]
    out = execute(rig, *dirty, Insn(Op.CT_CLEAR), END)
    assert out.words[Word.CT_STATE : Word.CT_LABEL3 + 1] == (0,) * 6


# -- the work stack ----------------------------------------------------------------------


def test_clone_runs_first_and_leaves_no_trace(rig: Rig) -> None:
    """The body sees a copy: what it stores is undone for what comes behind it."""
    body = (load(Word.IP4_DST, 0x01020304), load(Word.REG0, 5), *to(2))
    switch(rig, Insn(Op.FORK, x=len(body) + 1), *body, *to(3))
    out = rig.run(FRAME, rig.wires[0])
    changed = PACKET.copy()
    changed[IP].dst = "1.2.3.4"
    assert rig.wires[1].received() == [bytes(changed)]
    assert (out.verdict, out.frame) == (REDIRECT, FRAME)


def test_clones_in_clones_come_out_in_order(rig: Rig) -> None:
    """The innermost is done when its turn comes; all leave through their own port."""
    inner = (load(Word.ETH_DST_LO, 0x11), *to(2))
    middle = (Insn(Op.FORK, x=len(inner) + 1), *inner, load(Word.ETH_SRC_LO, 0x22), *to(2))
    switch(
        rig,
        Insn(Op.FORK, x=len(middle) + 1),
        *middle,
        *to(2),
    )
    out = rig.run(FRAME, rig.wires[0])
    first, second = PACKET.copy(), PACKET.copy()
    first.dst, second.src = "02:00:00:00:00:11", "02:00:00:00:00:22"
    assert rig.wires[1].received() == [bytes(first), bytes(second)]
    assert out.frame == FRAME


def test_too_many_pending_clones_are_counted(rig: Rig) -> None:
    """The stack holds so many; what does not fit is lost and counted, the rest goes out."""
    depth = Limit.WORK_DEPTH + 3
    forks = [Insn(Op.FORK, x=depth - number) for number in range(depth)]
    switch(rig, *forks, *to(2))
    out = rig.run(FRAME, rig.wires[0])
    assert out.drops == {Drop.WORK_FULL: 3}
    assert (out.verdict, out.frame) == (REDIRECT, FRAME)
    assert len(rig.wires[1].received()) == Limit.WORK_DEPTH


def test_call_comes_back_with_what_the_stage_left(rig: Rig) -> None:
    """The words are shared; END in the called stage goes on behind the call."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, (load(Temp.RESULT, 0), Insn(Op.CALL, Limit.PORTSEC_IN),
                Insn(Op.MOVE, Word.REG0, Temp.RESULT, 0, 1), END))  # fmt: skip
    dp.flow(Limit.PORTSEC_IN, (Insn(Op.NEXT, Limit.PORTSEC_IN_ND),))
    dp.flow(Limit.PORTSEC_IN_ND, (load(Temp.RESULT, 1), END))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.words[Word.REG0], out.drops) == (1, {})


def test_call_of_a_stage_that_drops_goes_on(rig: Rig) -> None:
    """Port security only answers; what to do is for the caller."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, (Insn(Op.CALL, Limit.PORTSEC_IN), load(Word.REG0, 7), END))
    dp.flow(Limit.PORTSEC_IN, Program.DROP)
    assert rig.run(FRAME, rig.wires[0]).words[Word.REG0] == 7


def test_calls_in_calls_are_bounded(rig: Rig) -> None:
    """A stage that calls itself fills the work stack and ends."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, (Insn(Op.CALL, 0), END))
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.WORK_FULL: 1}


# -- sets and stored words ---------------------------------------------------------------


@pytest.mark.parametrize("change", ["load", "ttl"])
def test_set_is_looked_up_again_when_its_field_changes(rig: Rig, change: str) -> None:
    """What was found for the old value does not stand for the new one."""
    table = SetTable()
    field, space = ("ip4.dst", Space.IP4) if change == "load" else ("ip.ttl", Space.OTHER + 7)
    place = pieces(field)
    assert place is not None
    dimension = table.dimension(field, 0, space, place)
    assert dimension is not None
    rig.define(dimension, prefixes=False)
    old, new = (0x0A000002, 0x0A000003) if change == "load" else (64, 63)
    rig.change_members({Member(space, old, 32): (501,), Member(space, new, 32): (502,)})
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    step = load(Word.IP4_DST, new) if change == "load" else Insn(Op.DEC_TTL)
    dp.flow(0, (load(Word.REG0, 1), step, Insn(Op.NEXT, 1)),
            Pattern(dims=((dimension.index, 501),)))  # fmt: skip
    dp.flow(1, (load(Word.REG1, 1), END), Pattern(dims=((dimension.index, 502),)))
    out = rig.run(FRAME, rig.wires[0])
    rig.change_members({Member(space, old, 32): (), Member(space, new, 32): ()})
    assert (out.words[Word.REG0], out.words[Word.REG1], out.drops) == (1, 1, {})


def test_port_groups_are_looked_up_again_when_the_port_changes(rig: Rig) -> None:
    """A program writes outport in the middle of the pipeline."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.groups(5, [601])
    dp.groups(6, [602])
    dp.flow(0, (load(Word.OUTPORT, 5), Insn(Op.NEXT, 1)))
    dp.flow(1, (load(Word.OUTPORT, 6), Insn(Op.NEXT, 2)), Pattern(dims=((1, 601),)))
    dp.flow(2, (load(Word.REG0, 9), END), Pattern(dims=((1, 602),)))
    assert rig.run(FRAME, rig.wires[0]).words[Word.REG0] == 9


@pytest.mark.parametrize("lengths", [(65536, 65536), (300, 300), (65537, 1)])
def test_packet_in_too_many_sets_is_counted(rig: Rig, lengths: tuple[int, int]) -> None:
    """Combinations beyond the limit are not tried, also where their number overflows."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    for number in (1, 2):
        pattern = Pattern(words=((Word.REG0, 1, 0),), dims=((0, number), (1, number)))
        dp.flow(0, (load(Word.REG0, number), END), pattern, 5)
    dp.flow(0, Program.DROP)
    for port, length in zip((1, 0), lengths, strict=True):
        dp.groups(port, range(1, length + 1))
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.SET_LIMIT: 1}


def test_icmp_is_no_udp(rig: Rig) -> None:
    """The class word keeps flows of other protocols away."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, (load(Word.REG0, 1), END), Pattern(class_bits=1 << 5))
    dp.flow(0, (load(Word.REG0, 2), END), priority=0)
    out = rig.run(bytes(ETHER / IP() / ICMP() / (b"x" * 18)), rig.wires[0])
    assert out.words[Word.REG0] == 2


def test_punt_gives_the_packet_to_the_agent(rig: Rig) -> None:
    """Whole, with the datapath and the port that it came by; here it goes no further."""
    reader = RingReader(rig.machine.maps["events"])
    reader.consume()
    dp = rig.datapath()
    dp.bind(7, rig.wires[0])
    dp.flow(0, (Insn(Op.PUNT), END))
    rig.run(FRAME, rig.wires[0])
    (record,) = reader.consume()
    reader.close()
    event = STRUCTS["event"].numbers(record)
    assert (event["kind"], event["dp"], event["port"]) == (EventKind.PACKET, dp.index, 7)
    assert record[STRUCTS["event"].size :][: event["len"]] == FRAME


def test_count_counts_packets_and_bytes(rig: Rig) -> None:
    """Each time that it is met, also more often than a segment can note."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, (*[Insn(Op.COUNT, x=3)] * 6, Insn(Op.COUNT, x=4), END))
    before = [rig.machine.counter(number) for number in (3, 4)]
    for _packet in range(10):
        rig.run(FRAME, rig.wires[0])
    after = [rig.machine.counter(number) for number in (3, 4)]
    gained = [(a[0] - b[0], a[1] - b[1]) for a, b in zip(after, before, strict=True)]
    assert gained == [(60, 60 * len(FRAME)), (10, 10 * len(FRAME))]

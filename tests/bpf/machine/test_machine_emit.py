# SPDX-License-Identifier: Apache-2.0
"""Where packets go: devices, patch ports, groups, and why they do not."""

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from iovisor_ovn.abi import Drop, InjectKind, Op, PortFlag, PortKind, Program, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.patterns import Pattern
from machine_rig import EGRESS, REDIRECT, SHOT, Datapath, Rig, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

PACKET = (
    Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    / IP(src="10.0.0.1", dst="10.0.0.2")
    / UDP(sport=1, dport=2)
    / (b"x" * 18)
)
FRAME = bytes(PACKET)
OUTPUT = Insn(Op.OUTPUT)
DELIVER = (Insn(Op.DELIVER),)
LOOPBACK = load(Word.FLAGS, 1, 1)
FLOOD = 40000


def to(port: int) -> tuple[Insn, ...]:
    """Send to a port."""
    return (load(Word.OUTPORT, port), OUTPUT)


def switch(rig: Rig, *program: Insn) -> Datapath:
    """Ports 1 to 4 on the wires, a program in stage 0, delivery behind it."""
    dp = rig.datapath()
    for number, wire in enumerate(rig.wires):
        dp.bind(number + 1, wire)
    dp.flow(0, program)
    dp.flow(EGRESS, DELIVER)
    return dp


def received(rig: Rig) -> list[list[bytes]]:
    """Frames that left through each wire."""
    return [wire.received() for wire in rig.wires]


def test_frame_goes_to_the_device_of_its_outport(rig: Rig) -> None:
    """The last emission is the program's own verdict, without a copy."""
    switch(rig, *to(2))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.frame, out.drops) == (REDIRECT, FRAME, {})
    assert received(rig) == [[], [], [], []]


def test_veth_into_another_namespace_is_reached_directly(rig: Rig) -> None:
    """With the flag the packet skips the host's end; the verdict is a redirect all the same."""
    dp = switch(rig, *to(2))
    dp.port(2, kind=PortKind.VIF, ifindex=rig.wires[1].ifindex, flags=PortFlag.PEER)
    assert rig.run(FRAME, rig.wires[0]).verdict == REDIRECT


def test_entry_state_is_that_of_device_and_datapath(rig: Rig) -> None:
    """Ports and zones are set, registers and flags of the packet before are gone."""
    switch(rig, load(Word.REG3, 5), load(Word.FLAGS, 0xFF), *to(2))
    rig.run(FRAME, rig.wires[0])
    dp = rig.datapath(dnat_zone=11, snat_zone=12)
    dp.bind(77, rig.wires[0], zone=13)
    dp.flow(0, Program.DROP)
    words = rig.run(FRAME, rig.wires[0], mark=9).words
    assert words[: Word.DATAPATH + 1] == (
        77, *[0] * (Word.PKT_MARK - 1), 9, 13, 11, 12, dp.index,
    )  # fmt: skip


# -- reasons to drop ---------------------------------------------------------------------


def test_flow_that_drops_is_counted(rig: Rig) -> None:
    """A drop by policy is a reason like others."""
    switch(rig)
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, Program.DROP)
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.drops) == (SHOT, {Drop.POLICY: 1})


def test_stage_without_flows_drops(rig: Rig) -> None:
    """A packet passes a stage only because a flow says so."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.bind(2, rig.wires[1])
    dp.flow(1, to(2))
    dp.flow(EGRESS, DELIVER)
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.drops) == (SHOT, {Drop.NO_FLOW: 1})
    dp.flow(0, Program.NEXT)
    assert rig.run(FRAME, rig.wires[0]).verdict == REDIRECT


def test_packet_that_no_flow_matches_is_counted(rig: Rig) -> None:
    """Tuples that are there but do not match."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, to(2), Pattern(words=((Word.L4, 0xFFFF, 99),)))
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.NO_FLOW: 1}


def test_outport_without_record_is_counted(rig: Rig) -> None:
    """A port key that nobody knows."""
    switch(rig, *to(99))
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.UNKNOWN_PORT: 1}


def test_port_that_has_no_device_is_counted(rig: Rig) -> None:
    """Known, but not plugged in anywhere."""
    dp = switch(rig, *to(9))
    dp.port(9, kind=PortKind.NONE)
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.NO_PORT: 1}


def test_port_on_another_chassis_is_counted(rig: Rig) -> None:
    """Remote ports are unreachable, and for packets of a localport by rule."""
    dp = switch(rig, *to(9))
    dp.port(9, kind=PortKind.REMOTE)
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.REMOTE: 1}
    dp.bind(1, rig.wires[0], flags=PortFlag.LOCALPORT)
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.LOCALPORT: 1}


def test_packet_does_not_return_unless_loopback_is_allowed(rig: Rig) -> None:
    """A packet whose outport is its inport needs flags.loopback."""
    switch(rig, *to(1))
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.LOOPBACK: 1}
    switch(rig, LOOPBACK, *to(1))
    assert rig.run(FRAME, rig.wires[0]).verdict == REDIRECT


def test_device_that_is_bound_to_nothing_is_counted(rig: Rig) -> None:
    """A program on a device whose port is gone."""
    key = rig.wires[3].ifindex.to_bytes(4, "little") + bytes(4)
    rig.machine.maps["devices"].delete(key, missing_ok=True)
    assert rig.run(FRAME, rig.wires[3]).drops == {Drop.NO_DEVICE: 1}


def test_endless_stages_are_stopped(rig: Rig) -> None:
    """Two stages that send the packet to each other."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, (Insn(Op.NEXT, 1),))
    dp.flow(1, (Insn(Op.NEXT, 0),))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.drops) == (SHOT, {Drop.STEP_LIMIT: 1})
    switch(rig, *to(2))
    assert rig.run(FRAME, rig.wires[0]).verdict == REDIRECT, "the CPU is free again"


def test_routing_loop_is_stopped(rig: Rig) -> None:
    """Two datapaths whose patch ports lead to each other, without a TTL to run out."""
    one, other = rig.datapath(), rig.datapath()
    one.bind(1, rig.wires[0])
    for dp, peer in ((one, other), (other, one)):
        dp.port(5, kind=PortKind.PATCH, peer_dp=peer.index, peer_port=6)
        dp.port(6, kind=PortKind.PATCH, peer_dp=peer.index, peer_port=5)
        dp.flow(0, to(5))
        dp.flow(EGRESS, DELIVER)
    assert rig.run(FRAME, rig.wires[0]).drops == {Drop.STEP_LIMIT: 1}


# -- groups ------------------------------------------------------------------------------


def group(rig: Rig, dp: Datapath, *members: int) -> None:
    """Make FLOOD a multicast group."""
    dp.port(FLOOD, kind=PortKind.MULTICAST, list=rig.write_list(members))


def test_flood_does_not_miss_where_it_came_from(rig: Rig) -> None:
    """What a group's member is not given back is no lost packet, wherever it stands."""
    dp = switch(rig, *to(FLOOD))
    dp.port(2, kind=PortKind.NONE)
    for members in ((1, 2), (2, 1), (1,)):
        group(rig, dp, *members)
        assert rig.run(FRAME, rig.wires[0]).drops == ({Drop.NO_PORT: 1} if 2 in members else {})


def test_group_reaches_each_member_once_but_not_the_sender(rig: Rig) -> None:
    """All but the last leave as copies; what the program itself returns is the last."""
    dp = switch(rig, *to(FLOOD))
    group(rig, dp, 1, 2, 3, 4)
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.frame) == (REDIRECT, FRAME)
    assert received(rig) == [[], [FRAME], [FRAME], []]


def test_group_without_members_reaches_nobody(rig: Rig) -> None:
    """The empty list has index 0, behind which another list lies."""
    dp = switch(rig, *to(FLOOD))
    rig.write_list((2, 3))
    group(rig, dp)
    for number in range(1, 30):
        dp.port(number, kind=PortKind.VIF, ifindex=rig.wires[1].ifindex)
    out = rig.run(FRAME, rig.wires[0])
    assert out.verdict == SHOT
    assert received(rig) == [[], [], [], []]


def test_members_are_processed_one_by_one(rig: Rig) -> None:
    """What egress does to one copy does not show in the next."""
    dp = rig.datapath()
    for number, wire in enumerate(rig.wires):
        dp.bind(number + 1, wire)
    group(rig, dp, 2, 3, 4)
    dp.flow(0, (load(Word.REG5, 7), *to(FLOOD)))
    for number in (2, 3):
        mine = Pattern(words=((Word.OUTPORT, 0xFFFFFFFF, number),))
        dp.flow(EGRESS, (load(Word.ETH_DST_LO, number), *DELIVER), mine, 5)
    dp.flow(EGRESS, DELIVER)
    out = rig.run(FRAME, rig.wires[0])
    second, third = PACKET.copy(), PACKET.copy()
    second.dst, third.dst = "02:00:00:00:00:02", "02:00:00:00:00:03"
    assert received(rig) == [[], [bytes(second)], [bytes(third)], []]
    assert out.frame == FRAME
    assert out.words[Word.REG5] == 0, "registers do not go into egress"


def test_group_in_a_group_and_unknown_members_are_passed_over(rig: Rig) -> None:
    """Members that are no ports send nothing."""
    dp = switch(rig, *to(FLOOD))
    dp.port(FLOOD + 1, kind=PortKind.MULTICAST, list=rig.write_list((2,)))
    group(rig, dp, FLOOD + 1, 99, 3)
    assert rig.run(FRAME, rig.wires[0]).verdict == REDIRECT
    assert received(rig) == [[], [], [], []]


# -- patch ports -------------------------------------------------------------------------


def test_patch_port_goes_on_in_the_peers_datapath(rig: Rig) -> None:
    """Switch to router to switch: state of one datapath does not reach the next."""
    left, router, right = (rig.datapath(dnat_zone=n, snat_zone=n + 1) for n in (20, 30, 40))
    left.bind(1, rig.wires[0])
    right.bind(1, rig.wires[1])
    left.port(9, kind=PortKind.PATCH, peer_dp=router.index, peer_port=1)
    router.port(2, kind=PortKind.PATCH, peer_dp=right.index, peer_port=9)
    dirty = (load(Word.REG0, 1), load(Word.FLAGS, 2), load(Word.CT_STATE, 3))
    left.flow(0, (*dirty, *to(9)))
    clean = Pattern(
        words=tuple((w, 0xFFFFFFFF, 0) for w in (Word.OUTPORT, Word.FLAGS, Word.CT_STATE))
    )
    came = Pattern(words=((Word.INPORT, 0xFFFFFFFF, 1), *clean.words))
    router.flow(0, (load(Word.ETH_SRC_LO, 0xAB), Insn(Op.DEC_TTL), *to(2)), came)
    came = Pattern(words=((Word.INPORT, 0xFFFFFFFF, 9), *clean.words))
    right.flow(0, to(1), came)
    for dp in (left, router, right):
        dp.flow(EGRESS, DELIVER)
    out = rig.run(FRAME, rig.wires[0])
    wanted = PACKET.copy()
    wanted.src = "02:00:00:00:00:ab"
    wanted[IP].ttl -= 1
    assert (out.verdict, out.drops) == (REDIRECT, {})
    assert out.frame == bytes(wanted)
    assert out.words[Word.DNAT_ZONE : Word.DATAPATH + 1] == (40, 41, right.index)


def test_flood_that_crosses_a_router_comes_back_as_it_was(rig: Rig) -> None:
    """A member behind a patch port is changed there; the members after it get the original."""
    dp, router = switch(rig, *to(FLOOD)), rig.datapath()
    dp.port(9, kind=PortKind.PATCH, peer_dp=router.index, peer_port=1)
    router.port(2, kind=PortKind.VIF, ifindex=rig.wires[1].ifindex)
    router.flow(0, (load(Word.IP4_DST, 0x01020304), load(Word.REG0, 1), *to(2)))
    router.flow(EGRESS, DELIVER)
    group(rig, dp, 9, 3, 4)
    out = rig.run(FRAME, rig.wires[0])
    changed = PACKET.copy()
    changed[IP].dst = "1.2.3.4"
    del changed[IP].chksum, changed[UDP].chksum
    assert received(rig) == [[], [bytes(changed)], [FRAME], []]
    assert out.frame == FRAME


# -- nested ports ------------------------------------------------------------------------


def test_tag_of_a_nested_port_is_taken_off_and_put_on(rig: Rig) -> None:
    """A container sends tagged frames through its parent's device and gets them tagged."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0], tag=42)
    dp.bind(2, rig.wires[1])
    dp.port(3, kind=PortKind.NESTED, ifindex=rig.wires[2].ifindex, tag=43)
    dp.flow(0, (Insn(Op.FORK, x=3), *to(2), *to(3)))
    dp.flow(EGRESS, DELIVER)
    head = PACKET.copy()
    head.remove_payload()
    tagged = bytes(head / Dot1Q(vlan=42) / PACKET.payload)
    out = rig.run(tagged, rig.wires[0])
    assert (out.verdict, out.drops) == (REDIRECT, {})
    assert out.words[Word.INPORT] == 1
    assert received(rig) == [[], [FRAME], [], []]
    drops = rig.inject(FRAME, {Word.DATAPATH: dp.index, Word.INPORT: 1, Word.OUTPORT: 3},
                       InjectKind.OUTPUT)  # fmt: skip
    assert drops == {}
    assert received(rig) == [[], [], [bytes(head / Dot1Q(vlan=43) / PACKET.payload)], []]


# -- injection ---------------------------------------------------------------------------


def test_injected_frame_leaves_as_a_copy(rig: Rig) -> None:
    """A test run has no device that could send: all that leaves is copied."""
    dp = switch(rig, *to(2))
    assert rig.inject(FRAME, {Word.DATAPATH: dp.index, Word.INPORT: 1}) == {}
    assert received(rig) == [[], [FRAME], [], []]


def test_injection_as_output_sets_the_address(rig: Rig) -> None:
    """A packet that waited for a neighbour goes out to the address that was found."""
    dp = switch(rig, *to(2))
    words: dict[int, int] = {Word.DATAPATH: dp.index, Word.INPORT: 1, Word.OUTPORT: 3}
    assert rig.inject(FRAME, words, InjectKind.OUTPUT, mac=0x060000000077) == {}
    wanted = PACKET.copy()
    wanted.dst = "06:00:00:00:00:77"
    assert received(rig) == [[], [], [bytes(wanted)], []]


def test_paused_datapath_drops_until_its_rows_are_put_into_force(rig: Rig) -> None:
    """A full map makes room so: counted as no flow, with the fast path too; then as before."""
    dp = switch(rig, *to(2))
    assert rig.run(FRAME, rig.wires[0]).verdict == REDIRECT
    rig.machine.pause(dp.index)
    rig.machine.renew()
    paused = rig.run(FRAME, rig.wires[0])
    rig.machine.switch_rows({}, [dp.index])
    rig.machine.renew()
    after = rig.run(FRAME, rig.wires[0])
    assert paused.drops == {Drop.NO_FLOW: 1}
    assert (after.verdict, after.drops) == (REDIRECT, {})

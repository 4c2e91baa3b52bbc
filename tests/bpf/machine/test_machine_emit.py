# SPDX-License-Identifier: Apache-2.0
"""Where packets go: devices, patch ports, groups, and why they do not."""

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from iovisor_ovn.abi import Drop, Op, Program, Word
from iovisor_ovn.compiler.insn import Insn
from machine_rig import EGRESS, REDIRECT, SHOT, Rig, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

FRAME = bytes(
    Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    / IP(src="10.0.0.1", dst="10.0.0.2")
    / UDP(sport=1, dport=2)
    / (b"x" * 18)
)


def test_frame_goes_to_the_device_of_its_outport(rig: Rig) -> None:
    """The last emission is the program's own verdict, without a copy."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.bind(2, rig.wires[1])
    dp.flow(0, (load(Word.OUTPORT, 2), Insn(Op.OUTPUT)))
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.frame, out.drops) == (REDIRECT, FRAME, {})


def test_flow_that_drops_is_counted(rig: Rig) -> None:
    """A drop by policy is a reason like others."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, Program.DROP)
    out = rig.run(FRAME, rig.wires[0])
    assert (out.verdict, out.drops) == (SHOT, {Drop.POLICY: 1})

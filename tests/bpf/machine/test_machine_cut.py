# SPDX-License-Identifier: Apache-2.0
"""Frames cut at every byte through the whole machine: forwarded by L2, or dropped and counted."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import ARP, LLC, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from iovisor_ovn.abi import Drop, InjectKind, Op, Word
from iovisor_ovn.compiler.insn import Insn
from machine_rig import EGRESS, REDIRECT, SHOT, Rig, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

_ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
_IP4 = IP(src="10.0.0.1", dst="10.0.0.2")
_IP6 = IPv6(src="fd00::1", dst="fd00::2")
_DATA = Raw(b"0123456789")
_OPTION = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0\0\0")])
#: Errors and fragments that say nothing of ports are not rejected (RFC 1122 section 3.2.2).
_UNANSWERED = ("icmp error", "overlap", "tiny fragment")
_FORWARD = (load(Word.OUTPORT, 2), Insn(Op.OUTPUT))

FRAMES: dict[str, Packet] = {
    "arp": _ETHER / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2"),
    "nd": _ETHER / _IP6 / ICMPv6ND_NS(tgt="fd00::2") / ICMPv6NDOptSrcLLAddr(),
    "ip4 options": _ETHER / IP(src="10.0.0.1", dst="10.0.0.2",
                               options=[IPOption(b"\x07\x0b\x04" + bytes(8))]) / UDP() / _DATA,
    "tcp": _ETHER / _IP4 / TCP(flags="S", options=[("MSS", 1460), ("WScale", 7)]) / _DATA,
    "tcp bad offset": _ETHER / _IP4 / TCP(flags="S", dataofs=15) / _DATA,
    "tcp tiny offset": _ETHER / _IP4 / TCP(flags="S", dataofs=2) / _DATA,
    "udp": _ETHER / _IP4 / UDP(dport=53) / _DATA,
    "sctp": _ETHER / _IP4 / SCTP() / _DATA,
    "icmp": _ETHER / _IP4 / ICMP() / _DATA,
    "icmp error": _ETHER / _IP4 / ICMP(type=3, code=3) / _IP4 / UDP() / _DATA,
    "icmp6": _ETHER / _IP6 / ICMPv6EchoRequest() / _DATA,
    "ip6 chain": _ETHER / _IP6 / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0\0\0\0")]) / _OPTION
        / _OPTION / TCP(flags="S"),
    "ip6 endless chain": _ETHER / IPv6(src="fd00::1", dst="fd00::2", nh=60)
        / Raw(b"\x3c\0\1\4\0\0\0\0" * 40),
    "fragment": _ETHER / IP(src="10.0.0.1", dst="10.0.0.2", flags="MF", id=9) / UDP() / _DATA,
    "tiny fragment": _ETHER / IP(src="10.0.0.1", dst="10.0.0.2", flags="MF", proto=6, id=7)
        / Raw(b"\0\1\0\2"),
    "overlap": _ETHER / IP(src="10.0.0.1", dst="10.0.0.2", frag=1, proto=6, id=8) / _DATA,
    "ip6 fragment": _ETHER / _IP6 / IPv6ExtHdrFragment(m=1, id=3) / UDP() / _DATA,
    "vlan": _ETHER / Dot1Q(vlan=7) / _IP4 / UDP() / _DATA,
    "qinq": _ETHER / Dot1AD(vlan=5) / Dot1Q(vlan=7) / _IP4 / UDP() / _DATA,
    "llc": Dot3(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / LLC() / _DATA,
}  # fmt: skip


def _cuts(name: str) -> Iterator[bytes]:
    """The frame at each length that a test run takes: with the IP header, if it says that it has.

    What is shorter still is parsed in ``tests/unit/bpf_lib``.
    """
    frame = bytes(FRAMES[name])
    first = 14 + {0x0800: 20, 0x86DD: 40, 0x8100: 4, 0x88A8: 8}.get(
        int.from_bytes(frame[12:14], "big"), 0
    )
    return (frame[:length] for length in range(first, len(frame) + 1))


def _is_same(out: bytes, frame: bytes) -> bool:
    """Whether a frame left unchanged; the kernel keeps the outer tag beside the bytes."""
    return out in (frame, frame[:12] + frame[16:])


def _switch(rig: Rig, *before: Insn) -> None:
    """Two ports; what one sends goes to the other after ``before``."""
    datapath = rig.datapath()
    datapath.bind(1, rig.wires[0])
    datapath.bind(2, rig.wires[1])
    datapath.flow(0, (*before, *_FORWARD))
    datapath.flow(EGRESS, (Insn(Op.DELIVER),))


@pytest.mark.parametrize("name", FRAMES)
def test_cut_frame_is_forwarded_by_its_ethernet_header(rig: Rig, name: str) -> None:
    """As OVS does: fields that are not there are 0, and the frame goes on unchanged."""
    _switch(rig)
    for frame in _cuts(name):
        out = rig.run(frame, rig.wires[0])
        assert (out.verdict, out.drops) == (REDIRECT, {}), len(frame)
        assert _is_same(out.frame, frame), (len(frame), out.frame.hex())


def test_tag_that_is_not_whole_is_no_tag_or_a_counted_drop(rig: Rig) -> None:
    """An outer one is an unknown EtherType; behind a whole one there is no frame to speak of."""
    _switch(rig)
    for length in range(15, 18):
        out = rig.run(bytes(FRAMES["vlan"])[:length], rig.wires[0])
        assert (out.verdict, out.drops) == (REDIRECT, {}), length
    for length in range(19, 22):
        out = rig.run(bytes(FRAMES["qinq"])[:length], rig.wires[0])
        assert (out.verdict, out.drops) == (SHOT, {Drop.PARSE: 1}), length


@pytest.mark.parametrize("name", FRAMES)
def test_cut_frame_in_conntrack_goes_on_or_is_counted(rig: Rig, name: str) -> None:
    """Tracked, invalid or a fragment that waits for its first: never an undefined verdict."""
    datapath = rig.datapath()
    datapath.bind(1, rig.wires[0])
    datapath.bind(2, rig.wires[1])
    datapath.flow(0, (load(Word.REG0, 11), Insn(Op.CT_NEXT, a=Word.REG0), Insn(Op.NEXT, a=1)))
    datapath.flow(1, _FORWARD)
    datapath.flow(EGRESS, (Insn(Op.DELIVER),))
    for frame in _cuts(name):
        out = rig.run(frame, rig.wires[0])
        if out.verdict == REDIRECT:
            assert not out.drops
            assert _is_same(out.frame, frame), (len(frame), out.frame.hex())
        else:
            assert out.verdict == SHOT
            assert sum(out.drops.values()) == 1, len(frame)


@pytest.mark.parametrize("verb", [op for op in Op if op.name.startswith("GEN_")])
@pytest.mark.parametrize("name", FRAMES)
def test_answer_to_a_cut_frame_is_whole_or_a_counted_drop(rig: Rig, name: str, verb: Op) -> None:
    """An answer is at least as long as its headers, and never longer than what it may quote."""
    datapath = rig.datapath()
    datapath.bind(1, rig.wires[0])
    datapath.bind(2, rig.wires[1])
    body = (load(Word.OUTPORT, 2), Insn(Op.OUTPUT), Insn(Op.END))
    datapath.flow(0, (Insn(Op.GENERATE, a=verb, x=len(body) + 1), *body, Insn(Op.END)))
    datapath.flow(EGRESS, (Insn(Op.DELIVER),))
    for frame in _cuts(name):
        out = rig.run(frame, rig.wires[0])
        if out.verdict == REDIRECT:
            assert len(out.frame) >= 42, (len(frame), out.frame.hex())
            assert not out.drops
        else:
            assert out.verdict == SHOT
            is_silent = verb == Op.GEN_REJECT and name in _UNANSWERED
            assert out.drops or is_silent, len(frame)


@pytest.mark.parametrize("name", FRAMES)
def test_cut_frame_that_the_agent_puts_in_goes_on(rig: Rig, name: str) -> None:
    """Held packets come back through ``inject``; a cut one leaves as it came."""
    datapath = rig.datapath()
    datapath.bind(2, rig.wires[1])
    datapath.flow(0, _FORWARD)
    datapath.flow(EGRESS, (Insn(Op.DELIVER),))
    for frame in _cuts(name):
        words: dict[int, int] = {Word.DATAPATH: datapath.index, Word.INPORT: 1}
        assert rig.inject(frame, words, InjectKind.STAGE, stage=0) == {}
        assert rig.wires[1].received() == [frame], len(frame)

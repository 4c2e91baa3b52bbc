# SPDX-License-Identifier: Apache-2.0
"""Answers in the kernel: frame and words in, whole answer and words out."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from icmp_rig import Outcome, Rig, build
from iovisor_ovn.abi.layout import Drop, EventKind, Limit, Op, Word
from iovisor_ovn.abi.structs import STRUCTS
from iovisor_ovn.errors import DataplaneError

pytestmark = pytest.mark.needs_bpf

RECORDED = Path(__file__).parent / "icmp" / "answers-23.03.txt"
DST, SRC = "02:00:00:00:00:02", "02:00:00:00:00:01"
ETHER = Ether(dst=DST, src=SRC)
IP4 = IP(src="10.0.0.1", dst="10.0.9.2", ttl=7, id=99)
IP6 = IPv6(src="fd00::1", dst="fd00::9:2", hlim=7)
TAGGED = 1 << 12


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The IOModules, loaded once."""
    item = Rig(build(tmp_path_factory.mktemp("icmp")))
    yield item
    item.close()


@pytest.fixture(autouse=True)
def _no_old_events(rig: Rig) -> None:
    rig.take_events()


def on_wire(out: Outcome) -> bytes:
    """The frame as a device would send it: the tag is in the skb's metadata until then."""
    if not out.tci:
        return out.frame
    return out.frame[:12] + struct.pack(">HH", 0x8100, out.tci & ~TAGGED) + out.frame[12:]


def recorded() -> list[tuple[str, Op, bytes, bytes]]:
    """Rows of what a real ovn-controller answered."""
    rows = []
    for line in RECORDED.read_text().splitlines():
        if not line.startswith("#"):
            name, verb, frame, answer = (field.strip() for field in line.split("|"))
            rows.append(
                (name, Op[verb], bytes.fromhex(frame), bytes.fromhex(answer.replace("-", "")))
            )
    return rows


@pytest.mark.parametrize(
    ("verb", "frame", "answer"), [row[1:] for row in recorded()], ids=[row[0] for row in recorded()]
)
def test_answers_as_ovn_controller_does(rig: Rig, verb: Op, frame: bytes, answer: bytes) -> None:
    """Every recorded frame gets ovn-controller's answer byte for byte, or none as there."""
    out = rig.answer(verb, frame)
    assert (on_wire(out) if out.runs else b"") == answer
    assert out.result == 0


NS = (
    Ether(dst="33:33:ff:09:00:02", src=SRC)
    / IPv6(src="fd00::1", dst="ff02::1:ff09:2", hlim=255)
    / ICMPv6ND_NS(tgt="fd00::9:2")
    / ICMPv6NDOptSrcLLAddr(lladdr=SRC)
)
QUOTED4 = IP4 / UDP(sport=7, dport=9) / Raw(b"payload!")
QUOTED6 = IP6 / UDP(sport=7, dport=9) / Raw(b"payload!")
BACK = Ether(dst=SRC, src=DST)

# The same answers from another pen than ours and ovn-controller's: (verb, frame, answer).
WRITTEN: list[tuple[str, Op, Packet, Packet]] = [
    ("arp", Op.GEN_ARP, ETHER / QUOTED4,
     ETHER / ARP(op=1, hwsrc=SRC, psrc="10.0.0.1", hwdst="00:00:00:00:00:00", pdst="10.0.9.2")),
    ("ns", Op.GEN_ND_NS, ETHER / QUOTED6,
     Ether(dst="33:33:ff:09:00:02", src=SRC)
     / IPv6(src="fe80::ff:fe00:1", dst="ff02::1:ff09:2", hlim=255)
     / ICMPv6ND_NS(tgt="fd00::9:2") / ICMPv6NDOptSrcLLAddr(lladdr=SRC)),
    ("na", Op.GEN_ND_NA, NS,
     Ether(dst=SRC, src="33:33:ff:09:00:02") / IPv6(src="fd00::9:2", dst="fd00::1", hlim=255)
     / ICMPv6ND_NA(tgt="fd00::9:2", R=0, S=1, O=1)
     / ICMPv6NDOptDstLLAddr(lladdr="33:33:ff:09:00:02")),
    ("icmp4", Op.GEN_ICMP4, ETHER / QUOTED4,
     ETHER / IP(src="10.0.0.1", dst="10.0.9.2", ttl=255, id=0, flags="DF")
     / ICMP(type=3, code=3) / QUOTED4),
    ("icmp4_error", Op.GEN_ICMP4_ERROR, ETHER / QUOTED4,
     ETHER / IP(src="10.0.0.1", dst="10.0.9.2", ttl=255, id=0, flags="DF")
     / ICMP(type=3, code=1) / QUOTED4),
    ("icmp6", Op.GEN_ICMP6, ETHER / QUOTED6,
     ETHER / IPv6(src="fd00::1", dst="fd00::9:2", hlim=255)
     / ICMPv6DestUnreach(code=4) / QUOTED6),
    ("reset", Op.GEN_TCP_RESET, ETHER / IP4 / TCP(sport=5, dport=6, seq=1000, flags="S"),
     ETHER / IP(src="10.0.0.1", dst="10.0.9.2", ttl=63, id=0, flags="DF")
     / TCP(sport=6, dport=5, seq=0, ack=1001, flags="RA", window=0)),
    ("reject", Op.GEN_REJECT, ETHER / IP6 / TCP(sport=5, dport=6, seq=1000, flags="S"),
     BACK / IPv6(src="fd00::9:2", dst="fd00::1", hlim=63)
     / TCP(sport=6, dport=5, seq=0, ack=1001, flags="RA", window=0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "frame", "answer"), [row[1:] for row in WRITTEN], ids=[row[0] for row in WRITTEN]
)
def test_answers_as_written_by_hand(rig: Rig, verb: Op, frame: Packet, answer: Packet) -> None:
    """Answers agree with packets that Scapy builds, checksums included."""
    assert on_wire(rig.answer(verb, bytes(frame))) == bytes(answer)


@pytest.mark.parametrize(
    ("frame", "mtu", "answer"),
    [
        (ETHER / QUOTED4, 1400, ICMP(type=3, code=1, nexthopmtu=1400)),
        (ETHER / QUOTED6, 70000, ICMPv6PacketTooBig(mtu=70000)),
    ],
    ids=["icmp4", "icmp6"],
)
def test_body_writes_the_mtu(rig: Rig, frame: Packet, mtu: int, answer: Packet) -> None:
    """The MTU word that the body sets ends in the error, checksum corrected."""
    out = rig.answer(Op.GEN_ICMP4_ERROR, bytes(frame), mtu=mtu)
    got = Ether(out.frame)
    if IPv6 in frame:  # only the compiler turns the type into 2
        assert got[IPv6].payload.build()[4:8] == bytes(answer)[4:8]
        rest = bytearray(out.frame)
        rest[56:58] = b"\0\0"
        assert Ether(bytes(rest))[IPv6].payload.build()[4:] == bytes(answer / QUOTED6)[4:]
    else:
        expected = ETHER / IP(src="10.0.0.1", dst="10.0.9.2", ttl=255, id=0, flags="DF")
        assert out.frame == bytes(expected / answer / QUOTED4)


def test_body_sees_registers_but_not_what_ct_said(rig: Rig) -> None:
    """Registers, ports, zones and flags are those of the verb; ct words and the mark are 0."""
    words = {index: 1000 + index for index in range(Word.DATAPATH + 1)}
    out = rig.answer(Op.GEN_ICMP4, bytes(ETHER / QUOTED4), words)
    forgotten = range(Word.CT_STATE, Word.PKT_MARK + 1)
    expected = [0 if index in forgotten else 1000 + index for index in range(24)]
    assert list(out.words[:24]) == expected


def test_answer_is_parsed_again(rig: Rig) -> None:
    """The words from 24 on, and what counts as written, are the answer's."""
    out = rig.answer(Op.GEN_ARP, bytes(ETHER / Dot1Q(vlan=5) / QUOTED4))
    assert out.words[Word.ETH_TYPE_TCI] == 0x0806 << 16 | TAGGED | 5
    assert out.words[Word.ARP_TPA] == 0x0A000902
    assert out.words[Word.IP4_SRC] == 0
    assert out.wire[24:57] == out.words[24:57]


def test_protocol_of_the_skb_follows(rig: Rig) -> None:
    """An ARP request made from an IP packet is no longer taken for IP by the kernel."""
    assert rig.answer(Op.GEN_ARP, bytes(ETHER / QUOTED4)).protocol == 0x0806


def test_answers_show_the_packet_as_rewritten(rig: Rig) -> None:
    """What the pipeline wrote before the verb is in the answer and in its quote."""
    out = rig.answer(
        Op.GEN_ICMP4_ERROR, bytes(ETHER / QUOTED4), {Word.IP4_SRC: 0x0A0000FE, Word.L4: 0x00010002}
    )
    changed = (
        IP(src="10.0.0.254", dst="10.0.9.2", ttl=7, id=99)
        / UDP(sport=1, dport=2)
        / Raw(b"payload!")
    )
    expected = ETHER / IP(src="10.0.0.254", dst="10.0.9.2", ttl=255, id=0, flags="DF")
    assert out.frame == bytes(expected / ICMP(type=3, code=1) / changed)


def test_several_answers_follow_each_other(rig: Rig) -> None:
    """Eight answers wait and all are given, also behind one that is no IP packet."""
    out = rig.answer(Op.GEN_ARP, bytes(ETHER / QUOTED4), repeat=Limit.GENERATED)
    assert (out.result, out.queued, out.runs) == (0, Limit.GENERATED, Limit.GENERATED)
    assert out.frame == bytes(WRITTEN[0][3])


def test_ninth_answer_is_refused(rig: Rig) -> None:
    """One answer more than there is room for is a named drop."""
    out = rig.answer(Op.GEN_ICMP4, bytes(ETHER / QUOTED4), repeat=Limit.GENERATED + 1)
    assert out.result == -Drop.GENERATED_FULL


@pytest.mark.parametrize(
    ("verb", "frame"),
    [
        (Op.GEN_ARP, ETHER / QUOTED6),
        (Op.GEN_ND_NS, ETHER / QUOTED4),
        (Op.GEN_ND_NA, ETHER / QUOTED6),
        (Op.GEN_TCP_RESET, ETHER / QUOTED4),
        (Op.GEN_SCTP_ABORT, ETHER / QUOTED4),
        (Op.GEN_ICMP4, ETHER / ARP()),
        (Op.GEN_ICMP4, ETHER / Raw(bytes(QUOTED4)[:19])),
        (Op.GEN_TCP_RESET, ETHER / IP(dst="10.0.9.2", frag=9, proto=6) / Raw(b"x" * 40)),
    ],
)  # fmt: skip
def test_wrong_packet_gets_no_answer(rig: Rig, verb: Op, frame: Packet) -> None:
    """A verb that meets a packet it cannot answer is counted; the packet goes on."""
    before = rig.drops(Drop.GENERATE)
    out = rig.answer(verb, bytes(frame))
    assert (out.result, out.queued) == (0, 0)
    assert rig.drops(Drop.GENERATE) == before + 1


@pytest.mark.parametrize("size", range(20, 60))
def test_any_cut_is_survived(rig: Rig, size: int) -> None:
    """A frame cut anywhere gets an answer or is refused, and nothing else happens."""
    for verb in (Op.GEN_REJECT, Op.GEN_SCTP_ABORT, Op.GEN_ND_NA, Op.GEN_ARP):
        frame = bytes(ETHER / IP4 / TCP() / Raw(b"x" * 20))[: 14 + size].ljust(14, b"\0")
        out = rig.answer(verb, frame)
        assert out.result in (0, -Drop.PARSE)


def hold_words(**more: int) -> dict[int, int]:
    """Pipeline words of a packet that waits for a neighbour."""
    words: dict[int, int] = {
        Word.DATAPATH: 4, Word.OUTPORT: 6, Word.REG0: 0x0A000901, Word.REG1: 0x0A0009FE,
        Word.REG2: 2, Word.REG3: 3, Word.CT_STATE: 1, Word.PKT_MARK: 5,
    }  # fmt: skip
    return {**words, **{int(Word[name]): value for name, value in more.items()}}


@pytest.mark.parametrize(
    ("verb", "packet", "address"),
    [
        (Op.GEN_ARP, QUOTED4, (0, 0, 0, 0x0A000901)),
        (Op.GEN_ND_NS, QUOTED6, (0x0A000901, 0x0A0009FE, 2, 3)),
    ],
    ids=["arp", "nd_ns"],
)
def test_packet_is_handed_to_the_agent(
    rig: Rig, verb: Op, packet: Packet, address: tuple[int, ...]
) -> None:
    """The packet waits under (datapath, outport, next hop), as rewritten, with its ct_state."""
    frame = bytes(ETHER / packet)
    rig.answer(verb, frame, hold_words(ETH_SRC_LO=0x77, CT_STATE=0x81, CT_MARK=2, NAT=9))
    ((event, data),) = rig.take_events()
    assert data == frame[:8] + b"\0\0\0\x77" + frame[12:]
    assert event["kind"] == EventKind.HOLD
    assert (event["dp"], event["port"], event["ip"]) == (4, 6, address)
    assert (event["gso_size"], event["partial"], event["len"]) == (0, 0, len(frame))
    words = event["words"]
    assert isinstance(words, tuple)
    assert (words[Word.CT_STATE], words[Word.CT_MARK]) == (9 << 16 | 0x81, 2)
    assert (words[Word.PKT_MARK], words[Word.REG3]) == (5, 3)


def test_full_ring_loses_only_the_held_packet(rig: Rig) -> None:
    """With a full ring the request still goes out, and the lost packet is counted."""
    frame = bytes(ETHER / IP4 / UDP() / Raw(bytes(1400)))
    before = rig.drops(Drop.GENERATE)
    for _ in range(64):
        out = rig.answer(Op.GEN_ARP, frame, hold_words())
        assert out.runs == 1
    held = rig.take_events()
    assert 0 < len(held) < 64
    assert rig.drops(Drop.GENERATE) - before == 64 - len(held)


def test_event_carries_a_whole_segment(rig: Rig) -> None:
    """A GSO packet comes with its segment size, and marked as lacking its checksum or not."""
    frame = bytes(ETHER / IP4 / TCP() / Raw(bytes(3000)))
    rig.answer(Op.GEN_ARP, frame, hold_words(), gso_size=1000)
    ((event, data),) = rig.take_events()
    assert (event["gso_size"], data) == (1000, frame)


def test_event_layout_is_the_declared_one(rig: Rig) -> None:
    """The record is the struct and the packet, without padding between."""
    rig.answer(Op.GEN_ARP, bytes(ETHER / QUOTED4), hold_words())
    (record,) = rig.events.consume()
    assert len(record) == STRUCTS["event"].size + len(bytes(ETHER / QUOTED4))


@pytest.mark.parametrize(
    ("verb", "packet", "answer_size"),
    [
        (Op.GEN_ARP, ETHER / IP4 / UDP(), 42),
        (Op.GEN_TCP_RESET, ETHER / IP4 / TCP(), 54),
        (Op.GEN_TCP_RESET, ETHER / IP6 / TCP(), 74),
        (Op.GEN_ICMP4, ETHER / IP4 / UDP(), 576),
        (Op.GEN_ICMP6, ETHER / IP6 / UDP(), 1280),
    ],
)
def test_sum_of_the_device_stays_right(
    rig: Rig, verb: Op, packet: Packet, answer_size: int
) -> None:
    """A packet that came with CHECKSUM_COMPLETE becomes an answer whose sum is right as well."""
    # Of this length the skb neither grows nor is trimmed, both of which forget the sum.
    frame = bytes(packet / Raw(bytes(answer_size + 512 - len(packet))))
    try:
        out = rig.answer(verb, frame, complete=True)
    except DataplaneError as error:
        if "EINVAL" in str(error):
            pytest.skip("this kernel has no BPF_F_TEST_SKB_CHECKSUM_COMPLETE")
        raise
    assert len(out.frame) == answer_size

# SPDX-License-Identifier: Apache-2.0
"""Packet to words: every protocol, every length, and bytes that are not what they claim."""

import random
from dataclasses import dataclass, field

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from iovisor_ovn.abi import Limit, PacketClass, Program, Word
from machine_parser import parse
from machine_rig import Rig

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
IP4 = IP(src="10.0.0.1", dst="10.0.0.2", ttl=64, tos=0xB9)
IP6 = IPv6(src="fd00::1", dst="fd00::2", hlim=63, tc=0xB9, fl=0x12345)
PAD = Raw(bytes(range(64)))

L2_WORDS: dict[int, int] = {Word.ETH_HI: 0x02000200, Word.ETH_DST_LO: 2, Word.ETH_SRC_LO: 1}
IP4_CLASS = PacketClass.IP | PacketClass.IP4
IP6_CLASS = PacketClass.IP | PacketClass.IP6
IP4_WORDS: dict[int, int] = {Word.IP4_SRC: 0x0A000001, Word.IP4_DST: 0x0A000002}
IP6_WORDS: dict[int, int] = {
    Word.IP6_SRC0: 0xFD000000, Word.IP6_SRC3: 1, Word.IP6_DST0: 0xFD000000, Word.IP6_DST3: 2,
    Word.IP6_LABEL: 0x12345,
}  # fmt: skip


def ip4(proto: int, bits: int = 0, frag: int = 0) -> dict[int, int]:
    """Words of the IPv4 header above."""
    meta = proto << 24 | 0xB9 << 16 | 64 << 8 | frag
    return {Word.IP_META: meta, Word.CLASS: IP4_CLASS | bits} | IP4_WORDS


def ip6(proto: int, bits: int = 0, frag: int = 0) -> dict[int, int]:
    """Words of the IPv6 header above."""
    meta = proto << 24 | 0xB9 << 16 | 63 << 8 | frag
    return {Word.IP_META: meta, Word.CLASS: IP6_CLASS | bits} | IP6_WORDS


@dataclass(frozen=True)
class Row:
    """A packet and those of its words that are not 0, besides the MAC addresses."""

    sentence: str
    packet: Packet
    ether_type: int
    words: dict[int, int] = field(default_factory=dict)
    tci: int = 0


ROWS = [
    Row("TCP over IPv4", ETHER / IP4 / TCP(sport=1000, dport=80, flags="SA"), 0x800,
        ip4(6, PacketClass.TCP) | {Word.L4: 1000 << 16 | 80, Word.TCP_FLAGS: 0x12}),
    Row("TCP with options and the reserved flags", ETHER / IP4
        / TCP(sport=1, dport=2, flags=0x1FF, options=[("MSS", 1460), ("NOP", None)]), 0x800,
        ip4(6, PacketClass.TCP) | {Word.L4: 1 << 16 | 2, Word.TCP_FLAGS: 0x1FF}),
    Row("UDP over IPv4", ETHER / IP4 / UDP(sport=65535, dport=53) / PAD, 0x800,
        ip4(17, PacketClass.UDP) | {Word.L4: 0xFFFF0035}),
    Row("SCTP over IPv4", ETHER / IP4 / SCTP(sport=5, dport=6), 0x800,
        ip4(132, PacketClass.SCTP) | {Word.L4: 5 << 16 | 6}),
    Row("ICMP over IPv4", ETHER / IP4 / ICMP(type=3, code=4) / PAD, 0x800,
        ip4(1, PacketClass.ICMP4) | {Word.L4: 3 << 16 | 4}),
    Row("ICMPv6's number over IPv4 is no ICMP", ETHER / IP(src="10.0.0.1", dst="10.0.0.2",
        proto=58, tos=0xB9) / PAD, 0x800, ip4(58)),
    Row("another protocol over IPv4", ETHER / IP(src="10.0.0.1", dst="10.0.0.2", proto=2,
        tos=0xB9) / PAD, 0x800, ip4(2)),
    Row("IPv4 with options", ETHER / IP(src="10.0.0.1", dst="10.0.0.2", tos=0xB9,
        options=[IPOption(b"\x94\x04\x00\x00")] * 10) / UDP(sport=1, dport=2), 0x800,
        ip4(17, PacketClass.UDP) | {Word.L4: 1 << 16 | 2}),
    Row("first fragment hides its ports", ETHER / IP(src="10.0.0.1", dst="10.0.0.2", tos=0xB9,
        flags="MF") / UDP(sport=1, dport=2) / PAD, 0x800,
        ip4(17, PacketClass.UDP, frag=1)),
    Row("later fragment has none", ETHER / IP(src="10.0.0.1", dst="10.0.0.2", tos=0xB9,
        frag=100, proto=17) / PAD, 0x800, ip4(17, PacketClass.UDP, frag=3)),
    Row("don't-fragment is no fragment", ETHER / IP(src="10.0.0.1", dst="10.0.0.2", tos=0xB9,
        flags="DF") / UDP(sport=1, dport=2), 0x800,
        ip4(17, PacketClass.UDP) | {Word.L4: 1 << 16 | 2}),
    Row("padding of short frames is no payload", ETHER / IP4 / UDP(sport=1, dport=2) / b"",
        0x800, ip4(17, PacketClass.UDP) | {Word.L4: 1 << 16 | 2}),
    Row("TCP over IPv6", ETHER / IP6 / TCP(sport=1000, dport=80, flags="S"), 0x86DD,
        ip6(6, PacketClass.TCP) | {Word.L4: 1000 << 16 | 80, Word.TCP_FLAGS: 2}),
    Row("UDP over IPv6", ETHER / IP6 / UDP(sport=1, dport=2) / PAD, 0x86DD,
        ip6(17, PacketClass.UDP) | {Word.L4: 1 << 16 | 2}),
    Row("SCTP over IPv6", ETHER / IP6 / SCTP(sport=5, dport=6), 0x86DD,
        ip6(132, PacketClass.SCTP) | {Word.L4: 5 << 16 | 6}),
    Row("ICMPv6 echo", ETHER / IP6 / ICMPv6EchoRequest(), 0x86DD,
        ip6(58, PacketClass.ICMP6) | {Word.L4: 128 << 16}),
    Row("ICMP's number over IPv6 is no ICMP", ETHER / IPv6(src="fd00::1", dst="fd00::2",
        hlim=63, tc=0xB9, fl=0x12345, nh=1) / PAD, 0x86DD, ip6(1)),
    Row("extension headers in a row", ETHER / IP6 / IPv6ExtHdrHopByHop()
        / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(20))])
        / IPv6ExtHdrRouting(addresses=["fd00::3"]) / TCP(sport=1, dport=2, flags="S"), 0x86DD,
        ip6(6, PacketClass.TCP) | {Word.L4: 1 << 16 | 2, Word.TCP_FLAGS: 2}),
    Row("extension headers that push ports far away", ETHER / IP6
        / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(220))]) / UDP(sport=1, dport=2), 0x86DD,
        ip6(17, PacketClass.UDP) | {Word.L4: 1 << 16 | 2}),
    Row("authentication header counts in fours", ETHER / IPv6(src="fd00::1", dst="fd00::2",
        hlim=63, tc=0xB9, fl=0x12345, nh=51) / Raw(bytes([17, 4]) + bytes(22))
        / UDP(sport=1, dport=2), 0x86DD, ip6(17, PacketClass.UDP) | {Word.L4: 1 << 16 | 2}),
    Row("first fragment of IPv6", ETHER / IP6 / IPv6ExtHdrFragment(m=1)
        / UDP(sport=1, dport=2), 0x86DD,
        ip6(17, PacketClass.UDP, frag=1)),
    Row("later fragment of IPv6", ETHER / IP6 / IPv6ExtHdrFragment(offset=8, nh=17) / PAD,
        0x86DD, ip6(44, frag=3)),
    Row("atomic fragment is none", ETHER / IP6 / IPv6ExtHdrFragment() / UDP(sport=1, dport=2),
        0x86DD, ip6(17, PacketClass.UDP) | {Word.L4: 1 << 16 | 2}),
    Row("mobility header is an upper protocol", ETHER / IPv6(src="fd00::1", dst="fd00::2",
        hlim=63, tc=0xB9, fl=0x12345, nh=135) / Raw(b"\x3b\x00" + bytes(30)), 0x86DD, ip6(135)),
    Row("neighbour solicitation", ETHER / IP6 / ICMPv6ND_NS(tgt="fd00::9")
        / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:33"), 0x86DD,
        ip6(58, PacketClass.ICMP6) | {Word.L4: 135 << 16, Word.ND_TARGET0: 0xFD000000,
        Word.ND_TARGET3: 9, Word.ND_HI: 0x02000000, Word.ND_SLL_LO: 0x33}),
    Row("neighbour advertisement", ETHER / IP6 / ICMPv6ND_NA(tgt="fd00::9") / ICMPv6NDOptMTU()
        / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:44"), 0x86DD,
        ip6(58, PacketClass.ICMP6) | {Word.L4: 136 << 16, Word.ND_TARGET0: 0xFD000000,
        Word.ND_TARGET3: 9, Word.ND_HI: 0x0200, Word.ND_TLL_LO: 0x44, Word.ICMP_ID: 0xA000}),
    Row("solicitation without options", ETHER / IP6 / ICMPv6ND_NS(tgt="fd00::9"), 0x86DD,
        ip6(58, PacketClass.ICMP6) | {Word.L4: 135 << 16, Word.ND_TARGET0: 0xFD000000,
        Word.ND_TARGET3: 9}),
    Row("solicitation with its option twice is invalid", ETHER / IP6
        / ICMPv6ND_NS(tgt="fd00::9") / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01")
        / ICMPv6NDOptSrcLLAddr(), 0x86DD, ip6(58, PacketClass.ICMP6) | {Word.L4: 135 << 16}),
    Row("solicitation with an option of advertisements twice is invalid", ETHER / IP6
        / ICMPv6ND_NS(tgt="fd00::9") / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:01")
        / ICMPv6NDOptDstLLAddr(), 0x86DD, ip6(58, PacketClass.ICMP6) | {Word.L4: 135 << 16}),
    Row("solicitation whose option has no length: none is read", ETHER / IP6
        / ICMPv6ND_NS(tgt="fd00::9") / Raw(b"\1\0\2\0\0\0\0\1"), 0x86DD,
        ip6(58, PacketClass.ICMP6) | {Word.L4: 135 << 16, Word.ND_TARGET0: 0xFD000000,
        Word.ND_TARGET3: 9}),
    Row("ARP request", ETHER / ARP(op=1, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1",
        hwdst="02:00:00:00:00:02", pdst="10.0.0.2"), 0x806,
        {Word.CLASS: PacketClass.ARP, Word.ARP_OP: 1, Word.ARP_SPA: 0x0A000001,
        Word.ARP_TPA: 0x0A000002, Word.ARP_HI: 0x02000200, Word.ARP_SHA_LO: 1,
        Word.ARP_THA_LO: 2}),
    Row("reverse ARP", Ether(dst=ETHER.dst, src=ETHER.src, type=0x8035) / ARP(op=3,
        hwsrc="02:00:00:00:00:01", psrc="0.0.0.0", hwdst="00:00:00:00:00:00", pdst="0.0.0.0"),
        0x8035, {Word.CLASS: PacketClass.RARP, Word.ARP_OP: 3, Word.ARP_HI: 0x02000000,
        Word.ARP_SHA_LO: 1}),
    Row("ARP over something else has no fields", ETHER / ARP(hwtype=6, op=1), 0x806,
        {Word.CLASS: PacketClass.ARP}),
    Row("ARP with a large opcode", ETHER / ARP(op=257, hwsrc="00:00:00:00:00:00",
        psrc="10.0.0.1", pdst="0.0.0.0"), 0x806,
        {Word.CLASS: PacketClass.ARP, Word.ARP_SPA: 0x0A000001}),
    Row("unknown ethertype", ETHER / Raw(b"\x00" * 40), 0x9000),
    Row("802.3 length", Ether(dst=ETHER.dst, src=ETHER.src, type=40) / Raw(b"\xaa" * 40), 0x05FF),
    Row("tagged UDP", ETHER / Dot1Q(vlan=5, prio=3) / IP4 / UDP(sport=1, dport=2), 0x800,
        ip4(17, PacketClass.UDP) | {Word.L4: 1 << 16 | 2}, tci=0x7005),
    Row("tag of no VLAN", ETHER / Dot1Q(vlan=0) / ARP(hwtype=6), 0x806,
        {Word.CLASS: PacketClass.ARP}, tci=0x1000),
    Row("two tags: the inner one is an ethertype", Ether(dst=ETHER.dst, src=ETHER.src,
        type=0x88A8) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / IP4 / UDP(), 0x8100, {}, tci=0x1005),
]  # fmt: skip


@pytest.fixture(autouse=True)
def dropping_datapath(rig: Rig) -> None:
    """What comes in from wire 0 is read and dropped."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.flow(0, Program.DROP)


def read(rig: Rig, frame: bytes) -> dict[int, int]:
    """Packet words that are not 0 after the frame came in."""
    words = rig.run(frame, rig.wires[0]).words
    packet = set(range(Word.ETH_HI, Limit.WORDS)) - {Word.PIPELINE}
    return {number: words[number] for number in packet if words[number]}


TAGS = (b"\x81\x00", b"\x88\xa8")


def can_run(frame: bytes) -> bool:
    """The kernel refuses test runs of frames that end within an IP header or behind a tag."""
    outer, inner = frame[12:14], frame[16:18]
    if outer in TAGS:
        return len(frame) > (22 if inner in TAGS else 18)
    return len(frame) >= {b"\x08\x00": 34, b"\x86\xdd": 54}.get(outer, 15)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_words(rig: Rig, row: Row) -> None:
    """Exactly the words that the row names, none of an earlier packet."""
    wanted = L2_WORDS | {Word.ETH_TYPE_TCI: row.ether_type << 16 | row.tci} | row.words
    wanted = {number: value for number, value in wanted.items() if value}
    for frame in (bytes(row.packet), bytes(row.packet).ljust(200, b"\xee")):
        assert read(rig, frame) == wanted
        assert {n: v for n, v in parse(frame).items() if v} == wanted, "the model"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_cut_packets_have_no_words_behind_the_cut(rig: Rig, row: Row) -> None:
    """At every length: headers that lie beyond the end, or say more than there is, are 0."""
    frame = bytes(row.packet)
    read(rig, bytes(ETHER / IP6 / UDP() / (b"\xff" * 200)))
    for length in range(14, min(len(frame), 180)):
        if not can_run(frame[:length]):
            continue
        cut = frame[:length]
        assert read(rig, cut) == {n: v for n, v in parse(cut).items() if v}, length


@pytest.mark.parametrize("base", [IP4, IP6], ids=["4", "6"])
@pytest.mark.parametrize(("proto", "least"), [(6, 20), (17, 8), (132, 12), (1, 8), (58, 8)])
def test_l4_header_must_be_whole(rig: Rig, base: Packet, proto: int, least: int) -> None:
    """A datagram that ends within the header has a protocol but no ports, whatever follows."""
    for size in range(least + 2):
        inner = base.copy()
        inner.fields["proto" if inner.version == 4 else "nh"] = proto
        # As TCP's data offset, 5 is the header without options.
        frame = bytes(ETHER / inner / Raw(b"\x55" * size)).ljust(120, b"\x55")
        found = read(rig, frame)
        known = proto not in (1, 58) or (proto == 1) == (base is IP4)
        assert bool(found.get(Word.L4)) == (size >= least and known), size
        assert found == {n: v for n, v in parse(frame).items() if v}


@pytest.mark.parametrize("words", range(16))
def test_tcp_header_must_fit_its_own_length(rig: Rig, words: int) -> None:
    """Less than 20 bytes or more than the packet has: TCP without ports and flags."""
    frame = bytes(ETHER / IP4 / TCP(sport=1, dport=2, flags="S", dataofs=words) / Raw(bytes(8)))
    found = read(rig, frame)
    assert found[Word.CLASS] & PacketClass.TCP
    fits = 5 <= words <= 7
    assert found.get(Word.L4, 0) == (0x00010002 if fits else 0)
    assert bool(found.get(Word.TCP_FLAGS)) == fits


def test_random_bytes_are_read_as_the_model_reads_them(rig: Rig) -> None:
    """Packets with bytes changed at random, a few thousand of them."""
    rng = random.Random(20)
    frames = [bytes(row.packet).ljust(rng.choice([0, 80, 200, 400]), b"\x5a") for row in ROWS]
    for _number in range(4000):
        frame = bytearray(rng.choice(frames))
        for _change in range(rng.randint(1, 3)):
            frame[rng.randrange(12, min(len(frame), 90))] = rng.choice(
                [0, 1, 4, 6, 17, 43, 44, 51, 58, 60, 135, 0x45, 0x60, 255, rng.randrange(256)]
            )
        if rng.random() < 0.3:
            del frame[rng.randrange(19, len(frame)) :]
        data = bytes(frame)
        if not can_run(data):
            continue
        assert read(rig, data) == {n: v for n, v in parse(data).items() if v}, data.hex()


def test_bytes_are_left_alone(rig: Rig) -> None:
    """Reading changes nothing, not even the tag that is moved beside the packet and back."""
    for row in ROWS:
        frame = bytes(row.packet)
        if row.tci:
            continue
        assert rig.run(frame, rig.wires[0]).frame == frame

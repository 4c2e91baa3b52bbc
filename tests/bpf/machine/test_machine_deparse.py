# SPDX-License-Identifier: Apache-2.0
"""Words to packet: each field that an action can write, whole frames, checksums included.

Every row runs three times: with a plain skb, with one whose device summed the whole packet
(the kernel then checks that the sum still holds), and through a copy that leaves by a wire.
"""

import ipaddress
import random
from dataclasses import dataclass

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Packet, Raw

from iovisor_ovn.abi import Op, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.packet import masked_words, pieces
from machine_rig import EGRESS, REDIRECT, Datapath, Rig, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
IP4 = IP(src="10.0.0.1", dst="10.0.0.2", ttl=64, tos=0xB9)
IP6 = IPv6(src="fd00::1", dst="fd00::2", hlim=63, tc=0xB9, fl=0x12345)
DATA = Raw(bytes(range(1, 60)))

PACKETS: dict[str, Packet] = {
    "tcp4": ETHER / IP4 / TCP(sport=1000, dport=80, seq=7) / DATA,
    "udp4": ETHER / IP4 / UDP(sport=1000, dport=53) / DATA,
    "udp4 without checksum": ETHER / IP4 / UDP(sport=1000, dport=53, chksum=0) / DATA,
    "sctp4": ETHER / IP4 / SCTP(sport=5, dport=6, tag=9) / SCTPChunkData(data=b"x" * 40),
    "icmp4": ETHER / IP4 / ICMP(type=8, id=77) / DATA,
    "other4": ETHER / IP(src="10.0.0.1", dst="10.0.0.2", proto=89, tos=0xB9) / DATA,
    "fragment4": ETHER / IP(src="10.0.0.1", dst="10.0.0.2", proto=17, frag=9) / DATA,
    "tcp6": ETHER / IP6 / TCP(sport=1000, dport=80, seq=7) / DATA,
    "udp6": ETHER / IP6 / IPv6ExtHdrDestOpt() / UDP(sport=1000, dport=53) / DATA,
    "sctp6": ETHER / IP6 / SCTP(sport=5, dport=6, tag=9) / SCTPChunkData(data=b"x" * 40),
    "icmp6": ETHER / IP6 / ICMPv6EchoRequest(id=77, data=bytes(DATA)),
    "other6": ETHER / IPv6(src="fd00::1", dst="fd00::2", nh=89) / DATA,
    "ns": ETHER / IP6 / ICMPv6ND_NS(tgt="fd00::9") / ICMPv6NDOptSrcLLAddr(lladdr=ETHER.src),
    "na": ETHER / IP6 / ICMPv6ND_NA(tgt="fd00::9") / ICMPv6NDOptDstLLAddr(lladdr=ETHER.src),
    "arp": ETHER / ARP(op=1, hwsrc=ETHER.src, psrc="10.0.0.1", pdst="10.0.0.2"),
    "rarp": Ether(dst=ETHER.dst, src=ETHER.src, type=0x8035) / ARP(op=3, hwsrc=ETHER.src),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Storing ``value`` into ``field`` of the packet ``name`` is setting scapy's attribute."""

    name: str
    field: str
    value: int
    layer: type[Packet]
    attribute: str
    scapy: object


def _mac(value: str) -> int:
    return int(value.replace(":", ""), 16)


MAC = "06:12:34:56:78:9a"
ADDRESS4, ADDRESS6 = "192.0.2.99", "2001:db8:1:2:3:4:5:6"
NUMBER6 = int(ipaddress.ip_address(ADDRESS6))
NUMBER4 = 0xC0000263


def _rows() -> list[Row]:
    rows = []
    for name, packet in PACKETS.items():
        rows += [Row(name, "eth.dst", _mac(MAC), Ether, "dst", MAC),
                 Row(name, "eth.src", _mac(MAC), Ether, "src", MAC)]  # fmt: skip
        if name.endswith("4") or "4 " in name:
            rows += [Row(name, "ip4.src", NUMBER4, IP, "src", ADDRESS4),
                     Row(name, "ip4.dst", NUMBER4, IP, "dst", ADDRESS4),
                     Row(name, "ip.ttl", 9, IP, "ttl", 9),
                     Row(name, "ip.dscp", 5, IP, "tos", 5 << 2 | packet[IP].tos & 3),
                     Row(name, "ip.ecn", 2, IP, "tos", packet[IP].tos & 0xFC | 2)]  # fmt: skip
        if IPv6 in packet:
            rows += [Row(name, "ip6.src", NUMBER6, IPv6, "src", ADDRESS6),
                     Row(name, "ip6.dst", NUMBER6, IPv6, "dst", ADDRESS6),
                     Row(name, "ip.ttl", 9, IPv6, "hlim", 9),
                     Row(name, "ip.dscp", 5, IPv6, "tc", 5 << 2 | packet[IPv6].tc & 3),
                     Row(name, "ip6.label", 0xABCDE, IPv6, "fl", 0xABCDE)]  # fmt: skip
        for protocol, layer in (("tcp", TCP), ("udp", UDP), ("sctp", SCTP)):
            if layer in packet:
                rows += [Row(name, f"{protocol}.src", 4242, layer, "sport", 4242),
                         Row(name, f"{protocol}.dst", 4242, layer, "dport", 4242)]  # fmt: skip
    arp = (("op", 2, "op", 2), ("spa", NUMBER4, "psrc", ADDRESS4),
           ("tpa", NUMBER4, "pdst", ADDRESS4),
           ("sha", _mac(MAC), "hwsrc", MAC), ("tha", _mac(MAC), "hwdst", MAC))  # fmt: skip
    for protocol in ("arp", "rarp"):
        rows += [Row(protocol, f"{protocol}.{f}", v, ARP, a, s) for f, v, a, s in arp]
    rows += [
        Row("icmp4", "icmp4.type", 0, ICMP, "type", 0),
        Row("icmp4", "icmp4.code", 3, ICMP, "code", 3),
        Row("icmp6", "icmp6.code", 3, ICMPv6EchoRequest, "code", 3),
        Row("ns", "nd.target", NUMBER6, ICMPv6ND_NS, "tgt", ADDRESS6),
        Row("na", "nd.target", NUMBER6, ICMPv6ND_NA, "tgt", ADDRESS6),
        Row("ns", "nd.sll", _mac(MAC), ICMPv6NDOptSrcLLAddr, "lladdr", MAC),
        Row("na", "nd.tll", _mac(MAC), ICMPv6NDOptDstLLAddr, "lladdr", MAC),
    ]
    return rows


def stores(field: str, value: int) -> tuple[Insn, ...]:
    """Instructions that store into a whole field."""
    place = pieces(field)
    assert place is not None
    words = masked_words(place, value, (1 << sum(p.width for p in place)) - 1)
    return tuple(load(word, value, mask) for word, (mask, value) in words.items())


def forward(rig: Rig, *insns: Insn) -> Datapath:
    """A datapath from wire 0 to wire 1 that executes instructions on the way."""
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.bind(2, rig.wires[1])
    dp.bind(3, rig.wires[2])
    dp.flow(0, (*insns, load(Word.OUTPORT, 2), Insn(Op.OUTPUT)))
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    return dp


def changed(row: Row) -> bytes:
    """The packet as scapy builds it with the other value, all checksums made anew."""
    packet = PACKETS[row.name].copy()
    setattr(packet[row.layer], row.attribute, row.scapy)
    if row.layer is UDP and "without" in row.name:
        packet[UDP].chksum = 0
    return bytes(packet)


@pytest.mark.parametrize("row", _rows(), ids=lambda row: f"{row.name}: {row.field}")
def test_written_field_is_in_the_frame(rig: Rig, row: Row) -> None:
    """The frame that leaves is the one that scapy builds with the new value."""
    frame = bytes(PACKETS[row.name])
    forward(rig, *stores(row.field, row.value))
    out = rig.run(frame, rig.wires[0])
    assert (out.verdict, out.frame.hex(), out.drops) == (REDIRECT, changed(row).hex(), {})
    assert out.frame != frame


@pytest.mark.parametrize("row", _rows(), ids=lambda row: f"{row.name}: {row.field}")
def test_sum_of_the_device_stays_right(rig: Rig, row: Row) -> None:
    """A sum over the whole packet that came from a device (CHECKSUM_COMPLETE) still holds."""
    forward(rig, *stores(row.field, row.value))
    out = rig.run(bytes(PACKETS[row.name]), rig.wires[0], complete=True)
    assert out.frame.hex() == changed(row).hex()


@pytest.mark.parametrize("name", PACKETS)
def test_what_is_written_back_unchanged_leaves_no_trace(rig: Rig, name: str) -> None:
    """A copy with other words goes out in between; the frame itself is as it came."""
    frame = bytes(PACKETS[name])
    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.bind(2, rig.wires[1])
    dp.bind(3, rig.wires[2])
    other = [*stores("eth.src", _mac(MAC))]
    for field in ("ip.ttl", "ip4.src", "ip6.dst", "arp.tpa"):
        other += stores(field, 9)
    body = (*other, load(Word.OUTPORT, 3), Insn(Op.OUTPUT))
    dp.flow(0, (Insn(Op.FORK, x=len(body) + 1), *body, load(Word.OUTPORT, 2), Insn(Op.OUTPUT)))
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    out = rig.run(frame, rig.wires[0])
    assert (out.verdict, out.frame.hex()) == (REDIRECT, frame.hex())
    (copy,) = rig.wires[2].received()
    assert copy != frame
    assert len(copy) == len(frame)


def test_all_fields_at_once(rig: Rig) -> None:
    """NAT-like rewrites of several fields add up, over random packets."""
    rng = random.Random(7)
    for _number in range(60):
        name = rng.choice(["tcp4", "udp4", "tcp6", "udp6", "sctp4", "sctp6"])
        family, l4 = ("ip4", IP) if "4" in name else ("ip6", IPv6)
        layer = {"t": TCP, "u": UDP, "s": SCTP}[name[0]]
        protocol = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}[layer]
        width = 4 if family == "ip4" else 16
        addresses = [rng.randbytes(width) for _side in range(2)]
        ports = [rng.randrange(65536) for _side in range(2)]
        insns: list[Insn] = []
        for side, address, port in zip(("src", "dst"), addresses, ports, strict=True):
            insns += stores(f"{family}.{side}", int.from_bytes(address, "big"))
            insns += stores(f"{protocol}.{side}", port)
        insns += [*stores("ip.ttl", 3), *stores("eth.dst", _mac(MAC))]
        packet = PACKETS[name].copy()
        texts = (str(ipaddress.ip_address(address)) for address in addresses)
        packet[l4].src, packet[l4].dst = texts
        packet[layer].sport, packet[layer].dport = ports
        setattr(packet[l4], "ttl" if l4 is IP else "hlim", 3)
        packet[Ether].dst = MAC
        forward(rig, *insns)
        out = rig.run(bytes(PACKETS[name]), rig.wires[0], complete=True)
        assert out.frame.hex() == bytes(packet).hex(), name


@pytest.mark.parametrize(("before", "after"), [
    (None, 0x1005), (None, 0xF00A), (5, 0x1006), (5, 0x0000), (5, 0x1005), (None, 0x0005),
])  # fmt: skip
@pytest.mark.parametrize("name", ["udp4", "arp", "tcp6"])
def test_vlan_tags(rig: Rig, name: str, before: int | None, after: int) -> None:
    """Bit 12 of vlan.tci says whether there is a tag: pushed, popped or changed."""
    inner = PACKETS[name].copy()
    tagged = inner.copy()
    tagged.remove_payload()
    source = bytes(inner if before is None else tagged / Dot1Q(vlan=before) / inner.payload)
    forward(rig, *stores("vlan.tci", after))
    # Out by the agent's door: all that leaves is a copy on a wire, tag included.
    drops = rig.inject(source, {Word.DATAPATH: rig.last.index, Word.INPORT: 1})
    assert drops == {}
    tag = Dot1Q(vlan=after & 0xFFF, prio=after >> 13)
    wanted = bytes(tagged / tag / inner.payload if after & 0x1000 else inner)
    assert [frame.hex() for frame in rig.wires[1].received()] == [wanted.hex()]


def test_inner_tag_stays_when_the_outer_changes(rig: Rig) -> None:
    """Of two tags only the outer one is a field."""

    def tagged(vlan: int) -> bytes:
        return bytes(
            Ether(dst=ETHER.dst, src=ETHER.src, type=0x88A8) / Dot1Q(vlan=vlan, type=0x8100)
            / Dot1Q(vlan=9) / IP4 / UDP(sport=1, dport=2)
        )  # fmt: skip

    forward(rig, *stores("vlan.tci", 0x1007))
    assert rig.inject(tagged(5), {Word.DATAPATH: rig.last.index, Word.INPORT: 1}) == {}
    assert [f.hex() for f in rig.wires[1].received()] == [tagged(7).hex()]


def test_mark_goes_with_the_packet(rig: Rig) -> None:
    """pkt.mark is the skb's mark, in and out."""
    forward(rig, Insn(Op.MOVE, Word.PKT_MARK, Word.PKT_MARK, 4, 0xFFFFFFFF))
    assert rig.run(bytes(PACKETS["udp4"]), rig.wires[0], mark=0x12).mark == 0x120


def test_udp_checksum_never_becomes_zero(rig: Rig) -> None:
    """0 would mean that there is none: it is written as ffff."""
    packet = ETHER / IP4 / UDP(sport=1000, dport=53) / bytes(2)
    # The destination port that makes the sum come out as zero.
    plain = int.from_bytes(bytes(packet)[40:42], "big")
    port = 53 + plain
    port = (port & 0xFFFF) + (port >> 16)
    forward(rig, *stores("udp.dst", port))
    out = rig.run(bytes(packet), rig.wires[0])
    assert int.from_bytes(out.frame[36:38], "big") == port
    assert out.frame[40:42] == b"\xff\xff"


def test_cut_headers_are_left_alone(rig: Rig) -> None:
    """Words of headers that are not whole are written nowhere."""
    cut = bytes(PACKETS["tcp4"])[:60]
    forward(rig, *stores("ip4.src", NUMBER4), *stores("tcp.dst", 1), *stores("ip.ttl", 2))
    out = rig.run(cut, rig.wires[0])
    assert (out.verdict, out.frame.hex()) == (REDIRECT, cut.hex())

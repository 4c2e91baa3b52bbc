# SPDX-License-Identifier: Apache-2.0
"""Frames that the answering verbs are tried on, by name. ``record.py`` asks ovn-controller."""

from collections.abc import Iterator
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkAbort, SCTPChunkData, SCTPChunkInit
from scapy.packet import Packet, Raw

from iovisor_ovn.abi.layout import Op

__all__ = ["VERBS", "cases"]

DST, SRC = "02:00:00:00:00:02", "02:00:00:00:00:01"

#: Text of each verb in a logical flow.
VERBS: dict[Op, str] = {
    Op.GEN_ARP: "arp",
    Op.GEN_ND_NS: "nd_ns",
    Op.GEN_ND_NA: "nd_na",
    Op.GEN_ND_NA_ROUTER: "nd_na_router",
    Op.GEN_ICMP4: "icmp4",
    Op.GEN_ICMP4_ERROR: "icmp4_error",
    Op.GEN_ICMP6: "icmp6",
    Op.GEN_ICMP6_ERROR: "icmp6_error",
    Op.GEN_TCP_RESET: "tcp_reset",
    Op.GEN_SCTP_ABORT: "sctp_abort",
    Op.GEN_REJECT: "reject",
}


def _ether(vlan: int = 0) -> Packet:
    ether = Ether(dst=DST, src=SRC)
    return ether / Dot1Q(vlan=vlan, prio=5) if vlan else ether


def _ip4(**fields: Any) -> Packet:
    return IP(src="10.0.0.1", dst="192.168.7.200", tos=0x2E, ttl=9, id=0x1234, **fields)


def _ip6(**fields: Any) -> Packet:
    return IPv6(src="fd00::1:2", dst="fd00:1::abcd:ef01", tc=0x2E, fl=0xABCDE, hlim=9, **fields)


def _payload(size: int) -> Raw:
    return Raw(bytes(index % 251 for index in range(size)))


def _tcp(**fields: Any) -> Packet:
    return TCP(sport=43210, dport=443, seq=0xFFFFFFFF, ack=0x01020304, window=501, **fields)


def _sctp(tag: int, chunk: Packet) -> Packet:
    return SCTP(sport=5000, dport=6000, tag=tag) / chunk


def _ns(vlan: int = 0, options: bool = True) -> Packet:
    frame = (
        Ether(dst="33:33:ff:cd:ef:01", src=SRC) / Dot1Q(vlan=vlan)
        if vlan
        else Ether(dst="33:33:ff:cd:ef:01", src=SRC)
    )
    frame = frame / IPv6(src="fd00::1:2", dst="ff02::1:ffcd:ef01", hlim=255)
    frame = frame / ICMPv6ND_NS(tgt="fd00:1::abcd:ef01")
    return frame / ICMPv6NDOptSrcLLAddr(lladdr=SRC) if options else frame


def _by_family(v4: Op, v6: Op, suffix: str = "") -> Iterator[tuple[str, Op, Packet]]:
    """Each protocol and length, over both families, tagged and not."""
    for size in (0, 1, 2, 3, 300, 505, 506, 507, 1300):
        yield f"udp4 {size}{suffix}", v4, _ether() / _ip4() / UDP(sport=7, dport=9) / _payload(size)
    for size in (0, 1, 2, 3, 600, 1169, 1170, 1171, 1400):
        yield f"udp6 {size}{suffix}", v6, _ether() / _ip6() / UDP(sport=7, dport=9) / _payload(size)
    yield f"tcp4{suffix}", v4, _ether() / _ip4() / _tcp(flags="S") / _payload(33)
    yield f"tcp6{suffix}", v6, _ether() / _ip6() / _tcp(flags="S") / _payload(33)
    yield f"tcp4 vlan{suffix}", v4, _ether(12) / _ip4() / _tcp(flags="PA") / _payload(5)
    yield f"tcp6 vlan{suffix}", v6, _ether(12) / _ip6() / _tcp(flags="PA") / _payload(5)
    yield f"udp4 vlan{suffix}", v4, _ether(4095) / _ip4() / UDP(sport=1) / _payload(700)
    yield f"udp6 vlan{suffix}", v6, _ether(4095) / _ip6() / UDP(sport=1) / _payload(1400)
    options = [IPOption_NOP() for _ in range(8)]
    yield f"udp4 options{suffix}", v4, _ether() / _ip4(options=options) / UDP() / _payload(600)
    yield f"tcp4 options{suffix}", v4, _ether() / _ip4(options=options) / _tcp() / _payload(60)
    hop = IPv6ExtHdrHopByHop(options=PadN(optdata=bytes(4)))
    dest = IPv6ExtHdrDestOpt(options=PadN(optdata=bytes(20)))
    yield f"udp6 extensions{suffix}", v6, _ether() / _ip6() / hop / dest / UDP() / _payload(60)
    yield f"tcp6 extensions{suffix}", v6, _ether() / _ip6() / hop / dest / _tcp() / _payload(60)
    yield f"echo4{suffix}", v4, _ether() / _ip4() / ICMP(type=8, id=1) / _payload(56)
    yield f"echo6{suffix}", v6, _ether() / _ip6() / ICMPv6EchoRequest(id=1) / _payload(56)
    yield f"other4{suffix}", v4, _ether() / _ip4(proto=47) / _payload(40)
    yield f"other6{suffix}", v6, _ether() / _ip6(nh=47) / _payload(40)
    yield f"udp4 padded{suffix}", v4, _ether() / _ip4() / UDP() / _payload(2) / Raw(bytes(16))
    first4, later4 = _ip4(proto=17, flags="MF"), _ip4(proto=17, frag=100)
    yield f"udp4 first fragment{suffix}", v4, _ether() / first4 / UDP(len=500) / _payload(64)
    yield f"udp4 later fragment{suffix}", v4, _ether() / later4 / _payload(64)
    first6, later6 = IPv6ExtHdrFragment(m=1, nh=17), IPv6ExtHdrFragment(offset=100, nh=17)
    yield f"udp6 first fragment{suffix}", v6, _ether() / _ip6() / first6 / UDP() / _payload(64)
    yield f"udp6 later fragment{suffix}", v6, _ether() / _ip6() / later6 / _payload(64)


def _errors() -> Iterator[tuple[str, Op, Packet]]:
    """What reject{} must or must not answer."""
    quote4 = _ip4() / UDP(sport=7, dport=9) / _payload(8)
    quote6 = _ip6() / UDP(sport=7, dport=9) / _payload(8)
    for kind in (0, 3, 4, 5, 8, 11, 12):
        yield f"reject icmp4 {kind}", Op.GEN_REJECT, _ether() / _ip4() / ICMP(type=kind) / quote4
    yield "reject icmp6 1", Op.GEN_REJECT, _ether() / _ip6() / ICMPv6DestUnreach() / quote6
    yield "reject icmp6 2", Op.GEN_REJECT, _ether() / _ip6() / ICMPv6PacketTooBig() / quote6
    yield "reject icmp6 3", Op.GEN_REJECT, _ether() / _ip6() / ICMPv6TimeExceeded() / quote6
    yield "reject ns", Op.GEN_REJECT, _ns()
    for flags in ("S", "SA", "A", "R", "RA", "F", "FPU", ""):
        yield f"reject tcp4 {flags}", Op.GEN_REJECT, _ether() / _ip4() / _tcp(flags=flags)
        yield f"reject tcp6 {flags}", Op.GEN_REJECT, _ether() / _ip6() / _tcp(flags=flags)


def _sctp_cases() -> Iterator[tuple[str, Op, Packet]]:
    data = SCTPChunkData(data=b"abcdefgh")
    init = SCTPChunkInit(init_tag=0xA1B2C3D4)
    for verb in (Op.GEN_SCTP_ABORT, Op.GEN_REJECT):
        name = VERBS[verb]
        for ip, family in ((_ip4(), 4), (_ip6(), 6)):
            base = _ether() / ip
            yield f"{name} sctp{family} data", verb, base / _sctp(0x11223344, data)
            yield f"{name} sctp{family} init", verb, base / _sctp(0, init)
            yield f"{name} sctp{family} init with tag", verb, base / _sctp(5, init)
            yield f"{name} sctp{family} data without tag", verb, base / _sctp(0, data)
            yield f"{name} sctp{family} abort", verb, base / _sctp(9, SCTPChunkAbort())
            yield f"{name} sctp{family} cut init", verb, base / _sctp(0, Raw(b"\1\0\0\x14abcd"))
        yield f"{name} sctp4 vlan", verb, _ether(7) / _ip4() / _sctp(0x11223344, data)


def cases() -> Iterator[tuple[str, Op, Packet]]:
    """Every case: its name, the verb, the frame."""
    yield "na", Op.GEN_ND_NA, _ns()
    yield "na vlan", Op.GEN_ND_NA, _ns(9)
    yield "na for probe", Op.GEN_ND_NA, _ns(options=False)
    yield "na router", Op.GEN_ND_NA_ROUTER, _ns()
    yield from _by_family(Op.GEN_ARP, Op.GEN_ND_NS, " resolve")
    yield from _by_family(Op.GEN_ICMP4, Op.GEN_ICMP6)
    yield from _by_family(Op.GEN_ICMP4_ERROR, Op.GEN_ICMP6_ERROR, " error")
    yield from _by_family(Op.GEN_REJECT, Op.GEN_REJECT, " reject")
    for flags in ("S", "SA", "R", "FPU"):
        yield f"reset tcp4 {flags}", Op.GEN_TCP_RESET, _ether() / _ip4() / _tcp(flags=flags)
        yield f"reset tcp6 {flags}", Op.GEN_TCP_RESET, _ether() / _ip6() / _tcp(flags=flags)
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("WScale", 7)]
    segment = _tcp(flags="S", options=options) / _payload(900)
    yield "reset tcp4 options", Op.GEN_TCP_RESET, _ether() / _ip4() / segment
    yield "reset tcp6 options", Op.GEN_TCP_RESET, _ether() / _ip6() / segment
    yield "reset tcp4 vlan", Op.GEN_TCP_RESET, _ether(7) / _ip4() / segment
    yield from _errors()
    yield from _sctp_cases()

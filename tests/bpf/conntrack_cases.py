# SPDX-License-Identifier: Apache-2.0
"""Packet sequences and the ct words that each packet must see.

The same cases run through our module and, byte for byte, through the userspace conntrack of
Open vSwitch: what stands here is the judge of both.
"""

from typing import Any

from scapy.layers.inet import ICMP, IP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Raw

from conntrack_cases_tcp import TCP_CASES
from conntrack_packets import (
    A4,
    A6,
    B4,
    B6,
    ETHER,
    LABEL,
    MARK,
    R4,
    V4,
    V6,
    Case,
    Step,
    Talk,
    Via,
    cut,
    error_about,
    icmp,
    opened,
    tcp,
    tcp_reply,
    udp,
    udp_reply,
    unreachable,
)

__all__ = ["CASES"]

# fmt: off
_UDP_CASES = (
    Case("udp", (
        Step(V4.there(udp()), "new|trk"),
        Step(V4.there(udp()), "new|trk"),
        Step(V4.back(udp_reply()), "est|rpl|trk"),
        Step(V4.there(udp()), "est|trk"),
        Step(V4.back(udp_reply()), "est|rpl|trk"),
        Step(V4.back(udp_reply()), "est|rpl|trk", wait_s=29),
        Step(V4.back(udp_reply()), "new|trk", wait_s=31),
        Step(V4.there(udp()), "est|rpl|trk"),
    )),
    Case("udp over ipv6", (
        Step(V6.back(udp()), "new|trk"),
        Step(V6.there(udp_reply()), "est|rpl|trk"),
        Step(V6.back(udp()), "est|trk"),
    )),
    Case("udp one way lives on", (
        Step(V4.there(udp()), "new|trk"),
        Step(V4.there(udp()), "new|trk", Via.LOOK, wait_s=59),
        Step(V4.there(udp()), "new|trk", Via.LOOK, wait_s=59),
        Step(V4.back(udp_reply()), "est|rpl|trk", Via.LOOK, wait_s=59),
        Step(V4.back(udp_reply()), "new|trk", Via.LOOK, wait_s=31),
    )),
    Case("udp lengths and ports that cannot be", (
        Step(V4.there(udp(len=7)), "inv|trk"),
        Step(V4.there(udp(len=13)), "inv|trk"),
        Step(V4.there(udp(sport=0)), "inv|trk"),
        Step(V4.there(udp(dport=0)), "inv|trk"),
        Step(cut(V4.there(udp()), 26), "inv|trk"),
    )),
    Case("zones are apart", (
        Step(V4.there(udp()), "new|trk"),
        Step(V4.back(udp_reply()), "new|trk", Via.ZONE2),
        Step(V4.back(udp_reply()), "est|rpl|trk"),
        Step(V4.there(udp()), "new|trk", Via.ZONE2),
    )),
)

_OTHER_CASES = (
    Case("other protocols by address", (
        Step(V4.there(Raw(bytes(8))), "new|trk"),
        Step(V4.back(Raw(bytes(8))), "est|rpl|trk"),
        Step(V4.there(Raw(b"")), "est|trk"),
    )),
    Case("an address and itself", (
        Step(bytes(ETHER / IP(src=A4, dst=A4, proto=47) / Raw(b"x")), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4, proto=47) / Raw(b"x")), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4, proto=47) / Raw(b"x")), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4) / udp(sport=7, dport=7)), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4) / udp(sport=7, dport=7)), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4) / udp(sport=7, dport=7)), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4) / tcp("S", 5, sport=7, dport=7)), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4) / tcp("S", 5, sport=7, dport=7)), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4) / tcp("S", 5, sport=7, dport=7)), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4) / tcp("A", 6, 6, sport=7, dport=7)), "est|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=A4) / tcp("SA", 5, 6, sport=7, dport=7)), "est|trk"),
    )),
    Case("gre", (
        Step(bytes(ETHER / IP(src=A4, dst=B4, proto=47) / Raw(b"x")), "new|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=B4, proto=47) / Raw(b"x")), "new|trk"),
        Step(bytes(ETHER / IP(src=B4, dst=A4, proto=50) / Raw(b"x")), "new|trk"),
        Step(bytes(ETHER / IP(src=B4, dst=A4, proto=47) / Raw(b"x")), "est|rpl|trk"),
    )),
    Case("sctp", (
        Step(bytes(ETHER / IP(src=A4, dst=B4, proto=132) / Raw(b"\0\5\0\7" + bytes(8))),
             "new|trk"),
        Step(bytes(ETHER / IP(src=B4, dst=A4, proto=132) / Raw(b"\0\7\0\5" + bytes(8))),
             "est|rpl|trk"),
        Step(bytes(ETHER / IP(src=A4, dst=B4, proto=132) / Raw(b"\0\5\0\7" + bytes(8))),
             "est|trk"),
    )),
    Case("sctp associations between the same hosts", (
        Step(bytes(ETHER / IP(src=A4, dst=B4, proto=132) / Raw(b"\0\5\0\7" + bytes(8))),
             "new|trk"),
        Step(bytes(ETHER / IP(src=B4, dst=A4, proto=132) / Raw(b"\0\7\0\6" + bytes(8))),
             "new|trk"),
    ), differs="OVS 3.1 does not look at the ports of SCTP; the kernel and OVS 3.5 do"),
)

_ICMP_CASES = (
    Case("ping", (
        Step(V4.there(icmp(8)), "new|trk"),
        Step(V4.there(icmp(8)), "new|trk"),
        Step(V4.back(icmp(0)), "est|rpl|trk"),
        Step(V4.there(icmp(8)), "est|trk"),
        Step(V4.there(icmp(8, 8)), "new|trk"),
        Step(V4.there(icmp(8)), "new|trk", wait_s=31),
    )),
    Case("ping over ipv6", (
        Step(V6.back(ICMPv6EchoRequest(id=3)), "new|trk"),
        Step(V6.there(ICMPv6EchoReply(id=3)), "est|rpl|trk"),
        Step(V6.back(ICMPv6EchoRequest(id=3)), "est|trk"),
        Step(V6.there(ICMPv6EchoRequest(id=3)), "new|trk"),
        Step(V6.there(ICMPv6EchoReply(id=4)), "inv|trk"),
    )),
    Case("pings both ways with one identifier", (
        Step(V4.there(icmp(8)), "new|trk"),
        Step(V4.back(icmp(8)), "new|trk"),
        Step(V4.there(icmp(0)), "est|rpl|trk"),
        Step(V4.there(icmp(8)), "new|trk"),
        Step(V4.back(icmp(0)), "est|rpl|trk"),
    )),
    Case("timestamp and information", (
        Step(V4.there(icmp(13)), "new|trk"),
        Step(V4.back(icmp(14)), "est|rpl|trk"),
        Step(V4.there(icmp(15)), "new|trk"),
        Step(V4.back(icmp(16)), "est|rpl|trk"),
        Step(V4.back(icmp(0)), "inv|trk"),
    )),
    Case("icmp that opens nothing", (
        Step(V4.there(icmp(0)), "inv|trk"),
        Step(V4.there(icmp(17)), "inv|trk"),
        Step(V4.there(icmp(9)), "inv|trk"),
        Step(V4.there(icmp(8, code=1)), "inv|trk"),
        Step(V6.there(ICMPv6ND_NS(tgt=B6)), "inv|trk"),
        Step(V6.there(ICMPv6EchoRequest(id=3, code=1)), "inv|trk"),
        Step(cut(V4.there(icmp(8)), 26), "inv|trk"),
    )),
)

_MARKED: dict[str, Any] = {"mark": MARK[0], "label": LABEL[0]}

_RELATED_CASES = (
    Case("error about a udp packet", (
        Step(V4.there(udp()), "new|trk", Via.MARK),
        Step(error_about(V4, unreachable(), V4.there(udp()), 28), "rel|rpl|trk", **_MARKED),
        Step(error_about(V4, unreachable(), V4.there(udp()), 28), "rel|rpl|trk", Via.NAT,
             **_MARKED),
        Step(error_about(V4, ICMP(type=11), V4.there(udp()), 28), "rel|rpl|trk", **_MARKED),
        Step(error_about(V4, ICMP(type=4), V4.there(udp()), 28), "rel|rpl|trk", **_MARKED),
        Step(error_about(V4, ICMP(type=5, gw=B4), V4.there(udp()), 28), "rel|rpl|trk", **_MARKED),
        Step(error_about(V4, ICMP(type=12), V4.there(udp()), 28), "rel|rpl|trk", **_MARKED),
        Step(error_about(Talk(B4, A4), unreachable(), V4.back(udp_reply())), "rel|trk",
             **_MARKED),
    )),
    Case("error keeps nothing alive", (
        Step(V4.there(udp()), "new|trk"),
        Step(error_about(V4, unreachable(), V4.there(udp())), "rel|rpl|trk", wait_s=50),
        Step(error_about(V4, unreachable(), V4.there(udp())), "inv|trk", wait_s=11),
    )),
    Case("error about nothing known", (
        Step(error_about(V4, unreachable(), V4.there(udp())), "inv|trk"),
        Step(error_about(V4, unreachable(), V4.there(udp())), "inv|trk", Via.NAT),
        Step(V4.there(udp()), "new|trk"),
    )),
    Case("error about tcp, eight bytes quoted", (
        *opened(),
        Step(error_about(V4, unreachable(4), V4.there(tcp("PA", 101, 501, 90)), 28),
             "rel|rpl|trk"),
        Step(error_about(V4, unreachable(4), V4.there(tcp("PA", 101, 501, 90)), 27), "inv|trk"),
        Step(error_about(V4, unreachable(4), V4.there(tcp("PA", 101, 501, 90)), 19), "inv|trk"),
    )),
    Case("error about tcp over ipv6", (
        *opened(V6),
        Step(error_about(V6, ICMPv6PacketTooBig(mtu=1280), V6.there(tcp("PA", 101, 501, 90))),
             "rel|rpl|trk"),
        Step(error_about(V6, ICMPv6PacketTooBig(), V6.there(tcp("PA", 101, 501, 90)), 60),
             "rel|rpl|trk"),
        Step(error_about(V6, ICMPv6PacketTooBig(), V6.there(tcp("PA", 101, 501, 90)), 59),
             "inv|trk"),
    )),
    Case("error about udp over ipv6", (
        Step(V6.there(udp()), "new|trk"),
        *(Step(error_about(V6, error, V6.there(udp())), "rel|rpl|trk")
          for error in (ICMPv6DestUnreach(), ICMPv6TimeExceeded(), ICMPv6ParamProblem())),
        Step(error_about(Talk(B6, A6, IPv6), ICMPv6DestUnreach(), V6.back(udp_reply())),
             "rel|trk"),
        Step(error_about(V6, ICMPv6DestUnreach(), V6.there(udp()), 47), "inv|trk"),
    )),
    Case("quote with options", (
        Step(V4.there(udp()), "new|trk"),
        Step(error_about(V4, unreachable(), Talk(fields={"options": [IPOption_NOP()] * 4}).there(
            udp())), "rel|rpl|trk"),
    )),
    Case("quote with extension headers", (
        Step(V6.there(udp()), "new|trk"),
        Step(error_about(V6, ICMPv6DestUnreach(), V6.there(
            IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / udp())), "rel|rpl|trk"),
        Step(error_about(V6, ICMPv6DestUnreach(), V6.there(
            IPv6ExtHdrFragment(id=3, m=0) / udp())), "rel|rpl|trk"),
    )),
    Case("quoted fragments", (
        Step(V4.there(udp()), "new|trk"),
        Step(error_about(V4, unreachable(), Talk(fields={"flags": "MF"}).there(udp())),
             "inv|trk"),
        Step(error_about(V4, unreachable(), Talk(fields={"frag": 3}).there(udp())), "inv|trk"),
        Step(V6.there(udp()), "new|trk"),
        Step(error_about(V6, ICMPv6DestUnreach(), V6.there(
            IPv6ExtHdrFragment(id=3, m=1) / udp())), "inv|trk"),
    )),
    Case("quote that is not the receiver's", (
        Step(V4.there(udp()), "new|trk"),
        Step(error_about(Talk(B4, A4), unreachable(), V4.there(udp())), "inv|trk"),
        Step(error_about(Talk(R4, A4), unreachable(), V4.there(udp())), "inv|trk"),
    )),
    Case("error about a ping", (
        Step(V4.there(icmp(8)), "new|trk"),
        Step(error_about(V4, unreachable(1), V4.there(icmp(8))), "rel|rpl|trk"),
        Step(error_about(Talk(B4, A4), unreachable(1), V4.back(icmp(0))), "rel|trk"),
        Step(error_about(V4, unreachable(1), V4.there(icmp(8, 99))), "inv|trk"),
        Step(V6.there(ICMPv6EchoRequest(id=3)), "new|trk"),
        Step(error_about(V6, ICMPv6DestUnreach(), V6.there(ICMPv6EchoRequest(id=3))),
             "rel|rpl|trk"),
    )),
    Case("error about an error", (
        Step(V4.there(udp()), "new|trk"),
        Step(error_about(V4, unreachable(), V4.there(
            unreachable() / Raw(V4.back(udp_reply())[14:]))), "inv|trk"),
    )),
    Case("error about gre", (
        Step(bytes(ETHER / IP(src=A4, dst=B4, proto=47) / Raw(b"x")), "new|trk"),
        Step(error_about(V4, unreachable(2), bytes(ETHER / IP(src=A4, dst=B4, proto=47))),
             "rel|rpl|trk"),
    )),
)

_MARK_CASES = (
    Case("mark and label are seen by both directions", (
        Step(V4.there(udp()), "new|trk", Via.MARK),
        Step(V4.back(udp_reply()), "est|rpl|trk", Via.LOOK, **_MARKED),
        Step(V4.there(udp()), "est|trk", Via.LOOK, **_MARKED),
        Step(V4.there(udp()), "new|trk", Via.LOOK, wait_s=31),
        Step(V4.there(udp()), "new|trk"),
        Step(V4.there(udp()), "new|trk", Via.LOOK),
    )),
    Case("mark of an entry that is there", (
        Step(V4.there(udp()), "new|trk"),
        Step(V4.back(udp_reply()), "est|rpl|trk", Via.MARK),
        Step(V4.there(udp()), "est|trk", **_MARKED),
        Step(V4.there(udp()), "est|trk", **_MARKED),
    )),
    Case("invalid packet marks the entry that it belongs to", (
        *opened(),
        Step(V4.there(tcp("PA", 900000000, 501, 100)), "inv|trk", Via.MARK),
        Step(V4.there(tcp("PA", 101, 501, 10)), "est|trk", Via.LOOK, **_MARKED),
        Step(V4.there(tcp("PA", 900000000, 501, 100)), "inv|trk", Via.LOOK, **_MARKED),
    )),
    Case("related packet marks the entry", (
        Step(V4.there(udp()), "new|trk"),
        Step(error_about(V4, unreachable(), V4.there(udp())), "rel|rpl|trk", Via.MARK),
        Step(V4.there(udp()), "new|trk", Via.LOOK, **_MARKED),
    )),
    Case("reopened connection has no mark", (
        Step(V4.there(tcp("S", 100)), "new|trk", Via.MARK),
        Step(V4.back(tcp_reply("RA", 0, 101)), "est|rpl|trk", Via.LOOK, **_MARKED),
        Step(V4.there(tcp("S", 200)), "new|trk", Via.LOOK),
    )),
    Case("commit with nat and no translation", (
        Step(V4.there(udp()), "new|trk"),
        Step(V4.back(udp_reply()), "est|rpl|trk", Via.NAT),
        Step(V4.there(udp()), "est|trk", Via.NAT),
    )),
)

CASES: tuple[Case, ...] = (
    *TCP_CASES, *_UDP_CASES, *_OTHER_CASES, *_ICMP_CASES, *_RELATED_CASES, *_MARK_CASES,
)

# SPDX-License-Identifier: Apache-2.0
"""A model of parse(): packet to words in Python, after OVS's flow extraction.

Sources: ovs-fields(7); ``miniflow_extract`` in OVS's lib/flow.c for what a cut or lying header
leaves behind (nothing), except that an IPv6 packet whose extension headers cannot be walked
has no IPv6 fields at all, which is what the kernel's own data path does.
"""

import struct

from iovisor_ovn.abi import PacketClass, Word

__all__ = ["parse"]

_EXTENSIONS = {0, 43, 44, 51, 60}
_L4_CLASS = {6: PacketClass.TCP, 17: PacketClass.UDP, 132: PacketClass.SCTP}
_LEAST = {6: 20, 17: 8, 132: 12, 1: 8, 58: 8}
#: Limits of the machine: extension headers walked and ND options looked at.
_MAX_EXTENSIONS = 8
_MAX_OPTIONS = 8


def parse(frame: bytes) -> dict[int, int]:
    """Packet words of a frame, tags in the frame included."""
    words: dict[int, int] = {}
    tci = 0
    (ether_type,) = struct.unpack_from("!H", frame, 12)
    if ether_type in (0x8100, 0x88A8) and len(frame) >= 18:
        (tci,) = struct.unpack_from("!H", frame, 14)
        tci |= 0x1000
        frame = frame[:12] + frame[16:]
        (ether_type,) = struct.unpack_from("!H", frame, 12)
    dst_hi, dst_lo, src_hi, src_lo = struct.unpack_from("!HIHI", frame)
    words[Word.ETH_HI] = dst_hi << 16 | src_hi
    words[Word.ETH_DST_LO] = dst_lo
    words[Word.ETH_SRC_LO] = src_lo
    shown = ether_type if ether_type >= 0x600 else 0x05FF
    words[Word.ETH_TYPE_TCI] = shown << 16 | tci
    body = frame[14:]
    match ether_type:
        case 0x0800:
            words[Word.CLASS] = PacketClass.IP | PacketClass.IP4
            _parse_ip4(body, words)
        case 0x86DD:
            words[Word.CLASS] = PacketClass.IP | PacketClass.IP6
            _parse_ip6(body, words)
        case 0x0806 | 0x8035:
            words[Word.CLASS] = PacketClass.ARP if ether_type == 0x0806 else PacketClass.RARP
            _parse_arp(body, words)
    return words


def _parse_arp(body: bytes, words: dict[int, int]) -> None:
    if len(body) < 28 or body[:6] != b"\x00\x01\x08\x00\x06\x04":
        return
    op, sha_hi, sha_lo, spa, tha_hi, tha_lo, tpa = struct.unpack_from("!HHIIHII", body, 6)
    words[Word.ARP_OP] = op if op < 256 else 0
    words[Word.ARP_HI] = sha_hi << 16 | tha_hi
    words[Word.ARP_SHA_LO], words[Word.ARP_THA_LO] = sha_lo, tha_lo
    words[Word.ARP_SPA], words[Word.ARP_TPA] = spa, tpa


def _parse_ip4(body: bytes, words: dict[int, int]) -> None:
    if len(body) < 20:
        return
    header = (body[0] & 15) * 4
    total, offset = struct.unpack_from("!H2xH", body, 2)
    if header < 20 or total > len(body) or header > total:
        return
    later = bool(offset & 0x1FFF)
    fragment = (1 | later << 1) if offset & 0x3FFF else 0
    words[Word.IP_META] = body[9] << 24 | body[1] << 16 | body[8] << 8 | fragment
    words[Word.IP4_SRC], words[Word.IP4_DST] = struct.unpack_from("!II", body, 12)
    _parse_l4(body[header:total], body[9], 4, later, words)
    _hide_ports_of_fragments(words)


def _parse_ip6(body: bytes, words: dict[int, int]) -> None:
    if len(body) < 40:
        return
    first, payload, following, hop_limit = struct.unpack_from("!IHBB", body)
    if 40 + payload > len(body):
        return
    rest = body[40 : 40 + payload]
    fragment = 0
    for _number in range(_MAX_EXTENSIONS):
        if following not in _EXTENSIONS or fragment & 2:
            break
        if len(rest) < 8:
            return
        size = (rest[1] + 2) * 4 if following == 51 else (rest[1] + 1) * 8
        if following == 44:
            size = 8
            (offset,) = struct.unpack_from("!H", rest, 2)
            if offset & 0xFFF9:
                fragment = 1 | bool(offset & 0xFFF8) << 1
                if fragment & 2:
                    rest = bytes((44,)) + rest[1:]  # as in OVS: its protocol is "fragment"
        if size > len(rest):
            return
        following, rest = rest[0], rest[size:]
    words[Word.IP_META] = following << 24 | (first >> 20 & 255) << 16 | hop_limit << 8 | fragment
    words[Word.IP6_LABEL] = first & 0xFFFFF
    addresses = struct.unpack_from("!8I", body, 8)
    words |= dict(zip(range(Word.IP6_SRC0, Word.IP6_LABEL), addresses, strict=True))
    _parse_l4(rest, following, 6, bool(fragment & 2), words)
    _hide_ports_of_fragments(words)


def _hide_ports_of_fragments(words: dict[int, int]) -> None:
    if words[Word.IP_META] & 1:
        words[Word.L4] = 0


def _parse_l4(data: bytes, proto: int, family: int, later: bool, words: dict[int, int]) -> None:
    if proto in _L4_CLASS:
        words[Word.CLASS] |= _L4_CLASS[proto]
    elif (proto, family) == (1, 4):
        words[Word.CLASS] |= PacketClass.ICMP4
    elif (proto, family) == (58, 6):
        words[Word.CLASS] |= PacketClass.ICMP6
    else:
        return
    if later or len(data) < _LEAST[proto]:
        return
    if proto in (1, 58):
        words[Word.L4] = data[0] << 16 | data[1]
        words[Word.ICMP_ID] = data[4] << 8 | data[5]
        if proto == 58 and data[0] in (135, 136) and not data[1]:
            _parse_nd(data, words)
        return
    if proto == 6 and not 20 <= (data[12] >> 4) * 4 <= len(data):
        return  # OVS reads no fields of a header that cannot be
    (words[Word.L4],) = struct.unpack_from("!I", data)
    if proto == 6:
        words[Word.TCP_FLAGS] = struct.unpack_from("!H", data, 12)[0] & 0xFFF


def _parse_nd(data: bytes, words: dict[int, int]) -> None:
    if len(data) < 24:
        return
    solicitation = data[0] == 135
    found: dict[int, bytes] = {}
    options = data[24:]
    for _number in range(_MAX_OPTIONS):
        if len(options) < 8:
            break
        size = options[1] * 8
        if not size or size > len(options):
            break
        if options[0] in (1, 2) and options[1] == 1:
            if any(found.get(options[0], b"")):
                return  # OVS reads nothing of a message with two of a kind
            found[options[0]] = options[2:8]
        options = options[size:]
    for number, value in enumerate(struct.unpack_from("!4I", data, 8)):
        words[Word.ND_TARGET0 + number] = value
    if address := found.get(1 if solicitation else 2):
        high, low = struct.unpack("!HI", address)
        words[Word.ND_HI] = high << 16 if solicitation else high
        words[Word.ND_SLL_LO if solicitation else Word.ND_TLL_LO] = low

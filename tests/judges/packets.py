# SPDX-License-Identifier: Apache-2.0
"""Packets as fields and as bytes.

A :class:`Packet` holds the values of OVN's base fields and, for what no field tells, a
:class:`Shape`. Its bytes follow from both, checksums included, so that what a pipeline should have
made of a packet is the same shape with other values::

    bytes_of({"eth.type": 0x800, "ip4.src": 0x0a000001, ...}, shape)
"""

import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from iovisor_ovn.abi import Word
from iovisor_ovn.compiler.packet import Piece, pieces
from machine_parser import parse

__all__ = [
    "STATE",
    "Fields",
    "Packet",
    "Shape",
    "bytes_of",
    "fields_of",
    "layout",
    "make_packet",
    "words_of",
]

Fields = dict[str, int]

#: Fields that are no part of the packet's bytes.
STATE = (
    "inport", "outport", "flags", "xxreg0", "xxreg1", "xreg4", "ct_state", "ct_mark", "ct_label",
    "pkt.mark",
)  # fmt: skip
_ETHER = ("eth.src", "eth.dst", "eth.type", "vlan.tci")
_IP = ("ip.proto", "ip.dscp", "ip.ecn", "ip.ttl", "ip.frag")
_ARP = ("arp.op", "arp.spa", "arp.sha", "arp.tpa", "arp.tha")
_L4 = {
    6: ("tcp.src", "tcp.dst", "tcp.flags"),
    17: ("udp.src", "udp.dst"),
    132: ("sctp.src", "sctp.dst"),
    1: ("icmp4.type", "icmp4.code"),
    58: ("icmp6.type", "icmp6.code"),
}
_TCI_PRESENT = 0x1000
_CRC_TABLE: list[int] = []


@dataclass(frozen=True, slots=True)
class Shape:
    """What no field tells.

    ``l4``: the protocol whose header is there, 0 for none. ``option``: IPv4 options or a
    hop-by-hop header lie before it. ``nd``: link-layer option of a neighbour message, 1 (source),
    2 (target), 0 (message without one) or -1 (no such message). ``unsummed``: UDP checksum 0.
    """

    network: int
    l4: int = 0
    later: bool = False
    option: bool = False
    nd: int = -1
    unsummed: bool = False
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Packet:
    """``fields``: every base field that the packet has, and the pipeline's state."""

    fields: Mapping[str, int]
    shape: Shape

    @property
    def frame(self) -> bytes:
        """Its bytes."""
        return bytes_of(self.fields, self.shape)


def layout(shape: Shape) -> tuple[str, ...]:
    """Base fields of a packet of this shape that its bytes hold."""
    if shape.network in (0x0806, 0x8035):
        return _ETHER + _ARP
    if shape.network not in (0x0800, 0x86DD):
        return _ETHER
    four = shape.network == 0x0800
    found = _ETHER + _IP + (("ip4.src", "ip4.dst") if four else ("ip6.src", "ip6.dst", "ip6.label"))
    if shape.l4:
        found += _L4[shape.l4]
    if shape.nd >= 0:
        found += ("nd.target",)
    return found + {1: ("nd.sll",), 2: ("nd.tll",)}.get(shape.nd, ())


def make_packet(rng: random.Random, fields: Mapping[str, int]) -> Packet:
    """A packet with these fields as far as they go together, and others drawn."""
    network = fields.get("eth.type", 0)
    proto = fields.get("ip.proto", 0)
    if network not in (0x0800, 0x86DD):
        return _finish(rng, fields, Shape(network, payload=rng.randbytes(50)))
    later = bool(fields.get("ip.frag", 0) & 2)
    known = proto in _L4 and not later and proto != (58 if network == 0x0800 else 1)
    is_nd = known and proto == 58 and fields.get("icmp6.type") in (135, 136)
    is_nd = is_nd and not fields.get("ip.frag", 0)
    nd = -1
    if is_nd and not fields.get("icmp6.code", 0):
        nd = rng.choice([0, 1, 1, 1]) * (fields["icmp6.type"] - 134)
    unsummed = proto == 17 and network == 0x0800 and rng.random() < 0.2
    payload = rng.randbytes(rng.choice([20, 27, 64]))
    return _finish(
        rng, fields,
        Shape(network, proto if known else 0, later, rng.random() < 0.15, nd, unsummed, payload),
    )  # fmt: skip


def _finish(rng: random.Random, fields: Mapping[str, int], shape: Shape) -> Packet:
    held = {name: fields.get(name, 0) for name in (*STATE, *layout(shape))}
    if "ip.frag" in held and held["ip.frag"] == 2:
        held["ip.frag"] = 3  # a later fragment is a fragment
    if held.get("ip.frag") and shape.l4:
        held |= dict.fromkeys(_L4[shape.l4][:2], 0)  # Open vSwitch hides what a fragment has there
    if not held["vlan.tci"] & _TCI_PRESENT:
        held["vlan.tci"] = 0
    if shape.network == 0x86DD and shape.l4 == 0 and held["ip.proto"] in (0, 43, 44, 51, 60):
        held["ip.proto"] = rng.choice([59, 89])  # those are no upper layer
    if shape.network == 0x86DD and shape.later:
        held["ip.proto"] = 44  # what Open vSwitch takes for its protocol
    return Packet(held, shape)


# -- bytes -------------------------------------------------------------------------------


def bytes_of(fields: Mapping[str, int], shape: Shape) -> bytes:
    """The frame."""
    body = _body(fields, shape)
    head = fields["eth.dst"].to_bytes(6, "big") + fields["eth.src"].to_bytes(6, "big")
    tci = fields["vlan.tci"]
    if tci & _TCI_PRESENT:
        head += struct.pack("!HH", 0x8100, tci & ~_TCI_PRESENT)
    return head + shape.network.to_bytes(2, "big") + body


def _body(fields: Mapping[str, int], shape: Shape) -> bytes:
    match shape.network:
        case 0x0806 | 0x8035:
            return (
                struct.pack("!HHBBH", 1, 0x0800, 6, 4, fields["arp.op"])
                + fields["arp.sha"].to_bytes(6, "big") + fields["arp.spa"].to_bytes(4, "big")
                + fields["arp.tha"].to_bytes(6, "big") + fields["arp.tpa"].to_bytes(4, "big")
                + shape.payload
            )  # fmt: skip
        case 0x0800:
            return _ip4(fields, shape)
        case 0x86DD:
            return _ip6(fields, shape)
        case _:
            return shape.payload


def _ip4(fields: Mapping[str, int], shape: Shape) -> bytes:
    addresses = struct.pack("!II", fields["ip4.src"], fields["ip4.dst"])
    options = b"\x01\x01\x01\x00" if shape.option else b""
    data = _l4(fields, shape, addresses)
    offset = (0x2000 if fields["ip.frag"] & 1 else 0) | (7 if shape.later else 0)
    tos = fields["ip.dscp"] << 2 | fields["ip.ecn"]
    start = struct.pack(
        "!BBHHHBB", 0x45 + len(options) // 4, tos, 20 + len(options) + len(data), 0x1234, offset,
        fields["ip.ttl"], fields["ip.proto"],
    )  # fmt: skip
    checksum = _checksum(start + addresses + options)
    return start + checksum.to_bytes(2, "big") + addresses + options + data


def _ip6(fields: Mapping[str, int], shape: Shape) -> bytes:
    addresses = fields["ip6.src"].to_bytes(16, "big") + fields["ip6.dst"].to_bytes(16, "big")
    data = _l4(fields, shape, addresses)
    following = fields["ip.proto"]
    if fields["ip.frag"]:
        offset = 7 << 3 if shape.later else 1
        data = struct.pack("!BBHI", following, 0, offset, 0x1234) + data
        following = 44
    if shape.option:
        data = struct.pack("!BB6x", following, 0) + data
        following = 0
    tos = fields["ip.dscp"] << 2 | fields["ip.ecn"]
    first = 6 << 28 | tos << 20 | fields["ip6.label"]
    return struct.pack("!IHBB", first, len(data), following, fields["ip.ttl"]) + addresses + data


def _l4(fields: Mapping[str, int], shape: Shape, addresses: bytes) -> bytes:
    match shape.l4:
        case 6:
            head = struct.pack(
                "!HHIIHHHH", fields["tcp.src"], fields["tcp.dst"], 1, 2,
                5 << 12 | fields["tcp.flags"], 100, 0, 0,
            )  # fmt: skip
            return _summed(head + shape.payload, 16, _pseudo(addresses, 6, 20 + len(shape.payload)))
        case 17:
            length = 8 + len(shape.payload)
            head = struct.pack("!HHHH", fields["udp.src"], fields["udp.dst"], length, 0)
            if shape.unsummed:
                return head + shape.payload
            data = _summed(head + shape.payload, 6, _pseudo(addresses, 17, length))
            return data if data[6:8] != b"\0\0" else data[:6] + b"\xff\xff" + data[8:]
        case 132:
            head = struct.pack("!HHI", fields["sctp.src"], fields["sctp.dst"], 7)
            crc = _crc32c(head + bytes(4) + shape.payload)
            return head + crc.to_bytes(4, "little") + shape.payload
        case 1:
            head = struct.pack("!BBHI", fields["icmp4.type"], fields["icmp4.code"], 0, 0)
            return _summed(head + shape.payload, 2, b"")
        case 58:
            head = struct.pack("!BBHI", fields["icmp6.type"], fields["icmp6.code"], 0, 0)
            data = head + _neighbour(fields, shape)
            return _summed(data, 2, _pseudo(addresses, 58, len(data)))
        case _:
            return shape.payload


def _neighbour(fields: Mapping[str, int], shape: Shape) -> bytes:
    if shape.nd < 0:
        return shape.payload
    target = fields["nd.target"].to_bytes(16, "big")
    if shape.nd == 0:
        return target
    address = fields["nd.sll" if shape.nd == 1 else "nd.tll"]
    return target + bytes((shape.nd, 1)) + address.to_bytes(6, "big")


def _pseudo(addresses: bytes, proto: int, length: int) -> bytes:
    return addresses + struct.pack("!II", length, proto)


def _summed(data: bytes, at: int, pseudo: bytes) -> bytes:
    return data[:at] + _checksum(pseudo + data).to_bytes(2, "big") + data[at + 2 :]


def _checksum(data: bytes) -> int:
    """RFC 1071; the sum modulo 0xffff, where a sum that is not all zeros is never 0."""
    number = int.from_bytes(data + b"\0" * (len(data) % 2), "big")
    total = number % 0xFFFF or (0xFFFF if number else 0)
    return ~total & 0xFFFF


def _crc32c(data: bytes) -> int:
    if not _CRC_TABLE:
        for value in range(256):
            for _bit in range(8):
                value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901
            _CRC_TABLE.append(value)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return ~crc & 0xFFFFFFFF


# -- words -------------------------------------------------------------------------------


def words_of(packet: Packet, datapath: int) -> list[int]:
    """Words of the packet as it enters: state from its fields, the rest by the parser's model."""
    words = [0] * 64
    for name in STATE:
        for piece in _place(name):
            words[piece.word] |= _cut(packet.fields[name], piece)
    words[Word.DATAPATH] = datapath
    for number, value in parse(packet.frame).items():
        words[number] = value
    return words


def fields_of(words: tuple[int, ...] | list[int], shape: Shape) -> Fields:
    """Values of the fields that a packet of this shape has, and of the state."""
    return {
        name: sum((words[p.word] >> p.at & (1 << p.width) - 1) << p.lsb for p in _place(name))
        for name in (*STATE, *layout(shape))
    }


def _place(name: str) -> tuple[Piece, ...]:
    place = pieces(name)
    assert place is not None, name
    return place


def _cut(value: int, piece: Piece) -> int:
    return (value >> piece.lsb & (1 << piece.width) - 1) << piece.at

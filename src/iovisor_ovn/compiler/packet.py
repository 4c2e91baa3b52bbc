# SPDX-License-Identifier: Apache-2.0
"""Where OVN's fields lie in the packet words.

A base field is one or more *pieces*, each a run of bits inside one word::

    eth.dst  ->  Piece(ETH_HI, at=16, lsb=32, width=16), Piece(ETH_DST_LO, at=0, lsb=0, width=32)
"""

from collections.abc import Iterator
from dataclasses import dataclass

from iovisor_ovn.abi import Temp, Word

__all__ = ["Piece", "Segment", "masked_words", "pieces", "segments", "slice_pieces"]

_MASK32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Piece:
    """Bits ``[lsb, lsb + width)`` of a value lie at bits ``[at, at + width)`` of ``word``."""

    word: int
    at: int
    lsb: int
    width: int

    @property
    def mask(self) -> int:
        """The piece's bits inside its word."""
        return ((1 << self.width) - 1) << self.at


@dataclass(frozen=True, slots=True)
class Segment:
    """A copy of ``mask``'s bits: ``dst word = src word rotated left by rotate``."""

    dst: int
    src: int
    rotate: int
    mask: int


def _words(first: int, count: int) -> tuple[Piece, ...]:
    """A wide field in consecutive whole words, most significant word first."""
    return tuple(Piece(first + i, 0, 32 * (count - 1 - i), 32) for i in range(count))


def _mac(high: Word, high_at: int, low: Word) -> tuple[Piece, ...]:
    return (Piece(high, high_at, 32, 16), Piece(low, 0, 0, 32))


def _bits(word: int, at: int, width: int) -> tuple[Piece, ...]:
    return (Piece(word, at, 0, width),)


_SOURCE_PORT = _bits(Word.L4, 16, 16)
_DESTINATION_PORT = _bits(Word.L4, 0, 16)
_ICMP_TYPE = _bits(Word.L4, 16, 8)
_ICMP_CODE = _bits(Word.L4, 0, 8)
_ARP = {
    "op": _bits(Word.ARP_OP, 0, 16),
    "spa": _bits(Word.ARP_SPA, 0, 32),
    "sha": _mac(Word.ARP_HI, 16, Word.ARP_SHA_LO),
    "tpa": _bits(Word.ARP_TPA, 0, 32),
    "tha": _mac(Word.ARP_HI, 0, Word.ARP_THA_LO),
}

_FIELDS: dict[str, tuple[Piece, ...]] = {
    "inport": _bits(Word.INPORT, 0, 32),
    "outport": _bits(Word.OUTPORT, 0, 32),
    "__inport": _bits(Word.INPORT, 0, 32),
    "__outport": _bits(Word.OUTPORT, 0, 32),
    "remote_outport": _bits(Word.REG1, 0, 32),
    "flags": _bits(Word.FLAGS, 0, 32),
    "xxreg0": _words(Word.REG0, 4),
    "xxreg1": _words(Word.REG4, 4),
    "xreg4": _words(Word.REG8, 2),
    "ct_state": _bits(Word.CT_STATE, 0, 32),
    "ct_mark": _bits(Word.CT_MARK, 0, 32),
    "ct_label": _words(Word.CT_LABEL0, 4),
    "pkt.mark": _bits(Word.PKT_MARK, 0, 32),
    "eth.dst": _mac(Word.ETH_HI, 16, Word.ETH_DST_LO),
    "eth.src": _mac(Word.ETH_HI, 0, Word.ETH_SRC_LO),
    "eth.type": _bits(Word.ETH_TYPE_TCI, 16, 16),
    "vlan.tci": _bits(Word.ETH_TYPE_TCI, 0, 16),
    "ip.proto": _bits(Word.IP_META, 24, 8),
    "ip.dscp": _bits(Word.IP_META, 18, 6),
    "ip.ecn": _bits(Word.IP_META, 16, 2),
    "ip.ttl": _bits(Word.IP_META, 8, 8),
    "ip.frag": _bits(Word.IP_META, 0, 8),
    "ip4.src": _bits(Word.IP4_SRC, 0, 32),
    "ip4.dst": _bits(Word.IP4_DST, 0, 32),
    "ip6.src": _words(Word.IP6_SRC0, 4),
    "ip6.dst": _words(Word.IP6_DST0, 4),
    "ip6.label": _bits(Word.IP6_LABEL, 0, 32),
    "icmp4.type": _ICMP_TYPE,
    "icmp4.code": _ICMP_CODE,
    "icmp6.type": _ICMP_TYPE,
    "icmp6.code": _ICMP_CODE,
    **{f"arp.{name}": place for name, place in _ARP.items()},
    **{f"rarp.{name}": place for name, place in _ARP.items()},
    "nd.target": _words(Word.ND_TARGET0, 4),
    "nd.sll": _mac(Word.ND_HI, 16, Word.ND_SLL_LO),
    "nd.tll": _mac(Word.ND_HI, 0, Word.ND_TLL_LO),
    "tcp.src": _SOURCE_PORT,
    "tcp.dst": _DESTINATION_PORT,
    "tcp.flags": _bits(Word.TCP_FLAGS, 0, 16),
    "udp.src": _SOURCE_PORT,
    "udp.dst": _DESTINATION_PORT,
    "sctp.src": _SOURCE_PORT,
    "sctp.dst": _DESTINATION_PORT,
    "icmp4.frag_mtu": _bits(Word.ICMP_MTU, 0, 16),
    "icmp6.frag_mtu": _bits(Word.ICMP_MTU, 0, 32),
}


#: Temporaries that hold whole values, for :func:`segments`.
PORT = _bits(Temp.PORT, 0, 32)
IP = _words(Temp.IP0, 4)
MAC = (Piece(Temp.MAC_HI, 0, 32, 16), Piece(Temp.MAC_LO, 0, 0, 32))
RESULT = _bits(Temp.RESULT, 0, 32)
CT_MARK = _bits(Temp.CT_MARK, 0, 32)
CT_MARK_MASK = _bits(Temp.CT_MARK_MASK, 0, 32)
CT_LABEL = _words(Temp.CT_LABEL0, 4)
CT_LABEL_MASK = _words(Temp.CT_LABEL_MASK0, 4)
NAT_IP = _words(Temp.NAT_IP0, 4)
NAT_PORTS = _bits(Temp.NAT_PORTS, 0, 32)
SCRATCH = _words(Temp.SCRATCH0, 4)
EXCHANGED = _words(Temp.SCRATCH0 + 4, 4)


def pieces(field: str) -> tuple[Piece, ...] | None:
    """Pieces of a base field; ``None`` for a field that the machine does not hold."""
    return _FIELDS.get(field)


def slice_pieces(whole: tuple[Piece, ...], offset: int, width: int) -> tuple[Piece, ...]:
    """Pieces of bits ``[offset, offset + width)``, renumbered so that they start at bit 0."""
    result = []
    for piece in whole:
        low = max(piece.lsb, offset)
        high = min(piece.lsb + piece.width, offset + width)
        if low < high:
            result.append(Piece(piece.word, piece.at + low - piece.lsb, low - offset, high - low))
    return tuple(result)


def segments(dst: tuple[Piece, ...], src: tuple[Piece, ...]) -> Iterator[Segment]:
    """Word copies that move the value of ``src`` into ``dst`` (same width, or the narrower)."""
    for to in dst:
        for of in src:
            low = max(to.lsb, of.lsb)
            high = min(to.lsb + to.width, of.lsb + of.width)
            if low >= high:
                continue
            to_at = to.at + low - to.lsb
            of_at = of.at + low - of.lsb
            mask = ((1 << (high - low)) - 1) << to_at
            yield Segment(to.word, of.word, (to_at - of_at) % 32, mask)


def masked_words(place: tuple[Piece, ...], value: int, mask: int) -> dict[int, tuple[int, int]]:
    """Word to (mask, value) for a masked value of a field with these pieces; no zero masks."""
    result: dict[int, tuple[int, int]] = {}
    for piece in place:
        bits = (1 << piece.width) - 1
        word_mask = ((mask >> piece.lsb) & bits) << piece.at
        if not word_mask:
            continue
        word_value = (((value & mask) >> piece.lsb) & bits) << piece.at
        old_mask, old_value = result.get(piece.word, (0, 0))
        result[piece.word] = (
            (old_mask | word_mask) & _MASK32,
            (old_value | word_value) & _MASK32,
        )
    return result

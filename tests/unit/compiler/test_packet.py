# SPDX-License-Identifier: Apache-2.0
"""Places of fields: whatever is read, written or moved by pieces is what bit slicing gives."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovisor_ovn.abi import Limit
from iovisor_ovn.compiler import packet
from iovisor_ovn.compiler.packet import Piece, masked_words, pieces, segments, slice_pieces
from iovisor_ovn.language import Field, SymbolTable

WORDS = Limit.WORDS + Limit.TEMPS
_TEMPORARIES = {
    "PORT": packet.PORT,
    "IP": packet.IP,
    "MAC": packet.MAC,
    "RESULT": packet.RESULT,
    "CT_LABEL": packet.CT_LABEL,
    "SCRATCH": packet.SCRATCH,
}


def _base_fields() -> dict[str, Field]:
    found = {}
    for release in ("23.03", "main"):
        for symbol in SymbolTable.default(release):
            if symbol.ref is not None:
                found[symbol.ref.field.name] = symbol.ref.field
    return found


FIELDS = _base_fields()
PLACED = {name: place for name in FIELDS if (place := pieces(name)) is not None}
PLACES = PLACED | _TEMPORARIES


def width_of(place: tuple[Piece, ...]) -> int:
    """Bits of the value that lies there."""
    return sum(piece.width for piece in place)


def read(words: Sequence[int], place: tuple[Piece, ...]) -> int:
    """Value of a place, bit by bit."""
    value = 0
    for piece in place:
        for bit in range(piece.width):
            value |= (words[piece.word] >> (piece.at + bit) & 1) << (piece.lsb + bit)
    return value


@st.composite
def slices(draw: st.DrawFn) -> tuple[str, int, int]:
    """A place by name, offset and width."""
    name = draw(st.sampled_from(sorted(PLACES)))
    whole = width_of(PLACES[name])
    offset = draw(st.integers(0, whole - 1))
    return name, offset, draw(st.integers(1, whole - offset))


packets = st.lists(st.integers(0, 0xFFFFFFFF), min_size=WORDS, max_size=WORDS)


@pytest.mark.parametrize("name", sorted(PLACED))
def test_pieces_cover_a_field_once(name: str) -> None:
    """Every bit of a field has one place, most significant piece first, inside its word."""
    place = PLACED[name]
    bits = [piece.lsb + bit for piece in place for bit in range(piece.width)]
    assert sorted(bits) == list(range(width_of(place)))
    assert width_of(place) >= FIELDS[name].width
    assert [piece.lsb for piece in place] == sorted((p.lsb for p in place), reverse=True)
    assert all(piece.at + piece.width <= 32 for piece in place)


def test_every_field_has_a_place_or_is_known_not_to() -> None:
    """A field of OVN without words is a decision, not an oversight."""
    assert FIELDS.keys() - PLACED.keys() == {"icmp4.inner_ip4.src"}


def test_fields_that_can_meet_do_not_overlap() -> None:
    """Two fields share bits only where a packet cannot have both."""
    either = {"tcp", "udp", "sctp", "icmp4", "icmp6", "arp", "rarp"}
    owner: dict[tuple[int, int], str] = {}
    for name, place in PLACED.items():
        for piece in place:
            for bit in range(piece.at, piece.at + piece.width):
                other = owner.setdefault((piece.word, bit), name)
                same = name.removeprefix("__") == other.removeprefix("__")
                exclusive = {name.split(".")[0], other.split(".")[0]} <= either
                # OVN itself puts remote_outport into register 1.
                by_definition = (name, other) == ("remote_outport", "xxreg0")
                assert name == other or same or exclusive or by_definition, (name, other)


@given(place=slices(), words=packets)
def test_slice_reads_the_bits_of_the_slice(place: tuple[str, int, int], words: list[int]) -> None:
    """Pieces of bits offset to offset + width read what shifting and masking reads."""
    name, offset, width = place
    whole = read(words, PLACES[name])
    part = slice_pieces(PLACES[name], offset, width)
    assert read(words, part) == whole >> offset & (1 << width) - 1
    assert width_of(part) == width


@given(dst=slices(), src=slices(), words=packets)
def test_segments_move_what_bit_slicing_moves(
    dst: tuple[str, int, int], src: tuple[str, int, int], words: list[int]
) -> None:
    """Moving by rotated and masked words equals moving bits, whatever the alignments.

    All words are read before one is written; the order in which a program does it is the
    business of programs.py.
    """
    to = slice_pieces(PLACES[dst[0]], dst[1], dst[2])
    of = slice_pieces(PLACES[src[0]], src[1], src[2])
    width = min(dst[2], src[2])
    after = list(words)
    for item in segments(to, of):
        rotated = (words[item.src] << item.rotate | words[item.src] >> (32 - item.rotate)) & (
            0xFFFFFFFF
        )
        after[item.dst] = after[item.dst] & ~item.mask | rotated & item.mask
    low = (1 << width) - 1
    assert read(after, to) & low == read(words, of) & low
    assert read(after, to) >> width == read(words, to) >> width
    touched = {(piece.word, bit) for piece in to for bit in range(piece.at, piece.at + piece.width)}
    for word in range(WORDS):
        outside = sum(1 << bit for bit in range(32) if (word, bit) not in touched)
        assert after[word] & outside == words[word] & outside


@given(place=slices(), words=packets, data=st.data())
def test_masked_words_test_what_the_mask_says(
    place: tuple[str, int, int], words: list[int], data: st.DataObject
) -> None:
    """All word tests hold exactly if the field's masked value is the one asked for."""
    name, offset, width = place
    part = slice_pieces(PLACES[name], offset, width)
    mask = data.draw(st.integers(0, (1 << width) - 1))
    value = data.draw(st.one_of(st.just(read(words, part)), st.integers(0, (1 << width) - 1)))
    tests = masked_words(part, value, mask)
    assert all(test_mask for test_mask, _value in tests.values())
    assert all(not test_value & ~test_mask for test_mask, test_value in tests.values())
    holds = all(words[word] & bits == wanted for word, (bits, wanted) in tests.items())
    assert holds == (read(words, part) & mask == value & mask)


def test_unknown_field_has_no_place() -> None:
    """The caller decides what becomes of a flow with such a field."""
    assert pieces("sctp.flags") is None

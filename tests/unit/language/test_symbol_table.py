# SPDX-License-Identifier: Apache-2.0
"""Which names a release knows; what each means is in the golden cases."""

from itertools import pairwise

import pytest

from iovisor_ovn.language import RELEASES, SymbolKind, SymbolTable, normalize, parse_match


def test_releases_share_their_table() -> None:
    """A table is made once, so that caches can use it as a key."""
    assert SymbolTable.default("24.03") is SymbolTable.default("24.03")


@pytest.mark.parametrize(
    ("release", "like"),
    [("23.03", "23.03"), ("23.09", "23.03"), ("24.03.2", "24.03"), ("25.10", "25.09"),
     ("22.09", "23.03"), ("27.03", "main")],
)  # fmt: skip
def test_a_release_between_two_is_read_as_the_older(release: str, like: str) -> None:
    """Only releases that changed the symbols have a table of their own."""
    assert SymbolTable.default(release) is SymbolTable.default(like)


@pytest.mark.parametrize(
    ("release", "known"),
    [("22.09", True), ("25.03.1", True), ("26.03", True), ("main", True), ("26.09", False)],
)
def test_a_release_after_the_last_known_may_speak_otherwise(release: str, known: bool) -> None:
    """What is read of it is the newest table; that it is all cannot be said."""
    assert SymbolTable.knows(release) is known


def test_a_text_that_is_no_release_is_refused() -> None:
    """A typing error must not select some table."""
    with pytest.raises(ValueError, match="invalid literal"):
        SymbolTable.default("newest")


def test_later_releases_know_all_that_earlier_ones_knew() -> None:
    """Hypervisors are upgraded before northd: what it wrote before stays readable."""
    names = [{s.name for s in SymbolTable.default(release)} for release in RELEASES]
    assert all(older <= newer for older, newer in pairwise(names))
    assert len(names[0]) < len(names[-1])


@pytest.mark.parametrize("release", RELEASES)
def test_every_predicate_and_prerequisite_can_be_read(release: str) -> None:
    """No definition uses a name that its own release lacks."""
    for table in (SymbolTable.default(release), SymbolTable.conntrack(release)):
        texts = [text for s in table for text in (s.predicate, s.prereqs) if text]
        assert all(normalize(parse_match(text, table), table) for text in texts)


def test_registers_overlap_as_they_should() -> None:
    """The four registers of a wide one are its words, most significant first."""
    table = SymbolTable.default()
    for wide, names in (("xxreg0", "0123"), ("xxreg1", "4567"), ("xreg4", "89")):
        refs = [table.lookup(f"reg{digit}") for digit in names]
        offsets = [symbol.ref.offset for symbol in refs if symbol and symbol.ref]
        fields = {symbol.ref.field.name for symbol in refs if symbol and symbol.ref}
        assert (fields, offsets) == ({wide}, list(range(32 * (len(names) - 1), -1, -32)))


def test_fields_of_the_packet_come_once() -> None:
    """Two symbols of kind field never share a base field: subfields are there for that."""
    table = SymbolTable.default()
    bases = [s.ref.field.name for s in table if s.kind is SymbolKind.FIELD and s.ref]
    assert len(bases) == len(set(bases))

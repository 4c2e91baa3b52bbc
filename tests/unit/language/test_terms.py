# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of value and mask, checked by counting all values of a small field."""

from hypothesis import given
from hypothesis import strategies as st

from iovisor_ovn.language import Term
from iovisor_ovn.language.terms import intersect, minimal, overlap, range_terms, within

WIDTH = 5
ALL = range(1 << WIDTH)
TERMS = st.builds(
    lambda value, mask: Term(value & mask, mask), st.sampled_from(ALL), st.sampled_from(ALL)
)
LISTS = st.lists(TERMS, max_size=5)


def values(terms: tuple[Term, ...] | list[Term]) -> set[int]:
    """Return the values that the terms match."""
    return {value for value in ALL if any(value & t.mask == t.value for t in terms)}


@given(st.sampled_from(ALL), st.sampled_from(ALL))
def test_range_becomes_prefix_masks(low: int, high: int) -> None:
    """Prefixes match the range and nothing else, no value twice."""
    terms = range_terms(low, high, WIDTH)
    assert values(terms) == set(range(low, high + 1))
    assert sum(1 << (WIDTH - term.mask.bit_count()) for term in terms) == len(values(terms))


@given(LISTS)
def test_minimal_keeps_the_values(terms: list[Term]) -> None:
    """What goes lies within something that stays."""
    kept = minimal(terms)
    assert values(kept) == values(terms)
    assert not any(within(a, b) for a in kept for b in kept if a != b)


@given(LISTS, LISTS)
def test_intersect_is_what_both_have(a: list[Term], b: list[Term]) -> None:
    """The intersection of unions, value by value."""
    assert values(intersect(a, b)) == values(a) & values(b)


@given(TERMS, TERMS)
def test_overlap_and_within(a: Term, b: Term) -> None:
    """Both say what sets of values say."""
    common = overlap(a, b)
    assert values([common] if common else []) == values([a]) & values([b])
    assert within(a, b) == (values([a]) <= values([b]))

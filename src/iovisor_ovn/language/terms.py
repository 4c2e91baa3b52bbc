# SPDX-License-Identifier: Apache-2.0
"""Sets of values of one field, as lists of value and mask.

A list stands for the union of its terms. All lists here are minimal in the sense that no term
lies within another one.
"""

from collections.abc import Iterable

from iovisor_ovn.language.clauses import Term

__all__ = ["complements", "intersect", "minimal", "overlap", "range_terms", "within"]

Terms = tuple[Term, ...]


def overlap(a: Term, b: Term) -> Term | None:
    """What two terms have in common; ``None`` if that is nothing."""
    if (a.value ^ b.value) & a.mask & b.mask:
        return None
    return Term(a.value | b.value, a.mask | b.mask)


def within(inner: Term, outer: Term) -> bool:
    """Every value of ``inner`` is one of ``outer``."""
    return not outer.mask & ~inner.mask and inner.value & outer.mask == outer.value


def minimal(terms: Iterable[Term]) -> Terms:
    """Sorted, without terms that lie within others. Linear in terms times distinct masks."""
    by_mask: dict[int, set[int]] = {}
    for term in terms:
        by_mask.setdefault(term.mask, set()).add(term.value)
    kept: list[Term] = []
    for mask, values in by_mask.items():
        wider = [
            (other, by_mask[other]) for other in by_mask if other != mask and not other & ~mask
        ]
        kept += [
            Term(value, mask)
            for value in values
            if not any(value & other in found for other, found in wider)
        ]
    return tuple(sorted(kept))


def intersect(a: Iterable[Term], b: Iterable[Term]) -> Terms:
    """Values that are in both unions. Costs the product of the lengths."""
    others = tuple(b)
    common = (overlap(x, y) for x in a for y in others)
    return minimal(term for term in common if term is not None)


def complements(terms: Iterable[Term]) -> bool:
    """Some one-bit term stands beside its opposite, so that together they take every value."""
    single = {term for term in terms if term.mask.bit_count() == 1}
    return any(Term(term.value ^ term.mask, term.mask) in single for term in single)


def range_terms(low: int, high: int, width: int) -> Terms:
    """Prefixes that cover ``low`` to ``high``, both included, in ``width`` bits."""
    terms: list[Term] = []
    full = (1 << width) - 1
    while low <= high:
        # The longest run that starts here is bounded by the trailing zeros of its start ...
        size = (low & -low).bit_length() - 1 if low else width
        # ... and by what is left.
        while low + (1 << size) - 1 > high:
            size -= 1
        terms.append(Term(low, full & ~((1 << size) - 1)))
        low += 1 << size
    return tuple(terms)

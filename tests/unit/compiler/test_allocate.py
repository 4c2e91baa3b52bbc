# SPDX-License-Identifier: Apache-2.0
"""Rows of arrays: never two users of one element, never at once a new one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovisor_ovn.compiler.allocate import REST_S, Interned, Rows
from iovisor_ovn.errors import MapFullError


def test_rows_do_not_overlap_and_keep_off_the_first_elements() -> None:
    """Elements below ``first`` mean something else."""
    rows = Rows("r", 100, first=16)
    one, other = rows.take(3, 0), rows.take(1, 0)
    assert min(one, other) >= 16
    assert one + 3 <= other or other + 1 <= one


def test_freed_row_rests_before_it_is_used_again() -> None:
    """A packet that began before the change may still read it."""
    rows = Rows("r", 4)
    index = rows.take(4, 0)
    rows.give_back(index, 4)
    with pytest.raises(MapFullError) as refused:
        rows.take(4, 100)
    assert refused.value.waits_for_force
    rows.settle(10)
    with pytest.raises(MapFullError):
        rows.take(4, 10 + REST_S / 2)
    assert rows.take(4, 10 + REST_S) == index


def test_full_array_names_itself() -> None:
    """The error says which map to make larger."""
    with pytest.raises(MapFullError, match="slots"):
        Rows("slots", 8).take(9, 0)


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=60))
def test_rows_in_use_never_share_an_element(steps: list[tuple[int, bool]]) -> None:
    """Any history of taking and giving back; what is not in use is counted as free."""
    rows = Rows("r", 1 << 16, first=1)
    used: list[tuple[int, int]] = []
    for now, (length, give_back) in enumerate(steps):
        if give_back and used:
            index, taken = used.pop(length % len(used))
            rows.give_back(index, taken)
            rows.settle(now)
            continue
        used.append((rows.take(length, now), length))
        elements = [element for index, n in used for element in range(index, index + n)]
        assert len(elements) == len(set(elements))
    for index, taken in used:
        rows.give_back(index, taken)
    assert rows.used == 0


def test_equal_values_are_written_once() -> None:
    """The row goes when its last user does."""
    written: list[tuple[int, str]] = []
    store: Interned[str] = Interned(Rows("r", 64, first=1), lambda i, v: written.append((i, v)))
    first, again, other = (store.take(value, 2, 0) for value in ("a", "a", "b"))
    assert first == again != other
    assert written == [(first, "a"), (other, "b")]
    assert (store.value_at(other), len(store)) == ("b", 2)
    store.give_back(first, 2)
    assert len(store) == 2
    store.give_back(first, 2)
    assert len(store) == 1
    later = store.take("a", 2, 0)
    assert later != first, "the old row rests"
    assert written[-1] == (later, "a")

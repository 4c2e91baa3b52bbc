# SPDX-License-Identifier: Apache-2.0
"""How a row of ours is written back that somebody else writes."""

import pytest

from iovisor_ovn.mainlogic.contention import (
    CALM_MS,
    FIRST_PAUSE_MS,
    LONGEST_PAUSE_MS,
    Restraint,
)

_NOW = 1_000_000


@pytest.fixture
def restraint() -> Restraint:
    """Return one that has written once."""
    made = Restraint()
    assert made.may_write(_NOW)
    return made


def _pauses(restraint: Restraint, count: int) -> list[int]:
    """Write as soon as it is allowed, ``count`` times; return how long each waited."""
    now = _NOW
    found = []
    for _ in range(count):
        before = now
        while not restraint.may_write(now):
            assert restraint.due_ms is not None
            now = restraint.due_ms
        found.append(now - before)
    return found


def test_what_is_changed_back_is_written_ever_more_slowly(restraint: Restraint) -> None:
    """The first time at once, in the end every eight seconds."""
    pauses = _pauses(restraint, 10)
    assert pauses[:4] == [0, FIRST_PAUSE_MS, 2 * FIRST_PAUSE_MS, 4 * FIRST_PAUSE_MS]
    assert pauses[-1] == LONGEST_PAUSE_MS


def test_what_is_put_off_is_due_until_it_is_written(restraint: Restraint) -> None:
    """At every moment either it was written, or it is known when it will be."""
    assert restraint.may_write(_NOW)
    for now in range(_NOW, _NOW + FIRST_PAUSE_MS):
        assert not restraint.may_write(now)
        assert restraint.due_ms == _NOW + FIRST_PAUSE_MS
    assert restraint.may_write(_NOW + FIRST_PAUSE_MS)
    assert restraint.due_ms is None


def test_it_is_contended_from_the_third_time_until_there_is_peace(restraint: Restraint) -> None:
    """One change back, or two, may be an accident."""
    assert _pauses(restraint, 2) == [0, FIRST_PAUSE_MS]
    now = _NOW + FIRST_PAUSE_MS
    assert not restraint.is_contended(now)
    now += 2 * FIRST_PAUSE_MS
    assert restraint.may_write(now)
    assert restraint.is_contended(now)
    assert restraint.is_contended(now + CALM_MS - 1)
    assert not restraint.is_contended(now + CALM_MS)
    assert restraint.may_write(now + CALM_MS)
    assert restraint.may_write(now + CALM_MS)

# SPDX-License-Identifier: Apache-2.0
"""The collector of cycles is held back, and takes up its work again."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from iovisor_ovn.cycles import look_again_at_all, look_seldom, undisturbed


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    look_seldom()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.collect()


class _Knot:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_nothing_is_collected_meanwhile() -> None:
    """Afterwards it is."""
    with undisturbed():
        knot = weakref.ref(_Knot())
        much = [[] for _ in range(2 * gc.get_threshold()[0])]  # type: ignore[var-annotated]
        assert knot() is not None
        del much
    assert gc.isenabled()
    gc.collect()
    assert knot() is None


def test_much_is_never_looked_at_again() -> None:
    """Until it is said that it may hold cycles."""
    gc.collect()
    with undisturbed():
        knot = weakref.ref(_Knot())
        much = [[] for _ in range(2 * gc.get_threshold()[0])]  # type: ignore[var-annotated]
    assert gc.get_freeze_count() >= len(much)
    gc.collect()
    assert knot() is not None
    look_again_at_all()
    gc.collect()
    assert knot() is None


def test_litter_of_many_short_times_is_collected() -> None:
    """Each leaves little, and none of it stays for ever."""
    gc.collect()
    first = weakref.ref(_Knot())
    for _ in range(4):
        with undisturbed():
            for _ in range(gc.get_threshold()[0] // 3):
                _Knot()
    assert first() is None


def test_it_goes_on_after_an_error() -> None:
    """Whatever ends the work."""
    with pytest.raises(ZeroDivisionError), undisturbed():
        raise ZeroDivisionError
    assert gc.isenabled()

# SPDX-License-Identifier: Apache-2.0
"""Python's collector of reference cycles, kept from what is many and holds none.

Rows and entries live long: looking through them for cycles as often as Python does by itself took a
third of the time of a start with 50,000 flows.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["look_again_at_all", "look_seldom", "undisturbed"]

#: New objects after which young ones, and how often then older ones are looked at.
_THRESHOLDS = (100_000, 50, 100)


def look_seldom() -> None:
    """Look less often from now on."""
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Look for no cycles meanwhile, and never at what was made meanwhile where it is much."""
    before = gc.get_count()[0]
    gc.disable()
    try:
        yield
    finally:
        # What many short times have left together is looked at as soon as it may be.
        if gc.get_count()[0] - before >= _THRESHOLDS[0]:
            gc.freeze()
        gc.enable()


def look_again_at_all() -> None:
    """A structure with cycles, such as a database's replica, is given up."""
    gc.unfreeze()

# SPDX-License-Identifier: Apache-2.0
"""The module of connection tracking, compiled once and loaded for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conntrack_rig import Tracker, build


@pytest.fixture(scope="session")
def tracker_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the path of the linked object."""
    return build(tmp_path_factory.mktemp("conntrack"))


@pytest.fixture(scope="module")
def loaded_tracker(tracker_object: Path) -> Iterator[Tracker]:
    """Load the module once for the tests of a file."""
    tracker = Tracker(tracker_object)
    yield tracker
    tracker.close()


@pytest.fixture
def tracker(loaded_tracker: Tracker) -> Tracker:
    """Give the loaded module without connections."""
    loaded_tracker.forget()
    return loaded_tracker


@pytest.fixture
def tracker_of(tracker_object: Path) -> Iterator[Callable[[int, int], Tracker]]:
    """Load the module with room for so many established and new connections."""
    made: list[Tracker] = []

    def make(conns: int, fresh: int) -> Tracker:
        made.append(Tracker(tracker_object, conns, fresh))
        return made[-1]

    yield make
    for tracker in made:
        tracker.close()

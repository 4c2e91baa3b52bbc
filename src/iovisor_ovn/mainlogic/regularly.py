# SPDX-License-Identifier: Apache-2.0
"""Work that is done every so many seconds, whatever else goes on."""

import time
from collections.abc import Callable

import ovs.poller

__all__ = ["COLLECT_EVERY_S", "Regularly"]

#: Dead connections are looked for this often, for a few milliseconds each time.
COLLECT_EVERY_S = 2.0


class Regularly:
    """Calls ``work`` every ``every_s`` seconds."""

    def __init__(self, every_s: float, work: Callable[[], object]) -> None:
        """Begin one interval from now."""
        self._every_s = every_s
        self._work = work
        self._due = time.monotonic() + every_s

    def run(self) -> None:
        """Do the work if it is time."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._every_s
            self._work()

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when it is time."""
        poller.timer_wait(max(0, int((self._due - time.monotonic()) * 1000) + 1))

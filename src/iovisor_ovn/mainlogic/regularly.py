# SPDX-License-Identifier: Apache-2.0
"""Dead connections leave the table, a little at a time."""

import time

import ovs.poller

from iovisor_ovn.dataplane.conntrack import Conntrack

__all__ = ["EVERY_S", "Collector"]

#: The table is looked at this often, for a few milliseconds each time.
EVERY_S = 2.0


class Collector:
    """Calls the collector of a machine's connections every now and then."""

    def __init__(self, conntrack: Conntrack) -> None:
        """Begin one interval from now."""
        self._conntrack = conntrack
        self._due = time.monotonic() + EVERY_S

    def run(self) -> None:
        """Collect if it is time."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + EVERY_S
            self._conntrack.collect()

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when it is time."""
        poller.timer_wait(max(0, int((self._due - time.monotonic()) * 1000) + 1))

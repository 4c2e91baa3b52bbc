# SPDX-License-Identifier: Apache-2.0
"""What the machine learned, on its way into the Southbound database.

Several chassis may see the same announcement: each waits a random moment and writes only if
nobody did meanwhile (OVN controller/mac-cache.c). Nothing is lost while the database is away:
the newest value of each key waits.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["MAX_DELAY_S", "MAX_PENDING", "LearnQueue", "Learned"]

MAX_DELAY_S = 0.05
MAX_PENDING = 1024


@dataclass(frozen=True, slots=True)
class Learned:
    """A fact of the machine: a neighbour's MAC (``address`` set) or a MAC's port."""

    kind: str  # "neighbour" or "fdb"
    datapath: int  # index
    port: int  # logical port key
    address: int  # neighbour: IP address as a number
    mac: int

    @property
    def key(self) -> tuple[str, int, int, int]:
        """Facts of the same key replace each other."""
        if self.kind == "fdb":
            return (self.kind, self.datapath, 0, self.mac)
        return (self.kind, self.datapath, self.port, self.address)


class LearnQueue:
    """Facts that wait to be written, at most :data:`MAX_PENDING`."""

    def __init__(self, delay: Callable[[], float] = lambda: random.uniform(0, MAX_DELAY_S)) -> None:  # noqa: S311  spreads load, no secret
        """Wait ``delay()`` seconds before a fact is due."""
        self._delay = delay
        self._pending: dict[tuple[str, int, int, int], tuple[float, Learned]] = {}
        self.dropped = 0

    def add(self, fact: Learned, now: float) -> None:
        """Keep a fact; a full queue refuses new keys."""
        known = self._pending.get(fact.key)
        if known is None and len(self._pending) >= MAX_PENDING:
            self.dropped += 1
            return
        due = known[0] if known else now + self._delay()
        self._pending[fact.key] = (due, fact)

    def due(self, now: float) -> Iterator[Learned]:
        """Facts whose moment has come; they stay until :meth:`done`."""
        for due, fact in list(self._pending.values()):
            if due <= now:
                yield fact

    def done(self, fact: Learned) -> None:
        """The fact is written, or no longer true; a newer one of the same key stays."""
        known = self._pending.get(fact.key)
        if known is not None and known[1] == fact:
            del self._pending[fact.key]

    def forget(self, datapath: int) -> None:
        """Drop the facts of a datapath: its index may stand for another soon."""
        for key in [key for key in self._pending if key[1] == datapath]:
            del self._pending[key]

    @property
    def next_due(self) -> float | None:
        """When :meth:`due` has something to give."""
        return min((due for due, _fact in self._pending.values()), default=None)

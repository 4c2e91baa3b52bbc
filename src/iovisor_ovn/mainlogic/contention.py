# SPDX-License-Identifier: Apache-2.0
"""Rows that somebody else writes against our will, again and again.

A port that another chassis binds or gives back: either has it an interface of the same iface-id,
or it is an agent that bears our name.  Each time may be a port on its way from one chassis to the
other; several in a row are named.  Our row of Chassis: an agent of our name, again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import ovs.timeval
import ovs.vlog

__all__ = ["CALM_MS", "FIRST_PAUSE_MS", "LONGEST_PAUSE_MS", "Contention", "Restraint"]

_log = ovs.vlog.Vlog("contention")

#: After this long without another change against our will there is peace.
CALM_MS = 20_000
#: Whoever changes our Chassis row back is answered ever more slowly.
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 250, 8000
_NAMED_FROM = 3


@dataclass(slots=True)
class _Quarrel:
    count: int = 0
    last_ms: int = 0
    other: str = ""


class Contention:
    """Counts changes against our will by port."""

    def __init__(self) -> None:
        """Begin at peace."""
        self._quarrels: dict[str, _Quarrel] = {}

    def note(self, port: str, other: str) -> None:
        """Count one more change of a port's chassis; ``other`` is the chassis it has now."""
        now_ms = ovs.timeval.msec()
        self._calm(now_ms)
        quarrel = self._quarrels.setdefault(port, _Quarrel())
        quarrel.count += 1
        quarrel.last_ms = now_ms
        quarrel.other = other
        if quarrel.count == _NAMED_FROM:
            _log.err(f"port_contended port={port} other={other or 'unknown'}")

    def reasons(self) -> Mapping[str, str]:
        """Return what to tell an operator, by port."""
        self._calm(ovs.timeval.msec())
        return {
            port: f"port {port} is taken from us again and again by "
            + (f"chassis {quarrel.other}" if quarrel.other else "an agent with our system-id")
            for port, quarrel in sorted(self._quarrels.items())
            if quarrel.count >= _NAMED_FROM
        }

    def _calm(self, now_ms: int) -> None:
        for port, quarrel in list(self._quarrels.items()):
            if now_ms >= quarrel.last_ms + CALM_MS:
                del self._quarrels[port]


class Restraint:
    """Puts off what was written just now and has become wrong again."""

    def __init__(self) -> None:
        """Begin at peace."""
        self._pause_ms = 0
        self._written_ms: int | None = None
        #: When the write that was put off is due, None when none was.
        self.due_ms: int | None = None

    def may_write(self, now_ms: int) -> bool:
        """Return whether what differs may be written now; if so, it counts as written."""
        self.due_ms = None
        self._calm(now_ms)
        if self._written_ms is not None:
            due_ms = self._written_ms + self._pause_ms
            if now_ms < due_ms:
                self.due_ms = due_ms
                return False
            self._pause_ms = min(max(FIRST_PAUSE_MS, 2 * self._pause_ms), LONGEST_PAUSE_MS)
        self._written_ms = now_ms
        return True

    def is_contended(self, now_ms: int) -> bool:
        """Whether somebody has changed it back several times in a row."""
        self._calm(now_ms)
        return self._pause_ms >= 4 * FIRST_PAUSE_MS

    def _calm(self, now_ms: int) -> None:
        if self._written_ms is not None and now_ms >= self._written_ms + CALM_MS:
            self._written_ms = None
            self._pause_ms = 0

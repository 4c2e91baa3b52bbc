# SPDX-License-Identifier: Apache-2.0
"""Ports that somebody else binds or gives back against our will, again and again.

It is either a chassis that has an interface of the same iface-id, or an agent that bears our name.
Each time may be a port on its way from one chassis to the other; several in a row are named.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import ovs.timeval
import ovs.vlog

__all__ = ["CALM_MS", "Contention"]

_log = ovs.vlog.Vlog("contention")

#: After this long without another change against our will a port is at peace.
CALM_MS = 20_000
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

# SPDX-License-Identifier: Apache-2.0
"""What the controller needs of the parts that it joins, so that tests can stand in for them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import ovs.poller

from iovisor_ovn.ovsdb import RowChange
from iovisor_ovn.vswitch import LocalInterface

__all__ = ["Chore", "Events", "Pipeline", "Vswitch"]


class Pipeline(Protocol):
    """Southbound rows into the data plane."""

    def breathe_by(self, breathe: Callable[[], None]) -> None:
        """Let ``breathe`` be called every few milliseconds in the midst of long work."""

    def update(
        self,
        changes: Sequence[RowChange],
        interfaces: Mapping[str, LocalInterface],
        zones: Mapping[str, int],
        chassis: str,
    ) -> None:
        """Return when the maps hold what rows, interfaces (by logical port) and zones say."""

    def waiting(self) -> Mapping[str, int]:
        """Return how many rows wait for room in a map, by map; all others are in."""

    def refused_modules(self) -> Mapping[str, str]:
        """Return why users' modules are not what interfaces ask for, by logical port."""

    def recompute(self) -> None:
        """Work everything out again at the next update."""

    def close(self, *, keep: bool) -> None:
        """Let go; ``keep`` leaves the packets flowing."""


class Events(Protocol):
    """What the data plane tells: learned addresses, held packets."""

    def run(self) -> None:
        """Take up what has come."""

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when `run` has something to do."""

    def close(self) -> None:
        """Stop listening."""


class Chore(Protocol):
    """Something that is done every now and then, whatever the databases say."""

    def run(self) -> None:
        """Do what is due."""

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when `run` has something to do."""


class Vswitch(Protocol):
    """The local database and devices."""

    def run(self, changes: Sequence[RowChange] | None = None) -> bool:
        """Do what is due; return whether `interfaces` is another now."""

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when `run` has something to do."""

    def interfaces(self, bridge: str | None = None) -> Mapping[str, LocalInterface]:
        """Return the working interfaces of the integration bridge by device name."""

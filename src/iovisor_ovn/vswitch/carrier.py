# SPDX-License-Identifier: Apache-2.0
"""Count how often each interface's link came or went, for the column ``link_resets``."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

from iovisor_ovn.vswitch.rows import InterfaceRow
from iovisor_ovn.vswitch.rtnl import Link

__all__ = ["LinkResets"]


@dataclass(frozen=True, slots=True)
class _Seen:
    ifindex: int
    has_carrier: bool
    count: int


class LinkResets:
    """Changes seen per interface row; a new device starts at 0, a restart of the agent goes on."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._seen: dict[UUID, _Seen] = {}

    def count(self, row: InterfaceRow, link: Link) -> int:
        """Take the device as it is now; return the changes of its link so far."""
        seen = self._seen.get(row.uuid)
        if seen is None or seen.ifindex != link.ifindex:
            carried_over = row.link_resets or 0 if row.ifindex == link.ifindex else 0
            seen = _Seen(link.ifindex, link.has_carrier, 0 if seen is not None else carried_over)
        if seen.has_carrier != link.has_carrier:
            seen = _Seen(link.ifindex, link.has_carrier, seen.count + 1)
        self._seen[row.uuid] = seen
        return seen.count

    def forget_except(self, rows: AbstractSet[UUID]) -> None:
        """Drop what is known of other rows."""
        for uuid in self._seen.keys() - rows:
            del self._seen[uuid]

# SPDX-License-Identifier: Apache-2.0
"""Which sets and dimensions the flows in the image test; those that nobody tests are given up.

A literal set lives as long as a flow tests it. A named one also lives while its row is there: its
members are kept up to date whether it is tested or not.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Literal

from iovisor_ovn.abi import GuardKind
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.compiler.tuples import Entry

__all__ = ["SetUse"]

_Used = tuple[Literal["set", "dimension"], int]
_SET_GUARDS = (GuardKind.IN_SET, GuardKind.NOT_IN_SET)


class SetUse:
    """Counts by flow; ``has_row`` tells whether a named set (``$name``, ``@name``) exists."""

    def __init__(self, sets: SetTable, has_row: Callable[[str], bool]) -> None:
        """Begin with no flows."""
        self._sets = sets
        self._has_row = has_row
        self._of_flow: dict[Hashable, frozenset[_Used]] = {}
        self._users: Counter[_Used] = Counter()
        self._may_be_idle = False

    def note(self, flow: Hashable, entries: Iterable[Entry]) -> None:
        """A flow's entries go into the image; several calls for one flow add up."""
        used: set[_Used] = set()
        for (_class, words, guards, dims), values in entries:
            if not dims and not guards:
                continue
            tests = [*zip(dims, values[len(words) :], strict=True)]
            tests += [(g.word, g.value) for g in guards if g.kind in _SET_GUARDS]
            for dimension, number in tests:
                used |= {("dimension", dimension), ("set", number)}
        if not used:
            return
        before = self._of_flow.get(flow, frozenset())
        if used - before:
            self._of_flow[flow] = before | used
            self._users.update(used - before)

    def drop(self, flow: Hashable) -> None:
        """A flow leaves the image."""
        for used in self._of_flow.pop(flow, ()):
            self._users[used] -= 1
            if not self._users[used]:
                del self._users[used]
                self._may_be_idle = True

    def look_again(self) -> None:
        """Flows were compiled, which may leave sets that nothing tests, or a set's row went."""
        self._may_be_idle = True

    def forget_unused(self) -> bool:
        """Give up sets and dimensions without users; tells if there were such sets.

        To be called when the maps hold the image. Cost: linear in all sets, if any may be idle.
        """
        if not self._may_be_idle:
            return False
        self._may_be_idle = False
        idle = [
            name
            for name, number in self._sets.items()
            if ("set", number) not in self._users
            and (name.startswith("{") or not self._has_row(name))
        ]
        for name in idle:
            self._sets.forget(name)
        self._sets.keep_dimensions({n for what, n in self._users if what == "dimension"})
        return bool(idle)

# SPDX-License-Identifier: Apache-2.0
"""Which sets and dimensions the flows in the image test; those that nobody tests are given up.

A literal set lives as long as a flow tests it. A named one also lives while its row is there: its
members are kept up to date whether it is tested or not.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable

from iovisor_ovn.abi import GuardKind
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.compiler.tuples import Entry

__all__ = ["SetUse"]

#: A test: dimension and set.
_Test = tuple[int, int]
_SET_GUARDS = (GuardKind.IN_SET, GuardKind.NOT_IN_SET)


class SetUse:
    """Counts by flow; ``has_row`` tells whether a named set (``$name``, ``@name``) exists."""

    def __init__(self, sets: SetTable, has_row: Callable[[str], bool]) -> None:
        """Begin with no flows."""
        self._sets = sets
        self._has_row = has_row
        self._of_flow: dict[Hashable, frozenset[_Test]] = {}
        self._dimension_users: Counter[int] = Counter()
        self._set_users: Counter[int] = Counter()
        self._suspects: set[str] = set()  # sets that may have become idle

    def note(self, flow: Hashable, entries: Iterable[Entry]) -> None:
        """A flow's entries go into the image; several calls for one flow add up."""
        used: set[_Test] = set()
        for (_class, words, guards, dims), values in entries:
            if dims:
                used.update(zip(dims, values[len(words) :], strict=True))
            if guards:
                used.update((g.word, g.value) for g in guards if g.kind in _SET_GUARDS)
        if not used:
            return
        before = self._of_flow.get(flow, frozenset())
        self._of_flow[flow] = before.union(used)
        for dimension, number in used - before:
            self._dimension_users[dimension] += 1
            self._set_users[number] += 1

    def drop(self, flow: Hashable) -> None:
        """A flow leaves the image."""
        for dimension, number in self._of_flow.pop(flow, ()):
            self._dimension_users[dimension] -= 1
            if not self._dimension_users[dimension]:
                del self._dimension_users[dimension]
            self._set_users[number] -= 1
            if not self._set_users[number]:
                del self._set_users[number]
                self._suspects.add(self._sets.name_of(number))

    def row_is_gone(self, name: str) -> None:
        """The row of a named set went."""
        self._suspects.add(name)

    def forget_unused(self) -> bool:
        """Give up sets and dimensions without users; tells if there were such sets.

        To be called when the maps hold the image. Cost: linear in sets that came or lost a user.
        """
        suspects = self._suspects | self._sets.take_fresh()
        self._suspects = set()
        idle = [name for name in suspects if self._is_idle(name)]
        for name in idle:
            self._sets.forget(name)
        self._sets.keep_dimensions(self._dimension_users.keys())
        return bool(idle)

    def _is_idle(self, name: str) -> bool:
        number = self._sets.known_id(name)
        return (
            number is not None
            and number not in self._set_users
            and (name.startswith("{") or not self._has_row(name))
        )

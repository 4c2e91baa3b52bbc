# SPDX-License-Identifier: Apache-2.0
"""Which sets the flows in the image test, so that those that nobody tests are given up.

A literal set lives as long as a flow tests it. A named one also lives while its row is there: its
members are kept up to date whether it is tested or not.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable

from iovisor_ovn.abi import GuardKind
from iovisor_ovn.compiler.patterns import Pattern
from iovisor_ovn.compiler.sets import SetTable

__all__ = ["SetUse"]

_SET_GUARDS = (GuardKind.IN_SET, GuardKind.NOT_IN_SET)


class SetUse:
    """Counts by flow; ``has_row`` tells whether a named set (``$name``, ``@name``) exists."""

    def __init__(self, sets: SetTable, has_row: Callable[[str], bool]) -> None:
        """Begin with no flows."""
        self._sets = sets
        self._has_row = has_row
        self._of_flow: dict[Hashable, frozenset[int]] = {}
        self._users: Counter[int] = Counter()
        self._may_be_idle = False

    def note(self, flow: Hashable, patterns: Iterable[Pattern]) -> None:
        """A flow's patterns go into the image; several calls for one flow add up."""
        numbers = {number for pattern in patterns for _dim, number in pattern.dims}
        numbers |= {g.value for p in patterns for g in p.guards if g.kind in _SET_GUARDS}
        before = self._of_flow.get(flow, frozenset())
        if numbers - before:
            self._of_flow[flow] = before | numbers
            self._users.update(numbers - before)

    def drop(self, flow: Hashable) -> None:
        """A flow leaves the image."""
        for number in self._of_flow.pop(flow, ()):
            self._users[number] -= 1
            if not self._users[number]:
                del self._users[number]
                self._may_be_idle = True

    def look_again(self) -> None:
        """Flows were compiled, which may leave sets that nothing tests, or a set's row went."""
        self._may_be_idle = True

    def forget_unused(self) -> bool:
        """Give up sets without users; call it when the maps hold the image. Tells if there were.

        Cost: linear in all sets, where there may be some.
        """
        if not self._may_be_idle:
            return False
        self._may_be_idle = False
        idle = [
            name
            for name, number in self._sets.items()
            if number not in self._users and (name.startswith("{") or not self._has_row(name))
        ]
        for name in idle:
            self._sets.forget(name)
        return bool(idle)

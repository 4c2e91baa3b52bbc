# SPDX-License-Identifier: Apache-2.0
"""Room in the machine's arrays.

What packets may still read is not written again: freed rows stay as they are until
:meth:`Rows.settle` says that nothing in force names them, and then rest for :data:`REST_S` seconds
(a packet is through in microseconds).
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from iovisor_ovn.errors import MapFullError

__all__ = ["REST_S", "Interned", "Rows"]

REST_S = 0.5

Value = TypeVar("Value", bound=Hashable)


@dataclass(slots=True)
class Rows:
    """Rows of consecutive elements in an array of ``capacity`` elements.

    Rows are kept by their rounded-up length, so that a freed one fits the next of its kind.
    """

    name: str
    capacity: int
    first: int = 0
    _next: int = field(init=False)
    _free: dict[int, list[int]] = field(default_factory=dict)
    _resting: deque[tuple[float, int, int]] = field(default_factory=deque)
    _leaving: list[tuple[int, int]] = field(default_factory=list)
    used: int = 0

    def __post_init__(self) -> None:
        """Start behind the elements that are never handed out."""
        self._next = self.first

    def take(self, length: int, now: float) -> int:
        """Index of a row of ``length`` elements; raises :class:`MapFullError`."""
        size = _rounded(length)
        while self._resting and self._resting[0][0] <= now:
            _due, index, freed = self._resting.popleft()
            self._free.setdefault(freed, []).append(index)
        free = self._free.get(size)
        if free:
            index = free.pop()
        else:
            if self._next + size > self.capacity:
                fits = bool(self._leaving) and self.first + self.used + size <= self.capacity
                raise MapFullError(self.name, self.capacity, waits_for_force=fits)
            index = self._next
            self._next += size
        self.used += size
        return index

    def give_back(self, index: int, length: int) -> None:
        """The row may be handed out again once it is out of force and has rested."""
        size = _rounded(length)
        self.used -= size
        self._leaving.append((index, size))

    def settle(self, now: float) -> None:
        """No row that was given back is in force any more: let them rest."""
        self._resting.extend((now + REST_S, index, size) for index, size in self._leaving)
        self._leaving.clear()


def _rounded(length: int) -> int:
    """Next power of two up to 16, next multiple of 16 above."""
    if length <= 16:
        return 1 << max(0, length - 1).bit_length()
    return (length + 15) & ~15


class Interned(Generic[Value]):
    """Values that many users share: each distinct one is stored once, as a row.

    ``write`` is called with (index, value) when a value is stored for the first time.
    """

    def __init__(self, rows: Rows, write: Callable[[int, Value], None]) -> None:
        """Store into ``rows``."""
        self._rows = rows
        self._write = write
        self._users: dict[Value, tuple[int, int]] = {}
        self._values: dict[int, Value] = {}

    def take(self, value: Value, length: int, now: float) -> int:
        """Index of the row that holds ``value`` (``length`` elements)."""
        known = self._users.get(value)
        if known is not None:
            self._users[value] = (known[0], known[1] + 1)
            return known[0]
        index = self._rows.take(length, now)
        self._users[value] = (index, 1)
        self._values[index] = value
        self._write(index, value)
        return index

    def give_back(self, index: int, length: int) -> None:
        """One user less of the row at ``index``."""
        value = self._values[index]
        users = self._users[value][1] - 1
        if users:
            self._users[value] = (index, users)
            return
        del self._users[value]
        del self._values[index]
        self._rows.give_back(index, length)

    def value_at(self, index: int) -> Value:
        """The value of the row at ``index``."""
        return self._values[index]

    def __len__(self) -> int:
        """Distinct values."""
        return len(self._users)

# SPDX-License-Identifier: Apache-2.0
"""Counters that flows raise by name (`count("a name");`), and their numbers in the machine."""

from collections.abc import Collection
from dataclasses import dataclass

from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.errors import MapFullError

__all__ = ["Count", "CounterTable"]


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted: frames (one for all segments of a GSO packet), bytes."""

    packets: int
    bytes: int


class CounterTable:
    """Numbers by name. A name keeps its number, and what was counted, until :meth:`keep`."""

    def __init__(self, machine: Machine) -> None:
        """Give away the counters of ``machine``."""
        self._machine = machine
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []

    def number(self, name: str) -> int:
        """The number of a counter, which starts at zero. Raises MapFullError."""
        number = self._numbers.get(name)
        if number is None:
            size = self._machine.maps["counters"].max_entries
            if self._free:
                number = self._free.pop()
                self._machine.clear_counter(number)
            elif len(self._numbers) < size:
                number = len(self._numbers)
            else:
                raise MapFullError("counters", size)
            self._numbers[name] = number
        return number

    def keep(self, names: Collection[str]) -> None:
        """Give up all counters but these."""
        for name in self._numbers.keys() - names:
            self._free.append(self._numbers.pop(name))

    def read(self) -> dict[str, Count]:
        """All counters."""
        return {
            name: Count(*self._machine.counter(number)) for name, number in self._numbers.items()
        }

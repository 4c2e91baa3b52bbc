# SPDX-License-Identifier: Apache-2.0
"""Counters by name."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from iovisor_ovn.errors import MapFullError
from iovisor_ovn.mainlogic.counters import Count, CounterTable

if TYPE_CHECKING:
    from iovisor_ovn.dataplane.machine import Machine


class _Machine:
    def __init__(self, size: int) -> None:
        self.maps = {"counters": SimpleNamespace(max_entries=size)}
        self.values = dict.fromkeys(range(size), (0, 0))

    def counter(self, number: int) -> tuple[int, int]:
        return self.values[number]

    def clear_counter(self, number: int) -> None:
        self.values[number] = (0, 0)


def test_a_name_keeps_its_number_until_it_is_given_up() -> None:
    """What was counted under one name never shows under another."""
    machine = _Machine(2)
    table = CounterTable(cast("Machine", machine))
    number = table.number("a")
    machine.values[number] = (3, 300)
    table.number("b")
    assert table.number("a") == number
    assert table.read()["a"] == Count(3, 300)
    table.keep({"b"})
    assert table.number("c") == number
    assert table.read() == {"b": Count(0, 0), "c": Count(0, 0)}


def test_more_counters_than_fit_are_refused() -> None:
    """By the error that says which map is full; those given stay."""
    table = CounterTable(cast("Machine", _Machine(1)))
    table.number("a")
    with pytest.raises(MapFullError, match="counters"):
        table.number("b")
    assert table.read() == {"a": Count(0, 0)}

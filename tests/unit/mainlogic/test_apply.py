# SPDX-License-Identifier: Apache-2.0
"""The compiler's output reaches the maps in an order that packets never notice, and all of it."""

import random
import time
from typing import TYPE_CHECKING, cast

import pytest

from iovisor_ovn.abi import STRUCTS, Program
from iovisor_ovn.compiler.image import Capacity, Delta, Image, Row
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.packet import pieces
from iovisor_ovn.compiler.patterns import Pattern
from iovisor_ovn.compiler.sets import SetTable, parse_member
from iovisor_ovn.errors import MapFullError
from iovisor_ovn.mainlogic.apply import Applier, _join
from unit.mainlogic.fakes import FakeMachine

if TYPE_CHECKING:
    from iovisor_ovn.dataplane.machine import Machine


class _Parts:
    """An image and sets with their machine."""

    def __init__(self, **sizes: int) -> None:
        self.machine = FakeMachine(**sizes)
        array = self.machine.sizes
        self.image = Image(
            Capacity(array.slots, array.insns, array.shapes, array.guards, array.lists)
        )
        self.sets = SetTable()
        self.applier = Applier(cast("Machine", self.machine), self.image, self.sets)

    def define(self, name: str, *members: str) -> None:
        """Give a set members."""
        self.sets.define(name, [m for text in members if (m := parse_member(text)) is not None])

    def members(self) -> dict[int, set[int]]:
        """Set ids by IPv4 address."""
        found = {}
        for key, value in self.machine.maps["members"].items():
            words = STRUCTS["member_key"].unpack(key)["value"]
            assert isinstance(words, tuple)
            found[words[3]] = set(self._list(int.from_bytes(value, "little")))
        return found

    def _list(self, index: int) -> list[int]:
        cells = self.machine.arrays["lists"]
        length = int.from_bytes(cells[index], "little")
        return [int.from_bytes(cells[index + 1 + n], "little") for n in range(length)]


def flow(parts: _Parts, name: str, *values: int, priority: int = 1, reg: int = 1) -> None:
    """A flow that matches IPv4 destinations (word 30)."""
    patterns = [Pattern(words=((30, 0xFFFFFFFF, value),)) for value in values]
    parts.image.add_flow(name, (1, 0), priority, patterns, (Insn(1, 4, x=1, y=reg), Insn(3, 1)))


def test_order_of_writes() -> None:
    """What nothing reads yet, the switch, the fast path's end, and then the deletion."""
    parts = _Parts()
    flow(parts, "a", 1, 2, 3)
    assert parts.applier.apply()
    first = list(parts.machine.orders)
    assert first[-2:] == ["switch", "renew"]
    assert {"insns", "entries"} < set(first)
    parts.machine.orders.clear()
    parts.image.remove_flow("a")
    flow(parts, "b", 4)
    assert parts.applier.apply()
    orders = parts.machine.orders
    assert orders[orders.index("switch") + 1] == "renew"
    assert set(orders[orders.index("renew") + 1 :]) == {"gone"}
    assert "gone" not in orders[: orders.index("switch")]


def test_nothing_changed_is_nothing_written() -> None:
    """A pass without changes does not touch the machine."""
    parts = _Parts()
    flow(parts, "a", 1)
    parts.define("$s", "10.0.0.1")
    parts.applier.apply()
    parts.machine.orders.clear()
    assert not parts.applier.apply()
    assert parts.machine.orders == []


def test_members_are_no_stages() -> None:
    """A member alone is one entry of the member map and a list."""
    parts = _Parts()
    parts.define("$s", "10.0.0.1")
    parts.applier.apply()
    parts.define("$s", "10.0.0.1", "10.0.0.2")
    writes = parts.machine.maps["members"].writes
    assert not parts.applier.apply()
    assert parts.machine.maps["members"].writes == writes + 1
    assert parts.members() == {0x0A000001: {1}, 0x0A000002: {1}}


def test_lists_of_members_are_given_back() -> None:
    """A member that changes sets a thousand times takes one list."""
    parts = _Parts()
    for turn in range(100):
        parts.define("$a", *(["10.0.0.1"] if turn % 2 else []))
        parts.define("$b", *(["10.0.0.1"] if turn % 3 else []))
        parts.applier.apply()
    assert parts.image.use()["lists"] == 2
    parts.define("$a")
    parts.define("$b")
    parts.applier.apply()
    assert parts.image.use()["lists"] == 0
    assert parts.members() == {}


def test_prefixes_turn_the_second_lookup_on_and_off() -> None:
    """A dimension says whether its space has prefixes; hosts name the prefixes' sets."""
    parts = _Parts()
    place = pieces("ip4.src")
    assert place is not None
    parts.sets.dimension("ip4.src", 0, 0, place)
    parts.define("$host", "10.0.0.1")
    parts.applier.apply()
    found = [parts.machine.dimensions[2][1]]
    parts.define("$net", "10.0.0.0/8")
    parts.applier.apply()
    found.append(parts.machine.dimensions[2][1])
    ids = parts.members()[0x0A000001]
    parts.define("$net")
    parts.applier.apply()
    found.append(parts.machine.dimensions[2][1])
    assert found == [False, True, False]
    assert (ids, parts.members()[0x0A000001]) == ({1, 2}, {1})


def test_members_that_do_not_fit_are_written_when_there_is_room() -> None:
    """Nothing of a pass that failed is forgotten, and its lists are given back."""
    parts = _Parts(members=2)
    parts.define("$s", *(f"10.0.0.{n}" for n in range(1, 6)))
    for _ in range(3):
        with pytest.raises(MapFullError):
            parts.applier.apply()
    parts.define("$s", "10.0.0.1", "10.0.0.9")
    parts.applier.apply()
    assert parts.members() == {0x0A000001: {1}, 0x0A000009: {1}}
    parts.define("$s", "10.0.0.3", "10.0.0.4")
    parts.applier.apply()
    assert parts.members() == {0x0A000003: {1}, 0x0A000004: {1}}
    assert parts.image.use()["lists"] == 2


def test_entries_that_do_not_fit_are_written_when_there_is_room() -> None:
    """The stages that ran before go on; when flows went, the rest comes into force."""
    parts = _Parts(entries4=4)
    flow(parts, "a", 1, 2)
    parts.applier.apply()
    before = dict(parts.machine.rows)
    flow(parts, "b", *range(10, 20), reg=2)
    for _ in range(2):
        with pytest.raises(MapFullError):
            parts.applier.apply()
        assert parts.machine.rows == before
    parts.image.remove_flow("b")
    flow(parts, "c", 3, 4, reg=3)
    parts.applier.apply()
    assert len(parts.machine.maps["entries4"].contents) == 4
    assert parts.image.use()["entries4"] == 4


def test_rows_in_force_are_not_written_while_an_entry_map_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refused pass leaves the old pipeline; however long it lasts, none of its rows is reused."""
    parts = _Parts(entries4=4)
    flow(parts, "a", 1, 2)
    parts.applier.apply()
    in_force = {name: dict(cells) for name, cells in parts.machine.arrays.items()}
    parts.image.remove_flow("a")
    clock = time.monotonic()
    for turn in range(5):
        clock += 10
        monkeypatch.setattr("time.monotonic", lambda now=clock: now)
        flow(parts, f"b{turn}", *range(100 * turn, 100 * turn + 10), reg=turn + 2)
        with pytest.raises(MapFullError) as refused:
            parts.applier.apply()
        assert not refused.value.waits_for_force
        parts.image.remove_flow(f"b{turn}")
    for name, cells in in_force.items():
        assert {index: parts.machine.arrays[name][index] for index in cells} == cells


def test_old_makes_room_where_both_do_not_fit() -> None:
    """A full map takes a new pipeline of the same size: its datapath pauses in between."""
    parts = _Parts(entries4=4)
    flow(parts, "a", 1, 2, 3)
    parts.applier.apply()
    parts.image.remove_flow("a")
    flow(parts, "b", 11, 12, 13, 14, priority=9)
    with pytest.raises(MapFullError) as refused:
        parts.applier.apply()
    assert refused.value.waits_for_force
    parts.applier.make_room()
    assert parts.machine.paused == {1}
    parts.applier.apply()
    assert not parts.machine.paused
    assert len(parts.machine.maps["entries4"].contents) == 4


@pytest.mark.parametrize("seed", range(20))
def test_joined_changes_do_what_they_do_one_by_one(seed: int) -> None:
    """Whatever is added, changed and deleted."""
    chance = random.Random(seed)
    keys = [bytes([n]) for n in range(6)]
    one_by_one: dict[bytes, bytes] = {}
    joined, deltas = Delta(), []
    for step in range(4):
        delta = Delta()
        for key in keys:
            if (what := chance.randrange(3)) == 0:
                delta.entries[0][key] = bytes([step])
            elif what == 1:
                delta.gone[0].add(key)
        delta.rows[1, step % 2] = (Row(step, 1, True),)
        delta.insns.append((step % 2, bytes([step])))
        deltas.append(delta)
    for delta in deltas:
        one_by_one |= delta.entries[0]
        for key in delta.gone[0]:
            one_by_one.pop(key, None)
        _join(joined, delta)
    assert {k: v for k, v in joined.entries[0].items() if k not in joined.gone[0]} == one_by_one
    assert joined.rows == {(1, 0): ((2, 1, True),), (1, 1): ((3, 1, True),)}
    assert [index for index, _data in joined.insns] == [0, 1, 0, 1]


def test_program_of_a_plain_next_takes_no_room() -> None:
    """It has a number of its own."""
    parts = _Parts()
    parts.image.add_flow("a", (1, 0), 1, [Pattern()], Program.NEXT)
    parts.applier.apply()
    assert parts.image.use()["insns"] == 0

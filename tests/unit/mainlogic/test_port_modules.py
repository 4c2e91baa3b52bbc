# SPDX-License-Identifier: Apache-2.0
"""Which modules stand before which ports, when they are loaded, and what bad ones do."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from iovisor_ovn.abi import STRUCTS
from iovisor_ovn.errors import UserModuleError
from iovisor_ovn.mainlogic.port_modules import PortModules, read_settings
from unit.mainlogic.fakes import FakeInterface

if TYPE_CHECKING:
    from iovisor_ovn.dataplane.user_modules import UserModules


class FakeModules:
    """Loads whatever is not called bad; ``loads`` are the programs in order."""

    def __init__(self) -> None:
        """Begin empty."""
        self.loads: list[str] = []
        self.there: dict[str, SimpleNamespace] = {}
        self.numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """A number for each name."""
        return self.numbers.setdefault(name, len(self.numbers))

    def load(self, _name: str, path: Path, settings: Mapping[str, str]) -> SimpleNamespace:
        """Load it, or refuse."""
        self.loads.append(str(path))
        if path.name == "bad":
            raise UserModuleError(str(path), "it is bad")
        return SimpleNamespace(path=path, settings=settings)

    def exchange(self, programs: Mapping[str, SimpleNamespace]) -> None:
        """Put into force."""
        self.there.update(programs)

    def settle(self, _change: None) -> None:
        """Nothing is kept of what was before."""

    def installed(self, name: str) -> SimpleNamespace | None:
        """What is in force."""
        return self.there.get(name)

    def keep_only(self, names: frozenset[str]) -> None:
        """Forget the others."""
        self.there = {name: item for name, item in self.there.items() if name in names}
        self.numbers = {name: item for name, item in self.numbers.items() if name in names}


@pytest.fixture
def machine() -> FakeModules:
    """Give a machine's modules, none so far."""
    return FakeModules()


@pytest.fixture
def modules(machine: FakeModules) -> PortModules:
    """Give what is tested."""
    return PortModules(cast("UserModules", machine))


def interface(module: str = "", settings: str = "") -> FakeInterface:
    """An interface that asks for a module."""
    return FakeInterface(7, module=module, module_settings=settings)


def test_module_is_loaded_once(machine: FakeModules, modules: PortModules) -> None:
    """Again when its path or settings change, and not before."""
    for wanted in (interface("m", "a=1"), interface("m", "a=1"), interface("m", "a=2")):
        modules.follow({"p": wanted, "q": interface()})
    assert machine.loads == ["m", "m"]
    assert machine.there["port/p"].settings == {"a": "2"}
    assert (modules.record("p"), modules.record("q")) == (1, 0)


def test_ports_have_modules_of_their_own(machine: FakeModules, modules: PortModules) -> None:
    """Of the same program, too: what one counts is not the other's."""
    modules.follow({"p": interface("m"), "q": interface("m")})
    assert {modules.record("p"), modules.record("q")} == {1, 2}
    assert machine.there.keys() == {"port/p", "port/q"}


def test_bad_module_leaves_a_number_without_a_program(
    machine: FakeModules, modules: PortModules
) -> None:
    """So that the port's packets are dropped."""
    modules.follow({"p": interface("bad")})
    assert modules.record("p") == 1
    assert machine.there == {}
    assert modules.refused == {"p": "module bad: it is bad (its packets are dropped)"}


def test_bad_change_leaves_the_program_in_force(machine: FakeModules, modules: PortModules) -> None:
    """Until it is mended, which ends the complaint."""
    modules.follow({"p": interface("m", "a=1")})
    modules.follow({"p": interface("bad")})
    assert machine.there["port/p"].settings == {"a": "1"}
    assert modules.refused == {"p": "module bad: it is bad (m stays)"}
    modules.follow({"p": interface("n")})
    assert machine.there["port/p"].path == Path("n")
    assert modules.refused == {}


def test_refused_module_is_not_tried_over_and_over(
    machine: FakeModules, modules: PortModules
) -> None:
    """Only when somebody asks for everything to be worked out again."""
    for _ in range(3):
        modules.follow({"p": interface("bad")})
    assert machine.loads == ["bad"]
    modules.recompute()
    modules.follow({"p": interface("bad")})
    assert machine.loads == ["bad", "bad"]


def test_module_goes_when_nobody_names_it(machine: FakeModules, modules: PortModules) -> None:
    """Not before the port's record is another, which is when settle() is called."""
    modules.follow({"p": interface("m"), "q": interface("bad")})
    modules.follow({"p": interface()})
    assert machine.there.keys() == {"port/p"}
    assert (modules.record("p"), modules.refused) == (0, {})
    modules.settle()
    assert machine.there == machine.numbers == {}


def test_settings_are_read() -> None:
    """Names and values, quotes as in a shell."""
    assert read_settings("m", "") == {}
    assert read_settings("m", ' a=1  b="two words" c== ') == {"a": "1", "b": "two words", "c": "="}


@pytest.mark.parametrize("text", ["a", "a=1 b", "=1", 'a="1'])
def test_settings_that_are_none_are_refused(text: str) -> None:
    """With what is wrong."""
    with pytest.raises(UserModuleError, match="module m: settings"):
        read_settings("m", text)


def test_record_has_room_for_the_module() -> None:
    """In both directions."""
    for name in ("port", "device"):
        assert STRUCTS[name].unpack(STRUCTS[name].pack(module=5))["module"] == 5

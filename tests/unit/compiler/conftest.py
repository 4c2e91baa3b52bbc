# SPDX-License-Identifier: Apache-2.0
"""Names of a small datapath, and the reader of golden cases."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_CASES = Path(__file__).parents[2] / "cases" / "image"
_ARROW = "  =>  "
_PORTS = {"a": 1, "b": 2, "flood": 32768}
_GROUPS = {"pg": 901, "pg2": 902}


@dataclass
class FakeNames:
    """A datapath with two ports, a multicast group and two port groups; only a lives here."""

    ports: dict[str, int] = field(default_factory=lambda: dict(_PORTS))
    groups: dict[str, int] = field(default_factory=lambda: dict(_GROUPS))
    resident: frozenset[str] = frozenset({"a"})

    def port_key(self, name: str) -> int | None:
        """Key of a port, if there is one."""
        return self.ports.get(name)

    def port_group(self, name: str) -> int:
        """Set id of a port group."""
        return self.groups[name]

    def address_set(self, name: str) -> str:
        """Name in the set table, as the main logic gives it."""
        return f"${name}"

    def is_resident(self, port: str) -> bool:
        """Port a is bound here."""
        return port in self.resident


@pytest.fixture
def names() -> FakeNames:
    """Give the names of the small datapath."""
    return FakeNames()


@pytest.fixture
def check_cases() -> Callable[[str, Callable[[str], str]], None]:
    """Give the function that holds every line of a case file to what a function returns.

    ``UPDATE_CASES=1 pytest tests/unit/compiler`` rewrites the expected sides; review the
    difference as code.
    """
    return _check_cases


def _check_cases(name: str, answer: Callable[[str], str]) -> None:
    path = _CASES / name
    before = path.read_text().splitlines()
    after = [_refreshed(line, answer) for line in before]
    if os.environ.get("UPDATE_CASES"):
        path.write_text("".join(f"{line}\n" for line in after))
        return
    wrong = [f"{old}\n   now: {new}" for old, new in zip(before, after, strict=True) if old != new]
    assert not wrong, "\n".join(wrong)
    assert sum(_ARROW in line for line in before) > 10, "the case file lost its cases"


def _refreshed(line: str, answer: Callable[[str], str]) -> str:
    if line.startswith("#") or _ARROW not in line:
        return line
    given = line.split(_ARROW, maxsplit=1)[0]
    return f"{given}{_ARROW}{answer(given)}"

# SPDX-License-Identifier: Apache-2.0
"""The rooms and who may import whom, as data; the page docs/architecture.md tells why."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "iovisor_ovn"

#: Room: rooms that it may import besides itself.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    # Python's collector, which nobody sets but this room.
    "cycles": frozenset(),
    # How any of our programs asks another one.
    "control": frozenset({"errors"}),
    "abi": frozenset({"errors"}),
    "language": frozenset({"errors"}),
    "ovsdb": frozenset({"cycles", "errors"}),
    "dataplane": frozenset({"abi", "errors"}),
    "compiler": frozenset({"abi", "errors", "language"}),
    "vswitch": frozenset({"errors", "ovsdb"}),
    "services": frozenset({"abi", "errors"}),
    "modules": frozenset({"config", "errors", "language"}),
    "mainlogic": frozenset(
        {
            "abi",
            "compiler",
            "config",
            "dataplane",
            "errors",
            "language",
            "ovsdb",
            "services",
            "vswitch",
        }
    ),
    "config": frozenset({"errors"}),
    "standalone": frozenset(
        {
            "abi",
            "config",
            "control",
            "cycles",
            "dataplane",
            "errors",
            "language",
            "mainlogic",
            "modules",
            "services",
            "vswitch",
        }
    ),
    "agent": frozenset(
        {"config", "cycles", "dataplane", "errors", "mainlogic", "ovsdb", "vswitch", "agent"}
    ),
    # For users' own tests.
    "sdk": frozenset({"abi", "dataplane", "errors"}),
    # Prints only: what it shows comes over the agent's control socket.
    "cli": frozenset({"agent", "config", "control", "errors", "standalone"}),
    # Starts programs; knows the agent by its command line alone.
    "demo": frozenset({"errors"}),
}
#: Rooms whose code must not touch the outside: no sockets, files, processes, devices.
PURE = frozenset({"abi", "compiler", "errors", "language", "modules"})
# Not `socket`: its inet_pton and inet_ntop are how a language reads and prints IPv6.
_OUTSIDE = frozenset({"ctypes", "fcntl", "os", "ovs", "pyroute2", "subprocess"})
_FILES = sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _imports(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            assert node.module is not None
            if node.module == "iovisor_ovn":
                yield from ((node.lineno, f"iovisor_ovn.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def forbidden(room: str, source: str) -> list[str]:
    """Return ``line N: why`` for every import that the rules forbid."""
    found = []
    for line, name in _imports(source):
        parts = name.split(".")
        if parts[0] == "iovisor_ovn":
            target = parts[1] if len(parts) > 1 else ""
            if target not in MAY_IMPORT[room] | {room, "__version__"}:
                found.append(f"line {line}: {room} may not import {target}")
        elif room in PURE and parts[0] in _OUTSIDE:
            found.append(f"line {line}: {room} is pure and may not import {parts[0]}")
    return found


@pytest.mark.parametrize("path", _FILES, ids=[str(path.relative_to(PACKAGE)) for path in _FILES])
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    """Imports point one way."""
    if path == PACKAGE / "__init__.py":
        assert not list(_imports(path.read_text()))
        return
    assert _room(path) in MAY_IMPORT, "a new room: say in MAY_IMPORT what it may import"
    assert forbidden(_room(path), path.read_text()) == []


def test_the_rule_sees_an_import_inside_a_function() -> None:
    """A hidden import counts as any other."""
    source = "def late():\n    from iovisor_ovn.dataplane import maps\n"
    assert forbidden("language", source) == ["line 2: language may not import dataplane"]


def test_the_rule_sees_the_outside() -> None:
    """A pure room starts no process."""
    assert forbidden("compiler", "import subprocess\n") == [
        "line 1: compiler is pure and may not import subprocess"
    ]


@pytest.mark.parametrize("name", ["utils", "common", "helpers"])
def test_no_room_without_a_meaning(name: str) -> None:
    """A room is named for what it promises."""
    assert not list(PACKAGE.rglob(name)) + list(PACKAGE.rglob(f"{name}.py"))

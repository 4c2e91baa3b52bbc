# SPDX-License-Identifier: Apache-2.0
"""The golden cases in ``tests/cases/topology``.

A line is ``input  =>  expected``; lines that begin with ``#`` are comments. What an input is stands
in the first line of its file; in most it is a part of a chain, and the rest is put around it here.
An outcome is the value read, without what has its default, or what is wrong. To bring the expected
sides up to date run ``UPDATE_CASES=1 pytest tests/unit/config/test_cases.py`` and review the
difference as code.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from iovisor_ovn.config.module_types import MODULE_TYPES
from iovisor_ovn.config.topology import Config, Router, Topology
from iovisor_ovn.config.topology_file import read_topology
from iovisor_ovn.errors import TopologyError

CASES = Path(__file__).parents[2] / "cases" / "topology"
ARROW = "  =>  "
_TWO_DEVICES = "external_interfaces: [{module: m, iface: v1}, {module: m, iface: v2}]"
_ROUTER = """
{interfaces: [{name: v1, ip: [10.0.1.1/24, "fd00:1::1/64"], mac: 02:00:00:00:00:01},
              {name: v2, mac: 02:00:00:00:00:02}], %s}
"""
_INTERFACES = """
{interfaces: [%s, {name: v2, ip: [10.0.9.1/24, "fd00:9::1/64"], mac: 02:00:00:00:00:02}]}
"""
_DHCP = (
    "server_ip: 10.0.0.1/24, server_mac: 02:00:00:00:00:01, "
    "addr_low: 10.0.0.10, addr_high: 10.0.0.20"
)
_MODULES = {
    "s": "type: switch",
    "t": "type: switch",
    "d": f"type: dhcp, config: {{{_DHCP}}}",
    "n": "type: nat, config: {public_ip: 10.0.0.1}",
    "end": "type: null, config: {pass: true}",
}


def brief(value: object) -> str:
    """Return a value in one line, without what has its default."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(brief, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {brief(item)}' for key, item in value.items())}}}"
    if isinstance(value, Path):
        return value.name
    if not dataclasses.is_dataclass(value):
        return repr(value) if isinstance(value, str | bool | int) else str(value)
    parts = [
        f"{field.name}={brief(item)}"
        for field in dataclasses.fields(value)
        if field.compare and (item := getattr(value, field.name)) != _default(field)
    ]
    return f"{type(value).__name__}({', '.join(parts)})"


def _default(field: "dataclasses.Field[object]") -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def read(text: str, directory: Path = Path()) -> Topology:
    """Read a whole text."""
    return read_topology(text, "FILE", directory)


def settings(kind: str, config: str, directory: Path = Path()) -> Config:
    """Return what the config of a module of type ``kind`` with the ports v1 and v2 says."""
    text = f"modules: [{{name: m, type: {kind}, config: {config}}}]\n{_TWO_DEVICES}"
    return read(text, directory).modules[0].config


def part(name: str, config: str) -> str:
    """Return a part of the router with this config."""
    router = settings("router", config)
    assert isinstance(router, Router)
    return brief(getattr(router, name))


def wiring(text: str) -> str:
    """Return ports, links and devices of a chain of the modules that are mentioned."""
    words = set(
        text.replace('"', " ").replace(":", " ").replace(",", " ").replace("}", " ").split()
    )
    modules = [f"{{name: {name}, {rest}}}" for name, rest in _MODULES.items() if name in words]
    topology = read(f"{text[:-1]}, modules: [{', '.join(modules)}]}}")
    parts = [f"{module.name}({', '.join(module.ports)})" for module in topology.modules]
    parts += [
        " - ".join(f"{end.module}:{end.port}" for end in link.ends) for link in topology.links
    ]
    parts += [
        f"{end.module}:{end.port} - {end.device}{' and host' if end.host else ''}"
        for end in topology.interfaces
    ]
    return "; ".join(parts)


def whole(text: str) -> str:
    """Return the modules of a text with its line ends written out."""
    return brief(read(text.replace("\\n", "\n").replace("\\t", "\t")).modules)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with programs."""
    directory = tmp_path_factory.mktemp("programs")
    for name in ("program.c", "program.o", "program.py"):
        (directory / name).touch()
    return directory


def config_of(kind: str) -> Callable[[str, Path], str]:
    """Return the reader of a type's config."""
    return lambda text, directory: brief(settings(kind, text.replace("BASE", _DHCP), directory))


READERS: dict[str, Callable[[str, Path], str]] = {
    "yaml": lambda text, _: whole(text),
    "wiring": lambda text, _: wiring(text),
    "router_interface": lambda text, _: part("interfaces", _INTERFACES % text),
    "router_route": lambda text, _: part("static_routes", _ROUTER % f"static_routes: {text}"),
    "router_arp": lambda text, _: part("arp_entries", _ROUTER % f"arp_entries: {text}"),
    **{kind: config_of(kind) for kind in MODULE_TYPES if kind not in {"router", "null_node"}},
}


def outcome(name: str, text: str, directory: Path) -> str:
    """Return what reading gives, or what is wrong."""
    try:
        return READERS[name](text, directory)
    except TopologyError as error:
        problems = [
            f"{problem.key.removeprefix('modules[0].config.')}: {problem.message}"
            if name != "yaml" or not problem.line
            else f"{problem.line}:{problem.column}: {problem.key}: {problem.message}"
            for problem in error.problems
        ]
        return "wrong: " + " | ".join(problems).replace(f"{directory}/", "")


def refreshed(name: str, directory: Path) -> str:
    """Return the case file with its expected sides computed anew."""
    lines: list[str] = []
    for line in (CASES / f"{name}.txt").read_text().splitlines():
        if line.startswith("# "):
            lines.append(line)
        else:
            text = line.split(ARROW)[0]
            lines.append(f"{text}{ARROW}{outcome(name, text, directory)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", READERS)
def test_cases(name: str, programs: Path) -> None:
    """Each input of the file reads as the file says."""
    path = CASES / f"{name}.txt"
    if os.environ.get("UPDATE_CASES"):
        path.write_text(refreshed(name, programs))
    assert path.read_text().splitlines() == refreshed(name, programs).splitlines()

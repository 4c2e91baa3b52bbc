# SPDX-License-Identifier: Apache-2.0
"""A service chain from its YAML file, checked whole.

The format is that of the archived iovisor-ovn project, and more; docs/standalone.md is its
reference. Everything that is wrong is found in one go and told with line, column and key::

    chain.yaml:7:9: modules[1].config.interfaces[0].netmsk: is no key here; possible are name,
        ip, ips, netmask, mac, mtu (did you mean netmask?)

The way of a text: :mod:`.yaml_tree` reads it into nodes with places, :mod:`.wiring` gives ports to
modules, :mod:`.module_types` has the settings of each type, :mod:`.loops` looks at the whole.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from iovisor_ovn.config.loops import loops
from iovisor_ovn.config.module_types import MODULE_TYPES
from iovisor_ovn.config.scalars import Name, Text, wrong
from iovisor_ovn.config.section import Section, shown
from iovisor_ovn.config.shape import ModuleShape, Ports, Shape, validated
from iovisor_ovn.config.topology import Config, Module, Topology
from iovisor_ovn.config.wiring import Wiring
from iovisor_ovn.config.yaml_tree import read_tree
from iovisor_ovn.errors import Problem, TopologyError

__all__ = ["read_topology"]


def _not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise wrong("is empty")
    return value


class _FileShape(Shape):
    modules: Annotated[tuple[Any, ...], AfterValidator(_not_empty)]
    links: tuple[Any, ...] = ()
    external_interfaces: tuple[Any, ...] = ()


class _ModuleShape(Shape):
    name: Name
    type: Text
    config: dict[str, Any] = Field(default_factory=dict)


def read_topology(text: str, source: str, directory: Path) -> Topology:
    """Return the chain that ``text`` describes.

    ``source`` is what errors call the file; paths in it are relative to ``directory``. Raises
    TopologyError with all that is wrong.
    """
    problems: list[Problem] = []
    node = read_tree(text, problems)
    if node is None:
        if not problems:
            problems.append(Problem("is empty; it must have a list of modules"))
        raise TopologyError(source, problems)
    topology = _topology(Section(node, (), directory, problems), source)
    if problems:
        problems.sort(key=lambda problem: (problem.line, problem.column))
        raise TopologyError(source, problems)
    return topology


def _topology(file: Section, source: str) -> Topology:
    """Return the chain, without those parts that are wrong, which is told to ``file``."""
    validated(_FileShape, file)
    are_ports_known = not file.problems
    found = _modules(file)
    wiring = Wiring({here.text("name"): here.text("type") for here in file.items("modules")})
    for here in file.items("links"):
        wiring.read_link(here)
    for here in file.items("external_interfaces"):
        wiring.read_interface(here)
    are_ports_known = are_ports_known and not wiring.has_faults
    modules = []
    for here, shape in found:
        ports = tuple(wiring.ports.get(shape.name, ())) if are_ports_known else None
        config = _config(here, shape, ports)
        if config is not None:
            modules.append(Module(shape.name, config, ports or (), here.place()))
    for loop in loops(modules, wiring.links):
        way = " - ".join((*loop.modules, loop.modules[0]))
        file.problem(f"closes a loop in which frames would circle: {way}", "links", loop.link)
    return Topology(tuple(modules), tuple(wiring.links), tuple(wiring.interfaces), source)


def _modules(file: Section) -> list[tuple[Section, _ModuleShape]]:
    """Return the modules as they are written, without those that have no name or type."""
    found = []
    names: dict[object, int] = {}
    for here in file.items("modules"):
        shape = validated(_ModuleShape, here)
        if shape is not None and here.once(names, shape.name, "name"):
            found.append((here, shape))
    return found


def _config(here: Section, shape: _ModuleShape, ports: Ports) -> Config | None:
    kind = MODULE_TYPES.get(shape.type)
    if kind is None:
        message = f"{shown(shape.type)} is no type of module; there are {', '.join(MODULE_TYPES)}"
        here.problem(message, "type", near=MODULE_TYPES, word=shape.type)
        return None
    if ports is not None:
        _check_count(here, shape, kind, ports)
    section = here.at("config") if shape.config else here.empty("config")
    settings = validated(kind, section)
    return None if settings is None else settings.value(section, ports)


def _check_count(
    here: Section, shape: _ModuleShape, kind: type[ModuleShape], ports: tuple[str, ...]
) -> None:
    count, most = len(ports), kind.most_ports
    if not count:
        message = "is connected to nothing: no link and no external interface has it"
    elif count < kind.fewest_ports or (most is not None and count > most):
        message = f"has {count} port{'s' if count > 1 else ''} ({', '.join(ports)}); "
        message += f"type {shape.type} has {kind.fewest_ports}"
    else:
        return
    here.problem(f"{shape.name} {message}", "name")

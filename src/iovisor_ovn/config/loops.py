# SPDX-License-Identifier: Apache-2.0
"""Loops in which a frame would circle for ever.

What forwards by MAC address, or passes frames on, has no TTL: a broadcast that comes back is sent
again. Routers end such a loop, and so does what answers or drops.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from iovisor_ovn.config.topology import Dhcp, Link, Module, Null, Router

__all__ = ["Loop", "loops"]


@dataclass(frozen=True, slots=True)
class Loop:
    """``link`` closes a loop through ``modules``: from the first on to the last, and back."""

    link: int
    modules: tuple[str, ...]


def _passes_frames_on(module: Module) -> bool:
    match module.config:
        case Router() | Dhcp():
            return False
        case Null(forwards):
            return forwards
        case _:
            return True


def loops(modules: Iterable[Module], links: Sequence[Link]) -> Iterator[Loop]:
    """Yield a loop for each link that closes one, links counted from 0 in the order of the file.

    Linear in the links, and in the modules for each loop.
    """
    neighbours = {module.name: list[str]() for module in modules if _passes_frames_on(module)}
    roots = {name: name for name in neighbours}
    for number, link in enumerate(links):
        one, other = (end.module for end in link.ends)
        if one not in neighbours or other not in neighbours:
            continue
        root, other_root = _root(roots, one), _root(roots, other)
        if root == other_root:
            yield Loop(number, _path(neighbours, one, other))
            continue
        roots[root] = other_root
        neighbours[one].append(other)
        neighbours[other].append(one)


def _root(roots: dict[str, str], name: str) -> str:
    """Return what all connected modules have in common, and shorten the way to it."""
    while roots[name] != name:
        roots[name] = roots[roots[name]]
        name = roots[name]
    return name


def _path(neighbours: dict[str, list[str]], start: str, end: str) -> tuple[str, ...]:
    """Return the modules from one to the other; there is one way, since there is no loop yet."""
    came_from = {start: start}
    waiting = [start]
    while end not in came_from:
        here = waiting.pop()
        for there in neighbours[here]:
            if there not in came_from:
                came_from[there] = here
                waiting.append(there)
    path = [end]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return tuple(reversed(path))

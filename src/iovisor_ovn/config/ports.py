# SPDX-License-Identifier: Apache-2.0
"""Which of a module's ports is meant."""

from iovisor_ovn.config.section import Key, Section
from iovisor_ovn.config.shape import Ports

__all__ = ["check_port", "two_sides"]


def check_port(here: Section, ports: Ports, name: str, *keys: Key) -> bool:
    """Tell whether ``name``, which stands at ``keys``, is a port; say so if it is not."""
    if ports is None or name in ports:
        return True
    message = f"the module has no port {name!r}; it has {', '.join(ports) or 'none'}"
    here.problem(message, *keys, near=ports, word=name)
    return False


def two_sides(
    here: Section, ports: Ports, first: tuple[str, str | None], second: tuple[str, str | None]
) -> tuple[str, str] | None:
    """Return which port is on which side; ``None`` if that cannot be told.

    ``first`` and ``second`` are a key and the port that the file names there. Sides without a
    name are taken by the ports in the order of the file.
    """
    if ports is None or len(ports) != 2:
        return None  # has been said
    sides = (first, second)
    named = [check_port(here, ports, port, key) for key, port in sides if port is not None]
    if not all(named):
        return None
    (_, one), (key, other) = sides
    if one is not None and one == other:
        here.problem(f"{one!r} is {first[0]} already", key)
        return None
    if one is None:
        one = ports[0] if other is None or other == ports[1] else ports[1]
    return one, ports[1] if one == ports[0] else ports[0]

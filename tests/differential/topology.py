# SPDX-License-Identifier: Apache-2.0
"""A logical network as a value: independent elements, each some ovn-nbctl commands.

An element names those it needs, so any of them can be left out together with what needs it.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

__all__ = ["Element", "Topology"]


@dataclass(frozen=True, slots=True)
class Element:
    """One thing of the Northbound database.

    ``feature`` is what the run's report counts it under; ``lines`` are ovn-nbctl commands.
    """

    name: str
    feature: str
    lines: tuple[str, ...]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """Elements in an order in which they can be made."""

    elements: tuple[Element, ...] = ()

    def lines(self) -> str:
        """Return the commands that make it all, one a line."""
        return "\n".join(line for element in self.elements for line in element.lines)

    def without(self, names: Collection[str]) -> "Topology":
        """Return the rest when ``names`` are left out, and whatever needs them."""
        gone = set(names)
        kept = []
        for element in self.elements:
            if element.name in gone or not gone.isdisjoint(element.needs):
                gone.add(element.name)
            else:
                kept.append(element)
        return Topology(tuple(kept))

    def features(self) -> Counter[str]:
        """Count the elements by feature."""
        return Counter(element.feature for element in self.elements)

    def names(self) -> Iterable[str]:
        """Return the elements' names."""
        return [element.name for element in self.elements]

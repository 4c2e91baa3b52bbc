# SPDX-License-Identifier: Apache-2.0
"""``type: firewall``."""

from typing import ClassVar, Literal

from iovisor_ovn.config.ports import two_sides
from iovisor_ovn.config.scalars import Text
from iovisor_ovn.config.section import Section
from iovisor_ovn.config.shape import ModuleShape, Ports, Shape
from iovisor_ovn.config.topology import Firewall, FirewallAction, FirewallRule

__all__ = ["FirewallShape"]


class _RuleShape(Shape):
    match: Text
    action: FirewallAction
    name: Text = ""


class FirewallShape(ModuleShape):
    """Ordered rules. Matches are text here: who runs a chain knows the language."""

    fewest_ports: ClassVar = 2
    most_ports: ClassVar = 2

    rules: tuple[_RuleShape, ...] = ()
    default: Literal["allow", "drop", "reject"] = "drop"
    inside: Text | None = None
    outside: Text | None = None

    def value(self, here: Section, ports: Ports) -> Firewall | None:
        """Return the settings."""
        sides = two_sides(here, ports, ("inside", self.inside), ("outside", self.outside))
        rules = tuple(
            FirewallRule(rule.match, rule.action, rule.name, here.place("rules", index, "match"))
            for index, rule in enumerate(self.rules)
        )
        return Firewall(rules, self.default, *sides) if sides else None

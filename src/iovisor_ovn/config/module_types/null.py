# SPDX-License-Identifier: Apache-2.0
"""``type: null_node`` and ``type: null``."""

from pydantic import Field

from iovisor_ovn.config.scalars import Bool
from iovisor_ovn.config.section import Section
from iovisor_ovn.config.shape import ModuleShape, Ports
from iovisor_ovn.config.topology import Null

__all__ = ["NullShape"]


class NullShape(ModuleShape):
    """Drops, or passes between two ports."""

    pass_: Bool = Field(default=False, alias="pass")

    def value(self, here: Section, ports: Ports) -> Null:
        """Return the settings."""
        if self.pass_ and ports is not None and len(ports) > 2:
            message = f"is for one or two ports; there are {', '.join(ports)}"
            here.problem(message, "pass", is_key=True)
        return Null(self.pass_)

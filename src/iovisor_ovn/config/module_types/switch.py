# SPDX-License-Identifier: Apache-2.0
"""``type: switch``."""

from typing import Annotated

from iovisor_ovn.config.ports import check_port
from iovisor_ovn.config.scalars import Mac, Text, number
from iovisor_ovn.config.section import Section
from iovisor_ovn.config.shape import ModuleShape, Ports, Shape
from iovisor_ovn.config.topology import ForwardingEntry, Switch

__all__ = ["SwitchShape"]

_YEAR_S = 86400 * 365


class _EntryShape(Shape):
    port: Text
    mac: Mac


class SwitchShape(ModuleShape):
    """A learning switch."""

    forwarding_table: tuple[_EntryShape, ...] = ()
    mac_age: Annotated[int, number(0, _YEAR_S, "number of seconds")] = 300
    max_macs: Annotated[int, number(1, 1 << 20, "number of addresses")] = 8192

    def value(self, here: Section, ports: Ports) -> Switch:
        """Return the settings."""
        seen: dict[object, int] = {}
        for index, entry in enumerate(self.forwarding_table):
            check_port(here, ports, entry.port, "forwarding_table", index, "port")
            here.once(seen, entry.mac, "forwarding_table", index, "mac")
        return Switch(
            tuple(ForwardingEntry(entry.port, entry.mac) for entry in self.forwarding_table),
            self.mac_age,
            self.max_macs,
        )

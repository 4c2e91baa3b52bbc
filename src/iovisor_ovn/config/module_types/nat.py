# SPDX-License-Identifier: Apache-2.0
"""``type: nat`` and ``type: onetoonenat``: translation between an inside and an outside port."""

from typing import ClassVar

from iovisor_ovn.config.ports import two_sides
from iovisor_ovn.config.scalars import Ipv4, Mac, Text
from iovisor_ovn.config.section import Section
from iovisor_ovn.config.shape import ModuleShape, Ports, Shape
from iovisor_ovn.config.topology import Nat, NatEntry, OneToOneNat

__all__ = ["NatShape", "OneToOneNatShape"]


class _TwoSidedShape(ModuleShape):
    fewest_ports: ClassVar = 2
    most_ports: ClassVar = 2

    inside: Text | None = None
    outside: Text | None = None

    def sides(self, here: Section, ports: Ports) -> tuple[str, str] | None:
        """Return the inside and the outside port."""
        return two_sides(here, ports, ("inside", self.inside), ("outside", self.outside))


class NatShape(_TwoSidedShape):
    """Port translation. ``public_port_mac`` is the archived project's and has no effect there."""

    public_ip: Ipv4 | None = None
    public_port_ip: Ipv4 | None = None
    public_port_mac: Mac | None = None

    def value(self, here: Section, ports: Ports) -> Nat | None:
        """Return the settings."""
        sides = self.sides(here, ports)
        public = self.public_ip or self.public_port_ip
        if public is None:
            here.problem("is missing", "public_ip")
        elif self.public_port_ip not in (None, public):
            message = f"differs from public_ip, which is {public}; one of them is enough"
            here.problem(message, "public_port_ip")
        return Nat(public, *sides) if public and sides else None


class _EntryShape(Shape):
    internal_ip: Ipv4
    external_ip: Ipv4


class OneToOneNatShape(_TwoSidedShape):
    """Addresses one to one."""

    nat_entries: tuple[_EntryShape, ...] = ()

    def value(self, here: Section, ports: Ports) -> OneToOneNat | None:
        """Return the settings."""
        internal: dict[object, int] = {}
        external: dict[object, int] = {}
        for index, entry in enumerate(self.nat_entries):
            here.once(internal, entry.internal_ip, "nat_entries", index, "internal_ip")
            here.once(external, entry.external_ip, "nat_entries", index, "external_ip")
        sides = self.sides(here, ports)
        entries = tuple(
            NatEntry(entry.internal_ip, entry.external_ip) for entry in self.nat_entries
        )
        return OneToOneNat(entries, *sides) if sides else None

# SPDX-License-Identifier: Apache-2.0
"""The small datapath that random flows run on: its ports, groups and sets."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from iovisor_ovn.abi import PortKind
from iovisor_ovn.compiler.interpreter import Port
from iovisor_ovn.compiler.sets import SetTable, parse_member, space_width
from iovisor_ovn.language import Context, SymbolTable, Term

__all__ = ["GROUPS", "MEMBERS", "PORTS", "RESIDENT", "SETS", "SYMBOLS", "Names", "context", "kinds"]

SYMBOLS = SymbolTable.default()

#: Ports 1 to 4 have devices, 5 has none, flood is all with a device, and no name leads to 6.
PORTS = {"p1": 1, "p2": 2, "p3": 3, "p4": 4, "nowhere": 5, "flood": 32768}
MEMBERS = (1, 2, 3, 4)
GROUPS = {"g1": ("p1", "p2"), "g2": ("p2", "p3", "nowhere"), "g3": ()}
RESIDENT = frozenset({"p1", "p2"})
#: Names end in what the members are: IPv4, IPv6 or Ethernet addresses.
SETS: Mapping[str, tuple[str, ...]] = {
    "a4": ("10.0.0.1", "10.0.0.4/30", "10.0.1.0/24"),
    "b4": ("10.0.0.0/29", "10.0.0.6"),
    "none4": (),
    "a6": ("fd00::1", "fd00::4/126"),
    "b6": ("fd00::/64", "ff02::1"),
    "ae": ("02:00:00:00:00:01", "02:00:00:00:00:03"),
}


@dataclass(frozen=True, slots=True)
class Names:
    """What names mean here."""

    sets: SetTable

    def port_key(self, name: str) -> int | None:
        """Key of a port or of the multicast group."""
        return PORTS.get(name)

    def port_group(self, name: str) -> int:
        """Id of a port group in the set table."""
        return self.sets.set_id(f"@{name}")

    def address_set(self, name: str) -> str:
        """Name in the set table."""
        return f"${name}"

    def is_resident(self, port: str) -> bool:
        """Two ports live here."""
        return port in RESIDENT


def kinds() -> dict[int, Port]:
    """What port keys lead to."""
    found = {key: Port(PortKind.VIF) for key in MEMBERS}
    found[PORTS["nowhere"]] = Port(PortKind.NONE)
    found[PORTS["flood"]] = Port(PortKind.MULTICAST, MEMBERS)
    return found


def context(sets: Mapping[str, Collection[str]]) -> Context:
    """Rows for direct evaluation, with these members of the address sets."""
    terms = {name: [_term(text) for text in members] for name, members in sets.items()}
    return Context(terms, GROUPS, RESIDENT, SYMBOLS)


def _term(text: str) -> Term:
    member = parse_member(text)
    assert member is not None, text
    width = space_width(member.space)
    return Term(member.value, ((1 << member.length) - 1) << width - member.length)

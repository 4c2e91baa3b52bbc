# SPDX-License-Identifier: Apache-2.0
"""The demo's cloud: what the Northbound database gets, and who may reach whom.

Two networks joined by a router, two machines on each.  Security groups are written as
Neutron's ML2/OVN driver writes them: every port in ``neutron_pg_drop``, which drops both ways
at priority 1001; every group a port group whose rules allow at 1002; a group as the source
of a rule is the address set that ovn-northd keeps for that port group (``$pg_web_ip4``).
"""

from dataclasses import dataclass
from itertools import permutations

__all__ = ["MACHINES", "SERVICES", "Machine", "Rule", "Service", "expected", "northbound"]


@dataclass(frozen=True, slots=True)
class Service:
    """Something to reach: a kind of ping or a TCP port, over one IP version."""

    name: str
    version: int
    port: int | None = None

    @property
    def match(self) -> str:
        """OVN's expression for it."""
        family = f"ip{self.version}"
        if self.port is None:
            return f"{family} && icmp{self.version}"
        return f"{family} && tcp && tcp.dst == {self.port}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a security group lets in: a service by name, from a group, an address set or all."""

    service: str
    group: str | None = None
    address_set: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """One virtual machine; its addresses follow from the network's and machine's numbers."""

    name: str
    network: str
    network_number: int
    number: int
    group: str

    @property
    def mac(self) -> str:
        """The Ethernet address."""
        return f"02:00:00:00:{self.network_number:02x}:{self.number:02x}"

    @property
    def ip4(self) -> str:
        """The IPv4 address."""
        return f"10.0.{self.network_number}.{self.number}"

    @property
    def ip6(self) -> str:
        """The IPv6 address."""
        return f"fd00:{self.network_number}::{self.number}"

    def address(self, version: int) -> str:
        """Return the address of one IP version."""
        return self.ip4 if version == 4 else self.ip6


SERVICES = (
    Service("ping", 4),
    Service("ping", 6),
    Service("http", 4, 80),
    Service("http", 6, 80),
    Service("ssh", 4, 22),
    Service("sql", 4, 5432),
    Service("sql", 6, 5432),
)
MACHINES = (
    Machine("web1", "front", 1, 11, "web"),
    Machine("web2", "front", 1, 12, "web"),
    Machine("db1", "back", 2, 11, "db"),
    Machine("ops1", "back", 2, 12, "ops"),
)
GROUPS = {
    "web": (Rule("ping"), Rule("http"), Rule("ssh", address_set="bastions")),
    "db": (Rule("ping", group="ops"), Rule("sql", group="web")),
    "ops": (),
}
#: Plain address sets of the Northbound database: IPv4 addresses by name.
ADDRESS_SETS = {"bastions": ("10.0.2.12",)}


def _lets_in(rule: Rule, source: Machine, service: Service) -> bool:
    if rule.service != service.name:
        return False
    if rule.group is not None:
        return source.group == rule.group
    if rule.address_set is not None:
        return service.version == 4 and source.ip4 in ADDRESS_SETS[rule.address_set]
    return True


def expected() -> dict[tuple[str, str, Service], bool]:
    """Return for (from, to, service) whether the rules let it through; every pair has every one."""
    return {
        (source.name, target.name, service): any(
            _lets_in(rule, source, service) for rule in GROUPS[target.group]
        )
        for source, target in permutations(MACHINES, 2)
        for service in SERVICES
    }


def northbound() -> str:
    """Return the ovn-nbctl commands, one a line, that build it all."""
    return "\n".join([*_networks(), *_router(), *_ports(), *_groups()])


def _networks() -> list[str]:
    names = sorted({machine.network for machine in MACHINES})
    return [f"ls-add {name}" for name in names]


def _router() -> list[str]:
    lines = ["lr-add router"]
    for network, number in sorted({(m.network, m.network_number) for m in MACHINES}):
        port, mac = f"router-{network}", f"02:00:00:00:{number:02x}:01"
        lines += [
            f"lrp-add router {port} {mac} 10.0.{number}.1/24 fd00:{number}::1/64",
            f"lsp-add {network} {network}-router",
            f"lsp-set-type {network}-router router",
            f"lsp-set-addresses {network}-router router",
            f"lsp-set-options {network}-router router-port={port}",
        ]
    return lines


def _ports() -> list[str]:
    lines = []
    for machine in MACHINES:
        addresses = f'"{machine.mac} {machine.ip4} {machine.ip6}"'
        lines += [
            f"lsp-add {machine.network} {machine.name}",
            f"lsp-set-addresses {machine.name} {addresses}",
            f"lsp-set-port-security {machine.name} {addresses}",
        ]
    return lines


def _groups() -> list[str]:
    everybody = " ".join(machine.name for machine in MACHINES)
    lines = [
        f"pg-add neutron_pg_drop {everybody}",
        'acl-add neutron_pg_drop from-lport 1001 "inport == @neutron_pg_drop && ip" drop',
        'acl-add neutron_pg_drop to-lport 1001 "outport == @neutron_pg_drop && ip" drop',
    ]
    for name, addresses in ADDRESS_SETS.items():
        words = " ".join(f'addresses="{address}"' for address in addresses)
        lines.append(f"create Address_Set name={name} {words}")
    for name, rules in GROUPS.items():
        members = " ".join(m.name for m in MACHINES if m.group == name)
        lines.append(f"pg-add pg_{name} {members}")
        for version in (4, 6):
            way_out = f"inport == @pg_{name} && ip{version}"
            lines.append(f'acl-add pg_{name} from-lport 1002 "{way_out}" allow-related')
        lines += [
            f'acl-add pg_{name} to-lport 1002 "{match}" allow-related'
            for rule in rules
            for match in _matches(name, rule)
        ]
    return lines


def _matches(group: str, rule: Rule) -> list[str]:
    matches = []
    for service in SERVICES:
        if service.name != rule.service:
            continue
        version = service.version
        source = ""
        if rule.group is not None:
            source = f" && ip{version}.src == $pg_{rule.group}_ip{version}"
        elif rule.address_set is not None:
            source = f" && ip{version}.src == ${rule.address_set}"
        matches.append(f"outport == @pg_{group} && {service.match}{source}")
    return matches

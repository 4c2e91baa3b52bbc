# SPDX-License-Identifier: Apache-2.0
"""Random matches in OVN's language for access lists and router policies."""

import random

from differential.plan import Plan

__all__ = ["Matches"]


class Matches:
    """Matches over a plan's addresses, sets and groups.

    Use one for each match: inequalities and ranges are drawn once in it, since ovn-controller
    multiplies them out (four unequal IPv6 addresses would be 128 to the fourth flows).
    """

    def __init__(self, chance: random.Random, plan: Plan) -> None:
        """Draw from ``chance``."""
        self._chance = chance
        self._plan = plan
        self._is_wide = False

    def access(self, direction: str, group: str | None) -> str:
        """Return a match for an ACL; one of a port group names the group."""
        port = "inport" if direction == "from-lport" else "outport"
        term = self._expression(3)
        if not self._chance.randrange(12):
            # Alone: together with a field of TCP, OVS refuses the flow and ovn-controller, which
            # cannot go on without it, installs nothing more.
            term = self._chance.choice(("ip.is_frag", "ip.first_frag", "ip.later_frag"))
        if group is not None:
            return f"{port} == @{group} && ({term})"
        if not self._chance.randrange(3):
            hosts = [host.port for host in self._plan.hosts]
            chosen = self._chance.sample(hosts, self._chance.randint(1, min(3, len(hosts))))
            names = ", ".join(f'\\"{name}\\"' for name in chosen)
            return f"{port} == {{{names}}} && ({term})"
        return term

    def routing(self) -> str:
        """Return a match for a router policy: of one address family."""
        version = self._chance.choice((4, 6))
        terms = [self._address(version)]
        if self._chance.randrange(2):
            terms.append(self._l4())
        return " && ".join(f"({term})" for term in terms)

    def _expression(self, depth: int) -> str:
        roll = self._chance.randrange(6)
        if depth == 0 or roll < 3:
            return self._term()
        left, right = self._expression(depth - 1), self._expression(depth - 1)
        if roll == 3:
            return f"({left}) || ({right})"
        if roll == 4 and self._may_be_wide():
            return f"!({self._negated_term()})"
        return f"({left}) && ({right})"

    def _term(self) -> str:
        makers = (
            self._family, self._any_address, self._any_address, self._l4, self._l4, self._ethernet,
            self._ip_field, self._icmp, self._neighbour,
        )  # fmt: skip
        return self._chance.choice(makers)()

    def _may_be_wide(self) -> bool:
        was_wide, self._is_wide = self._is_wide, True
        return not was_wide

    def _negated_term(self) -> str:
        version = self._chance.choice((4, 6))
        host = self._chance.choice(self._plan.hosts)
        return self._chance.choice(
            (
                f"ip{version}.{self._chance.choice(('src', 'dst'))} == {self._one(version)}",
                f"eth.dst == {host.mac}",
                "tcp.dst == 80",
                "eth.bcast",
                "icmp4.type == 8",
                "icmp6.type == 128",
            )
        )

    def _one(self, version: int) -> str:
        """Return an address, a prefix, or a set with one member."""
        host = self._chance.choice(self._plan.hosts)
        sets = [f"${name}" for name in self._plan.sets if name == f"one{version}"]
        address = host.ip4 if version == 4 else host.ip6
        return self._chance.choice([address, f"{address}/{24 if version == 4 else 64}", *sets])

    def _family(self) -> str:
        return self._chance.choice(
            ("ip", "ip4", "ip6", "ip4 || arp", "1", "ip4.mcast", "ip6.mcast")
        )

    def _any_address(self) -> str:
        return self._address(self._chance.choice((4, 6)))

    def _address(self, version: int) -> str:
        field = f"ip{version}.{self._chance.choice(('src', 'dst'))}"
        sets = [f"${name}" for name, kind in self._plan.sets.items() if kind == version]
        sets += [f"${name}_ip{version}" for name in self._plan.groups]
        hosts = [host.ip4 if version == 4 else host.ip6 for host in self._plan.hosts]
        network = self._chance.choice(self._plan.networks).number
        prefix = (
            f"10.0.{network}.{self._chance.choice(('0/24', '8/29', '12/30'))}"
            if version == 4
            else f"fd00:{network}::{self._chance.choice(('/64', '8/125', 'c/126'))}"
        )
        some = self._chance.sample(hosts, min(len(hosts), self._chance.randint(1, 4)))
        values = [self._chance.choice(hosts), prefix, f"{{{', '.join(some)}}}", *sets, *sets]
        # Not with a set that may be empty: it would lose the family in OVN (docs/differences.md).
        if not self._chance.randrange(4) and self._may_be_wide():
            return f"{field} != {self._one(version)}"
        return f"{field} == {self._chance.choice(values)}"

    def _l4(self) -> str:
        protocol = self._chance.choice(("tcp", "udp", "sctp"))
        field = f"{protocol}.{self._chance.choice(('src', 'dst'))}"
        wide = (f"{field} >= 1024", f"80 <= {field} <= 5000", f"{field} != 80", f"{field} < 1000")
        if not self._chance.randrange(3) and self._may_be_wide():
            return self._chance.choice(wide)
        return self._chance.choice(
            (
                protocol,
                f"{field} == 80",
                f"{field} == {{80, 443, 5001}}",
                "tcp.flags == 2",
                "tcp.flags == 0x12/0x12",
                f"{protocol} && ip.ttl == {{0, 1, 64}}",
            )
        )

    def _ethernet(self) -> str:
        host = self._chance.choice(self._plan.hosts)
        return self._chance.choice(
            (
                f"eth.src == {host.mac}",
                f"eth.dst == {host.mac}",
                "eth.mcast",
                "eth.bcast",
                "eth.type == 0x88cc",
                "eth.src == 02:00:00:00:01:00/ff:ff:ff:ff:ff:00",
                "eth.dst[40]",
                "vlan.present",
                "vlan.vid == 7",
                "vlan.pcp == 3",
            )
        )

    def _ip_field(self) -> str:
        return self._chance.choice(
            (
                "ip.proto == 17",
                "ip.proto == {1, 6, 58}",
                "ip.ttl == 64",
                "ip6.label == 5",
                "ip6.dst[120..127] == 0xff",
                "ip4.src[0..3] == 12",
            )
        )

    def _icmp(self) -> str:
        return self._chance.choice(
            (
                "icmp4", "icmp6", "icmp", "icmp4.type == 8", "icmp6.type == 128",
                "icmp4.type == 3 && icmp4.code == 3", "icmp6.type == {1, 2}",
            )
        )  # fmt: skip

    def _neighbour(self) -> str:
        host = self._chance.choice(self._plan.hosts)
        return self._chance.choice(
            (
                "arp",
                "arp.op == 1",
                f"arp.tpa == {host.ip4}",
                f"arp.spa == {host.ip4}",
                f"arp.sha == {host.mac}",
                "nd",
                "nd_ns",
                "nd_na",
                f"nd.target == {host.ip6}",
                f"nd.sll == {host.mac}",
            )
        )

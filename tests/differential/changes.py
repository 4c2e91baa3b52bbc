# SPDX-License-Identifier: Apache-2.0
"""Random changes of the Northbound database and of what is plugged in, between packets."""

import random

from differential.case import Bind, Change
from differential.generate import acl_element, set_members
from differential.plan import Plan
from differential.topology import Topology

__all__ = ["Changes"]


class Changes:
    """Draws changes that fit what the changes before have left."""

    def __init__(self, chance: random.Random, topology: Topology, plan: Plan) -> None:
        """Begin with ``topology``."""
        self._chance = chance
        self._plan = plan
        self._acls = [e.lines[0] for e in topology.elements if e.feature.startswith("acl ")]
        self._routes = [e.lines[0] for e in topology.elements if " lr-route-add " in e.lines[0]]
        self._unplugged: set[str] = set()
        self._disabled: set[str] = set()
        self._number = 0

    def draw(self) -> Change | Bind:
        """Return a change."""
        makers = (
            self._add_acl, self._add_acl, self._remove_acl, self._members, self._group,
            self._binding, self._enabling, self._route,
        )  # fmt: skip
        while True:
            change = self._chance.choice(makers)()
            if change is not None:
                return change

    def _add_acl(self) -> Change:
        self._number += 1
        element = acl_element(self._chance, self._plan, f"later{self._number}")
        self._acls.append(element.lines[0])
        return Change(element.lines, "acl added")

    def _remove_acl(self) -> Change | None:
        if not self._acls:
            return None
        line = self._acls.pop(self._chance.randrange(len(self._acls)))
        words = line.split(" acl-add ", 1)[1].split(" ", 3)
        match = words[3].rsplit('"', 1)[0] + '"'
        return Change((f"acl-del {words[0]} {words[1]} {words[2]} {match}",), "acl removed")

    def _members(self) -> Change | None:
        if not self._plan.sets:
            return None
        name = self._chance.choice(sorted(self._plan.sets))
        members = set_members(self._chance, self._plan, name)
        words = ",".join(f'\\"{member}\\"' for member in members)
        return Change((f'set Address_Set {name} addresses="[{words}]"',), "address set changed")

    def _group(self) -> Change | None:
        if not self._plan.groups:
            return None
        group = self._chance.choice(self._plan.groups)
        ports = [host.port for host in self._plan.hosts]
        chosen = self._chance.sample(ports, self._chance.randint(1, len(ports)))
        return Change((f"pg-set-ports {group} {' '.join(chosen)}",), "port group changed")

    def _binding(self) -> Bind:
        if self._unplugged and self._chance.randrange(3):
            port = self._chance.choice(sorted(self._unplugged))
            self._unplugged.remove(port)
            return Bind(port, plugged=True)
        port = self._chance.choice([host.port for host in self._plan.hosts])
        self._unplugged.add(port)
        return Bind(port, plugged=False)

    def _enabling(self) -> Change | None:
        if self._disabled:
            return Change((f"lsp-set-enabled {self._disabled.pop()} enabled",), "port enabled")
        # Which next hop is asked for when a port with two of them is disabled is OVN's free choice.
        ports = [host.port for host in self._plan.hosts if host.also is None]
        if not ports:
            return None
        port = self._chance.choice(ports)
        self._disabled.add(port)
        return Change((f"lsp-set-enabled {port} disabled",), "port disabled")

    def _route(self) -> Change | None:
        if not self._routes:
            return None
        line = self._routes.pop(self._chance.randrange(len(self._routes)))
        options, words = line.split("lr-route-add ", 1)
        policy = "--policy=src-ip " if "src-ip" in options else ""
        router, prefix = words.split()[:2]
        return Change((f"--if-exists {policy}lr-route-del {router} {prefix}",), "route removed")

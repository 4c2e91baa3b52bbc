# SPDX-License-Identifier: Apache-2.0
"""What the demo prints: its cloud before, the table of who reaches whom after."""

from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from iovisor_ovn.demo.topology import (
    ADDRESS_SETS,
    GROUPS,
    MACHINES,
    SERVICES,
    Machine,
    Rule,
    Service,
    expected,
)
from iovisor_ovn.demo.traffic import Seen

__all__ = ["cloud", "console", "differences", "reachability"]

_LEAST_WIDTH = 80


def console() -> Console:
    """Return the terminal, or a plain one of a fixed width for pipes and CI logs."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=_LEAST_WIDTH)


def cloud() -> Tree:
    """Return networks, machines and security groups as a tree."""
    tree = Tree("router  (joins the networks)")
    for network in dict.fromkeys(machine.network for machine in MACHINES):
        members = [machine for machine in MACHINES if machine.network == network]
        number = members[0].network_number
        branch = tree.add(f"switch {network}  10.0.{number}.0/24  fd00:{number}::/64")
        for machine in members:
            branch.add(_machine(machine))
    groups = tree.add("security groups  (default: drop both ways; allow is stateful)")
    for name, rules in GROUPS.items():
        lets_in = ", ".join(_rule(rule) for rule in rules) or "nothing"
        groups.add(f"{name}: everything out; in: {lets_in}")
    for name, addresses in ADDRESS_SETS.items():
        groups.add(f"address set {name}: {', '.join(addresses)}")
    return tree


def reachability(seen: Iterable[Seen]) -> Table:
    """Return the table: per service what the rules say, what was seen, and the time it took."""
    may = expected()
    title = "who reaches whom: expected (y, n), seen (y, n), round trip in ms"
    # Tight enough for 80 columns.
    table = Table(title=title, box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("from → to", no_wrap=True)
    for service in SERVICES:
        table.add_column(f"{service.name} v{service.version}", no_wrap=True)
    rows: dict[tuple[str, str], list[Text]] = {}
    for one in seen:
        cell = _cell(may[one.source, one.target, one.service], one.rtt_ms)
        rows.setdefault((one.source, one.target), []).append(cell)
    for (source, target), cells in rows.items():
        table.add_row(f"{source} → {target}", *cells)
    return table


def differences(
    seen: Iterable[Seen], may: Mapping[tuple[str, str, Service], bool]
) -> list[str]:  # fmt: skip
    """Return a sentence for each case where what was seen is not what the rules say."""
    found = []
    for one in seen:
        wanted = may[one.source, one.target, one.service]
        if wanted != (one.rtt_ms is not None):
            service = f"{one.service.name} over IPv{one.service.version}"
            verdict = "must pass but did not" if wanted else "must not pass but did"
            found.append(f"{one.source} → {one.target}: {service} {verdict}")
    return found


def _cell(wanted: bool, rtt_ms: float | None) -> Text:
    was_seen = rtt_ms is not None
    words = "y" if wanted else "n", "y" if was_seen else "n"
    time = f"{rtt_ms:.2f}"[:4] if rtt_ms is not None else "-"
    style = "bold red" if wanted != was_seen else "green" if wanted else "dim"
    return Text(f"{words[0]} {words[1]} {time:>4}", style=style)


def _machine(machine: Machine) -> str:
    return f"{machine.name}  {machine.ip4}  {machine.ip6}  {machine.mac}  group {machine.group}"


def _rule(rule: Rule) -> str:
    if rule.group is not None:
        return f"{rule.service} from group {rule.group}"
    if rule.address_set is not None:
        return f"{rule.service} from {rule.address_set}"
    return f"{rule.service} from anywhere"

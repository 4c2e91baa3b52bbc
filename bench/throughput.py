# SPDX-License-Identifier: Apache-2.0
"""How much TCP goes between two virtual machines, and how many requests per second.

A wire, a Linux bridge with security groups and our agent take turns in one run, in another order
each round, so that what disturbs the machine disturbs all alike; ratios are taken round by round.
What is measured, and how, is in `traffic.py`.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from enclose import PLACE
from report import FOOTNOTE, Spread, save, spread, table
from setups import Route, bridge, ours, wire
from traffic import Ends, ratio, take_turns

__all__ = ["main"]

# Many short ones: what disturbs the machine lasts longer than a round.
_ROUNDS = 20
# Member of a sample, what it is called, decimals.
_TABLES = (
    ("gbit_s", "one TCP stream, Gbit per second", 1),
    ("gbit_cpu_s", "one TCP stream, Gbit per second of CPU time", 1),
    ("requests_s", "requests per second", 0),
    ("requests_cpu_s", "requests per second of CPU time", 0),
)


@dataclass(frozen=True, slots=True)
class _Sample:
    """One round on one route."""

    gbit_s: float
    gbit_cpu_s: float
    retransmits: int
    requests_s: float
    requests_cpu_s: float


def _measure(routes: list[Route], rounds: int) -> dict[str, list[_Sample]]:
    ends = Ends(routes)

    def sample(route: Route) -> _Sample:
        stream, requests = ends.stream(route), ends.requests(route)
        return _Sample(stream.gbit_s, stream.gbit_cpu_s, stream.retransmits,
                       requests.per_s, requests.per_cpu_s)  # fmt: skip

    try:
        return take_turns(routes, rounds, sample)
    finally:
        ends.close()


@dataclass(frozen=True, slots=True)
class _Line:
    """A route's figure, and its ratio to the wire and to the bridge of the same kind."""

    route: str
    value: Spread
    of_wire: Spread
    of_bridge: Spread


def _lines(values: dict[str, list[float]]) -> list[_Line]:
    lines = []
    for name, taken in values.items():
        rival = "bridge, groups, routed" if name.endswith("routed") else "bridge, groups"
        of_wire, of_bridge = ratio(taken, values["wire"]), ratio(taken, values[rival])
        lines.append(_Line(name, spread(taken), of_wire, of_bridge))
    return lines


def _print(title: str, lines: list[_Line], digits: int) -> None:
    rows = [
        (line.route, line.value.text(digits), line.of_wire.text(2), line.of_bridge.text(2))
        for line in lines
    ]
    print(table((title, "median", "to the wire", "to the bridge"), rows))


def main(rounds: int = _ROUNDS) -> None:
    """Measure, print the tables, keep the figures. Run by ``bench/run.py throughput``."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=PLACE) as name:
        place = Path(name)
        with ours(place) as agents:
            routes = [wire(place), *bridge(place), *agents]
            print(f"{rounds} rounds, {len(routes)} routes")
            samples = _measure(routes, rounds)
    figures: dict[str, object] = {"rounds": samples}
    for value, title, digits in _TABLES:
        lines = _lines(
            {name: [getattr(s, value) for s in taken] for name, taken in samples.items()}
        )
        _print(title, lines, digits)
        print()
        figures[value] = lines
    print(FOOTNOTE)
    path = save("throughput", figures)
    print(f"figures in {path}")

# SPDX-License-Identifier: Apache-2.0
"""What a service chain costs beside the Linux kernel doing the same job.

Switch, router, and router with NAT (`chains.py`): our chain, and bridge, IP forwarding, nftables
masquerade, take turns in one run, with equal namespaces, devices and clients. What is measured,
and how, is in `traffic.py`; `ns a packet` is what a path costs beside a wire: the time for a small
packet, of CPU time, from a sender to where its receiver throws it away, less that over a veth pair
alone.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chains import JOBS, candidates
from enclose import PLACE
from report import FOOTNOTE, Spread, save, spread, table
from setups import Route, wire
from traffic import Ends, Rate, Stream, ratio, take_turns

__all__ = ["main"]

_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class _Sample:
    """One round on one route."""

    packets: Rate
    stream: Stream
    requests: Rate
    connections: Rate


# What is counted, decimals, and its value in a sample.
_RATES: tuple[tuple[str, int, Callable[[_Sample], float]], ...] = (
    ("small packets per second", 0, lambda s: s.packets.per_s),
    ("small packets per second of CPU time", 0, lambda s: s.packets.per_cpu_s),
    ("one TCP stream, Gbit per second", 1, lambda s: s.stream.gbit_s),
    ("one TCP stream, Gbit per second of CPU time", 1, lambda s: s.stream.gbit_cpu_s),
    ("requests per second", 0, lambda s: s.requests.per_s),
    ("requests per second of CPU time", 0, lambda s: s.requests.per_cpu_s),
    ("connections per second", 0, lambda s: s.connections.per_s),
    ("connections per second of CPU time", 0, lambda s: s.connections.per_cpu_s),
)
_NS = "ns a packet, beside the wire"


@dataclass(frozen=True, slots=True)
class _Line:
    """Ours and the kernel's, and ours to the kernel's round by round."""

    job: str
    ours: Spread
    kernel: Spread
    ratio: Spread


def _line(job: str, ours: Sequence[float], kernel: Sequence[float]) -> _Line:
    return _Line(job, spread(ours), spread(kernel), ratio(ours, kernel))


def _ns_beside(samples: Sequence[_Sample], bare: Sequence[_Sample]) -> list[float]:
    return [
        1e9 / one.packets.per_cpu_s - 1e9 / other.packets.per_cpu_s
        for one, other in zip(samples, bare, strict=True)
    ]


def _figures(samples: dict[str, list[_Sample]]) -> dict[str, list[_Line]]:
    pairs = {job.name: (samples[f"ours, {job.name}"], samples[f"kernel, {job.name}"])
             for job in JOBS}  # fmt: skip
    bare = samples["wire"]
    found = {
        _NS: [
            _line(name, _ns_beside(ours, bare), _ns_beside(kernel, bare))
            for name, (ours, kernel) in pairs.items()
        ]
    }
    for title, _digits, value in _RATES:
        found[title] = [
            _line(name, [value(s) for s in ours], [value(s) for s in kernel])
            for name, (ours, kernel) in pairs.items()
        ]
    return found


def _measure(routes: list[Route], rounds: int) -> dict[str, list[_Sample]]:
    ends = Ends(routes)

    def sample(route: Route) -> _Sample:
        return _Sample(ends.packets(route), ends.stream(route), ends.requests(route),
                       ends.connections(route))  # fmt: skip

    try:
        return take_turns(routes, rounds, sample)
    finally:
        ends.close()


def main(rounds: int = _ROUNDS) -> None:
    """Measure, print the tables, keep the figures. Run by ``bench/run.py standalone``."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=PLACE) as name:
        place = Path(name)
        with candidates(place) as pairs:
            routes = [wire(place), *pairs]
            print(f"{rounds} rounds, {len(routes)} routes")
            samples = _measure(routes, rounds)
    figures = _figures(samples)
    digits = {title: number for title, number, _value in _RATES}
    for title, lines in figures.items():
        rows = [
            (line.job, line.ours.text(digits.get(title, 0)), line.kernel.text(digits.get(title, 0)),
             line.ratio.text(2))
            for line in lines
        ]  # fmt: skip
        print(table((title, "ours", "kernel", "ours to kernel's"), rows), end="\n\n")
    print(FOOTNOTE)
    print(f"figures in {save('standalone', {'rounds': samples, **figures})}")

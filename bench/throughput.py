# SPDX-License-Identifier: Apache-2.0
"""How much TCP goes between two virtual machines, and how many requests per second.

One stream of iperf3 with all offloads on, and one connection that carries a byte back and
forth (`rr.c`). The stream is sent from a file (sendfile): where the sender copies, the placement
of its buffer in memory decides between 17 and 27 Gbit/s on any route. Both ends run on one CPU:
what a route costs then shows as it is, while on two CPUs of a small machine the wire itself
reorders segments and its figures differ by a factor of four. A wire, a Linux bridge with security
groups and our agent take turns in one run, in another order each round, so that what disturbs the
machine disturbs all alike; ratios are taken round by round. The figures per second of CPU time
count only the time that both ends and the path between them worked: they hold on a machine that
others use too.
"""

import json
import os
import random
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from enclose import PLACE
from report import FOOTNOTE, Spread, save, spread, table
from setups import Route, bridge, ours, wire

from iovisor_ovn.demo.places import Namespace
from iovisor_ovn.demo.processes import until

__all__ = ["main"]

# Many short ones: what disturbs the machine lasts longer than a round.
_ROUNDS = 20
_STREAM_BYTES = "400M"
_RR_MS = 200
_STREAM_PORT = 5201
_RR_PORT = 9000
# Member of a sample, what it is called, decimals.
_TABLES = (
    ("gbit_s", "one TCP stream, Gbit per second", 1),
    ("gbit_cpu_s", "one TCP stream, Gbit per second of CPU time", 1),
    ("requests_s", "requests per second", 0),
    ("requests_cpu_s", "requests per second of CPU time", 0),
)
_BUILD = Path(__file__).parent.parent / "build" / "bench"


@dataclass(frozen=True, slots=True)
class _Sample:
    """One round on one route."""

    gbit_s: float
    gbit_cpu_s: float
    retransmits: int
    requests_s: float
    requests_cpu_s: float


def _compile_rr() -> Path:
    _BUILD.mkdir(parents=True, exist_ok=True)
    target = _BUILD / "rr"
    source = Path(__file__).parent / "rr.c"
    compiler = os.environ.get("CLANG", "clang-19")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", source, "-o", target],
                   check=True)  # fmt: skip
    return target


def _alone(cpu: int, *words: str) -> tuple[str, ...]:
    """On one CPU, before what else wants to run there."""
    return ("taskset", "--cpu-list", str(cpu), "nice", "-n", "-15", *words)


class _Bench:
    """The routes with a server at the end of each."""

    def __init__(self, routes: list[Route], rr: Path) -> None:
        self.routes = routes
        self._rr = str(rr)
        self._cpu = max(os.sched_getaffinity(0))
        self._servers: list[subprocess.Popen[bytes]] = []
        self._rr_servers: dict[str, subprocess.Popen[bytes]] = {}
        # Two routes may lead to the same machine.
        for server in {route.server.name: route.server for route in routes}.values():
            self._serve(server, _STREAM_PORT, "iperf3", "--server", "--port", str(_STREAM_PORT))
            self._rr_servers[server.name] = self._serve(
                server, _RR_PORT, self._rr, "server", str(_RR_PORT)
            )

    def _serve(self, place: Namespace, port: int, *words: str) -> subprocess.Popen[bytes]:
        pinned = place.words(*_alone(self._cpu, *words))
        quiet = subprocess.DEVNULL
        server = subprocess.Popen(pinned, stdin=quiet, stdout=quiet, stderr=quiet)
        self._servers.append(server)
        listening = ("ss", "-Hltn", f"sport = :{port}")
        until(lambda: place.run(*listening), f"{words[0]} on port {port}")
        return server

    def close(self) -> None:
        """End the servers."""
        for server in self._servers:
            server.terminate()
            server.wait()

    def sample(self, route: Route) -> _Sample:
        """Measure once."""
        return _Sample(*self._stream(route), *self._requests(route))

    def _stream(self, route: Route) -> tuple[float, float, int]:
        words = ("iperf3", "--client", route.address, "--port", str(_STREAM_PORT),
                 "--bytes", _STREAM_BYTES, "--json", "--congestion", "cubic",
                 "--zerocopy")  # fmt: skip
        said = route.client.run(*_alone(self._cpu, *words))
        end = json.loads(said)["end"]
        gbit_s = float(end["sum_received"]["bits_per_second"]) / 1e9
        used = end["cpu_utilization_percent"]
        share = (float(used["host_total"]) + float(used["remote_total"])) / 100
        return gbit_s, gbit_s / share, int(end["sum_sent"]["retransmits"])

    def _requests(self, route: Route) -> tuple[float, float]:
        words = (self._rr, "client", route.address, str(_RR_PORT), str(_RR_MS))
        before = self._server_cpu_ns(route)
        said = route.client.run(*_alone(self._cpu, *words))
        transactions, passed_ns, cpu_ns = map(int, said.split())
        cpu_ns += self._server_cpu_ns(route) - before
        return transactions * 1e9 / passed_ns, transactions * 1e9 / cpu_ns

    def _server_cpu_ns(self, route: Route) -> int:
        """CPU time of the route's rr server, which waits now."""
        pid = self._rr_servers[route.server.name].pid
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def _measure(routes: list[Route], rounds: int) -> dict[str, list[_Sample]]:
    bench = _Bench(routes, _compile_rr())
    order = random.Random(1)  # noqa: S311  no secrecy needed
    samples: dict[str, list[_Sample]] = {route.name: [] for route in routes}
    try:
        for turn in range(rounds + 1):
            for route in order.sample(routes, len(routes)):
                sample = bench.sample(route)
                if turn:  # the first one warms up
                    samples[route.name].append(sample)
    finally:
        bench.close()
    return samples


def _ratio(samples: list[float], base: list[float]) -> Spread:
    return spread([one / other for one, other in zip(samples, base, strict=True)])


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
        of_wire, of_bridge = _ratio(taken, values["wire"]), _ratio(taken, values[rival])
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

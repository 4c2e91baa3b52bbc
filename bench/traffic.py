# SPDX-License-Identifier: Apache-2.0
"""Traffic between the two namespaces of a route, one measurement at a time.

One stream of iperf3 with all offloads on, and small packets by `rr.c`. The stream is sent from a
file (sendfile): where the sender copies, the placement of its buffer in memory decides between 17
and 27 Gbit/s on any route. Both ends run on one CPU: what a route costs then shows as it is, while
on two CPUs of a small machine the wire itself reorders segments and its figures differ by a factor
of four. Figures per second of CPU time count only the time that both ends and the path between
them worked: they hold on a machine that others use too.
"""

import json
import os
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from report import Spread, spread
from setups import Route

from iovisor_ovn.demo.places import Namespace
from iovisor_ovn.demo.processes import until

__all__ = ["Ends", "Rate", "Stream", "ratio", "take_turns"]

_STREAM_BYTES = "400M"
_MS = 200
_STREAM_PORT = 5201
_RR_PORT = 9000
_BUILD = Path(__file__).parent.parent / "build" / "bench"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stream:
    """One TCP stream."""

    gbit_s: float
    gbit_cpu_s: float
    retransmits: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Things done per second, and per second of CPU time of both ends."""

    per_s: float
    per_cpu_s: float


class Ends:
    """The routes with servers at the end of each."""

    def __init__(self, routes: Sequence[Route]) -> None:
        """Start the servers."""
        self._rr = str(_compile_rr())
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

    def stream(self, route: Route) -> Stream:
        """Send one TCP stream."""
        words = ("iperf3", "--client", route.address, "--port", str(_STREAM_PORT),
                 "--bytes", _STREAM_BYTES, "--json", "--congestion", "cubic",
                 "--zerocopy")  # fmt: skip
        said = route.client.run(*_alone(self._cpu, *words))
        end = json.loads(said)["end"]
        gbit_s = float(end["sum_received"]["bits_per_second"]) / 1e9
        used = end["cpu_utilization_percent"]
        share = (float(used["host_total"]) + float(used["remote_total"])) / 100
        return Stream(gbit_s, gbit_s / share, int(end["sum_sent"]["retransmits"]))

    def requests(self, route: Route) -> Rate:
        """Ask and be answered over one connection."""
        return self._rate(route, "client")

    def connections(self, route: Route) -> Rate:
        """Open a connection, ask, be answered, and close it."""
        return self._rate(route, "connect")

    def packets(self, route: Route) -> Rate:
        """Send UDP packets of minimal length; those that arrive count."""
        before = _received(route.server)
        sent, passed_ns, cpu_ns = self._say(route, "flood")
        received = min(_received(route.server) - before, sent)
        return Rate(received * 1e9 / passed_ns, received * 1e9 / cpu_ns)

    def _rate(self, route: Route, verb: str) -> Rate:
        before = self._server_cpu_ns(route)
        transactions, passed_ns, cpu_ns = self._say(route, verb)
        cpu_ns += self._server_cpu_ns(route) - before
        return Rate(transactions * 1e9 / passed_ns, transactions * 1e9 / cpu_ns)

    def _say(self, route: Route, verb: str) -> tuple[int, int, int]:
        words = (self._rr, verb, route.address, str(_RR_PORT), str(_MS))
        number, passed_ns, cpu_ns = map(int, route.client.run(*_alone(self._cpu, *words)).split())
        return number, passed_ns, cpu_ns

    def _server_cpu_ns(self, route: Route) -> int:
        """CPU time of the route's rr server, which waits now."""
        pid = self._rr_servers[route.server.name].pid
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def take_turns(
    routes: Sequence[Route], rounds: int, sample: Callable[[Route], T]
) -> dict[str, list[T]]:
    """Measure each route once a round, in another order each time; a first round warms up."""
    order = random.Random(1)  # noqa: S311  no secrecy needed
    samples: dict[str, list[T]] = {route.name: [] for route in routes}
    for turn in range(rounds + 1):
        for route in order.sample(list(routes), len(routes)):
            taken = sample(route)
            if turn:
                samples[route.name].append(taken)
    return samples


def ratio(samples: Sequence[float], base: Sequence[float]) -> Spread:
    """Compare round by round: what disturbs the machine disturbs both."""
    return spread([one / other for one, other in zip(samples, base, strict=True)])


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


def _received(server: Namespace) -> int:
    return int(server.run("cat", "/sys/class/net/eth0/statistics/rx_packets"))

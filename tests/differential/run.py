# SPDX-License-Identifier: Apache-2.0
"""Compare our data path with ordinary OVN's: ``make differential``.

Prints the seed first, so that a run can be repeated, and at the end what was drawn and compared.
"""

import argparse
import secrets
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scapy.layers.l2 import Ether

from differential.arena import Arena, Arenas, Mismatch
from differential.case import Case, Send, Step, load, save
from differential.generate import PORTS, generate
from differential.shrink import shrink
from differential.side import SideDiedError
from differential.trace import has_solicitation, is_lost, predict
from differential.traffic import Traffic
from iovisor_ovn.demo.hypervisor import Hypervisor
from iovisor_ovn.demo.places import sweep
from iovisor_ovn.demo.processes import CommandFailed, NotInTime
from iovisor_ovn.demo.releases import INSTALLED, RELEASES, find_release

__all__ = ["Comparison", "Report", "compare", "show"]

_PACKETS_A_TOPOLOGY = 500
_TRACE_EVERY = 10


@dataclass(slots=True)
class Report:
    """What a run compared."""

    packets: int = 0
    outputs: int = 0
    topologies: int = 0
    features: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    #: Frames that ovn-trace was asked about too, and what it said otherwise.
    traced: int = 0
    untrue: list[str] = field(default_factory=list)
    #: Mismatches that a repetition of the whole case did not show.
    passing: list[str] = field(default_factory=list)
    cases: list[tuple[Case, list[Mismatch]]] = field(default_factory=list)

    def text(self) -> str:
        """Return the report as it is printed."""
        lines = [f"  {count:7} {name}" for name, count in sorted(self.features.items())]
        lines.append("known differences met (docs/differences.md):")
        lines += [f"  {count:7} {name}" for name, count in sorted(self.explained.items())]
        lines += [f"  {count:7} crash: {why}" for why, count in sorted(self.crashes.items())]
        lines.append(
            f"{self.traced} packets traced, {len(self.untrue)} otherwise than ovn-trace says"
        )
        lines.append(
            f"{self.packets} packets compared over {self.topologies} topologies, "
            f"{self.outputs} outputs, {len(self.cases)} mismatches, "
            f"{len(self.passing)} that were gone when repeated"
        )
        return "\n".join(lines)


class Comparison:
    """One topology and its traffic on both sides."""

    def __init__(self, arena: Arena, seed: int, report: Report) -> None:
        """Draw the topology of ``seed``; what is compared is added to ``report``."""
        self._arena = arena
        self._report = report
        self._title = f"seed {seed}"
        self._topology, plan = generate(seed, joins_gateways=arena.joins_gateways)
        self._is_traceable = not plan.is_tracked
        self._secured = plan.secured
        self._traffic = Traffic(seed, self._topology, plan)
        self._steps: list[Step] = []
        report.topologies += 1
        report.features += self._topology.features()

    @property
    def case(self) -> Case:
        """What was done so far."""
        return Case(self._title, self._topology, tuple(self._steps))

    def run(self, packets: int) -> list[Mismatch]:
        """Send that many packets; return what is unlike at the first step where something is.

        Fewer where a difference lasts (`differences.Difference`). SideDiedError when a side dies;
        what was compared before counts.
        """
        unlike = self._arena.set_up(self._topology)
        sent = 0
        while sent < packets and not unlike and not self._arena.is_parted:
            unlike = self._step()
            sent = self.case.packets()
        if unlike or self._arena.is_parted:
            return unlike
        return self._arena.finish(len(self._steps))

    def _step(self) -> list[Mismatch]:
        step = self._traffic.next()
        self._steps.append(step)
        predicted = self._predict(step)
        outputs, unlike = self._arena.do(len(self._steps) - 1, step)
        if predicted is not None and not has_solicitation(outputs):
            self._report.traced += 1
            # Asked again where it did not know what the packet itself has taught routers.
            if predicted != outputs.keys():
                self._arena.await_learning()
                predicted = self._predict(step)
            if predicted is not None and predicted != outputs.keys():
                told = f"{self._title}: {step}: {sorted(outputs)}, ovn-trace: {sorted(predicted)}"
                self._report.untrue.append(told)
        self._traffic.saw(outputs)
        self._report.features[step.what] += 1
        self._report.outputs += sum(map(len, outputs.values()))
        if isinstance(step, Send):
            self._report.packets += len(step.frames)
        return unlike

    def _predict(self, step: Step) -> set[str] | None:
        """Ask ovn-trace about some of the frames, by ours side's Southbound database."""
        is_due = self._is_traceable and len(self._steps) % _TRACE_EVERY == 0
        if not is_due or not isinstance(step, Send) or step.port not in self._arena.plugged:
            return None
        central, plugged = self._arena.ours.central, self._arena.plugged
        if step.frames[0][0] & 1 and len(plugged) < len(PORTS):
            return None  # it lets rules of a port without a device reject what goes to a group
        try:
            found = predict(central, step.port, step.frames[0], plugged)
        except (NotInTime, CommandFailed) as error:
            if not is_lost(error):
                raise
            self._report.explained["ovn-trace did not come to an end"] += 1
            return None
        if len(plugged) < len(PORTS) and step.port in (found or ()):
            return None  # nor does it know that rules of a port without a device reject nothing
        # ovn-trace lets everything through port security.
        is_checked = self._secured.isdisjoint({step.port, *(found or ())})
        return found if is_checked else None


def compare(arenas: Arenas, seed: int, most_packets: int, report: Report) -> None:
    """Compare the topology of a seed and its traffic."""
    arena = arenas.arena
    arena.explained.clear()
    comparison = Comparison(arena, seed, report)
    try:
        unlike = comparison.run(min(most_packets, _PACKETS_A_TOPOLOGY))
    except SideDiedError as died:
        arenas.end()
        words = died.last_words.rpartition("|")[2]
        unlike = [Mismatch(len(comparison.case.steps) - 1, "died", (), (str(died),))]
        if died.flavor == "ovn":
            report.crashes[f"reference: {words}"] += 1
            unlike = []
    report.explained += arena.explained
    if unlike and judge(arenas, comparison.case):
        report.cases.append((comparison.case, unlike))
    elif unlike:
        report.passing.append(show(comparison.case, unlike))


def judge(arenas: Arenas, case: Case) -> list[Mismatch]:
    """Return what is unlike at the first step where something is, nothing if theirs dies."""
    try:
        return arenas.arena.judge(case)
    except SideDiedError as died:
        arenas.end()
        if died.flavor == "ovn":
            return []
        return [Mismatch(len(case.steps), "died", (str(died),), ())]


def show(case: Case, unlike: list[Mismatch]) -> str:
    """Return what is unlike, for people."""
    lines = [case.title]
    for one in unlike:
        step = case.steps[one.step] if 0 <= one.step < len(case.steps) else None
        lines.append(f"step {one.step} ({getattr(step, 'what', 'set up or end')}): {one.what}")
        if isinstance(step, Send):
            lines += [f"    from {step.port}: {_told(frame.hex())}" for frame in step.frames]
        lines += [f"    ours:   {_told(text)}" for text in one.ours]
        lines += [f"    theirs: {_told(text)}" for text in one.theirs]
    return "\n".join(lines)


def _told(text: str) -> str:
    """Return a frame in hexadecimal with what Scapy reads in it; other texts as they are."""
    try:
        frame = bytes.fromhex(text)
    except ValueError:
        return text
    return f"{text[:300]}\n        {Ether(frame)!r:.500}"


def main() -> int:
    """Read the arguments, run, print; return 1 when there was a mismatch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--ovn", choices=RELEASES, default=INSTALLED.name)
    parser.add_argument("--replay", type=Path, default=None)
    parser.add_argument("--shrink-s", type=float, default=60.0)
    parser.add_argument("--first", action="store_true", help="end with the first mismatch")
    parser.add_argument("--out", type=Path, default=Path("build/differential"))
    parser.add_argument("--no-fast-path", action="store_true")
    arguments = parser.parse_args()
    if arguments.no_fast_path:
        Hypervisor.agent_options = ("--no-fast-path",)
    directory = Path(tempfile.mkdtemp(prefix="ivd-"))
    try:
        with Arenas(directory, find_release(arguments.ovn)) as arenas:
            if arguments.replay is not None:
                case = load(arguments.replay)
                unlike = judge(arenas, case)
                print(show(case, unlike) if unlike else "alike")
                return bool(unlike)
            return _random_run(arenas, arguments)
    finally:
        sweep(directory)


def _random_run(arenas: Arenas, arguments: argparse.Namespace) -> int:
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    report = Report()
    start = time.monotonic()
    while report.packets < arguments.packets and not (arguments.first and report.cases):
        known = len(report.cases)
        compare(arenas, seed + report.topologies, arguments.packets - report.packets, report)
        for found, unlike in report.cases[known:]:
            case = found
            if arguments.shrink_s:
                case = shrink(found, unlike, partial(judge, arenas), arguments.shrink_s)
            again = judge(arenas, case) or unlike
            arguments.out.mkdir(parents=True, exist_ok=True)
            path = arguments.out / f"{case.title.replace(' ', '-')}.json"
            save(case, path)
            print(f"{path}: {show(case, again)}", flush=True)
    print("\n".join(["", *report.passing, *report.untrue]))
    print(report.text())
    print(f"{time.monotonic() - start:.0f} s")
    return bool(report.cases or report.untrue)


if __name__ == "__main__":
    sys.exit(main())

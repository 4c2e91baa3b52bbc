# SPDX-License-Identifier: Apache-2.0
"""How long a packet takes without device and stack, in nanoseconds and in lookups.

Each case is a TCP segment that the program gets again and again (bench/bpf/again.bpf.c restores
the headers, whose cost is measured with an empty program and taken off). The cases and the
yardstick, one lookup with a 64-byte key (bench/bpf/lookup.bpf.c), take turns in many short
rounds on one CPU: what disturbs the machine disturbs all of them alike, and the ratio is taken
round by round. Everything a packet needs is in the cache: that is the cost under load from one
connection, not that of a packet out of the blue.

A case in which any run ends otherwise than in a redirect fails the benchmark.
"""

import os
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from frames import SPORT_AT, Conversation
from report import FOOTNOTE, Spread, save, spread, table
from rig import REDIRECT, Rig, WrongVerdict, compile_bpf, open_rig

from iovisor_ovn.dataplane.program import Object

__all__ = ["CASES", "Case", "Figure", "Yardstick", "establish", "main", "measure"]

_ROUNDS = 25
# Each round takes the best of a few short batches: interrupts and other processes only ever add.
_BATCHES = 5
_REPEAT = 300
_LOOKUPS = 1000  # per run of lookup.bpf.c
_LOOKUP_REPEAT = 10
_HOT_KEYS = 64
_FILLED_ENTRIES = 20000


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table; ``aim`` in lookups, None where the project set none."""

    name: str
    conversation: Conversation
    version: int
    is_new: bool = False
    aim: int | None = None

    @property
    def port_at(self) -> int:
        """Where to write another source port each time, 0 for nowhere."""
        return SPORT_AT[self.version] if self.is_new else 0

    @property
    def frame(self) -> bytes:
        """What the client sends again and again."""
        return self.conversation.syn() if self.is_new else self.conversation.data()


def _cases() -> tuple[Case, ...]:
    cases = []
    for version in (4, 6):
        same = Conversation("plain1", "plain2", 443, version)
        secure = Conversation("web1", "web2", 443, version)
        routed = Conversation("web1", "db1", 5432, version)
        cases += [
            Case(f"same switch, IPv{version}", same, version, aim=30),
            Case(f"same switch, groups, IPv{version}", secure, version, aim=60),
            Case(f"routed, groups, IPv{version}", routed, version, aim=100),
            Case(f"same switch, groups, new, IPv{version}", secure, version, is_new=True),
            Case(f"routed, groups, new, IPv{version}", routed, version, is_new=True),
        ]
    return tuple(cases)


CASES = _cases()


def establish(rig: Rig, case: Case) -> None:
    """Open the case's connection, and see that the groups stop what they should.

    Raises WrongVerdict.
    """
    talk = case.conversation
    for port, frame in ((talk.client, talk.syn()), (talk.server, talk.syn_ack()),
                        (talk.client, talk.ack()), (talk.client, talk.data())):  # fmt: skip
        verdict = rig.send(frame, port.name)
        if verdict != REDIRECT:
            raise WrongVerdict(f"{case.name}: verdict {verdict}, drops {rig.machine.drops()}")
    if talk.client.switch == "plain":
        return
    intruder = Conversation("plain1", talk.server.name, 81, case.version)
    if rig.send(intruder.syn(), "plain1") == REDIRECT:
        raise WrongVerdict(f"{case.name}: a forbidden port is open, groups do not work")


class Yardstick:
    """The lookup that packets are compared with."""

    def __init__(self) -> None:
        """Load it; fill the map as full as a busy hypervisor's."""
        with Object.open(compile_bpf("lookup")) as loaded:
            loaded.load()
            self._lookups = loaded.programs["lookups"]
            self._nothing = loaded.programs["nothing"]
            filled, asked = loaded.maps["filled"], loaded.maps["asked"]
        numbers = random.Random(1)  # noqa: S311  keys need no secrecy
        keys = [numbers.randbytes(64) for _ in range(_FILLED_ENTRIES)]
        filled.update_many(b"".join(keys), struct.pack("=Q", 1) * len(keys))
        asked.update(struct.pack("=I", 0), b"".join(keys[:_HOT_KEYS]))
        if self._lookups.test_run(bytes(64)).retval != _LOOKUPS:
            raise WrongVerdict("the yardstick did not find its keys")

    def time(self, repeat: int) -> float:
        """Nanoseconds per lookup, without the loop around it: the best of a few batches."""
        runs = [
            min(program.test_run(bytes(64), repeat=repeat).duration_ns for _ in range(_BATCHES))
            for program in (self._lookups, self._nothing)
        ]
        return (runs[0] - runs[1]) / _LOOKUPS


@dataclass(frozen=True, slots=True)
class Figure:
    """What came out for a case, over the rounds; ``lookups`` is the ratio of each round."""

    case: Case
    ns: Spread
    lookups: Spread


def measure(rig: Rig, cases: tuple[Case, ...], rounds: int) -> tuple[Spread, list[Figure]]:
    """Take turns; return the yardstick in nanoseconds and a figure for each case."""
    yardstick = Yardstick()
    for case in cases:
        establish(rig, case)
    lookup_ns: list[float] = []
    packet_ns: dict[str, list[float]] = {case.name: [] for case in cases}
    for turn in range(rounds + 1):
        lookup = yardstick.time(_LOOKUP_REPEAT)
        taken = {case.name: _time_case(rig, case) for case in cases}
        if turn:  # the first one warms up
            lookup_ns.append(lookup)
            for name, ns in taken.items():
                packet_ns[name].append(ns)
    figures = []
    for case in cases:
        times = packet_ns[case.name]
        ratios = [ns / lookup for ns, lookup in zip(times, lookup_ns, strict=True)]
        figures.append(Figure(case, spread(times), spread(ratios)))
    return spread(lookup_ns), figures


def _time_case(rig: Rig, case: Case) -> float:
    frame, port = case.frame, case.conversation.client.name
    runs = [
        min(measured(frame, port, _REPEAT, port_at=case.port_at) for _ in range(_BATCHES))
        for measured in (rig.time, rig.overhead)
    ]
    return runs[0] - runs[1]


def main(rounds: int = _ROUNDS) -> None:
    """Measure, print the tables, keep the figures. Run by ``bench/run.py packet``."""
    kept = {}
    for name, fast_path in (("every packet walks", False), ("with the fast path", True)):
        with open_rig(fast_path=fast_path) as rig, _alone():
            print(f"flows of northd in {rig.pipeline.image.entry_count} entries, {rounds} rounds")
            lookup, figures = measure(rig, CASES, rounds)
        _print(name, lookup, figures)
        kept[name] = {
            "lookup_ns": lookup,
            "cases": [{"name": f.case.name, "ns": f.ns, "lookups": f.lookups, "aim": f.case.aim}
                      for f in figures],
        }  # fmt: skip
    print(FOOTNOTE)
    print(f"figures in {save('packet', kept)}")


@contextmanager
def _alone() -> Iterator[None]:
    """On one CPU, before what else wants to run there; the central's servers may use any."""
    cpus = os.sched_getaffinity(0)
    os.setpriority(os.PRIO_PROCESS, 0, -15)
    os.sched_setaffinity(0, {max(cpus)})
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        os.sched_setaffinity(0, cpus)


def _print(name: str, lookup: Spread, figures: list[Figure]) -> None:
    rows = [
        (figure.case.name, figure.ns.text(), figure.lookups.text(1),
         str(figure.case.aim) if figure.case.aim else "")
        for figure in figures
    ]  # fmt: skip
    rows.insert(0, ("one lookup, 64-byte key", lookup.text(1), "1", ""))
    print(table((name, "ns per packet", "in lookups", "aim"), rows))

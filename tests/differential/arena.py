# SPDX-License-Identifier: Apache-2.0
"""Both sides, taken through the same steps; what comes out is compared port by port, byte by byte.

Order within a port is compared too, unless the frames of one step reach it by ways of unlike
length: what ovn-controller answers comes after what the data path forwards, or before.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from differential import differences
from differential.case import Bind, Case, Change, Send, Step
from differential.generate import PORTS
from differential.mirror import Mirror
from differential.side import FENCE, FENCE_LINES, Outputs, Side
from differential.southbound import flows, learned
from differential.topology import Topology
from differential.trace import loops
from iovisor_ovn.demo.places import sweep
from iovisor_ovn.demo.processes import until
from iovisor_ovn.demo.releases import INSTALLED, Release

__all__ = ["Arena", "Arenas", "Mismatch"]

T = TypeVar("T")
# How long the slower side may take, and how long a binding may take to be written (OVN waits up
# to 50 ms on purpose).
_PATIENCE_S = 2.0
_LEARNING_S = 0.08
_FENCES = 2
_DATAPATH_KEY = re.compile(
    r"^(set Logical_(?:Router|Switch) .*:requested-tnl-key=)(\d+)", re.MULTILINE
)
#: More than there are datapaths in a topology; beyond those of the fences.
_KEYS, _FIRST_GENERATION = 1000, 10


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The sides disagree.  ``ours`` and ``theirs`` are texts, one line for each thing."""

    step: int
    what: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


class Arena:
    """Both sides running; get one from :class:`Arenas`."""

    def __init__(self, directory: Path, release: Release) -> None:
        """Start both sides."""
        self._pool = ThreadPoolExecutor(2)
        self._release = release.name
        #: Whether gateway routers may be joined directly to others.
        self.joins_gateways = release != INSTALLED

        def start(flavor: Any) -> Side:
            name = f"dt{os.getpid()}{flavor[0]}"
            return Side(directory / flavor, name, flavor, PORTS, release)

        self.ours, self.theirs = self._pool.map(start, ("iovisor", "ovn"))
        self._mirror = Mirror(self.ours.nb, self.theirs.nb)
        self._bound = set(PORTS)
        # ARP and ND messages, and ports with source addresses, that had their chance to be learned.
        self._heard: set[bytes] = set()
        self._new_stations: set[bytes] = set()
        self._nbctl(FENCE_LINES)
        self._sync()
        self._both(Side.start_fences)
        self._learned = learned(self.ours.sb)

        self._sender = ""
        self._generation = 0
        # What comes out without frames is late.
        self._sent: Sequence[bytes] = ()
        self._has_learned = False  # since then
        #: How often each known difference explained what was unlike.
        self.explained: Counter[str] = Counter()
        #: Whether one of them makes all that follows in this topology unlike.
        self.is_parted = False

    def disconnect(self) -> None:
        """Close what this process holds; sweeping the directory ends the rest."""
        self._both(Side.disconnect)
        self._pool.shutdown()

    @property
    def plugged(self) -> frozenset[str]:
        """The ports that are plugged in."""
        return frozenset(self._bound)

    def set_up(self, topology: Topology) -> list[Mismatch]:
        """Replace the topology; return what is unlike in the logical flows."""
        self.is_parted = False
        self._remove_all()
        self._bind(set(PORTS))
        self._sync()
        self._both(Side.forget)
        self._generation += 1
        self._nbctl(_with_own_keys(topology.lines(), self._generation))
        self._sync()
        return self._unlike_flows(-1)

    def judge(self, case: Case) -> list[Mismatch]:
        """Set up, run all steps, return all mismatches up to those of the first unlike step."""
        unlike = self.set_up(case.topology)
        if unlike:
            return unlike
        for number, step in enumerate(case.steps):
            _outputs, unlike = self.do(number, step)
            if unlike or self.is_parted:
                return unlike
        return self.finish(len(case.steps))

    def do(self, number: int, step: Step) -> tuple[Outputs, list[Mismatch]]:
        """Do one step on both sides; return what theirs put out and what is unlike."""
        match step:
            case Send(port, frames, _what):
                return self._send(number, port, frames)
            case Change(lines, _what):
                self._nbctl("\n".join(lines))
            case Bind(port, plugged):
                self._bind(self._bound | {port} if plugged else self._bound - {port})
        self._sync()
        self._heard.clear()
        outputs, unlike = self._settle(number)
        return outputs, unlike + self._unlike_flows(number)

    def finish(self, number: int) -> list[Mismatch]:
        """Return what came out late, and what is unlike in what was learned."""
        self.await_learning()
        _outputs, unlike = self._settle(number)
        ours, theirs = learned(self.ours.sb), learned(self.theirs.sb)
        if ours != theirs:
            unlike.append(_unlike(number, "learned", ours - theirs, theirs - ours))
        return unlike

    def await_learning(self) -> bool:
        """Wait until both sides have learned the same; return whether they learned anything."""
        deadline = time.monotonic() + _LEARNING_S
        is_new = False
        while True:
            ours, theirs = learned(self.ours.sb), learned(self.theirs.sb)
            if ours != self._learned and not is_new:
                is_new = True
                deadline = time.monotonic() + _PATIENCE_S
            is_same = ours == theirs
            if (is_new and is_same) or time.monotonic() > deadline:
                break
            time.sleep(0.003)
        self._learned = ours
        if is_new:
            self._has_learned = True
            self._sync()
        return is_new

    # -- parts ---------------------------------------------------------------------------

    def _both(self, work: Callable[[Side], T]) -> tuple[T, T]:
        ours, theirs = self._pool.map(work, (self.ours, self.theirs))
        return ours, theirs

    def _nbctl(self, lines: str) -> None:
        self.ours.central.nb_lines(lines)
        self._mirror.copy()

    def _sync(self) -> None:
        """Wait until both sides work by their Northbound databases."""
        self._both(Side.sync)
        wanted = self._mirror.ports() & (self._bound | {FENCE})
        unready = [side for side in (self.ours, self.theirs) if not side.has_ready(wanted)]
        for side in unready:
            until(partial(side.has_ready, wanted), f"{side.flavor}: ports {sorted(wanted)}")
            side.sync()

    def _remove_all(self) -> None:
        fences = [("name", "!=", name) for name in ("fence", "fence-router")]
        self.ours.nb.transact(
            *(
                {"op": "delete", "table": table, "where": fences}
                for table in ("Logical_Switch", "Logical_Router")
            ),
            *(
                {"op": "delete", "table": table, "where": []}
                for table in ("Port_Group", "Address_Set", "Load_Balancer")
            ),
        )
        self._mirror.copy()
        self._heard.clear()

    def _bind(self, ports: set[str]) -> None:
        gone, come = sorted(self._bound - ports), sorted(ports - self._bound)
        if gone:
            self._both(lambda side: side.ends.unplug(gone))
        if come:
            self._both(lambda side: side.ends.plug(come))
        self._bound = ports

    def _send(
        self, number: int, port: str, frames: Sequence[bytes]
    ) -> tuple[Outputs, list[Mismatch]]:
        for side in (self.ours, self.theirs):
            for frame in frames:
                side.send(port, frame)
        self._sender, self._sent, self._has_learned = port, frames, False
        self._new_stations = set()
        if "unknown addresses" in self._mirror.circumstances():
            stations = {port.encode() + frame[6:12] for frame in frames}
            known = stations & self._heard
            self._new_stations = stations - known
            # A port whose address another one has had meanwhile is new when it comes back.
            addresses = {one[-6:] for one in stations}
            self._heard = {one for one in self._heard if one[-6:] not in addresses} | known
        outputs, unlike = self._settle(number, frames)
        seen = [*frames, *(frame for heard in outputs.values() for frame in heard)]
        fresh = {frame for frame in seen if _is_neighbour_message(frame)} - self._heard
        fresh |= self._new_stations
        # What routers ask each other no machine hears.
        is_held = not outputs and "asking routers" in self._mirror.circumstances()
        if fresh or is_held:
            self._heard |= fresh
            if self.await_learning():
                more, unlike_later = self._settle(number, frames)
                unlike += unlike_later
                for name, heard in more.items():
                    outputs.setdefault(name, []).extend(heard)
        return outputs, unlike

    def _settle(self, number: int, frames: Sequence[bytes] = ()) -> tuple[Outputs, list[Mismatch]]:
        """Wait until all is out, as far as it can be known, and compare."""
        for _ in range(_FENCES):
            self._fence()
        deadline = time.monotonic() + _PATIENCE_S
        while self.ours.count() != self.theirs.count() and time.monotonic() < deadline:
            for side in (self.ours, self.theirs):
                side.collect(0.002)
            self._fence()
        ours, theirs = self.ours.take(), self.theirs.take()
        unlike = [
            _unlike(number, port, _texts(ours.get(port, [])), _texts(theirs.get(port, [])))
            for port in sorted(ours.keys() | theirs.keys())
            if Counter(ours.get(port, [])) != Counter(theirs.get(port, []))
        ]
        if unlike and (known := self._explain(frames or self._sent, ours, theirs)) is not None:
            self.explained[known.name] += 1
            self.is_parted |= known.lasts
            unlike = []
        return theirs, unlike

    def _explain(
        self, frames: Sequence[bytes], ours: Outputs, theirs: Outputs
    ) -> differences.Difference | None:
        circumstances = {*self._mirror.circumstances(), self._release}
        if self._new_stations:
            circumstances.add("new station")
        known = differences.explain(frames, ours, theirs, circumstances)
        if known is None and "nat" in circumstances:
            found = {"given up"} if self.theirs.gave_up() else set()
            self.await_learning()
            found |= {"learned"} if self._has_learned else set()
            known = differences.explain(frames, ours, theirs, circumstances | found)
        central = self.ours.central
        if known is None and any(loops(central, self._sender, frame) for frame in frames):
            known = differences.explain(frames, ours, theirs, circumstances | {"loop"})
        return known

    def _fence(self) -> None:
        for side in (self.ours, self.theirs):
            side.send_fence()
        for side in (self.ours, self.theirs):
            side.await_fence()

    def _unlike_flows(self, number: int) -> list[Mismatch]:
        ours, theirs = self._both(lambda side: flows(side.sb))
        if ours == theirs:
            return []
        return [_unlike(number, "logical flows", ours - theirs, theirs - ours)]


class Arenas:
    """Gives the arena; a new one after one side has died.  Use in a ``with`` block."""

    def __init__(self, directory: Path, release: Release = INSTALLED) -> None:
        """Work in ``directory``, which ``sweep`` removes."""
        self._directory = directory
        self._release = release
        self._arena: Arena | None = None
        self._count = 0

    @property
    def arena(self) -> Arena:
        """The running arena, started if there is none."""
        if self._arena is None:
            self._count += 1
            self._arena = Arena(self._directory / str(self._count), self._release)
        return self._arena

    def end(self) -> None:
        """End the arena, with its processes whatever state they are in."""
        arena, self._arena = self._arena, None
        if arena is not None:
            arena.disconnect()
            sweep(self._directory / str(self._count))

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the arena."""
        self.end()


def _unlike(number: int, what: str, ours: Any, theirs: Any) -> Mismatch:
    return Mismatch(number, what, tuple(sorted(map(str, ours))), tuple(sorted(map(str, theirs))))


def _with_own_keys(lines: str, generation: int) -> str:
    """Give the datapaths tunnel keys that those of earlier topologies did not have.

    ovn-controller goes by these keys alone: what it held for a neighbour in the last ten seconds it
    would put into the next topology.
    """
    first = _KEYS * (_FIRST_GENERATION + generation)
    return _DATAPATH_KEY.sub(lambda found: f"{found[1]}{int(found[2]) + first}", lines)


def _texts(frames: Sequence[bytes]) -> list[str]:
    return [frame.hex() for frame in frames]


def _is_neighbour_message(frame: bytes) -> bool:
    """Whether a router may learn from it: ARP, or ND behind the plain IPv6 header."""
    at = 12
    while frame[at : at + 2] in {b"\x81\x00", b"\x88\xa8"}:
        at += 4
    kind = frame[at : at + 2]
    if kind == b"\x08\x06":
        return True
    return kind == b"\x86\xdd" and frame[at + 8 : at + 9] == b":" and frame[at + 42 : at + 43] in {
        b"\x87", b"\x88",
    }  # fmt: skip

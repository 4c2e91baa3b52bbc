# SPDX-License-Identifier: Apache-2.0
"""The same flows read, compiled and loaded, a packet through each, and what they disagree on.

A :class:`Case` is a history: flows come and go, sets change, packets enter. A :class:`Court` goes
through it on a :class:`Bench` (an image with the maps that it goes to, in Python or in the kernel)
and says in words what the judges do not agree on.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from iovisor_ovn.abi import Drop, Limit, Op, Program, Word
from iovisor_ovn.compiler.image import Capacity, Image
from iovisor_ovn.compiler.insn import Insn, ProgramText
from iovisor_ovn.compiler.interpreter import Interpreter, Outcome
from iovisor_ovn.compiler.patterns import Pattern, Unexecutable, compile_conjunction
from iovisor_ovn.compiler.programs import ProgramCompiler
from iovisor_ovn.compiler.reference import Reference
from iovisor_ovn.compiler.sets import Dimension, Member, SetTable, parse_member
from iovisor_ovn.language import (
    LanguageError,
    annotate,
    normalize,
    parse_actions,
    parse_match,
)
from judges.direct import Direct, DirectFlow, Verdict
from judges.packets import Packet, Shape, bytes_of, fields_of, words_of
from judges.world import GROUPS, PORTS, SETS, SYMBOLS, Names, context, kinds

__all__ = [
    "N_TABLES",
    "Bench",
    "Case",
    "Compare",
    "Court",
    "Flow",
    "ImageBench",
    "Machine",
    "Members",
    "Put",
    "Remove",
    "Send",
    "Sent",
    "Step",
    "compile_flow",
]

#: Tables of the ingress and the egress pipeline.
N_TABLES = (6, 3)
_CAPACITY = Capacity(slots=1 << 14, insns=1 << 14, shapes=1 << 10, guards=1 << 12, lists=1 << 12)
#: Words of a packet that judges compare: all but the place of the datapath's rows.
_COMPARED = Word.PIPELINE
#: Registers and connection state may hold anything only if some program writes them.
_WRITER = (
    *(Insn(Op.MOVE, word, word, 0, 0xFFFFFFFF) for word in range(Word.REG0, Word.REG9 + 1)),
    Insn(Op.CT_NEXT, Word.CT_ZONE),
)
_WRITER_STAGE = Limit.PORTSEC_IN - 1


@dataclass(frozen=True, slots=True)
class Flow:
    """A logical flow as text."""

    stage: int
    priority: int
    match: str
    actions: str

    def __str__(self) -> str:
        """One line."""
        pipeline = "egress" if self.egress else "ingress"
        return (
            f"{pipeline} table={self.table} priority={self.priority} "
            f"match=({self.match}) action=({self.actions})"
        )

    @property
    def table(self) -> int:
        """Its number within the pipeline."""
        return self.stage - Limit.EGRESS if self.egress else self.stage

    @property
    def egress(self) -> bool:
        """It belongs to the egress pipeline."""
        return self.stage >= Limit.EGRESS


@dataclass(frozen=True, slots=True)
class Put:
    """Add a flow, or replace the one of that number."""

    number: int
    flow: Flow

    def __str__(self) -> str:
        """One line."""
        return f"put {self.number}: {self.flow}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a flow out."""

    number: int

    def __str__(self) -> str:
        """One line."""
        return f"remove {self.number}"


@dataclass(frozen=True, slots=True)
class Members:
    """Give an address set other members."""

    name: str
    members: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        return f"set {self.name} = {{{', '.join(self.members)}}}"


@dataclass(frozen=True, slots=True)
class Send:
    """Let a packet enter the first stage."""

    packet: Packet

    def __str__(self) -> str:
        """Its fields and its bytes."""
        fields = {name: hex(value) for name, value in self.packet.fields.items() if value}
        return f"send {fields}\n     {self.packet.frame.hex()}"


@dataclass(frozen=True, slots=True)
class Compare:
    """Hold the image to a fresh one of the same flows."""

    def __str__(self) -> str:
        """One line."""
        return "compare with a fresh image"


Step = Put | Remove | Members | Send | Compare


@dataclass(frozen=True, slots=True)
class Case:
    """A history. ``any_state``: registers and connection state of packets need not be 0."""

    steps: tuple[Step, ...]
    any_state: bool = False

    def __str__(self) -> str:
        """One step a line."""
        return "\n".join(map(str, self.steps))


class Bench(Protocol):
    """An image and what its changes go to."""

    image: Image
    reference: Reference

    def apply(self) -> None:
        """Bring what changed in the image into force."""

    def change_members(self, changes: Mapping[Member, tuple[int, ...]]) -> None:
        """Take over what a set table drained."""

    def define(self, dimension: Dimension, *, prefixes: bool) -> None:
        """Define a dimension."""


class ImageBench:
    """A bench in Python alone."""

    def __init__(self) -> None:
        """Start empty."""
        self.image = Image(_CAPACITY)
        self.reference = Reference()

    def apply(self) -> None:
        """Drain the image."""
        self.reference.apply(self.image.drain())
        self.image.settle()

    def change_members(self, changes: Mapping[Member, tuple[int, ...]]) -> None:
        """Hand on."""
        self.reference.change_members(changes)

    def define(self, dimension: Dimension, *, prefixes: bool) -> None:
        """Hand on."""
        self.reference.define(dimension, prefixes=prefixes)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a judge saw: frames by port in order, drops, and words (empty: not looked at)."""

    frames: Mapping[int, Sequence[bytes]]
    drops: Mapping[Drop, int]
    words: tuple[int, ...] = ()


#: The third judge: let a frame with these words enter a stage.
Machine = Callable[[bytes, Sequence[int]], Sent]


@dataclass(slots=True)
class Court:
    """A datapath with flows in all forms.

    ``is_alone``: nobody else has flows in the bench's image. ``refused`` counts flows that are no
    text, or nothing that the machine executes.
    """

    bench: Bench
    datapath: int = 1
    machine: Machine | None = None
    any_state: bool = False
    is_alone: bool = True
    refused: int = 0
    sets: SetTable = field(default_factory=SetTable)
    members: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(SETS))
    known: dict[int, Flow] = field(default_factory=dict)
    _flows: dict[int, DirectFlow] = field(default_factory=dict)
    _in_force: bool = False
    direct: Direct = field(default_factory=lambda: Direct({}, kinds(), context(SETS)))
    _interpreter: Interpreter = field(init=False)
    _entries: Iterator[int] = field(default_factory=itertools.count)
    _names: dict[int, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill groups and sets; tell the image that state can be anything, if it can."""
        for name, members in self.members.items():
            self._define(name, members)
        for name, key in PORTS.items():
            ids = sorted(self.sets.set_id(f"@{g}") for g, ports in GROUPS.items() if name in ports)
            self.bench.reference.groups[self.datapath, key] = tuple(ids)
        ports = {(self.datapath, key): port for key, port in kinds().items()}
        self._interpreter = Interpreter(self.bench.reference, ports)
        if self.any_state:
            where = (self.datapath, _WRITER_STAGE)
            self.bench.image.add_flow(("writer", self.datapath), where, 0, [Pattern()], _WRITER)

    def _define(self, name: str, members: Iterable[str]) -> None:
        parsed = [parse_member(text) for text in members]
        self.sets.define(f"${name}", [member for member in parsed if member is not None])

    # -- flows ---------------------------------------------------------------------------

    def take(self, step: Step) -> str:
        """Go one step; what the judges then do not agree on, empty if nothing."""
        match step:
            case Put(number, flow):
                self._remove(number)
                self._put(number, flow)
            case Remove(number):
                self._remove(number)
            case Members(name, members):
                self.members[name] = members
                self._define(name, members)
            case Send(packet):
                self._bring_into_force()
                return self._judge(packet)
            case Compare():
                self._bring_into_force()
                return self._against_fresh() if self.is_alone else ""
        self._in_force = False
        return ""

    def _bring_into_force(self) -> None:
        if self._in_force:
            return
        self._in_force = True
        self.bench.change_members(self.sets.drain())
        for dimension in self.sets.dimensions:
            self.bench.define(dimension, prefixes=self.sets.has_prefixes(dimension.space))
        self.bench.apply()
        flows: dict[int, list[DirectFlow]] = {}
        for number, flow in self.known.items():
            flows.setdefault(flow.stage, []).append(self._flows[number])
        self.direct.flows = flows
        self.direct.context = context(self.members)

    def close(self) -> None:
        """Take everything out of the bench again."""
        for number in list(self.known):
            self._remove(number)
        self.bench.image.remove_flow(("writer", self.datapath))
        self.bench.change_members(dict.fromkeys(self.sets.everything(), ()))
        self.bench.apply()

    def _put(self, number: int, flow: Flow) -> None:
        try:
            direct, patterns, program = compile_flow(flow, self.sets)
        except (LanguageError, Unexecutable):
            self.refused += 1
            return
        name = self._names[number] = (self.datapath, next(self._entries))
        where = (self.datapath, flow.stage)
        self.bench.image.add_flow(name, where, flow.priority, patterns, program)
        self.known[number], self._flows[number] = flow, direct

    def _remove(self, number: int) -> None:
        if self.known.pop(number, None) is not None:
            self.bench.image.remove_flow(self._names.pop(number))

    # -- packets -------------------------------------------------------------------------

    def _judge(self, packet: Packet) -> str:
        frame, words = packet.frame, words_of(packet, self.datapath)
        seen = fields_of(words, packet.shape)
        if seen != packet.fields:
            return _difference("packet: fields", packet.fields, "model of the parser", seen)
        tag = 4 if packet.fields["vlan.tci"] & 0x1000 else 0
        read = self.direct.run(dict(packet.fields), 0, len(frame) - tag)
        compiled = self._interpreter.run(words, 0, len(frame) - tag)
        found = _against_image(packet, read, compiled)
        if found or self.machine is None:
            return found
        return _against_machine(compiled, packet.shape, self.machine(frame, words))

    def _against_fresh(self) -> str:
        """How an image with this history differs from one that gets the flows now."""
        fresh = Image(_CAPACITY)
        if self.any_state:
            fresh.add_flow("writer", (self.datapath, _WRITER_STAGE), 0, [Pattern()], _WRITER)
        for number, flow in self.known.items():
            _direct, patterns, program = compile_flow(flow, self.sets)
            fresh.add_flow(number, (self.datapath, flow.stage), flow.priority, patterns, program)
        fresh.drain()
        used, wanted = _use(self.bench.image), _use(fresh)
        return _difference("fresh image: use", wanted, "this one", used) if used != wanted else ""


def compile_flow(
    flow: Flow, sets: SetTable
) -> tuple[DirectFlow, list[Pattern], Program | ProgramText]:
    """The flow in both forms; raises LanguageError or Unexecutable."""
    pipeline = "egress" if flow.egress else "ingress"
    match = parse_match(flow.match, SYMBOLS)
    actions = parse_actions(
        flow.actions, SYMBOLS, pipeline=pipeline, table=flow.table, n_tables=N_TABLES
    )
    names = Names(sets)
    patterns = [
        pattern
        for conjunction in normalize(match, SYMBOLS, actions.prereqs)
        for pattern in compile_conjunction(conjunction, names, sets)
    ]
    compiler = ProgramCompiler(
        names, flow.egress, flow.table, is_router=False, verb_number=lambda _verb: 0
    )
    compiled = compiler.compile(actions)
    if compiled.unsupported:
        raise Unexecutable(compiled.unsupported)
    demands = tuple(annotate(expr, SYMBOLS) for expr in (match, *actions.prereqs))
    return DirectFlow(flow.priority, demands, actions), patterns, compiled.program


def _use(image: Image) -> dict[str, int]:
    """Elements in use. Layouts of tuples, and with them key lengths and guards, have a history."""
    use = image.use()
    entries = sum(count for name, count in use.items() if name.startswith("entries"))
    return {"entries": entries, "slots": use["slots"], "insns": use["insns"]}


def _against_image(packet: Packet, read: Verdict, compiled: Outcome) -> str:
    """What trees and image do not agree on."""
    shape = packet.shape
    wanted = [(port, bytes_of(fields, shape)) for port, fields in read.emitted]
    found = [(port, bytes_of(fields_of(w, shape), shape)) for port, w in compiled.emitted]
    if wanted != found:
        return _difference("tree: frames", wanted, "image", found)
    if read.drops != compiled.drops:
        return _difference("tree: drops", read.drops, "image", compiled.drops)
    left = fields_of(compiled.words, shape)
    # A field that was written though the packet does not have it is of no interest.
    kept = {name: read.fields[name] for name in left}
    return _difference("tree: fields", kept, "image", left) if kept != left else ""


def _against_machine(compiled: Outcome, shape: Shape, sent: Sent) -> str:
    """What image and machine do not agree on."""
    frames: dict[int, list[bytes]] = {}
    for port, words in compiled.emitted:
        frames.setdefault(port, []).append(bytes_of(fields_of(words, shape), shape))
    if frames != sent.frames:
        return _difference("image: frames", frames, "machine", sent.frames)
    if compiled.drops != sent.drops:
        return _difference("image: drops", compiled.drops, "machine", sent.drops)
    wanted, found = list(compiled.words[:_COMPARED]), list(sent.words[:_COMPARED])
    return _difference("image: words", wanted, "machine", found) if wanted != found else ""


def _difference(one: str, wanted: object, other: str, found: object) -> str:
    """Both, without what mappings and lists have in common."""
    if isinstance(wanted, list) and isinstance(found, list):
        wanted, found = dict(enumerate(wanted)), dict(enumerate(found))
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        names = [n for n in {**wanted, **found} if wanted.get(n) != found.get(n)]
        wanted, found = (
            {n: _show(wanted.get(n)) for n in names},
            {n: _show(found.get(n)) for n in names},
        )
    return f"{one}: {wanted}\n{other}: {found}"


def _show(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int):
        return hex(value)
    return [_show(item) for item in value] if isinstance(value, list | tuple) else value

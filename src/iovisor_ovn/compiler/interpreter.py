# SPDX-License-Identifier: Apache-2.0
"""The machine's loop over stages and programs in Python: what becomes of a packet's words.

:class:`Reference` finds programs; this executes them as ``bpf/machine/machine.bpf.c`` does, on
instructions as they lie in the map::

    interpreter = Interpreter(reference, {(1, 1): Port(PortKind.VIF), (1, 2): Port(PortKind.VIF)})
    outcome = interpreter.run(words, stage=0, size=60)
    outcome.emitted  # [(2, words of the packet that left through port 2)]

What needs the packet's bytes or a connection table (conntrack, generated packets) is left out
and raises NotImplementedError.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from iovisor_ovn.abi import Drop, Limit, Op, PortKind, Program, Temp, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.reference import Reference

__all__ = ["Interpreter", "Outcome", "Port"]

_ALL = 0xFFFFFFFF
_REGISTERS = slice(Word.REG0, Word.REG9 + 1)
_CT_WORDS = slice(Word.CT_STATE, Word.CT_LABEL3 + 1)
_SCRATCH = slice(Temp.SCRATCH0, Temp.SCRATCH0 + 4)
_KEY = slice(Temp.PORT, Temp.IP3 + 1)  # port and address
_MAC = slice(Temp.MAC_HI, Temp.MAC_LO + 1)
_FLAG_LOOPBACK, _TCI_PRESENT = 1, 0x1000

_Words = list[int]


@dataclass(frozen=True, slots=True)
class Port:
    """What a port key leads to; ``members`` of a multicast group are port keys."""

    kind: PortKind
    members: tuple[int, ...] = ()


@dataclass(slots=True)
class Outcome:
    """``emitted``: (port key, words) of each copy in order; ``words`` when all was done."""

    emitted: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    drops: Counter[Drop] = field(default_factory=Counter)
    counts: Counter[int] = field(default_factory=Counter)
    punted: int = 0
    words: tuple[int, ...] = ()


@dataclass(slots=True)
class _Work:
    """A pending item: ``words`` is ``None`` where the present ones are kept."""

    pc: int
    words: _Words | None = None
    members: tuple[int, ...] = ()


class _EndOfStrand(Exception):
    """Nothing more is to be done for this copy; the reason is counted."""

    def __init__(self, reason: Drop = Drop.NONE) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Interpreter:
    """Executes what ``reference`` finds.

    ``ports``: (datapath index, port key) to port. ``neighbours`` and ``stations`` are what
    packets have taught: (datapath, port, address words) to MAC, (datapath, MAC) to port.
    """

    reference: Reference
    ports: Mapping[tuple[int, int], Port]
    neighbours: dict[tuple[int, ...], tuple[int, int]] = field(default_factory=dict)
    stations: dict[tuple[int, ...], int] = field(default_factory=dict)
    _w: _Words = field(default_factory=list)
    _work: list[_Work] = field(default_factory=list)
    _stack: list[_Words] = field(default_factory=list)
    _outcome: Outcome = field(default_factory=Outcome)
    _size: int = 0

    def run(self, words: Sequence[int], stage: int, size: int) -> Outcome:
        """What becomes of a packet of ``size`` bytes, tag not counted, that enters ``stage``."""
        self._w = [*words[: Limit.WORDS], *[0] * Limit.TEMPS]
        self._work, self._stack, self._outcome = [], [], Outcome()
        self._size = size
        self._strand(lambda: self._visit(stage))
        while self._work:
            self._strand(self._resume)
        self._outcome.words = tuple(self._w)
        return self._outcome

    def _strand(self, enter: Callable[[], None]) -> None:
        try:
            enter()
        except _EndOfStrand as end:
            if end.reason:
                self._outcome.drops[end.reason] += 1

    def _resume(self) -> None:
        item = self._work[-1]
        if item.words is None:
            self._work.pop()
            return self._execute(item.pc)
        self._w[: Limit.WORDS] = item.words
        if not item.members:
            self._work.pop()
            return self._execute(item.pc)
        self._w[Word.OUTPORT], *rest = item.members
        item.members = tuple(rest)
        if not rest or (len(rest) == 1 and self._goes_back(rest[0])):
            self._work.pop()
        if self._goes_back(self._w[Word.OUTPORT]):
            raise _EndOfStrand
        return self._enter_egress()

    def _visit(self, stage: int) -> None:
        """Find the program of a stage and execute it."""
        found = self.reference.classify(self._w, stage)
        if found.program < 0:
            raise _EndOfStrand(Drop(-found.program))
        if found.program == Program.DROP:
            raise _EndOfStrand(Drop.POLICY)
        if found.program == Program.NEXT:
            return self._visit(found.stage + 1)
        return self._execute(found.program)

    def _execute(self, pc: int) -> None:
        while True:
            insn = self.reference.insns[pc]
            step = _STEPS.get(insn.op)
            if step is None:
                raise NotImplementedError(Op(insn.op).name)
            getattr(self, step)(insn, pc)
            pc += 1

    # -- instructions --------------------------------------------------------------------

    def _end(self, insn: Insn, _pc: int) -> None:
        raise _EndOfStrand(Drop(insn.x))

    def _load(self, insn: Insn, _pc: int) -> None:
        self._w[insn.a] = self._w[insn.a] & ~insn.x | insn.y

    def _move(self, insn: Insn, _pc: int) -> None:
        value = self._w[insn.b]
        turned = (value << insn.c | value >> 32 - insn.c) & _ALL
        self._w[insn.a] = self._w[insn.a] & ~insn.x | turned & insn.x

    def _next(self, insn: Insn, _pc: int) -> None:
        self._visit(insn.a)

    def _call(self, insn: Insn, pc: int) -> None:
        if len(self._work) >= Limit.WORK_DEPTH:
            raise _EndOfStrand(Drop.WORK_FULL)
        self._work.append(_Work(pc + 1))
        self._visit(insn.a)

    def _fork(self, insn: Insn, pc: int) -> None:
        self._push_work(_Work(pc + insn.x, self._w[: Limit.WORDS]))

    def _push_work(self, item: _Work) -> None:
        if len(self._work) < Limit.WORK_DEPTH:
            self._work.append(item)
        else:
            self._outcome.drops[Drop.WORK_FULL] += 1

    def _output(self, _insn: Insn, _pc: int) -> None:
        port = self._port()
        if port.kind != PortKind.MULTICAST:
            self._enter_egress()
            return
        if port.members:
            self._push_work(_Work(0, self._w[: Limit.WORDS], port.members))
        raise _EndOfStrand

    def _port(self) -> Port:
        port = self.ports.get((self._w[Word.DATAPATH], self._w[Word.OUTPORT]))
        if port is None:
            raise _EndOfStrand(Drop.UNKNOWN_PORT)
        return port

    def _goes_back(self, outport: int) -> bool:
        return self._w[Word.INPORT] == outport and not self._w[Word.FLAGS] & _FLAG_LOOPBACK

    def _enter_egress(self) -> None:
        if self._port().kind == PortKind.NONE:
            raise _EndOfStrand(Drop.NO_PORT)
        w = self._w
        if self._goes_back(w[Word.OUTPORT]):
            raise _EndOfStrand(Drop.LOOPBACK)
        w[Word.CT_ZONE] = 0
        w[_REGISTERS] = [0] * len(w[_REGISTERS])
        self._visit(Limit.EGRESS)

    def _deliver(self, _insn: Insn, _pc: int) -> None:
        port = self._port()
        if port.kind != PortKind.VIF:
            raise _EndOfStrand(Drop.NO_PORT)
        self._outcome.emitted.append((self._w[Word.OUTPORT], tuple(self._w)))
        raise _EndOfStrand

    def _dec_ttl(self, _insn: Insn, _pc: int) -> None:
        if self._w[Word.IP_META] >> 8 & 0xFF <= 1:
            raise _EndOfStrand(Drop.TTL)
        self._w[Word.IP_META] -= 0x100

    def _count(self, insn: Insn, _pc: int) -> None:
        self._outcome.counts[insn.x] += 1

    def _punt(self, _insn: Insn, _pc: int) -> None:
        self._outcome.punted += 1

    def _push(self, _insn: Insn, _pc: int) -> None:
        if len(self._stack) >= Limit.STACK:
            raise _EndOfStrand(Drop.STACK)
        self._stack.append(self._w[_SCRATCH])

    def _pop(self, _insn: Insn, _pc: int) -> None:
        if not self._stack:
            raise _EndOfStrand(Drop.STACK)
        self._w[_SCRATCH] = self._stack.pop()

    def _unsupported(self, _insn: Insn, _pc: int) -> None:
        raise _EndOfStrand(Drop.UNSUPPORTED)

    def _check_larger(self, insn: Insn, _pc: int) -> None:
        tag = 4 if self._w[Word.ETH_TYPE_TCI] & _TCI_PRESENT else 0
        self._w[Temp.RESULT] = int(self._size + tag > insn.x)

    def _ct_clear(self, _insn: Insn, _pc: int) -> None:
        self._w[_CT_WORDS] = [0] * len(self._w[_CT_WORDS])

    # -- neighbours and stations ---------------------------------------------------------

    def _neighbour(self) -> tuple[int, ...]:
        return (self._w[Word.DATAPATH], *self._w[_KEY])

    def _neigh_get(self, _insn: Insn, _pc: int) -> None:
        high, low = self.neighbours.get(self._neighbour(), (0, 0))
        self._w[Word.ETH_HI] = high << 16 | self._w[Word.ETH_HI] & 0xFFFF
        self._w[Word.ETH_DST_LO] = low

    def _neigh_put(self, _insn: Insn, _pc: int) -> None:
        high, low = self._w[_MAC]
        self.neighbours[self._neighbour()] = (high, low)

    def _neigh_lookup(self, insn: Insn, _pc: int) -> None:
        known = self.neighbours.get(self._neighbour(), (0, 0))
        found = known != (0, 0) and (not insn.a or known == tuple(self._w[_MAC]))
        self._w[Temp.RESULT] = int(found)

    def _station(self) -> tuple[int, ...]:
        return (self._w[Word.DATAPATH], *self._w[_MAC])

    def _fdb_get(self, _insn: Insn, _pc: int) -> None:
        self._w[Temp.RESULT] = self.stations.get(self._station(), 0)

    def _fdb_put(self, _insn: Insn, _pc: int) -> None:
        self.stations[self._station()] = self._w[Temp.PORT]

    def _fdb_lookup(self, _insn: Insn, _pc: int) -> None:
        self._w[Temp.RESULT] = int(self.stations.get(self._station()) == self._w[Temp.PORT])


# One method for each opcode that acts on words.
_STEPS: dict[int, str] = {
    Op.END: "_end",
    Op.LOAD: "_load",
    Op.MOVE: "_move",
    Op.NEXT: "_next",
    Op.CALL: "_call",
    Op.FORK: "_fork",
    Op.OUTPUT: "_output",
    Op.DELIVER: "_deliver",
    Op.DEC_TTL: "_dec_ttl",
    Op.COUNT: "_count",
    Op.PUNT: "_punt",
    Op.PUSH: "_push",
    Op.POP: "_pop",
    Op.UNSUPPORTED: "_unsupported",
    Op.CHECK_LARGER: "_check_larger",
    Op.CT_CLEAR: "_ct_clear",
    Op.NEIGH_GET: "_neigh_get",
    Op.NEIGH_PUT: "_neigh_put",
    Op.NEIGH_LOOKUP: "_neigh_lookup",
    Op.FDB_GET: "_fdb_get",
    Op.FDB_PUT: "_fdb_put",
    Op.FDB_LOOKUP: "_fdb_lookup",
}

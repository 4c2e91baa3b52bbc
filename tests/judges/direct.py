# SPDX-License-Identifier: Apache-2.0
"""The first judge: trees of matches and actions, executed as they are read.

Nothing of the compiler is used. A packet is a mapping of base field to number; a list of actions
is a loop; ``next`` is a call, as it is in OVN. What OVN leaves to Open vSwitch (exchanges through
the stack, a clone's own stack) is done as there.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from iovisor_ovn.abi import Drop, Limit, PortKind
from iovisor_ovn.compiler.interpreter import Port
from iovisor_ovn.language import (
    Action,
    ActionList,
    CheckPktLarger,
    Clone,
    Constant,
    Context,
    CtClear,
    DecTtl,
    Exchange,
    Expr,
    FieldRef,
    GetFdb,
    GetNeighbor,
    Load,
    LookupFdb,
    LookupNeighbor,
    Move,
    Next,
    Output,
    Pop,
    Push,
    PutFdb,
    PutNeighbor,
    evaluate,
)
from judges.packets import Fields
from judges.world import PORTS

__all__ = ["Direct", "DirectFlow", "Unsuited", "Verdict", "View"]

#: Fields that lie in another one: base field and lowest bit.
_ALIASES = {
    "__inport": ("inport", 0),
    "__outport": ("outport", 0),
    "remote_outport": ("xxreg0", 64),
    **{f"rarp.{name}": (f"arp.{name}", 0) for name in ("op", "spa", "sha", "tpa", "tha")},
}
_NAMES = {0: "none"} | {key: name for name, key in PORTS.items()}
_TEXTS = ("inport", "outport", "remote_outport")
_REGISTERS = ("xxreg0", "xxreg1", "xreg4")


@dataclass(frozen=True, slots=True)
class DirectFlow:
    """A flow as it is read; ``demands`` are its match and its actions' prerequisites, annotated."""

    priority: int
    demands: tuple[Expr, ...]
    actions: ActionList


@dataclass(slots=True)
class Verdict:
    """``emitted``: (port key, fields) of each copy in order; ``fields`` when all was done."""

    emitted: list[tuple[int, Fields]] = field(default_factory=list)
    drops: Counter[Drop] = field(default_factory=Counter)
    fields: Fields = field(default_factory=dict)


class View(Mapping[str, int | str]):
    """A packet as :func:`evaluate` wants it: ports by name, aliases resolved."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> int | str:
        """A field's value, or the name of a port."""
        base, at = _ALIASES.get(name, (name, 0))
        value = self._fields.get(base, 0) >> at
        return _NAMES.get(value & 0xFFFFFFFF, "") if name in _TEXTS else value

    def __iter__(self) -> Iterator[str]:
        """Names of the fields that were set."""
        return iter(self._fields)

    def __len__(self) -> int:
        """Fields that were set."""
        return len(self._fields)


@dataclass(slots=True)
class _State:
    """A copy of the packet under way; ``size`` of its bytes without a tag."""

    fields: Fields
    stack: list[int]
    size: int

    def copy(self) -> "_State":
        return _State(dict(self.fields), list(self.stack), self.size)

    def read(self, ref: FieldRef) -> int:
        base, at = _ALIASES.get(ref.field.name, (ref.field.name, 0))
        return self.fields.get(base, 0) >> at + ref.offset & (1 << ref.width) - 1

    def write(self, ref: FieldRef, value: int, mask: int = -1) -> None:
        base, at = _ALIASES.get(ref.field.name, (ref.field.name, 0))
        bits = (mask & (1 << ref.width) - 1) << at + ref.offset
        old = self.fields.get(base, 0)
        self.fields[base] = old & ~bits | value << at + ref.offset & bits


class Unsuited(Exception):
    """A list does what random lists do not: there is no telling what is right."""


class _OutOfTtl(Exception):
    """The list ends here."""


@dataclass(slots=True)
class Direct:
    """``flows`` by stage; what packets teach stays for the next ones.

    ``met``: stage and priority of flows that some packet found.
    """

    flows: Mapping[int, Sequence[DirectFlow]]
    ports: Mapping[int, Port]
    context: Context
    neighbours: dict[tuple[int, int], int] = field(default_factory=dict)
    stations: dict[int, int] = field(default_factory=dict)
    met: set[tuple[int, int]] = field(default_factory=set)
    _verdict: Verdict = field(default_factory=Verdict)

    def run(self, fields: Fields, stage: int, size: int) -> Verdict:
        """What becomes of a packet of ``size`` bytes, tag not counted, that enters ``stage``."""
        self._verdict = Verdict()
        state = _State(dict(fields), [], size)
        self._visit(state, stage)
        self._verdict.fields = state.fields
        return self._verdict

    def _drop(self, reason: Drop) -> None:
        self._verdict.drops[reason] += 1

    def _visit(self, state: _State, stage: int) -> None:
        view = View(state.fields)
        matching = [
            flow
            for flow in self.flows.get(stage, ())
            if all(evaluate(expr, view, self.context) for expr in flow.demands)
        ]
        if not matching:
            self._drop(Drop.NO_FLOW)
            return
        best = max(matching, key=lambda flow: flow.priority)
        self.met.add((stage, best.priority))
        body = best.actions.actions
        try:
            if not self._list(body, state, stage):
                self._drop(Drop.POLICY)
        except _OutOfTtl:
            self._drop(Drop.TTL)

    def _list(self, body: Sequence[Action], state: _State, stage: int) -> bool:
        """Execute; whether the list ended by going elsewhere."""
        for position, action in enumerate(body):
            last = position == len(body) - 1
            match action:
                case Next(pipeline, table):
                    self._visit(state, (Limit.EGRESS if pipeline == "egress" else 0) + table)
                case Output():
                    # Actions behind it see the packet as it was before.
                    self._output(state if last else state.copy(), stage)
                case Clone(inner):
                    copy = state.copy()
                    try:
                        self._list(inner, copy, stage)
                    except _OutOfTtl:
                        self._drop(Drop.TTL)
                case _:
                    self._act(action, state)
        return bool(body) and isinstance(body[-1], Next | Output)

    def _act(self, action: Action, state: _State) -> None:
        fields = state.fields
        match action:
            case Load(ref, str() as name):
                state.write(ref, 0 if name == "none" else PORTS.get(name, 0))
            case Load(ref, Constant(value, mask)):
                state.write(ref, value, -1 if mask is None else mask)
            case Move(dst, src):
                state.write(dst, state.read(src))
            case Exchange(a, b):
                first, second = state.read(a), state.read(b)
                state.write(a, second)
                state.write(b, first)
            case Push(ref):
                state.stack.append(state.read(ref))
            case Pop(ref):
                if not state.stack:
                    raise Unsuited("pop of nothing")
                state.write(ref, state.stack.pop())
            case DecTtl():
                if fields["ip.ttl"] <= 1:
                    raise _OutOfTtl
                fields["ip.ttl"] -= 1
            case CtClear():
                fields.update(dict.fromkeys(("ct_state", "ct_mark", "ct_label"), 0))
            case CheckPktLarger(result, size):
                tag = 4 if fields["vlan.tci"] & 0x1000 else 0
                state.write(result, int(state.size + tag > size))
            case _:
                self._learn(action, state)

    def _learn(self, action: Action, state: _State) -> None:
        """Neighbours and stations."""
        match action:
            case GetNeighbor(_, port, ip):
                key = (state.read(port), state.read(ip))
                state.fields["eth.dst"] = self.neighbours.get(key, 0)
            case PutNeighbor(_, port, ip, mac):
                self.neighbours[state.read(port), state.read(ip)] = state.read(mac)
            case LookupNeighbor(_, result, port, ip, mac):
                known = self.neighbours.get((state.read(port), state.read(ip)), 0)
                found = known and (mac is None or known == state.read(mac))
                state.write(result, int(bool(found)))
            case GetFdb(_, result, mac):
                state.write(result, self.stations.get(state.read(mac), 0))
            case PutFdb(port, mac):
                self.stations[state.read(mac)] = state.read(port)
            case LookupFdb(result, port, mac):
                found = self.stations.get(state.read(mac)) == state.read(port)
                state.write(result, int(found))
            case _:
                raise NotImplementedError(type(action).__name__)

    # -- output --------------------------------------------------------------------------

    def _output(self, state: _State, stage: int) -> None:
        port = self.ports.get(state.fields["outport"])
        if port is None:
            self._drop(Drop.UNKNOWN_PORT)
        elif stage >= Limit.EGRESS:
            self._deliver(state, port)
        elif port.kind == PortKind.MULTICAST:
            before = dict(state.fields)
            for member in port.members:
                is_back = self._goes_back(before | {"outport": member})
                if is_back and len(port.members) > 1:
                    continue
                state.fields.clear()
                state.fields.update(before, outport=member)
                if not is_back:
                    self._enter_egress(state, self.ports[member])
        else:
            self._enter_egress(state, port)

    @staticmethod
    def _goes_back(fields: Mapping[str, int]) -> bool:
        return fields["inport"] == fields["outport"] and not fields["flags"] & 1

    def _enter_egress(self, state: _State, port: Port) -> None:
        fields = state.fields
        if port.kind == PortKind.NONE:
            self._drop(Drop.NO_PORT)
        elif self._goes_back(fields):
            self._drop(Drop.LOOPBACK)
        else:
            fields.update(dict.fromkeys(_REGISTERS, 0))
            self._visit(state, Limit.EGRESS)

    def _deliver(self, state: _State, port: Port) -> None:
        if port.kind == PortKind.VIF:
            self._verdict.emitted.append((state.fields["outport"], dict(state.fields)))
        else:
            self._drop(Drop.NO_PORT)

# SPDX-License-Identifier: Apache-2.0
"""Random cases: a history of flows, and packets that come near what the flows match."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from iovisor_ovn.abi import Limit
from iovisor_ovn.compiler.sets import parse_member, space_width
from iovisor_ovn.language import (
    Clause,
    Conjunction,
    FieldClause,
    LanguageError,
    PortClause,
    SetClause,
    Symbol,
    Term,
    normalize,
    parse_actions,
    parse_match,
)
from judges.court import (
    N_TABLES,
    Case,
    Compare,
    Court,
    Flow,
    Members,
    Put,
    Remove,
    Send,
    Step,
)
from judges.packets import STATE, Packet, layout, make_packet
from judges.texts import Writer, draw_focus, draw_value, match_text
from judges.world import GROUPS, MEMBERS, PORTS, SETS, SYMBOLS

__all__ = ["Tally", "random_case", "random_packet"]

_MAX_FLOWS = 5  # of one stage
_ROUNDS = 3
_WIDTHS = {symbol.ref.field.name: symbol.ref.field.width for symbol in SYMBOLS if symbol.ref}
#: Fields with a say in what other fields there are, or that hold less than their width.
_SHAPING = ("inport", "outport", "ct_state", "eth.type", "vlan.tci", "ip.proto", "ip.frag",
            "icmp6.type", "icmp6.code", "arp.op")  # fmt: skip
_L4_WRITES = ("tcp.", "udp.", "sctp.", "icmp")


@dataclass(slots=True)
class Tally:
    """What was looked at.

    ``refused`` flows are no text, or nothing that the machine executes; ``met`` ones were found by
    some packet.
    """

    expressions: int = 0
    action_lists: int = 0
    refused: int = 0
    met: int = 0
    packets: int = 0

    def __str__(self) -> str:
        """The numbers."""
        return (
            f"{self.expressions} expressions, {self.action_lists} action lists, "
            f"{self.refused} flows refused, {self.met} met by {self.packets} packets"
        )


def random_case(
    seed: int, court_of: Callable[[bool], Court], tally: Tally, packets: int = 10
) -> tuple[Case, str]:
    """A random history up to the first step at which judges disagree, and what they say.

    ``court_of`` makes the court of a case that has any state or none. ``packets`` enter after
    each round of changes.
    """
    rng = random.Random(seed)
    any_state = rng.random() < 0.6
    court = court_of(any_state)
    steps: list[Step] = []
    try:
        for step in _history(rng, court, any_state, packets):
            steps.append(step)
            words = court.take(step)
            if words:
                return Case(tuple(steps), any_state), words
    finally:
        court.close()
        tally.packets += sum(isinstance(step, Send) for step in steps)
        tally.expressions += sum(isinstance(step, Put) for step in steps) - court.refused
        tally.action_lists += len({s.flow.actions for s in steps if isinstance(s, Put)})
        tally.refused += court.refused
        tally.met += len(court.direct.met)
    return Case(tuple(steps), any_state), ""


def _history(rng: random.Random, court: Court, any_state: bool, packets: int) -> Iterator[Step]:
    draw = _Flows(rng)
    for number in range(_ROUNDS):
        yield from draw.round(again=number > 0)
        flows = list(court.known.values())
        near = tuple(_conjunctions(flows))
        whole = any(name in flow.actions for flow in flows for name in _L4_WRITES)
        sent: list[Packet] = []
        for _packet in range(packets):
            if sent and rng.random() < 0.3:
                packet = _once_more(rng, rng.choice(sent), any_state=any_state)
            else:
                packet = random_packet(rng, near, court.members, any_state=any_state, whole=whole)
            sent.append(packet)
            yield Send(packet)
        yield Compare()


def _once_more(rng: random.Random, packet: Packet, *, any_state: bool) -> Packet:
    """The same packet, or one that differs in a bit: a machine that remembers must notice."""
    hidden = _L4_WRITES if packet.fields.get("ip.frag") else ()
    names = [name for name in packet.fields
             if name not in _SHAPING and not name.startswith(hidden)
             and (any_state or name not in STATE)]  # fmt: skip
    if rng.random() < 0.3 or not names:
        return packet
    name = rng.choice(names)
    changed = packet.fields[name] ^ 1 << rng.randrange(_WIDTHS[name])
    return Packet({**packet.fields, name: changed}, packet.shape)


# -- flows -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Flows:
    rng: random.Random
    drawn: int = 0
    _known: dict[int, int] = field(default_factory=dict)  # number: stage
    _with_types: bool = False
    _focus: tuple[Symbol, ...] = ()

    def __post_init__(self) -> None:
        self._with_types = self.rng.random() < 0.3
        self._focus = draw_focus(self.rng)

    def round(self, *, again: bool) -> Iterator[Step]:
        """Steps: everything at first, then some of each kind."""
        rng = self.rng
        stages = (*range(N_TABLES[0]), *(Limit.EGRESS + n for n in range(N_TABLES[1])))
        if again:
            for number in rng.sample(sorted(self._known), len(self._known) // 3):
                if rng.random() < 0.5:
                    del self._known[number]
                    yield Remove(number)
                else:
                    yield Put(number, self._flow(self._known[number]))
            for name in rng.sample(list(SETS), 3):
                yield Members(name, self._members(name))
            stages = tuple(rng.sample(stages, 3))
        for stage in stages:
            for _flow in range(rng.randrange(1 if again else _MAX_FLOWS + 1) or again):
                yield self._add(stage, self._flow(stage))
            if not again and rng.random() < 0.9:
                yield self._add(stage, self._default(stage))

    def _add(self, stage: int, flow: Flow) -> Put:
        number = self.drawn
        self._known[number] = stage
        return Put(number, flow)

    def _members(self, name: str) -> tuple[str, ...]:
        pool = _family(name)
        return tuple(self.rng.sample(pool, self.rng.randrange(len(pool))))

    def _flow(self, stage: int) -> Flow:
        """Priorities differ within a stage: OVN does not say which of two equal ones wins."""
        self.drawn += 1
        return Flow(
            stage, self.drawn, match_text(self.rng, self._focus), self._writer(stage).actions()
        )

    def _default(self, stage: int) -> Flow:
        writer = self._writer(stage)
        last = writer.table + 1 == N_TABLES[writer.egress]
        port = f'outport = "{self.rng.choice(list(PORTS))}"; ' * (not writer.egress)
        self.drawn += 1
        return Flow(stage, 0, "1", f"{port}output;" if last else "next;")

    def _writer(self, stage: int) -> Writer:
        egress = stage >= Limit.EGRESS
        table = stage - Limit.EGRESS if egress else stage
        return Writer(self.rng, egress, table, N_TABLES, self._with_types, self._focus)


# -- packets -----------------------------------------------------------------------------


def _conjunctions(flows: Iterable[Flow]) -> Iterator[Conjunction]:
    """What flows match, as values to start from; no judge looks at them."""
    for flow in flows:
        try:
            actions = parse_actions(
                flow.actions, SYMBOLS, pipeline="egress" if flow.egress else "ingress",
                table=flow.table, n_tables=N_TABLES,
            )  # fmt: skip
            yield from normalize(parse_match(flow.match, SYMBOLS), SYMBOLS, actions.prereqs)[:8]
        except LanguageError:
            continue


def random_packet(
    rng: random.Random, near: Sequence[Conjunction], members: dict[str, tuple[str, ...]], *,
    any_state: bool, whole: bool,
) -> Packet:  # fmt: skip
    """A packet that one of the conjunctions matches, or misses by a bit, or any packet.

    ``whole``: no later fragments, whose L4 fields Open vSwitch does not write, and no SCTP in
    fragments, whose checksum nobody knows.
    """
    fields = {name: draw_value(rng, name, width) for name, width in _WIDTHS.items()}
    fields["inport"], fields["outport"] = rng.choice(MEMBERS), rng.choice([0, 0, 1, 2, 6])
    if near and rng.random() < 0.9:
        conjunction = rng.choice(near)
        for clause in conjunction:
            _satisfy(rng, clause, fields, members)
        names = [c.field.name for c in conjunction if isinstance(c, FieldClause)]
        free = [name for name in names if name not in ("eth.type", "ip.proto")]
        if free and rng.random() < 0.4:
            name = rng.choice(free)
            fields[name] ^= 1 << rng.randrange(_WIDTHS[name])
    if not any_state:
        fields.update(dict.fromkeys((*STATE[3:9], "outport"), 0))
    _agree(rng, fields, whole=whole)
    return make_packet(rng, fields)


def _satisfy(
    rng: random.Random, clause: Clause, fields: dict[str, int], members: dict[str, tuple[str, ...]]
) -> None:
    match clause:
        case FieldClause(field=known, any_of=any_of, none_of=none_of):
            for _attempt in range(4):
                if any_of:
                    term = rng.choice(any_of)
                    fields[known.name] = fields[known.name] & ~term.mask | term.value
                if not any(fields[known.name] & t.mask == t.value for t in none_of):
                    return
                fields[known.name] = draw_value(rng, known.name, known.width)
        case SetClause(ref, name):
            # Also what is in none of them, or was in this one once.
            some = (members[name] if rng.random() < 0.5 else ()) or _family(name)
            term = _term(rng.choice(some))
            value = term.value | rng.getrandbits(ref.width) & ~term.mask
            fields[ref.field.name] = (
                fields[ref.field.name] & ~ref.mask | value << ref.offset & ref.mask
            )
        case PortClause(known, names, groups, False):
            ports = [*names, *(port for group in groups for port in GROUPS[group])]
            keys = [PORTS[port] for port in ports if port in PORTS]
            if keys:
                fields[known.name] = rng.choice(keys)


def _family(name: str) -> tuple[str, ...]:
    """Members of all sets of that kind of address at first."""
    return tuple(text for other in SETS if other[-1] == name[-1] for text in SETS[other])


def _term(text: str) -> Term:
    member = parse_member(text)
    assert member is not None
    width = space_width(member.space)
    return Term(member.value, ((1 << member.length) - 1) << width - member.length)


def _agree(rng: random.Random, fields: dict[str, int], *, whole: bool) -> None:
    """Make fields agree that a packet has together."""
    if fields["eth.type"] < 0x600 or fields["eth.type"] in (0x8100, 0x88A8):
        fields["eth.type"] = 0x88CC
    network, proto = fields["eth.type"], fields["ip.proto"]
    if (network, proto) in ((0x0800, 58), (0x86DD, 1)):
        fields["ip.proto"] = 59 - proto
    if whole and fields["ip.frag"]:
        fields["ip.frag"] = 0 if proto == 132 else rng.choice([0, 1])
    fields["ct_state"] &= 0xFF  # Open vSwitch knows eight bits
    for name in ("arp.op", "rarp.op"):
        fields[name] &= 0xFF  # Open vSwitch looks at no more
    if fields["eth.type"] == 0x8035:
        for name in ("op", "spa", "sha", "tpa", "tha"):
            fields[f"arp.{name}"] = fields[f"rarp.{name}"]


assert set(layout(make_packet(random.Random(), {"eth.type": 0x88CC}).shape)) <= set(_WIDTHS)

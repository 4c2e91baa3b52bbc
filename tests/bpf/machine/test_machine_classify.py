# SPDX-License-Identifier: Apache-2.0
"""Three judges on random flows and packets: the match as text, the image in Python, the machine."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from iovisor_ovn.abi import Drop, Limit, Op, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.packet import pieces
from iovisor_ovn.compiler.patterns import Pattern, Unexecutable, compile_conjunction
from iovisor_ovn.compiler.sets import SetTable, parse_member, space_width
from iovisor_ovn.language import (
    Context,
    Expr,
    LanguageError,
    SymbolTable,
    Term,
    annotate,
    evaluate,
    normalize,
    parse_match,
)
from machine_parser import parse
from machine_rig import Datapath, Rig, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

SYMBOLS = SymbolTable.default()
PORTS = {"p1": 1, "p2": 2, "p3": 3, "p4": 4, "nowhere": 5}
GROUPS = {"g1": ("p1", "p2"), "g2": ("p2", "p3"), "g3": ()}
SETS = {
    "a4": ("10.0.0.1", "10.0.0.4/30", "10.0.1.0/24"),
    "b4": ("10.0.0.0/29", "10.0.0.6", "02:00:00:00:00:03"),
    "c6": ("fd00::1", "fd00::4/126"),
    "empty": (),
}
_STAGE = 1
_NO_PROGRAM = 0


@dataclass
class Names:
    """Names of the test's datapath."""

    sets: SetTable

    def port_key(self, name: str) -> int | None:
        """Key of a port."""
        return PORTS.get(name)

    def port_group(self, name: str) -> int:
        """Id of a port group."""
        return self.sets.set_id(f"@{name}")

    def address_set(self, name: str) -> str:
        """Name in the set table."""
        return f"${name}"

    def is_resident(self, port: str) -> bool:
        """Two ports live here."""
        return port in {"p1", "p2"}


@dataclass
class Flows:
    """Flows by number: priority and annotated match."""

    known: dict[int, tuple[int, Expr]] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)

    def best(self, packet: dict[str, int | str], context: Context) -> int:
        """Number of the flow that wins, 0 for none."""
        winners = [
            (priority, number)
            for number, (priority, expr) in self.known.items()
            if evaluate(expr, packet, context)
        ]
        return max(winners, default=(0, _NO_PROGRAM))[1]


# -- random matches ----------------------------------------------------------------------


def _pick(rng: random.Random, make: Callable[[], str]) -> str:
    """``== value``, a list, or the negation of either."""
    relation = rng.choice(["==", "==", "==", "!="])
    count = rng.choice([1, 1, 2, 3, 5, 20])
    if count == 1:
        return f"{relation} {make()}"
    return f"{relation} {{{', '.join(sorted({make() for _value in range(count)}))}}}"


def _atom(rng: random.Random) -> str:
    def ip4() -> str:
        return f"10.0.{rng.randrange(2)}.{rng.randrange(8)}" + rng.choice(["", "", "/30", "/24"])

    def ip6() -> str:
        return f"fd00::{rng.randrange(8)}" + rng.choice(["", "", "/126", "/64"])

    def mac() -> str:
        return f"02:00:00:00:00:0{rng.randrange(6)}"

    def port() -> str:
        return str(rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 80, 443, 1024]))

    side, other = rng.choice(["src", "dst"]), rng.choice(["tcp", "udp"])
    low = rng.randrange(1, 9)
    return rng.choice([
        f"ip4.{side} {_pick(rng, ip4)}", f"ip4.{side} {_pick(rng, ip4)}",
        f"ip6.{side} {_pick(rng, ip6)}", f"eth.{side} {_pick(rng, mac)}",
        f"{other}.{side} {_pick(rng, port)}", f"{low} <= {other}.{side} <= {low * 3}",
        f"ip4.{side} == ${rng.choice(['a4', 'b4', 'empty'])}",
        f"ip4.{side} != ${rng.choice(['a4', 'b4', 'empty'])}",
        f"ip6.{side} == $c6", f"eth.{side} == $b4",
        f"inport == @{rng.choice(list(GROUPS))}", f'inport == "{rng.choice(list(PORTS))}"',
        'inport == {"p1", "p3"}', "ip", "ip4", "ip6", "tcp", "icmp4", "arp",
        f"icmp4.type == {rng.choice([0, 3, 8])}", f"arp.tpa {_pick(rng, ip4)}",
        f"reg0[0..2] == {low % 8}", f"reg0[{low}] == 1", f"reg1[16..31] {_pick(rng, port)}",
        "ip.is_frag", "ip.ttl == {1, 64}", "vlan.present", "vlan.vid == {5, 6}",
        f"vlan.vid {_pick(rng, port)}", "!ip4.mcast", "eth.bcast",
        'is_chassis_resident("p1")', '!is_chassis_resident("p1")',
    ])  # fmt: skip


def _match(rng: random.Random, depth: int = 2) -> str:
    if not depth or rng.random() < 0.2:
        return _atom(rng)
    parts = [_match(rng, depth - 1) for _part in range(rng.choice([2, 2, 3]))]
    text = f" {rng.choice(['&&', '&&', '||'])} ".join(f"({part})" for part in parts)
    return f"!({text})" if rng.random() < 0.1 else text


# -- random packets ----------------------------------------------------------------------


def _frame(rng: random.Random) -> bytes:
    def mac() -> str:
        return f"02:00:00:00:00:0{rng.randrange(6)}"

    def address() -> str:
        return f"10.0.{rng.randrange(2)}.{rng.randrange(8)}"

    source, target = rng.choice([1, 2, 3, 5, 8, 80]), rng.choice([1, 4, 7, 443, 1024])
    ip: IP | IPv6 = IP(src=address(), dst=address(), ttl=rng.choice([1, 2, 64]),
                    flags=rng.choice(["", "", "MF"]))  # fmt: skip
    if rng.random() < 0.3:
        ip = IPv6(src=f"fd00::{rng.randrange(8)}", dst=f"fd00::{rng.randrange(8)}")
    body = rng.choice(
        [ip / TCP(sport=source, dport=target), ip / UDP(sport=source, dport=target),
         ip / ICMP(type=rng.choice([0, 3, 8])),
         ARP(op=1, psrc=address(), pdst=address(), hwsrc=mac())]
    )  # fmt: skip
    ether = Ether(src=mac(), dst=rng.choice([mac(), "ff:ff:ff:ff:ff:ff"]))
    if rng.random() < 0.2:
        ether /= Dot1Q(vlan=rng.choice([1, 5, 6, 80]))
    return bytes(ether / body / (b"x" * 20))


def _fields(words: Sequence[int]) -> dict[str, int | str]:
    """Base fields of a packet, as the language's evaluation wants them."""
    found: dict[str, int | str] = {}
    for symbol in SYMBOLS:
        if symbol.ref is None:
            continue
        place = pieces(symbol.ref.field.name)
        if place is None:
            continue
        value = sum((words[p.word] >> p.at & (1 << p.width) - 1) << p.lsb for p in place)
        found[symbol.ref.field.name] = value
    names = {key: name for name, key in PORTS.items()}
    for name in ("inport", "outport"):
        found[name] = names.get(int(found[name]), "")
    return found


# -- the test ----------------------------------------------------------------------------


class Court:
    """A datapath with random flows, in all three forms."""

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        self._rig = rig
        self.dp: Datapath = rig.datapath()
        self.sets = SetTable()
        self.names = Names(self.sets)
        self.flows = Flows()
        self._rows: dict[int, list[object]] = {}
        for number, wire in enumerate(rig.wires):
            self.dp.bind(number + 1, wire)
        for name, key in PORTS.items():
            ids = sorted(self.sets.set_id(f"@{g}") for g, ports in GROUPS.items() if name in ports)
            self.dp.groups(key, ids)
        for name, members in SETS.items():
            parsed = [parse_member(text) for text in members]
            self.sets.define(f"${name}", [member for member in parsed if member is not None])
        copies = ((Word.REG0, Word.ETH_SRC_LO), (Word.REG1, Word.L4))
        moves = [Insn(Op.MOVE, dst, src, 0, 0xFFFFFFFF) for dst, src in copies]
        self.dp.flow(0, (*moves, Insn(Op.NEXT, _STAGE)))
        self.context = Context(
            {name: _terms(members) for name, members in SETS.items()}, GROUPS, {"p1", "p2"},
            SYMBOLS,
        )  # fmt: skip
        self._sample = [
            _fields(self._words(_frame(rng), rng.randrange(4))) for _packet in range(50)
        ]

    def add(self, number: int, text: str) -> None:
        """Add a flow, unless its text is no match or cannot be executed.

        What matches few packets gets a high priority, so that every flow has some to itself.
        """
        try:
            expr = parse_match(text, SYMBOLS)
            patterns: list[Pattern] = [
                pattern
                for conjunction in normalize(expr, SYMBOLS)
                for pattern in compile_conjunction(conjunction, self.names, self.sets)
            ]
        except (LanguageError, Unexecutable):
            return
        annotated = annotate(expr, SYMBOLS)
        share = sum(evaluate(annotated, packet, self.context) for packet in self._sample)
        priority = (len(self._sample) - share) * 1000 + number
        program = (load(Word.FLAGS, number), Insn(Op.END))
        self._rows[number] = [
            self.dp.flow(_STAGE, program, pattern, priority) for pattern in patterns
        ]
        self.flows.known[number] = (priority, annotated)
        self.flows.texts[number] = text

    def remove(self, number: int) -> None:
        """Take a flow out."""
        for name in self._rows.pop(number):
            self._rig.image.remove_flow(name)
        del self.flows.known[number]

    def apply(self) -> None:
        """Bring sets and flows into force."""
        self._rig.change_members(self.sets.drain())
        for dimension in self.sets.dimensions:
            self._rig.define(dimension, prefixes=self.sets.has_prefixes(dimension.space))
        self._rig.apply()

    def judge(self, rng: random.Random) -> int:
        """Let one packet in; the flow that all three say it finds."""
        frame = _frame(rng)
        port = rng.randrange(4)
        words = self._words(frame, port)
        wanted = self.flows.best(_fields(words), self.context)
        out = self._rig.run(frame, self._rig.wires[port])
        machine = out.words[Word.FLAGS] if Drop.NO_FLOW not in out.drops else _NO_PROGRAM
        reference = self._reference(words)
        case = f"{frame.hex()} from {port + 1}: {self.flows.texts.get(wanted, 'no flow')}"
        assert reference == wanted, f"{case}\nimage: {self.flows.texts.get(reference)}"
        assert machine == wanted, f"{case}\nmachine: {self.flows.texts.get(machine)}"
        return wanted

    def _words(self, frame: bytes, port: int) -> list[int]:
        words = [0] * Limit.WORDS
        for number, value in parse(frame).items():
            words[number] = value
        words[Word.DATAPATH], words[Word.INPORT] = self.dp.index, port + 1
        words[Word.REG0], words[Word.REG1] = words[Word.ETH_SRC_LO], words[Word.L4]
        return words

    def _reference(self, words: Sequence[int]) -> int:
        found = self._rig.reference.classify(words, _STAGE)
        if found.program < 0:
            return _NO_PROGRAM
        program = self._rig.image.program_text(found.program)
        assert isinstance(program, tuple)
        return program[0].y


def _terms(members: Sequence[str]) -> list[Term]:
    terms = []
    for text in members:
        member = parse_member(text)
        assert member is not None
        width = space_width(member.space)
        mask = ((1 << member.length) - 1) << width - member.length
        terms.append(Term(member.value, mask))
    return terms


@pytest.fixture
def court(rig: Rig, seed: int) -> Iterator[Court]:
    """Give a datapath; the next one numbers its sets and spaces from the start again."""
    made = Court(rig, random.Random(seed))
    yield made
    rig.change_members(dict.fromkeys(made.sets.everything(), ()))


@pytest.mark.parametrize("seed", range(5))
def test_three_judges_agree(court: Court, seed: int) -> None:
    """Whatever the flows and packets, and after flows have come and gone."""
    rng = random.Random(seed)
    hits: set[int] = set()
    number = 0
    for _round in range(3):
        for gone in rng.sample(sorted(court.flows.known), len(court.flows.known) // 3):
            court.remove(gone)
        while len(court.flows.known) < 60:
            number += 1
            court.add(number, _match(rng))
        court.apply()
        for _packet in range(150):
            hits.add(court.judge(rng))
    assert len(hits) > 20, "the packets meet too few of the flows"

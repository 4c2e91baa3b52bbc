# SPDX-License-Identifier: Apache-2.0
"""A flow becomes the same whether its kind is known or not."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from uuid import UUID

import pytest

from iovisor_ovn.abi import GuardKind, Op, Program, Temp
from iovisor_ovn.compiler.insn import Insn, encode
from iovisor_ovn.compiler.patterns import Names as AnyNames
from iovisor_ovn.compiler.programs import ProgramCompiler
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.compiler.tuples import Entry
from iovisor_ovn.errors import LanguageError
from iovisor_ovn.language import constants_of, join_constants, split_constants
from iovisor_ovn.mainlogic import kinds
from iovisor_ovn.mainlogic.kinds import Kinds, Translate, Translation, Translator
from iovisor_ovn.mainlogic.southbound import Flow
from judges.texts import Writer, draw_focus, match_text
from judges.world import GROUPS, PORTS, SETS, Names
from support.fuzzing import Fuzz
from unit.mainlogic.rig import Rig

_TABLE = 3
_N_TABLES = (20, 20)
#: Few values, so that equal ones meet, and values that mean something, a mark among them.
_POOLS = {
    '"': [f'"{port}"' for port in (*PORTS, "unknown", "none", "")],
    "@": [f"@{group}" for group in GROUPS],
    "$": [f"${name}" for name in SETS],
    "4": ["0.0.0.0", "255.255.255.255", "224.0.0.1", "10.0.0.1", "10.0.0.2", "224.0.224.1"],
    "6": ["::", "ff02::1", "fe80::1", "fd00::1", "fd00::2", "ff02::1:ff00:1"],
    "e": ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "01:00:5e:00:00:01",
          "02:00:00:00:00:01", "e0:00:e0:01:e0:02"],
    "#": ["0", "1", "2", "80", "57344", "57345", "65535", "65536", "080", "99999999"],
}  # fmt: skip
_Outcome = tuple[frozenset[tuple[object, ...]], Program | bytes, str] | str


@dataclass(frozen=True, slots=True)
class PortNames(Names):
    """Names of a datapath with other ports."""

    ports: Mapping[str, int]

    def port_key(self, name: str) -> int | None:
        """Key of a port."""
        return self.ports.get(name)


class Bench:
    """Translates flows of one pass both ways, on the same sets."""

    def __init__(self, ports: Mapping[str, int] = PORTS) -> None:
        """Begin the pass; no set exists."""
        self.flows = Rig().pipeline.flows
        self.sets = self.flows._sets
        self.names = PortNames(self.sets, ports)
        self.use(self.flows._translate)

    def use(self, translate: Translate) -> None:
        """Begin the pass with another way to translate."""
        self._translate = translate
        self.kinds = Kinds(self.sets, translate, self.flows._conditions_of)

    def differs(self, match: str, actions: str = "next;") -> str:
        """What a flow becomes by its kind and alone, if that is not the same; else nothing."""
        flow = Flow(UUID(int=1), UUID(int=2), None, False, _TABLE, 100, match, actions)
        compiler = ProgramCompiler(self.names, False, _TABLE, False, len)
        by_kind = _outcome(lambda: Translator(self.kinds, self.names, compiler).translate(flow))
        alone = _outcome(lambda: self._translate(flow, self.names, compiler, self.sets))
        return "" if alone == by_kind else f"{match} => {actions}\n {alone}\n {by_kind}"

    @property
    def learned(self) -> int:
        """Kinds that flows are filled into."""
        return sum(isinstance(kind, kinds._Kind) for kind in self.kinds.all())


def _outcome(translate: Callable[[], Translation]) -> _Outcome:
    try:
        entries, code, unsupported = translate()
    except LanguageError as error:
        return str(error)
    return frozenset(_meaning(entry) for entry in entries), code, unsupported


def _meaning(entry: Entry) -> tuple[object, ...]:
    """An entry without the order of its tests, which names and values decide."""
    (class_bits, words, guards, dims), values = entry
    sets = {(g.word, g.value) for g in guards if g.kind == GuardKind.IN_SET}
    sets.update(zip(dims, values[len(words) :], strict=True))
    others = [guard for guard in guards if guard.kind != GuardKind.IN_SET]
    groups = {
        frozenset(replace(guard, group=0) for guard in others if guard.group == group)
        for group in {guard.group for guard in others}
    }
    return class_bits, words, values[: len(words)], frozenset(sets), frozenset(groups)


def siblings(rng: random.Random, match: str, actions: str, count: int) -> list[tuple[str, str]]:
    """Flows with other constants, and so of one kind, unless ports of theirs are missing."""
    parts = split_constants(match, actions)
    forms = [_form(text) for text in constants_of(parts)]
    return [join_constants(parts, [_draw(rng, form) for form in forms]) for _ in range(count)]


def _draw(rng: random.Random, form: str) -> str:
    """A constant of a form; of prefixes some are none, since they have other bits."""
    form, slash, length = form.partition("/")
    text = rng.choice(_POOLS[form])
    if slash and rng.random() < 0.9:
        return str(ip_interface(f"{text}/{length}").network)
    return text + slash + length


def _form(text: str) -> str:
    if text[0] in '"@$':
        return text[0]
    if "/" in text:
        address, length = text.split("/")
        return f"{_form(address)}/{length}"
    if text.isdigit():
        return "#"
    return "4" if ":" not in text else "e" if text.count(":") == 5 and len(text) == 17 else "6"


@pytest.fixture
def bench() -> Bench:
    """A pass that has just begun."""
    return Bench()


@pytest.mark.parametrize(
    ("match", "actions"),
    [
        pytest.param('outport == "p1" && reg0 == 10.0.0.1', "eth.dst = 02:00:00:00:00:01; next;",
                     id="neighbour"),
        pytest.param("arp.tpa == 10.0.0.1 && arp.op == 1",
                     "eth.dst = eth.src; eth.src = 02:00:00:00:00:01; arp.op = 2; /* ARP reply */ "
                     "arp.tha = arp.sha; arp.sha = 02:00:00:00:00:01; arp.tpa = arp.spa; "
                     "arp.spa = 10.0.0.1; outport = inport; flags.loopback = 1; output;",
                     id="ARP reply"),
        pytest.param('nd_ns && ip6.dst == {fd00::1, ff02::1:ff00:1} && nd.target == fd00::1 && '
                     'inport == "p1"', "next;", id="neighbour solicitation"),
        pytest.param("nd_ns && nd.target == fd00::1",
                     "nd_na { eth.src = 02:00:00:00:00:01; ip6.src = fd00::1; nd.target = fd00::1; "
                     "nd.tll = 02:00:00:00:00:01; outport = inport; output; };", id="ND reply"),
        pytest.param("reg0[7] == 1 && (outport == @g1 && ip4 && ip4.src == $a4 && tcp)",
                     "reg0[1] = 1; next;", id="security group"),
        pytest.param("ip4.src == $a4 && ip4.dst == $b4 && !(ip4.src == $b4)", "drop;", id="sets"),
        pytest.param("(eth.src == 02:00:00:00:00:01 && eth.dst == 02:00:00:00:00:02)",
                     'outport = "p1"; output;', id="two fields in a word"),
        pytest.param("ip4 && ip4.dst != {10.0.0.1, 10.0.0.2}", "next;",
                     id="exclusions"),
        pytest.param("ip4.dst == 10.0.0.1", "ct_dnat(10.0.0.2);", id="NAT"),
        pytest.param("ip4 && tcp.dst == 80 && tcp.src == 1", "next;", id="TCP ports"),
        pytest.param("ip4.src == 10.0.0.0/24 && ip4.dst == 10.0.0.1", "next;", id="prefix"),
        pytest.param("ip4.src == 10.0.0.1/32 || ip6.src != fd00::1/128", "next;",
                     id="whole prefix"),
        pytest.param("ip6.src == fe80::/9 || ip6.dst == {fd00::/44, fe80::/44}", "next;",
                     id="uneven prefix"),
        pytest.param("ip4.mcast && tcp.dst == {1, 2}", "reg0 = 1; next;", id="no constants"),
        pytest.param('ip4.dst == 10.0.0.1 || inport == "p1"', "next;", id="alternatives"),
    ],
)  # fmt: skip
def test_kind_that_is_learned(bench: Bench, match: str, actions: str) -> None:
    """Each of its flows becomes what it would alone, values with a meaning or equal included."""
    some = siblings(random.Random(1), match, actions, 200)
    assert [found for texts in some if (found := bench.differs(*texts))] == []
    assert bench.learned == 1


@pytest.mark.parametrize(
    ("match", "actions"),
    [
        pytest.param("eth.bcast && eth.dst == 02:00:00:00:00:01", "next;", id="predicate"),
        pytest.param("eth.mcast || eth.dst == 02:00:00:00:00:01", "next;", id="bit"),
        pytest.param("ip4.dst == 10.0.0.0/8 && ip4.dst == 10.0.0.1", "next;", id="mask"),
        pytest.param("ip4.dst == {10.0.0.0/8, 10.0.0.0/16}", "next;", id="prefix in a prefix"),
        pytest.param("ip4.mcast && ip4.dst == 224.0.0.0/24", "next;", id="prefix in a predicate"),
        pytest.param("tcp.dst >= 80 && tcp.dst == 80", "next;", id="range"),
        pytest.param("ip4.dst == {10.0.0.1, 0x0a000001}", "next;", id="other spelling"),
        pytest.param("reg0 == 10.0.0.1 && xxreg0 == ::1", "next;", id="field in a field"),
        pytest.param("xxreg0[0..31] == {::1, 1::1}", "next;", id="cut"),
        pytest.param('is_chassis_resident("p1") && ip4.dst == 10.0.0.1', "next;", id="residence"),
        pytest.param('!is_chassis_resident("p1")', "next;", id="residence alone"),
        pytest.param('ip4.dst == 10.0.0.1 && inport == {"p1", "p2"}', "next;", id="other names"),
        pytest.param("1 /* == 10.0.0.1 */", "next;", id="comment"),
        pytest.param(
            "reg0 == {10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4} && "
            "ip4.dst == {10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5}", "next;", id="sets"),
    ],
)  # fmt: skip
def test_kind_that_cannot_be_learned(bench: Bench, match: str, actions: str) -> None:
    """Where it matters what the constants are, each flow is translated."""
    some = siblings(random.Random(1), match, actions, 200)
    assert [found for texts in some if (found := bench.differs(*texts))] == []
    assert bench.learned == 0
    assert list(bench.kinds.all())


def test_value_that_looks_like_a_mark(bench: Bench) -> None:
    """A number of the kind's own is not taken for the constant that has it in the first flows."""
    for address in ["224.0.0.1"] * kinds._LEARN_FROM + ["10.0.0.1"]:
        assert not bench.differs("ip4.mcast", f"reg4 = {address}; next;")
    assert bench.learned == 1


def test_port_named_none() -> None:
    """Who is compared with `none` has no port, whatever ports there are."""
    bench = Bench({**PORTS, "none": 9})
    for port in ["p1"] * kinds._LEARN_FROM + ["none"]:
        assert not bench.differs(f'inport == "{port}"')
    assert bench.learned == 1


def test_learning_leaves_nothing_behind(bench: Bench) -> None:
    """No set and no dimension is there for the marks' sake."""
    texts = ("ip4.src == $a4 && ip4.dst == 10.0.0.1", "ip4.src == $b4 && ip4.dst == 10.0.0.2")
    for text in texts * kinds._LEARN_FROM:
        assert not bench.differs(text)
    assert bench.learned == 1
    assert not bench.differs("tcp.src == {1, 2, 3, 4, 5} && tcp.dst == {1, 2, 3, 4}")
    lists = "reg1 == {10.0.0.1, 10.0.0.2, 10.0.0.3} && ip4.src == {1, 2, 3, 4, 5, 6}"
    for _ in range(kinds._LEARN_FROM - 1):
        assert not bench.differs(lists)
    before = (dict(bench.sets.items()), bench.sets.dimensions)
    assert not bench.differs(lists)
    assert before == (dict(bench.sets.items()), bench.sets.dimensions)


def test_flow_with_a_number_that_no_constant_has(bench: Bench) -> None:
    """What is made for each value elsewhere, and goes by a number, is seen in the first flows."""
    known: dict[str, int] = {}

    def translate(
        flow: Flow, names: AnyNames, compiler: ProgramCompiler, sets: SetTable
    ) -> Translation:
        entries, code, _unsupported = bench.flows._translate(flow, names, compiler, sets)
        number = known.setdefault(flow.actions, len(known))
        assert isinstance(code, bytes)
        return Translation(entries, encode([Insn(Op.LOAD, Temp.SCRATCH0, y=number)]) + code)

    bench.use(translate)
    for number in range(2 * kinds._LEARN_FROM):
        assert not bench.differs("ip4", f"reg0 = 10.0.0.{number}; next;")
    assert bench.learned == 0


def test_stages_have_kinds_of_their_own(bench: Bench) -> None:
    """`next;` leads elsewhere in another table."""
    names = Names(bench.sets)
    programs = []
    for number in range(2 * kinds._LEARN_FROM):
        for table in (_TABLE, _TABLE + 1):
            match = f"ip4.dst == 10.0.0.{number}"
            flow = Flow(UUID(int=1), UUID(int=2), None, False, table, 100, match, "reg0 = 1; next;")
            compiler = ProgramCompiler(names, False, table, False, len)
            programs.append(Translator(bench.kinds, names, compiler).translate(flow).code)
    assert set(programs[::2]).isdisjoint(programs[1::2])


def test_any_flow_and_its_siblings(fuzz: Fuzz) -> None:
    """Whatever the texts are."""
    learned = flows = 0
    for seed in fuzz.seeds(60):
        rng, bench = random.Random(seed), Bench()
        focus = draw_focus(rng)
        match = match_text(rng, focus)
        actions = Writer(rng, egress=False, table=_TABLE, n_tables=_N_TABLES, focus=focus).actions()
        for texts in siblings(rng, match, actions, 30):
            found = bench.differs(*texts)
            assert not found, f"seed {seed}\n{found}"
            flows += 1
        learned += bench.learned
    fuzz.summary = f"{flows} flows, {learned} kinds learned"
    assert learned

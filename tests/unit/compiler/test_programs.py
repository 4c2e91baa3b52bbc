# SPDX-License-Identifier: Apache-2.0
"""Actions to programs: golden cases, and moves that mean the same as bit slicing."""

from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iovisor_ovn.abi import Limit, Op, Program, Temp
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.packet import pieces, slice_pieces
from iovisor_ovn.compiler.patterns import Names
from iovisor_ovn.compiler.printer import print_program
from iovisor_ovn.compiler.programs import Compiled, ProgramCompiler
from iovisor_ovn.language import (
    ActionList,
    Exchange,
    FieldRef,
    LanguageError,
    Move,
    Next,
    Output,
    Pop,
    Push,
    SymbolTable,
    parse_actions,
)

SYMBOLS = SymbolTable.default()
TABLE = 3
WORDS = Limit.WORDS + Limit.TEMPS
FIELDS = ("xxreg0", "xreg4", "ct_label", "eth.src", "eth.dst", "ip4.src", "ip6.dst", "arp.tha",
          "tcp.src", "ip.ttl", "flags", "inport")  # fmt: skip


def compile_actions(text: str, names: Names) -> Compiled:
    """The program of a text; letters before it say where it stands."""
    kind, actions = (text[0], text[2:]) if text[:2] in ("e ", "r ") else ("", text)
    egress = kind == "e"
    parsed = parse_actions(
        actions, SYMBOLS, pipeline="egress" if egress else "ingress", table=TABLE,
        n_tables=(35, 35), extensions=True,
    )  # fmt: skip
    verbs: list[str] = []

    def number(verb: str) -> int:
        verbs.append(verb)
        return len(verbs)

    return ProgramCompiler(names, egress, TABLE, kind == "r", number).compile(parsed)


def test_cases(names: Names, check_cases: Callable[[str, Callable[[str], str]], None]) -> None:
    """Each text of the case file compiles to the program beside it."""

    def answer(text: str) -> str:
        try:
            compiled = compile_actions(text, names)
        except LanguageError as error:
            return f"error: {error}"
        note = f" ({compiled.unsupported})" if compiled.unsupported else ""
        return print_program(compiled.program) + note

    check_cases("programs.txt", answer)


def test_programs_do_not_know_where_they_lie(names: Names) -> None:
    """Jumps are relative, so equal texts give equal programs on every datapath."""
    text = 'clone { outport = "a"; output; }; next(9);'
    assert compile_actions(text, names) == compile_actions(text, names)


def test_half_a_list_is_never_executed(names: Names) -> None:
    """One verb that is not executed makes the whole list a counted drop."""
    compiled = compile_actions("reg0 = 1; set_queue(5); next;", names)
    assert compiled.unsupported
    assert isinstance(compiled.program, tuple)
    assert [insn.op for insn in compiled.program] == [Op.UNSUPPORTED]


# -- moves -------------------------------------------------------------------------------


def run(program: Program | Sequence[Insn], words: Sequence[int]) -> list[int]:
    """Execute LOAD, MOVE, PUSH and POP as the machine does."""
    assert not isinstance(program, Program)
    after = list(words)
    stack: list[list[int]] = []
    scratch = slice(Temp.SCRATCH0, Temp.SCRATCH0 + 4)
    for insn in program:
        if insn.op == Op.LOAD:
            after[insn.a] = after[insn.a] & ~insn.x | insn.y
        elif insn.op == Op.MOVE:
            value = after[insn.b]
            turned = (value << insn.c | value >> (32 - insn.c)) & 0xFFFFFFFF
            after[insn.a] = after[insn.a] & ~insn.x | turned & insn.x
        elif insn.op == Op.PUSH:
            stack.append(after[scratch])
        elif insn.op == Op.POP:
            after[scratch] = stack.pop()
    return after


def read(words: Sequence[int], ref: FieldRef) -> int:
    """Value of a field's bits."""
    place = pieces(ref.field.name)
    assert place is not None
    return sum(
        (words[p.word] >> p.at & (1 << p.width) - 1) << p.lsb
        for p in slice_pieces(place, ref.offset, ref.width)
    )


@st.composite
def _two_slices(draw: st.DrawFn) -> tuple[FieldRef, FieldRef]:
    """Two slices of the same width, often of the same field."""
    refs = []
    first = draw(st.sampled_from(FIELDS))
    for name in (first, draw(st.one_of(st.just(first), st.sampled_from(FIELDS)))):
        symbol = SYMBOLS.lookup(name)
        assert symbol is not None
        assert symbol.ref is not None
        refs.append(symbol.ref)
    width = draw(st.integers(1, min(ref.width for ref in refs)))
    return tuple(  # type: ignore[return-value]  # two of them
        FieldRef(ref.field, draw(st.integers(0, ref.width - width)), width) for ref in refs
    )


_packets = st.lists(st.integers(0, 0xFFFFFFFF), min_size=WORDS, max_size=WORDS)


def _program(names: Names, *actions: Move | Exchange | Push | Pop) -> Sequence[Insn]:
    compiler = ProgramCompiler(names, False, TABLE, False, len)
    program = compiler.compile(ActionList((*actions, Output()), (), "ingress", TABLE)).program
    assert not isinstance(program, Program)
    return program


def _overlap(one: FieldRef, other: FieldRef) -> bool:
    if one.field != other.field:
        return False
    return one.offset < other.offset + other.width and other.offset < one.offset + one.width


@settings(max_examples=300)
@given(refs=_two_slices(), words=_packets)
def test_move_reads_before_it_writes(refs: tuple[FieldRef, FieldRef], words: list[int]) -> None:
    """Also where source and destination overlap, as in xxreg0[0..63] = xxreg0[32..95]."""
    dst, src = refs
    after = run(_program(_Nobody(), Move(dst, src)), words)
    assert read(after, dst) == read(words, src)


@given(refs=_two_slices(), words=_packets)
def test_exchange_loses_nothing(refs: tuple[FieldRef, FieldRef], words: list[int]) -> None:
    """Both sides have the other's value, unless they are the same bits."""
    one, other = refs
    after = run(_program(_Nobody(), Exchange(one, other)), words)
    if not _overlap(one, other):
        assert (read(after, one), read(after, other)) == (read(words, other), read(words, one))


@given(refs=_two_slices(), narrower=st.integers(1, 128), words=_packets)
def test_pop_gives_back_what_was_pushed(
    refs: tuple[FieldRef, FieldRef], narrower: int, words: list[int]
) -> None:
    """Right-aligned: a narrower field takes the low bits, a wider one gets zeros above."""
    pushed, popped = refs
    cut = FieldRef(pushed.field, pushed.offset, min(narrower, pushed.width))
    after = run(_program(_Nobody(), Push(cut), Pop(popped)), words)
    assert read(after, popped) == read(words, cut) & (1 << popped.width) - 1


class _Nobody:
    """Names that a program of moves does not ask for."""

    def port_key(self, name: str) -> int | None:
        raise KeyError(name)

    def port_group(self, name: str) -> int:
        raise KeyError(name)

    def address_set(self, name: str) -> str:
        raise KeyError(name)

    def is_resident(self, port: str) -> bool:
        raise KeyError(port)


def test_next_to_the_following_table_is_no_program(names: Names) -> None:
    """The most frequent list of all needs no instruction; the same words elsewhere do."""
    following = ActionList((Next("ingress", TABLE + 1),), (), "ingress", TABLE)
    compiler = ProgramCompiler(names, False, TABLE, False, len)
    assert compiler.compile(following).program is Program.NEXT
    elsewhere = ActionList((Next("egress", TABLE + 1),), (), "ingress", TABLE)
    assert compiler.compile(elsewhere).program is not Program.NEXT


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    weights=st.dictionaries(st.integers(0, 65535), st.integers(1, 65535), min_size=2, max_size=40)
)
def test_select_gives_each_value_its_part(names: Names, weights: dict[int, int]) -> None:
    """The parts of the shares add up to the weights, to what a 32-bit number can tell."""
    members = ", ".join(f"{value}={weight}" for value, weight in weights.items())
    code = compile_actions(f"reg8[16..31] = select({members});", names).program
    assert isinstance(code, tuple)
    shares = [insn for insn in code if insn.op == Op.SHARE]
    assert (code[0].op, code[0].x, code[1 : len(shares) + 1]) == (
        Op.SELECT, len(weights), tuple(shares),
    )  # fmt: skip
    parts = dict.fromkeys(weights, 0.0)
    for insn in shares:
        part = (insn.x + (insn.x == 0xFFFFFFFF)) / 2**32 / len(shares)
        parts[insn.y >> 16] += part
        parts[insn.y & 0xFFFF] += 1 / len(shares) - part
    total = sum(weights.values())
    assert all(abs(parts[value] - weight / total) < 1e-8 for value, weight in weights.items())

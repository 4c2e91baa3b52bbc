# SPDX-License-Identifier: Apache-2.0
"""Matches to patterns: golden cases, and how their number grows."""

from collections.abc import Callable

import pytest

from iovisor_ovn.abi import GuardKind, Limit, Space, Word
from iovisor_ovn.compiler.patterns import (
    MAX_ALTERNATIVES,
    MAX_GUARDS,
    MAX_PATTERNS,
    Names,
    Pattern,
    Unexecutable,
    compile_conjunction,
)
from iovisor_ovn.compiler.printer import print_pattern
from iovisor_ovn.compiler.sets import Member, SetTable
from iovisor_ovn.language import (
    Field,
    FieldClause,
    PortClause,
    SymbolTable,
    Term,
    normalize,
    parse_match,
)

SYMBOLS = SymbolTable.default()


def compile_match(text: str, names: Names, sets: SetTable) -> list[Pattern]:
    """Patterns of all conjunctions of a match."""
    conjunctions = normalize(parse_match(text, SYMBOLS), SYMBOLS)
    return [p for item in conjunctions for p in compile_conjunction(item, names, sets)]


def test_cases(names: Names, check_cases: Callable[[str, Callable[[str], str]], None]) -> None:
    """Each match of the case file compiles to the patterns beside it."""

    def answer(text: str) -> str:
        sets = SetTable()
        try:
            patterns = compile_match(text, names, sets)
        except Unexecutable as error:
            return f"unexecutable: {error}"
        lines = [print_pattern(pattern) for pattern in patterns] or ["never"]
        literal = sorted(name for name in sets._ids if name.startswith("{"))
        return " | ".join(lines) + "".join(f"; {sets.set_id(name)}={name}" for name in literal)

    check_cases("patterns.txt", answer)


@pytest.mark.parametrize("length", [1, 3, 10, 40, 200])
def test_entries_grow_with_the_sum_of_lists_never_the_product(names: Names, length: int) -> None:
    """Three lists of n values take a few patterns, and n members each."""
    sources = ", ".join(f"10.{number // 250}.0.{number % 250 + 1}" for number in range(length))
    targets = ", ".join(f"10.{number // 8}.0.0/{16 + number % 8}" for number in range(length))
    ports = ", ".join(str(3 * number + 1) for number in range(length))
    text = f"ip4.src == {{{sources}}} && ip4.dst == {{{targets}}} && tcp.dst == {{{ports}}}"
    sets = SetTable()
    patterns = compile_match(text, names, sets)
    assert len(patterns) <= MAX_ALTERNATIVES
    members = sum(len(ids) for ids in sets.everything().values())
    assert len(patterns) + members <= 3 * length + MAX_ALTERNATIVES


@pytest.mark.parametrize("size", [1, 1000])
def test_size_of_named_sets_does_not_change_the_patterns(names: Names, size: int) -> None:
    """One pattern a rule, however many addresses are in its sets."""
    sets = SetTable()
    sets.define("$as", (Member(Space.IP4, 0x0A000000 + n, 32) for n in range(size)))
    text = "inport == @pg && outport == @pg2 && ip4.src == $as && ip4.dst == $as && tcp.dst == 80"
    assert len(compile_match(text, names, sets)) == 1


def test_range_on_both_ports_stays_small(names: Names) -> None:
    """Ranges are lists of prefixes and become sets like any list."""
    sets = SetTable()
    patterns = compile_match("1 <= tcp.src <= 65534 && 1 <= tcp.dst <= 65534", names, sets)
    assert len(patterns) == 1
    assert len(sets.everything()) == 60


def test_contradicting_alternatives_are_left_out(names: Names) -> None:
    """Two clauses on the same word that cannot both hold give no entry."""
    flags = Field("flags", 32)
    one = FieldClause(flags, (Term(1, 1), Term(2, 2)), ())
    other = FieldClause(flags, (Term(0, 1),), ())
    patterns = compile_conjunction((one, other), names, SetTable())
    assert patterns == (Pattern(words=((Word.FLAGS, 3, 2),)),)


def test_equal_patterns_are_written_once(names: Names) -> None:
    """Alternatives that merge into the same tests are one entry."""
    flags = Field("flags", 32)
    clause = FieldClause(flags, (Term(1, 1), Term(1, 1)), ())
    assert len(compile_conjunction((clause,), names, SetTable())) == 1


def test_excluded_addresses_of_two_fields_are_separate_tests(names: Names) -> None:
    """Neither address may be there: the guards of the two fields are two groups.

    eth.src and eth.dst share a word, and once shared a group, which held if one differed.
    """
    text = "eth.dst != 02:00:00:00:00:01 && eth.src != 02:00:00:00:00:02"
    (pattern,) = compile_match(text, names, SetTable())
    groups = {guard.group for guard in pattern.guards}
    assert all(guard.kind == GuardKind.NOT_ALL_EQUAL for guard in pattern.guards)
    assert len(groups) == 2
    for group in groups:
        words = {guard.word for guard in pattern.guards if guard.group == group}
        assert words in ({Word.ETH_HI, Word.ETH_DST_LO}, {Word.ETH_HI, Word.ETH_SRC_LO})


def test_excluded_list_becomes_a_set_whose_guard_says_no(names: Names) -> None:
    """A hundred excluded addresses are one test."""
    sets = SetTable()
    values = ", ".join(f"10.0.0.{number}" for number in range(1, 101))
    (pattern,) = compile_match(f"ip4.src != {{{values}}}", names, sets)
    assert [guard.kind for guard in pattern.guards] == [GuardKind.NOT_IN_SET]
    assert len(sets.everything()) == 100


def test_too_many_tests_are_unexecutable(names: Names) -> None:
    """What a slot cannot hold is reported when the flow is compiled, not when maps are filled."""
    field = Field("xxreg0", 128)
    # Bits 0 and 127 only: no run that a set could hold.
    odd = tuple(Term(number << 127 | 1, 1 << 127 | 1) for number in (0, 1))
    assert len(compile_conjunction((FieldClause(field, (), odd),), names, SetTable())) == 1
    scattered = tuple(Term(0, 1 << 127 | 1 << n | 1 << n + 40) for n in range(MAX_GUARDS // 2))
    with pytest.raises(Unexecutable, match="separate tests"):
        compile_conjunction((FieldClause(field, (), scattered),), names, SetTable())


def test_words_beyond_the_longest_key_become_guards(names: Names) -> None:
    """Every word of the packet may be tested at once."""
    widths = {"xxreg0": 128, "xxreg1": 128, "xreg4": 64, "ct_label": 128, "eth.src": 48,
              "eth.dst": 48, "ip6.src": 128, "ip6.dst": 128, "nd.target": 128, "nd.sll": 48,
              "arp.sha": 48, "arp.tha": 48, "ct_mark": 32, "pkt.mark": 32, "flags": 32,
              "vlan.tci": 16, "ip.ttl": 8, "tcp.dst": 16, "tcp.flags": 12}  # fmt: skip
    clauses = tuple(
        FieldClause(Field(name, width), (Term(0, (1 << width) - 1),), ())
        for name, width in widths.items()
    )
    (pattern,) = compile_conjunction(clauses, names, SetTable())
    assert len(pattern.words) == Limit.SHAPE_WORDS
    assert pattern.guards
    tested = {word for word, _mask, _value in pattern.words} | {g.word for g in pattern.guards}
    assert len(tested) == len(pattern.words) + len(pattern.guards)


def test_field_that_the_machine_does_not_hold_is_unexecutable(names: Names) -> None:
    """The exception names what the flow asked for."""
    clause = FieldClause(Field("icmp4.inner_ip4.src", 32), (Term(1, 1),), ())
    with pytest.raises(Unexecutable, match=r"icmp4\.inner_ip4\.src"):
        compile_conjunction((clause,), names, SetTable())


def test_negated_ports_are_guards(names: Names) -> None:
    """Neither the ports nor members of the groups: tests that no key could hold."""
    inport = Field("inport", 32)
    clause = PortClause(inport, frozenset({"a", "nobody"}), frozenset({"pg"}), negated=True)
    (pattern,) = compile_conjunction((clause,), names, SetTable())
    assert print_pattern(pattern) == "INPORT!=0x1 !dim0:901"


def test_lists_that_can_be_no_sets_do_not_multiply_without_bound(names: Names) -> None:
    """One flow must not fill the maps: it is refused by its number of alternatives."""
    match = parse_match("7 <= xreg3 <= 0x7c57f1557a15a27 && 3 < xreg4 < 0xfffffffffffff1", SYMBOLS)
    (conjunction,) = normalize(match, SYMBOLS)
    with pytest.raises(Unexecutable, match=r"match with \d{4} alternatives"):
        compile_conjunction(conjunction, names, SetTable())
    assert len(compile_conjunction(conjunction[:1], names, SetTable())) <= MAX_PATTERNS

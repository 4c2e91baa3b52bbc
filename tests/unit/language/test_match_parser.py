# SPDX-License-Identifier: Apache-2.0
"""The trees of matches; texts and errors are in the golden cases."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovisor_ovn.language import (
    And,
    BoolConst,
    Compare,
    Constant,
    FieldRef,
    Format,
    GroupMember,
    LanguageError,
    Not,
    Or,
    PortIs,
    Predicate,
    References,
    Relop,
    Resident,
    SetMember,
    SymbolTable,
    parse_match,
    references,
)


def ref(symbols: SymbolTable, name: str) -> FieldRef:
    """Return the bits that a symbol means."""
    symbol = symbols.lookup(name)
    assert symbol is not None
    assert symbol.ref is not None
    return symbol.ref


def test_subfields_are_resolved_to_their_base_field(symbols: SymbolTable) -> None:
    """A register is a part of the widest one; the spelling stays with the comparison."""
    tree = parse_match("reg1[4..7] == 3", symbols)
    assert tree == Compare(
        FieldRef(ref(symbols, "xxreg0").field, 68, 4),
        Relop.EQ,
        Constant(3, None, 4, Format.DECIMAL),
        "reg1[4..7]",
    )


def test_a_value_set_is_an_or_of_its_members(symbols: SymbolTable) -> None:
    """Members keep their order and may be of all kinds."""
    inport = ref(symbols, "inport")
    expected = Or((GroupMember(inport, "g"), PortIs(inport, "a")))
    assert parse_match('inport == {@g, "a"}', symbols) == expected


def test_a_negated_value_set_is_an_and(symbols: SymbolTable) -> None:
    """None of the members, and chains of && are flat."""
    source = ref(symbols, "ip4.src")
    address = Constant(0x0A000001, None, 32, Format.IPV4)
    expected = And(
        (
            SetMember(source, "s", negated=True, symbol="ip4.src"),
            Compare(source, Relop.NE, address, "ip4.src"),
            Predicate("tcp"),
        )
    )
    assert parse_match("ip4.src != {$s, 10.0.0.1} && tcp", symbols) == expected


def test_not_is_kept(symbols: SymbolTable) -> None:
    """Only residence carries its negation itself."""
    expected = And((Not(Or((BoolConst(False), Predicate("eth.bcast")))), Resident("p", True)))
    assert parse_match('!(0 || eth.bcast) && !is_chassis_resident("p")', symbols) == expected


def test_references_name_all_rows(symbols: SymbolTable) -> None:
    """Every name that depends on a row is found, wherever it stands."""
    text = '!(ip4.src == $s || ip4.dst == 1) && inport == {@g, "p"} && is_chassis_resident("r")'
    assert references(parse_match(text, symbols)) == References(
        frozenset({"s"}), frozenset({"g"}), frozenset({"p"}), frozenset({"r"})
    )


def test_templates_are_expanded_before_reading(symbols: SymbolTable) -> None:
    """Columns of errors count in the expanded text, which the error carries."""
    assert parse_match("tcp.dst == ^p", symbols, templates={"p": "80"}) == parse_match(
        "tcp.dst == 80", symbols
    )
    with pytest.raises(LanguageError) as caught:
        parse_match("tcp.dst == ^p", symbols, templates={"p": "80 443"})
    assert (caught.value.column, caught.value.source) == (14, "tcp.dst == 80 443")


@pytest.mark.parametrize(("depth", "accepted"), [(100, True), (101, False)])
def test_parentheses_nest_a_hundred_deep(symbols: SymbolTable, depth: int, accepted: bool) -> None:
    """The bound is OVN's, and below Python's own."""
    text = "(" * depth + "1" + ")" * depth
    if accepted:
        assert parse_match(text, symbols) == BoolConst(True)
    else:
        with pytest.raises(LanguageError, match="column 100: parentheses are nested too deeply"):
            parse_match(text, symbols)


def test_names_belong_to_a_release() -> None:
    """A symbol of a later release is unknown to an earlier one."""
    with pytest.raises(LanguageError, match="a field name is expected"):
        parse_match("flags.from_ctrl", SymbolTable.default("24.09"))


def test_connections_have_their_own_protocols() -> None:
    """Under acl_ct_translation ports are those of the connection."""
    tree = parse_match("tcp.dst == 80", SymbolTable.conntrack())
    assert isinstance(tree, Compare)
    assert (tree.ref.field.name, tree.symbol) == ("ct_tp.dst", "tcp.dst")


CASES = Path(__file__).parents[2] / "cases" / "language" / "match.txt"
WORDS = st.sampled_from(
    [word for line in CASES.read_text().splitlines() for word in line.split("  =>  ")[0].split()]
)


def column_of_refusal(text: str) -> int:
    """Return where a text is refused, 0 if it is not."""
    try:
        parse_match(text, SymbolTable.default())
    except LanguageError as error:
        return error.column
    return 0


@given(st.lists(WORDS | st.text(max_size=3), max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(words: list[str]) -> None:
    """Whatever a row holds, it ends in a tree or in an error that points into the text."""
    text = " ".join(words)
    assert 0 <= column_of_refusal(text) <= len(text)

# SPDX-License-Identifier: Apache-2.0
"""Two judges: a match evaluated directly, and its conjunctions evaluated; printing in between."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovisor_ovn.language import (
    Context,
    FieldClause,
    LanguageError,
    PortClause,
    ResidentClause,
    SetClause,
    SymbolTable,
    Term,
    annotate,
    evaluate,
    evaluate_conjunctions,
    normalize,
    parse_match,
    print_match,
)

SYMBOLS = SymbolTable.default()

#: Ordinal fields and predicates of a truth value: these may be negated. Few values, all of them
#: close together, so that relations overlap, contain and exclude each other.
FREE = (
    *(
        f"{field} {relop} {value}"
        for field in ("reg0[0..3]", "reg1[28..31]", "tcp.dst", "ip4.src[0..2]", "vlan.vid")
        for relop in ("==", "!=", "<", "<=", ">", ">=")
        for value in (0, 3, 6, 7)
    ),
    *(f"reg0[{bit}]" for bit in range(4)),
    "reg0 == 5/7", "reg0 != 4/6", "reg0 == 0/0", "reg0 != 0/0", "xxreg0[96..99] == {1, 2, 5}",
    "reg0[0..3] != {1, 2}", "1 < reg0[0..3] <= 6", "ip4.src == $few", "ip4.src != $few",
    "ip4.src[0..2] == $few", "ip4.src == {3, $few}", "ct.new", "ct.est", "ct.trk == 0",
    "eth.mcast", "eth.bcast", "ip.first_frag", "ip.is_frag", "ip4.mcast", "vlan.present",
    'is_chassis_resident("here")', 'is_chassis_resident("there")', "0", "1",
)  # fmt: skip
#: What must be tested for being equal, and its form inside of an odd number of `!'.
NOMINAL = (
    ("ip4", "ip4 == 0"), ("ip6", "ip6 != 1"), ("ip", "ip == 0"), ("tcp", "tcp == 0"),
    ("udp", "udp == 0"), ("icmp", "icmp == 0"), ("ip.proto == 6", "ip.proto != 6"),
    ("eth.type == 0x800", "eth.type != 0x800"), ("ip.proto == {6, 17}", "ip.proto != {6, 17}"),
    ('inport == "a"', 'inport != "a"'), ('inport == {"a", "b"}', 'inport != {"a", "b"}'),
    ("inport == @group", "inport != @group"), ('outport == {"b", @group}', "outport != @group"),
    ("nd", "nd == 0"), ("igmp", "igmp == 0"),
)  # fmt: skip

VALUES = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 15])
PACKETS = st.fixed_dictionaries(
    {
        "xxreg0": st.builds(lambda a, b: a << 96 | b << 92, VALUES, VALUES),
        "tcp.dst": VALUES,
        "ip4.src": VALUES,
        "ip4.dst": st.sampled_from([0, 0xE0000001]),
        "vlan.tci": st.builds(lambda tag, vid: tag << 12 | vid, st.integers(0, 1), VALUES),
        "eth.type": st.sampled_from([0x800, 0x86DD, 0x806]),
        "eth.dst": st.sampled_from([0, 1 << 40, (1 << 48) - 1]),
        "ip.proto": st.sampled_from([1, 2, 6, 17, 58]),
        "ip.ttl": st.sampled_from([1, 255]),
        "ip.frag": st.integers(0, 3),
        "icmp6.type": st.sampled_from([135, 136, 1]),
        "ct_state": st.sampled_from([0, 0x20, 0x21, 0x22, 0x23]),
        "inport": st.sampled_from(["a", "b", "c"]),
        "outport": st.sampled_from(["a", "b", "c"]),
    }
)
CONTEXT = Context(
    address_sets={"few": (Term(3, 0xFFFFFFFF), Term(4, 0xFFFFFFFE), Term(0, 0xFFFFFFFF))},
    port_groups={"group": ("b", "c")},
    residents=("here",),
)


@st.composite
def match_texts(draw: st.DrawFn, depth: int = 3, *, negated: bool = False) -> str:
    """Draw a text that the parser accepts inside of an even (odd: ``negated``) number of `!'."""
    kind = draw(st.sampled_from(["free", "free", "nominal", "not", "and", "or"]))
    if depth == 0 or kind == "free":
        text = draw(st.sampled_from(FREE))
        return text if kind != "not" else f"!({text})"
    if kind == "nominal":
        return draw(st.sampled_from(NOMINAL))[negated]
    if kind == "not":
        return f"!({draw(match_texts(depth - 1, negated=not negated))})"
    parts = draw(st.lists(match_texts(depth - 1, negated=negated), min_size=2, max_size=3))
    return (" && " if kind == "and" else " || ").join(f"({part})" for part in parts)


@given(match_texts())
@settings(max_examples=150, deadline=None)
def test_what_is_printed_reads_as_the_same_tree(text: str) -> None:
    """Printing loses nothing of the tree."""
    tree = parse_match(text, SYMBOLS)
    assert tree == parse_match(print_match(tree), SYMBOLS)


@given(match_texts(), st.lists(PACKETS, min_size=10, max_size=10))
@settings(max_examples=400, deadline=None)
def test_both_judges_agree(text: str, packets: list[dict[str, int | str]]) -> None:
    """The tree with its prerequisites and its conjunctions match the same packets."""
    tree = parse_match(text, SYMBOLS)
    spelled_out = annotate(tree, SYMBOLS)
    conjunctions = normalize(tree, SYMBOLS)
    for packet in packets:
        expected = evaluate(spelled_out, packet, CONTEXT)
        assert expected == evaluate_conjunctions(conjunctions, packet, CONTEXT), packet


@given(match_texts())
@settings(max_examples=150, deadline=None)
def test_conjunctions_keep_their_promises(text: str) -> None:
    """One clause a field, in order of names; terms sorted, minimal, with no stray bits."""
    for conjunction in normalize(parse_match(text, SYMBOLS), SYMBOLS):
        fields = [clause.field.name for clause in conjunction if isinstance(clause, FieldClause)]
        assert fields == sorted(set(fields))
        for clause in conjunction:
            if isinstance(clause, FieldClause):
                assert clause.any_of or clause.none_of
                for terms in (clause.any_of, clause.none_of):
                    assert list(terms) == sorted(set(terms))
                    assert all(not term.value & ~term.mask and term.mask for term in terms)


def conjunctions_of(text: str) -> tuple[tuple[object, ...], ...]:
    """Return the conjunctions of a match."""
    return normalize(parse_match(text, SYMBOLS), SYMBOLS)


def test_never_and_always() -> None:
    """Nothing to try never matches, nothing to demand always does."""
    assert conjunctions_of("0") == ()
    assert conjunctions_of("1") == ((),)


def test_prerequisites_of_actions_are_conjoined() -> None:
    """A flow that decrements the TTL matches IP only."""
    ip = parse_match("ip", SYMBOLS)
    assert normalize(parse_match("1", SYMBOLS), SYMBOLS, (ip,)) == conjunctions_of("ip")


def test_a_long_list_stays_one_clause() -> None:
    """Values of one field are never multiplied out, and exclusions are not spelled out as bits."""
    values = ", ".join(f"10.0.{n >> 8}.{n & 255}" for n in range(1000))
    (listed,) = conjunctions_of(f"ip4.src == {{{values}}} && ip4.dst != {{{values}}}")
    lengths = {
        clause.field.name: (len(clause.any_of), len(clause.none_of))
        for clause in listed
        if isinstance(clause, FieldClause)
    }
    assert lengths == {"eth.type": (1, 0), "ip4.dst": (0, 1000), "ip4.src": (1000, 0)}


def test_names_stay_names() -> None:
    """Sets, groups and residence are clauses of their own: nobody here knows their members."""
    (conjunction,) = conjunctions_of('inport == @g && ip4.src == $s && is_chassis_resident("p")')
    kinds = [type(clause) for clause in conjunction]
    assert kinds == [FieldClause, SetClause, PortClause, ResidentClause]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            " && ".join(f"0 < reg{n} < 0xffffffff" for n in range(4)), id="terms of one field"
        ),
        pytest.param(
            " && ".join(
                f'(is_chassis_resident("a{n}") || is_chassis_resident("b{n}"))' for n in range(13)
            ),
            id="conjunctions",
        ),
    ],
)
def test_an_explosion_is_refused(text: str) -> None:
    """Alternatives that no machine could hold end in an error, not in a full memory."""
    with pytest.raises(LanguageError, match="too many alternatives"):
        conjunctions_of(text)

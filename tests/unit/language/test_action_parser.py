# SPDX-License-Identifier: Apache-2.0
"""The trees of actions; texts and errors are in the golden cases."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovisor_ovn.language import (
    ActionList,
    Backend,
    Clone,
    Constant,
    CtCommit,
    CtLb,
    CtNat,
    Format,
    LanguageError,
    Load,
    Move,
    Next,
    Output,
    Predicate,
    SymbolTable,
    Verb,
    parse_actions,
    print_actions,
)

SYMBOLS = SymbolTable.default()
CASES = Path(__file__).parents[2] / "cases" / "language" / "actions.txt"
IP = Constant(0x0A000002, None, 32, Format.IPV4)


def read(
    text: str,
    pipeline: str = "ingress",
    table: int = 10,
    templates: dict[str, str] | None = None,
) -> ActionList:
    """Return the tree of actions in a pipeline of 35 tables, or 16 in egress."""
    return parse_actions(
        text, SYMBOLS, pipeline=pipeline, table=table, n_tables=(35, 16), templates=templates
    )


def accepted() -> list[str]:
    """Return the golden inputs that are accepted and no lone drop."""
    lines = CASES.read_text().splitlines()
    pairs = [line.split("  =>  ") for line in lines if not line.startswith("#")]
    return [text for text, result in pairs if not result.startswith("error") and result != "drop;"]


@given(st.lists(st.sampled_from(accepted()), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_what_is_printed_reads_as_the_same_tree(texts: list[str]) -> None:
    """Printing loses nothing, in a body either, and lists are the sum of their statements."""
    text = "\n".join(texts)
    tree = read(text)
    assert tree == read(print_actions(tree))
    nested = read(f"clone {{ {text}\n }};")
    assert nested == read(print_actions(nested))
    assert nested.actions == (Clone(tree.actions),)


@pytest.mark.parametrize("text", ["", "drop;", " drop ; // why"])
def test_drop_is_the_empty_list(text: str) -> None:
    """A flow that does nothing drops."""
    assert read(text).actions == ()


@pytest.mark.parametrize(
    ("text", "pipeline", "expected"),
    [
        ("next;", "ingress", Next("ingress", 11)),
        ("next(3);", "egress", Next("egress", 3)),
        ("next(pipeline=ingress, table=0);", "egress", Next("ingress", 0)),
        ("next(pipeline=egress);", "ingress", Next("egress", 11)),
    ],
)
def test_next_is_explicit(text: str, pipeline: str, expected: Next) -> None:
    """Whoever executes it need not know where the flow stood."""
    assert read(text, pipeline).actions == (expected,)


@pytest.mark.parametrize(
    "text",
    ["next;", "ct_next;", "ct_lb_mark;", "ct_dnat;", "ct_commit_nat;", "ct_commit_to_zone(dnat);",
     "reg8[16..31] = select(1, 2);", "next(16);", "next(pipeline=ingress, table=35);"],
)  # fmt: skip
def test_nothing_leads_beyond_the_last_table(text: str) -> None:
    """What goes on in the next table has no place in the last one."""
    with pytest.raises(LanguageError, match=r"last one|none (16|35)"):
        read(text, "egress", 15)


@pytest.mark.parametrize("text", ["output;", "ct_commit;", "ct_snat_to_vip;", "next(0);"])
def test_the_last_table_may_do_the_rest(text: str) -> None:
    """Verbs that do not go on in the next table are welcome everywhere."""
    assert len(read(text, "egress", 15).actions) == 1


def test_a_list_of_many_kinds() -> None:
    """Fields are resolved, constants keep their form, verbs their arguments."""
    text = 'reg0[3] = 1; outport = "p"; ct_lb_mark(backends=10.0.0.2:80; skip_snat); output;'
    store, port, balance, output = read(text).actions
    assert isinstance(store, Load)
    assert (store.ref.field.name, store.ref.offset, store.ref.width) == ("xxreg0", 99, 1)
    assert store.constant == Constant(1, None, 1, Format.DECIMAL)
    assert isinstance(port, Load)
    assert port.constant == "p"
    assert balance == CtLb("ct_lb_mark", (Backend(IP, 80),), (), "skip_snat")
    assert output == Output()


def test_a_port_range_has_two_ends() -> None:
    """A single port is a range of one."""
    assert read("ct_dnat(10.0.0.2,80);").actions == (CtNat("ct_dnat", IP, (80, 80)),)
    assert read("ct_snat(10.0.0.2,1-9);").actions == (CtNat("ct_snat", IP, (1, 9)),)


def test_a_commit_holds_loads_and_moves() -> None:
    """Both spellings give stores into the mark and the label."""
    (commit,) = read(
        "ct_commit { ct_mark.blocked = 1; ct_label.ecmp_reply_eth = eth.src; };"
    ).actions
    assert isinstance(commit, CtCommit)
    assert [type(load) for load in commit.loads] == [Load, Move]
    (old,) = read("ct_commit(ct_mark=1/1, ct_label=2);").actions
    assert isinstance(old, CtCommit)
    assert [load.ref.field.name for load in old.loads if isinstance(load, Load)] == [
        "ct_mark",
        "ct_label",
    ]


def test_options_are_looked_up_by_name() -> None:
    """Values are constants, texts, or tuples where a set was written."""
    text = 'reg0[0] = put_dhcp_opts(offerip=10.0.0.2, dns_server={10.0.0.2}, hostname="h");'
    (verb,) = read(text).actions
    assert isinstance(verb, Verb)
    assert verb.arg("offerip") == IP
    assert verb.arg("dns_server") == (IP,)
    assert verb.arg("hostname") == "h"
    assert verb.arg("mtu") is None


def test_the_database_says_which_options_there_are() -> None:
    """An option that only the database knows is read; one that it lacks is refused."""
    options = {"put_dhcp_opts": {"offerip": "ipv4", "colour": "str"}}

    def read_with(text: str) -> ActionList:
        return parse_actions(
            text, SYMBOLS, pipeline="ingress", table=0, n_tables=(35, 16), dictionaries=options
        )

    (verb,) = read_with('reg0[0] = put_dhcp_opts(offerip=10.0.0.2, colour="red");').actions
    assert isinstance(verb, Verb)
    assert verb.arg("colour") == "red"
    with pytest.raises(LanguageError, match="an option of put_dhcp_opts is expected"):
        read_with("reg0[0] = put_dhcp_opts(offerip=10.0.0.2, mtu=5);")


def test_prerequisites_come_once() -> None:
    """Two stores into ports of TCP demand TCP, not TCP twice."""
    assert read("tcp.src = 1; tcp.dst = 2;").prereqs == (Predicate("tcp"),)


def test_a_generated_packet_keeps_its_prerequisites_to_itself() -> None:
    """A body that acts on another packet demands nothing of this one; clone's does."""
    assert read("icmp4 { icmp4.type = 3; };").prereqs == (Predicate("ip4"),)
    assert read("clone { icmp4.type = 3; };").prereqs == (Predicate("icmp4"),)


def test_prerequisites_before_a_body_survive_it() -> None:
    """Leaving a body does not forget what stood before it."""
    assert read("tcp.dst = 1; arp { udp.dst = 2; };").prereqs == (
        Predicate("tcp"),
        Predicate("ip"),
    )


@pytest.mark.parametrize(("depth", "accepted"), [(30, True), (31, True), (32, False)])
def test_bodies_nest_to_a_bound(depth: int, accepted: bool) -> None:
    """The bound is OVN's."""
    text = "clone { " * depth + "output; " + "}; " * depth
    if accepted:
        assert read(text).actions
    else:
        with pytest.raises(LanguageError, match="nested too deeply"):
            read(text)


def test_the_table_of_the_flow_decides_how_next_is_printed() -> None:
    """The same jump is short where it leads to the next table."""
    jump = (Next("ingress", 11),)
    assert print_actions(ActionList(jump, table=10)) == "next;"
    assert print_actions(ActionList(jump, table=3)) == "next(11);"
    assert print_actions(ActionList(jump, pipeline="egress")) == "next(pipeline=ingress, table=11);"


def test_templates_are_expanded_before_reading() -> None:
    """A variable may hold a list of backends."""
    text = "ct_lb_mark(backends=^b);"
    (balance,) = read(text, templates={"b": "10.0.0.2:80,10.0.0.2"}).actions
    assert balance == CtLb("ct_lb_mark", (Backend(IP, 80), Backend(IP)), (), None)


WORDS = st.sampled_from(
    [word for text in accepted() for word in text.replace("(", " ( ").replace(";", " ; ").split()]
)


def column_of_refusal(text: str) -> int:
    """Return where a text is refused, 0 if it is not."""
    try:
        read(text)
    except LanguageError as error:
        return error.column
    return 0


@given(st.lists(WORDS | st.text(max_size=3), max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(words: list[str]) -> None:
    """Whatever a row holds, it ends in a tree or in an error that points into the text."""
    text = " ".join(words)
    assert 0 <= column_of_refusal(text) <= len(text)

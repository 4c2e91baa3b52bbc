# SPDX-License-Identifier: Apache-2.0
"""Direct evaluation, the first judge, against facts."""

import pytest

from iovisor_ovn.language import Context, Packet, SymbolTable, Term, annotate, evaluate, parse_match

TCP: Packet = {
    "eth.type": 0x800,
    "ip.proto": 6,
    "ip4.src": 0x0A000001,
    "tcp.dst": 80,
    "inport": "a",
}
CONTEXT = Context(
    address_sets={"s": (Term(0x0A000000, 0xFF000000),)},
    port_groups={"g": ("a", "b")},
    residents=("here",),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp", True),
        ("udp", False),
        ("ip", True),
        ("ip6", False),
        ("tcp.dst == 80", True),
        ("udp.dst != 5", False),
        ("tcp.dst != 5", True),
        ("tcp.dst > 79 && tcp.dst <= 80", True),
        ("80 < tcp.dst", False),
        ("ip4.src == 10.0.0.0/8", True),
        ("ip4.src != 10.0.0.0/8", False),
        ("ip4.src == $s", True),
        ("ip4.src != $s", False),
        ("ip4.src == $unknown", False),
        ("ip4.src != $unknown", True),
        ("ip6.src != $unknown", False),
        ("inport == @g", True),
        ("inport == @unknown", False),
        ('inport == {"x", "a"}', True),
        ('outport == "a"', False),
        ('is_chassis_resident("here")', True),
        ('!is_chassis_resident("there")', True),
        ("!(ip4.src == 10.0.0.2)", True),
        ("!(ip6.src == ::1)", False),
        ("!ip4.mcast", True),
        ("!ip.first_frag", True),
        ("ip.frag == 0", True),
        ("!reg0", True),
    ],
)
def test_a_packet_is_judged(text: str, expected: bool, symbols: SymbolTable) -> None:
    """With prerequisites, TCP from 10.0.0.1 to port 80 at port a matches or not."""
    tree = annotate(parse_match(text, symbols), symbols)
    assert expected == evaluate(tree, TCP, CONTEXT)


def test_without_annotation_predicates_still_mean_something(symbols: SymbolTable) -> None:
    """A tree as written has no prerequisites of its own, but its predicates are whole."""
    assert evaluate(parse_match("udp.dst == 0 && tcp", symbols), TCP, CONTEXT)
    assert not evaluate(parse_match("udp.dst == 0 && udp", symbols), TCP, CONTEXT)

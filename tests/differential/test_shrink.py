# SPDX-License-Identifier: Apache-2.0
"""The pure parts: topologies, cases, shrinking, known differences."""

from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import ARP, Ether

from differential.arena import Mismatch
from differential.case import Bind, Case, Change, Send, load, save
from differential.differences import DIFFERENCES, explain
from differential.generate import generate
from differential.shrink import shrink
from differential.topology import Element, Topology
from differential.traffic import Traffic

_TOPOLOGY = Topology(
    tuple(
        Element(name, "thing", (f"add {name}",), needs)
        for name, needs in (("a", ()), ("b", ("a",)), ("c", ("b",)), ("d", ()))
    )
)
_TAGGED = bytes.fromhex("020000000002020000000001810010070800") + bytes(range(1, 41))


def test_an_element_takes_along_what_needs_it() -> None:
    """Leaving out an element leaves out those that need it, directly or not."""
    assert _TOPOLOGY.without({"b"}).lines() == "add a\nadd d"
    assert _TOPOLOGY.without({"a"}).lines() == "add d"


def test_the_same_seed_gives_the_same_topology() -> None:
    """A seed is all that is needed to repeat a run."""
    assert generate(7)[0] == generate(7)[0]
    assert generate(7)[0] != generate(8)[0]


@pytest.mark.parametrize("seed", range(20))
def test_elements_come_after_what_they_need(seed: int) -> None:
    """The commands of any seed's topology can be run in their order."""
    seen: set[str] = set()
    for element in generate(seed)[0].elements:
        assert seen.issuperset(element.needs), element
        assert element.name not in seen
        seen.add(element.name)


def test_a_case_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A file holds all of a case."""
    topology, plan = generate(3)
    traffic = Traffic(3, topology, plan)
    steps = (*(traffic.next() for _ in range(200)), Bind("p1", plugged=False))
    assert {type(step) for step in steps} == {Send, Change, Bind}
    case = Case("three", topology, steps)
    save(case, tmp_path / "case.json")
    assert load(tmp_path / "case.json") == case


def test_shrinking_keeps_what_matters() -> None:
    """Of many steps and elements those remain that the mismatch needs."""
    steps = tuple(Send("p1", (bytes([number]),), f"kind {number}") for number in range(40))
    wanted = {steps[3], steps[17]}

    def judge(case: Case) -> list[Mismatch]:
        needed = wanted.issubset(case.steps) and "c" in case.topology.names()
        return [Mismatch(case.steps.index(steps[17]), "p2", (), ())] if needed else []

    case = Case("long", _TOPOLOGY, steps)
    small = shrink(case, judge(case), judge)
    assert small == replace(case, topology=_TOPOLOGY.without({"d"}), steps=(steps[3], steps[17]))


def test_a_known_difference_explains_no_more_than_it_says() -> None:
    """The DEI bit of the outer tag may differ, a bit beside it may not."""
    cleared = _TAGGED[:14] + b"\x00" + _TAGGED[15:]
    other = _TAGGED[:14] + b"\x30" + _TAGGED[15:]
    known = explain([_TAGGED], {"p": [_TAGGED]}, {"p": [cleared]})
    assert known is not None
    assert known.name == "DEI of a VLAN tag"
    assert explain([_TAGGED], {"p": [_TAGGED]}, {"p": [other]}) is None
    assert explain([_TAGGED], {"p": [_TAGGED]}, {"q": [cleared]}) is None


def test_a_seed_repeats_its_frames() -> None:
    """The same seed gives the same frames, of many kinds."""
    first, second = (Traffic(5, *generate(5)) for _ in range(2))
    steps = [first.next() for _ in range(300)]
    assert steps == [second.next() for _ in range(300)]
    assert len({step.what for step in steps}) > 30


def test_an_answer_to_a_new_station_may_be_flooded() -> None:
    """What goes to the sender may go elsewhere too, when it was not known; nothing else may."""
    back = _TAGGED[6:12] + _TAGGED[:6] + _TAGGED[12:]
    more = {"p": [back], "q": [back]}
    known = explain([_TAGGED], {"p": [back]}, more, ["new station"])
    assert known is not None
    assert explain([_TAGGED], {"p": [back]}, more) is None
    assert explain([_TAGGED], {"p": [_TAGGED]}, {"q": [_TAGGED]}, ["new station"]) is None


def test_what_is_held_may_get_another_port_only() -> None:
    """With NAT, what a neighbour's message sets free may differ in its source port, no more."""
    reply = bytes(Ether() / ARP(op=2))
    ours, theirs, other = (
        bytes(Ether() / IP(dst=address) / UDP(sport=port, dport=9) / b"data")
        for address, port in (("10.0.0.9", 1000), ("10.0.0.9", 1001), ("10.0.0.8", 1000))
    )
    known = explain([reply], {"p": [ours]}, {"p": [theirs]}, ["nat"])
    assert known is not None
    assert known.name == "port of what is held"
    assert explain([reply], {"p": [ours]}, {"p": [theirs]}) is None
    assert explain([reply], {"p": [ours]}, {"p": [other]}, ["nat"]) is None
    assert explain([ours], {"p": [ours]}, {"p": [theirs]}, ["nat"]) is None


def test_what_the_switch_gave_up_is_known() -> None:
    """What OVS counted as coming round too often may be missing, and nothing else."""
    known = explain([_TAGGED], {"p": [_TAGGED]}, {}, ["nat", "given up"])
    assert known is not None
    assert known.name == "too many lookups of connections"
    assert explain([_TAGGED], {"p": [_TAGGED]}, {}, ["nat"]) is None


def test_cut_frames_are_no_quotes() -> None:
    """An ICMPv6 error may end anywhere; one that is whole enough is known for what it quotes."""
    (known,) = (one for one in DIFFERENCES if one.name == "TCP quoted over IPv6")
    quote = IPv6(src="fd00::2", dst="fd00::1") / TCP()
    whole = bytes(Ether() / IPv6(src="fd00::1", dst="fd00::2") / ICMPv6DestUnreach() / quote)
    protocol_ends = 14 + 48 + 7
    for size in range(14, len(whole) + 1):
        assert known.applies(whole[:size]) == (size >= protocol_ends)

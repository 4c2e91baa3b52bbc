# SPDX-License-Identifier: Apache-2.0
"""Loops of modules that pass frames on."""

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from iovisor_ovn.config.loops import Loop, loops
from iovisor_ovn.config.topology import (
    Config,
    Dhcp,
    Ebpf,
    Endpoint,
    Firewall,
    Link,
    LoadBalancer,
    Module,
    Nat,
    Null,
    OneToOneNat,
    Place,
    Router,
    Switch,
)

_HERE = Place(1, 1)
_ADDRESS = IPv4Address("10.0.0.1")
_PASSING: list[Config] = [
    Switch(),
    Nat(_ADDRESS, "a", "b"),
    OneToOneNat((), "a", "b"),
    Firewall((), "drop", "a", "b"),
    LoadBalancer((), "a", "b"),
    Ebpf(Path("program.c")),
    Null(forwards=True),
]
_ENDING: list[Config] = [
    Router(),
    Dhcp(IPv4Interface("10.0.0.1/24"), "02:00:00:00:00:01", _ADDRESS, _ADDRESS),
    Null(),
]


def found(links: str, **others: Config) -> list[Loop]:
    """Return the loops of ``ab bc``, the links a to b and b to c; modules are switches."""
    pairs = links.split()
    modules = [
        Module(name, others.get(name, Switch()), (), _HERE) for name in sorted(set("".join(pairs)))
    ]
    return list(
        loops(
            modules,
            [
                Link((Endpoint(one, f"to-{other}"), Endpoint(other, f"to-{one}")), _HERE)
                for one, other in map(tuple, pairs)
            ],
        )
    )


def test_a_tree_has_none() -> None:
    """However many modules."""
    assert found("ab bc bd de af") == []


def test_a_ring_has_one() -> None:
    """The link that closes it is named, and the modules in their order."""
    assert found("ab bc cd da") == [Loop(3, ("d", "c", "b", "a"))]


def test_modules_beside_the_ring_are_not_named() -> None:
    """What hangs on a loop is no part of it."""
    assert found("xa ab by bc cz ca") == [Loop(5, ("c", "b", "a"))]


def test_two_links_between_two_switches_are_a_loop() -> None:
    """Both carry each broadcast."""
    assert found("ab ab") == [Loop(1, ("a", "b"))]


def test_each_link_too_many_is_named() -> None:
    """Who takes these away has a tree."""
    assert [loop.link for loop in found("ab bc ca cd db ab")] == [2, 4, 5]


def test_two_parts_of_a_chain_are_two_chains() -> None:
    """Rings are found in each."""
    assert found("ab cd de ec") == [Loop(3, ("e", "d", "c"))]


@pytest.mark.parametrize("config", _PASSING, ids=lambda config: type(config).__name__)
def test_what_passes_frames_on_closes_a_loop(config: Config) -> None:
    """A module with a TTL for nothing does not stop a broadcast."""
    assert found("ab bx xa", x=config) == [Loop(2, ("x", "b", "a"))]


@pytest.mark.parametrize("config", _ENDING, ids=lambda config: type(config).__name__)
def test_what_routes_answers_or_drops_closes_none(config: Config) -> None:
    """Frames end there."""
    assert found("ab bx xa", x=config) == []
    assert found("ax ax bx bx ab", x=config) == []


def test_a_long_ring_is_found_without_recursion() -> None:
    """A chain of thousands is no deeper than one of three."""
    names = [str(number) for number in range(5000)]
    modules = [Module(name, Switch(), (), _HERE) for name in names]
    links = [
        Link((Endpoint(one, "next"), Endpoint(other, "last")), _HERE)
        for one, other in zip(names, [*names[1:], names[0]], strict=True)
    ]
    (loop,) = loops(modules, links)
    assert loop.link == 4999
    assert set(loop.modules) == set(names)

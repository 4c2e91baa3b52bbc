# SPDX-License-Identifier: Apache-2.0
"""get, put and lookup of neighbours: words and map in, words, map and events out."""

from collections.abc import Iterator

import pytest

from icmp_rig import Rig, build, key, neighbour_words
from iovisor_ovn.abi.layout import EventKind, Op, Temp, Word
from iovisor_ovn.abi.structs import STRUCTS

pytestmark = pytest.mark.needs_bpf

V4 = (0, 0, 0, 0x0A000001)
V6 = (0xFD000000, 0, 0, 0x0A000001)
MAC, OTHER, FIXED = (0x0200, 0x11), (0x0200, 0x22), (0xAABB, 0x33)
NONE = (0, 0)
SECOND_NS = 10**9


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The IOModules, loaded once."""
    item = Rig(build(tmp_path_factory.mktemp("neighbour")))
    yield item
    item.close()


@pytest.fixture
def rig(loaded: Rig) -> Rig:
    """The rig without neighbours and events."""
    loaded.maps["neighbours"].clear()
    loaded.take_events()
    return loaded


def store(rig: Rig, address: tuple[int, int, int, int], port: int = 5, **members: int) -> None:
    """Write an entry as the agent does."""
    rig.maps["neighbours"].update(key(3, port, *address), STRUCTS["neigh"].pack(**members))


def stored(rig: Rig, address: tuple[int, int, int, int], port: int = 5) -> dict[str, int]:
    """Read an entry."""
    raw = rig.maps["neighbours"].lookup(key(3, port, *address))
    assert raw is not None
    values = STRUCTS["neigh"].unpack(raw)
    return {name: value for name, value in values.items() if isinstance(value, int)}


def learned(mac: tuple[int, int]) -> dict[str, int]:
    """Members of a MAC_Binding."""
    return {"mac_hi": mac[0], "mac_lo": mac[1]}


def configured(mac: tuple[int, int], overrides: int) -> dict[str, int]:
    """Members of a Static_MAC_Binding."""
    return {"static_hi": mac[0], "static_lo": mac[1], "overrides": overrides}


def got(rig: Rig, address: tuple[int, int, int, int], port: int = 5) -> tuple[int, int]:
    """eth.dst behind get_arp or get_nd; the source must stay as it was."""
    words = neighbour_words(port, address) | {
        Word.ETH_HI: 0x12345678, Word.ETH_DST_LO: 9, Word.ETH_SRC_LO: 8,
    }  # fmt: skip
    out = rig.call(Op.NEIGH_GET, words)
    assert out.words[Word.ETH_HI] & 0xFFFF == 0x5678
    assert out.words[Word.ETH_SRC_LO] == 8
    return out.words[Word.ETH_HI] >> 16, out.words[Word.ETH_DST_LO]


def looked_up(
    rig: Rig, address: tuple[int, int, int, int], mac: tuple[int, int], check_mac: int = 1
) -> int:
    """RESULT of lookup_arp, or of lookup_arp_ip with check_mac 0; eth.dst must stay."""
    words = neighbour_words(5, address, mac) | {Word.ETH_DST_LO: 9, Temp.RESULT: 7}
    out = rig.call(Op.NEIGH_LOOKUP, words, check_mac)
    assert out.words[Word.ETH_DST_LO] == 9
    return out.words[Temp.RESULT]


@pytest.mark.parametrize("address", [V4, V6], ids=["arp", "nd"])
def test_get_answers_what_put_learned(rig: Rig, address: tuple[int, int, int, int]) -> None:
    """An address that a packet taught resolves for the next one, without an agent."""
    assert got(rig, address) == NONE
    assert rig.call(Op.NEIGH_PUT, neighbour_words(5, address, MAC)).result == 1
    assert rig.call(Op.NEIGH_PUT, neighbour_words(5, address, MAC)).result == 0
    assert got(rig, address) == MAC


def test_neighbours_are_apart(rig: Rig) -> None:
    """Another port, datapath, family or address is another neighbour."""
    rig.call(Op.NEIGH_PUT, neighbour_words(5, V4, MAC))
    assert got(rig, V4, port=6) == NONE
    assert got(rig, V6) == NONE
    assert got(rig, (0, 0, 0, 0x0A000002)) == NONE
    rig.call(Op.NEIGH_PUT, neighbour_words(5, V4, OTHER, dp=4))
    assert got(rig, V4) == MAC


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, NONE),
        (learned(MAC), MAC),
        (configured(FIXED, 0), FIXED),
        (configured(FIXED, 1), FIXED),
        (learned(MAC) | configured(FIXED, 0), MAC),
        (learned(MAC) | configured(FIXED, 1), FIXED),
    ],
)
def test_get_prefers_as_the_priorities_of_ovn(
    rig: Rig, members: dict[str, int], expected: tuple[int, int]
) -> None:
    """Overriding static binding, then learned binding, then static binding."""
    store(rig, V4, **members)
    assert got(rig, V4) == expected


@pytest.mark.parametrize("overrides", [0, 1])
def test_lookup_knows_both_bindings(rig: Rig, overrides: int) -> None:
    """lookup_arp matches either binding's address, lookup_arp_ip any entry with one."""
    assert [looked_up(rig, V4, MAC, check) for check in (0, 1)] == [0, 0]
    store(rig, V4, **learned(MAC), **configured(FIXED, overrides))
    assert [looked_up(rig, V4, mac) for mac in (MAC, FIXED, OTHER, NONE)] == [1, 1, 0, 0]
    assert looked_up(rig, V4, NONE, check_mac=0) == 1
    store(rig, V4)
    assert looked_up(rig, V4, NONE, check_mac=0) == 0


def test_put_keeps_the_configured_address(rig: Rig) -> None:
    """Learning beside an overriding static binding changes neither it nor what get answers."""
    store(rig, V4, **configured(FIXED, 1))
    rig.call(Op.NEIGH_PUT, neighbour_words(5, V4, MAC))
    assert got(rig, V4) == FIXED
    assert looked_up(rig, V4, MAC) == 1
    members = stored(rig, V4)
    assert (members["mac_lo"], members["static_lo"], members["overrides"]) == (0x11, 0x33, 1)


def test_agent_hears_of_news_only(rig: Rig) -> None:
    """A new address and a changed one are told once each, a known one never."""
    for mac, is_new in ((MAC, 1), (MAC, 0), (OTHER, 1), (OTHER, 0)):
        assert rig.call(Op.NEIGH_PUT, neighbour_words(5, V6, mac)).result == is_new
    events = [event for event, _data in rig.take_events()]
    assert [event["kind"] for event in events] == [EventKind.NEIGHBOUR] * 2
    assert [(event["mac_hi"], event["mac_lo"]) for event in events] == [MAC, OTHER]
    assert [(event["dp"], event["port"], event["ip"]) for event in events] == [(3, 5, V6)] * 2
    assert [event["len"] for event in events] == [0, 0]


def test_lost_event_is_told_later(rig: Rig) -> None:
    """With a full ring the address is learned, counts as unknown to lookup, and is told again."""
    for number in range(1, 1000):
        rig.call(Op.NEIGH_PUT, neighbour_words(5, V4, (1, number)))
        if stored(rig, V4)["untold"]:
            break
    else:
        pytest.fail("the ring never filled")
    last = (1, number)
    assert (got(rig, V4), looked_up(rig, V4, last)) == (last, 0)
    rig.take_events()
    rig.call(Op.NEIGH_PUT, neighbour_words(5, V4, last))
    ((event, _data),) = rig.take_events()
    assert (event["mac_hi"], event["mac_lo"]) == last
    assert (stored(rig, V4)["untold"], looked_up(rig, V4, last)) == (0, 1)


def test_full_map_loses_nothing_else(rig: Rig) -> None:
    """A neighbour that finds no room is still told, and those that are there stay."""
    for number in range(20):
        out = rig.call(Op.NEIGH_PUT, neighbour_words(5, (0, 0, 0, number), MAC))
        assert out.result == (number < 16)
    assert len(rig.take_events()) == 20
    assert len(rig.maps["neighbours"].keys()) == 16
    assert got(rig, (0, 0, 0, 0)) == MAC


def test_use_is_noted_once_a_second(rig: Rig) -> None:
    """The time of use moves when it is over a second old, and not before."""
    store(rig, V4, **learned(MAC))
    got(rig, V4)
    first = stored(rig, V4)["used_ns"]
    assert first > 0
    store(rig, V4, **learned(MAC), used_ns=first, confirmed_ns=first)
    got(rig, V4)
    looked_up(rig, V4, MAC)
    rig.call(Op.NEIGH_PUT, neighbour_words(5, V4, MAC))
    assert stored(rig, V4)["used_ns"] == first
    store(rig, V4, **learned(MAC), used_ns=first - SECOND_NS)
    looked_up(rig, V4, MAC)
    assert stored(rig, V4)["used_ns"] >= first

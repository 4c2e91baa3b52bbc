# SPDX-License-Identifier: Apache-2.0
"""get, put and lookup of MAC addresses: words and map in, words, map and events out."""

from collections.abc import Iterator

import pytest

from icmp_rig import Rig, build, key
from iovisor_ovn.abi.layout import EventKind, Op, Temp, Word
from iovisor_ovn.abi.structs import STRUCTS

pytestmark = pytest.mark.needs_bpf

MAC, OTHER = (0x0200, 0x11), (0x0201, 0x11)
SECOND_NS = 10**9


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The IOModules, loaded once."""
    item = Rig(build(tmp_path_factory.mktemp("fdb")))
    yield item
    item.close()


@pytest.fixture
def rig(loaded: Rig) -> Rig:
    """The rig without MAC addresses and events."""
    loaded.maps["fdb_entries"].clear()
    loaded.take_events()
    return loaded


def words(mac: tuple[int, int], port: int = 0, dp: int = 3) -> dict[int, int]:
    """Words of a call; RESULT holds rubbish before it."""
    return {
        Word.DATAPATH: dp, Temp.PORT: port, Temp.MAC_HI: mac[0], Temp.MAC_LO: mac[1],
        Temp.RESULT: 99,
    }  # fmt: skip


def result(rig: Rig, op: Op, mac: tuple[int, int], port: int = 0, dp: int = 3) -> int:
    """RESULT behind a call that must succeed."""
    out = rig.call(op, words(mac, port, dp))
    assert out.result == 0
    return out.words[Temp.RESULT]


def stored(rig: Rig, mac: tuple[int, int]) -> dict[str, int | tuple[int, ...]]:
    """Read an entry."""
    raw = rig.maps["fdb_entries"].lookup(key(3, *mac))
    assert raw is not None
    return STRUCTS["fdb"].unpack(raw)


def test_get_answers_what_put_learned(rig: Rig) -> None:
    """A MAC address that a packet taught is found for the next one; others are on port 0."""
    assert result(rig, Op.FDB_GET, MAC) == 0
    assert rig.call(Op.FDB_PUT, words(MAC, port=8)).result == 1
    assert rig.call(Op.FDB_PUT, words(MAC, port=8)).result == 0
    assert result(rig, Op.FDB_GET, MAC) == 8
    assert result(rig, Op.FDB_GET, OTHER) == 0
    assert result(rig, Op.FDB_GET, MAC, dp=4) == 0


def test_lookup_wants_the_port(rig: Rig) -> None:
    """lookup_fdb is 1 only for the port that the address was learned on."""
    assert result(rig, Op.FDB_LOOKUP, MAC, port=8) == 0
    rig.call(Op.FDB_PUT, words(MAC, port=8))
    assert [result(rig, Op.FDB_LOOKUP, MAC, port=port) for port in (8, 9, 0)] == [1, 0, 0]


def test_agent_hears_of_news_and_moves(rig: Rig) -> None:
    """A new address and one on another port are told once each."""
    for port, is_new in ((8, 1), (8, 0), (9, 1), (9, 0)):
        assert rig.call(Op.FDB_PUT, words(MAC, port)).result == is_new
    events = [event for event, _data in rig.take_events()]
    assert [event["kind"] for event in events] == [EventKind.FDB] * 2
    assert [(event["dp"], event["port"]) for event in events] == [(3, 8), (3, 9)]
    assert [(event["mac_hi"], event["mac_lo"]) for event in events] == [MAC, MAC]
    assert result(rig, Op.FDB_GET, MAC) == 9


def test_lost_event_is_told_later(rig: Rig) -> None:
    """With a full ring the move counts as unknown to lookup, and is told again."""
    for port in range(1, 1000):
        rig.call(Op.FDB_PUT, words(MAC, port))
        if stored(rig, MAC)["untold"]:
            break
    else:
        pytest.fail("the ring never filled")
    assert (result(rig, Op.FDB_GET, MAC), result(rig, Op.FDB_LOOKUP, MAC, port)) == (port, 0)
    rig.take_events()
    rig.call(Op.FDB_PUT, words(MAC, port))
    ((event, _data),) = rig.take_events()
    assert event["port"] == port
    assert result(rig, Op.FDB_LOOKUP, MAC, port) == 1


def test_full_map_loses_nothing_else(rig: Rig) -> None:
    """An address that finds no room is still told, and those that are there stay."""
    for number in range(20):
        assert rig.call(Op.FDB_PUT, words((0, number), port=8)).result == (number < 16)
    assert len(rig.take_events()) == 20
    assert len(rig.maps["fdb_entries"].keys()) == 16
    assert result(rig, Op.FDB_GET, (0, 0)) == 8


def test_use_is_noted_once_a_second(rig: Rig) -> None:
    """The time of use moves with the sender's packets when it is over a second old."""
    rig.maps["fdb_entries"].update(key(3, *MAC), STRUCTS["fdb"].pack(port=8))
    result(rig, Op.FDB_LOOKUP, MAC, 8)
    first = stored(rig, MAC)["used_ns"]
    assert isinstance(first, int)
    assert first > 0
    result(rig, Op.FDB_LOOKUP, MAC, 8)
    rig.call(Op.FDB_PUT, words(MAC, 8))
    assert stored(rig, MAC)["used_ns"] == first
    rig.maps["fdb_entries"].update(
        key(3, *MAC), STRUCTS["fdb"].pack(port=8, used_ns=first - SECOND_NS)
    )
    rig.call(Op.FDB_PUT, words(MAC, 8))
    refreshed = stored(rig, MAC)["used_ns"]
    assert isinstance(refreshed, int)
    assert refreshed >= first

# SPDX-License-Identifier: Apache-2.0
"""Neighbours and learned MAC addresses in the machine's maps."""

import pytest

from iovisor_ovn.abi import STRUCTS
from iovisor_ovn.mainlogic.neighbours import mac_number, mac_text
from unit.mainlogic.fakes import FakeRow
from unit.mainlogic.rig import Rig

_A, _B = "00:00:00:00:00:0a", "00:00:00:00:00:0b"


class _Router(Rig):
    """A router ``lr`` (key 6) with a port ``lrp`` (key 3), local by a patch port."""

    def __init__(self, **sizes: int) -> None:
        """Make it."""
        super().__init__(**sizes)
        self.lr = self.datapath("lr", 6, "logical-router")
        self.port("sw-lr", 2, kind="patch", peer="lrp")
        self.lrp = self.port("lrp", 3, self.lr, kind="patch", peer="sw-lr")
        self.update()

    def learned(self, ip: str = "10.0.0.1", mac: str = _A, port: str = "lrp") -> FakeRow:
        """A MAC_Binding."""
        return self.db.insert("MAC_Binding", datapath=self.lr, logical_port=port, ip=ip, mac=mac)

    def fdb(self, port: int, mac: str = _A, key: int = 5) -> FakeRow:
        """An FDB row."""
        return self.db.insert("FDB", mac=mac, dp_key=key, port_key=port)

    def neighbours(self) -> dict[tuple[int, int], tuple[int, int, int]]:
        """(Learned, configured, overrides) by index-free key: port and address."""
        found = {}
        for key, value in self.machine.maps["neighbours"].items():
            where, what = STRUCTS["neigh_key"].unpack(key), STRUCTS["neigh"].unpack(value)
            assert where["dp"] == self.pipeline.world.local[self.lr.uuid]
            ip = where["ip"]
            assert isinstance(ip, tuple)
            number = sum(word << shift for word, shift in zip(ip, (96, 64, 32, 0), strict=True))
            values = {name: value for name, value in what.items() if isinstance(value, int)}
            assert isinstance(where["port"], int)
            found[where["port"], number] = (
                values["mac_hi"] << 32 | values["mac_lo"],
                values["static_hi"] << 32 | values["static_lo"], values["overrides"],
            )  # fmt: skip
        return found

    def macs(self) -> dict[int, int]:
        """Port keys by MAC on the switch."""
        found = {}
        for key, value in self.machine.maps["fdb_entries"].items():
            where, what = STRUCTS["fdb_key"].unpack(key), STRUCTS["fdb"].unpack(value)
            assert isinstance(where["mac_lo"], int)
            assert isinstance(what["port"], int)
            found[where["mac_lo"]] = what["port"]
        return found


@pytest.fixture
def rig() -> _Router:
    """A switch and a router."""
    return _Router()


@pytest.mark.parametrize(
    ("text", "number"),
    [(_A, 10), ("AA:BB:CC:DD:EE:FF", 0xAABBCCDDEEFF), ("0:0:0:0:0:1", 1), ("", None),
     ("00:00:00:00:00", None), ("00:00:00:00:00:100", None), ("00:00:00:00:00:0g", None)],
)  # fmt: skip
def test_mac_addresses_are_read(text: str, number: int | None) -> None:
    """48 bits, or nothing."""
    assert mac_number(text) == number


def test_mac_addresses_are_written_as_ovn_does() -> None:
    """Two digits each, small letters."""
    assert mac_text(0xABCDEF) == "00:00:00:ab:cd:ef"


def test_learned_and_configured_share_an_entry(rig: _Router) -> None:
    """Each comes and goes by itself."""
    learned = rig.learned()
    rig.update()
    assert rig.neighbours() == {(3, 0x0A000001): (10, 0, 0)}
    static = rig.db.insert("Static_MAC_Binding", datapath=rig.lr, logical_port="lrp",
                           ip="10.0.0.1", mac=_B, override_dynamic_mac=True)  # fmt: skip
    rig.update()
    assert rig.neighbours() == {(3, 0x0A000001): (10, 11, 1)}
    rig.db.delete(learned)
    rig.update()
    assert rig.neighbours() == {(3, 0x0A000001): (0, 11, 1)}
    rig.db.delete(static)
    rig.update()
    assert rig.neighbours() == {}


def test_timestamp_alone_writes_nothing(rig: _Router) -> None:
    """Agents refresh rows all the time; the entry with its time of use must not be touched."""
    row = rig.learned()
    rig.update()
    writes = rig.machine.maps["neighbours"].writes
    rig.db.update(row, timestamp=5)
    rig.update()
    assert rig.machine.maps["neighbours"].writes == writes
    rig.db.update(row, mac=_B)
    rig.update()
    assert rig.machine.maps["neighbours"].writes == writes + 1
    assert rig.neighbours() == {(3, 0x0A000001): (11, 0, 0)}


def test_one_address_is_written_in_many_ways(rig: _Router) -> None:
    """What counts is the address."""
    first = rig.learned("FD00:0::1")
    second = rig.learned("fd00::1", _B)
    rig.update()
    assert rig.neighbours() == {(3, 0xFD << 120 | 1): (11, 0, 0)}
    assert rig.pipeline.neighbours.learned((rig.lr.uuid, "lrp", "fd00::1")) is not None
    rig.db.delete(second)
    rig.update()
    assert rig.neighbours() == {(3, 0xFD << 120 | 1): (10, 0, 0)}
    rig.db.delete(first)
    rig.update()
    assert rig.neighbours() == {}


def test_unreadable_rows_are_none(rig: _Router) -> None:
    """Also when they could be read before."""
    row = rig.learned()
    rig.learned(ip="nonsense")
    fdb = rig.fdb(1)
    rig.update()
    rig.db.update(row, mac="nonsense")
    rig.db.update(fdb, mac="nonsense")
    rig.update()
    assert rig.neighbours() == {}
    assert rig.macs() == {}


def test_neighbours_may_come_before_their_port(rig: _Router) -> None:
    """And stay when it is made anew with another key; nothing is left under the old one."""
    rig.learned(port="later")
    rig.update()
    assert rig.neighbours() == {}
    later = rig.port("later", 7, rig.lr)
    rig.update()
    assert rig.neighbours() == {(7, 0x0A000001): (10, 0, 0)}
    rig.db.delete(later)
    rig.port("later", 8, rig.lr)
    rig.update()
    assert rig.neighbours() == {(8, 0x0A000001): (10, 0, 0)}


def test_port_that_takes_anothers_key_does_not_take_its_neighbours(rig: _Router) -> None:
    """Not even those that only the machine has learned."""
    index = rig.pipeline.world.local[rig.lr.uuid]
    key = STRUCTS["neigh_key"].pack(dp=index, port=3, ip=(0, 0, 0, 99))
    rig.machine.maps["neighbours"].update(key, STRUCTS["neigh"].pack(mac_lo=1))
    rig.learned(port="next")
    rig.db.update(rig.lrp, tunnel_key=30)
    rig.port("next", 3, rig.lr)
    rig.update()
    assert rig.neighbours() == {(3, 0x0A000001): (10, 0, 0)}


def test_datapath_takes_what_was_learned_with_it(rig: _Router) -> None:
    """It comes back with the rows alone."""
    rig.learned()
    rig.fdb(1)
    rig.update()
    index = rig.pipeline.world.local[rig.sw.uuid]
    own = STRUCTS["fdb_key"].pack(dp=index, mac_lo=99)
    rig.machine.maps["fdb_entries"].update(own, STRUCTS["fdb"].pack(port=1))
    del rig.interfaces["p0"]
    rig.update()
    assert not rig.machine.maps["neighbours"].contents
    assert not rig.machine.maps["fdb_entries"].contents
    rig.plug("p0", 10)
    rig.update()
    assert rig.neighbours() == {(3, 0x0A000001): (10, 0, 0)}
    assert rig.macs() == {10: 1}


def test_fdb_rows(rig: _Router) -> None:
    """They come, move, are replaced in one transaction, and go."""
    row = rig.fdb(1)
    rig.fdb(1, key=99)
    rig.update()
    found = [rig.macs()]
    rig.db.update(row, port_key=2)
    rig.update()
    found.append(rig.macs())
    newer = rig.fdb(3)
    rig.db.delete(row)
    rig.update()
    found.append(rig.macs())
    assert rig.pipeline.neighbours.fdb_row(5, 10) == (newer.uuid, 3)
    rig.db.delete(newer)
    rig.update()
    found.append(rig.macs())
    assert found == [{10: 1}, {10: 2}, {10: 3}, {}]
    assert rig.pipeline.neighbours.fdb_row(5, 10) is None


def test_what_the_machine_knows_is_asked(rig: _Router) -> None:
    """Learned counts before configured, unless that overrides."""
    index = rig.pipeline.world.local[rig.lr.uuid]
    ask = rig.pipeline.neighbours.mac_of
    found = [ask(index, 3, 0x0A000001)]
    static = rig.db.insert("Static_MAC_Binding", datapath=rig.lr, logical_port="lrp",
                           ip="10.0.0.1", mac=_B, override_dynamic_mac=False)  # fmt: skip
    rig.update()
    found.append(ask(index, 3, 0x0A000001))
    rig.learned()
    rig.update()
    found.append(ask(index, 3, 0x0A000001))
    rig.db.update(static, override_dynamic_mac=True)
    rig.update()
    found.append(ask(index, 3, 0x0A000001))
    assert found == [0, 11, 10, 11]


def test_resolved_neighbours_are_told_of(rig: _Router) -> None:
    """With the address that counts; and when the datapath goes, its index."""
    told: list[tuple[int, ...]] = []
    rig.pipeline.neighbours.on_resolved = lambda *what: told.append(what)
    rig.pipeline.neighbours.on_gone = lambda index: told.append((index,))
    index = rig.pipeline.world.local[rig.lr.uuid]
    rig.learned()
    rig.update()
    assert told == [(index, 3, 0x0A000001, 10)]
    rig.db.delete(rig.lrp)
    rig.update()
    assert told[1:] == [(index,)]


def test_full_map_does_not_stop_the_pass() -> None:
    """A neighbour that does not fit is asked for by ARP; all else goes on."""
    rig = _Router(neighbours=1, fdb_entries=1)
    for n in range(1, 4):
        rig.learned(f"10.0.0.{n}")
        rig.fdb(1, f"00:00:00:00:00:0{n}")
    rig.flow("ip4", "drop;")
    rig.update()
    assert len(rig.neighbours()) == len(rig.macs()) == 1
    assert len(rig.rules()) == 1


def test_thousands_of_learned_addresses_are_found_at_once(rig: _Router) -> None:
    """No list of all rows is walked for one of them."""
    for n in range(3000):
        rig.fdb(1, mac_text(n + 1))
    rig.update()
    table = rig.pipeline.neighbours
    assert all(table.fdb_row(5, n + 1) is not None for n in range(3000))
    assert {len(rows) for rows in table._fdb_rows[5].values()} == {1}

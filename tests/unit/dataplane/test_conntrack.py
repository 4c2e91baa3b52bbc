# SPDX-License-Identifier: Apache-2.0
"""Entries of the connection tables as values, without a kernel."""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, cast

import pytest

from iovisor_ovn.abi import ConnFlag
from iovisor_ovn.abi.structs import STRUCTS
from iovisor_ovn.dataplane.conntrack import Binding, Conntrack, Ends

if TYPE_CHECKING:
    from iovisor_ovn.dataplane.maps import Map

_NOW_NS = 1_000_000_000_000
_KEY, _CONN, _ZONE = STRUCTS["conn_key"], STRUCTS["conn"], STRUCTS["ct_zone"]


class _Table:
    """As much of a map as showing and flushing need."""

    name, max_entries = "table", 64

    def __init__(self) -> None:
        self.content: dict[bytes, bytes] = {}

    def items(self) -> list[tuple[bytes, bytes]]:
        return list(self.content.items())

    def lookup(self, key: bytes) -> bytes:
        return self.content.get(key, bytes(_ZONE.size))

    def update(self, key: bytes, value: bytes) -> None:
        self.content[key] = value


@pytest.fixture
def tables() -> dict[str, _Table]:
    """Give the three maps, empty."""
    return {"ct_conns": _Table(), "ct_fresh": _Table(), "ct_zones": _Table()}


@pytest.fixture
def connections(tables: dict[str, _Table]) -> Conntrack:
    """Give the connections of those maps at a fixed time."""
    return Conntrack(cast("dict[str, Map]", tables), clock=lambda: _NOW_NS)


def _key(zone: int = 1, family: int = 4, proto: int = 17) -> bytes:
    return _KEY.pack(
        zone=zone, family=family, proto=proto, port=(10, 20), addr0=(0x20010DB8, 0, 0, 1),
        addr1=(0x20010DB8, 0, 0, 2),
    )  # fmt: skip


def _conn(seconds: float = 5, epoch: int = 0, flags: int = 0) -> bytes:
    return _CONN.pack(expires_ns=_NOW_NS + int(seconds * 1e9), epoch=epoch, flags=flags)


def test_originator_comes_first(tables: dict[str, _Table], connections: Conntrack) -> None:
    """The flag of an entry says which end of its key opened it."""
    tables["ct_conns"].content[_key(zone=1)] = _conn()
    tables["ct_conns"].content[_key(zone=2, family=6)] = _conn(flags=1)
    first, second = connections.dump()
    assert (first.source, first.destination) == (IPv4Address(1), IPv4Address(2))
    assert first.ports == (10, 20)
    assert second.source == IPv6Address("2001:db8::2")
    assert second.destination == IPv6Address("2001:db8::1")
    assert second.ports == (20, 10)


def test_time_left_is_seconds(tables: dict[str, _Table], connections: Conntrack) -> None:
    """The end of an entry is told as what remains of it."""
    tables["ct_fresh"].content[_key()] = _conn(seconds=7.5)
    assert [item.timeout_s for item in connections.dump()] == [7.5]


def test_dead_entries_are_not_shown(tables: dict[str, _Table], connections: Conntrack) -> None:
    """Neither expired entries nor those of an earlier epoch of their zone count."""
    tables["ct_conns"].content |= {
        _key(zone=1): _conn(seconds=0),
        _key(zone=2): _conn(epoch=1),
        _key(zone=3): _conn(epoch=1),
    }
    tables["ct_zones"].content[struct.pack("=I", 3)] = _ZONE.pack(epoch=1, natted=1)
    assert [item.zone for item in connections.dump()] == [3]
    assert (connections.count(), connections.count(1)) == (1, 0)


def test_connection_in_both_tables_counts_once(
    tables: dict[str, _Table], connections: Conntrack
) -> None:
    """While an entry moves it is in both tables."""
    tables["ct_fresh"].content[_key()] = _conn()
    tables["ct_conns"].content[_key()] = _conn()
    assert connections.count() == 1


def test_flush_goes_round_after_the_last_epoch(
    tables: dict[str, _Table], connections: Conntrack
) -> None:
    """The counter has 32 bits; other zones keep theirs."""
    tables["ct_zones"].content[struct.pack("=I", 9)] = _ZONE.pack(epoch=0xFFFFFFFF, natted=1)
    connections.flush(9)
    connections.flush(8)
    assert tables["ct_zones"].content == {
        struct.pack("=I", 9): _ZONE.pack(epoch=0),
        struct.pack("=I", 8): _ZONE.pack(epoch=1),
    }


def _natted(kind: ConnFlag, *, reversed_: bool = False) -> tuple[bytes, bytes]:
    """An entry from 1:10 to 2:20 (or the other way about) that NAT gives address 9, port 30."""
    key = _KEY.pack(
        zone=1, family=4 | 0x40 | 0x80 * reversed_, proto=6, port=(10, 20), addr0=(0, 0, 0, 1),
        addr1=(0, 0, 0, 2),
    )  # fmt: skip
    ports = (30, 20) if kind == ConnFlag.SNAT else (10, 30)
    value = _CONN.pack(
        expires_ns=_NOW_NS + 5_000_000_000, flags=kind | reversed_, nat_ip=(0, 0, 0, 9),
        nat_port=ports, state=(4, 2),
    )  # fmt: skip
    return key, value


def test_bindings_tell_both_forms_of_a_connection(
    tables: dict[str, _Table], connections: Conntrack
) -> None:
    """As the originator sends and as it is sent on; the entry for the answers is not shown."""
    key, value = _natted(ConnFlag.SNAT)
    tables["ct_conns"].content[key] = value
    tables["ct_conns"].content[_key()] = _conn()
    alias = _CONN.pack(
        expires_ns=_NOW_NS + 5_000_000_000, flags=ConnFlag.ALIAS | ConnFlag.SNAT,
        nat_ip=(0, 0, 0, 1), nat_port=(10, 20),
    )  # fmt: skip
    tables["ct_conns"].content[_KEY.pack(zone=1, family=0xC4, proto=6, port=(20, 30))] = alias
    assert connections.count() == 2
    assert list(connections.bindings()) == [
        Binding(
            zone=1, protocol=6, kind="snat", state="ESTABLISHED/SYN_SENT", expires_s=5.0,
            original=Ends(IPv4Address(1), IPv4Address(2), (10, 20), None),
            translated=Ends(IPv4Address(9), IPv4Address(2), (30, 20), None),
        )
    ]  # fmt: skip
    assert list(connections.bindings(2)) == []


def test_binding_of_a_destination_opened_by_the_second_end(
    tables: dict[str, _Table], connections: Conntrack
) -> None:
    """The order of a key says nothing of who opened."""
    key, value = _natted(ConnFlag.DNAT, reversed_=True)
    tables["ct_fresh"].content[key] = value
    (binding,) = connections.bindings(1)
    assert binding.kind == "dnat"
    assert binding.original == Ends(IPv4Address(2), IPv4Address(1), (20, 10), None)
    assert binding.translated == Ends(IPv4Address(2), IPv4Address(9), (10, 30), None)

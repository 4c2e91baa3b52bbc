# SPDX-License-Identifier: Apache-2.0
"""Entries of the connection tables as values, without a kernel."""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, cast

import pytest

from iovisor_ovn.abi.structs import STRUCTS
from iovisor_ovn.dataplane.conntrack import Conntrack

if TYPE_CHECKING:
    from iovisor_ovn.dataplane.maps import Map

_NOW_NS = 1_000_000_000_000
_KEY, _CONN = STRUCTS["conn_key"], STRUCTS["conn"]


class _Table:
    """As much of a map as showing and flushing need."""

    name, max_entries = "table", 64

    def __init__(self) -> None:
        self.content: dict[bytes, bytes] = {}

    def items(self) -> list[tuple[bytes, bytes]]:
        return list(self.content.items())

    def lookup(self, key: bytes) -> bytes:
        return self.content.get(key, bytes(4))

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
    tables["ct_zones"].content[struct.pack("=I", 3)] = struct.pack("=I", 1)
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
    tables["ct_zones"].content[struct.pack("=I", 9)] = struct.pack("=I", 0xFFFFFFFF)
    connections.flush(9)
    connections.flush(8)
    assert tables["ct_zones"].content == {
        struct.pack("=I", 9): struct.pack("=I", 0),
        struct.pack("=I", 8): struct.pack("=I", 1),
    }

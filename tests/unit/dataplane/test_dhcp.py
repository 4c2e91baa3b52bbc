# SPDX-License-Identifier: Apache-2.0
"""Settings of DHCP servers and leases as bytes, without a kernel."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovisor_ovn.abi import STRUCTS, DhcpState
from iovisor_ovn.dataplane.dhcp import DhcpServers, DhcpSettings, Lease
from iovisor_ovn.errors import MapFullError

if TYPE_CHECKING:
    from iovisor_ovn.dataplane.maps import Map

_NOW_NS = 5_000_000_000_000
_NAMES = ("dhcp_pools", "dhcp_hosts", "dhcp_fixed", "dhcp_leases", "dhcp_clients", "dhcp_groups")


class _Table:
    """As much of a map as the servers need; it is full with ``max_entries``."""

    def __init__(self, name: str, max_entries: int = 1000) -> None:
        self.name, self.max_entries = name, max_entries
        self.content: dict[bytes, bytes] = {}

    def items(self, *, locked: bool = False) -> list[tuple[bytes, bytes]]:
        del locked  # nobody writes meanwhile
        return list(self.content.items())

    def keys(self) -> list[bytes]:
        return list(self.content)

    def lookup(self, key: bytes) -> bytes | None:
        empty = bytes(STRUCTS["dhcp_pool"].size) if self.name == "dhcp_pools" else None
        return self.content.get(key, empty)

    def update(self, key: bytes, value: bytes) -> None:
        if key not in self.content and len(self.content) >= self.max_entries:
            raise MapFullError(self.name, self.max_entries)
        self.content[key] = value

    def add(self, key: bytes, value: bytes) -> bool:
        if key in self.content:
            return False
        self.update(key, value)
        return True

    def delete(self, key: bytes, *, missing_ok: bool = False) -> None:
        assert missing_ok or key in self.content
        self.content.pop(key, None)

    def delete_many(self, keys: bytes) -> None:
        size = len(next(iter(self.content), b"x"))
        for at in range(0, len(keys), size):
            self.content.pop(keys[at : at + size], None)


@pytest.fixture
def tables() -> dict[str, _Table]:
    """Give the maps, empty."""
    return {name: _Table(name) for name in _NAMES}


@pytest.fixture
def servers(tables: dict[str, _Table]) -> DhcpServers:
    """Give the servers of those maps at a fixed time."""
    return DhcpServers(cast("dict[str, Map]", tables), clock=lambda: _NOW_NS)


def settings(**more: Any) -> DhcpSettings:
    """Return settings of a small pool."""
    values: dict[str, Any] = {
        "server": IPv4Interface("10.0.0.1/24"), "server_mac": "02:00:00:00:00:01",
        "first": IPv4Address("10.0.0.10"), "last": IPv4Address("10.0.0.20"),
    }  # fmt: skip
    return DhcpSettings(**(values | more))


def test_options_come_in_the_order_of_need() -> None:
    """Mask, router, DNS, domain, MTU, broadcast address; those that are not set are left out."""
    assert settings().options().hex(" ") == "01 04 ff ff ff 00 1c 04 0a 00 00 ff"
    all_set = settings(
        router=IPv4Address("10.0.0.254"), dns=(IPv4Address("9.9.9.9"), IPv4Address("8.8.8.8")),
        domain_name="a.b", mtu=1400,
    )  # fmt: skip
    assert all_set.options().hex(" ") == (
        "01 04 ff ff ff 00 03 04 0a 00 00 fe 06 08 09 09 09 09 08 08 08 08 0f 03 61 2e 62"
        " 1a 02 05 78 1c 04 0a 00 00 ff"
    )


@pytest.mark.parametrize(
    "more",
    [{"domain_name": "d" * 256}, {"dns": (IPv4Address("9.9.9.9"),) * 64}],
    ids=["domain", "dns"],
)
def test_what_no_reply_could_carry_is_refused(more: dict[str, Any]) -> None:
    """An option has 255 bytes at most."""
    with pytest.raises(ValueError, match="255 bytes at most"):
        settings(**more)


def test_the_longest_options_fit() -> None:
    """What the file's checks let through is never refused here."""
    longest = settings(
        router=IPv4Address("10.0.0.254"), dns=(IPv4Address("9.9.9.9"),) * 63,
        domain_name="d" * 253, mtu=1400,
    )  # fmt: skip
    assert len(longest.options()) == 531


def test_each_change_makes_hints_void(servers: DhcpServers, tables: dict[str, _Table]) -> None:
    """Settings, deleted and restored leases: the pool's epoch is another one each time."""
    epochs = []

    def note(done: Callable[[], object]) -> None:
        done()
        epochs.append(STRUCTS["dhcp_pool"].numbers(tables["dhcp_pools"].content[bytes(4)])["epoch"])

    lease = Lease(0, IPv4Address("10.0.0.10"), "02:00:00:00:00:02", None, DhcpState.BOUND, 9)
    note(lambda: servers.put(0, settings()))
    note(lambda: servers.put(0, settings(mtu=1400)))
    note(lambda: servers.restore([lease]))
    assert epochs == [1, 2, 3]


def test_settings_that_do_not_fit_leave_no_traces(tables: dict[str, _Table]) -> None:
    """Reservations are in both maps or in none, those before as they were."""
    tables["dhcp_hosts"].max_entries = 2
    servers = DhcpServers(cast("dict[str, Map]", tables), clock=lambda: _NOW_NS)
    servers.put(0, settings(reservations={"02:00:00:00:00:02": IPv4Address("10.0.0.2")}))
    before = {name: dict(table.content) for name, table in tables.items()}
    many = {f"02:00:00:00:01:{n:02x}": IPv4Address(f"10.0.0.{n}") for n in range(30, 33)}
    with pytest.raises(MapFullError, match="dhcp_hosts"):
        servers.put(0, settings(reservations=many))
    assert {name: table.content for name, table in tables.items()} == before


#: No client has the address of all zeros.
_MACS = st.integers(1, 2**48 - 1).map(lambda number: number.to_bytes(6).hex(":"))
_IDS = st.none() | st.binary(min_size=1, max_size=59)


@given(mac=_MACS, client_id=_IDS, pool=st.integers(0, 1023), ip=st.ip_addresses(v=4),
       state=st.sampled_from((DhcpState.BOUND, DhcpState.OFFERED, DhcpState.FREE)),
       expires_s=st.integers(-4000, 10**9))  # fmt: skip
def test_a_lease_is_restored_as_it_was_listed(
    mac: str, client_id: bytes | None, pool: int, ip: IPv4Address, state: DhcpState, expires_s: int
) -> None:
    """With all that is in it, and the client finds its address."""
    tables = {name: _Table(name) for name in _NAMES}
    servers = DhcpServers(cast("dict[str, Map]", tables), clock=lambda: _NOW_NS)
    lease = Lease(pool, ip, mac, client_id, state, expires_s)
    assert servers.restore([lease]) == 1
    assert servers.leases() == [lease]
    assert list(tables["dhcp_clients"].content.values()) == [int(ip).to_bytes(4, "little")]
    assert servers.restore([lease]) == 0


def test_a_lease_in_bytes_is_that_of_the_kernel(
    servers: DhcpServers, tables: dict[str, _Table]
) -> None:
    """As the layout that C shares says, behind a lock."""
    client = Lease(7, IPv4Address("10.0.0.10"), "02:00:00:00:00:02", b"\0ab", DhcpState.BOUND, 2)
    servers.restore([client])
    ((key, value),) = tables["dhcp_leases"].content.items()
    assert STRUCTS["dhcp_addr"].numbers(key) == {"pool": 7, "ip": 0x0A00000A}
    assert value[:8] == bytes(8)
    entry = STRUCTS["dhcp_lease"].unpack(value[8:])
    assert (entry["pool"], entry["size"], entry["state"]) == (7, 3, DhcpState.BOUND)
    assert (entry["mac_hi"], entry["mac_lo"]) == (0x0200, 2)
    assert entry["expires_ns"] == _NOW_NS + 2 * 10**9
    identity = entry["id"]
    assert isinstance(identity, tuple)
    assert bytes(identity) == b"\0ab".ljust(59, b"\0")

# SPDX-License-Identifier: Apache-2.0
"""Numbers of DHCP servers, and which settings are in force."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import cast

import pytest

from iovisor_ovn.abi import DhcpState, Limit
from iovisor_ovn.config.topology import Dhcp, Module, Null, Place, Reservation, Topology
from iovisor_ovn.dataplane.dhcp import DhcpServers, DhcpSettings, Lease
from iovisor_ovn.errors import MapFullError
from iovisor_ovn.standalone.lease_file import LeaseFile
from iovisor_ovn.standalone.pools import Pools

DHCP = Dhcp(
    IPv4Interface("10.0.0.1/24"),
    "02:00:00:00:00:01",
    IPv4Address("10.0.0.10"),
    IPv4Address("10.0.0.20"),
    reservations=(Reservation("02:00:00:00:00:09", IPv4Address("10.0.0.9")),),
)


class _Servers:
    """Keeps what is in force, and leases without a kernel."""

    def __init__(self) -> None:
        self.in_force: dict[int, DhcpSettings] = {}
        self.puts = 0
        self.known: list[Lease] = []

    def put(self, pool: int, settings: DhcpSettings) -> None:
        self.in_force[pool] = settings
        self.puts += 1

    def remove(self, pool: int) -> None:
        del self.in_force[pool]

    def leases(self) -> list[Lease]:
        return self.known

    def restore(self, leases: Iterable[Lease]) -> int:
        self.known += leases
        return len(self.known)

    def sweep(self) -> int:
        before = len(self.known)
        self.known = [lease for lease in self.known if lease.pool in self.in_force]
        return before - len(self.known)

    def pools_with_leases(self) -> set[int]:
        return {lease.pool for lease in self.known}


def pools(servers: _Servers, **numbers: int) -> Pools:
    """Give the pools of a chain whose last process knew these numbers."""
    return Pools(cast("DhcpServers", servers), numbers, LeaseFile(Path("/nonexistent/leases")))


def chain(**modules: Dhcp | Null) -> Topology:
    """Return a topology of these modules."""
    return Topology(
        tuple(Module(name, config, ("p",), Place(1, 1)) for name, config in modules.items()),
        (), (), "test",
    )  # fmt: skip


def lease(pool: int) -> Lease:
    """Return a lease of a pool."""
    return Lease(pool, IPv4Address("10.0.0.10"), "02:00:00:00:00:02", None, DhcpState.BOUND, 9)


def test_a_module_keeps_its_number() -> None:
    """Whatever else is in the chain; others get those that are free."""
    known = pools(_Servers(), b=0)
    assert known.assign(chain(a=DHCP, b=DHCP, sink=Null(), c=DHCP)) == {"a": 1, "b": 0, "c": 2}
    assert known.assign(chain(c=DHCP)) == {"c": 2}
    assert known.assign(chain(d=DHCP)) == {"d": 3}


def test_more_servers_than_numbers_are_refused() -> None:
    """The map has as many."""
    numbers = {f"m{n}": n for n in range(Limit.DHCP_POOLS)}
    with pytest.raises(MapFullError, match="dhcp_pools"):
        pools(_Servers(), **numbers).assign(chain(one=DHCP))


def test_settings_are_those_of_the_topology() -> None:
    """All of them arrive; what is the same is not written again."""
    servers = _Servers()
    known = pools(servers)
    known.assign(chain(a=DHCP))
    known.put(chain(a=DHCP))
    (settings,) = servers.in_force.values()
    assert (settings.server, settings.server_mac) == (DHCP.server, DHCP.server_mac)
    assert (settings.first, settings.last, settings.lease_s) == (DHCP.first, DHCP.last, 3600)
    assert settings.reservations == {"02:00:00:00:00:09": IPv4Address("10.0.0.9")}
    known.put(chain(a=DHCP))
    assert servers.puts == 1
    known.put(None)
    assert servers.in_force == {}


def test_a_number_is_free_when_nothing_is_left_of_its_module() -> None:
    """Until its leases are gone, a module that comes back finds them."""
    servers = _Servers()
    known = pools(servers)
    known.assign(chain(a=DHCP))
    known.put(chain(a=DHCP))
    servers.known = [lease(0)]
    assert [name for name, _lease in known.leases()] == ["a"]
    known.put(chain())
    assert list(known.leases()) == []
    assert known.assign(chain(b=DHCP)) == {"b": 1}
    known.put(chain(b=DHCP))
    known.sweep()
    assert known.assign(chain(b=DHCP, c=DHCP)) == {"b": 1, "c": 0}


def test_leases_come_back_with_their_module(tmp_path: Path) -> None:
    """Under the number that it has now, once; those of absent modules stay in the file."""
    path = tmp_path / "leases"
    before = _Servers()
    one = Pools(cast("DhcpServers", before), {"a": 4, "b": 5}, LeaseFile(path))
    one.put(chain(a=DHCP, b=DHCP))
    before.known = [lease(4), replace(lease(5), mac="02:00:00:00:00:03")]
    one.save()
    after = _Servers()
    other = Pools(cast("DhcpServers", after), {}, LeaseFile(path))
    other.assign(chain(b=DHCP))
    other.put(chain(b=DHCP))
    other.put(chain(b=DHCP))
    assert [(known.pool, known.mac) for known in after.known] == [(0, "02:00:00:00:00:03")]
    other.save()
    assert [known.mac for known in LeaseFile(path).of("a", 7)] == ["02:00:00:00:00:02"]

# SPDX-License-Identifier: Apache-2.0
"""Address pools of a chain's DHCP servers: settings into force, leases under lasting numbers.

A module's pool has the same number for as long as there are leases of it, since they carry it: also
when the module is taken out of the chain and put in again, or a new process takes over. What the
kernel does not know of a module's leases comes from the file when the module comes into force.
"""

from collections.abc import Iterable, Iterator, Mapping

import ovs.vlog

from iovisor_ovn.abi import Limit
from iovisor_ovn.config.topology import Dhcp, Topology
from iovisor_ovn.dataplane.dhcp import DhcpServers, DhcpSettings, Lease
from iovisor_ovn.errors import MapFullError
from iovisor_ovn.standalone.lease_file import LeaseFile

__all__ = ["EVERY_S", "Pools", "by_module"]

#: Leases that nobody can come back to are looked for this often.
EVERY_S = 60.0

_log = ovs.vlog.Vlog("pools")


class Pools:
    """What the machine knows of the DHCP modules of one chain."""

    def __init__(self, servers: DhcpServers, numbers: Mapping[str, int], file: LeaseFile) -> None:
        """``numbers`` are those of the process before, by module."""
        self.servers = servers
        self._file = file
        self.numbers = dict(numbers)
        self._in_force: dict[str, DhcpSettings] = {}

    def assign(self, topology: Topology) -> dict[str, int]:
        """Give each DHCP module a number, by module. Raises MapFullError: there are no more."""
        for name, _dhcp in _dhcp_modules(topology):
            if name not in self.numbers:
                taken = set(self.numbers.values())
                free = next((n for n in range(Limit.DHCP_POOLS) if n not in taken), None)
                if free is None:
                    raise MapFullError("dhcp_pools", Limit.DHCP_POOLS)
                self.numbers[name] = free
        return {name: self.numbers[name] for name, _dhcp in _dhcp_modules(topology)}

    def put(self, topology: Topology | None) -> None:
        """Put the settings of a topology into force, whose modules have their numbers.

        Raises MapFullError; some are in force then, and a call with the topology before mends that.
        """
        wanted = {} if topology is None else dict(_dhcp_modules(topology))
        for name in self._in_force.keys() - wanted.keys():
            self.servers.remove(self.numbers[name])
            del self._in_force[name]
        for name, dhcp in wanted.items():
            settings = _settings(dhcp)
            if self._in_force.get(name) != settings:
                self.servers.put(self.numbers[name], settings)
                if name not in self._in_force:
                    self._restore(name)
                self._in_force[name] = settings

    def _restore(self, name: str) -> None:
        try:
            count = self.servers.restore(self._file.of(name, self.numbers[name]))
        except MapFullError as error:
            _log.err(f"leases_not_restored module={name} reason={error}")
        else:
            _log.info(f"leases_restored module={name} count={count}")

    def save(self) -> None:
        """Write the leases of all modules in force."""
        numbers = {name: self.numbers[name] for name in self._in_force}
        self._file.save(by_module(self.servers.leases(), numbers))

    def leases(self) -> Iterator[tuple[str, Lease]]:
        """Leases with the name of the module that gave them."""
        names = {self.numbers[name]: name for name in self._in_force}
        for lease in self.servers.leases():
            if lease.pool in names:
                yield names[lease.pool], lease

    def sweep(self) -> None:
        """Forget leases of modules that are gone, then their numbers."""
        self.servers.sweep()
        in_use = self.servers.pools_with_leases()
        for name in self.numbers.keys() - self._in_force.keys():
            if self.numbers[name] not in in_use:
                del self.numbers[name]


def by_module(leases: Iterable[Lease], numbers: Mapping[str, int]) -> dict[str, list[Lease]]:
    """Leases of the modules that have these numbers; those of others are left out."""
    found: dict[str, list[Lease]] = {name: [] for name in numbers}
    of_number = {number: found[name] for name, number in numbers.items()}
    for lease in leases:
        if lease.pool in of_number:
            of_number[lease.pool].append(lease)
    return found


def _dhcp_modules(topology: Topology) -> Iterator[tuple[str, Dhcp]]:
    for module in topology.modules:
        if isinstance(module.config, Dhcp):
            yield module.name, module.config


def _settings(dhcp: Dhcp) -> DhcpSettings:
    return DhcpSettings(
        server=dhcp.server,
        server_mac=dhcp.server_mac,
        first=dhcp.first,
        last=dhcp.last,
        lease_s=dhcp.lease_time_s,
        router=dhcp.router,
        dns=dhcp.dns,
        domain_name=dhcp.domain_name,
        mtu=dhcp.mtu,
        reservations={entry.mac: entry.ip for entry in dhcp.reservations},
    )

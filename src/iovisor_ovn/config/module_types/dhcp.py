# SPDX-License-Identifier: Apache-2.0
"""``type: dhcp``."""

import re
from ipaddress import IPv4Address, IPv4Interface
from typing import Annotated

from iovisor_ovn.config.interface_address import Mtu, interface_address, is_edge
from iovisor_ovn.config.scalars import Cidr, CommaList, Ipv4, Mac, Netmask, leaf, number
from iovisor_ovn.config.section import Key, Section, shown
from iovisor_ovn.config.shape import ModuleShape, Ports, Shape
from iovisor_ovn.config.topology import Dhcp, Reservation

__all__ = ["DhcpShape"]

#: Stands for leases without end (RFC 2131, 3.3).
_FOREVER_S = 0xFFFFFFFF
_LONGEST_DOMAIN = 253
#: As many addresses as fit into an option (RFC 2132, 3.8).
_MOST_SERVERS = 63
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def _read_domain(text: str) -> str:
    labels = text.removesuffix(".").split(".")
    if len(text) > _LONGEST_DOMAIN or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{shown(text)} is no domain name")
    return text


class _ReservationShape(Shape):
    mac: Mac
    ip: Ipv4


class DhcpShape(ModuleShape):
    """A DHCPv4 server."""

    server_ip: Cidr
    netmask: Netmask | None = None
    server_mac: Mac
    addr_low: Ipv4
    addr_high: Ipv4
    router: Ipv4 | None = None
    dns: CommaList[Ipv4] = ()
    lease_time: Annotated[int, number(1, _FOREVER_S, "number of seconds")] = 3600
    domain_name: Annotated[str, leaf(_read_domain)] = ""
    mtu: Mtu | None = None
    reservations: tuple[_ReservationShape, ...] = ()

    def value(self, here: Section, ports: Ports) -> Dhcp | None:  # noqa: ARG002 - any ports serve
        """Return the settings."""
        server = self._server(here)
        if len(self.dns) > _MOST_SERVERS:
            here.problem(f"are more than {_MOST_SERVERS}", "dns")
        if server is None:
            return None
        self._check_pool(here, server)
        self._check_reservations(here, server)
        return Dhcp(
            server,
            self.server_mac,
            self.addr_low,
            self.addr_high,
            self.router,
            self.dns,
            self.lease_time,
            self.domain_name,
            self.mtu,
            tuple(Reservation(entry.mac, entry.ip) for entry in self.reservations),
        )

    def _server(self, here: Section) -> IPv4Interface | None:
        if self.server_ip.length is not None and self.netmask is not None:
            here.problem("goes with a server_ip without a length (/24) only", "netmask",
                         is_key=True)  # fmt: skip
        server = interface_address(here, self.server_ip, self.netmask, "server_ip")
        if server is not None and not isinstance(server, IPv4Interface):
            here.problem(f"{server} is IPv6; an IPv4 address is wanted", "server_ip")
            return None
        return server

    def _check_pool(self, here: Section, server: IPv4Interface) -> None:
        _check_client(here, self.addr_low, server, "addr_low")
        _check_client(here, self.addr_high, server, "addr_high")
        if self.addr_high < self.addr_low:
            here.problem(f"{self.addr_high} is below addr_low, {self.addr_low}", "addr_high")
        pool = f"in the pool, {self.addr_low} to {self.addr_high}"
        if self.addr_low <= server.ip <= self.addr_high:
            here.problem(f"{server.ip} is {pool}", "server_ip")
        if self.router is not None:
            _check_client(here, self.router, server, "router")
            if self.addr_low <= self.router <= self.addr_high:
                here.problem(f"{self.router} is {pool}", "router")

    def _check_reservations(self, here: Section, server: IPv4Interface) -> None:
        macs: dict[object, int] = {}
        addresses: dict[object, int] = {}
        for index, entry in enumerate(self.reservations):
            at = here.at("reservations", index)
            at.once(macs, entry.mac, "mac")
            at.once(addresses, entry.ip, "ip")
            _check_client(at, entry.ip, server, "ip")
            if entry.ip in (server.ip, self.router):
                at.problem(f"{entry.ip} is that of the server or of the router", "ip")


def _check_client(here: Section, address: IPv4Address, server: IPv4Interface, key: Key) -> None:
    network = server.network
    if address not in network:
        here.problem(f"{address} is not in the server's network, {network}", key)
    elif is_edge(address, network):
        here.problem(f"{address} is the network {network} itself or its broadcast address", key)

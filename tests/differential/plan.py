# SPDX-License-Identifier: Apache-2.0
"""What a generator of packets knows of a topology: who is where, with which addresses."""

from dataclasses import dataclass, field

__all__ = ["Host", "Network", "Plan", "RouterPort"]


@dataclass(frozen=True, slots=True)
class Host:
    """A machine at the logical port of the same name as its device."""

    port: str
    network: int
    mac: str
    ip4: str
    ip6: str
    #: Second addresses of the logical port, IPv4 and IPv6, if it has such.
    also: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class RouterPort:
    """A router's port: its name, addresses without prefix, and the network that it is on."""

    name: str
    router: str
    network: int
    mac: str
    ip4: str
    ip6: str


@dataclass(frozen=True, slots=True)
class Network:
    """A logical switch, and its number in all addresses."""

    number: int

    @property
    def switch(self) -> str:
        """The switch's name."""
        return f"s{self.number}"

    def mac(self, host: int) -> str:
        """Return the Ethernet address of a host number."""
        return f"02:00:00:00:{self.number:02x}:{host:02x}"

    def ip4(self, host: int) -> str:
        """Return the IPv4 address of a host number."""
        return f"10.0.{self.number}.{host}"

    def ip6(self, host: int) -> str:
        """Return the IPv6 address of a host number."""
        return f"fd00:{self.number}::{host:x}"


@dataclass(slots=True)
class Plan:
    """All of them."""

    networks: list[Network] = field(default_factory=list)
    hosts: list[Host] = field(default_factory=list)
    router_ports: list[RouterPort] = field(default_factory=list)
    sets: dict[str, int] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    #: Priorities of access lists in use.
    priorities: set[int] = field(default_factory=set)
    #: Whether access lists may track connections, and fragments be sent: not both, since the
    #: reference puts tracked ones together and hands them out when it likes.
    is_tracked: bool = False
    #: Addresses that NAT or load balancers translate: network, IPv4, IPv6.
    translated: list[tuple[int, str, str]] = field(default_factory=list)
    #: Protocol and port that load balancers serve, by address.
    served: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: Ports with port security.
    secured: set[str] = field(default_factory=set)

    def everybody(self) -> list[Host | RouterPort]:
        """Return machines and router ports."""
        return [*self.hosts, *self.router_ports]

    def gateways(self, network: int) -> list[RouterPort]:
        """Return the router ports on a network."""
        return [port for port in self.router_ports if port.network == network]

    def at(self, port: str) -> Host:
        """Return the host at a port."""
        return next(host for host in self.hosts if host.port == port)

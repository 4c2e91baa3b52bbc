# SPDX-License-Identifier: Apache-2.0
"""Small logical networks by number: addresses follow from a network's and a host's number."""

from collections.abc import Mapping
from dataclasses import dataclass

from support.hypervisor import Hypervisor, Kind, Vm

__all__ = ["Host", "plug", "port_lines", "router_lines", "router_mac"]


@dataclass(frozen=True, slots=True)
class Host:
    """A machine's name and addresses: host 11 of network 1 is 10.0.1.11 and fd00:1::11."""

    name: str
    network: int
    number: int

    @property
    def mac(self) -> str:
        """Ethernet address, lower case."""
        return f"02:00:00:00:{self.network:02x}:{self.number:02x}"

    @property
    def ip4(self) -> str:
        """IPv4 address without prefix."""
        return f"10.0.{self.network}.{self.number}"

    @property
    def ip6(self) -> str:
        """IPv6 address without prefix."""
        return f"fd00:{self.network}::{self.number}"

    @property
    def all(self) -> str:
        """All addresses as the Northbound database wants them."""
        return f"{self.mac} {self.ip4} {self.ip6}"


def port_lines(
    switch: str, host: Host, addresses: str | None = None, *, secure: bool = False
) -> str:
    """Return ovn-nbctl lines for a host's port; ``addresses`` replace the host's own."""
    lines = [
        f"lsp-add {switch} {host.name}",
        f'lsp-set-addresses {host.name} "{addresses or host.all}"',
    ]
    if secure:
        lines.append(f'lsp-set-port-security {host.name} "{host.all}"')
    return "\n".join(lines)


def router_mac(network: int) -> str:
    """Return the Ethernet address of the router's port on a network."""
    return f"02:00:00:00:{network:02x}:01"


def router_lines(router: str, networks: Mapping[str, int]) -> str:
    """Return ovn-nbctl lines for a router with host number 1 on each network (switch: number)."""
    lines = [f"lr-add {router}"]
    for switch, number in networks.items():
        near, far = f"{router}-{switch}", f"{switch}-{router}"
        lines += [
            f"lrp-add {router} {near} {router_mac(number)} 10.0.{number}.1/24 fd00:{number}::1/64",
            f"lsp-add {switch} {far}",
            f"lsp-set-type {far} router",
            f"lsp-set-addresses {far} router",
            f"lsp-set-options {far} router-port={near}",
        ]
    return "\n".join(lines)


def plug(hypervisor: Hypervisor, host: Host, *, routed: bool = False, kind: Kind = "veth") -> Vm:
    """Make the machine for a host; ``routed`` gives it default routes by host number 1."""
    gateways = (f"10.0.{host.network}.1", f"fd00:{host.network}::1") if routed else ()
    addresses = (f"{host.ip4}/24", f"{host.ip6}/64")
    return hypervisor.add_vm(host.name, host.name, host.mac, addresses, gateways, kind)

# SPDX-License-Identifier: Apache-2.0
"""The network that is measured: what Neutron would write for a small project.

Three switches of `SIZE` ports behind a router. Ports of ``plain`` have neither security groups
nor port security; those of ``web`` and ``db`` have both, in the very form of Neutron's OVN driver:
a port group that drops, one port group for each security group, rules of priority 1002 by
port group and address set. Flows come from a real ovn-northd.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from iovisor_ovn.demo.central import Central

__all__ = ["PORTS", "ROUTER_MACS", "SIZE", "SWITCHES", "Port", "build", "gateway"]

#: Ports of each switch.
SIZE = 20

SWITCHES = ("plain", "web", "db")

#: The router's MAC on each switch.
ROUTER_MACS = {switch: f"02:00:00:00:ff:0{i}" for i, switch in enumerate(SWITCHES)}

_DROP = "neutron_pg_drop"
# Security group: its switches, and the rules for what reaches its members.
_GROUPS = {
    "pg_default": (
        ("web", "db"),
        (
            "ip4 && ip4.src == $pg_default_ip4",
            "ip6 && ip6.src == $pg_default_ip6",
        ),
    ),
    "pg_admin": (
        ("web", "db"),
        (
            "ip4 && ip4.src == 192.0.2.0/24 && tcp && tcp.dst == 22",
            "ip4 && ip4.src == 0.0.0.0/0 && icmp4",
            "ip6 && ip6.src == ::/0 && icmp6",
        ),
    ),
    "pg_web": (
        ("web",),
        (
            "ip4 && ip4.src == 0.0.0.0/0 && tcp && tcp.dst == 80",
            "ip4 && ip4.src == 0.0.0.0/0 && tcp && tcp.dst == 443",
            "ip6 && ip6.src == ::/0 && tcp && tcp.dst == 443",
            "ip4 && ip4.src == 198.51.100.0/24 && tcp && tcp.dst >= 8000 && tcp.dst <= 8100",
        ),
    ),
    "pg_db": (
        ("db",),
        (
            "ip4 && ip4.src == $pg_web_ip4 && tcp && tcp.dst == 5432",
            "ip6 && ip6.src == $pg_web_ip6 && tcp && tcp.dst == 5432",
        ),
    ),
}
# What a member may send.
_EGRESS = ("ip4", "ip6")


@dataclass(frozen=True, slots=True)
class Port:
    """A VM's logical port with its addresses."""

    name: str
    switch: str
    mac: str
    ip4: str
    ip6: str


def _port(index: int, number: int) -> Port:
    return Port(
        name=f"{SWITCHES[index]}{number}",
        switch=SWITCHES[index],
        mac=f"02:00:00:00:0{index}:{number:02x}",
        ip4=f"10.0.{index}.{number + 10}",
        ip6=f"fd00:{index}::{number + 10:x}",
    )


#: All ports by name: plain1 ... db20.
PORTS = {
    port.name: port
    for index in range(len(SWITCHES))
    for port in (_port(index, number) for number in range(1, SIZE + 1))
}


def gateway(port: Port, version: int) -> str:
    """Return the router's address on a port's switch."""
    index = SWITCHES.index(port.switch)
    return f"10.0.{index}.1" if version == 4 else f"fd00:{index}::1"


def build(central: Central) -> None:
    """Fill the Northbound database; returns when northd has written the flows."""
    central.nbctl(*_joined(_topology()))
    central.nbctl(*_joined(_security()))
    central.nbctl("--wait=sb", "sync")


def _joined(commands: Iterator[tuple[str, ...]]) -> list[str]:
    words: list[str] = []
    for command in commands:
        words += ["--", *command]
    return words


def _topology() -> Iterator[tuple[str, ...]]:
    yield ("lr-add", "router")
    for index, switch in enumerate(SWITCHES):
        router_port = f"router-{switch}"
        yield ("ls-add", switch)
        yield ("lrp-add", "router", router_port, ROUTER_MACS[switch],
               f"10.0.{index}.1/24", f"fd00:{index}::1/64")  # fmt: skip
        yield ("lsp-add", switch, f"{switch}-router")
        yield ("lsp-set-type", f"{switch}-router", "router")
        yield ("lsp-set-addresses", f"{switch}-router", "router")
        yield ("lsp-set-options", f"{switch}-router", f"router-port={router_port}")
    for port in PORTS.values():
        addresses = f"{port.mac} {port.ip4} {port.ip6}"
        yield ("lsp-add", port.switch, port.name)
        yield ("lsp-set-addresses", port.name, addresses)
        if port.switch != "plain":
            yield ("lsp-set-port-security", port.name, addresses)


def _members(switches: tuple[str, ...]) -> list[str]:
    return [port.name for port in PORTS.values() if port.switch in switches]


def _security() -> Iterator[tuple[str, ...]]:
    yield ("pg-add", _DROP, *_members(("web", "db")))
    yield ("acl-add", _DROP, "from-lport", "1001", f"inport == @{_DROP} && ip", "drop")
    yield ("acl-add", _DROP, "to-lport", "1001", f"outport == @{_DROP} && ip", "drop")
    for group, (switches, rules) in _GROUPS.items():
        yield ("pg-add", group, *_members(switches))
        for rule in _EGRESS:
            match = f"inport == @{group} && {rule}"
            yield ("acl-add", group, "from-lport", "1002", match, "allow-related")
        for rule in rules:
            match = f"outport == @{group} && {rule}"
            yield ("acl-add", group, "to-lport", "1002", match, "allow-related")

# SPDX-License-Identifier: Apache-2.0
"""Ways to join two network namespaces: a wire, a Linux bridge with nftables, our agent.

The bridge filters as Neutron's firewall for it does: bridged packets visit the IP firewall
(br_netfilter), connections are tracked, a jump by port leads to the port's rules, and a
rule set of the bridge family stops spoofed addresses. The same rules serve the routed case, where
the hypervisor's own stack is the router.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cloud

from iovisor_ovn.demo.central import Central
from iovisor_ovn.demo.hypervisor import Hypervisor
from iovisor_ovn.demo.places import Namespace, sweep

__all__ = ["Route", "bridge", "ours", "wire"]


@dataclass(frozen=True, slots=True)
class Route:
    """Two namespaces that reach each other, and the address of the second."""

    name: str
    client: Namespace
    server: Namespace
    address: str


def wire(place: Path) -> Route:
    """One veth pair and nothing else: the fastest there is."""
    client, server = Namespace("wire-client", place), Namespace("wire-server", place)
    client.ip(f"link add eth0 type veth peer name eth0 netns {server.name}")
    for namespace, address in ((client, "10.9.0.1"), (server, "10.9.0.2")):
        namespace.ip("link set eth0 up", f"address add {address}/24 dev eth0")
    return Route("wire", client, server, "10.9.0.2")


@dataclass(frozen=True, slots=True)
class _Guest:
    name: str
    bridge: str
    mac: str
    address: str


_GUESTS = (
    _Guest("b-web1", "br-web", "02:00:00:01:00:01", "10.8.1.11"),
    _Guest("b-web2", "br-web", "02:00:00:01:00:02", "10.8.1.12"),
    _Guest("b-db1", "br-db", "02:00:00:01:01:01", "10.8.2.11"),
)
_BRIDGES = {"br-web": "10.8.1.1", "br-db": "10.8.2.1"}


def _firewall() -> str:
    jumps = ", ".join(f"{guest.address} : jump to-{guest.name}" for guest in _GUESTS)
    sources = ", ".join(f"{guest.address} : jump from-{guest.name}" for guest in _GUESTS)
    chains = "\n".join(
        f"""
        chain to-{guest.name} {{
            ip saddr @members accept
            ip saddr 192.0.2.0/24 tcp dport 22 accept
            icmp type echo-request accept
            tcp dport {{ 80, 443 }} accept
            ip saddr 198.51.100.0/24 tcp dport 8000-8100 accept
            drop
        }}
        chain from-{guest.name} {{
            ip protocol {{ tcp, udp, icmp }} return
            drop
        }}"""
        for guest in _GUESTS
    )
    spoofed = "\n".join(
        f"""
        iifname "{guest.name}" ether saddr != {guest.mac} drop
        iifname "{guest.name}" ether type ip ip saddr != {guest.address} drop
        iifname "{guest.name}" arp saddr ip != {guest.address} drop"""
        for guest in _GUESTS
    )
    members = ", ".join(guest.address for guest in _GUESTS)
    return f"""
    table inet groups {{
        set members {{
            type ipv4_addr
            elements = {{ {members} }}
        }}
        {chains}
        chain forward {{
            type filter hook forward priority filter; policy drop;
            ct state vmap {{ established : accept, related : accept, invalid : drop }}
            ip saddr vmap {{ {sources} }}
            ip daddr vmap {{ {jumps} }}
        }}
    }}
    table bridge spoof {{
        chain prerouting {{
            type filter hook prerouting priority 0;
            {spoofed}
        }}
    }}
    """


def bridge(place: Path) -> list[Route]:
    """Two bridges with security groups: within one, and routed from one to the other."""
    host = Namespace("bridge-host", place)
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")
    for name, address in _BRIDGES.items():
        host.ip(f"link add {name} type bridge", f"link set {name} up",
                f"address add {address}/24 dev {name}")  # fmt: skip
    guests = {}
    for guest in _GUESTS:
        namespace = guests[guest.name] = Namespace(guest.name, place)
        host.ip(
            f"link add {guest.name} type veth peer name eth0 netns {namespace.name}",
            f"link set {guest.name} master {guest.bridge} up",
        )
        namespace.ip(
            f"link set eth0 address {guest.mac} up",
            f"address add {guest.address}/24 dev eth0",
            f"route add default via {_BRIDGES[guest.bridge]}",
        )
    rules = place / "bridge.nft"
    rules.write_text(_firewall())
    host.run("nft", "-f", str(rules))
    web1, web2, db1 = (guests[guest.name] for guest in _GUESTS)
    return [
        Route("bridge, groups", web1, web2, _GUESTS[1].address),
        Route("bridge, groups, routed", web1, db1, _GUESTS[2].address),
    ]


@contextmanager
def ours(place: Path) -> Iterator[list[Route]]:
    """Let the agent serve ports of the cloud: without groups, with them, and routed."""
    central = Central(place / "central")
    try:
        cloud.build(central)
        hypervisor = Hypervisor(place / "hv", "bench", central.sb)
        try:
            hypervisor.start()
            vms = {}
            for name in ("plain1", "plain2", "web1", "web2", "db1"):
                port = cloud.PORTS[name]
                vms[name] = hypervisor.add_vm(
                    name, name, port.mac, [f"{port.ip4}/24", f"{port.ip6}/64"],
                    [cloud.gateway(port, 4), cloud.gateway(port, 6)],
                )  # fmt: skip
            hypervisor.wait_installed()
            yield [
                Route(name, vms[one].namespace, vms[two].namespace, vms[two].ip4)
                for name, one, two in (
                    ("ours, no groups", "plain1", "plain2"),
                    ("ours, groups", "web1", "web2"),
                    ("ours, groups, routed", "web1", "db1"),
                )
            ]
        finally:
            hypervisor.close()
    finally:
        central.stop()
        sweep(place / "central")

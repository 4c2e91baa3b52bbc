# SPDX-License-Identifier: Apache-2.0
"""Large chains: many modules in a row, and a router with many routes."""

import itertools
import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from chain_rig import NOTHING, ChainRig, chain
from iovisor_ovn.config.topology import (
    ArpEntry,
    Config,
    Route,
    Router,
    RouterInterface,
    Switch,
)

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

_LENGTH = 100
_A, _B, _ALL = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "ff:ff:ff:ff:ff:ff"


def _frame(src: str, dst: str, target: str = "10.0.0.2", ttl: int = 64) -> bytes:
    datagram = IP(src="10.0.0.9", dst=target, ttl=ttl) / UDP(sport=1, dport=2) / (b"x" * 20)
    return bytes(Ether(src=src, dst=dst) / datagram)


@pytest.fixture
def fresh(rig: ChainRig) -> Iterator[ChainRig]:
    """Give the rig; take the chain down afterwards, which others would wait for."""
    yield rig
    rig.apply(NOTHING)


def test_frames_cross_a_hundred_switches(fresh: ChainRig) -> None:
    """Flooded from either end they are at every device, and learned addresses are found."""
    names = [f"s{number}" for number in range(_LENGTH)]
    topology = chain(
        dict.fromkeys(names, Switch()),
        [names[0], names[-1], names[20], names[70]],
        list(itertools.pairwise(names)),
    )
    fresh.fresh(topology)
    for wire, source in ((0, _A), (1, _B), (0, _A), (1, _B)):
        flooded = _frame(source, _ALL)
        everywhere = {number: [flooded] for number in range(4) if number != wire}
        assert fresh.send(wire, flooded) == everywhere
    assert fresh.always(0, _frame(_A, _B)) == {1: [_frame(_A, _B)]}
    assert fresh.always(1, _frame(_B, _A)) == {0: [_frame(_B, _A)]}


def _router_mac(number: int, side: int) -> str:
    return f"02:00:00:00:{side:02x}:{number:02x}"


def _router(number: int, last: int) -> Router:
    """Router ``number`` of a row: 10.0.n.2 towards the first, 10.0.n+1.1 towards the last."""
    left = f"s{number}"
    right = f"s{number + 1}"
    beyond = IPv4Address(f"10.0.{number + 1}.2")
    mac = _B if number == last else _router_mac(number + 1, 0)
    return Router(
        (
            RouterInterface(left, (IPv4Interface(f"10.0.{number}.2/24"),), _router_mac(number, 0)),
            RouterInterface(
                right, (IPv4Interface(f"10.0.{number + 1}.1/24"),), _router_mac(number, 1)
            ),
        ),
        (Route(IPv4Network("10.1.0.0/16"), right, beyond),),
        (ArpEntry(beyond, mac),),
    )


def test_packets_cross_fifty_switches_and_fifty_routers(fresh: ChainRig) -> None:
    """Each router takes one from the TTL, each switch floods what it does not know."""
    routers = _LENGTH // 2
    modules: dict[str, Config] = {}
    links = []
    for number in range(routers):
        modules[f"s{number}"] = Switch()
        modules[f"r{number}"] = _router(number, routers - 1)
        links.append((f"s{number}", f"r{number}"))
        if number < routers - 1:
            links.append((f"r{number}", f"s{number + 1}"))
    fresh.fresh(chain(modules, ["s0", f"r{routers - 1}:s{routers}"], links))
    out = _frame(_router_mac(routers - 1, 1), _B, "10.1.0.1", 64 - routers)
    assert fresh.always(0, _frame(_A, _router_mac(0, 0), "10.1.0.1")) == {1: [out]}


def _networks(number: int) -> list[IPv4Network]:
    """Random prefixes of 8 to 32 bits, none of an address that is not routed."""
    rng = random.Random(1)
    found: set[IPv4Network] = set()
    while len(found) < number:
        length = rng.randint(8, 32)
        first = rng.randrange(11 << 24, 127 << 24) >> (32 - length) << (32 - length)
        if first >= 11 << 24:
            found.add(IPv4Network((first, length)))
    return sorted(found)


def test_the_longest_of_ten_thousand_prefixes_wins(fresh: ChainRig) -> None:
    """Of routes to nested networks, written in any order, each packet takes the right one."""
    networks = _networks(10_000)
    rng = random.Random(2)
    hops = {network: IPv4Address(f"192.0.2.{rng.randrange(2, 250)}") for network in networks}
    order = rng.sample(networks, len(networks))
    macs = {hop: f"02:00:00:01:00:{int(hop) & 0xFF:02x}" for hop in hops.values()}
    router = Router(
        (
            RouterInterface("wire0", (IPv4Interface("10.0.0.1/24"),), _router_mac(0, 0)),
            RouterInterface("wire1", (IPv4Interface("192.0.2.1/24"),), _router_mac(0, 1)),
        ),
        tuple(Route(network, "wire1", hops[network]) for network in order),
        tuple(ArpEntry(hop, mac) for hop, mac in macs.items()),
    )
    fresh.fresh(chain({"r": router}, ["r", "r"]))
    nested = 0
    for network in rng.sample(networks, 200):
        target = network[rng.randrange(network.num_addresses)]
        holders = [other for other in networks if target in other]
        nested += len(holders) > 1
        longest = max(holders, key=lambda holder: holder.prefixlen)
        out = _frame(_router_mac(0, 1), macs[hops[longest]], str(target), 63)
        sent = fresh.send(0, _frame(_A, _router_mac(0, 0), str(target)))
        assert sent == {1: [out]}, f"{target} is in {longest}"
    assert nested > 100

# SPDX-License-Identifier: Apache-2.0
"""Several next hops for one destination: routes and policies.

::

    a - left - router - right - h1, h2        10.9.0.1 is an address of both
"""

from functools import partial

import pytest

from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import answers, serve_name
from support.hypervisor import Vm
from support.network import Host, plug, port_lines, router_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A = Host("a", 1, 11)
HOPS = (Host("h1", 2, 11), Host("h2", 2, 12))
BEYOND = {4: "10.9.0.1", 6: "fd00:9::1"}
PREFIX = {4: "10.9.0.0/24", 6: "fd00:9::/64"}
PORT = 8080


@pytest.fixture(scope="module")
def vms(central: Central, make_hypervisor: HypervisorMaker) -> dict[str, Vm]:
    """Return the machines by name; each next hop tells its name."""
    central.nb_lines(
        "\n".join(
            [
                *[f"ls-add {name}" for name in ("left", "right")],
                router_lines("router", {"left": 1, "right": 2}),
                port_lines("left", A),
                *[port_lines("right", host) for host in HOPS],
            ]
        )
    )
    hypervisor = make_hypervisor("hv")
    for host in (A, *HOPS):
        plug(hypervisor, host, routed=True)
    for host in HOPS:
        vm = hypervisor.vms[host.name]
        for address in BEYOND.values():
            vm.run("ip", "address", "add", address, "dev", "lo")
        serve_name(vm, PORT)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor.vms


def _hop(host: Host, version: int) -> str:
    return host.ip4 if version == 4 else host.ip6


@pytest.mark.parametrize("version", [4, 6])
def test_connections_are_spread_over_routes(
    vms: dict[str, Vm], central: Central, version: int
) -> None:
    """Each whole, over all next hops of the prefix; over those that are left when one goes."""
    for host in HOPS:
        central.nbctl("--ecmp", "lr-route-add", "router", PREFIX[version], _hop(host, version))
    central.sync()
    ask = partial(answers, vms["a"], BEYOND[version], PORT)
    assert ask(60).keys() == {"h1", "h2"}
    central.nbctl("lr-route-del", "router", PREFIX[version], _hop(HOPS[0], version))
    central.sync()
    assert ask(20) == {"h2": 20}
    central.nbctl("lr-route-del", "router", PREFIX[version])


@pytest.mark.parametrize("version", [4, 6])
def test_connections_are_spread_by_a_policy(
    vms: dict[str, Vm], central: Central, version: int
) -> None:
    """A policy with several next hops takes what a route would lead to one."""
    match = f"ip{version}.dst == {PREFIX[version]}"
    hops = ",".join(_hop(host, version) for host in HOPS)
    central.nbctl("lr-route-add", "router", PREFIX[version], _hop(HOPS[0], version))
    central.sync()
    ask = partial(answers, vms["a"], BEYOND[version], PORT)
    assert ask(20) == {"h1": 20}
    central.nbctl("lr-policy-add", "router", "100", match, "reroute", hops)
    central.sync()
    assert ask(60).keys() == {"h1", "h2"}
    central.nbctl("lr-policy-del", "router", "100", match)
    central.nbctl("lr-route-del", "router", PREFIX[version])

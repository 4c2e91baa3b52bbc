# SPDX-License-Identifier: Apache-2.0
"""ACLs in tiers: a rule may pass its decision on to the next tier."""

import pytest

from support.central import Central, Release
from support.fixtures import HypervisorMaker
from support.flows import reaches, serve
from support.hypervisor import Hypervisor
from support.network import Host, plug, port_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B = Host("a", 1, 11), Host("b", 1, 12)


@pytest.fixture(scope="module")
def hypervisor(central: Central, make_hypervisor: HypervisorMaker, release: Release) -> Hypervisor:
    """Return a hypervisor with two machines on a switch; in its second tier only ping may pass."""
    if release.name == "23.03":
        pytest.skip("tiers came with OVN 23.06")
    central.nb_lines(
        "\n".join(
            [
                "ls-add sw",
                port_lines("sw", A),
                port_lines("sw", B),
                "--tier=1 acl-add sw to-lport 1000 icmp4 allow-related",
                "--tier=1 acl-add sw to-lport 900 ip4 drop",
            ]
        )
    )
    hypervisor = make_hypervisor("hv")
    plug(hypervisor, A)
    plug(hypervisor, B)
    hypervisor.wait_installed()
    serve(hypervisor.vms["b"], 80)
    central.sync()
    return hypervisor


@pytest.mark.parametrize(
    ("rule", "ping", "tcp"),
    [
        (None, True, False),
        ("1000 ip4 pass", True, False),
        ("1000 ip4 drop", False, False),
        ("1000 icmp4 drop", False, False),
        ("1000 tcp allow-related", True, True),
        ("1000 tcp allow-stateless", True, True),
        ("1000 tcp reject", True, False),
    ],
)
def test_first_tier_decides_or_passes_on(
    hypervisor: Hypervisor, central: Central, rule: str | None, ping: bool, tcp: bool
) -> None:
    """What no rule of it matches, and what one passes, is the next tier's."""
    if rule is not None:
        central.nb_lines(f"--tier=0 acl-add sw to-lport {rule}")
    if rule is not None and "stateless" in rule:
        # Answers come by the same switch and have no connection to belong to.
        central.nb_lines("--tier=0 acl-add sw from-lport 1000 tcp allow-stateless")
    try:
        central.sync()
        a = hypervisor.vms["a"]
        assert bool(a.ping(B.ip4).received) is ping
        assert reaches(a, B.ip4, 80) is tcp
    finally:
        central.nbctl("--tier=0", "acl-del", "sw")
        restore = "--tier=1 --may-exist acl-add sw to-lport"
        central.nb_lines(f"{restore} 1000 icmp4 allow-related\n{restore} 900 ip4 drop")
        central.sync()

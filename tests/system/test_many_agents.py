# SPDX-License-Identifier: Apache-2.0
"""Several agents on one machine, each in its own namespace with its own databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.central import Central, Release
from support.fixtures import run_name
from support.flows import PingStream
from support.hypervisor import Flavor, Hypervisor
from support.network import Host, plug, port_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

#: The same addresses in each cloud: what leaks from one to another is answered twice.
A, B = Host("a", 1, 11), Host("b", 1, 12)
_CLOUDS = 3


@pytest.fixture(scope="module")
def clouds(
    module_directory: Path, flavor: Flavor, release: Release
) -> Iterator[list[tuple[Central, Hypervisor]]]:
    """Return clouds that have only the kernel in common."""
    made: list[tuple[Central, Hypervisor]] = []
    lines = "\n".join(["ls-add sw", port_lines("sw", A), port_lines("sw", B)])
    try:
        for number in range(_CLOUDS):
            central = Central(module_directory / f"central{number}", release)
            central.nb_lines(lines)
            where = module_directory / f"hv{number}"
            hypervisor = Hypervisor(where, "hv", central.sb, flavor, run_name("hv"), release)
            made.append((central, hypervisor))
            hypervisor.start()
            plug(hypervisor, A)
            plug(hypervisor, B)
            hypervisor.wait_installed()
            central.sync()
        yield made
    finally:
        for _central, hypervisor in made:
            hypervisor.close()


def test_each_has_its_own_traffic(clouds: list[tuple[Central, Hypervisor]]) -> None:
    """Every cloud works, and no ping is answered twice."""
    for _central, hypervisor in clouds:
        ping = hypervisor.vms["a"].ping(B.ip4, count=3)
        assert ping.received == 3
        assert "DUP" not in ping.output


def test_one_that_changes_leaves_the_others_alone(
    clouds: list[tuple[Central, Hypervisor]],
) -> None:
    """A drop rule in one cloud, its agent's restart and its end lose no packet of another."""
    (central, first), (_, second), (_, third) = clouds
    with (
        PingStream(second.vms["a"], B.ip4) as one,
        PingStream(third.vms["a"], B.ip6) as other,
    ):
        central.nbctl("acl-add", "sw", "to-lport", "1000", "ip", "drop")
        central.sync()
        assert first.vms["a"].ping(B.ip4).received == 0
        first.kill()
        first.start()
        first.stop()
        one.wait_answers(20)
        other.wait_answers(20)
        assert one.stop() == 0
        assert other.stop() == 0


def test_one_that_is_removed_leaves_the_others_alone(
    clouds: list[tuple[Central, Hypervisor]],
) -> None:
    """Taking a whole hypervisor away, its pins and devices, loses no packet of another."""
    _, (_, second), (_, third) = clouds
    with PingStream(third.vms["a"], B.ip4) as stream:
        second.close()
        stream.wait_answers(20)
        assert stream.stop() == 0

# SPDX-License-Identifier: Apache-2.0
"""The agent on a kernel without tcx (before 6.6), which answers EINVAL when it is asked for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.central import Central, Release
from support.fixtures import run_name
from support.flows import PingStream
from support.hypervisor import Flavor, Hypervisor
from support.network import Host, plug, port_lines
from support.refuse import Refusal, refusing

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B = Host("a", 1, 11), Host("b", 1, 12)
_PROG_QUERY, _LINK_CREATE = 16, 28  # enum bpf_cmd


@pytest.fixture
def hypervisor(
    module_directory: Path, flavor: Flavor, release: Release, central: Central
) -> Iterator[Hypervisor]:
    """Return a hypervisor with two machines whose agent cannot use tcx."""
    if flavor == "ovn":
        pytest.skip("ordinary OVN's user space data path uses no BPF")
    central.nb_lines("\n".join(["ls-add sw", port_lines("sw", A), port_lines("sw", B)]))
    made = Hypervisor(module_directory / "hv", "hv", central.sb, flavor, run_name("hv"), release)
    made.around_agent = refusing(
        Refusal("bpf", "EINVAL", _PROG_QUERY), Refusal("bpf", "EINVAL", _LINK_CREATE)
    )
    try:
        made.start()
        plug(made, A)
        plug(made, B)
        made.wait_installed()
        yield made
    finally:
        made.close()


def _filters(hypervisor: Hypervisor, vm: str) -> int:
    device = hypervisor.vms[vm].port
    return hypervisor.namespace.run("tc", "filter", "show", "dev", device, "ingress").count(
        "direct-action"
    )


def test_filter_stands_in_for_tcx(hypervisor: Hypervisor, central: Central) -> None:
    """Traffic flows, the next agent takes over without a loss, and exit takes the filters away."""
    assert [_filters(hypervisor, vm) for vm in "ab"] == [1, 1]
    with PingStream(hypervisor.vms["a"], B.ip4) as stream:
        hypervisor.pause()
        stream.wait_answers(10)
        hypervisor.start()
        central.sync()
        stream.wait_answers(10)
        assert stream.stop() == 0
    assert [_filters(hypervisor, vm) for vm in "ab"] == [1, 1]
    central.nbctl("--wait=hv", "acl-add", "sw", "to-lport", "1000", "ip", "drop")
    assert hypervisor.vms["a"].ping(B.ip4).received == 0
    central.nbctl("--wait=hv", "acl-del", "sw")
    assert hypervisor.vms["a"].ping(B.ip4, count=2).received == 2
    hypervisor.stop()
    assert [_filters(hypervisor, vm) for vm in "ab"] == [0, 0]

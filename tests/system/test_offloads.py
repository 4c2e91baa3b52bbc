# SPDX-License-Identifier: Apache-2.0
"""Large segments and unfinished checksums through security groups and a router."""

import json

import pytest

from iovisor_ovn.demo import until
from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import transfer
from support.hypervisor import Flavor, Kind, Vm
from support.network import Host, plug, port_lines, router_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

KINDS: dict[Kind, int] = {"veth": 11, "tap": 12, "internal": 13}
LEFT = {kind: Host(f"l{kind}", 1, number) for kind, number in KINDS.items()}
RIGHT = {kind: Host(f"r{kind}", 2, number) for kind, number in KINDS.items()}
_SIZE = 64 << 20


@pytest.fixture(scope="module")
def vms(central: Central, make_hypervisor: HypervisorMaker) -> dict[str, Vm]:
    """Return a machine of every kind on both sides of a router, behind stateful rules."""
    hosts = [*LEFT.values(), *RIGHT.values()]
    central.nb_lines(
        "\n".join(
            [
                "ls-add left",
                "ls-add right",
                router_lines("router", {"left": 1, "right": 2}),
                *[port_lines("left", host, secure=True) for host in LEFT.values()],
                *[port_lines("right", host, secure=True) for host in RIGHT.values()],
                f"pg-add all {' '.join(host.name for host in hosts)}",
                'acl-add all from-lport 1001 "inport == @all && ip" drop',
                'acl-add all to-lport 1001 "outport == @all && ip" drop',
                'acl-add all from-lport 1002 "inport == @all && ip" allow-related',
                'acl-add all to-lport 1002 "outport == @all && (tcp || icmp)" allow-related',
            ]
        )
    )
    hypervisor = make_hypervisor("hv")
    for kind in KINDS:
        plug(hypervisor, LEFT[kind], routed=True, kind=kind)
        plug(hypervisor, RIGHT[kind], routed=True, kind=kind)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor.vms


_PAIRS: list[tuple[Kind, Kind]] = [
    ("veth", "veth"), ("veth", "tap"), ("tap", "veth"), ("veth", "internal"),
    ("internal", "veth"), ("tap", "internal"), ("internal", "tap"),
]  # fmt: skip


@pytest.mark.parametrize("pair", _PAIRS, ids=["-".join(pair) for pair in _PAIRS])
@pytest.mark.parametrize("version", [4, 6])
def test_bulk_data_crosses_the_router_unchanged(
    vms: dict[str, Vm], pair: tuple[Kind, Kind], version: int
) -> None:
    """The SHA-256 of what was sent is that of what arrived."""
    sender, receiver = LEFT[pair[0]], RIGHT[pair[1]]
    address = receiver.ip4 if version == 4 else receiver.ip6
    transfer(vms[sender.name], vms[receiver.name], address, _SIZE // 8)


@pytest.mark.parametrize("version", [4, 6])
def test_segments_cross_whole(vms: dict[str, Vm], flavor: Flavor, version: int) -> None:
    """A segment that the sender left to the device is not cut on the way."""
    if flavor == "ovn":
        pytest.skip("the user space data path takes no segments from a veth")
    sender, receiver = vms[LEFT["veth"].name], vms[RIGHT["veth"].name]
    before = _received(receiver)
    transfer(sender, receiver, receiver.ip4 if version == 4 else receiver.ip6, _SIZE)
    packets, size = (after - was for after, was in zip(_received(receiver), before, strict=True))
    assert size > _SIZE
    assert size / packets > 3 * 1500


def _received(vm: Vm) -> tuple[int, int]:
    """Return packets and bytes that the machine's device has received."""
    [link] = json.loads(vm.run("ip", "-j", "-s", "link", "show", vm.device))
    counted = link["stats64"]["rx"]
    return counted["packets"], counted["bytes"]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("reverse", [False, True], ids=["upload", "download"])
def test_iperf3_runs(vms: dict[str, Vm], version: int, reverse: bool) -> None:
    """iperf3 moves its bytes both ways with four streams, and none of them stalls."""
    client, server = vms[LEFT["veth"].name], vms[RIGHT["veth"].name]
    address = server.ip4 if version == 4 else server.ip6
    output = server.popen("iperf3", "--server", "--one-off", "--forceflush").stdout
    assert output is not None
    until(lambda: "Server listening" in output.readline(), "iperf3's server")
    words = ["iperf3", "--json", "--client", address, "--parallel", "4", "--bytes", "16M"]
    words += ["--window", "128K", *(["--reverse"] if reverse else [])]
    report = json.loads(client.run(*words, timeout_s=60))
    assert "error" not in report
    end = report["end"]
    assert end["sum_sent"]["bytes"] >= 16 << 20
    # Bytes on their way when the client ends are not counted: of each stream at most what the
    # buffers of both ends hold, which the kernel makes twice as large as asked.
    assert end["sum_received"]["bytes"] >= (16 << 20) - 4 * 2 * (256 << 10)
    assert all(stream["receiver"]["bytes"] > 0 for stream in end["streams"])


def test_every_size_is_answered(vms: dict[str, Vm], flavor: Flavor) -> None:
    """Sizes around one MTU, cut into fragments above it, come back from the other side."""
    client, server = vms[LEFT["veth"].name], RIGHT["tap"]
    for size in (0, 1, 1452, 1453, 1471, 1472, 1473, 4000, 20000):
        for address in (server.ip4, server.ip6):
            if flavor == "ovn" and ":" in address and size > 1452:
                continue  # the user space data path of OVS 3.1 loses IPv6 fragments
            ping = client.ping(address, "-s", str(size))
            assert ping.received == 1, f"{size} bytes to {address}\n{ping.output}"

# SPDX-License-Identifier: Apache-2.0
"""The Southbound database goes away, comes back empty and comes back whole while machines talk."""

import json
import shutil
from collections.abc import Callable, Iterator

import pytest

from iovisor_ovn.demo import until
from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import Connection, PingStream, connects, reaches, serve
from support.hypervisor import Flavor, Hypervisor
from support.network import Host, plug, port_lines, router_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B, C = Host("a", 1, 11), Host("b", 1, 12), Host("c", 2, 11)


@pytest.fixture(scope="module")
def hypervisor(central: Central, make_hypervisor: HypervisorMaker) -> Hypervisor:
    """Return a hypervisor with machines on two switches, behind stateful rules."""
    central.nb_lines(
        "\n".join(
            [
                "ls-add left",
                "ls-add right",
                router_lines("router", {"left": 1, "right": 2}),
                *[port_lines("left", host) for host in (A, B)],
                port_lines("right", C),
                "pg-add all a b c",
                'acl-add all to-lport 1001 "outport == @all && ip" drop',
                'acl-add all to-lport 1002 "outport == @all && (tcp || icmp)" allow-related',
            ]
        )
    )
    hypervisor = make_hypervisor("hv")
    for host in (A, B, C):
        plug(hypervisor, host, routed=True)
    for name in ("b", "c"):
        serve(hypervisor.vms[name], 80, 81)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor


@pytest.fixture
def talk(hypervisor: Hypervisor, flavor: Flavor) -> Iterator[Callable[[str], None]]:
    """Keep connections and pings going; the function asserts that they and new ones work."""
    vm = hypervisor.vms["a"]
    with (
        Connection(vm, B.ip4, 80) as near,
        Connection(vm, C.ip6, 80) as far,
        PingStream(vm, C.ip4) as stream,
    ):

        def talk(when: str) -> None:
            for connection in (near, far):
                assert connection.echoes(when.encode() * 500), when
            for address in (B.ip4, C.ip4):
                assert reaches(vm, address, 80), when
            stream.wait_answers(10)

        talk("before")
        yield talk
        # A new ovn-controller writes its flows anew, which costs a few hundredths of a second.
        assert stream.stop() <= (10 if flavor == "ovn" else 0)


def _await(hypervisor: Hypervisor, status: str) -> None:
    until(
        lambda: hypervisor.appctl("connection-status").strip() == status,
        f"{status} to the Southbound database",
        30,
    )


def _deny(central: Central, port: int) -> None:
    central.nbctl("acl-add", "all", "to-lport", "1003", f"outport == @all && tcp.dst == {port}",
                  "drop")  # fmt: skip


def test_traffic_goes_on_without_the_database(
    hypervisor: Hypervisor, central: Central, talk: Callable[[str], None]
) -> None:
    """By the last pipeline; what changed meanwhile is in force when it is back."""
    central.stop_server("sb")
    _await(hypervisor, "not connected")
    talk("while the server is away")
    _deny(central, 81)
    assert reaches(hypervisor.vms["a"], B.ip4, 81)
    central.start_server("sb")
    _await(hypervisor, "connected")
    central.sync()
    talk("with the server back")
    assert not connects(hypervisor.vms["a"], B.ip4, 81)
    central.nbctl("acl-del", "all", "to-lport", "1003", "outport == @all && tcp.dst == 81")
    central.sync()
    assert reaches(hypervisor.vms["a"], B.ip4, 81)


def test_traffic_goes_on_with_an_empty_database(
    hypervisor: Hypervisor, central: Central, flavor: Flavor, talk: Callable[[str], None]
) -> None:
    """An empty database takes nothing away; the whole one that follows is in force."""
    if flavor == "ovn":
        pytest.skip("ovn-controller takes all flows away when the database comes back empty")
    whole = central.directory / "whole.db"
    central.stop_northd()
    central.stop_server("sb")
    _await(hypervisor, "not connected")
    shutil.move(central.database("sb"), whole)
    central.create_database("sb")
    central.start_server("sb")
    _await(hypervisor, "connected")

    def problems() -> list[str]:
        answer = json.loads(hypervisor.appctl("iovisor/show"))
        return [problem["what"] for problem in answer["problems"]]

    until(lambda: problems() == ["southbound_empty"], "the empty database is named")
    talk("with an empty database")
    central.stop_server("sb")
    _await(hypervisor, "not connected")
    shutil.move(whole, central.database("sb"))
    _deny(central, 81)
    central.start_server("sb")
    central.start_northd()
    central.sync()
    talk("with the whole database")
    assert not problems()
    assert not connects(hypervisor.vms["a"], B.ip4, 81)

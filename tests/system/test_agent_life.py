# SPDX-License-Identifier: Apache-2.0
"""The agent is stopped, killed and started again while machines talk."""

from collections.abc import Callable

import pytest

from iovisor_ovn.demo import until
from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import Connection, PingStream, connects, reaches, serve
from support.hypervisor import Flavor, Hypervisor, Vm
from support.network import Host, plug, port_lines, router_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B, C = Host("a", 1, 11), Host("b", 1, 12), Host("c", 2, 11)
LATE = Host("late", 1, 13)


@pytest.fixture(scope="module")
def hypervisor(central: Central, make_hypervisor: HypervisorMaker) -> Hypervisor:
    """Return a hypervisor with machines on two switches, behind stateful rules."""
    central.nb_lines(
        "\n".join(
            [
                "ls-add left",
                "ls-add right",
                router_lines("router", {"left": 1, "right": 2}),
                *[port_lines("left", host) for host in (A, B, LATE)],
                port_lines("right", C),
                "pg-add all a b c late",
                'acl-add all from-lport 1001 "inport == @all && ip" drop',
                'acl-add all to-lport 1001 "outport == @all && ip" drop',
                'acl-add all from-lport 1002 "inport == @all && ip" allow-related',
                'acl-add all to-lport 1002 "outport == @all && (tcp || icmp)" allow-related',
            ]
        )
    )
    hypervisor = make_hypervisor("hv")
    for host in (A, B, C):
        plug(hypervisor, host, routed=True)
    serve(hypervisor.vms["b"], 80, 81)
    serve(hypervisor.vms["c"], 80)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor


@pytest.fixture
def vms(hypervisor: Hypervisor) -> dict[str, Vm]:
    """Return the machines, with an agent running."""
    if hypervisor.agent_pid is None:
        hypervisor.start()
        hypervisor.wait_installed()
    return hypervisor.vms


@pytest.mark.parametrize("end", [Hypervisor.pause, Hypervisor.kill], ids=["stopped", "killed"])
def test_traffic_goes_on_without_the_agent(
    hypervisor: Hypervisor,
    vms: dict[str, Vm],
    central: Central,
    flavor: Flavor,
    end: Callable[[Hypervisor], None],
) -> None:
    """No packet is lost and no connection breaks, with no agent and while a new one starts."""
    with (
        Connection(vms["a"], B.ip4, 80) as near,
        Connection(vms["a"], C.ip6, 80) as far,
        PingStream(vms["a"], C.ip4) as stream,
    ):
        end(hypervisor)
        assert hypervisor.agent_pid is None
        assert near.echoes(b"without agent" * 500)
        assert far.echoes(b"without agent" * 500)
        # New ones too: the rules are in the kernel, not in the agent.
        assert reaches(vms["a"], B.ip4, 81)
        stream.wait_answers(20)
        hypervisor.start()
        central.sync()
        stream.wait_answers(20)
        assert near.echoes(b"with the next agent" * 500)
        assert far.echoes(b"with the next agent" * 500)
        # A new ovn-controller writes its flows anew, which costs a few hundredths of a second.
        assert stream.stop() <= (10 if flavor == "ovn" else 0)


def test_the_next_agent_takes_over_the_rows(
    hypervisor: Hypervisor, vms: dict[str, Vm], central: Central
) -> None:
    """Chassis and bindings are the same rows before and after."""
    assert vms

    def rows() -> str:
        chassis = central.sbctl("--columns=_uuid,name", "list", "Chassis")
        columns = "--columns=logical_port,chassis,up"
        return chassis + central.sbctl(columns, "find", "Port_Binding", 'type=""', "up=true")

    before = rows()
    hypervisor.kill()
    hypervisor.start()
    central.sync()
    assert rows() == before


def test_the_next_agent_does_what_was_missed(
    hypervisor: Hypervisor, vms: dict[str, Vm], central: Central
) -> None:
    """Rules and machines that came while there was no agent work once there is one."""
    hypervisor.pause()
    match = "outport == @all && tcp.dst == 81"
    central.nbctl("acl-add", "all", "to-lport", "1003", match, "drop")
    hypervisor.vsctl(
        "--no-wait", "add-port", "br-int", "not-there", "--", "set", "Interface", "not-there",
        "external_ids:iface-id=nobody",
    )  # fmt: skip
    try:
        hypervisor.start()
        central.sync()
        late = plug(hypervisor, LATE)
        hypervisor.wait_installed(late)
        assert vms["a"].ping(LATE.ip4, count=2).received == 2
        assert not connects(vms["a"], B.ip4, 81)
        assert reaches(vms["a"], B.ip4, 80)
    finally:
        hypervisor.vsctl("--no-wait", "del-port", "br-int", "not-there")
        central.nbctl("acl-del", "all", "to-lport", "1003", match)


def test_leaving_for_good_takes_the_rows_away(
    hypervisor: Hypervisor, vms: dict[str, Vm], central: Central
) -> None:
    """`exit` removes chassis and claims; a start brings both and the traffic back."""
    hypervisor.stop()
    until(lambda: not central.sbctl("--bare", "--columns=name", "list", "Chassis"), "no chassis")
    claimed = ("--bare", "--columns=logical_port", "find", "Port_Binding", "chassis!=[]")
    assert central.sbctl(*claimed) == ""
    hypervisor.start()
    hypervisor.wait_installed()
    central.sync()
    assert central.sbctl("--bare", "--columns=name", "list", "Chassis") == hypervisor.name
    assert vms["a"].ping(C.ip4, count=2).received == 2

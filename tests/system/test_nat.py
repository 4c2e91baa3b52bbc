# SPDX-License-Identifier: Apache-2.0
"""A gateway router with NAT: out by its address, in by floating addresses, errors both ways.

::

    a, c - inside - gw ---- outside --- far --- remote - d
          10.0.1        10.0.2  |              10.0.3
                                b

Nobody outside has a route to the inside.
"""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet

from iovisor_ovn.demo.places import inside
from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import Connection, PingStream, reaches, serve, transfer, udp_error
from support.hypervisor import Flavor, Hypervisor, Vm
from support.network import Host, plug, port_lines, router_lines
from support.packets import Wire, payload_is

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, C = Host("a", 1, 11), Host("c", 1, 12)
B, D = Host("b", 2, 11), Host("d", 3, 11)
#: Addresses of the gateway, and one outside that stands for machine c.
GATEWAY = {4: "10.0.2.1", 6: "fd00:2::1"}
FLOATING = {4: "10.0.2.50", 6: "fd00:2::50"}


@pytest.fixture(scope="module")
def hypervisor(central: Central, make_hypervisor: HypervisorMaker) -> Hypervisor:
    """Return a hypervisor that holds it all."""
    hypervisor = make_hypervisor("hv")
    central.nb_lines(
        "\n".join(
            [
                *[f"ls-add {name}" for name in ("inside", "outside", "remote")],
                router_lines("gw", {"inside": 1, "outside": 2}),
                f"set Logical_Router gw options:chassis={hypervisor.name}",
                "lr-add far",
                *_far_port("outside", 2, 2),
                *_far_port("remote", 3, 1),
                "lr-route-add gw 0.0.0.0/0 10.0.2.2",
                "lr-route-add gw ::/0 fd00:2::2",
                *[port_lines("inside", host) for host in (A, C)],
                port_lines("outside", B),
                port_lines("remote", D),
                f"lr-nat-add gw snat {GATEWAY[4]} 10.0.1.0/24",
                f"lr-nat-add gw snat {GATEWAY[6]} fd00:1::/64",
                f"lr-nat-add gw dnat_and_snat {FLOATING[4]} {C.ip4}",
                f"lr-nat-add gw dnat_and_snat {FLOATING[6]} {C.ip6}",
            ]
        )
    )
    for host in (A, C):
        plug(hypervisor, host, routed=True)
    plug(hypervisor, B)
    # The far router is the way out, not host number 1.
    vm = plug(hypervisor, D)
    vm.namespace.ip(
        f"route add default via 10.0.3.1 dev {vm.device}",
        f"route add default via fd00:3::1 dev {vm.device}",
    )
    hypervisor.wait_installed()
    central.sync()
    return hypervisor


def _far_port(switch: str, network: int, number: int) -> list[str]:
    mac = f"02:00:00:01:{network:02x}:{number:02x}"
    return [
        f"lrp-add far far-{switch} {mac} 10.0.{network}.{number}/24 fd00:{network}::{number}/64",
        f"lsp-add {switch} {switch}-far",
        f"lsp-set-type {switch}-far router",
        f"lsp-set-addresses {switch}-far router",
        f"lsp-set-options {switch}-far router-port=far-{switch}",
    ]


@pytest.fixture(scope="module")
def vms(hypervisor: Hypervisor) -> dict[str, Vm]:
    """Return the machines by name."""
    for name in ("a", "b", "c", "d"):
        serve(hypervisor.vms[name], 80)
    return hypervisor.vms


def _address(host: Host, version: int) -> str:
    return host.ip4 if version == 4 else host.ip6


def _source(frame: Packet) -> str:
    return str(frame[IP].src if IP in frame else frame[IPv6].src)


def _is_request(frame: Packet) -> bool:
    return ICMPv6EchoRequest in frame or (ICMP in frame and frame[ICMP].type == 8)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("client", "known_as"), [("a", GATEWAY), ("c", FLOATING)])
def test_outside_sees_the_translated_source(
    vms: dict[str, Vm], client: str, known_as: dict[int, str], version: int
) -> None:
    """Pings arrive from the gateway's or the floating address, and are answered."""
    with Wire(vms["b"]) as wire:
        ping = vms[client].ping(_address(B, version), count=3, wait_s=3)
        assert _source(wire.wait_for(_is_request)) == known_as[version]
    assert ping.received == 3, ping.output


@pytest.mark.parametrize("version", [4, 6])
def test_bulk_data_crosses_nat_whole(vms: dict[str, Vm], version: int) -> None:
    """TCP with offloads, from a machine behind NAT to one near and one beyond a router."""
    transfer(vms["a"], vms["b"], _address(B, version), 8 << 20)
    transfer(vms["a"], vms["d"], _address(D, version), 8 << 20)


@pytest.mark.parametrize("version", [4, 6])
def test_floating_address_leads_inside(vms: dict[str, Vm], version: int) -> None:
    """Ping, bulk data and echoes reach the machine behind a floating address."""
    for client in ("b", "d"):
        ping = vms[client].ping(FLOATING[version], count=2, wait_s=3)
        assert ping.received == 2, ping.output
        assert reaches(vms[client], FLOATING[version], 80)
    transfer(vms["d"], vms["c"], FLOATING[version], 8 << 20)


def test_inside_reaches_a_floating_address(vms: dict[str, Vm]) -> None:
    """From behind the same gateway, by hairpin."""
    assert reaches(vms["a"], FLOATING[4], 80)


@pytest.mark.parametrize("version", [4, 6])
def test_clients_with_one_port_are_told_apart(vms: dict[str, Vm], version: int) -> None:
    """Two machines use the same source port towards one server behind the same address."""
    # Machine c has a floating address of its own; a second address of a's has not.
    second, prefix = ("10.0.1.13", 24) if version == 4 else ("fd00:1::13", 64)
    vm = vms["a"]
    vm.namespace.ip(f"address add {second}/{prefix} dev {vm.device} nodad")
    target = (_address(B, version), 80)

    def connect(source: str) -> socket.socket:
        return socket.create_connection(target, 5, (source, 45678))

    try:
        with ExitStack() as stack, Wire(vms["b"]) as wire:
            for source in (_address(A, version), second):
                one = inside(vm.namespace.name, partial(connect, source))
                stack.enter_context(one)
                one.sendall(b"one of two")
                assert one.recv(100) == b"one of two"
            ports: set[int] = set()
            while len(ports) < 2:
                frame = wire.wait_for(lambda frame: TCP in frame and frame[TCP].dport == 80)
                assert _source(frame) == GATEWAY[version]
                ports.add(frame[TCP].sport)
        assert 45678 in ports
    finally:
        vm.namespace.ip(f"address del {second}/{prefix} dev {vm.device}")


@pytest.mark.parametrize("version", [4, 6])
def test_unreachable_ports_are_told_through_nat(vms: dict[str, Vm], version: int) -> None:
    """A datagram to a closed port fails at once, from inside and to a floating address."""
    for client, target in (("a", _address(B, version)), ("a", _address(D, version)),
                           ("c", _address(B, version)), ("b", FLOATING[version]),
                           ("d", FLOATING[version])):  # fmt: skip
        error = udp_error(vms[client], target, 4321)
        assert isinstance(error, ConnectionRefusedError), (client, target)


@pytest.mark.parametrize("version", [4, 6])
def test_traceroute_sees_the_hops_behind_nat(vms: dict[str, Vm], version: int) -> None:
    """Time exceeded comes from the gateway, from the router behind it, and then the target."""
    target = _address(D, version)
    output = vms["a"].run("traceroute", f"-{version}", "-n", "-q1", "-w2", "-m5", target)
    hops = re.findall(r"^ *\d+ +(\S+)", output, re.MULTILINE)
    expected = ["10.0.1.1", "10.0.2.2"] if version == 4 else ["fd00:1::1", "fd00:2::2"]
    assert hops == [*expected, target], output


@pytest.mark.parametrize("version", [4, 6])
def test_smaller_path_behind_nat_is_discovered(
    vms: dict[str, Vm], central: Central, version: int
) -> None:
    """Packet too big, from a router outside, reaches the machine inside, and its TCP adapts."""
    central.nbctl("set", "Logical_Router_Port", "far-remote", "options:gateway_mtu=1300")
    central.sync()
    target = _address(D, version)
    try:
        ping = vms["a"].ping(target, "-M", "do", "-s", "1400", count=2)
        assert ping.received == 0, ping.output
        assert re.search("mtu[=: ]+1300", ping.output, re.IGNORECASE), ping.output
        transfer(vms["a"], vms["d"], target, 1 << 20)
    finally:
        central.nbctl("remove", "Logical_Router_Port", "far-remote", "options", "gateway_mtu")
        central.sync()
    vms["a"].run("ip", f"-{version}", "route", "flush", "cache")


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_cross_nat(vms: dict[str, Vm], version: int) -> None:
    """Pings larger than the MTU are answered, in fragments both ways."""
    ping = vms["a"].ping(_address(B, version), "-s", "4000", count=3, wait_s=3)
    assert ping.received == 3, ping.output
    ping = vms["b"].ping(FLOATING[version], "-s", "4000", count=3, wait_s=3)
    assert ping.received == 3, ping.output


def test_inside_is_hidden(vms: dict[str, Vm]) -> None:
    """No frame that the outside hears has an address of the inside, quoted ones included."""
    with Wire(vms["b"]) as wire:
        vms["a"].ping(B.ip4, count=1, wait_s=3)
        assert isinstance(udp_error(vms["b"], FLOATING[4], 4322), ConnectionRefusedError)
        wire.wait_for(lambda frame: ICMP in frame and frame[ICMP].type == 3)
    assert not wire.has_heard(lambda frame: b"\x0a\x00\x01" in bytes(frame)[26:])


def test_many_at_once_get_their_own_answers(vms: dict[str, Vm]) -> None:
    """Connections of both machines, a few dozen at a time, echo what was sent on each."""

    def talk(number: int) -> bool:
        client = vms["a" if number % 2 else "c"]
        with Connection(client, D.ip4, 80) as connection:
            return connection.echoes(f"connection {number}".encode() * 50)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(talk, range(64)))


def test_connections_outlive_the_agent(
    hypervisor: Hypervisor, vms: dict[str, Vm], central: Central, flavor: Flavor
) -> None:
    """Translated connections go on without an agent and with the next one."""
    with (
        Connection(vms["a"], D.ip4, 80) as out,
        Connection(vms["d"], FLOATING[6], 80) as back,
        PingStream(vms["a"], B.ip4) as stream,
    ):
        hypervisor.kill()
        assert out.echoes(b"without agent" * 500)
        assert back.echoes(b"without agent" * 500)
        assert reaches(vms["a"], B.ip4, 80)
        hypervisor.start()
        central.sync()
        stream.wait_answers(20)
        assert out.echoes(b"with the next agent" * 500)
        assert back.echoes(b"with the next agent" * 500)
        assert stream.stop() <= (10 if flavor == "ovn" else 0)


def test_source_of_a_datagram_keeps_its_port(vms: dict[str, Vm]) -> None:
    """Where nobody else has it, the port is what the client chose."""

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("", 40404))
            one.sendto(b"which port", (B.ip4, 9))

    with Wire(vms["b"]) as wire:
        inside(vms["a"].namespace.name, ask)
        frame = wire.wait_for(payload_is(b"which port"))
    assert (_source(frame), frame[UDP].sport) == (GATEWAY[4], 40404)

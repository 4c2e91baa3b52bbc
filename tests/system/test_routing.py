# SPDX-License-Identifier: Apache-2.0
"""Two logical switches and a router, both IP versions."""

import re

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6
from scapy.packet import Packet

from iovisor_ovn.demo import until
from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import reaches, serve, transfer, udp_error
from support.hypervisor import Vm
from support.network import Host, plug, port_lines, router_lines, router_mac
from support.packets import Wire, datagram, payload_is

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B = Host("a", 1, 11), Host("b", 2, 11)
NEIGHBOUR = Host("n", 1, 12)
#: Machines whose addresses OVN does not know: the router must ask for them.
HIDDEN = tuple(Host(f"h{number}", 2, 20 + number) for number in range(4))


@pytest.fixture(scope="module")
def vms(central: Central, make_hypervisor: HypervisorMaker) -> dict[str, Vm]:
    """Return machines on both sides of the router, by name."""
    central.nb_lines(
        "\n".join(
            [
                "ls-add left",
                "ls-add right",
                router_lines("router", {"left": 1, "right": 2}),
                port_lines("left", A),
                port_lines("left", NEIGHBOUR),
                port_lines("right", B),
                *[port_lines("right", host, "unknown") for host in HIDDEN],
            ]
        )
    )
    hypervisor = make_hypervisor("hv")
    for host in (A, NEIGHBOUR, B, *HIDDEN):
        plug(hypervisor, host, routed=True)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor.vms


def _addresses(version: int) -> tuple[str, str]:
    return (A.ip4, B.ip4) if version == 4 else (A.ip6, B.ip6)


def _is_checksum_right(frame: Packet) -> bool:
    """Return whether the checksums are what Scapy computes when it has to fill them in."""
    again = frame.copy()
    for layer, name in ((IP, "chksum"), (ICMP, "chksum"), (ICMPv6TimeExceeded, "cksum")):
        if layer in again:
            setattr(again[layer], name, None)
    return bytes(again) == bytes(frame)


def _gateway(version: int, network: int = 1) -> str:
    return f"10.0.{network}.1" if version == 4 else f"fd00:{network}::1"


@pytest.mark.parametrize("version", [4, 6])
def test_machines_reach_each_other_across_the_router(vms: dict[str, Vm], version: int) -> None:
    """Ping loses nothing, and the answers have crossed one router."""
    ping = vms["a"].ping(_addresses(version)[1], count=3)
    assert ping.received == 3, ping.output
    assert set(re.findall(r"ttl=(\d+)", ping.output)) == {"63"}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("network", [1, 2])
def test_the_router_answers_for_its_own_addresses(
    vms: dict[str, Vm], version: int, network: int
) -> None:
    """The near and the far address of the router answer ping."""
    ping = vms["a"].ping(_gateway(version, network), count=2)
    assert ping.received == 2, ping.output


@pytest.mark.parametrize("version", [4, 6])
def test_the_router_rewrites_what_a_router_rewrites(vms: dict[str, Vm], version: int) -> None:
    """Only Ethernet addresses, TTL and the IPv4 header's checksum differ on the other side."""
    source, target = _addresses(version)
    sent = datagram(A.mac, router_mac(1), source, target, b"byte for byte")
    wanted = sent.copy()
    wanted.src, wanted.dst = router_mac(2), B.mac
    if version == 4:
        wanted[IP].ttl = 63
    else:
        wanted[IPv6].hlim = 63
    with Wire(vms["a"]) as near, Wire(vms["b"]) as far:
        near.send(sent)
        assert bytes(far.wait_for(payload_is(b"byte for byte"))) == bytes(wanted)


@pytest.mark.parametrize("version", [4, 6])
def test_the_last_hop_is_told(vms: dict[str, Vm], version: int) -> None:
    """A packet with TTL 1 comes back as time exceeded, from the router, quoting the packet."""
    source, target = _addresses(version)
    sent = datagram(A.mac, router_mac(1), source, target, b"too far")
    if version == 4:
        sent[IP].ttl = 1
    else:
        sent[IPv6].hlim = 1

    def is_error(frame: Packet) -> bool:
        if version == 4:
            return ICMP in frame and frame[ICMP].type == 11
        return ICMPv6TimeExceeded in frame

    with Wire(vms["a"]) as wire:
        wire.send(sent)
        error = wire.wait_for(is_error)
    network = error[IP] if version == 4 else error[IPv6]
    assert (error.src, error.dst) == (router_mac(1), A.mac)
    assert (network.src, network.dst) == (_gateway(version), source)
    # IP version to length, addresses and UDP header of the packet that was too far.
    quote = bytes(error[ICMP if version == 4 else ICMPv6TimeExceeded].payload)
    assert quote[:4] == bytes(sent)[14:18]
    assert bytes(sent[UDP])[:8] in quote
    assert _is_checksum_right(error)


@pytest.mark.parametrize("version", [4, 6])
def test_traceroute_shows_the_router(vms: dict[str, Vm], version: int) -> None:
    """Two hops: the router, then the machine."""
    target = _addresses(version)[1]
    output = vms["a"].run("traceroute", f"-{version}", "-n", "-q1", "-w2", "-m5", target)
    hops = re.findall(r"^ *\d+ +(\S+)", output, re.MULTILINE)
    assert hops == [_gateway(version), target], output


@pytest.mark.parametrize("version", [4, 6])
def test_the_first_packet_to_an_unresolved_neighbour_arrives(
    vms: dict[str, Vm], version: int
) -> None:
    """One ping, sent while the router does not yet know the machine's address, is answered."""
    hidden = HIDDEN[0] if version == 4 else HIDDEN[1]
    ping = vms["a"].ping(hidden.ip4 if version == 4 else hidden.ip6, count=1, wait_s=5)
    assert ping.received == 1, ping.output


@pytest.mark.parametrize("version", [4, 6])
def test_a_resolved_neighbour_is_written_to_the_database(
    vms: dict[str, Vm], central: Central, version: int
) -> None:
    """What the router learned is a MAC_Binding row for other hypervisors to use."""
    hidden = HIDDEN[2] if version == 4 else HIDDEN[3]
    address = hidden.ip4 if version == 4 else hidden.ip6
    assert vms["a"].ping(address, count=1, wait_s=5).received == 1
    words = ("--bare", "--columns=mac", "find", "MAC_Binding")
    row = until(lambda: central.sbctl(*words, f'ip="{address}"'), f"MAC_Binding of {address}")
    assert row == hidden.mac


@pytest.mark.parametrize("version", [4, 6])
def test_the_router_refuses_a_datagram_for_itself(vms: dict[str, Vm], version: int) -> None:
    """A UDP port of the router is unreachable, which the sender is told."""
    error = udp_error(vms["a"], _gateway(version), 4321)
    assert isinstance(error, ConnectionRefusedError)


@pytest.mark.parametrize("version", [4, 6])
def test_tcp_crosses_the_router_whole(vms: dict[str, Vm], version: int) -> None:
    """Bulk data arrives unchanged across the router."""
    transfer(vms["a"], vms["b"], _addresses(version)[1], 16 << 20)


@pytest.mark.parametrize("version", [4, 6])
def test_a_smaller_path_is_discovered(vms: dict[str, Vm], central: Central, version: int) -> None:
    """A packet larger than the router's `gateway_mtu` is refused with that MTU, TCP adapts."""
    central.nbctl("set", "Logical_Router_Port", "router-right", "options:gateway_mtu=1300")
    central.sync()
    target = _addresses(version)[1]
    try:
        ping = vms["a"].ping(target, "-M", "do", "-s", "1400", count=2)
        assert ping.received == 0, ping.output
        assert "mtu=1300" in ping.output.replace(" = ", "=").lower() or "mtu: 1300" in ping.output
        transfer(vms["a"], vms["b"], target, 1 << 20)
    finally:
        central.nbctl("remove", "Logical_Router_Port", "router-right", "options", "gateway_mtu")
        central.sync()
    vms["a"].run("ip", f"-{version}", "route", "flush", "cache")


def test_a_service_behind_the_router_is_reached(vms: dict[str, Vm]) -> None:
    """TCP connects across the router in both directions, and within the switch."""
    serve(vms["b"], 8080)
    serve(vms["a"], 8080)
    assert reaches(vms["a"], B.ip4, 8080)
    assert reaches(vms["b"], A.ip6, 8080)
    assert reaches(vms["n"], A.ip4, 8080)

# SPDX-License-Identifier: Apache-2.0
"""The load balancer, frame by frame. ``wire0`` has the clients, ``wire1`` the servers."""

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, UDPerror
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from chain_rig import ChainRig, chain
from iovisor_ovn.config.topology import Backend, HealthCheck, LoadBalancer, Topology, Vip

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

CLIENT_MAC, ROUTER_MAC, OWN_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:fa"
SERVER_MACS = {1: "02:00:00:00:01:01", 2: "02:00:00:00:01:02"}
VIP, CLIENT = "192.0.2.80", "198.51.100.7"
DATA = b"0123456789abcdef" * 2


def backends(*weights: int, port: int | None = 8080) -> tuple[Backend, ...]:
    """Backends 10.0.0.1, 10.0.0.2 ... with these weights."""
    return tuple(
        Backend(ip_address(f"10.0.0.{n}"), port, weight) for n, weight in enumerate(weights, 1)
    )


def vip(*weights: int, affinity_s: int = 0) -> Vip:
    """The VIP's port 80 of TCP."""
    return Vip(ip_address(VIP), 80, "tcp", backends(*weights), affinity_s)


def balancer(*vips: Vip) -> Topology:
    """Without an address of its own: whoever is behind it finds the way."""
    return chain({"lb": LoadBalancer(vips, "wire0", "wire1")}, ["lb", "lb"])


def on_link(*vips: Vip) -> Topology:
    """With an address in the backends' network."""
    config = LoadBalancer(vips, "wire0", "wire1", IPv4Interface("10.0.0.250/24"), OWN_MAC)
    return chain({"lb": config}, ["lb", "lb"])


def request(packet: Packet, destination: str = ROUTER_MAC) -> bytes:
    """A frame of the client's, or as it goes on to the servers."""
    return bytes(Ether(src=CLIENT_MAC, dst=destination) / packet)


def answer(packet: Packet) -> bytes:
    """A frame of the servers', or as it goes on to the client."""
    return bytes(Ether(src=ROUTER_MAC, dst=CLIENT_MAC) / packet)


def syn(port: int = 4000, client: str = CLIENT) -> Packet:
    """A client's first segment."""
    return IP(src=client, dst=VIP) / TCP(sport=port, dport=80, flags="S", seq=1)


def chosen(rig: ChainRig, packet: Packet) -> str:
    """The backend that a new connection gets; nothing else of the frame is changed but the port."""
    (frame,) = rig.send(0, request(packet))[1]
    got = Ether(frame)
    expected = packet.copy()
    expected[IP].dst, expected[TCP].dport = got[IP].dst, 8080
    assert frame == request(expected)
    return str(got[IP].dst)


def test_a_connection_keeps_its_backend_and_answers_come_from_the_vip(rig: ChainRig) -> None:
    """Both ways, byte for byte."""
    rig.fresh(balancer(vip(1, 1, 1)))
    backend = chosen(rig, syn())
    assert {chosen(rig, syn()) for _ in range(5)} == {backend}
    back = TCP(sport=8080, dport=4000, flags="SA", seq=5, ack=2)
    seen = TCP(sport=80, dport=4000, flags="SA", seq=5, ack=2)
    for _again in range(2):
        assert rig.send(1, answer(IP(src=backend, dst=CLIENT) / back)) == {
            0: [answer(IP(src=VIP, dst=CLIENT) / seen)]
        }
    go_on = IP(src=CLIENT, dst=VIP) / TCP(sport=4000, dport=80, flags="A", seq=2, ack=6)
    assert chosen(rig, go_on) == backend


def test_weights_are_shares_of_new_connections(rig: ChainRig) -> None:
    """3 to 1, as well as a hash can."""
    rig.fresh(balancer(vip(3, 1)))
    found = Counter(chosen(rig, syn(port)) for port in range(2000, 2400))
    assert found.keys() == {"10.0.0.1", "10.0.0.2"}
    assert 0.65 < found["10.0.0.1"] / 400 < 0.85


def test_affinity_sends_a_client_where_it_was(rig: ChainRig) -> None:
    """From whichever port; other clients go elsewhere."""
    rig.fresh(balancer(vip(1, 1, 1, 1, affinity_s=60)))
    one = {chosen(rig, syn(port)) for port in range(3000, 3020)}
    assert len(one) == 1
    others = {chosen(rig, syn(3000, f"198.51.100.{n}")) for n in range(10, 60)}
    assert len(others) > 1


def test_what_is_for_no_service_is_refused(rig: ChainRig) -> None:
    """At the VIP: resets, unreachable ports; elsewhere everything passes untouched."""
    rig.fresh(balancer(vip(1)))
    (frame,) = rig.send(0, request(IP(src=CLIENT, dst=VIP) / TCP(dport=81, flags="S")))[0]
    assert (Ether(frame)[TCP].flags, Ether(frame)[IP].src) == ("RA", VIP)
    (frame,) = rig.send(0, request(IP(src=CLIENT, dst=VIP) / UDP(dport=80) / DATA))[0]
    assert (Ether(frame)[ICMP].type, Ether(frame)[UDPerror].dport) == (3, 80)
    data = request(IP(src=CLIENT, dst="10.0.0.1") / TCP(dport=8080, flags="S"))
    assert rig.always(0, data) == {1: [data]}
    data = answer(IP(src="10.0.0.1", dst=CLIENT) / UDP(dport=9) / DATA)
    assert rig.always(1, data) == {0: [data]}


def test_errors_of_the_backend_are_translated(rig: ChainRig) -> None:
    """With the packet that they quote."""
    service = Vip(ip_address(VIP), 53, "udp", backends(1, port=5353))
    rig.fresh(balancer(service))
    asked = IP(src=CLIENT, dst=VIP) / UDP(sport=4000, dport=53) / DATA
    given = IP(src=CLIENT, dst="10.0.0.1") / UDP(sport=4000, dport=5353) / DATA
    assert rig.send(0, request(asked)) == {1: [request(given)]}
    error = ICMP(type=3, code=3)
    assert rig.send(1, answer(IP(src="10.0.0.1", dst=CLIENT) / error / given)) == {
        0: [answer(IP(src=VIP, dst=CLIENT) / error / asked)]
    }


def test_a_vip_answers_echo(rig: ChainRig) -> None:
    """The load balancer itself is there."""
    rig.fresh(balancer(vip(1)))
    (frame,) = rig.send(0, request(IP(src=CLIENT, dst=VIP) / ICMP(id=9) / DATA))[0]
    assert (Ether(frame)[IP].src, Ether(frame)[ICMP].type) == (VIP, 0)


def test_on_its_own_link_it_asks_for_the_backend(rig: ChainRig) -> None:
    """The first packet waits; the client's frames come to the load balancer's MAC address."""
    service = replace(vip(1), ip=ip_address("10.0.0.100"))
    rig.fresh(on_link(service))
    client = "10.0.0.9"
    asked = Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc=CLIENT_MAC, psrc=client, pdst="10.0.0.100"
    )
    (frame,) = rig.send(0, bytes(asked))[0]
    assert (Ether(frame)[ARP].op, Ether(frame)[ARP].hwsrc) == (2, OWN_MAC)
    first = IP(src=client, dst="10.0.0.100") / TCP(sport=4000, dport=80, flags="S")
    (frame,) = rig.send(0, request(first, OWN_MAC))[1]
    question = Ether(frame)[ARP]
    assert (question.op, question.psrc, question.pdst) == (1, "10.0.0.250", "10.0.0.1")
    reply = Ether(src=SERVER_MACS[1], dst=OWN_MAC) / ARP(
        op=2, hwsrc=SERVER_MACS[1], psrc="10.0.0.1", hwdst=OWN_MAC, pdst="10.0.0.250"
    )
    given = IP(src=client, dst="10.0.0.1") / TCP(sport=4000, dport=8080, flags="S")
    assert rig.send(1, bytes(reply)) == {1: [request(given, SERVER_MACS[1])]}
    assert rig.send(0, request(first, OWN_MAC)) == {1: [request(given, SERVER_MACS[1])]}


def test_ipv6_vip(rig: ChainRig) -> None:
    """Neighbour discovery, translation both ways."""
    service = Vip(
        ip_address("fd00::80"), 80, "tcp", (Backend(ip_address("fd00::1"), 8080),)
    )  # fmt: skip
    config = LoadBalancer(
        (service,), "wire0", "wire1", IPv6Interface("fd00::fa/64"), OWN_MAC
    )  # fmt: skip
    rig.fresh(chain({"lb": config}, ["lb", "lb"]))
    asked = (
        Ether(src=CLIENT_MAC, dst="33:33:ff:00:00:80")
        / IPv6(src="fd00::9", dst="ff02::1:ff00:80", hlim=255)
        / ICMPv6ND_NS(tgt="fd00::80") / ICMPv6NDOptSrcLLAddr(lladdr=CLIENT_MAC)
    )  # fmt: skip
    (frame,) = rig.send(0, bytes(asked))[0]
    assert Ether(frame)[ICMPv6ND_NA].tgt == "fd00::80"
    assert Ether(frame).src == OWN_MAC
    first = IPv6(src="fd00::9", dst="fd00::80") / TCP(sport=4000, dport=80, flags="S")
    (frame,) = rig.send(0, request(first, OWN_MAC))[1]
    assert Ether(frame)[ICMPv6ND_NS].tgt == "fd00::1"


def test_dead_backends_get_no_new_connections_and_probes_find_them(rig: ChainRig) -> None:
    """A probe goes to each; who refuses it is left out, what is established stays."""
    check = HealthCheck(interval_s=5, timeout_s=3, success_count=1, failure_count=1)
    rig.fresh(on_link(replace(vip(1, 1), health_check=check)))
    checker = rig.chain.health._checker
    for state in checker._states.values():
        state.next_probe = 1e11  # when the test says so
    for number, mac in SERVER_MACS.items():
        known = ARP(op=2, hwsrc=mac, psrc=f"10.0.0.{number}", hwdst=OWN_MAC, pdst="10.0.0.250")
        rig.send(1, bytes(Ether(src=mac, dst=OWN_MAC) / known))
    assert {chosen(rig, syn(port)) for port in range(2000, 2020)} == {"10.0.0.1", "10.0.0.2"}
    checker.run(1e12)
    probes = [Ether(frame) for frame in rig.received()[1]]
    assert {(p[IP].dst, p.dst) for p in probes} == {
        (f"10.0.0.{number}", mac) for number, mac in SERVER_MACS.items()
    }
    probe = next(p for p in probes if p[IP].dst == "10.0.0.1")
    assert (probe.src, probe[IP].src, probe[TCP].flags) == (OWN_MAC, "10.0.0.250", "S")
    reset = IP(src="10.0.0.1", dst="10.0.0.250") / TCP(
        sport=probe[TCP].dport, dport=probe[TCP].sport, flags="RA", ack=probe[TCP].seq + 1
    )
    rig.send(1, bytes(Ether(src=SERVER_MACS[1], dst=OWN_MAC) / reset))
    assert {b.ip: b.is_alive for b in rig.chain.health.backends()} == {
        "10.0.0.1": False, "10.0.0.2": True,
    }  # fmt: skip
    assert {chosen(rig, syn(port)) for port in range(6000, 6020)} == {"10.0.0.2"}
    assert {chosen(rig, syn(port)) for port in range(2000, 2020)} == {"10.0.0.1", "10.0.0.2"}

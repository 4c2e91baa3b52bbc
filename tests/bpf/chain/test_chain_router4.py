# SPDX-License-Identifier: Apache-2.0
"""The router module and IPv4, frame by frame."""

import time
from ipaddress import IPv4Address, IPv4Network, ip_interface
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from chain_frames import arrives, host_mac, known, leaves, one_router, route, router_mac
from chain_rig import ChainRig, chain
from iovisor_ovn.abi import STRUCTS
from iovisor_ovn.config.topology import Router, RouterInterface

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

N_PORTS = 4
MTU = 1000  # of port 2


INTERFACES = (
    RouterInterface("wire0", (ip_interface("10.0.0.1/24"),), router_mac(0)),
    RouterInterface("wire1", (ip_interface("10.0.1.1/24"),), router_mac(1)),
    RouterInterface("wire2", (ip_interface("10.0.2.1/24"),), router_mac(2), MTU),
    RouterInterface("wire3", (), router_mac(3)),
)
ROUTER = Router(
    INTERFACES,
    (
        route("192.168.0.0/16", 1, "10.0.1.2"),
        route("192.168.5.0/24", 2, "10.0.2.2"),
        route("192.168.5.64/26", 0, "10.0.0.2"),
        route("10.0.1.128/25", 2, "10.0.2.3"),
        route("172.16.0.0/16", 3),
        route("172.17.0.0/16", 3, "172.30.0.9"),
    ),
    (
        known("10.0.0.2", 0), known("10.0.1.2", 1), known("10.0.1.3", 1, 3),
        known("10.0.2.2", 2), known("10.0.2.3", 2, 3), known("172.16.0.2", 3),
    ),
)  # fmt: skip
DATA = b"0123456789abcdef" * 3


@pytest.fixture
def router(rig: ChainRig) -> ChainRig:
    """The router of this file."""
    rig.fresh(one_router(ROUTER))
    return rig


def forwarded(packet: Packet) -> Packet:
    """The packet after a hop."""
    after = IP(bytes(packet))
    after.ttl -= 1
    del after.chksum
    return after


def error(packet: Packet, kind: int, code: int, source: str, mtu: int = 0) -> Packet:
    """The ICMP error about a packet: 576 octets with the Ethernet header, as OVN's."""
    quoted = bytes(packet)[: 576 - 14 - 20 - 8]
    head = IP(src=source, dst=packet[IP].src, ttl=254, id=0, flags="DF")
    return head / ICMP(type=kind, code=code, nexthopmtu=mtu) / Raw(quoted)


def udp(src: str, dst: str, **fields: Any) -> Packet:
    """A datagram."""
    return IP(src=src, dst=dst, **fields) / UDP(sport=1000, dport=2000) / DATA


# -- forwarding ----------------------------------------------------------------------------

FORWARDED = [
    ("to a host of a connected network", udp("10.0.0.2", "10.0.1.2"), 1, 2),
    ("to another host there", udp("10.0.0.2", "10.0.1.3"), 1, 3),
    ("by a route with next hop", udp("10.0.0.2", "192.168.1.1"), 1, 2),
    ("by the longer prefix", udp("10.0.0.2", "192.168.5.1"), 2, 2),
    ("by the longest prefix, back where it came from", udp("10.0.0.2", "192.168.5.65"), 0, 2),
    ("by a static route within a connected network", udp("10.0.0.2", "10.0.1.200"), 2, 3),
    ("by a route on link", udp("10.0.0.2", "172.16.0.2"), 3, 2),
    ("TCP", IP(src="10.0.0.2", dst="10.0.1.2") / TCP(sport=5, dport=6) / DATA, 1, 2),
    ("ICMP error that passes",
     IP(src="10.0.0.2", dst="10.0.1.2") / ICMP(type=3, code=1) / udp("10.0.1.2", "10.0.9.9"), 1, 2),
    ("unknown protocol", IP(src="10.0.0.2", dst="10.0.1.2", proto=253) / Raw(DATA), 1, 2),
    ("TTL 2", udp("10.0.0.2", "10.0.1.2", ttl=2), 1, 2),
    ("TTL 255", udp("10.0.0.2", "10.0.1.2", ttl=255), 1, 2),
    ("options", IP(src="10.0.0.2", dst="10.0.1.2", options=[IPOption_RR(pointer=16)])
     / UDP() / DATA, 1, 2),
    ("first fragment", udp("10.0.0.2", "10.0.1.2", flags="MF", id=7), 1, 2),
    ("later fragment", IP(src="10.0.0.2", dst="10.0.1.2", frag=9, proto=17, id=7)
     / Raw(DATA), 1, 2),
    ("don't fragment", udp("10.0.0.2", "10.0.1.2", flags="DF"), 1, 2),
    ("TOS and ECN", udp("10.0.0.2", "10.0.1.2", tos=0xBB), 1, 2),
    ("source that is routed elsewhere", udp("8.8.8.8", "10.0.1.2"), 1, 2),
    ("UDP without checksum", IP(src="10.0.0.2", dst="10.0.1.2") / UDP(chksum=0) / DATA, 1, 2),
    ("as long as the MTU", IP(src="10.0.0.2", dst="10.0.2.2", flags="DF")
     / UDP() / (b"m" * (MTU - 28)), 2, 2),
    ("longer than any MTU elsewhere", IP(src="10.0.0.2", dst="10.0.1.2") / UDP() / (b"m" * 1400),
     1, 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("packet", "port", "number"), [row[1:] for row in FORWARDED], ids=[row[0] for row in FORWARDED]
)
def test_packet_is_forwarded(router: ChainRig, packet: Packet, port: int, number: int) -> None:
    """TTL and checksum are those after a hop, all else is as it was."""
    expected = leaves(port, forwarded(packet), number)
    assert router.always(0, arrives(0, packet)) == {port: [expected]}


def test_header_checksum_follows_the_ttl(router: ChainRig) -> None:
    """Also where the difference carries, or the sum becomes 0 or 0xffff (RFC 1624)."""
    sums = set()
    for ident in range(0, 65536, 255):
        packet = IP(bytes(udp("10.0.0.2", "10.0.1.2", ttl=64 + ident % 3, id=ident)))
        after = forwarded(packet)
        sums.add(IP(bytes(after)).chksum)
        assert router.send(0, arrives(0, packet)) == {1: [leaves(1, after)]}
    base = int(IP(bytes(udp("10.0.0.2", "10.0.1.2", id=0))).chksum)
    for ident in (base - 1, base, base + 1, base + 255, base + 256, base + 257):
        packet = IP(bytes(udp("10.0.0.2", "10.0.1.2", id=ident & 0xFFFF)))
        sums |= {packet.chksum}
        assert router.send(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet))]}
    assert {0, 0xFFFF} & sums


@pytest.mark.parametrize("seed", range(6))
def test_longest_prefix_wins_in_any_order(rig: ChainRig, seed: int) -> None:
    """Random tables and destinations, compared with a search through all prefixes."""
    random = Random(seed)
    networks = {IPv4Network("0.0.0.0/0")} if seed % 2 else set()
    while len(networks) < 40:
        length = random.choice((4, 8, 9, 12, 15, 16, 17, 20, 23, 24, 25, 28, 30, 31, 32))
        # Few leading octets, so that prefixes lie within each other.
        address = random.choice((0x14000000, 0x14140000, 0x14141400)) | random.getrandbits(10)
        networks.add(IPv4Network((address, length), strict=False))
    table = {network: random.randrange(3) for network in networks}
    routes = [route(str(network), port, f"10.0.{port}.2") for network, port in table.items()]
    random.shuffle(routes)
    rig.fresh(one_router(Router(INTERFACES, tuple(routes), ROUTER.arp_entries)))
    ends = [address for n in networks for address in (n[0], n[-1], n[0] - 1 if int(n[0]) else n[0])]
    ends += [IPv4Address(0x14000000 | random.getrandbits(24)) for _ in range(20)]
    for destination in ends:
        if destination.is_multicast or int(destination) >> 24 in (0, 127, 255):
            continue
        inside = [network for network in table if destination in network]
        packet = udp("10.0.0.2", str(destination))
        if inside:
            port = table[max(inside, key=lambda network: network.prefixlen)]
            expected = {port: [leaves(port, forwarded(packet))]}
        else:
            expected = {0: [leaves(0, error(packet, 3, 0, "10.0.0.1"))]}
        assert rig.send(0, arrives(0, packet)) == expected, destination


def test_connected_network_beats_a_static_route_of_its_length(rig: ChainRig) -> None:
    """Whatever the file says first."""
    routes = (route("10.0.1.0/24", 2, "10.0.2.2"),)
    rig.fresh(one_router(Router(INTERFACES, routes, ROUTER.arp_entries)))
    packet = udp("10.0.0.2", "10.0.1.2")
    assert rig.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet))]}


# -- packets that end here -------------------------------------------------------------------

ENDS = [
    ("another's MAC address", bytes(Ether(src=host_mac(0), dst="02:00:00:00:00:99")
     / udp("10.0.0.2", "10.0.1.2"))),
    ("broadcast frame with a unicast packet", bytes(Ether(src=host_mac(0), dst="ff:ff:ff:ff:ff:ff")
     / udp("10.0.0.2", "10.0.1.2"))),
    ("echo request in a broadcast frame", bytes(Ether(src=host_mac(0), dst="ff:ff:ff:ff:ff:ff")
     / IP(src="10.0.0.2", dst="10.0.0.1") / ICMP())),
    ("source that is a group's MAC", bytes(Ether(src="03:00:00:00:00:02", dst=router_mac(0))
     / udp("10.0.0.2", "10.0.1.2"))),
    ("VLAN tag", bytes(Ether(src=host_mac(0), dst=router_mac(0)) / Dot1Q(vlan=5)
     / udp("10.0.0.2", "10.0.1.2"))),
    ("unknown ethertype", bytes(Ether(src=host_mac(0), dst=router_mac(0), type=0x88B6)
     / Raw(DATA))),
    *((what, arrives(0, udp(src, dst))) for what, src, dst in (
        ("router's own source", "10.0.0.1", "10.0.1.2"),
        ("router's own source of another port", "10.0.1.1", "10.0.1.2"),
        ("router's own source to itself", "10.0.0.1", "10.0.0.1"),
        ("loopback source", "127.0.0.1", "10.0.1.2"),
        ("loopback destination", "10.0.0.2", "127.0.0.1"),
        ("source on network 0", "0.0.0.0", "10.0.1.2"),
        ("destination on network 0", "10.0.0.2", "0.1.2.3"),
        ("multicast source", "224.0.0.1", "10.0.1.2"),
        ("broadcast source", "255.255.255.255", "10.0.1.2"),
        ("source that is a network's broadcast", "10.0.0.255", "10.0.1.2"),
        ("multicast destination in a unicast frame", "10.0.0.2", "224.0.0.5"),
        ("limited broadcast in a unicast frame", "10.0.0.2", "255.255.255.255"),
        ("directed broadcast of another network", "10.0.0.2", "10.0.1.255"),
        ("directed broadcast of its network", "10.0.0.2", "10.0.0.255"),
    )),
    ("multicast", bytes(Ether(src=host_mac(0), dst="01:00:5e:00:00:05")
     / udp("10.0.0.2", "224.0.0.5"))),
    ("limited broadcast", bytes(Ether(src=host_mac(0), dst="ff:ff:ff:ff:ff:ff")
     / udp("10.0.0.2", "255.255.255.255"))),
    ("DHCP", bytes(Ether(src=host_mac(0), dst="ff:ff:ff:ff:ff:ff")
     / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / DATA)),
    ("TTL 1 of a directed broadcast", arrives(0, udp("10.0.0.2", "10.0.1.255", ttl=1))),
    *((f"TTL 1 of ICMP type {kind}", arrives(0, IP(src="10.0.0.2", dst="10.0.1.2", ttl=1)
       / ICMP(type=kind) / udp("10.0.1.2", "10.0.0.2"))) for kind in (3, 4, 5, 11, 12)),
    ("TTL 1 of a later fragment", arrives(0, IP(src="10.0.0.2", dst="10.0.1.2", ttl=1, frag=9,
     proto=17) / Raw(DATA))),
    ("no route for an ICMP error", arrives(0, IP(src="10.0.0.2", dst="9.9.9.9")
     / ICMP(type=11) / udp("9.9.9.9", "10.0.0.2"))),
    ("no route for a later fragment", arrives(0, IP(src="10.0.0.2", dst="9.9.9.9", frag=9,
     proto=17) / Raw(DATA))),
    ("no route for a sender that has none either", arrives(0, udp("9.9.9.8", "9.9.9.9"))),
    ("later fragment for the router", arrives(0, IP(src="10.0.0.2", dst="10.0.0.1", frag=9,
     proto=17) / Raw(DATA))),
    ("fragment of an echo request", arrives(0, IP(src="10.0.0.2", dst="10.0.0.1", flags="MF")
     / ICMP() / DATA)),
    ("echo reply for the router", arrives(0, IP(src="10.0.0.2", dst="10.0.0.1")
     / ICMP(type=0) / DATA)),
    ("ICMP error for the router", arrives(0, IP(src="10.0.0.2", dst="10.0.0.1")
     / ICMP(type=3, code=1) / udp("10.0.0.1", "10.0.0.2"))),
    ("timestamp request", arrives(0, IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=13))),
    ("TCP reset for the router", arrives(0, IP(src="10.0.0.2", dst="10.0.0.1")
     / TCP(flags="R"))),
]  # fmt: skip


@pytest.mark.parametrize("data", [row[1] for row in ENDS], ids=[row[0] for row in ENDS])
def test_packet_ends_without_a_word(router: ChainRig, data: bytes) -> None:
    """Neither forwarded nor answered."""
    assert router.always(0, data) == {}


# -- answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("own", ["10.0.0.1", "10.0.1.1", "10.0.2.1"])
@pytest.mark.parametrize("ttl", [64, 1])
def test_router_answers_echo_on_every_address_from_every_side(
    router: ChainRig, own: str, ttl: int
) -> None:
    """From the address that was asked, with all data, TTL notwithstanding."""
    for port in range(3):
        asker = f"10.0.{port}.2"
        echo = ICMP(id=9, seq=3) / DATA
        packet = IP(src=asker, dst=own, ttl=ttl, id=77, tos=4) / echo
        answer = IP(src=own, dst=asker, ttl=254, id=77, tos=4) / ICMP(type=0, id=9, seq=3) / DATA
        assert router.always(port, arrives(port, packet)) == {port: [leaves(port, answer)]}


def test_echo_is_answered_by_the_route_to_the_asker(router: ChainRig) -> None:
    """Not necessarily where the question came from."""
    packet = IP(src="192.168.1.1", dst="10.0.0.1") / ICMP(id=1, seq=1) / DATA
    answer = IP(src="10.0.0.1", dst="192.168.1.1", ttl=254) / ICMP(type=0, id=1, seq=1) / DATA
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, answer)]}


ERRORS = [
    ("TTL 1", udp("10.0.0.2", "10.0.1.2", ttl=1), 11, 0, "10.0.0.1", 0),
    ("TTL 0", udp("10.0.0.2", "10.0.1.2", ttl=0), 11, 0, "10.0.0.1", 0),
    ("TTL 1, TCP", IP(src="10.0.0.2", dst="10.0.1.2", ttl=1) / TCP() / DATA, 11, 0, "10.0.0.1", 0),
    ("TTL 1, echo request", IP(src="10.0.0.2", dst="10.0.1.2", ttl=1) / ICMP(id=4) / DATA, 11, 0,
     "10.0.0.1", 0),
    ("TTL 1, first fragment", udp("10.0.0.2", "10.0.1.2", ttl=1, flags="MF"), 11, 0, "10.0.0.1", 0),
    ("TTL 1, options", IP(src="10.0.0.2", dst="10.0.1.2", ttl=1, options=[IPOption_RR(pointer=16)])
     / UDP() / DATA, 11, 0, "10.0.0.1", 0),
    ("TTL 1, long", IP(src="10.0.0.2", dst="10.0.1.2", ttl=1) / UDP() / (b"q" * 900), 11, 0,
     "10.0.0.1", 0),
    ("no route", udp("10.0.0.2", "9.9.9.9"), 3, 0, "10.0.0.1", 0),
    ("no route, echo request", IP(src="10.0.0.2", dst="9.9.9.9") / ICMP(id=3) / DATA, 3, 0,
     "10.0.0.1", 0),
    ("closed UDP port", udp("10.0.0.2", "10.0.0.1"), 3, 3, "10.0.0.1", 0),
    ("closed UDP port of another side's address", udp("10.0.0.2", "10.0.2.1"), 3, 3, "10.0.2.1", 0),
    ("closed UDP port, TTL 1", udp("10.0.0.2", "10.0.0.1", ttl=1), 3, 3, "10.0.0.1", 0),
    ("unknown protocol", IP(src="10.0.0.2", dst="10.0.0.1", proto=253) / Raw(DATA), 3, 2,
     "10.0.0.1", 0),
    ("SCTP", IP(src="10.0.0.2", dst="10.0.0.1") / SCTP(sport=1, dport=2), 3, 2, "10.0.0.1", 0),
    ("too long, don't fragment", IP(src="10.0.0.2", dst="10.0.2.2", flags="DF")
     / UDP() / (b"m" * (MTU - 27)), 3, 4, "10.0.0.1", MTU),
    ("too long, may be fragmented", IP(src="10.0.0.2", dst="10.0.2.2")
     / UDP() / (b"m" * 1200), 3, 4, "10.0.0.1", MTU),
]  # fmt: skip


@pytest.mark.parametrize(
    ("packet", "kind", "code", "source", "mtu"),
    [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS],
)  # fmt: skip
def test_sender_is_told(
    router: ChainRig, packet: Packet, kind: int, code: int, source: str, mtu: int
) -> None:
    """The address of the port that the packet came by, or that it was sent to; its bytes."""
    quoted = packet
    if kind == 3 and code == 4:
        quoted = forwarded(packet)
    answer = error(quoted, kind, code, source, mtu)
    assert router.always(0, arrives(0, packet)) == {0: [leaves(0, answer)]}


def test_error_takes_the_route_to_the_sender(router: ChainRig) -> None:
    """Its source is the address of the port that the packet came by all the same."""
    packet = udp("192.168.1.1", "10.0.1.2", ttl=1)
    answer = error(packet, 11, 0, "10.0.0.1")
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, answer)]}


def test_port_without_an_address_speaks_with_another_s(router: ChainRig) -> None:
    """RFC 1812, 4.3.2.4: an unnumbered interface's router id."""
    packet = udp("172.16.0.2", "9.9.9.9")
    answer = error(packet, 3, 0, "10.0.0.1")
    assert router.always(3, arrives(3, packet)) == {3: [leaves(3, answer)]}


def test_tcp_for_the_router_is_reset(router: ChainRig) -> None:
    """A SYN is acknowledged (RFC 9293, 3.10.7.1)."""
    for own in ("10.0.0.1", "10.0.1.1"):
        syn = TCP(sport=4000, dport=22, seq=100, flags="S")
        head = IP(src="10.0.0.2", dst=own)
        (out,) = router.always(0, arrives(0, head / syn))[0]
        answer = Ether(out)
        assert (answer[IP].src, answer[IP].dst) == (own, "10.0.0.2")
        tcp = answer[TCP]
        assert (tcp.sport, tcp.dport, tcp.seq, tcp.ack, str(tcp.flags)) == (22, 4000, 0, 101, "RA")
        _assert_sums(answer)


def _assert_sums(packet: Packet) -> None:
    again = Ether(bytes(packet))
    del again[IP].chksum
    del again[TCP].chksum
    assert bytes(again) == bytes(packet)


def test_echo_reply_too_long_for_its_way_ends(router: ChainRig) -> None:
    """The router cannot cut it, and tells nobody: it would be itself."""
    packet = IP(src="10.0.2.2", dst="10.0.0.1") / ICMP() / (b"m" * 1200)
    assert router.always(2, arrives(2, packet)) == {}


# -- ARP -------------------------------------------------------------------------------------


def request(port: int, spa: str, tpa: str, number: int = 2, sha: str | None = None) -> bytes:
    """A broadcast ARP request of a host."""
    mac = sha or host_mac(port, number)
    return bytes(Ether(src=host_mac(port, number), dst="ff:ff:ff:ff:ff:ff")
                 / ARP(op=1, hwsrc=mac, psrc=spa, hwdst="00:00:00:00:00:00", pdst=tpa))  # fmt: skip


def reply(port: int, spa: str, tpa: str, number: int = 2, sha: str | None = None) -> bytes:
    """An ARP reply of a host to the router."""
    mac = sha or host_mac(port, number)
    return bytes(Ether(src=host_mac(port, number), dst=router_mac(port))
                 / ARP(op=2, hwsrc=mac, psrc=spa, hwdst=router_mac(port), pdst=tpa))  # fmt: skip


def asks(port: int, spa: str, tpa: str) -> bytes:
    """The router's ARP request."""
    return bytes(Ether(src=router_mac(port), dst="ff:ff:ff:ff:ff:ff")
                 / ARP(op=1, hwsrc=router_mac(port), psrc=spa, hwdst="00:00:00:00:00:00",
                       pdst=tpa))  # fmt: skip


def answers(port: int, spa: str, tpa: str, number: int = 2) -> bytes:
    """The router's ARP reply."""
    return bytes(Ether(src=router_mac(port), dst=host_mac(port, number))
                 / ARP(op=2, hwsrc=router_mac(port), psrc=spa, hwdst=host_mac(port, number),
                       pdst=tpa))  # fmt: skip


def test_router_answers_arp_for_its_address_on_that_side(router: ChainRig) -> None:
    """Requests and probes, in broadcast and unicast frames; for no other address."""
    assert router.always(0, request(0, "10.0.0.2", "10.0.0.1")) == {
        0: [answers(0, "10.0.0.1", "10.0.0.2")]
    }
    assert router.always(0, request(0, "0.0.0.0", "10.0.0.1")) == {
        0: [answers(0, "10.0.0.1", "0.0.0.0")]
    }
    unicast = router_mac_bytes(0) + request(0, "10.0.0.2", "10.0.0.1")[6:]
    assert router.always(0, unicast) == {0: [answers(0, "10.0.0.1", "10.0.0.2")]}
    assert router.always(0, request(0, "10.0.0.2", "10.0.1.1")) == {}
    assert router.always(0, request(0, "10.0.0.2", "10.0.0.7")) == {}
    # The port without an address speaks with the first port's.
    assert router.always(3, request(3, "172.16.0.2", "10.0.0.1")) == {
        3: [answers(3, "10.0.0.1", "172.16.0.2")]
    }


def router_mac_bytes(port: int) -> bytes:
    """The router's MAC address on a port, as bytes."""
    return bytes.fromhex(router_mac(port).replace(":", ""))


def test_packet_waits_for_its_neighbour(router: ChainRig) -> None:
    """The request is sent at once; the answer lets the packet go, and the next need none."""
    packet = udp("10.0.0.2", "10.0.1.77")
    assert router.send(0, arrives(0, packet)) == {1: [asks(1, "10.0.1.1", "10.0.1.77")]}
    expected = leaves(1, forwarded(packet), 77)
    assert router.send(1, reply(1, "10.0.1.77", "10.0.1.1", 77)) == {1: [expected]}
    assert router.always(0, arrives(0, packet)) == {1: [expected]}


def test_burst_waits_and_asks_once(router: ChainRig) -> None:
    """All of it leaves in order; the question is asked once, for each next hop."""
    burst = [udp("10.0.0.2", "10.0.1.77", id=number) for number in range(50)]
    sent = [router.send(0, arrives(0, packet)) for packet in burst]
    assert sent == [{1: [asks(1, "10.0.1.1", "10.0.1.77")]}, *[{}] * 49]
    other = udp("10.0.0.2", "10.0.1.78")
    assert router.send(0, arrives(0, other)) == {1: [asks(1, "10.0.1.1", "10.0.1.78")]}
    expected = [leaves(1, forwarded(packet), 77) for packet in burst]
    assert router.send(1, reply(1, "10.0.1.77", "10.0.1.1", 77)) == {1: expected}


def test_router_asks_with_the_address_of_its_port(router: ChainRig) -> None:
    """For a next hop, for the destination itself on link, with another port's if it has none."""
    for destination, port, spa, tpa in (
        ("172.16.3.4", 3, "10.0.0.1", "172.16.3.4"),
        ("172.17.3.4", 3, "10.0.0.1", "172.30.0.9"),
        ("10.0.2.9", 2, "10.0.2.1", "10.0.2.9"),
    ):
        packet = udp("10.0.0.2", destination)
        assert router.send(0, arrives(0, packet)) == {port: [asks(port, spa, tpa)]}
        assert router.send(port, reply(port, tpa, spa, 9)) == {
            port: [leaves(port, forwarded(packet), 9)]
        }


def test_default_route_on_link_asks_for_the_destination(rig: ChainRig) -> None:
    """As the archived project's file has it, with NAT or a proxy behind."""
    rig.fresh(one_router(Router(INTERFACES, (route("0.0.0.0/0", 1),), ROUTER.arp_entries)))
    packet = udp("10.0.0.2", "8.8.8.8")
    assert rig.send(0, arrives(0, packet)) == {1: [asks(1, "10.0.1.1", "8.8.8.8")]}
    assert rig.send(1, reply(1, "8.8.8.8", "10.0.1.1", 3)) == {1: [leaves(1, forwarded(packet), 3)]}


NOT_LEARNED = [
    ("request for another", request(1, "10.0.1.77", "10.0.1.9", 77)),
    ("gratuitous", request(1, "10.0.1.77", "10.0.1.77", 77)),
    ("probe", request(1, "0.0.0.0", "10.0.1.77", 77)),
    ("reply to another", reply(1, "10.0.1.77", "10.0.1.9", 77)),
    ("group as its MAC address", reply(1, "10.0.1.77", "10.0.1.1", 77, sha="03:00:00:00:00:01")),
    ("broadcast as its MAC address",
     reply(1, "10.0.1.77", "10.0.1.1", 77, sha="ff:ff:ff:ff:ff:ff")),
    ("no MAC address", reply(1, "10.0.1.77", "10.0.1.1", 77, sha="00:00:00:00:00:00")),
    ("RARP", bytes(Ether(src=host_mac(1, 77), dst=router_mac(1))
     / ARP(op=4, hwsrc=host_mac(1, 77), psrc="10.0.1.77", pdst="10.0.1.1"))),
]  # fmt: skip


@pytest.mark.parametrize("data", [row[1] for row in NOT_LEARNED], ids=[r[0] for r in NOT_LEARNED])
def test_stranger_is_not_learned(router: ChainRig, data: bytes) -> None:
    """RFC 826: only who speaks to us becomes an entry."""
    router.send(1, data)
    packet = udp("10.0.0.2", "10.0.1.77")
    assert router.send(0, arrives(0, packet)) == {1: [asks(1, "10.0.1.1", "10.0.1.77")]}


@pytest.mark.parametrize(("what", "port"), [("10.0.2.77", 1), ("10.0.1.1", 0), ("10.0.0.1", 0)])
def test_neighbour_is_believed_only_on_its_link(router: ChainRig, what: str, port: int) -> None:
    """An address of another link, or the router's own, said by anyone."""
    before = len(router.machine.maps["neighbours"].keys())
    router.send(port, reply(port, what, f"10.0.{port}.1", 66))
    assert len(router.machine.maps["neighbours"].keys()) == before


def test_request_teaches(router: ChainRig) -> None:
    """Who asks for us will be answered."""
    router.send(1, request(1, "10.0.1.77", "10.0.1.1", 77))
    packet = udp("10.0.0.2", "10.0.1.77")
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 77)]}


@pytest.mark.parametrize("news", ["request for another", "gratuitous", "reply to another"])
def test_neighbour_that_changed_is_followed(router: ChainRig, news: str) -> None:
    """RFC 826: what is known is changed by whatever its owner says."""
    router.send(1, request(1, "10.0.1.77", "10.0.1.1", 78))
    router.send(1, dict(NOT_LEARNED)[news])
    packet = udp("10.0.0.2", "10.0.1.77")
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 77)]}


def test_configured_neighbour_is_not_changed(router: ChainRig) -> None:
    """Whatever it says."""
    router.send(1, reply(1, "10.0.1.2", "10.0.1.1", 66))
    packet = udp("10.0.0.2", "10.0.1.2")
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 2)]}


def test_error_waits_for_its_receiver_too(router: ChainRig) -> None:
    """An answer to a neighbour that is not known yet."""
    packet = udp("10.0.0.77", "9.9.9.9")
    assert router.send(0, arrives(0, packet, 77)) == {0: [asks(0, "10.0.0.1", "10.0.0.77")]}
    answer = error(packet, 3, 0, "10.0.0.1")
    assert router.send(0, reply(0, "10.0.0.77", "10.0.0.1", 77)) == {0: [leaves(0, answer, 77)]}


def test_neighbours_of_a_port_that_goes_are_forgotten(rig: ChainRig) -> None:
    """The interface that takes its place and its number knows none of them."""
    packet = udp("10.0.0.2", "10.0.1.77")
    rig.fresh(one_router(ROUTER))
    rig.send(1, request(1, "10.0.1.77", "10.0.1.1", 77))
    assert rig.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 77)]}
    renamed = tuple(
        RouterInterface("up" if port.name == "wire1" else port.name, port.addresses, port.mac)
        for port in INTERFACES
    )
    rig.apply(chain({"r": Router(renamed)}, ["r", "r:up", "r", "r"]))
    rig.send(0, request(0, "10.0.0.2", "10.0.0.1"))
    assert rig.send(0, arrives(0, packet)) == {1: [asks(1, "10.0.1.1", "10.0.1.77")]}


# -- neighbours that do not answer -------------------------------------------------------------


def test_sender_is_told_that_nobody_answers(router: ChainRig) -> None:
    """Asked for three times, a second apart; then each packet that waited is answered."""
    question = asks(1, "10.0.1.1", "10.0.1.77")
    first, second = udp("10.0.0.2", "10.0.1.77", id=1), udp("192.168.5.9", "10.0.1.77", id=2)
    assert router.send(0, arrives(0, first)) == {1: [question]}
    assert router.send(2, arrives(2, second)) == {}
    assert router.wait_for_neighbours(0.9) == {}
    assert router.wait_for_neighbours(1.1) == {1: [question]}
    assert router.wait_for_neighbours(2.2) == {1: [question]}
    assert router.wait_for_neighbours(3.1) == {
        0: [leaves(0, error(forwarded(first), 3, 1, "10.0.0.1"))],
        2: [leaves(2, error(forwarded(second), 3, 1, "10.0.2.1"))],
    }
    assert router.wait_for_neighbours(60) == {}
    # The next packet begins anew.
    router.forget_questions()
    assert router.send(0, arrives(0, first)) == {1: [question]}


def test_late_answer_lets_packets_go(router: ChainRig) -> None:
    """After the second question."""
    packet = udp("10.0.0.2", "10.0.1.77")
    router.send(0, arrives(0, packet))
    assert router.wait_for_neighbours(1.1) == {1: [asks(1, "10.0.1.1", "10.0.1.77")]}
    answer = reply(1, "10.0.1.77", "10.0.1.1", 77)
    assert router.send(1, answer) == {1: [leaves(1, forwarded(packet), 77)]}
    assert router.wait_for_neighbours(60) == {}


@pytest.mark.parametrize(
    "packet",
    [
        IP(src="10.0.0.2", dst="10.0.1.77") / ICMP(type=11) / udp("10.0.1.77", "10.0.0.2"),
        IP(src="10.0.0.2", dst="10.0.1.77", frag=9, proto=17) / Raw(DATA),
        IP(src="10.0.1.77", dst="10.0.0.1") / ICMP(),
    ],
    ids=["ICMP error", "later fragment", "the router's own answer"],
)
def test_nobody_is_told_about_some(router: ChainRig, packet: Packet) -> None:
    """No error about an error, a part of a packet, or to the router itself."""
    router.send(0, arrives(0, packet))
    assert set(router.wait_for_neighbours(1.1)) == {1}
    assert router.wait_for_neighbours(3.1) == {}


def asks_directly(port: int, spa: str, tpa: str, number: int) -> bytes:
    """The router's ARP request to a neighbour that it knows."""
    return bytes.fromhex(host_mac(port, number).replace(":", "")) + asks(port, spa, tpa)[6:]


def learned(router: ChainRig, number: int) -> None:
    """Let the router learn 10.0.1.77 behind port 1, with the MAC address of that number."""
    router.send(1, request(1, "10.0.1.77", "10.0.1.1", number))


def test_silent_neighbour_in_use_is_asked_and_forgotten(router: ChainRig) -> None:
    """Twice where it was, once everywhere."""
    learned(router, 77)
    packet = udp("10.0.0.2", "10.0.1.77")
    assert router.doubt_neighbours(29) == {}
    directly = asks_directly(1, "10.0.1.1", "10.0.1.77", 77)
    assert router.doubt_neighbours(31) == {1: [directly]}
    assert router.doubt_neighbours(31.5) == {}
    assert router.doubt_neighbours(32.1) == {1: [directly]}
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 77)]}
    assert router.doubt_neighbours(33.2) == {1: [asks(1, "10.0.1.1", "10.0.1.77")]}
    assert router.doubt_neighbours(34.3) == {}
    assert router.send(0, arrives(0, packet)) == {1: [asks(1, "10.0.1.1", "10.0.1.77")]}


def test_neighbour_that_answers_stays(router: ChainRig) -> None:
    """And is believed for as long again."""
    learned(router, 77)
    _confirmed_long_ago(router)
    assert set(router.doubt_neighbours(0)) == {1}
    router.send(1, reply(1, "10.0.1.77", "10.0.1.1", 77))
    assert router.doubt_neighbours(5) == {}
    packet = udp("10.0.0.2", "10.0.1.77")
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 77)]}
    assert set(router.doubt_neighbours(31)) == {1}


def test_neighbour_with_a_new_mac_is_found(router: ChainRig) -> None:
    """It answers the question that goes to all."""
    learned(router, 76)
    for seconds in (31, 32.1, 33.2):
        assert set(router.doubt_neighbours(seconds)) == {1}
    router.send(1, reply(1, "10.0.1.77", "10.0.1.1", 77))
    assert router.doubt_neighbours(29) == {}
    packet = udp("10.0.0.2", "10.0.1.77")
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 77)]}


def test_idle_and_configured_neighbours_are_left_alone(router: ChainRig) -> None:
    """Ageing forgets the one, nothing the other."""
    packet = udp("10.0.0.2", "10.0.1.2")
    router.send(0, arrives(0, packet))
    assert router.doubt_neighbours(31) == {}
    learned(router, 77)
    assert router.doubt_neighbours(100, in_use=False) == {}


def _confirmed_long_ago(router: ChainRig) -> None:
    """Let all neighbours have been silent for a minute."""
    table, struct = router.machine.maps["neighbours"], STRUCTS["neigh"]
    long_ago = time.monotonic_ns() - 60 * 10**9
    for key, value in table.items():
        table.update(key, struct.pack(**(struct.unpack(value) | {"confirmed_ns": long_ago})))


def test_neighbour_ages(router: ChainRig) -> None:
    """It is asked for again when nobody used it for the time that the module says."""
    learned(router, 77)
    packet = udp("10.0.0.2", "10.0.1.77")
    later = time.monotonic_ns() + 299 * 10**9
    router.chain._ageing.sweep(later)
    assert router.send(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 77)]}
    router.chain._ageing.sweep(later + 3 * 10**9)
    assert router.send(0, arrives(0, packet)) == {1: [asks(1, "10.0.1.1", "10.0.1.77")]}
    configured = udp("10.0.0.2", "10.0.1.2")
    assert router.send(0, arrives(0, configured)) == {1: [leaves(1, forwarded(configured))]}

# SPDX-License-Identifier: Apache-2.0
"""The router module and IPv6, frame by frame."""

from ipaddress import IPv6Network, ip_address, ip_interface
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from chain_frames import arrives, host_mac, leaves, one_router, route, router_mac
from chain_rig import ChainRig
from iovisor_ovn.config.topology import ArpEntry, Router, RouterInterface

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

MTU = 1300  # of port 2
DATA = b"0123456789abcdef" * 3


def local(port: int, number: int = 1) -> str:
    """Link-local address; number 1 is the router."""
    return f"fe80::ff:fe00:{port << 8 | number:x}"


INTERFACES = (
    RouterInterface("wire0", (ip_interface("fd00:0::1/64"),), router_mac(0)),
    RouterInterface("wire1", (ip_interface("fd00:1::1/64"),), router_mac(1)),
    RouterInterface("wire2", (ip_interface("fd00:2::1/64"),), router_mac(2), MTU),
    RouterInterface("wire3", (), router_mac(3)),
)
KNOWN = tuple(
    ArpEntry(ip_address(f"fd00:{port}::{number}"), host_mac(port, number))
    for port in range(3)
    for number in (2, 3)
)
ROUTER = Router(
    INTERFACES,
    (
        route("2001:db8::/32", 1, "fd00:1::2"),
        route("2001:db8:5::/48", 2, "fd00:2::2"),
        route("2001:db8:5:1::/64", 0, "fd00:0::2"),
        route("2001:db8:6::/48", 1, local(1, 2)),
        route("2001:db8:7::/48", 3),
    ),
    KNOWN,
)


@pytest.fixture
def router(rig: ChainRig) -> ChainRig:
    """The router of this file."""
    rig.fresh(one_router(ROUTER))
    return rig


def forwarded(packet: Packet) -> Packet:
    """The packet after a hop."""
    after = IPv6(bytes(packet))
    after.hlim -= 1
    return after


def error(packet: Packet, message: Packet, source: str, hop_limit: int = 254) -> Packet:
    """The ICMPv6 error about a packet: 1280 octets with the Ethernet header, as OVN's."""
    quoted = bytes(packet)[: 1280 - 14 - 40 - 8]
    head = IPv6(src=source, dst=packet[IPv6].src, hlim=hop_limit)
    return IPv6(bytes(head / message / Raw(quoted)))


def udp(src: str, dst: str, **fields: Any) -> Packet:
    """A datagram."""
    return IPv6(src=src, dst=dst, **fields) / UDP(sport=1000, dport=2000) / DATA


H0, H1, H2 = "fd00:0::2", "fd00:1::2", "fd00:2::2"

FORWARDED = [
    ("to a host of a connected network", udp(H0, H1), 1, 2),
    ("to another host there", udp(H0, "fd00:1::3"), 1, 3),
    ("by a route with next hop", udp(H0, "2001:db8::1"), 1, 2),
    ("by the longer prefix", udp(H0, "2001:db8:5::1"), 2, 2),
    ("by the longest prefix, back where it came from", udp(H0, "2001:db8:5:1::9"), 0, 2),
    ("TCP", IPv6(src=H0, dst=H1) / TCP(sport=5, dport=6) / DATA, 1, 2),
    ("hop limit 2", udp(H0, H1, hlim=2), 1, 2),
    ("traffic class and flow label", udp(H0, H1, tc=0xBB, fl=0x12345), 1, 2),
    ("hop-by-hop options", IPv6(src=H0, dst=H1) / IPv6ExtHdrHopByHop() / UDP() / DATA, 1, 2),
    ("destination options", IPv6(src=H0, dst=H1) / IPv6ExtHdrDestOpt() / UDP() / DATA, 1, 2),
    ("routing header", IPv6(src=H0, dst=H1) / IPv6ExtHdrRouting(addresses=[H2]) / UDP() / DATA,
     1, 2),
    ("first fragment", IPv6(src=H0, dst=H1) / IPv6ExtHdrFragment(m=1, id=4) / UDP() / DATA, 1, 2),
    ("later fragment", IPv6(src=H0, dst=H1) / IPv6ExtHdrFragment(offset=9, nh=17, id=4)
     / Raw(DATA), 1, 2),
    ("unknown protocol", IPv6(src=H0, dst=H1, nh=253) / Raw(DATA), 1, 2),
    ("ICMPv6 error that passes", IPv6(src=H0, dst=H1) / ICMPv6TimeExceeded() / udp(H1, H0), 1, 2),
    ("echo request that passes", IPv6(src=H0, dst=H1) / ICMPv6EchoRequest(), 1, 2),
    ("as long as the MTU", IPv6(src=H0, dst=H2) / UDP() / (b"m" * (MTU - 48)), 2, 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("packet", "port", "number"), [row[1:] for row in FORWARDED], ids=[row[0] for row in FORWARDED]
)
def test_packet_is_forwarded(router: ChainRig, packet: Packet, port: int, number: int) -> None:
    """The hop limit is that after a hop, all else is as it was."""
    expected = leaves(port, forwarded(packet), number)
    assert router.always(0, arrives(0, packet)) == {port: [expected]}


@pytest.mark.parametrize("seed", range(3))
def test_longest_prefix_wins_in_any_order(rig: ChainRig, seed: int) -> None:
    """Random tables and destinations, compared with a search through all prefixes."""
    random = Random(seed)
    networks = {IPv6Network("::/0")} if seed % 2 else set()
    while len(networks) < 30:
        length = random.choice((16, 20, 31, 32, 33, 48, 56, 63, 64, 65, 96, 127, 128))
        tail = random.getrandbits(8) << random.choice((0, 56, 64, 88))
        networks.add(IPv6Network((0x2001_0DB8 << 96 | tail, length), strict=False))
    table = {network: random.randrange(3) for network in networks}
    routes = [route(str(network), port, f"fd00:{port}::2") for network, port in table.items()]
    random.shuffle(routes)
    rig.fresh(one_router(Router(INTERFACES, tuple(routes), KNOWN)))
    ends = [n[0] - 1 for n in networks if int(n[0])]
    ends += [address for network in networks for address in (network[0], network[-1])]
    for destination in ends:
        if not 0x2000 <= int(destination) >> 112 < 0xFE80:
            continue
        inside = [network for network in table if destination in network]
        packet = udp(H0, str(destination))
        if inside:
            port = table[max(inside, key=lambda network: network.prefixlen)]
            expected = {port: [leaves(port, forwarded(packet))]}
        else:
            answer = error(packet, ICMPv6DestUnreach(code=0), "fd00:0::1")
            expected = {0: [leaves(0, answer)]}
        assert rig.send(0, arrives(0, packet)) == expected, destination


ENDS = [
    ("another's MAC address", bytes(Ether(src=host_mac(0), dst="02:00:00:00:00:99") / udp(H0, H1))),
    ("broadcast frame", bytes(Ether(src=host_mac(0), dst="ff:ff:ff:ff:ff:ff") / udp(H0, H1))),
    *((what, arrives(0, udp(src, dst))) for what, src, dst in (
        ("router's own source", "fd00:0::1", H1),
        ("router's own source of another port", "fd00:1::1", H1),
        ("router's own link-local source", local(0), H1),
        ("unspecified source", "::", H1),
        ("unspecified source to the router", "::", "fd00:0::1"),
        ("unspecified destination", H0, "::"),
        ("loopback source", "::1", H1),
        ("loopback destination", H0, "::1"),
        ("multicast source", "ff02::1", H1),
        ("multicast destination in a unicast frame", H0, "ff05::5"),
        ("link-local destination", H0, local(0, 9)),
        ("link-local destination of another port", H0, local(1)),
        ("link-local to link-local", local(0, 2), local(0, 9)),
    )),
    ("multicast", bytes(Ether(src=host_mac(0), dst="33:33:00:00:00:05") / udp(H0, "ff05::5"))),
    ("hop limit 1 of an error", arrives(0, IPv6(src=H0, dst=H1, hlim=1) / ICMPv6DestUnreach()
     / udp(H1, H0))),
    ("hop limit 1 of a redirect", arrives(0, IPv6(src=H0, dst=H1, hlim=1) / ICMPv6ND_Redirect())),
    ("no route for an error", arrives(0, IPv6(src=H0, dst="3fff::1") / ICMPv6TimeExceeded()
     / udp("3fff::1", H0))),
    ("no route for a sender that has none either", arrives(0, udp("3fff::2", "3fff::1"))),
    ("echo reply for the router", arrives(0, IPv6(src=H0, dst="fd00:0::1") / ICMPv6EchoReply())),
    ("error for the router", arrives(0, IPv6(src=H0, dst="fd00:0::1") / ICMPv6DestUnreach()
     / udp("fd00:0::1", H0))),
    ("TCP reset for the router", arrives(0, IPv6(src=H0, dst="fd00:0::1") / TCP(flags="R"))),
    ("later fragment for the router", arrives(0, IPv6(src=H0, dst="fd00:0::1")
     / IPv6ExtHdrFragment(offset=9, nh=17) / Raw(DATA))),
    ("later fragment of TCP for the router", arrives(0, IPv6(src=H0, dst="fd00:0::1")
     / IPv6ExtHdrFragment(offset=9, nh=6) / Raw(DATA))),
    ("UDP for a link-local address", arrives(0, udp(local(0, 2), local(0)))),
    ("router solicitation", bytes(Ether(src=host_mac(0), dst="33:33:00:00:00:02")
     / IPv6(src=local(0, 2), dst="ff02::2", hlim=255) / ICMPv6ND_RS())),
    ("router advertisement", bytes(Ether(src=host_mac(0), dst="33:33:00:00:00:01")
     / IPv6(src=local(0, 2), dst="ff02::1", hlim=255) / ICMPv6ND_RA())),
]  # fmt: skip


@pytest.mark.parametrize("data", [row[1] for row in ENDS], ids=[row[0] for row in ENDS])
def test_packet_ends_without_a_word(router: ChainRig, data: bytes) -> None:
    """Neither forwarded nor answered."""
    assert router.always(0, data) == {}


# -- answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("own", ["fd00:0::1", "fd00:1::1", "fd00:2::1"])
def test_router_answers_echo_on_every_address_from_every_side(router: ChainRig, own: str) -> None:
    """From the address that was asked, with all data."""
    for port in range(3):
        asker = f"fd00:{port}::2"
        packet = IPv6(src=asker, dst=own, hlim=1) / ICMPv6EchoRequest(id=9, seq=3, data=DATA)
        answer = IPv6(src=own, dst=asker, hlim=254) / ICMPv6EchoReply(id=9, seq=3, data=DATA)
        assert router.always(port, arrives(port, packet)) == {port: [leaves(port, answer)]}


def test_router_answers_echo_on_its_link(router: ChainRig) -> None:
    """To its link-local address, and to the groups of nodes and of routers."""
    asker = local(1, 9)
    router.send(1, solicits(1, asker, local(1), number=9))
    answer = IPv6(src=local(1), dst=asker, hlim=254) / ICMPv6EchoReply(id=9, data=DATA)
    packet = IPv6(src=asker, dst=local(1)) / ICMPv6EchoRequest(id=9, data=DATA)
    assert router.always(1, arrives(1, packet, 9)) == {1: [leaves(1, answer, 9)]}
    for group in (1, 2):
        packet = IPv6(src=asker, dst=f"ff02::{group}") / ICMPv6EchoRequest(id=9, data=DATA)
        data = bytes(Ether(src=host_mac(1, 9), dst=f"33:33:00:00:00:0{group}") / packet)
        assert router.always(1, data) == {1: [leaves(1, answer, 9)]}


ERRORS = [
    ("hop limit 1", udp(H0, H1, hlim=1), ICMPv6TimeExceeded(), "fd00:0::1"),
    ("hop limit 0", udp(H0, H1, hlim=0), ICMPv6TimeExceeded(), "fd00:0::1"),
    ("hop limit 1, long", IPv6(src=H0, dst=H1, hlim=1) / UDP() / (b"q" * 1400),
     ICMPv6TimeExceeded(), "fd00:0::1"),
    ("hop limit 1, extension header", IPv6(src=H0, dst=H1, hlim=1) / IPv6ExtHdrDestOpt() / UDP()
     / DATA, ICMPv6TimeExceeded(), "fd00:0::1"),
    ("hop limit 1, echo request", IPv6(src=H0, dst=H1, hlim=1) / ICMPv6EchoRequest(),
     ICMPv6TimeExceeded(), "fd00:0::1"),
    ("no route", udp(H0, "3fff::1"), ICMPv6DestUnreach(code=0), "fd00:0::1"),
    ("closed UDP port", udp(H0, "fd00:0::1"), ICMPv6DestUnreach(code=4), "fd00:0::1"),
    ("closed UDP port of another side's address", udp(H0, "fd00:2::1"), ICMPv6DestUnreach(code=4),
     "fd00:2::1"),
    ("too long", IPv6(src=H0, dst=H2) / UDP() / (b"m" * (MTU - 47)), ICMPv6PacketTooBig(mtu=MTU),
     "fd00:0::1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("packet", "message", "source"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
def test_sender_is_told(router: ChainRig, packet: Packet, message: Packet, source: str) -> None:
    """The address of the port that the packet came by, or that it was sent to; its bytes."""
    quoted = forwarded(packet) if ICMPv6PacketTooBig in message else packet
    answer = error(quoted, message, source)
    assert router.always(0, arrives(0, packet)) == {0: [leaves(0, answer)]}


def test_link_local_source_does_not_leave_its_link(router: ChainRig) -> None:
    """RFC 4443, 3.1, code 2: beyond the scope of the source address."""
    router.send(0, solicits(0, local(0, 9), local(0), number=9))
    packet = udp(local(0, 9), H1)
    answer = error(packet, ICMPv6DestUnreach(code=2), "fd00:0::1")
    assert router.always(0, arrives(0, packet, 9)) == {0: [leaves(0, answer, 9)]}


def test_unknown_protocol_is_refused(router: ChainRig) -> None:
    """RFC 4443 has a parameter problem that points at the header; code 3 of it is not offered."""
    packet = IPv6(src=H0, dst="fd00:0::1", nh=253) / Raw(DATA)
    (out,) = router.always(0, arrives(0, packet))[0]
    assert Ether(out)[ICMPv6DestUnreach].code == 3


def test_tcp_for_the_router_is_reset(router: ChainRig) -> None:
    """For a SYN it acknowledges it."""
    syn = IPv6(src=H0, dst="fd00:1::1") / TCP(sport=4000, dport=22, seq=100, flags="S")
    (out,) = router.always(0, arrives(0, syn))[0]
    tcp = Ether(out)[TCP]
    assert (tcp.sport, tcp.dport, tcp.ack, str(tcp.flags)) == (22, 4000, 101, "RA")


# -- neighbour discovery -----------------------------------------------------------------------


def solicited(ip: str) -> tuple[str, str]:
    """Group that an address is asked for in, and its MAC address."""
    low = int(ip_address(ip)) & 0xFFFFFF
    parts = low.to_bytes(3, "big").hex(":")
    return str(ip_address(0xFF02_0000_0000_0000_0000_0001_FF00_0000 | low)), f"33:33:ff:{parts}"


def solicits(port: int, src: str, target: str, number: int = 2, *, unicast: bool = False,
             hlim: int = 255) -> bytes:  # fmt: skip
    """A host's solicitation."""
    group, mac = (target, router_mac(port)) if unicast else solicited(target)
    packet = IPv6(src=src, dst=group, hlim=hlim) / ICMPv6ND_NS(tgt=target)
    if src != "::":
        packet /= ICMPv6NDOptSrcLLAddr(lladdr=host_mac(port, number))
    return bytes(Ether(src=host_mac(port, number), dst=mac) / packet)


def advertises(port: int, target: str, dst: str, number: int = 2, hlim: int = 255,
               lladdr: str | None = None) -> bytes:  # fmt: skip
    """A host's advertisement to the router, or to all."""
    to_all = dst == "ff02::1"
    packet = (
        IPv6(src=target, dst=dst, hlim=hlim)
        / ICMPv6ND_NA(tgt=target, R=0, S=not to_all, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=lladdr or host_mac(port, number))
    )
    mac = "33:33:00:00:00:01" if to_all else router_mac(port)
    return bytes(Ether(src=host_mac(port, number), dst=mac) / packet)


def router_asks(port: int, src: str, target: str) -> bytes:
    """The router's solicitation."""
    group, mac = solicited(target)
    return bytes(
        Ether(src=router_mac(port), dst=mac)
        / IPv6(src=src, dst=group, hlim=255)
        / ICMPv6ND_NS(tgt=target)
        / ICMPv6NDOptSrcLLAddr(lladdr=router_mac(port))
    )


def router_answers(port: int, own: str, dst: str, number: int = 2) -> bytes:
    """The router's advertisement."""
    return bytes(
        Ether(src=router_mac(port), dst=host_mac(port, number))
        / IPv6(src=own, dst=dst, hlim=255)
        / ICMPv6ND_NA(tgt=own, R=1, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=router_mac(port))
    )


@pytest.mark.parametrize("unicast", [False, True], ids=["group", "unicast"])
@pytest.mark.parametrize("src", [H0, local(0, 2)], ids=["global", "link-local"])
@pytest.mark.parametrize("own", ["fd00:0::1", local(0)], ids=["for global", "for link-local"])
def test_router_advertises_its_addresses(
    router: ChainRig, src: str, own: str, *, unicast: bool
) -> None:
    """To whoever asks, in its group or directly."""
    question = solicits(0, src, own, unicast=unicast)
    assert router.always(0, question) == {0: [router_answers(0, own, src)]}


@pytest.mark.parametrize(
    "data",
    [
        solicits(0, H0, "fd00:0::99"),
        solicits(0, H0, "fd00:1::1"),
        solicits(0, H0, local(1)),
        solicits(0, H0, "fd00:0::1", hlim=254),
    ],
    ids=["another", "address of another port", "link-local of another port", "came over a router"],
)
def test_router_advertises_nothing_else(router: ChainRig, data: bytes) -> None:
    """And believes nothing that came from beyond the link (RFC 4861, 7.1.1)."""
    assert router.always(0, data) == {}


def test_packet_waits_for_its_neighbour(router: ChainRig) -> None:
    """The solicitation is sent at once; the advertisement lets the packet go."""
    packet = udp(H0, "fd00:1::77")
    assert router.send(0, arrives(0, packet)) == {1: [router_asks(1, "fd00:1::1", "fd00:1::77")]}
    expected = leaves(1, forwarded(packet), 0x77)
    assert router.send(1, advertises(1, "fd00:1::77", "fd00:1::1", 0x77)) == {1: [expected]}
    assert router.always(0, arrives(0, packet)) == {1: [expected]}


def test_router_asks_for_a_link_local_next_hop(router: ChainRig) -> None:
    """In its group, with the router's own link-local address."""
    packet = udp(H0, "2001:db8:6::1")
    assert router.send(0, arrives(0, packet)) == {1: [router_asks(1, local(1), local(1, 2))]}
    answer = advertises(1, local(1, 2), local(1))
    assert router.send(1, answer) == {1: [leaves(1, forwarded(packet))]}


def test_router_asks_for_the_next_hop_and_on_link_for_the_destination(rig: ChainRig) -> None:
    """Each in the group of its own address; without an address of its own it uses another's."""
    routes = (route("2001:db8::/32", 1, "fd00:1::99"), route("3fff::/20", 3))
    rig.fresh(one_router(Router(INTERFACES, routes, KNOWN)))
    for destination, port, own, target in (
        ("2001:db8::1234", 1, "fd00:1::1", "fd00:1::99"),
        ("3fff::5678", 3, "fd00:0::1", "3fff::5678"),
    ):
        packet = udp(H0, destination)
        assert rig.send(0, arrives(0, packet)) == {port: [router_asks(port, own, target)]}
        answer = advertises(port, target, own, 9)
        assert rig.send(port, answer) == {port: [leaves(port, forwarded(packet), 9)]}


NOT_LEARNED = [
    ("from beyond the link", advertises(1, "fd00:1::77", "fd00:1::1", 0x77, hlim=254)),
    ("unsolicited to all", advertises(1, "fd00:1::77", "ff02::1", 0x77)),
    ("group as its MAC address",
     advertises(1, "fd00:1::77", "fd00:1::1", 0x77, lladdr="33:33:00:00:00:01")),
    ("solicitation for another", solicits(1, "fd00:1::77", "fd00:1::99", 0x77)),
    ("duplicate address detection", solicits(1, "::", "fd00:1::1", 0x77)),
]  # fmt: skip


@pytest.mark.parametrize("data", [row[1] for row in NOT_LEARNED], ids=[r[0] for r in NOT_LEARNED])
def test_stranger_is_not_learned(router: ChainRig, data: bytes) -> None:
    """Only who answers us or asks us becomes an entry (RFC 4861, 7.2.3 and 7.2.5)."""
    router.send(1, data)
    packet = udp(H0, "fd00:1::77")
    assert router.send(0, arrives(0, packet)) == {1: [router_asks(1, "fd00:1::1", "fd00:1::77")]}


def test_neighbour_that_changed_is_followed(router: ChainRig) -> None:
    """It says so to all."""
    router.send(1, solicits(1, "fd00:1::77", "fd00:1::1", 0x78))
    packet = udp(H0, "fd00:1::77")
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 0x78)]}
    router.send(1, advertises(1, "fd00:1::77", "ff02::1", 0x77))
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 0x77)]}


@pytest.mark.parametrize(("port", "own"), [(1, "fd00:1::1"), (1, local(1)), (1, "fd00:0::1")])
def test_own_addresses_are_nobody_s(router: ChainRig, port: int, own: str) -> None:
    """Whoever says that they are its own."""
    before = len(router.machine.maps["neighbours"].keys())
    router.send(port, advertises(port, own, "fd00:1::1", 0x66))
    router.send(port, solicits(port, own, "fd00:1::1", 0x66))
    assert len(router.machine.maps["neighbours"].keys()) == before


# -- neighbours that do not answer -------------------------------------------------------------


def test_sender_is_told_that_nobody_answers(router: ChainRig) -> None:
    """Asked for three times, a second apart; then the packet that waited is answered."""
    question = router_asks(1, "fd00:1::1", "fd00:1::77")
    packet = udp(H0, "fd00:1::77")
    assert router.send(0, arrives(0, packet)) == {1: [question]}
    assert router.wait_for_neighbours(1.1) == {1: [question]}
    assert router.wait_for_neighbours(2.2) == {1: [question]}
    answer = error(forwarded(packet), ICMPv6DestUnreach(code=3), "fd00:0::1")
    assert router.wait_for_neighbours(3.1) == {0: [leaves(0, answer)]}
    assert router.wait_for_neighbours(60) == {}


def test_question_for_a_link_local_next_hop_is_repeated(router: ChainRig) -> None:
    """As the machine had sent it."""
    packet = udp(H0, "2001:db8:6::1")
    first = router.send(0, arrives(0, packet))
    assert router.wait_for_neighbours(1.1) == first


def test_silent_neighbour_in_use_is_asked_and_forgotten(router: ChainRig) -> None:
    """Twice where it was, once in its group (RFC 4861, 7.3.3)."""
    router.send(1, solicits(1, "fd00:1::77", "fd00:1::1", 0x77))
    packet = udp(H0, "fd00:1::77")
    directly = bytes(
        Ether(src=router_mac(1), dst=host_mac(1, 0x77))
        / IPv6(src="fd00:1::1", dst="fd00:1::77", hlim=255)
        / ICMPv6ND_NS(tgt="fd00:1::77")
        / ICMPv6NDOptSrcLLAddr(lladdr=router_mac(1))
    )
    assert router.doubt_neighbours(31) == {1: [directly]}
    assert router.doubt_neighbours(32.1) == {1: [directly]}
    assert router.always(0, arrives(0, packet)) == {1: [leaves(1, forwarded(packet), 0x77)]}
    question = router_asks(1, "fd00:1::1", "fd00:1::77")
    assert router.doubt_neighbours(33.2) == {1: [question]}
    assert router.doubt_neighbours(34.3) == {}
    assert router.send(0, arrives(0, packet)) == {1: [question]}

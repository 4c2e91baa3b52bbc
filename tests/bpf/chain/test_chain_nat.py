# SPDX-License-Identifier: Apache-2.0
"""The NAT modules, frame by frame. ``wire0`` is inside, ``wire1`` outside."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from chain_rig import ChainRig, Output, chain
from iovisor_ovn.config.topology import (
    ArpEntry,
    Nat,
    NatEntry,
    OneToOneNat,
    Route,
    Router,
    RouterInterface,
    Topology,
)

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

IN, OUT = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
ROUTER_IN, ROUTER_OUT = "02:00:00:00:01:01", "02:00:00:00:01:02"
PUBLIC, SERVER, CLIENT, OTHER = "192.0.2.1", "198.51.100.9", "10.0.0.1", "10.0.0.2"
DATA = b"0123456789abcdef" * 2

NAT = chain({"nat": Nat(IPv4Address(PUBLIC), "wire0", "wire1")}, ["nat", "nat"])
ONE_TO_ONE = chain(
    {
        "nat": OneToOneNat(
            (NatEntry(IPv4Address(CLIENT), IPv4Address(PUBLIC)),), inside="wire0", outside="wire1"
        )
    },
    ["nat", "nat"],
)


def behind_router(config: Nat | OneToOneNat, own: str) -> Topology:
    """A router inside of the NAT; ``own`` is its address there."""
    router = Router(
        (
            RouterInterface("wire0", (IPv4Interface("10.0.0.254/24"),), ROUTER_IN),
            RouterInterface("nat", (IPv4Interface(own),), ROUTER_OUT),
        ),
        (Route(IPv4Network("0.0.0.0/0"), "nat"),),
        (ArpEntry(IPv4Address(CLIENT), IN), ArpEntry(IPv4Address(SERVER), OUT)),
    )
    return chain({"r": router, "nat": config}, ["r", "nat"], [("r", "nat")])


ROUTED_NAT = behind_router(Nat(IPv4Address(PUBLIC), "r", "wire1"), f"{PUBLIC}/24")
ROUTED_ONE_TO_ONE = behind_router(
    OneToOneNat((NatEntry(IPv4Address(CLIENT), IPv4Address(PUBLIC)),), "r", "wire1"),
    "203.0.113.1/24",
)


def out(packet: Packet) -> bytes:
    """A frame from inside, or as it leaves towards outside."""
    return bytes(Ether(src=IN, dst=OUT) / packet)


def into(packet: Packet) -> bytes:
    """A frame from outside, or as it arrives inside."""
    return bytes(Ether(src=OUT, dst=IN) / packet)


def counted(rig: ChainRig, what: str) -> int:
    """Packets of one of the module's counters."""
    return rig.chain.pipeline.counters.read()[f"nat:{what}"].packets


KINDS = {
    "UDP": (UDP(sport=4000, dport=53) / DATA, UDP(sport=53, dport=4000) / DATA),
    "UDP without checksum": (
        UDP(sport=4000, dport=53, chksum=0) / DATA,
        UDP(sport=53, dport=4000, chksum=0) / DATA,
    ),
    "TCP": (
        TCP(sport=4000, dport=80, flags="S", seq=1),
        TCP(sport=80, dport=4000, flags="SA", seq=1, ack=2),
    ),
    "echo": (ICMP(id=77, seq=1) / DATA, ICMP(type=0, id=77, seq=1) / DATA),
}


@pytest.mark.parametrize("topology", [NAT, ONE_TO_ONE], ids=["nat", "one to one"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_from_inside_is_seen_under_the_public_address(
    rig: ChainRig, topology: Topology, kind: str
) -> None:
    """Both ways, checksums included; a port that is free stays."""
    rig.fresh(topology)
    request, answer = KINDS[kind]
    for _again in range(2):
        assert rig.send(0, out(IP(src=CLIENT, dst=SERVER) / request)) == {
            1: [out(IP(src=PUBLIC, dst=SERVER) / request)]
        }
        assert rig.send(1, into(IP(src=SERVER, dst=PUBLIC) / answer)) == {
            0: [into(IP(src=SERVER, dst=CLIENT) / answer)]
        }


@pytest.mark.parametrize("topology", [NAT, ONE_TO_ONE], ids=["nat", "one to one"])
@pytest.mark.parametrize(
    "packet",
    [ARP(psrc="192.0.2.1", pdst="198.51.100.9"), IPv6(src="fd00::1", dst="fd00::2") / UDP() / DATA],
    ids=["ARP", "IPv6"],
)
def test_what_is_no_ipv4_passes_untouched(
    rig: ChainRig, topology: Topology, packet: Packet
) -> None:
    """Transparent at layer 2, both ways."""
    rig.fresh(topology)
    data = bytes(Ether(src=IN, dst="ff:ff:ff:ff:ff:ff") / packet)
    assert rig.always(0, data) == {1: [data]}
    assert rig.always(1, data) == {0: [data]}


def test_nobody_comes_in_without_a_binding(rig: ChainRig) -> None:
    """Neither to the public address nor past it; each is counted."""
    rig.fresh(NAT)
    before = counted(rig, "no binding")
    for destination in (PUBLIC, CLIENT):
        data = into(IP(src=SERVER, dst=destination) / UDP(sport=53, dport=4000) / DATA)
        assert rig.send(1, data) == {}
    assert counted(rig, "no binding") == before + 2


def test_two_clients_with_one_port_get_two(rig: ChainRig) -> None:
    """Answers find their own client."""
    rig.fresh(NAT)
    ports = {}
    for client in (CLIENT, OTHER):
        sent = rig.send(0, out(IP(src=client, dst=SERVER) / UDP(sport=4000, dport=53) / DATA))
        ports[client] = Ether(sent[1][0])[UDP].sport
    assert ports[CLIENT] == 4000
    assert ports[OTHER] != 4000
    for client, port in ports.items():
        answer = IP(src=SERVER, dst=PUBLIC) / UDP(sport=53, dport=port) / DATA
        assert rig.send(1, into(answer)) == {
            0: [into(IP(src=SERVER, dst=client) / UDP(sport=53, dport=4000) / DATA)]
        }


def _errors_are_translated(rig: ChainRig, topology: Topology) -> None:
    rig.fresh(topology)
    sent = IP(src=CLIENT, dst=SERVER) / UDP(sport=4000, dport=53) / DATA
    seen = IP(src=PUBLIC, dst=SERVER) / UDP(sport=4000, dport=53) / DATA
    rig.send(0, out(sent))
    for hop in (SERVER, "203.0.113.77"):
        error = ICMP(type=3, code=3)
        assert rig.send(1, into(IP(src=hop, dst=PUBLIC) / error / seen)) == {
            0: [into(IP(src=hop, dst=CLIENT) / error / sent)]
        }
    answer = IP(src=SERVER, dst=PUBLIC) / UDP(sport=53, dport=4000) / DATA
    given = IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=4000) / DATA
    rig.send(1, into(answer))
    error = ICMP(type=3, code=3)
    assert rig.send(0, out(IP(src=CLIENT, dst=SERVER) / error / given)) == {
        1: [out(IP(src=PUBLIC, dst=SERVER) / error / answer)]
    }


@pytest.mark.parametrize("topology", [NAT, ONE_TO_ONE], ids=["nat", "one to one"])
def test_errors_are_translated_with_what_they_quote(rig: ChainRig, topology: Topology) -> None:
    """Those of the server, of a router on the way, and of the client (RFC 5508)."""
    _errors_are_translated(rig, topology)


@pytest.mark.parametrize(
    "packet",
    [
        IP(src=CLIENT, dst=SERVER) / ICMP(type=0, id=5) / DATA,
        IP(src=CLIENT, dst=SERVER) / ICMP(type=3, code=3)
        / IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=4999) / DATA,
        IP(src=CLIENT, dst=SERVER) / TCP(sport=4000, dport=80, flags="SA"),
    ],
    ids=["echo reply", "error", "SYN ACK"],
)  # fmt: skip
def test_what_belongs_to_nothing_does_not_leave(rig: ChainRig, packet: Packet) -> None:
    """A private address is never seen outside."""
    rig.fresh(NAT)
    assert rig.send(0, out(packet)) == {}


def test_one_to_one_lets_connections_in(rig: ChainRig) -> None:
    """By the external address of the entry, and by no other."""
    rig.fresh(ONE_TO_ONE)
    request = IP(src=SERVER, dst=PUBLIC) / TCP(sport=5000, dport=80, flags="S", seq=9)
    answer = IP(src=CLIENT, dst=SERVER) / TCP(sport=80, dport=5000, flags="SA", seq=1, ack=10)
    for _again in range(2):
        inward = request.copy()
        inward[IP].dst = CLIENT
        assert rig.send(1, into(request)) == {0: [into(inward)]}
        outward = answer.copy()
        outward[IP].src = PUBLIC
        assert rig.send(0, out(answer)) == {1: [out(outward)]}
    for destination in (CLIENT, "192.0.2.2"):
        other = request.copy()
        other[IP].dst = destination
        assert rig.send(1, into(other)) == {}
    assert rig.send(0, out(IP(src=OTHER, dst=SERVER) / UDP() / DATA)) == {}


def test_the_client_of_an_entry_may_refuse(rig: ChainRig) -> None:
    """Its ICMP error about a connection from outside goes back translated."""
    rig.fresh(ONE_TO_ONE)
    request = IP(src=SERVER, dst=PUBLIC) / UDP(sport=5000, dport=99) / DATA
    given = IP(src=SERVER, dst=CLIENT) / UDP(sport=5000, dport=99) / DATA
    assert rig.send(1, into(request)) == {0: [into(given)]}
    error = ICMP(type=3, code=3)
    assert rig.send(0, out(IP(src=CLIENT, dst=SERVER) / error / given)) == {
        1: [out(IP(src=PUBLIC, dst=SERVER) / error / request)]
    }


# -- behind a router -------------------------------------------------------------------------


def _request(rig: ChainRig) -> Output:
    packet = IP(src=CLIENT, dst=SERVER) / UDP(sport=4000, dport=53) / DATA
    return rig.send(0, bytes(Ether(src=IN, dst=ROUTER_IN) / packet))


def _arrives(packet: Packet) -> bytes:
    return bytes(Ether(src=OUT, dst=ROUTER_OUT) / packet)


@pytest.mark.parametrize("topology", [ROUTED_NAT, ROUTED_ONE_TO_ONE], ids=["nat", "one to one"])
def test_the_router_asks_and_answers_through_it(rig: ChainRig, topology: Topology) -> None:
    """ARP for its own address; a destination that is on link is asked for itself."""
    rig.fresh(topology)
    own = "192.0.2.1" if topology is ROUTED_NAT else "203.0.113.1"
    asked = Ether(src=OUT, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=OUT, psrc=SERVER, pdst=own)
    (answer,) = rig.send(1, bytes(asked))[1]
    assert (Ether(answer)[ARP].op, Ether(answer)[ARP].hwsrc) == (2, ROUTER_OUT)
    packet = IP(src=CLIENT, dst="198.51.100.200") / UDP() / DATA
    (question,) = rig.send(0, bytes(Ether(src=IN, dst=ROUTER_IN) / packet))[1]
    assert Ether(question)[ARP].pdst == "198.51.100.200"
    assert Ether(question)[ARP].psrc == own


def test_the_router_behind_keeps_its_own_address(rig: ChainRig) -> None:
    """It answers echo under it, and refuses what it does not serve."""
    for topology, own in ((ROUTED_NAT, PUBLIC), (ROUTED_ONE_TO_ONE, "203.0.113.1")):
        rig.fresh(topology)
        (frame,) = rig.send(1, _arrives(IP(src=SERVER, dst=own) / ICMP(id=3) / DATA))[1]
        reply = Ether(frame)
        assert (reply[IP].src, reply[IP].dst, reply[ICMP].type) == (own, SERVER, 0)
        (frame,) = rig.send(1, _arrives(IP(src=SERVER, dst=own) / TCP(dport=80, flags="S")))[1]
        assert Ether(frame)[TCP].flags == "RA"
        assert Ether(frame)[IP].src == own


@pytest.mark.parametrize("topology", [ROUTED_NAT, ROUTED_ONE_TO_ONE], ids=["nat", "one to one"])
def test_errors_of_the_router_behind_quote_what_was_sent(rig: ChainRig, topology: Topology) -> None:
    """Whoever sent an answer with too small a TTL finds its own packet in the error."""
    rig.fresh(topology)
    assert Ether(_request(rig)[1][0])[IP].src == PUBLIC
    answer = IP(src=SERVER, dst=PUBLIC, ttl=1) / UDP(sport=53, dport=4000) / DATA
    (frame,) = rig.send(1, _arrives(answer))[1]
    error = Ether(frame)
    assert (error[ICMP].type, error[IP].dst) == (11, SERVER)
    assert (error[IPerror].src, error[IPerror].dst) == (SERVER, PUBLIC)
    assert (error[UDPerror].sport, error[UDPerror].dport) == (53, 4000)
    assert CLIENT not in (error[IP].src, error[IPerror].dst)
    rebuilt = error.copy()
    del rebuilt[IP].chksum
    del rebuilt[ICMP].chksum
    assert bytes(rebuilt) == frame, "a checksum is wrong"


def test_errors_of_the_router_about_connections_from_outside(rig: ChainRig) -> None:
    """Quote the external address, too."""
    rig.fresh(ROUTED_ONE_TO_ONE)
    request = IP(src=SERVER, dst=PUBLIC, ttl=1) / UDP(sport=5000, dport=99) / DATA
    (frame,) = rig.send(1, _arrives(request))[1]
    error = Ether(frame)
    assert (error[ICMP].type, error[IP].dst) == (11, SERVER)
    assert (error[IPerror].src, error[IPerror].dst) == (SERVER, PUBLIC)
    assert (error[UDPerror].sport, error[UDPerror].dport) == (5000, 99)

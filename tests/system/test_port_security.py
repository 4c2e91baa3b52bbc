# SPDX-License-Identifier: Apache-2.0
"""Port security: a machine is heard only under its own addresses, and hears only its own."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from support.central import Central
from support.fixtures import HypervisorMaker
from support.hypervisor import Vm
from support.network import Host, plug, port_lines
from support.packets import Wire, datagram, payload_is

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B = Host("a", 1, 11), Host("b", 1, 12)
#: On the same switch without port security: what it sends is as it says.
FREE = Host("f", 1, 13)
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_FALSE_MAC, _FALSE_IP4, _FALSE_IP6 = "02:00:00:00:01:66", "10.0.1.66", "fd00:1::66"
_ALL_NODES, _ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
_END = b"the end"


@pytest.fixture(scope="module")
def vms(central: Central, make_hypervisor: HypervisorMaker) -> dict[str, Vm]:
    """Return two machines with port security and one without, by name."""
    secured = [port_lines("sw", host, secure=True) for host in (A, B)]
    central.nb_lines("\n".join(["ls-add sw", *secured, port_lines("sw", FREE)]))
    hypervisor = make_hypervisor("hv")
    for host in (A, B, FREE):
        plug(hypervisor, host)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor.vms


@pytest.fixture
def wires(vms: dict[str, Vm]) -> Iterator[tuple[Wire, Wire, Wire]]:
    """Return the wires of A, B and the free machine."""
    with Wire(vms["a"]) as a, Wire(vms["b"]) as b, Wire(vms["f"]) as free:
        yield a, b, free


def _advertisement(mac: str, source: str, target: str, option: str) -> Packet:
    return (
        Ether(src=mac, dst=_ALL_NODES_MAC)
        / IPv6(src=source, dst=_ALL_NODES, hlim=255)
        / ICMPv6ND_NA(tgt=target, R=0, S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=option)
    )


def _arp(mac: str, sender_mac: str, sender_ip: str) -> Packet:
    # For an address that the switch does not know, so that it floods the request.
    return Ether(src=mac, dst=_BROADCAST) / ARP(
        hwsrc=sender_mac, psrc=sender_ip, pdst="10.0.1.200"
    )  # fmt: skip


_LINK_LOCAL = "fe80::ff:fe00:10b"  # of A.mac, by EUI-64

ALLOWED = {
    "own addresses, IPv4": datagram(A.mac, _BROADCAST, A.ip4, "10.0.1.255", b"own"),
    "own addresses, IPv6": datagram(A.mac, _ALL_NODES_MAC, A.ip6, _ALL_NODES, b"own"),
    "link-local address": datagram(A.mac, _ALL_NODES_MAC, _LINK_LOCAL, _ALL_NODES, b"own"),
    "own ARP": _arp(A.mac, A.mac, A.ip4),
    "own advertisement": _advertisement(A.mac, A.ip6, A.ip6, A.mac),
    "DHCP without an address": datagram(A.mac, _BROADCAST, "0.0.0.0", "255.255.255.255", b"own"),
}
_DHCP = ALLOWED["DHCP without an address"]
_DHCP["UDP"].sport, _DHCP["UDP"].dport = 68, 67

SPOOFED = {
    "Ethernet address": datagram(_FALSE_MAC, _BROADCAST, A.ip4, "10.0.1.255", b"false"),
    "IPv4 address": datagram(A.mac, _BROADCAST, _FALSE_IP4, "10.0.1.255", b"false"),
    "IPv4 address of B": datagram(A.mac, _BROADCAST, B.ip4, "10.0.1.255", b"false"),
    "IPv6 address": datagram(A.mac, _ALL_NODES_MAC, _FALSE_IP6, _ALL_NODES, b"false"),
    "no address, not DHCP": datagram(A.mac, _BROADCAST, "0.0.0.0", "255.255.255.255", b"false"),
    "ARP sender's Ethernet address": _arp(A.mac, _FALSE_MAC, A.ip4),
    "ARP sender's IPv4 address": _arp(A.mac, A.mac, _FALSE_IP4),
    "ARP from another Ethernet address": _arp(_FALSE_MAC, A.mac, A.ip4),
    "ND target": _advertisement(A.mac, A.ip6, _FALSE_IP6, A.mac),
    "ND link-layer address": _advertisement(A.mac, A.ip6, A.ip6, _FALSE_MAC),
    "ND source": _advertisement(A.mac, _FALSE_IP6, A.ip6, A.mac),
}


def _end_of(host: Host) -> Packet:
    return datagram(host.mac, _BROADCAST, host.ip4, "10.0.1.255", _END)


@pytest.mark.parametrize("frame", ALLOWED.values(), ids=ALLOWED)
def test_own_addresses_pass(wires: tuple[Wire, Wire, Wire], frame: Packet) -> None:
    """What bears the port's own addresses arrives unchanged."""
    a, _b, free = wires
    a.send(frame)
    free.wait_for(lambda one: bytes(one) == bytes(frame))


@pytest.mark.parametrize("frame", SPOOFED.values(), ids=SPOOFED)
def test_false_addresses_are_dropped(wires: tuple[Wire, Wire, Wire], frame: Packet) -> None:
    """What bears an address that is not the port's never arrives; what follows it does."""
    a, _b, free = wires
    a.send(frame)
    a.send(_end_of(A))
    free.wait_for(payload_is(_END))
    assert not free.has_heard(lambda one: bytes(one) == bytes(frame))


def test_the_same_frames_pass_from_a_free_port(wires: tuple[Wire, Wire, Wire]) -> None:
    """It is port security that drops them: a port without it sends what it likes."""
    _a, _b, free = wires
    a = wires[0]
    false = SPOOFED["IPv4 address"]
    free.send(false)
    free.send(_end_of(FREE))
    a.wait_for(payload_is(_END))
    assert a.has_heard(lambda one: bytes(one) == bytes(false))


@pytest.mark.parametrize(
    ("mac", "address"),
    [(B.mac, _FALSE_IP4), (B.mac, _FALSE_IP6)],
    ids=["IPv4 address", "IPv6 address"],
)
def test_a_secured_port_gets_only_what_is_for_it(
    wires: tuple[Wire, Wire, Wire], mac: str, address: str
) -> None:
    """A frame to B's Ethernet address for another IP address is not delivered."""
    _a, b, free = wires
    source = FREE.ip6 if ":" in address else FREE.ip4
    free.send(datagram(FREE.mac, mac, source, address, b"not for b"))
    free.send(datagram(FREE.mac, mac, FREE.ip4, B.ip4, _END))
    b.wait_for(payload_is(_END))
    assert not b.has_heard(payload_is(b"not for b"))


def test_security_can_be_changed_while_the_port_is_used(
    vms: dict[str, Vm], central: Central, wires: tuple[Wire, Wire, Wire]
) -> None:
    """An address allowed later passes from then on, one taken back is dropped again."""
    a, _b, free = wires
    frame = datagram(A.mac, _BROADCAST, _FALSE_IP4, "10.0.1.255", b"one more")
    central.nbctl("lsp-set-port-security", "a", f"{A.mac} {A.ip4} {A.ip6} {_FALSE_IP4}")
    central.sync()
    a.send(frame)
    free.wait_for(payload_is(b"one more"))
    free.heard.clear()
    central.nbctl("lsp-set-port-security", "a", A.all)
    central.sync()
    a.send(frame)
    a.send(_end_of(A))
    free.wait_for(payload_is(_END))
    assert not free.has_heard(payload_is(b"one more"))
    assert vms["a"].ping(B.ip4, count=2).received == 2

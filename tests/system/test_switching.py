# SPDX-License-Identifier: Apache-2.0
"""One logical switch: who gets a frame, for every kind of machine."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import transfer
from support.hypervisor import Vm
from support.network import Host, plug, port_lines
from support.packets import Wire, datagram, payload_is

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B, C = Host("a", 1, 11), Host("b", 1, 12), Host("c", 1, 13)
TAP, INTERNAL = Host("t", 1, 14), Host("i", 1, 15)
ANYTHING = Host("u", 1, 16)
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_STRANGER = "02:00:00:00:01:77"


@pytest.fixture(scope="module")
def vms(central: Central, make_hypervisor: HypervisorMaker) -> dict[str, Vm]:
    """Return five machines of known addresses and one behind an `unknown` port, by name."""
    known = (A, B, C, TAP, INTERNAL)
    lines = [port_lines("sw", host) for host in known]
    central.nb_lines("\n".join(["ls-add sw", *lines, port_lines("sw", ANYTHING, "unknown")]))
    hypervisor = make_hypervisor("hv")
    for host in (A, B, C, ANYTHING):
        plug(hypervisor, host)
    plug(hypervisor, TAP, kind="tap")
    plug(hypervisor, INTERNAL, kind="internal")
    hypervisor.wait_installed()
    central.sync()
    return hypervisor.vms


@pytest.fixture
def wires(vms: dict[str, Vm]) -> Iterator[dict[str, Wire]]:
    """Return a wire for every machine, by name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Wire(vm)) for name, vm in vms.items()}


@pytest.mark.parametrize("target", [B, TAP, INTERNAL], ids=["veth", "tap", "internal"])
@pytest.mark.parametrize("version", [4, 6])
def test_machines_reach_each_other(vms: dict[str, Vm], target: Host, version: int) -> None:
    """Ping from a veth machine to one of each kind loses nothing, the first one included."""
    address = target.ip4 if version == 4 else target.ip6
    ping = vms["a"].ping(address, count=3)
    assert ping.received == 3, ping.output


@pytest.mark.parametrize("pair", [("a", "t"), ("t", "a"), ("a", "i"), ("i", "t")])
def test_bulk_data_arrives_unchanged(vms: dict[str, Vm], pair: tuple[str, str]) -> None:
    """TCP between kinds of machines carries its bytes whole, with the guest's own offloads."""
    sender, receiver = vms[pair[0]], vms[pair[1]]
    transfer(sender, receiver, receiver.ip4, 4 << 20)
    transfer(sender, receiver, receiver.ip6, 4 << 20)


def _marker(source: Host, payload: bytes, target_mac: str = _BROADCAST) -> Packet:
    return datagram(source.mac, target_mac, source.ip4, "10.0.1.255", payload)


def test_a_known_address_is_sent_to_its_port_alone(wires: dict[str, Wire]) -> None:
    """A frame for B reaches B unchanged, and nobody else."""
    frame = datagram(A.mac, B.mac, A.ip4, B.ip4, b"for b alone")
    wires["a"].send(frame)
    wires["a"].send(_marker(A, b"the end"))
    assert bytes(wires["b"].wait_for(payload_is(b"for b alone"))) == bytes(frame)
    for name in ("c", "t", "i", "u"):
        wires[name].wait_for(payload_is(b"the end"))
        assert not wires[name].has_heard(payload_is(b"for b alone")), name


def test_a_broadcast_reaches_all_but_its_sender(wires: dict[str, Wire]) -> None:
    """Every other port of the switch gets one copy, unchanged."""
    frame = _marker(A, b"hear me")
    wires["a"].send(frame)
    for name in ("b", "c", "t", "i", "u"):
        assert bytes(wires[name].wait_for(payload_is(b"hear me"))) == bytes(frame), name
    # B's own broadcast comes after anything of A's that would have come back.
    wires["b"].send(_marker(B, b"and now b"))
    wires["a"].wait_for(payload_is(b"and now b"))
    assert not wires["a"].has_heard(payload_is(b"hear me"))
    wires["c"].wait_for(payload_is(b"and now b"))
    assert sum(payload_is(b"hear me")(frame) for frame in wires["c"].heard) == 1


def test_a_multicast_reaches_all_but_its_sender(wires: dict[str, Wire]) -> None:
    """Without IGMP snooping, a group's frame goes to every other port."""
    frame = datagram(A.mac, "01:00:5e:01:02:03", A.ip4, "239.1.2.3", b"to the group")
    wires["a"].send(frame)
    for name in ("b", "c", "t", "i", "u"):
        assert bytes(wires[name].wait_for(payload_is(b"to the group"))) == bytes(frame), name


def test_an_unknown_address_goes_to_the_unknown_port(wires: dict[str, Wire]) -> None:
    """A frame for nobody reaches the port that takes unknown addresses, and no other."""
    frame = datagram(A.mac, _STRANGER, A.ip4, "10.0.1.77", b"for a stranger")
    wires["a"].send(frame)
    wires["a"].send(_marker(A, b"the end"))
    assert bytes(wires["u"].wait_for(payload_is(b"for a stranger"))) == bytes(frame)
    for name in ("b", "c", "t", "i"):
        wires[name].wait_for(payload_is(b"the end"))
        assert not wires[name].has_heard(payload_is(b"for a stranger")), name


def test_arp_for_a_known_port_is_answered_for_it(wires: dict[str, Wire]) -> None:
    """The switch answers with B's address; B is not asked."""
    request = Ether(src=A.mac, dst=_BROADCAST) / ARP(hwsrc=A.mac, psrc=A.ip4, pdst=B.ip4)
    wires["a"].send(request)
    answer = wires["a"].wait_for(lambda frame: ARP in frame and frame[ARP].op == 2)
    assert (answer.src, answer.dst) == (B.mac, A.mac)
    assert (answer[ARP].hwsrc, answer[ARP].psrc) == (B.mac, B.ip4)
    assert (answer[ARP].hwdst, answer[ARP].pdst) == (A.mac, A.ip4)
    wires["a"].send(_marker(A, b"the end"))
    wires["b"].wait_for(payload_is(b"the end"))
    assert not wires["b"].has_heard(lambda frame: ARP in frame and frame[ARP].pdst == B.ip4)


def test_a_frame_of_another_protocol_passes(wires: dict[str, Wire]) -> None:
    """The switch carries what it does not know."""
    frame = Ether(src=A.mac, dst=B.mac, type=0x88B5) / Raw(b"experimental" * 4)
    wires["a"].send(frame)
    got = wires["b"].wait_for(lambda one: one.type == 0x88B5)
    assert bytes(got) == bytes(frame)

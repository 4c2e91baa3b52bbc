# SPDX-License-Identifier: Apache-2.0
"""Packets whose checksum or segmentation a device has still to do, through modules."""

import struct
from ipaddress import ip_interface

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from chain_frames import arrives, known, leaves, one_router, router_mac
from chain_rig import ChainRig, chain
from iovisor_ovn.config.topology import (
    Config,
    Firewall,
    FirewallRule,
    Router,
    RouterInterface,
    Switch,
)

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

# linux/virtio_net.h
_HEADER = struct.Struct("=BBHHHH")
_NEEDS_CHECKSUM, _GSO_NONE, _GSO_TCPV4 = 1, 0, 1
_TCP_AT, _TCP_HEADER = 34, 20
_CHECKSUM_IN_TCP, _CHECKSUM_IN_UDP = 16, 6
MTU = 1000
#: Payload of the longest segment that the MTU lets through.
WHOLE = MTU - 40
ROUTER = Router(
    (
        RouterInterface("wire0", (ip_interface("10.0.0.1/24"),), router_mac(0)),
        RouterInterface("wire1", (ip_interface("10.0.1.1/24"),), router_mac(1), MTU),
        RouterInterface("wire2", (), router_mac(2)),
        RouterInterface("wire3", (), router_mac(3)),
    ),
    (),
    (known("10.0.0.2", 0), known("10.0.1.2", 1)),
)


def unfinished(data: bytes, segment: int = 0) -> tuple[bytes, bytes]:
    """The frame with the sum over the pseudo header only, and what the device has to do.

    ``segment``: payload of each segment, 0 for a packet that is not to be cut.
    """
    frame = bytearray(data)
    is_tcp = frame[23] == 6
    at = _CHECKSUM_IN_TCP if is_tcp else _CHECKSUM_IN_UDP
    pseudo = frame[26:34] + struct.pack(">HH", frame[23], len(frame) - _TCP_AT)
    total = sum(struct.unpack(">6H", pseudo))
    struct.pack_into(">H", frame, _TCP_AT + at, (total & 0xFFFF) + (total >> 16))
    kind = _GSO_TCPV4 if segment else _GSO_NONE
    length = _TCP_AT + (_TCP_HEADER if is_tcp else 8)
    return bytes(frame), _HEADER.pack(_NEEDS_CHECKSUM, kind, length, segment, _TCP_AT, at)


def stream(dst: str, size: int, src: str = "10.0.0.2") -> Packet:
    """A TCP segment, or many in one."""
    data = bytes(number * 7 % 256 for number in range(size))
    return IP(src=src, dst=dst, id=3) / TCP(sport=4000, dport=80, flags="PA") / data


def forwarded(packet: Packet) -> Packet:
    """The packet after a hop."""
    after = IP(bytes(packet))
    after.ttl -= 1
    del after.chksum
    return after


SIZES = [("one packet", 500, 0), ("many in one", 5000, WHOLE), ("up to 64 KB", 60000, WHOLE)]


@pytest.mark.parametrize(("size", "segment"), [row[1:] for row in SIZES], ids=[r[0] for r in SIZES])
def test_router_leaves_to_the_device_what_it_has_to_do(
    rig: ChainRig, size: int, segment: int
) -> None:
    """Whole, TTL and header checksum changed, the rest of the sum still to be made."""
    rig.fresh(one_router(ROUTER))
    packet = stream("10.0.1.2", size)
    frame, header = unfinished(arrives(0, packet), segment)
    expected, _header = unfinished(leaves(1, forwarded(packet)), segment)
    for _ in range(3):
        assert rig.send(0, frame, header) == {1: [expected]}


def test_segment_that_is_too_long_is_answered(rig: ChainRig) -> None:
    """About the first segment, as it would have been on the wire."""
    rig.fresh(one_router(ROUTER))
    packet = stream("10.0.1.2", 5000)
    frame, header = unfinished(arrives(0, packet), WHOLE + 1)
    (out,) = rig.send(0, frame, header)[0]
    answer = Ether(out)
    assert (answer[ICMP].type, answer[ICMP].code, answer[ICMP].nexthopmtu) == (3, 4, MTU)
    quoted = bytes(answer[ICMP].payload)
    first = stream("10.0.1.2", WHOLE + 1)
    first.ttl -= 1
    first[TCP].flags = "A"
    first[TCP].payload = type(first[TCP].payload)(bytes(packet[TCP].payload)[: WHOLE + 1])
    assert quoted == bytes(first)[: len(quoted)]


@pytest.mark.parametrize(("size", "segment"), [row[1:] for row in SIZES], ids=[r[0] for r in SIZES])
def test_switch_and_firewall_pass_it_as_it_is(rig: ChainRig, size: int, segment: int) -> None:
    """To several ports, and tracked."""
    rule = FirewallRule("tcp", "allow-related")
    modules: dict[str, Config] = {"sw": Switch(), "fw": Firewall((rule,), "drop", "sw", "wire3")}
    rig.fresh(chain(modules, ["sw", "sw", "sw", "fw"], [("sw", "fw")]))
    frame, header = unfinished(arrives(0, stream("10.0.1.2", size)), segment)
    for _ in range(3):
        assert rig.send(0, frame, header) == {1: [frame], 2: [frame], 3: [frame]}


def test_checksum_of_a_packet_that_waits_is_finished(rig: ChainRig) -> None:
    """It goes on from user space, where no device finishes it."""
    rig.fresh(one_router(ROUTER))
    packet = IP(src="10.0.0.2", dst="10.0.1.77") / UDP(sport=1, dport=2) / (b"w" * 100)
    frame, header = unfinished(arrives(0, packet))
    assert list(rig.send(0, frame, header)) == [1]
    answer = bytes(
        Ether(src="02:00:00:00:01:4d", dst=router_mac(1))
        / ARP(op=2, hwsrc="02:00:00:00:01:4d", psrc="10.0.1.77", pdst="10.0.1.1")
    )
    assert rig.send(1, answer) == {1: [leaves(1, forwarded(packet), 77)]}

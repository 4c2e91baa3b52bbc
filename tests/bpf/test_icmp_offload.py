# SPDX-License-Identifier: Apache-2.0
"""Answers to offloaded packets over real devices: lengths, checksums, protocol, receivers."""

import ctypes
import errno
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from icmp_rig import Rig, build
from iovisor_ovn.abi.layout import EVENT_DATA_SIZE, Op, Word
from iovisor_ovn.dataplane.attach import Hook, attach_ingress

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

T = TypeVar("T")

# linux/virtio_net.h, linux/if_packet.h
VNET_HDR = struct.Struct("=BBHHHH")
NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 = 0, 1, 4, 5
SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING = 263, 15, 4
CLONE_NEWNET = 0x40000000
VM_MAC, GW_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
VM4, GW4, VM6, GW6 = "10.9.0.1", "10.9.0.2", "fd09::1", "fd09::2"
ETHER = Ether(src=VM_MAC, dst=GW_MAC)
IP4 = IP(src=VM4, dst=GW4, id=5)
IP6 = IPv6(src=VM6, dst=GW6)
PATIENCE_S = 3.0


def in_namespace(name: str, work: Callable[[], T]) -> T:
    """Run ``work`` in a thread that is in the network namespace; its result."""
    results: list[T] = []

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/run/netns/{name}").open() as namespace:
            assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0
        results.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results, f"the work in {name} failed"
    return results[0]


def ip(*arguments: str) -> None:
    """Call the tool of iproute2."""
    subprocess.run(["ip", *arguments], check=True)


@dataclass(slots=True)
class Wire:
    """A VM's device vm0, whose other end hv0 has the program; vp0 and hp0 are a second pair."""

    rig: Rig
    vm: str
    hv: str
    back: int
    beside: int
    socket: socket.socket

    def order(self, verb: Op, *, peer: bool = False, **words: int) -> None:
        """Answer every packet of the VM with the verb."""
        given = {int(Word[name]): value for name, value in words.items()}
        ifindex = self.beside if peer else self.back
        self.rig.order(0, given, verb=verb, argument=1, ifindex=ifindex, peer=peer)

    def send(self, frame: bytes, header: bytes = bytes(VNET_HDR.size)) -> None:
        """Send a frame out of vm0 with what the device shall still do to it."""
        self.socket.send(header + frame)

    def receive(self, expected: bytes) -> int:
        """Wait until vm0 got the expected frame; its offload flags. Others may come before."""
        others: list[str] = []
        while True:
            try:
                data, address = self.socket.recvfrom(1 << 17)
            except TimeoutError:
                pytest.fail(f"got {others}, not {expected.hex()}")
            frame = data[VNET_HDR.size :]
            if address[2] == PACKET_OUTGOING:
                continue
            if frame == expected:
                return data[0]
            others.append(frame.hex())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The IOModules, loaded once."""
    item = Rig(build(tmp_path_factory.mktemp("icmp")))
    yield item
    item.close()


def open_socket() -> socket.socket:
    """A raw socket on vm0 that passes offload headers both ways."""
    item = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    item.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    item.bind(("vm0", 3))
    item.settimeout(PATIENCE_S)
    return item


def make_devices(vm: str, hv: str) -> None:
    """Two namespaces joined by two veth pairs; the VM knows its gateway's address."""
    for name in (vm, hv):
        ip("netns", "add", name)
        for knob in ("all", "default"):
            subprocess.run(
                ["ip", "netns", "exec", name, "sysctl", "-qw",
                 f"net.ipv6.conf.{knob}.accept_dad=0",
                 f"net.ipv6.conf.{knob}.router_solicitations=0"],
                check=True,
            )  # fmt: skip
    for ours, theirs in (("hv0", "vm0"), ("hp0", "vp0")):
        ip("-n", hv, "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", vm)
        ip("-n", vm, "link", "set", theirs, "address", VM_MAC, "up")
        ip("-n", hv, "link", "set", ours, "up")
    for address, gateway, bits in ((VM4, GW4, 24), (VM6, GW6, 64)):
        ip("-n", vm, "address", "add", f"{address}/{bits}", "dev", "vm0")
        ip("-n", vm, "neigh", "replace", gateway, "lladdr", GW_MAC, "dev", "vm0")


@pytest.fixture(scope="module", params=["offload", "software"])
def wire(
    request: pytest.FixtureRequest, rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Wire]:
    """The devices; ``software``: those of the hypervisor cannot fill in checksums or segment."""
    vm, hv = (f"answer-{kind}-{os.getpid()}" for kind in ("vm", "hv"))
    make_devices(vm, hv)
    try:
        if request.param == "software":
            for device in ("hv0", "hp0"):
                subprocess.run(
                    ["ip", "netns", "exec", hv, "ethtool", "-K", device, "tx", "off", "tso", "off"],
                    check=True, capture_output=True,
                )  # fmt: skip
        indexes = in_namespace(hv, lambda: [socket.if_nametoindex(d) for d in ("hv0", "hp0")])
        pins = tmp_path_factory.mktemp("pins")
        in_namespace(hv, lambda: attach_ingress(rig.program, indexes[0], pins, Hook.CLSACT))
        sock = in_namespace(vm, open_socket)
        yield Wire(rig, vm, hv, indexes[0], indexes[1], sock)
        sock.close()
    finally:
        for name in (vm, hv):
            subprocess.run(["ip", "netns", "del", name], check=False)


def unfinished(packet: Packet, size: int = 0) -> tuple[bytes, bytes]:
    """The frame with its checksum left to the device, and the offload header that says so.

    ``size``: bytes of payload to a segment, 0 for a packet that is not to be cut.
    """
    frame = bytearray(bytes(packet))
    at = 34 if IP in packet else 54
    tcp = TCP in packet
    csum, header = (16, (frame[at + 12] >> 4) * 4) if tcp else (6, 8)
    length = len(frame) - at
    if IP in packet:
        pseudo = frame[26:34] + struct.pack(">HH", 6 if tcp else 17, length)
    else:
        pseudo = frame[22:54] + struct.pack(">II", length, 6 if tcp else 17)
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", frame, at + csum, (total & 0xFFFF) + (total >> 16))
    kind = GSO_NONE
    if size:
        kind = (GSO_TCPV4 if IP in packet else GSO_TCPV6) if tcp else GSO_UDP_L4
    return bytes(frame), VNET_HDR.pack(NEEDS_CSUM, kind, at + header, size, at, csum)


def body(size: int) -> Raw:
    """Payload whose bytes differ."""
    return Raw(bytes(index * 7 % 256 for index in range(size)))


TCP_SEGMENT = TCP(sport=4000, dport=80, seq=7, ack=9, flags="A")
LAST_FLAGS = TCP(sport=4000, dport=80, seq=7, ack=9, flags="PFA")
DATAGRAM = UDP(sport=4000, dport=53)

# verb, packet as sent, payload bytes of a segment (0: not cut), the first packet on a wire
ROWS: list[tuple[str, Op, Packet, int, Packet]] = []
for _family, _ip, _error, _ask in (
    ("4", IP4, Op.GEN_ICMP4, Op.GEN_ARP),
    ("6", IP6, Op.GEN_ICMP6, Op.GEN_ND_NS),
):
    _one = ETHER / _ip / TCP_SEGMENT / body(5)
    _full = ETHER / _ip / TCP_SEGMENT / body(1400)
    _many = ETHER / _ip / LAST_FLAGS / body(60000)
    _small = ETHER / _ip / LAST_FLAGS / body(900)
    _dgram = ETHER / _ip / DATAGRAM / body(1201)
    _dgrams = ETHER / _ip / DATAGRAM / body(6000)
    for _verb in (Op.GEN_REJECT, Op.GEN_TCP_RESET, _error, _ask):
        _name = f"{_verb.name} tcp{_family}"
        ROWS.append((f"{_name} small", _verb, _one, 0, _one))
        ROWS.append((f"{_name} full", _verb, _full, 0, _full))
        ROWS.append((f"{_name} 60000", _verb, _many, 1400, _full))
        ROWS.append(
            (f"{_name} cut at 300", _verb, _small, 300, ETHER / _ip / TCP_SEGMENT / body(300))
        )
    for _verb in (Op.GEN_REJECT, _error, _ask):
        _name = f"{_verb.name} udp{_family}"
        ROWS.append((_name, _verb, _dgram, 0, _dgram))
        ROWS.append((f"{_name} 6000", _verb, _dgrams, 1201, ETHER / _ip / DATAGRAM / body(1201)))


@pytest.mark.parametrize(
    ("verb", "packet", "size", "first"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_offloaded_packet_is_answered(
    wire: Wire, verb: Op, packet: Packet, size: int, first: Packet
) -> None:
    """The answer is that to the first packet on a wire, and no device has to finish it."""
    expected = wire.rig.answer(verb, bytes(first)).frame
    wire.order(verb)
    frame, header = unfinished(packet, size)
    wire.send(frame, header)
    assert wire.receive(expected) & NEEDS_CSUM == 0
    wire.rig.take_events()


def test_error_in_linux_connect(wire: Wire) -> None:
    """A reset made from a SYN with offloads ends connect() with ECONNREFUSED, both families."""
    wire.order(Op.GEN_REJECT)
    for family, gateway in ((socket.AF_INET, GW4), (socket.AF_INET6, GW6)):

        def connect(family: int = family, gateway: str = gateway) -> int:
            with socket.socket(family, socket.SOCK_STREAM) as client:
                client.settimeout(PATIENCE_S)
                return client.connect_ex((gateway, 81))

        assert in_namespace(wire.vm, connect) == errno.ECONNREFUSED


def test_error_in_linux_datagram(wire: Wire) -> None:
    """A port-unreachable error made from an offloaded datagram reaches the socket that sent it."""
    wire.order(Op.GEN_REJECT)
    for family, gateway in ((socket.AF_INET, GW4), (socket.AF_INET6, GW6)):

        def ask(family: int = family, gateway: str = gateway) -> int:
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE_S)
                client.connect((gateway, 81))
                client.send(b"x" * 1000)
                try:
                    client.recv(1)
                except OSError as error:
                    return error.errno or 0
                return 0

        assert in_namespace(wire.vm, ask) == errno.ECONNREFUSED


@pytest.mark.parametrize("peer", [False, True], ids=["queue", "peer"])
def test_request_made_from_ip_is_answered(wire: Wire, peer: bool) -> None:
    """A kernel that gets our ARP request, also straight from device to device, replies to it."""
    device = "vp0" if peer else "vm0"
    if peer:
        ip("-n", wire.vm, "address", "add", "10.9.1.1/24", "dev", "vp0")
    asked, asker = ("10.9.1.1", "10.9.1.77") if peer else (VM4, "10.9.0.77")
    wire.order(
        Op.GEN_ARP, peer=peer, ETH_HI=0x02000200, ETH_DST_LO=1, ETH_SRC_LO=2
    )  # to the VM, from its gateway

    def listen() -> socket.socket:
        item = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        item.bind((device, 3))
        item.settimeout(PATIENCE_S)
        return item

    with in_namespace(wire.vm, listen) as listener:
        packet = ETHER / IP(src=asker, dst=asked) / TCP_SEGMENT / body(3000)
        frame, header = unfinished(packet, 1000)
        wire.send(frame, header)
        reply = ETHER / ARP(op=2, hwsrc=VM_MAC, psrc=asked, hwdst=GW_MAC, pdst=asker)
        while True:
            data, address = listener.recvfrom(1 << 17)
            if address[2] == PACKET_OUTGOING and data == bytes(reply):
                break
    ((event, _data),) = wire.rig.take_events()
    assert (event["gso_size"], event["partial"]) == (1000, 1)


def test_held_packet_says_whether_its_checksum_is_whole(wire: Wire) -> None:
    """The event about a finished packet and one about an offloaded packet differ in `partial`."""
    wire.order(Op.GEN_ARP)
    packet = ETHER / IP4 / TCP_SEGMENT / body(20)
    expected = wire.rig.answer(Op.GEN_ARP, bytes(packet)).frame
    wire.rig.take_events()
    wire.order(Op.GEN_ARP)
    for frame, header, partial in (
        (bytes(packet), bytes(VNET_HDR.size), 0),
        (*unfinished(packet), 1),
    ):
        wire.send(frame, header)
        wire.receive(expected)
        ((event, data),) = wire.rig.take_events()
        assert (event["partial"], data) == (partial, frame)


def test_long_packet_is_held_in_part(wire: Wire) -> None:
    """Of a GSO packet longer than a record the first bytes are kept, with the segment size."""
    wire.order(Op.GEN_ARP)
    frame, header = unfinished(ETHER / IP4 / LAST_FLAGS / body(60000), 1400)
    expected = wire.rig.answer(Op.GEN_ARP, bytes(ETHER / IP4 / LAST_FLAGS)).frame
    wire.rig.take_events()
    wire.order(Op.GEN_ARP)
    wire.send(frame, header)
    wire.receive(expected)
    ((event, data),) = wire.rig.take_events()
    assert (event["gso_size"], event["partial"]) == (1400, 1)
    assert data == frame[:EVENT_DATA_SIZE]

# SPDX-License-Identifier: Apache-2.0
"""SCTP checksums after a change of ports."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Packet

from icmp_rig import Rig, build
from iovisor_ovn.abi.layout import Drop, Op

pytestmark = pytest.mark.needs_bpf

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
CHANGE = (0x1234 ^ 0x9ABC) << 16 | 0x0001


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The IOModules, loaded once."""
    item = Rig(build(tmp_path_factory.mktemp("csum")))
    yield item
    item.close()


def packet(ip: Packet, sport: int, dport: int, size: int) -> Packet:
    """An SCTP packet whose data differ byte for byte."""
    data = bytes(index * 11 % 256 for index in range(size))
    return ETHER / ip / SCTP(sport=sport, dport=dport, tag=7) / SCTPChunkData(data=data)


@pytest.mark.parametrize("size", [4, 100, 1000, 1001, 3000])
@pytest.mark.parametrize(
    "ip",
    [IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrDestOpt()],
    ids=["4", "6"],
)
def test_changed_ports_leave_a_right_checksum(rig: Rig, ip: Packet, size: int) -> None:
    """After a change of ports the packet is the one that Scapy makes with these ports."""
    rig.order(Op.MOVE, {}, xor_ports=CHANGE)
    out = rig.feed(bytes(packet(ip, 0x1234, 80, size)))
    assert out.result == 0
    assert out.frame == bytes(packet(ip, 0x9ABC, 81, size))


def test_wrong_checksum_stays_wrong(rig: Rig) -> None:
    """A packet that was corrupted before is not made to look right."""
    ip = IP(src="10.0.0.1", dst="10.0.0.2")
    damaged = bytearray(bytes(packet(ip, 0x1234, 80, 50)))
    damaged[-3] ^= 0x10
    expected = bytearray(bytes(packet(ip, 0x9ABC, 81, 50)))
    expected[-3] ^= 0x10
    rig.order(Op.MOVE, {}, xor_ports=CHANGE)
    assert rig.feed(bytes(damaged)).frame == bytes(expected)


def test_first_fragment_cannot_be_corrected(rig: Rig) -> None:
    """Ports of a datagram in fragments cannot change: the sum's length is unknown."""
    rig.order(Op.MOVE, {}, xor_ports=CHANGE)
    ip = IP(src="10.0.0.1", dst="10.0.0.2", flags="MF")
    assert rig.feed(bytes(packet(ip, 0x1234, 80, 50))).result == -Drop.REWRITE

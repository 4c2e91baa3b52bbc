# SPDX-License-Identifier: Apache-2.0
"""Which frames ovn-trace is asked about."""

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from differential.trace import microflow

_ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
_IP4 = IP(src="10.0.0.1", dst="10.0.0.2")
_IP6 = IPv6(src="fd00::1", dst="fd00::2")


def test_a_sound_packet_is_told_by_its_fields() -> None:
    """Addresses, TTL and ports are what ovn-trace asks for."""
    told = microflow("p1", bytes(_ETHER / _IP4 / UDP(sport=1, dport=2) / b"x"))
    assert told is not None
    for term in ('inport == "p1"', "ip4.dst == 10.0.0.2", "ip.ttl == 64", "udp.dst == 2"):
        assert term in told


@pytest.mark.parametrize("packet", [
    _ETHER / IP(src="10.0.0.1", dst="10.0.0.2", len=86) / UDP() / b"broken",
    _ETHER / IPv6(src="fd00::1", dst="fd00::2", plen=500) / UDP() / b"broken",
    _ETHER / _IP4 / UDP(len=7) / b"broken",
    _ETHER / _IP4 / TCP(dataofs=2),
    _ETHER / _IP6 / UDP() / bytes(600),
])  # fmt: skip
def test_what_it_cannot_tell_is_not_asked(packet: Packet) -> None:
    """Lengths that do not fit, and packets that an MTU might stop."""
    assert microflow("p1", bytes(packet)) is None

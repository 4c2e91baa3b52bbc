# SPDX-License-Identifier: Apache-2.0
"""Questions for neighbours, beside Scapy's."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from iovisor_ovn.services.asking import ask_arp, ask_nd

_OWN, _MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
_OWN_NUMBER, _MAC_NUMBER = 0x020000000001, 0x020000000002


@pytest.mark.parametrize(("mac", "to"), [(0, "ff:ff:ff:ff:ff:ff"), (_MAC_NUMBER, _MAC)])
def test_arp_request(mac: int, to: str) -> None:
    """To all, or to one."""
    expected = Ether(src=_OWN, dst=to) / ARP(
        op=1, hwsrc=_OWN, psrc="10.0.0.1", hwdst="00:00:00:00:00:00", pdst="10.0.0.9"
    )
    frame = ask_arp(_OWN_NUMBER, IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9"), mac)
    assert frame == bytes(expected)


@pytest.mark.parametrize("target", ["fd00::9", "fe80::ffff:ffff", "2001:db8::12:3456"])
def test_neighbour_solicitation(target: str) -> None:
    """To the address's group, or to one; the checksum fits each."""
    low = IPv6Address(target).packed[-3:]
    group = IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + low)
    for mac, to, to_mac in (
        (0, str(group), f"33:33:ff:{low.hex(':')}"),
        (_MAC_NUMBER, target, _MAC),
    ):
        expected = (
            Ether(src=_OWN, dst=to_mac)
            / IPv6(src="fd00::1", dst=to, hlim=255)
            / ICMPv6ND_NS(tgt=target)
            / ICMPv6NDOptSrcLLAddr(lladdr=_OWN)
        )
        frame = ask_nd(_OWN_NUMBER, IPv6Address("fd00::1"), IPv6Address(target), mac)
        assert frame == bytes(expected)

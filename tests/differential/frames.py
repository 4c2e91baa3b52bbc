# SPDX-License-Identifier: Apache-2.0
"""Frames that a well-behaved machine sends, most of which arrive."""

import random

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6MLReport,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from differential.headers import BROADCAST, Headers, Packet, group_mac
from differential.plan import Host, Plan

__all__ = ["Drawn", "Frames"]

#: Frames sent in a row, and what they are.
Drawn = tuple[tuple[bytes, ...], str]


class Frames:
    """Draws what a host might send: a method for each kind."""

    def __init__(self, chance: random.Random, plan: Plan, headers: Headers) -> None:
        """Draw from ``chance`` for the machines of ``plan``."""
        self._chance = chance
        self._plan = plan
        self._headers = headers

    def plain(self, host: Host) -> Drawn:
        """IP with some payload."""
        header, version = self._headers.network(host)
        packet, what = self._headers.with_payload(header, version)
        return (bytes(packet),), what

    def arp(self, host: Host) -> Drawn:
        """ARP of any operation, for any address."""
        _mac, target, _ip6 = self._headers.target(host)
        near = [other.ip4 for other in self._plan.gateways(host.network)]
        near += [other.ip4 for other in self._plan.hosts if other.network == host.network]
        near += [f"10.0.{host.network}.200", "10.9.0.7", target]
        operation = self._chance.choice((1, 1, 1, 1, 2, 2, 3))
        sender = self._chance.choice((host.ip4,) * 6 + ("0.0.0.0", f"10.0.{host.network}.88"))
        wanted = self._chance.choice(near)
        arp = ARP(op=operation, hwsrc=host.mac, psrc=sender, pdst=wanted)
        what = f"arp op {operation}"
        if operation == 2:
            arp.hwdst = self._chance.choice(near and [host.mac, BROADCAST])
        if not self._chance.randrange(6):
            arp.pdst, what = sender, f"gratuitous arp op {operation}"
        if not self._chance.randrange(12):
            arp.hwsrc, what = "02:00:00:00:66:66", "arp with another sender"
        if not self._chance.randrange(20):
            arp.hwtype, what = 6, "arp for another medium"
        macs = [port.mac for port in self._plan.gateways(host.network)]
        target_mac = self._chance.choice([BROADCAST, BROADCAST, BROADCAST, *macs])
        frame = Ether(src=host.mac, dst=target_mac) / arp
        return (bytes(frame),), what

    def neighbour(self, host: Host) -> Drawn:
        """ND between machines and routers."""
        near = [other.ip6 for other in self._plan.gateways(host.network)]
        near += [other.ip6 for other in self._plan.hosts if other.network == host.network]
        near += [f"fd00:{host.network}::77", "fd00:9::9", "fe80::1"]
        target = self._chance.choice(near)
        source = self._chance.choice((host.ip6,) * 5 + ("::", "fe80::5"))
        limit = self._chance.choice((255,) * 7 + (64,))
        roll = self._chance.randrange(8)
        if host.port in self._plan.secured:
            # Port security is stricter here with solicitations and less so with advertisements:
            # docs/differences.md.
            source, limit, roll = host.ip6, 255, self._chance.choice((0, 7))
        if roll < 4:
            group = f"ff02::1:ff00:{target.rsplit(':', 1)[1]}"
            to = self._chance.choice((group, group, group, target))
            message: Packet = ICMPv6ND_NS(tgt=target)
            if source != "::" or not self._chance.randrange(4):
                message /= ICMPv6NDOptSrcLLAddr(lladdr=host.mac)
            what = "nd solicitation"
        elif roll < 7:
            to = self._chance.choice(("ff02::1", *near))
            message = ICMPv6ND_NA(tgt=host.ip6, R=0, S=self._chance.randrange(2), O=1)
            message /= ICMPv6NDOptDstLLAddr(lladdr=host.mac)
            what = "nd advertisement"
        else:
            to, message, what = "ff02::2", ICMPv6ND_RS(), "router solicitation"
            if self._chance.randrange(2):
                to, message, what = "ff02::1", ICMPv6ND_RA(), "router advertisement"
        packet = IPv6(src=source, dst=to, hlim=limit) / message
        mac = group_mac(to) if to.startswith("ff") else self._headers.mac_of(to)
        return (bytes(Ether(src=host.mac, dst=mac) / packet),), what

    def to_group(self, host: Host) -> Drawn:
        """Multicast and broadcast, group membership included."""
        data = UDP(sport=5353, dport=5353) / Raw(b"to all")
        if self._chance.randrange(2):
            group = self._chance.choice(("ff02::1", "ff02::2", "ff02::fb", "ff05::5", "ff0e::9"))
            packet: Packet = IPv6(src=host.ip6, dst=group, hlim=1) / data
            if not self._chance.randrange(4):
                packet = IPv6(src="fe80::5", dst="ff02::16", hlim=1) / ICMPv6MLReport(mladdr=group)
            return (bytes(Ether(src=host.mac, dst=group_mac(group)) / packet),), "ip6 group"
        group = self._chance.choice(
            ("224.0.0.1", "224.0.0.18", "239.1.1.1", "255.255.255.255", f"10.0.{host.network}.255")
        )
        mac = "01:00:5e:01:01:01" if group.startswith("2") else BROADCAST
        mac = BROADCAST if group.startswith("255") else mac
        packet = IP(
            src=host.ip4, dst=group, ttl=self._chance.choice((1, 64)), id=self._headers.id()
        )
        if group.startswith("224") and self._chance.randrange(2):
            return (bytes(Ether(src=host.mac, dst=mac) / packet / Raw(b"\x16\0\0\0" * 2)),), "igmp"
        return (bytes(Ether(src=host.mac, dst=mac) / packet / data),), "ip4 group or broadcast"

    def error(self, host: Host) -> Drawn:
        """An ICMP error about a packet that never was, or about one that a machine might send."""
        header, version = self._headers.network(host)
        other = self._chance.choice(self._plan.hosts)
        if version == "4":
            about: Packet = (
                IP(src=other.ip4, dst=host.ip4) / UDP(sport=4000, dport=80) / Raw(b"12345678")
            )
            kind, code = self._chance.choice(((3, 3), (3, 1), (3, 4), (11, 0), (5, 1), (12, 0)))
            size = self._chance.choice((28, 28, 36, 20, 8))
            packet = header / ICMP(type=kind, code=code) / Raw(bytes(about)[:size])
            return (bytes(packet),), "icmp4 error about nothing"
        about = IPv6(src=other.ip6, dst=host.ip6) / UDP(sport=4000, dport=80) / Raw(b"12345678")
        error = self._chance.choice(
            (ICMPv6DestUnreach(code=4), ICMPv6PacketTooBig(mtu=1280), ICMPv6TimeExceeded())
        )
        size = self._chance.choice((48, 56, 40, 20))
        return (bytes(header / error / Raw(bytes(about)[:size])),), "icmp6 error about nothing"

    def large(self, host: Host) -> Drawn:
        """A datagram near the MTUs that router ports may have."""
        header, version = self._headers.network(host)
        size = self._chance.choice(
            (450, 480, 1250, 1300, 1380, 1420, 1472 if version == "4" else 1452)
        )
        if version == "4" and self._chance.randrange(2):
            header[IP].flags = "DF"
        packet = header / UDP(**self._headers.ports()) / Raw(self._chance.randbytes(size))
        return (bytes(packet),), f"large udp{version}"

    def service(self, host: Host) -> Drawn:
        """What a machine asks for with an address of nobody: DHCP, duplicate detection."""
        roll = self._chance.choice((0, 2) if host.port in self._plan.secured else (0, 1, 2))
        if roll == 0:
            ether = Ether(src=host.mac, dst=BROADCAST)
            packet: Packet = (
                ether / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)
                / BOOTP(chaddr=bytes.fromhex(host.mac.replace(":", "")), xid=7)
                / DHCP(options=[("message-type", "discover"), "end"])
            )  # fmt: skip
            return (bytes(packet),), "dhcp discover"
        if roll == 1:
            group = f"ff02::1:ff00:{host.ip6.rsplit(':', 1)[1]}"
            packet = IPv6(src="::", dst=group, hlim=255) / ICMPv6ND_NS(tgt=host.ip6)
            frame = Ether(src=host.mac, dst=group_mac(group)) / packet
            return (bytes(frame),), "duplicate address detection"
        packet = IPv6(src="fe80::5", dst="ff02::1:2") / UDP(sport=546, dport=547) / Raw(b"\1abc")
        return (bytes(Ether(src=host.mac, dst=group_mac("ff02::1:2")) / packet),), "dhcpv6"

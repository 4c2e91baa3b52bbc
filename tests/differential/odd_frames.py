# SPDX-License-Identifier: Apache-2.0
"""Frames that are odd, forged or broken."""

import random

from scapy.layers.inet import IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, LLC, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from differential.frames import Drawn, Frames
from differential.headers import BROADCAST, PORTS, Headers, Packet
from differential.plan import Host, Plan

__all__ = ["OddFrames"]

# OVS puts no smaller ones together.
_LEAST_FRAGMENT_SIZE = 400


class OddFrames:
    """Draws them: a method for each kind."""

    def __init__(self, chance: random.Random, plan: Plan, headers: Headers, frames: Frames) -> None:
        """Draw from ``chance`` for the machines of ``plan``; tags go on some of ``frames``."""
        self._chance = chance
        self._plan = plan
        self._headers = headers
        self._frames = frames

    def with_options(self, host: Host) -> Drawn:
        """IPv4 options, IPv6 extension headers."""
        header, version = self._headers.network(host)
        if version == "4":
            size = self._chance.choice((4, 8, 40))
            header[IP].options = [IPOption(b"\x01" * (size - 1) + b"\x00")]
        else:
            for extension in self._chance.sample(
                (IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(), IPv6ExtHdrDestOpt()),
                self._chance.randint(1, 3),
            ):
                header /= extension
        payload, what = self._headers.payload(version)
        if isinstance(payload, Raw):
            payload, what = UDP(**self._headers.ports()) / payload, f"udp{version}"
        kind = "with options" if version == "4" else "behind extension headers"
        return (bytes(header / payload),), f"{what.split()[0]} {kind}"

    def tagged(self, host: Host) -> Drawn:
        """Any plain frame with one or two VLAN tags."""
        frames, what = self._chance.choice(
            (self._frames.plain, self._frames.plain, self._frames.arp, self._frames.neighbour)
        )(host)
        tag = self._chance.choice(
            (Dot1Q(vlan=7), Dot1Q(vlan=7, prio=3), Dot1Q(vlan=0, prio=5), Dot1Q(vlan=0),
             Dot1Q(vlan=9, dei=1), Dot1AD(vlan=7), Dot1Q(vlan=7) / Dot1Q(vlan=8))
        )  # fmt: skip
        tagged = tuple(_with_tag(frame, tag) for frame in frames)
        return tagged, f"tagged {what.split()[0]}"

    def spoofed(self, host: Host) -> Drawn:
        """Addresses that are not the sender's, or that nobody can have."""
        header, version = self._headers.network(host)
        packet, _what = self._headers.with_payload(header, version)
        others = self._plan.everybody()
        other = self._chance.choice(others)
        roll = self._chance.randrange(6)
        if roll == 0:
            packet.src, what = other.mac, "another's Ethernet source"
        elif roll == 1:
            packet.src, what = "01:00:5e:00:00:05", "Ethernet source a group"
        elif roll == 2:
            packet.dst, what = "02:00:00:00:55:55", "unknown Ethernet destination"
        elif roll == 3:
            packet.dst, what = BROADCAST, "unicast IP in a broadcast frame"
        elif version == "4":
            near = f"10.0.{host.network}"
            nobody = ("0.0.0.0", "224.0.0.5", "127.0.0.1", "255.255.255.255")
            sources = [other.ip4, *nobody, f"{near}.250", f"{near}.255"]
            packet[IP].src, what = self._chance.choice(sources), "another IPv4 source"
        else:
            sources = [other.ip6, "::", "ff02::1", "::1", "fe80::5", "fe80::c:ff:fe00:1"]
            packet[IPv6].src, what = self._chance.choice(sources), "another IPv6 source"
        return (bytes(Ether(bytes(packet))) if roll < 4 else bytes(packet),), what

    def fragments(self, host: Host) -> Drawn:
        """All fragments of a datagram, in order."""
        if self._plan.is_tracked:
            return self._frames.large(host)
        mac, ip4, ip6 = self._headers.target(host)
        payload = UDP(sport=self._headers.fresh_port(), dport=self._chance.choice(PORTS))
        payload /= Raw(self._chance.randbytes(self._chance.choice((900, 1300))))
        number = self._chance.randrange(1, 0x10000)
        ether = Ether(src=host.mac, dst=mac)
        if self._chance.randrange(2):
            whole = IP(bytes(IP(src=host.ip4, dst=ip4, id=number) / payload))
            body = bytes(whole)[20:]
            cuts = self._cuts(len(body))
            return tuple(
                bytes(
                    ether
                    / IP(src=host.ip4, dst=ip4, id=number, proto=17, frag=start // 8,
                         flags="MF" if end < len(body) else 0)
                    / Raw(body[start:end])
                )
                for start, end in cuts
            ), "ip4 fragments"  # fmt: skip
        body = bytes(IPv6(bytes(IPv6(src=host.ip6, dst=ip6) / payload)))[40:]
        cuts = self._cuts(len(body))
        return tuple(
            bytes(
                ether
                / IPv6(src=host.ip6, dst=ip6, nh=44)
                / IPv6ExtHdrFragment(nh=17, id=number, offset=start // 8, m=int(end < len(body)))
                / Raw(body[start:end])
            )
            for start, end in cuts
        ), "ip6 fragments"

    def _cuts(self, size: int) -> list[tuple[int, int]]:
        step = self._chance.choice((_LEAST_FRAGMENT_SIZE, 512, 800))
        return [(start, min(start + step, size)) for start in range(0, size, step)]

    def broken(self, host: Host) -> Drawn:
        """Lengths, versions and options that contradict each other."""
        mac, ip4, ip6 = self._headers.target(host)
        ether = Ether(src=host.mac, dst=mac)
        port = self._headers.fresh_port()
        roll = self._chance.randrange(9)
        udp = UDP(sport=port, dport=80) / Raw(b"broken")
        tcp = TCP(sport=port, dport=80, flags="S")
        whole: Packet = ether / IP(src=host.ip4, dst=ip4, id=self._headers.id()) / udp
        if self._chance.randrange(2):
            whole = ether / IPv6(src=host.ip6, dst=ip6) / udp
        data = bytes(whole)
        if roll == 0:
            return (data[: self._chance.randrange(14, len(data))],), "cut short"
        if roll == 1:
            return (data + b"\0" * self._chance.choice((1, 6, 18)),), "padded"
        if roll == 2:
            network = whole[IP] if IP in whole else whole[IPv6]
            field = "len" if IP in whole else "plen"
            setattr(network, field, self._chance.choice((0, 10, 21, 500)))
            return (bytes(whole),), "wrong IP length"
        if roll == 3:
            packet: Packet = (
                ether / IP(src=host.ip4, dst=ip4, version=self._chance.choice((0, 5, 6))) / udp
            )
            return (bytes(packet),), "wrong IP version"
        if roll == 4:
            packet = ether / IP(src=host.ip4, dst=ip4, ihl=self._chance.choice((0, 4, 15))) / udp
            return (bytes(packet),), "wrong IPv4 header length"
        if roll == 5:
            tcp.dataofs = self._chance.choice((0, 4, 15))
            return (bytes(ether / IP(src=host.ip4, dst=ip4) / tcp),), "wrong TCP header length"
        if roll == 6:
            udp.len = self._chance.choice((0, 7, 500))
            return (bytes(ether / IP(src=host.ip4, dst=ip4) / udp),), "wrong UDP length"
        if roll == 7:
            arp = bytes(Ether(src=host.mac, dst=BROADCAST) / ARP(hwsrc=host.mac, psrc=host.ip4))
            return (arp[: self._chance.randrange(14, len(arp))],), "arp cut short"
        if host.port in self._plan.secured:
            return (data,), "plain"
        size, options = self._chance.choice(((0, 1), (0, 1), (2, 1), (1, 2)))
        option = b"\x01" + bytes([size]) + bytes.fromhex(host.mac.replace(":", ""))
        message = ICMPv6ND_NS(tgt=ip6) / Raw(option * options)
        to = self._chance.choice(("ff02::1", f"ff02::1:ff00:{ip6.rsplit(':', 1)[1] or '0'}"))
        packet = IPv6(src=host.ip6, dst=to, hlim=255) / message
        return (bytes(Ether(src=host.mac, dst="33:33:00:00:00:01") / packet),), "wrong nd option"

    def other_ethernet(self, host: Host) -> Drawn:
        """What is not IP, reserved Ethernet groups."""
        mac = self._chance.choice(
            (self._headers.target(host)[0], BROADCAST, "01:80:c2:00:00:0e", "01:80:c2:00:00:00")
        )
        data = Raw(self._chance.randbytes(46))
        roll = self._chance.randrange(3)
        if roll == 0:
            kind = self._chance.choice((0x88CC, 0x8847, 0x8863, 0x9000, 0x0805, 0x894F))
            return (bytes(Ether(src=host.mac, dst=mac, type=kind) / data),), "other ethertype"
        if roll == 1:
            frame = Ether(src=host.mac, dst=mac, type=46) / LLC(dsap=0x42, ssap=0x42, ctrl=3) / data
            return (bytes(frame)[:60],), "802.3"
        return (bytes(Ether(src=host.mac, dst=mac, type=0x800))[:14],), "Ethernet header alone"


def _with_tag(frame: bytes, tag: Packet) -> bytes:
    """Put a tag, or two, behind the Ethernet addresses."""
    first = Ether(frame)
    inner = frame[12:14]
    data = bytes(Ether(src=first.src, dst=first.dst) / tag)
    return data[:-2] + inner + frame[14:]

# SPDX-License-Identifier: Apache-2.0
"""Addresses, headers and payloads that the random frames are made of."""

import random
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkCookieEcho, SCTPChunkInit
from scapy.packet import Raw

from differential.plan import Host, Plan

__all__ = ["BROADCAST", "PORTS", "Headers", "Packet", "group_mac"]

Packet = Any  # scapy's packets take any field
PORTS = (22, 53, 80, 443, 5001, 5002)
BROADCAST = "ff:ff:ff:ff:ff:ff"


def group_mac(address: str) -> str:
    """Return the Ethernet address of an IPv6 group."""
    last = bytes(IPv6(dst=address))[36:40]
    return "33:33:" + ":".join(f"{byte:02x}" for byte in last)


class Headers:
    """Draws what most frames of a host begin with."""

    def __init__(self, chance: random.Random, plan: Plan) -> None:
        """Draw from ``chance`` for the machines of ``plan``."""
        self._chance = chance
        self._plan = plan
        self._port = 10000

    def target(self, host: Host) -> tuple[str, str, str]:
        """Return Ethernet, IPv4 and IPv6 address of something to send to."""
        others = [other for other in self._plan.hosts if other.port != host.port]
        gateways = self._plan.gateways(host.network)
        roll = self._chance.randrange(20)
        if self._plan.translated and gateways:
            roll = self._chance.randrange(5, 20)
        if others and (roll < 13 or not gateways):
            other = self._chance.choice(others)
            if other.network == host.network:
                return other.mac, other.ip4, other.ip6
            near = self._chance.choice(gateways).mac if gateways else BROADCAST
            return near, other.ip4, other.ip6
        if not gateways:
            return "02:00:00:00:77:77", f"10.0.{host.network}.77", f"fd00:{host.network}::77"
        gateway = self._chance.choice(gateways)
        if self._plan.translated and self._chance.randrange(2):
            _network, ip4, ip6 = self._chance.choice(self._plan.translated)
            return gateway.mac, ip4, ip6
        if roll < 16:
            port = self._chance.choice(self._plan.router_ports)
            return gateway.mac, port.ip4, port.ip6
        number = self._chance.choice(self._plan.networks).number
        if roll < 18:
            return gateway.mac, f"10.0.{number}.99", f"fd00:{number}::99"
        return gateway.mac, *self._chance.choice(
            (("10.9.0.5", "fd00:9::5"), ("192.0.2.1", "2001:db8::1"),
             (f"10.0.{number}.255", "ff02::1"), ("127.0.0.1", "::1"), ("0.0.0.0", "::"),
             (host.ip4, host.ip6))
        )  # fmt: skip

    def network(self, host: Host, **fields: Any) -> tuple[Packet, str]:
        """Return Ethernet and IP headers to a target, and "4" or "6"."""
        mac, ip4, ip6 = self.target(host)
        ether = Ether(src=host.mac, dst=mac)
        ttl = self._chance.choice((64, 64, 64, 64, 255, 128, 2, 1, 0))
        tos = self._chance.choice((0, 0, 0, 0x28, 0x29, 0xB8, 3))
        if self._chance.randrange(2):
            return ether / IP(src=host.ip4, dst=ip4, ttl=ttl, tos=tos, id=self.id(), **fields), "4"
        label = self._chance.choice((0, 0, 5, 0xFFFFF))
        return ether / IPv6(src=host.ip6, dst=ip6, hlim=ttl, tc=tos, fl=label), "6"

    def id(self) -> int:
        """Return an IPv4 identification."""
        return self._chance.randrange(0x10000)

    def mac_of(self, address: str) -> str:
        """Return the Ethernet address of a machine or router, all ones for others."""
        for known in self._plan.everybody():
            if address in {known.ip4, known.ip6}:
                return known.mac
        return BROADCAST

    def fresh_port(self) -> int:
        """Return a port that no other frame has, for what must not meet older state."""
        self._port = self._port + 1 if self._port < 60000 else 10000
        return self._port

    def ports(self) -> dict[str, Any]:
        """Return source and destination port, the source sometimes used by no other frame.

        Always where NAT would choose another one if two connections had the same.
        """
        if self._plan.translated:
            return {"sport": self.fresh_port(), "dport": self._chance.choice(PORTS)}
        return {
            "sport": self._chance.choice((4000, 4001, 80, self.fresh_port())),
            "dport": self._chance.choice(PORTS),
        }

    def payload(self, version: str) -> tuple[Packet, str]:
        """Return what IP of a version carries, and what it is."""
        size = self._chance.choice((0, 1, 7, 32, 33, 100))
        data = Raw(self._chance.randbytes(size))
        roll = self._chance.randrange(20)
        if roll < 7:
            return UDP(**self.ports()) / data, f"udp{version}"
        if roll < 14:
            flags = self._chance.choice(("S", "S", "S", "S", "A", "PA", "R", "SA", "FA", "SF", ""))
            sequence = self._chance.randrange(2**32)
            segment = TCP(
                **self.ports(), flags=flags, seq=sequence, ack=self._chance.choice((0, 1, 77)),
                window=self._chance.choice((0, 1000, 65535)),
                options=[("MSS", 1400), ("WScale", 7)] if "S" in flags else [],
            )  # fmt: skip
            return segment / (b"" if flags == "S" else data), f"tcp{version} {flags}"
        if roll < 17:
            number = self._chance.choice((1, 2, 3))
            if self._plan.translated:
                number = self.fresh_port()
            if version == "4":
                return ICMP(type=8, id=number, seq=1) / data, "icmp4 echo"
            return ICMPv6EchoRequest(id=number, seq=1) / data, "icmp6 echo"
        # OVS 3.1 tracks SCTP by addresses alone: docs/differences.md.
        if roll == 17 and not self._plan.is_tracked:
            chunk = self._chance.choice((SCTPChunkInit(init_tag=5), SCTPChunkCookieEcho()))
            return SCTP(**self.ports(), tag=9) / chunk, f"sctp{version}"
        if roll == 18 and version == "4":
            kind = self._chance.choice((0, 13, 14, 17, 3, 5, 11, 12, 42))
            return ICMP(type=kind, id=1) / data, f"icmp4 type {kind}"
        return data, f"ip{version} without a known protocol"

    def _opening(self, protocol: str, port: int) -> tuple[Packet, str]:
        """Return the beginning of a connection to a load balancer."""
        ends: dict[str, Any] = {"sport": self.fresh_port(), "dport": port}
        if protocol == "udp":
            return UDP(**ends) / Raw(self._chance.randbytes(9)), "udp to a load balancer"
        segment = TCP(**ends, flags="S", seq=self._chance.randrange(2**32))
        return segment, "tcp to a load balancer"

    def with_payload(self, header: Packet, version: str) -> tuple[Packet, str]:
        """Return the header with a payload that it names, and what it is."""
        served = self._plan.served.get(header.getlayer(IP if version == "4" else IPv6).dst)
        if served is not None and self._chance.randrange(4):
            payload, what = self._opening(*served)
        else:
            payload, what = self.payload(version)
        if isinstance(payload, Raw):
            number = self._chance.choice((47, 50, 112, 253, 2, 0 if version == "4" else 59))
            if version == "4":
                header[IP].proto = number
            else:
                header[IPv6].nh = number
        return header / payload, what

# SPDX-License-Identifier: Apache-2.0
"""TCP frames between ports of the cloud, as bytes."""

import cloud
from cloud import Port
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

__all__ = ["SPORT_AT", "Conversation"]

#: Where the source port lies, by IP version.
SPORT_AT = {4: 14 + 20, 6: 14 + 40}

# Longer than what parse() reads of a frame, as most that count are.
_PAYLOAD = b"x" * 400
_CLIENT_PORT = 40000
_ISN = (1000, 5000)


class Conversation:
    """A TCP connection from ``client`` to ``server``; frames leave the client or the server.

    ``version`` is that of IP. Between switches the frames go to the router's MAC.
    """

    def __init__(self, client: str, server: str, dport: int, version: int) -> None:
        """Name both ports of the cloud."""
        self.client = cloud.PORTS[client]
        self.server = cloud.PORTS[server]
        self._dport = dport
        self._version = version

    def syn(self) -> bytes:
        """From the client: the first frame."""
        return self._frame(self.client, self.server, "S", _ISN[0], 0)

    def syn_ack(self) -> bytes:
        """From the server: the answer."""
        return self._frame(self.server, self.client, "SA", _ISN[1], _ISN[0] + 1)

    def ack(self) -> bytes:
        """From the client: the connection stands."""
        return self._frame(self.client, self.server, "A", _ISN[0] + 1, _ISN[1] + 1)

    def data(self) -> bytes:
        """From the client: a segment."""
        return self._frame(self.client, self.server, "PA", _ISN[0] + 1, _ISN[1] + 1, _PAYLOAD)

    def _frame(self, source: Port, target: Port, flags: str, seq: int, ack: int,
               payload: bytes = b"") -> bytes:  # fmt: skip
        dst = target.mac if source.switch == target.switch else cloud.ROUTER_MACS[source.switch]
        network: Packet = IPv6(src=source.ip6, dst=target.ip6, hlim=64)
        if self._version == 4:
            network = IP(src=source.ip4, dst=target.ip4, ttl=64)
        ports = (_CLIENT_PORT, self._dport)
        if source is self.server:
            ports = (self._dport, _CLIENT_PORT)
        # A window scale option, so that a segment of any size lies in the window.
        options = [("WScale", 7)] if "S" in flags else []
        tcp = TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, ack=ack,
                  window=65000, options=options)  # fmt: skip
        # Padded: again.bpf.c writes 96 bytes of header.
        return bytes(Ether(src=source.mac, dst=dst) / network / tcp / Raw(payload)).ljust(
            100, b"\0"
        )

# SPDX-License-Identifier: Apache-2.0
"""Frames in and out of a machine's device, byte for byte, with Scapy to make and read them."""

import select
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from iovisor_ovn.demo.places import inside
from support.hypervisor import Vm

__all__ = ["Wire", "datagram", "payload_is"]

_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_LARGEST_FRAME_SIZE = 65536 + 64


def datagram(
    src_mac: str, dst_mac: str, src: str, dst: str, payload: bytes, port: int = 4000
) -> Packet:
    """Return an Ethernet frame with a UDP datagram, IPv4 or IPv6 by its addresses."""
    network = IPv6 if ":" in src else IP
    return (
        Ether(src=src_mac, dst=dst_mac)
        / network(src=src, dst=dst)
        / UDP(sport=port, dport=port)
        / Raw(payload)
    )


def payload_is(payload: bytes) -> Callable[[Packet], bool]:
    """Return a test whether a frame ends in this payload (padding behind it does not count)."""
    return lambda frame: Raw in frame and bytes(frame[Raw]).startswith(payload)


class Wire:
    """What a machine's device sends and receives from now on; use in a ``with`` block."""

    def __init__(self, vm: Vm) -> None:
        """Open a packet socket inside the machine."""

        def opened() -> socket.socket:
            one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            one.bind((vm.device, _ETH_P_ALL))
            return one

        self._socket = inside(vm.namespace.name, opened)
        self.heard: list[Packet] = []

    def send(self, frame: Packet) -> None:
        """Send one frame as it is."""
        self._socket.send(bytes(frame))

    def wait_for(self, wanted: Callable[[Packet], bool], timeout_s: float = 5.0) -> Packet:
        """Return the first frame received that is wanted; AssertionError after the deadline.

        Frames received meanwhile are in ``heard``, the wanted one last.
        """
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                break
            data, address = self._socket.recvfrom(_LARGEST_FRAME_SIZE)
            if address[2] == _PACKET_OUTGOING:
                continue
            frame = Ether(data)
            self.heard.append(frame)
            if wanted(frame):
                return frame
        heard = "\n  ".join(frame.summary() for frame in self.heard)
        raise AssertionError(f"not received within {timeout_s} s; received:\n  {heard}")

    def has_heard(self, wanted: Callable[[Packet], bool]) -> bool:
        """Return whether a frame read so far is wanted."""
        return any(wanted(frame) for frame in self.heard)

    def __enter__(self) -> Self:
        """Start listening."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the socket."""
        self._socket.close()

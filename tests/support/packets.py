# SPDX-License-Identifier: Apache-2.0
"""Frames in and out of a machine's device, byte for byte, with Scapy to make and read them."""

import select
import socket
import struct
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
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
_TP_STATUS_VLAN_VALID = 1 << 4


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


def _with_tag(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """Put the tag back that the kernel keeps beside the frame."""
    for level, kind, content in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, _len, _snap, _mac, _net, tci, tpid = _AUXDATA.unpack_from(content)
            if status & _TP_STATUS_VLAN_VALID:
                return data[:12] + struct.pack("!HH", tpid or 0x8100, tci) + data[12:]
    return data


class Wire:
    """What a machine's device sends and receives from now on; use in a ``with`` block.

    ``protocol`` (an Ethernet type) narrows it to what the network stack itself receives, in place
    of all that is on the cable. VLAN tags are where they were on the cable.
    """

    def __init__(self, vm: Vm, protocol: int = _ETH_P_ALL) -> None:
        """Open a packet socket inside the machine."""

        def opened() -> socket.socket:
            one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
            one.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            one.bind((vm.device, protocol))
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
            frame = self._receive(left)
            if frame is not None and wanted(frame):
                return frame
        heard = "\n  ".join(frame.summary() for frame in self.heard)
        raise AssertionError(f"not received within {timeout_s} s; received:\n  {heard}")

    def drain(self) -> list[Packet]:
        """Return all that has been received so far."""
        while select.select([self._socket], [], [], 0)[0]:
            self._receive(0)
        return self.heard

    def _receive(self, patience_s: float) -> Packet | None:
        """Return the next frame; None if there is none in time, or it is one that was sent."""
        if not select.select([self._socket], [], [], patience_s)[0]:
            return None
        data, ancillary, _flags, address = self._socket.recvmsg(_LARGEST_FRAME_SIZE, 256)
        if address[2] == _PACKET_OUTGOING:
            return None
        frame = Ether(_with_tag(data, ancillary))
        self.heard.append(frame)
        return frame

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

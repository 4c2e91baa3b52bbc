# SPDX-License-Identifier: Apache-2.0
"""The machines' ends of a hypervisor's devices: sockets that send and hear frames byte for byte.

The ends have no addresses, no IPv6 and no ARP, so nothing but the tests' frames is ever sent.
"""

import select
import socket
import struct
from collections.abc import Sequence

from iovisor_ovn.demo.places import Namespace, inside
from support.hypervisor import Hypervisor

__all__ = ["Ends"]

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING = 8, 23
# struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid.
_AUXDATA = struct.Struct("=IIIHHHH")
_VLAN_VALID = 0x10
_BUFFER_SIZE = 1 << 22
_FRAME_SIZE = 1 << 16
_OFFLOADS = ("rx", "tx", "sg", "tso", "gso", "gro", "rxvlan", "txvlan")
_NO_IPV6 = ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")


class Ends:
    """One device for each name, its interface's iface-id the same name."""

    def __init__(self, hypervisor: Hypervisor, names: Sequence[str]) -> None:
        """Make the devices and plug them in; returns when the switch knows them."""
        self._hypervisor = hypervisor
        self.names = tuple(names)
        self._namespace = Namespace(f"{hypervisor.namespace.name}-e", hypervisor.directory)
        for namespace in (hypervisor.namespace, self._namespace):
            namespace.run("sysctl", "-qw", *_NO_IPV6)
        self._make_devices()
        self._sockets = inside(self._namespace.name, self._open)
        self._names = {one.fileno(): name for name, one in self._sockets.items()}
        self._poll = select.epoll()
        for one in self._sockets.values():
            self._poll.register(one, select.EPOLLIN)
        self.plug(names)

    def plug(self, names: Sequence[str]) -> None:
        """Bind the logical ports of these names to their devices."""
        words: list[str] = []
        for name in names:
            words += ["--", "--may-exist", "add-port", "br-int", f"tap-{name}"]
            words += ["--", "set", "Interface", f"tap-{name}", f"external_ids:iface-id={name}"]
        self._hypervisor.vsctl(*words[1:])

    def unplug(self, names: Sequence[str]) -> None:
        """Let the logical ports of these names be bound nowhere; the devices stay."""
        words: list[str] = []
        for name in names:
            words += ["--", "remove", "Interface", f"tap-{name}", "external_ids", "iface-id"]
        self._hypervisor.vsctl(*words[1:])

    def send(self, name: str, frame: bytes) -> None:
        """Send a frame as the machine at ``name``."""
        self._sockets[name].send(frame)

    def hear(self, timeout_s: float) -> list[tuple[str, bytes]]:
        """Return (port, frame) for what has arrived; wait for the first up to ``timeout_s``."""
        heard = []
        for handle, _event in self._poll.poll(timeout_s):
            name = self._names[handle]
            while (frame := _receive(self._sockets[name])) is not None:
                heard.append((name, frame))
        return heard

    def close(self) -> None:
        """Close the sockets; the devices go with the hypervisor's directory."""
        self._poll.close()
        for one in self._sockets.values():
            one.close()

    def _make_devices(self) -> None:
        inner = self._namespace.name
        lines = []
        for name in self.names:
            lines += [
                f"link add tap-{name} type veth peer name {name} netns {inner}",
                f"link set tap-{name} up",
            ]
        self._hypervisor.namespace.ip(*lines)
        words = [word for feature in _OFFLOADS for word in (feature, "off")]
        for name in self.names:
            self._namespace.run("ethtool", "-K", name, *words)
            self._hypervisor.namespace.run("ethtool", "-K", f"tap-{name}", *words)
        self._namespace.ip(*(f"link set {name} arp off up" for name in self.names))

    def _open(self) -> dict[str, socket.socket]:
        sockets = {}
        for name in self.names:
            one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            one.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            one.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_SIZE)
            one.bind((name, _ETH_P_ALL))
            one.setblocking(False)
            sockets[name] = one
        return sockets


def _receive(one: socket.socket) -> bytes | None:
    try:
        frame, extra, _flags, _address = one.recvmsg(_FRAME_SIZE, socket.CMSG_SPACE(_AUXDATA.size))
    except BlockingIOError:
        return None
    for level, kind, data in extra:
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            status, *_sizes, tci, tpid = _AUXDATA.unpack(data)
            if status & _VLAN_VALID:
                # The kernel took the outer tag off the frame; it was there on the wire.
                frame = frame[:12] + struct.pack(">HH", tpid or 0x8100, tci) + frame[12:]
    return frame

# SPDX-License-Identifier: Apache-2.0
"""Speed, duplex and driver of a network device, by the SIOCETHTOOL ioctl (linux/ethtool.h).

Not from /sys: that tree shows the namespace of whoever mounted it, the ioctl that of the socket.
"""

import array
import fcntl
import socket
import struct
from dataclasses import dataclass

__all__ = ["Driver", "LinkMode", "read_driver", "read_link_mode"]

_SIOCETHTOOL = 0x8946
_GDRVINFO = 0x3
_GLINKSETTINGS = 0x4C
_DRIVER_SIZE = 196
_SETTINGS_SIZE = 48 + 3 * 4 * 127  # fixed part, and three bit maps of the greatest length
_WORDS_OFFSET = 15
_SPEED_UNKNOWN = 0xFFFFFFFF
_DUPLEX_NAMES = {0: "half", 1: "full"}


@dataclass(frozen=True, slots=True)
class Driver:
    """The kernel driver of a device, each text empty when the driver does not say."""

    name: str
    version: str
    firmware: str


@dataclass(frozen=True, slots=True)
class LinkMode:
    """``speed_bps`` in bits a second and ``duplex`` ("half" or "full"), None when not known."""

    speed_bps: int | None
    duplex: str | None


def _ethtool(handle: socket.socket, name: str, buffer: "array.array[int]") -> bool:
    """Run one command in place; False when the device is gone or its driver does not answer."""
    address, _count = buffer.buffer_info()
    try:
        fcntl.ioctl(handle, _SIOCETHTOOL, struct.pack("@16sP16x", name.encode(), address))
    except OSError:
        return False
    return True


def read_driver(handle: socket.socket, name: str) -> Driver:
    """Return the driver of a device; empty texts when it has none or is gone."""
    buffer = array.array("B", struct.pack("=I", _GDRVINFO).ljust(_DRIVER_SIZE, b"\0"))
    if not _ethtool(handle, name, buffer):
        return Driver("", "", "")
    fields = struct.unpack_from("=4x32s32s32s", buffer)
    return Driver(*(field.split(b"\0", 1)[0].decode(errors="replace") for field in fields))


def read_link_mode(handle: socket.socket, name: str) -> LinkMode:
    """Return speed and duplex; the first call asks how many mask words the kernel's answer has."""
    buffer = array.array("B", struct.pack("=I", _GLINKSETTINGS).ljust(_SETTINGS_SIZE, b"\0"))
    if not _ethtool(handle, name, buffer):
        return LinkMode(None, None)
    words = struct.unpack_from("=b", buffer, _WORDS_OFFSET)[0]
    if words < 0:  # the kernel's way of saying: ask again with this many
        buffer = array.array("B", struct.pack("=I", _GLINKSETTINGS).ljust(_SETTINGS_SIZE, b"\0"))
        struct.pack_into("=b", buffer, _WORDS_OFFSET, -words)
        if not _ethtool(handle, name, buffer):
            return LinkMode(None, None)
    speed_mbps, duplex = struct.unpack_from("=IB", buffer, 4)
    known = speed_mbps not in (0, _SPEED_UNKNOWN)
    return LinkMode(speed_mbps * 1_000_000 if known else None, _DUPLEX_NAMES.get(duplex))

# SPDX-License-Identifier: Apache-2.0
"""Play QEMU for a tap: ``python -m iovisor_ovn.demo.wire NETNS TAP NETNS TAP PIDFILE``.

Makes a tap in each of two network namespaces and carries frames between them with their
virtio headers, so that unfinished checksums and segments of 64 KB cross as they do between a
guest and its host.  Prints ``ready``, then runs until it is killed; the taps go with it.
"""

import errno
import fcntl
import os
import select
import struct
import sys
from pathlib import Path

from iovisor_ovn.demo.places import enter

__all__: list[str] = []

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_CSUM_TSO4_TSO6 = 0x1 | 0x2 | 0x4
# The largest segment, its Ethernet and virtio headers.
_FRAME_SIZE = 65536 + 128


def open_tap(namespace: str, device: str) -> int:
    """Enter the namespace for good and make a tap there; return its descriptor."""
    enter(namespace)
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", device.encode(), flags))
    fcntl.ioctl(tap, _TUNSETOFFLOAD, _CSUM_TSO4_TSO6)
    return tap


def carry(one: int, other: int) -> None:
    """Carry frames both ways until a device goes away."""
    poller = select.poll()
    far_end = {one: other, other: one}
    for tap in far_end:
        poller.register(tap, select.POLLIN)
    while True:
        for tap, _events in poller.poll():
            try:
                os.write(far_end[tap], os.read(tap, _FRAME_SIZE))
            except BlockingIOError:
                continue
            except OSError as refused:
                # The far device is down or refuses the frame: it is lost, as on a real wire.
                if refused.errno not in {errno.EIO, errno.EINVAL}:
                    raise


def main() -> None:
    """Read the arguments, make the taps, carry."""
    near_namespace, near, far_namespace, far, pid_file = sys.argv[1:]
    taps = open_tap(near_namespace, near), open_tap(far_namespace, far)
    Path(pid_file).write_text(f"{os.getpid()}\n")
    print("ready", flush=True)
    carry(*taps)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Tell whether the agent of an owner is alive in this network namespace.

An agent holds an abstract Unix socket address that its owner's name makes up.  Such addresses
belong to one network namespace, and the kernel frees them when the holder ends, however it ends.
"""

import contextlib
import errno
import socket

__all__ = ["Presence", "is_present"]

_ADDRESS = "\0iovisor-ovn/{owner}"
_OWNER_LIMIT = 80  # an address has 107 bytes; an owner read from an alias may be anything


class Presence:
    """Held for as long as the agent works for an owner."""

    def __init__(self, owner: str) -> None:
        """Begin to be present; a second agent of the same owner is so by way of the first."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        _bind(self._socket, owner)

    def end(self) -> None:
        """Be present no longer."""
        self._socket.close()


def is_present(owner: str) -> bool:
    """Return whether some process of this namespace holds the owner's presence."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as trial:
        return not _bind(trial, owner)


def _bind(handle: socket.socket, owner: str) -> bool:
    try:
        handle.bind(_ADDRESS.format(owner=owner[:_OWNER_LIMIT]))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True

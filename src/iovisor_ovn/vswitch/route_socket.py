# SPDX-License-Identifier: Apache-2.0
"""Two rtnetlink sockets: one for questions and orders, one on which the kernel tells of changes.

They are apart so that a flood of notifications, which makes the kernel drop messages, can never
swallow the answer to a request.  Both belong to the network namespace of the calling thread.
"""

import errno
import os
import socket
from collections.abc import Iterator

from iovisor_ovn.errors import DeviceError
from iovisor_ovn.vswitch import rtnl

__all__ = ["DeviceRequestError", "LinkEvents", "RouteRequests"]

_ANSWER_TIMEOUT_S = 5.0
_READ_SIZE = 1 << 16
_EVENT_BUFFER_SIZE = 4 << 20
_RTMGRP_LINK = 1
_DUMP_ATTEMPTS = 5
_SO_RCVBUFFORCE = 33


class DeviceRequestError(DeviceError):
    """The kernel refused a request about a device; ``error_number`` is the errno."""

    def __init__(self, what: str, error_number: int) -> None:
        """Keep the number; the text shown is ``what (reason)``."""
        super().__init__(f"{what} ({os.strerror(error_number)})")
        self.error_number = error_number


class RouteRequests:
    """Ask the kernel, wait for the answer."""

    def __init__(self) -> None:
        """Open the socket in the network namespace of the calling thread."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def order(self, what: str, message_type: int, body: bytes, flags: int = 0) -> None:
        """Have something changed; DeviceRequestError with ``what`` in its text when refused."""
        self._send(message_type, flags | rtnl.NLM_F_ACK, body)
        for _answer in self._answers(what):
            pass

    def ask(self, what: str, message_type: int, body: bytes) -> bytes:
        """Return the payload of the one answer to a question."""
        self._send(message_type, 0, body)
        for answer in self._answers(what):
            return answer.payload
        raise DeviceRequestError(what, errno.ENODATA)

    def dump(self, what: str, message_type: int, body: bytes) -> list[bytes]:
        """Return the payloads of a listing, asked again when it changed while being read."""
        payloads: list[bytes] = []
        for _attempt in range(_DUMP_ATTEMPTS):
            self._send(message_type, rtnl.NLM_F_DUMP, body)
            answers = list(self._answers(what))
            payloads = [answer.payload for answer in answers]
            if not any(answer.flags & rtnl.NLM_F_DUMP_INTR for answer in answers):
                break
        # After so many attempts the listing is used as it is: what changed meanwhile is also in
        # the notifications.
        return payloads

    def _send(self, message_type: int, flags: int, body: bytes) -> None:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        request = rtnl.message(message_type, flags | rtnl.NLM_F_REQUEST, self._sequence, body)
        self._socket.sendto(request, (0, 0))

    def _answers(self, what: str) -> Iterator[rtnl.Message]:
        """Yield the answers to the last request; end at its acknowledgement or a listing's end."""
        while True:
            try:
                data = self._socket.recv(_READ_SIZE)
            except TimeoutError:
                raise DeviceRequestError(what, errno.ETIMEDOUT) from None
            for answer in rtnl.messages(data):
                if answer.sequence != self._sequence:
                    continue  # belongs to a request that timed out or was left early
                if answer.type in (rtnl.NLMSG_ERROR, rtnl.NLMSG_DONE):
                    number = rtnl.error_number(answer.payload)
                    if number:
                        raise DeviceRequestError(what, number)
                    return
                yield answer


class LinkEvents:
    """The kernel's notifications of links, read without waiting."""

    def __init__(self) -> None:
        """Subscribe in the network namespace of the calling thread."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _EVENT_BUFFER_SIZE)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER_SIZE)
        self._socket.bind((0, _RTMGRP_LINK))

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read(self) -> tuple[list[rtnl.Message], bool]:
        """Return what has arrived, and whether it is complete (False: list all links again)."""
        arrived: list[rtnl.Message] = []
        complete = True
        while True:
            try:
                data = self._socket.recv(_READ_SIZE)
            except BlockingIOError:
                return arrived, complete
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                complete = False
                continue
            arrived.extend(rtnl.messages(data))

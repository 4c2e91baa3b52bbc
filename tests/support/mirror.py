# SPDX-License-Identifier: Apache-2.0
"""A server that tells its clients whom it sees, and clients that tell what they hear."""

import selectors
import socket
import struct
import threading
from collections.abc import Iterable
from typing import Self

from iovisor_ovn.demo.places import Namespace, inside

__all__ = ["Line", "Mirror", "ask", "ask_from", "datagrams"]

_PATIENCE_S = 5.0
_LINGER_NOT = struct.pack("ii", 1, 0)


class Mirror:
    """A server for UDP and TCP that says whom it sees and echoes; use in a ``with`` block.

    A connection begins, and every datagram that comes back, with ``ADDRESS:PORT`` and a new line.
    """

    def __init__(self, where: Namespace, address: str) -> None:
        """Serve on ports of its own, in the namespace ``where`` at ``address``."""
        self.address = address
        self.datagrams = inside(where.name, lambda: datagrams(address, 0))
        self._listener = inside(where.name, lambda: socket.create_server((address, 0), backlog=500))
        self._stop, self._stopped = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for one in (self.datagrams, self._listener, self._stopped):
            self._selector.register(one, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve)

    @property
    def udp(self) -> tuple[str, int]:
        """Where datagrams go."""
        return self.address, self.datagrams.getsockname()[1]

    @property
    def tcp(self) -> tuple[str, int]:
        """Where connections go."""
        return self.address, self._listener.getsockname()[1]

    def _serve(self) -> None:
        while True:
            for key, _events in self._selector.select():
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is self._stopped:
                    return
                if one is self.datagrams:
                    data, peer = one.recvfrom(65535)
                    one.sendto(_name(peer) + data, peer)
                elif one is self._listener:
                    connection, peer = one.accept()
                    connection.sendall(_name(peer))
                    self._selector.register(connection, selectors.EVENT_READ)
                else:
                    self._echo(one)

    def _echo(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
            connection.sendall(data)
        except ConnectionError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            connection.close()

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        """End, and close all connections."""
        self._stop.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


class Line:
    """A TCP connection to a mirror; ``seen`` is whom the mirror sees."""

    def __init__(self, where: Namespace, target: tuple[str, int], port: int = 0) -> None:
        """Connect from a namespace, from a port."""
        self.socket = inside(
            where.name, lambda: socket.create_connection(target, _PATIENCE_S, ("", port))
        )
        self.seen = ""
        while not self.seen.endswith("\n"):
            self.seen += self.socket.recv(1).decode() or "closed\n"
        self.seen = self.seen.strip()

    def echo(self, data: bytes) -> bytes:
        """Send, and return what comes back: as much, or less if the connection ended."""
        sender = threading.Thread(target=self.socket.sendall, args=(data,))
        sender.start()
        back = bytearray()
        while len(back) < len(data):
            got = self.socket.recv(1 << 16)
            if not got:
                break
            back += got
        sender.join()
        return bytes(back)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Reset, so that the next test may use the port."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.socket.close()


def _name(peer: tuple[str, int]) -> bytes:
    return f"{peer[0]}:{peer[1]}\n".encode()


def datagrams(address: str, port: int) -> socket.socket:
    """Return a UDP socket of the caller's namespace; it waits five seconds for an answer."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    made.settimeout(_PATIENCE_S)
    return made


def ask(one: socket.socket, target: tuple[str, int], question: bytes) -> str:
    """Ask a mirror by UDP, expect the question back; return whom it sees."""
    one.sendto(question, target)
    seen, _line, back = one.recv(65535).partition(b"\n")
    assert back == question
    return seen.decode()


def ask_from(where: Namespace, ports: Iterable[int], target: tuple[str, int]) -> dict[int, str]:
    """Ask from a namespace, once from each port; return whom the mirror sees for each."""

    def ask_all() -> dict[int, str]:
        seen = {}
        for port in ports:
            with datagrams("", port) as one:
                seen[port] = ask(one, target, f"{where.name} from {port}".encode())
        return seen

    return inside(where.name, ask_all)

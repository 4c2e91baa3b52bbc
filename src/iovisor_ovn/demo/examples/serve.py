# SPDX-License-Identifier: Apache-2.0
"""Say who one is: ``python -m iovisor_ovn.demo.examples.serve PIDFILE NAME tcp/PORT udp/PORT...``.

On TCP an HTTP server, on UDP an answer to each datagram: ``NAME sees ADDRESS``, the address being
the client's as it arrives here, which shows what translators on the way have done. Prints
``ready`` once all ports are open, runs until it is killed.
"""

import os
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

__all__: list[str] = []


def _text(name: str, client: str) -> bytes:
    return f"{name} sees {client.removeprefix('::ffff:')}\n".encode()


class _Http(BaseHTTPRequestHandler):
    name: ClassVar[str]

    def do_GET(self) -> None:
        """Answer any path."""
        text = _text(self.name, self.client_address[0])
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class _Datagram(socketserver.DatagramRequestHandler):
    name: ClassVar[str]

    def handle(self) -> None:
        """Answer any datagram."""
        self.wfile.write(_text(self.name, self.client_address[0]))


class _Tcp(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6  # both IP versions: Linux's default
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


class _Udp(socketserver.UDPServer):
    address_family = socket.AF_INET6


def main() -> None:
    """Read the arguments, leave the pid, serve."""
    pid_file, name, *services = sys.argv[1:]
    _Http.name = _Datagram.name = name
    for service in services:
        protocol, _slash, port = service.partition("/")
        server: socketserver.BaseServer = (
            _Tcp(("::", int(port)), _Http)
            if protocol == "tcp"
            else _Udp(("::", int(port)), _Datagram)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
    Path(pid_file).write_text(f"{os.getpid()}\n")
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()

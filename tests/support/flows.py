# SPDX-License-Identifier: Apache-2.0
"""Traffic of programs inside machines: echo servers, connections, streams of pings, bulk data."""

import hashlib
import signal
import socket
import sys
import threading
from collections import Counter
from functools import partial
from typing import Self

from iovisor_ovn.demo.places import inside
from iovisor_ovn.demo.traffic import connect_ms
from support.hypervisor import Vm

__all__ = [
    "Connection",
    "PingStream",
    "answers",
    "connects",
    "reaches",
    "serve",
    "serve_name",
    "transfer",
    "udp_error",
]

#: Answers each connection on the ports with the machine's name.
_NAMED = """
import selectors, socket, sys
name, *ports = sys.argv[1:]
waiting = selectors.DefaultSelector()
for port in ports:
    one = socket.create_server(("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True,
                               backlog=256)
    waiting.register(one, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in waiting.select():
        client, _ = key.fileobj.accept()
        with client:
            client.sendall(name.encode())
"""


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(vm: Vm, *ports: int) -> None:
    """Let a machine echo TCP on ports; ends with the machine."""
    words = [str(port) for port in ports]
    process = vm.popen(sys.executable, "-m", "iovisor_ovn.demo.listen", "/dev/null", *words)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def serve_name(vm: Vm, *ports: int) -> None:
    """Let a machine tell its name to whom connects to TCP ports; ends with the machine."""
    process = vm.popen(sys.executable, "-c", _NAMED, vm.name, *map(str, ports))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def _ask(address: str, port: int) -> str:
    with socket.create_connection((address, port), 5) as one:
        one.settimeout(5)
        return one.recv(100).decode()


def answers(vm: Vm, address: str, port: int, count: int) -> Counter[str]:
    """Return who answered how many of so many connections."""
    return Counter(
        inside(vm.namespace.name, partial(_ask, address, port)) for _number in range(count)
    )


def connects(vm: Vm, address: str, port: int, patience_s: float = 1.0) -> bool:
    """Return whether a TCP handshake succeeds (False: refused, unreachable or silence).

    For what must *not* connect: one lost SYN is enough for False.
    """
    return connect_ms(vm, address, port, patience_s) is not None


def reaches(vm: Vm, address: str, port: int) -> bool:
    """Return whether a TCP handshake succeeds, with patience for a SYN sent again."""
    return connects(vm, address, port, patience_s=4.0)


class Connection:
    """A TCP connection from a machine to an echo server; use in a ``with`` block."""

    def __init__(self, vm: Vm, address: str, port: int) -> None:
        """Connect."""
        self._socket = inside(
            vm.namespace.name, lambda: socket.create_connection((address, port), 5)
        )

    def echoes(self, data: bytes = b"are you there", patience_s: float = 5.0) -> bool:
        """Return whether the data comes back in time; False too when the connection broke."""
        self._socket.settimeout(patience_s)
        try:
            self._socket.sendall(data)
            back = b""
            while len(back) < len(data):
                got = self._socket.recv(len(data) - len(back))
                if not got:
                    return False
                back += got
        except (TimeoutError, ConnectionError):
            return False
        return back == data

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Close."""
        self._socket.close()


class PingStream:
    """Pings that go on while other things happen; use in a ``with`` block."""

    def __init__(self, vm: Vm, target: str, every_s: float = 0.02) -> None:
        """Start; returns once the first answer is there."""
        words = ("ping", "-n", "-i", str(every_s), target)
        self._process = vm.popen(*words)
        self.sent = self.received = 0
        for _ in range(20):
            line = self._readline()
            if "bytes from" in line:
                return
        raise AssertionError(f"{' '.join(words)}: no answer")

    def wait_answers(self, count: int) -> None:
        """Return after ``count`` more answers."""
        while count:
            count -= "bytes from" in self._readline()

    def stop(self) -> int:
        """Stop; return how many of the pings were lost."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "packets transmitted" in line:
                words = line.split()
                self.sent, self.received = int(words[0]), int(words[3])
        self._process.wait()
        # The last one may still have been on its way.
        return max(self.sent - self.received - 1, 0)

    def _readline(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "ping ended"
        return line

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """End ping whatever happened."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def transfer(sender: Vm, receiver: Vm, address: str, size: int) -> None:
    """Send ``size`` bytes over one TCP connection and compare their SHA-256 at the other end."""
    family = _family(address)
    listener = inside(
        receiver.namespace.name,
        lambda: socket.create_server(("", 0), family=family),
    )
    port = listener.getsockname()[1]
    listener.settimeout(5)
    client = inside(sender.namespace.name, lambda: socket.create_connection((address, port), 5))
    server = listener.accept()[0]
    pattern = hashlib.shake_128(b"iovisor-ovn").digest(1 << 20)
    sent = hashlib.sha256()

    def send() -> None:
        left = size
        with client:
            client.settimeout(30)
            while left:
                part = pattern[: min(left, len(pattern))]
                client.sendall(part)
                sent.update(part)
                left -= len(part)

    thread = threading.Thread(target=send)
    thread.start()
    got, count = hashlib.sha256(), 0
    with listener, server:
        server.settimeout(30)
        while part := server.recv(1 << 20):
            got.update(part)
            count += len(part)
    thread.join()
    assert count == size
    assert got.digest() == sent.digest()


def udp_error(vm: Vm, address: str, port: int, patience_s: float = 2.0) -> OSError | None:
    """Send a datagram; return the error that comes back (an ICMP's meaning), None for silence."""

    def attempt() -> OSError | None:
        with socket.socket(_family(address), socket.SOCK_DGRAM) as one:
            one.settimeout(patience_s)
            one.connect((address, port))
            one.send(b"anybody?")
            try:
                one.recv(100)
            except TimeoutError:
                return None
            except OSError as error:
                return error
        return None

    return inside(vm.namespace.name, attempt)

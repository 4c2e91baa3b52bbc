# SPDX-License-Identifier: Apache-2.0
"""Echo on TCP: ``python -m iovisor_ovn.demo.listen PIDFILE PORT...``.

Both IP versions; prints ``ready`` once all ports listen, runs until it is killed.
"""

import os
import selectors
import socket
import sys
from pathlib import Path

__all__: list[str] = []


def serve(ports: list[int]) -> None:
    """Listen on the ports and echo, for ever."""
    selector = selectors.DefaultSelector()
    listeners = set()
    for port in ports:
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        listeners.add(listener)
        selector.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _events in selector.select():
            one = key.fileobj
            assert isinstance(one, socket.socket)
            if one in listeners:
                selector.register(one.accept()[0], selectors.EVENT_READ)
                continue
            try:
                data = one.recv(65536)
                one.sendall(data)
            except ConnectionError:
                data = b""
            if not data:
                selector.unregister(one)
                one.close()


def main() -> None:
    """Read the arguments, leave the pid, serve."""
    Path(sys.argv[1]).write_text(f"{os.getpid()}\n")
    serve([int(port) for port in sys.argv[2:]])


if __name__ == "__main__":
    main()

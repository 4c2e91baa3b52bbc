# SPDX-License-Identifier: Apache-2.0
"""Requests to a running process by its control socket, which speaks as ``ovs-appctl`` expects.

The ovs package has a client for it, whose reader takes time quadratic in the length of an answer;
those of ``show`` are long.
"""

import json
import socket
from contextlib import suppress
from typing import Any

from iovisor_ovn.errors import ConfigError

__all__ = ["transact"]

_PART_BYTES = 1 << 16


def transact(line: socket.socket, command: str, *arguments: str) -> str:
    """Let the process at the other end do something; returns its answer.

    Raises ConfigError with its words when it refuses, OSError when the answer does not come whole.
    """
    request = {"id": 0, "method": command, "params": arguments}
    line.sendall(json.dumps(request).encode())
    answer = _receive(line)
    if answer["error"] is not None:
        raise ConfigError(str(answer["error"]).rstrip("\n"))
    return str(answer["result"] or "")


def _receive(line: socket.socket) -> Any:
    """Receive a JSON value that ends in a brace."""
    data = bytearray()
    while part := line.recv(_PART_BYTES):
        data += part
        # Seldom a brace within: then there is more to come.
        if part.endswith(b"}"):
            with suppress(ValueError):
                return json.loads(data)
    raise ConnectionError("the answer is not whole")

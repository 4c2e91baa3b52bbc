# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC over a unix socket: database servers and control sockets, without a process a call."""

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Database", "RefusedError", "Rows", "Rpc"]

#: Columns by row UUID.
Rows = dict[str, dict[str, Any]]
_TIMEOUT_S = 30.0


class RefusedError(Exception):
    """The server answered with an error."""


class Rpc:
    """A connection to one server."""

    def __init__(self, path: Path) -> None:
        """Connect to the socket at ``path``."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.connect(str(path))
        self._decoder = json.JSONDecoder()
        self._text = ""

    def call(self, method: str, *params: Any) -> Any:
        """Return the result; RefusedError when the server refuses, TimeoutError after 30 s."""
        request = {"method": method, "params": list(params), "id": 0}
        self._socket.sendall(json.dumps(request).encode())
        while True:
            message = self._receive()
            if message.get("method") == "echo":
                reply = {"result": message["params"], "error": None, "id": message["id"]}
                self._socket.sendall(json.dumps(reply).encode())
            elif "result" in message:
                if message.get("error") is not None:
                    raise RefusedError(f"{method}: {message['error']}")
                return message["result"]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Use the open connection."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _receive(self) -> dict[str, Any]:
        parts = [self._text]
        while True:
            text = "".join(parts).lstrip()
            # A message ends with a brace; decoding at others would cost time squared.
            if text.endswith("}"):
                try:
                    message, end = self._decoder.raw_decode(text)
                except json.JSONDecodeError:
                    pass
                else:
                    self._text = text[end:]
                    assert isinstance(message, dict)
                    return message
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionError("the server closed the connection")
            parts = [text, data.decode()]


class Database(Rpc):
    """A database of an OVSDB server."""

    def __init__(self, path: Path, name: str) -> None:
        """Connect; ``name`` is the schema's."""
        super().__init__(path)
        self.name = name

    def tables(self) -> dict[str, list[str]]:
        """Return the columns of each table, without ``_uuid``."""
        schema = self.call("get_schema", self.name)
        return {table: sorted(about["columns"]) for table, about in schema["tables"].items()}

    def transact(self, *operations: dict[str, Any]) -> list[dict[str, Any]]:
        """Run a transaction; RefusedError when any operation fails."""
        results: list[dict[str, Any]] = self.call("transact", self.name, *operations)
        for operation, result in zip([*operations, None], results, strict=False):
            if "error" in (result or {"error": "no result"}):
                raise RefusedError(f"{result}: {operation}")
        return results

    def read(self, tables: dict[str, list[str]]) -> dict[str, Rows]:
        """Return all rows of ``tables`` (name: columns) as of one moment."""
        operations = [
            {"op": "select", "table": table, "where": [], "columns": ["_uuid", *columns]}
            for table, columns in tables.items()
        ]
        found = {}
        for table, result in zip(tables, self.transact(*operations), strict=True):
            found[table] = {row.pop("_uuid")[1]: row for row in result["rows"]}
        return found

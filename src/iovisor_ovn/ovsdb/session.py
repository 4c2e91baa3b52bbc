# SPDX-License-Identifier: Apache-2.0
"""Connections of the ``ovs`` package with `MessageReader` in place of its own JSON reader."""

import errno
import os
from collections.abc import Sequence

import ovs.jsonrpc
import ovs.poller
import ovs.reconnect
import ovs.stream
import ovs.timeval
import ovs.vlog

from iovisor_ovn.ovsdb.messages import MalformedMessageError, MessageReader

__all__ = ["FastSession", "open_session"]

_log = ovs.vlog.Vlog("ovsdb")

_READ_SIZE = 1 << 18


class _FastConnection(ovs.jsonrpc.Connection):  # type: ignore[misc]  # no types in ovs
    """A connection that reads large messages in linear time."""

    def __init__(self, stream: ovs.stream.Stream) -> None:
        super().__init__(stream)
        self._reader = MessageReader()

    def recv(self) -> tuple[int, ovs.jsonrpc.Message | None]:
        """Return (0, message), or an errno value (EAGAIN: nothing yet) and None."""
        while not self.status:
            try:
                found = self._reader.take()
                if found is not None:
                    return self._message(found)
                code, data = self.stream.recv(_READ_SIZE)
                if code == errno.EAGAIN:
                    return errno.EAGAIN, None
                if code or not data:
                    self._fail(code or ovs.jsonrpc.EOF, "closed")
                    break
                self.received_bytes += len(data)
                self._reader.feed(data)
            except MalformedMessageError as error:
                self._fail(errno.EPROTO, str(error))
        return self.status, None

    def recv_wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when `recv` has something to return."""
        if self.status or self._reader.has_message:
            poller.immediate_wake()
        else:
            self.stream.recv_wait(poller)

    def _message(self, found: object) -> tuple[int, ovs.jsonrpc.Message | None]:
        message = ovs.jsonrpc.Message.from_json(found)
        if isinstance(message, ovs.jsonrpc.Message):
            return 0, message
        self._fail(errno.EPROTO, str(message))
        return self.status, None

    def _fail(self, code: int, reason: str) -> None:
        if code != ovs.jsonrpc.EOF:
            text = os.strerror(code) if code > 0 else reason
            _log.warn(f"connection_failed remote={self.name} error={text!r} reason={reason!r}")
        self.error(code)


class FastSession(ovs.jsonrpc.Session):  # type: ignore[misc]  # no types in ovs
    """A session that reconnects; its connections read fast."""

    rpc: ovs.jsonrpc.Connection | None

    def run(self) -> None:
        """Connect, reconnect and send, as far as is possible without waiting."""
        super().run()
        if self.rpc is not None and not isinstance(self.rpc, _FastConnection):
            self.rpc = _FastConnection(self.rpc.stream)  # just connected: nothing read or sent yet

    def set_probe_interval(self, interval_ms: int) -> None:
        """Probe an idle connection after so many ms; 0 never. Local sockets need no probe."""
        name = self.reconnect.get_name()
        needs_probes = ovs.stream.stream_or_pstream_needs_probes(name) == 1
        self.reconnect.set_probe_interval(interval_ms if needs_probes else 0)


def open_session(remotes: Sequence[str], probe_interval_ms: int) -> FastSession:
    """Begin to connect to one of ``remotes`` (``unix:PATH``, ``tcp:IP:PORT``, ``ssl:IP:PORT``)."""
    reconnect = ovs.reconnect.Reconnect(ovs.timeval.msec())
    session = FastSession(reconnect, None, list(remotes))
    session.pick_remote()
    reconnect.enable(ovs.timeval.msec())
    reconnect.set_backoff_free_tries(len(remotes))
    session.set_probe_interval(probe_interval_ms)
    return session

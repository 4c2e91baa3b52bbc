# SPDX-License-Identifier: Apache-2.0
"""Ask the databases while the kernel verifies the data plane.

Both take their time, and neither needs the other: a Southbound server puts 50,000 rows together for
a second, the verifier reads the machine for half of one.
"""

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import ovs.poller

from iovisor_ovn.mainlogic.local import LocalRows
from iovisor_ovn.mainlogic.options import read_options
from iovisor_ovn.ovsdb import Database, offer_tls_files

__all__ = ["HeadStart"]

_Result = TypeVar("_Result")
OpenSouthbound = Callable[[str, int], Database]


class HeadStart:
    """Replicates what the settings in ``local`` lead to; nothing is written.

    ``open_southbound`` begins to connect to a remote with a probe interval in ms, ``override`` is
    the chassis name that beats the database's.
    """

    def __init__(
        self, local: Database, open_southbound: OpenSouthbound, override: str | None
    ) -> None:
        """Begin with nothing asked."""
        self._local = local
        self._open_southbound = open_southbound
        self._override = override
        self._southbound: Database | None = None

    def during(self, work: Callable[[], _Result]) -> _Result:
        """Return what ``work`` does in another thread, or raise what it raises."""
        with _event() as done, ThreadPoolExecutor(max_workers=1) as thread:
            future = thread.submit(work)
            future.add_done_callback(lambda _future: os.eventfd_write(done, 1))
            while not future.done():
                self._run()
                poller = ovs.poller.Poller()
                poller.fd_wait(done, ovs.poller.POLLIN)
                self._local.wait(poller)
                if self._southbound is not None:
                    self._southbound.wait(poller)
                poller.block()
            return future.result()

    def open_southbound(self, remote: str, probe_interval_ms: int) -> Database:
        """The database that was asked already, if it is this one, else a new connection."""
        early, self._southbound = self._southbound, None
        if early is None:
            return self._open_southbound(remote, probe_interval_ms)
        early.set_remote(remote, probe_interval_ms)
        return early

    def _run(self) -> None:
        self._local.run()
        if not self._local.ever_connected or not self._local.is_ours:
            return
        if self._southbound is not None:
            self._southbound.run()
            return
        rows = LocalRows(self._local)
        options = read_options(rows.external_ids, socket.gethostname(), self._override)
        if options.remote:
            offer_tls_files(rows.tls_files)
            self._southbound = self._open_southbound(options.remote, options.probe_interval_ms)
            self._southbound.run()


@contextmanager
def _event() -> Iterator[int]:
    fd = os.eventfd(0)
    try:
        yield fd
    finally:
        os.close(fd)

# SPDX-License-Identifier: Apache-2.0
"""Read the records that programs put into a ring buffer.

The reader has a descriptor for a poller and never blocks::

    reader = RingReader(machine.maps["events"])
    poller.fd_wait(reader.fileno(), ovs.poller.POLLIN)
    for record in reader.consume():
        ...
"""

import ctypes
import errno

from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.dataplane.maps import Map
from iovisor_ovn.errors import DataplaneError

__all__ = ["RingReader"]

_DEFAULT_LIMIT = 4096
# Any negative answer stops libbpf after the record at hand; this one is not an errno it makes.
_ENOUGH = -errno.ECANCELED

_SampleCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class RingReader:
    """The one consumer of a ``BPF_MAP_TYPE_RINGBUF`` map (two would share out its records)."""

    def __init__(self, ring: Map) -> None:
        """Map the ring into this process; the Map may be closed afterwards."""
        self._records: list[bytes] = []
        self._limit = _DEFAULT_LIMIT
        # Kept here, because libbpf holds only its address.
        self._callback = _SampleCallback(self._on_record)
        callback = ctypes.cast(self._callback, ctypes.c_void_p)
        self._handle = libbpf.pointer("ring_buffer__new", ring.fd, callback, None, None)
        if self._handle is None:
            reason = libbpf.error_text(ctypes.get_errno())
            raise DataplaneError(f"cannot read ring buffer {ring.name}: {reason}")
        self._name = ring.name

    def fileno(self) -> int:
        """Return the descriptor that is readable while records wait (an epoll descriptor)."""
        return libbpf.call("ring_buffer__epoll_fd", self._open_handle())

    def consume(self, limit: int = _DEFAULT_LIMIT) -> list[bytes]:
        """Take the waiting records, oldest first, at most ``limit`` (at least 1); never blocks.

        The limit keeps a busy program from holding the caller for ever; what is left over
        keeps the descriptor readable.
        """
        self._records, self._limit = [], limit
        result = libbpf.call("ring_buffer__consume", self._open_handle())
        if result != _ENOUGH:
            libbpf.check(result, f"read ring buffer {self._name}")
        return self._records

    def close(self) -> None:
        """Unmap; records that were not consumed stay for the next reader."""
        if self._handle is not None:
            libbpf.call("ring_buffer__free", self._handle)
            self._handle = None

    def _on_record(self, _context: int | None, data: int, size: int) -> int:
        self._records.append(ctypes.string_at(data, size))
        return _ENOUGH if len(self._records) >= self._limit else 0

    def _open_handle(self) -> int:
        if self._handle is None:
            raise DataplaneError("the ring buffer reader was closed")
        return self._handle

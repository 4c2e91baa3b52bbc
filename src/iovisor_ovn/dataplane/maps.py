# SPDX-License-Identifier: Apache-2.0
"""BPF maps as objects: single entries, whole maps and batches.

Keys and values are bytes as the kernel sees them; ``abi`` packs them. A per-CPU value is, in
every call here, the slots of all possible CPUs joined (``slot_size`` bytes together)::

    flows.update(key, value)
    flows.update_many(b"".join(keys), b"".join(values))
    for key, value in flows.items():
        ...

Batch calls take joined buffers: one system call for many entries.
"""

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self

from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.errors import DataplaneError, MapFullError

__all__ = ["BPF_F_MMAPABLE", "BPF_F_NO_PREALLOC", "Map", "MapLayout", "MapType", "Update"]

BPF_F_NO_PREALLOC = 1 << 0
BPF_F_MMAPABLE = 1 << 10

_ENOTSUPP = 524
_BPF_F_LOCK = 4
# struct bpf_map_batch_opts: its size, flags for each element, flags.
_LOCKED_OPTS = struct.pack("=3Q", 24, _BPF_F_LOCK, 0)
_BATCH_ENTRIES = 16384
_RETRIES = 64
_U32 = ctypes.c_uint32
_INFO = struct.Struct("=6I16s")
# bpf_map_create's last argument: a size that counts only its first members (btf_fd ... flags).
_CREATE_OPTS = struct.Struct("=Q6I")


class MapType(IntEnum):
    """``enum bpf_map_type`` (linux/bpf.h): the ones that are spoken of by name here."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    RINGBUF = 27


class Update(IntEnum):
    """What an update may do (``BPF_ANY``, ``BPF_NOEXIST``, ``BPF_EXIST``)."""

    ANY = 0
    CREATE = 1
    REPLACE = 2


_PER_CPU = {MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH}


@dataclass(frozen=True, slots=True)
class MapLayout:
    """What must agree between two maps for one to stand in for the other (sizes in bytes)."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int

    def differences(self, other: "MapLayout") -> list[str]:
        """Name each member that differs, as ``member: ours, other's``."""
        return [
            f"{member}: {getattr(self, member)}, {getattr(other, member)}"
            for member in ("type", "key_size", "value_size", "max_entries", "flags")
            if getattr(self, member) != getattr(other, member)
        ]


class Map:
    """A BPF map by its file descriptor, which this object owns and closes.

    ``key_size`` and ``value_size`` are bytes as declared; ``slot_size`` is what one value takes
    in these calls (it differs for per-CPU maps: 8-byte aligned value x possible CPUs).
    """

    __slots__ = ("fd", "flags", "key_size", "max_entries", "name", "slot_size", "type",
                 "value_size")  # fmt: skip

    def __init__(self, fd: int, name: str | None = None) -> None:
        """Take over ``fd``; ``name`` stands in for the kernel's, which keeps 15 characters."""
        info = libbpf.object_info(fd, _INFO.size, f"read what map {name or fd} is")
        kind, _id, key_size, value_size, max_entries, flags, kernel_name = _INFO.unpack(info)
        self.fd: int = fd
        self.name: str = name or kernel_name.split(b"\0")[0].decode()
        self.key_size: int = key_size
        self.value_size: int = value_size
        self.max_entries: int = max_entries
        self.type: int = kind
        self.flags: int = flags
        per_cpu = kind in _PER_CPU
        self.slot_size: int = (
            _aligned(value_size) * libbpf.possible_cpus() if per_cpu else value_size
        )

    @classmethod
    def create(cls, name: str, layout: MapLayout) -> Self:
        """Make a map that no object file declares (inner maps, tests)."""
        opts = _CREATE_OPTS.pack(_CREATE_OPTS.size, 0, 0, 0, 0, 0, layout.flags)
        fd = libbpf.call(
            "bpf_map_create", layout.type, name[:15].encode(), layout.key_size,
            layout.value_size, layout.max_entries, opts,
        )  # fmt: skip
        return cls(libbpf.check(fd, f"create map {name}"), name)

    @classmethod
    def open_pin(cls, path: str | os.PathLike[str]) -> Self:
        """Open the map pinned at ``path``; its name is the file's."""
        text = os.fspath(path)
        fd = libbpf.check(libbpf.call("bpf_obj_get", text.encode()), f"open the pin {text}")
        return cls(fd, Path(text).name)

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give the map a name in a bpffs; the name must be free."""
        text = os.fspath(path)
        libbpf.check(libbpf.call("bpf_obj_pin", self.fd, text.encode()), f"pin {text}")

    @property
    def layout(self) -> MapLayout:
        """The members that adoption compares."""
        return MapLayout(self.type, self.key_size, self.value_size, self.max_entries, self.flags)

    def close(self) -> None:
        """Give the descriptor back; the kernel keeps the map while a program or pin uses it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # One entry

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value (``slot_size`` bytes), or None when the key is not there."""
        self._expect_sizes(len(key), self.slot_size, 1)
        value = ctypes.create_string_buffer(max(self.slot_size, 1))
        result = libbpf.call("bpf_map_lookup_elem", self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        self._check(result, "look up a key")
        return value.raw[: self.slot_size]

    def lookup_locked(self, key: bytes) -> bytes | None:
        """As :meth:`lookup`, of a value with a spin lock: no program writes to it meanwhile."""
        self._expect_sizes(len(key), self.slot_size, 1)
        value = ctypes.create_string_buffer(self.slot_size)
        result = libbpf.call("bpf_map_lookup_elem_flags", self.fd, key, value, _BPF_F_LOCK)
        if result == -errno.ENOENT:
            return None
        self._check(result, "look up a key")
        return value.raw

    def lookup_per_cpu(self, key: bytes) -> list[bytes] | None:
        """Return one value (``value_size`` bytes) per possible CPU, or None."""
        value = self.lookup(key)
        return None if value is None else self.split_per_cpu(value)

    def split_per_cpu(self, value: bytes) -> list[bytes]:
        """Cut a per-CPU value of :meth:`lookup` or :meth:`items` into one per possible CPU."""
        stride = _aligned(self.value_size)
        return [value[at : at + self.value_size] for at in range(0, len(value), stride)]

    def update(self, key: bytes, value: bytes, flags: Update = Update.ANY) -> None:
        """Write one entry; MapFullError when there is no room."""
        self._expect_sizes(len(key), len(value), 1)
        self._check(libbpf.call("bpf_map_update_elem", self.fd, key, value, int(flags)), "update")

    def add(self, key: bytes, value: bytes) -> bool:
        """Write a new entry; whether the key was free. MapFullError when there is no room."""
        return self._write_if(key, value, Update.CREATE, -errno.EEXIST)

    def replace_locked(self, key: bytes, value: bytes) -> bool:
        """Write to an entry in place under its spin lock; whether there is one."""
        return self._write_if(key, value, Update.REPLACE | _BPF_F_LOCK, -errno.ENOENT)

    def _write_if(self, key: bytes, value: bytes, flags: int, refusal: int) -> bool:
        self._expect_sizes(len(key), len(value), 1)
        result = libbpf.call("bpf_map_update_elem", self.fd, key, value, flags)
        if result == refusal:
            return False
        self._check(result, "update")
        return True

    def delete(self, key: bytes, *, missing_ok: bool = False) -> None:
        """Remove one entry; a key that is not there is an error unless ``missing_ok``."""
        self._expect_sizes(len(key), self.slot_size, 1)
        result = libbpf.call("bpf_map_delete_elem", self.fd, key)
        if not (missing_ok and result == -errno.ENOENT):
            self._check(result, "delete a key")

    # Many entries

    def update_many(self, keys: bytes, values: bytes) -> None:
        """Write entries from joined keys and joined values, in order.

        One system call per 16,384 entries, else one per entry where the map type has no batch
        call. When it raises, the entries before the failing one are written.
        """
        count = self._count(keys)
        self._expect_sizes(len(keys), len(values), count)
        done = self._batch("bpf_map_update_batch", "update", count, keys, values)
        for at in range(done, count):
            self.update(self._key(keys, at), values[at * self.slot_size :][: self.slot_size])

    def delete_many(self, keys: bytes) -> None:
        """Remove entries by joined keys; keys that are not there are passed over."""
        count = self._count(keys)
        done = self._batch("bpf_map_delete_batch", "delete keys", count, keys, None)
        for at in range(done, count):
            self.delete(self._key(keys, at), missing_ok=True)

    def items(self, *, locked: bool = False) -> list[tuple[bytes, bytes]]:
        """Return every entry as (key, value), in the map's own order.

        Entries that a program adds or removes meanwhile may or may not be among them; in a
        map without batch lookup, a removal at the wrong moment can show an entry twice.
        ``locked``: values have a spin lock, and none is read while a program writes to it.
        """
        found: list[tuple[bytes, bytes]] = []
        for keys, values in self._chunks(_LOCKED_OPTS if locked else None):
            found += zip(_cut(keys, self.key_size), _cut(values, self.slot_size), strict=True)
        return found

    def keys(self) -> list[bytes]:
        """Return every key, as :meth:`items` does."""
        return [key for key, _value in self.items()]

    def count(self) -> int:
        """Return the number of entries, as :meth:`items` sees them, without keeping any."""
        return sum(len(keys) // self.key_size for keys, _values in self._chunks())

    def clear(self) -> None:
        """Remove every entry (not for arrays, whose entries cannot be removed)."""
        self.delete_many(b"".join(self.keys()))

    def memory(self) -> memoryview:
        """Map an array made with ``BPF_F_MMAPABLE`` into this process, writable.

        Element i begins at ``i * element_stride``. The view lives on its own: it stays valid
        after :meth:`close`, and ends when the last reference to it goes.
        """
        if not self.flags & BPF_F_MMAPABLE:
            raise DataplaneError(f"map {self.name} was not made with BPF_F_MMAPABLE")
        size = self.element_stride * self.max_entries
        try:
            area = mmap.mmap(self.fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as error:
            raise DataplaneError(f"map {self.name} cannot be mapped: {error}") from error
        return memoryview(area)

    @property
    def element_stride(self) -> int:
        """Bytes from one element to the next in :meth:`memory`."""
        return _aligned(self.value_size)

    # Inside

    def _batch(self, name: str, doing: str, count: int, keys: bytes, values: bytes | None) -> int:
        # Returns how many entries are dealt with: all, or fewer when the type has no batch
        # call (then the caller goes on one by one).
        done = failures = 0
        while done < count:
            start = self.key_size * done
            chunk = min(_BATCH_ENTRIES, count - done)
            number = _U32(chunk)
            arguments = [_address(keys, start)]
            if values is not None:
                arguments.append(_address(values, self.slot_size * done))
            result = libbpf.call(name, self.fd, *arguments, ctypes.byref(number), None)
            if result in (-_ENOTSUPP, -errno.EOPNOTSUPP):
                return done
            # A refusal before the first entry leaves the number as it was asked for.
            done += number.value if result == 0 or number.value < chunk else 0
            if result == 0:
                failures = 0
            elif result == -errno.ENOENT and values is None:
                done += 1
            elif result in (-errno.EBUSY, -errno.EINTR, -errno.EAGAIN) and failures < _RETRIES:
                failures += 1
            else:
                self._check(result, doing)
        return done

    def _chunks(self, opts: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        # One bucket of a hash must fit into a chunk, hence ENOSPC doubles it.
        size = min(_BATCH_ENTRIES, max(self.max_entries, 1))
        position: ctypes.Array[ctypes.c_char] | None = None
        while True:
            keys = ctypes.create_string_buffer(self.key_size * size)
            values = ctypes.create_string_buffer(max(self.slot_size * size, 1))
            following = ctypes.create_string_buffer(max(self.key_size, 4))
            count = _U32(size)
            result = libbpf.call(
                "bpf_map_lookup_batch", self.fd, position, following, keys, values,
                ctypes.byref(count), opts,
            )  # fmt: skip
            if result in (-_ENOTSUPP, -errno.EOPNOTSUPP) and position is None:
                yield from self._walk()
                return
            if result == -errno.ENOSPC:
                size *= 2
                continue
            if result not in (0, -errno.ENOENT, -errno.EINTR):
                self._check(result, "read all entries")
            yield (
                ctypes.string_at(keys, self.key_size * count.value),
                ctypes.string_at(values, self.slot_size * count.value),
            )
            if result == -errno.ENOENT:
                return
            # Interrupted before the first entry: ask again from the same place.
            position = following if count.value else position

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.key_size)
        while True:
            result = libbpf.call("bpf_map_get_next_key", self.fd, key, following)
            if result == -errno.ENOENT:
                return
            self._check(result, "walk the keys")
            key = following.raw
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def _key(self, keys: bytes, at: int) -> bytes:
        return keys[at * self.key_size : (at + 1) * self.key_size]

    def _count(self, keys: bytes) -> int:
        if self.key_size == 0 or len(keys) % self.key_size:
            raise ValueError(
                f"map {self.name}: {len(keys)} bytes are no whole number of "
                f"{self.key_size}-byte keys"
            )
        return len(keys) // self.key_size

    def _expect_sizes(self, keys_size: int, values_size: int, count: int) -> None:
        # A short buffer would let the kernel read or write past its end.
        expected = (self.key_size * count, self.slot_size * count)
        if (keys_size, values_size) != expected:
            raise ValueError(
                f"map {self.name}: key and value of {keys_size} and {values_size} bytes, "
                f"expected {expected[0]} and {expected[1]}"
            )

    def _check(self, result: int, doing: str) -> None:
        if result in (-errno.E2BIG, -errno.ENOMEM, -errno.ENOSPC):
            raise MapFullError(self.name, self.max_entries)
        libbpf.check(result, f"{doing} in map {self.name}")

    def __repr__(self) -> str:
        """Name the map and its sizes."""
        return (
            f"Map({self.name!r}, fd={self.fd}, type={self.type}, key_size={self.key_size}, "
            f"value_size={self.value_size}, max_entries={self.max_entries})"
        )

    def __del__(self) -> None:
        """Close on collection: an object that failed to load drops its maps unnamed."""
        with suppress(OSError, AttributeError):
            self.close()


def _aligned(size: int) -> int:
    return (size + 7) & ~7


def _cut(joined: bytes, size: int) -> list[bytes]:
    return [joined[at : at + size] for at in range(0, len(joined), size)]


def _address(buffer: bytes, offset: int) -> ctypes.c_void_p:
    # bytes do not move; the caller holds them until the system call is over.
    base = ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value or 0
    return ctypes.c_void_p(base + offset)

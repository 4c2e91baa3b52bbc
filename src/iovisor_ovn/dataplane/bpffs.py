# SPDX-License-Identifier: Apache-2.0
"""A BPF file system of the agent's own, that outlives the agent.

Pins hold maps and links while no agent runs, but a bpffs lives only as long as something mounts
it, and ``ip netns exec`` gives every command a mount namespace of its own, which dies with
the command. So the file system is mounted in a namespace that stays: of all processes that see
the run directory under the same path (same device and inode), the one that started first
names it. That is pid 1 wherever this process may look at it: on a plain host, under ``ip netns
exec``, and in a container, whose own init sees what the agent sees. From there the agent takes
a descriptor and works through ``/proc/self/fd/N``, which leads into the foreign mount without
entering its namespace; the thread that mounts is the only one that ever goes there.

The next agent looks through all those namespaces for the mount and finds it before it would
make one. Every mount is a separate instance: two run directories never share a pin.

Where nothing that lives longer sees the run directory, the mount is made here and ``lasting``
is False: then pins end with this mount namespace. The mount is in nobody's fstab, so
:func:`unmount` (or a reboot) is what ends it.
"""

import ctypes
import errno
import os
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from iovisor_ovn.errors import DataplaneError

__all__ = ["BpfFs", "mount", "owner_number", "unmount"]

_BPF_FS_MAGIC = 0xCAFE4A11
_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_MNT_DETACH = 2
# In /proc/PID/stat, counted from the member behind the command's name.
_START_TIME_AT = 19
# Iterators that a kernel with CONFIG_BPF_PRELOAD puts into every bpffs; they cannot be removed.
_KERNELS_OWN = {"maps.debug", "progs.debug"}


@dataclass(frozen=True, slots=True)
class BpfFs:
    """A mounted bpffs.

    ``path`` works in this process and its forks (not in a program it starts); ``directory`` is
    where it is mounted; ``lasting`` tells whether the mount outlives this mount namespace.
    """

    directory: Path
    path: Path
    lasting: bool
    fd: int

    def close(self) -> None:
        """Give the descriptor back; mount and pins stay."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Close."""
        self.close()


@dataclass(frozen=True, slots=True)
class _View:
    """A mount namespace in which the run directory is at the same path, by one of its processes."""

    pid: int
    namespace: str
    is_own: bool

    def seen(self, directory: Path) -> Path:
        return directory if self.is_own else Path(f"/proc/{self.pid}/root{directory}")


def mount(directory: str | os.PathLike[str]) -> BpfFs:
    """Find the bpffs mounted at ``directory``, or make the directory and mount one there.

    The directory's parent (the run directory) must exist. DataplaneError when the kernel
    refuses; needs CAP_SYS_ADMIN.
    """
    place = _absolute(directory)
    views = _views(place.parent)
    for view in views:
        if _is_bpffs(view.seen(place)):
            return _opened(view, place)
    try:
        place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DataplaneError(f"cannot mount a bpffs at {place}: {error}") from error
    refusals: list[str] = []
    for view in views:
        try:
            _in_namespace(view, place, _mount_here)
        except OSError as error:
            refusals.append(f"{view.namespace} of pid {view.pid}: {error}")
            continue
        return _opened(view, place)
    raise DataplaneError(f"cannot mount a bpffs at {place}: {'; '.join(refusals)}")


def owner_number(directory: str | os.PathLike[str]) -> int:
    """A number of 32 bits for whoever has pins there, for names where a path is too long."""
    return zlib.crc32(os.fsencode(Path(directory).resolve()))


def unmount(directory: str | os.PathLike[str]) -> bool:
    """Remove every pin and the mount at ``directory``; False when none was mounted.

    The pins go first, because a copy of the mount in another namespace (``ip netns exec`` copies
    all mounts) would keep them alive.
    """
    place = _absolute(directory)
    found = False
    views = _views(place.parent)
    while views:
        view = views.pop()
        if not _is_bpffs(view.seen(place)):
            continue
        found = True
        try:
            _empty(view.seen(place))
            _in_namespace(view, place, _unmount_here)
        except OSError as error:
            if not _has_ended(view.pid):
                raise DataplaneError(f"cannot unmount the bpffs at {place}: {error}") from error
            # Its namespace may be there by another process.
            views = _views(place.parent)
    return found


def _has_ended(pid: int) -> bool:
    # One that is not waited for yet has no namespace any more.
    try:
        _namespace(pid)
    except OSError:
        return True
    return False


def _absolute(directory: str | os.PathLike[str]) -> Path:
    path = Path(directory)
    try:
        return path.parent.resolve(strict=True) / path.name
    except OSError as error:
        raise DataplaneError(f"the run directory of {path} cannot be used: {error}") from error


def _opened(view: _View, place: Path) -> BpfFs:
    fd = os.open(view.seen(place), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    lasting = not view.is_own or view.pid != os.getpid()
    return BpfFs(place, Path(f"/proc/self/fd/{fd}"), lasting, fd)


def _is_bpffs(path: Path) -> bool:
    # os.statvfs leaves the type of the file system out.
    buffer = ctypes.create_string_buffer(256)
    if _libc().statfs(os.fsencode(path), buffer) != 0:
        return False
    kind = ctypes.c_long.from_buffer(buffer).value
    return kind & 0xFFFFFFFF == _BPF_FS_MAGIC


def _views(run_directory: Path) -> list[_View]:
    # One view per mount namespace, by its oldest process, the oldest first.
    wanted = _identity(run_directory)
    own = _namespace("self")
    oldest: dict[str, tuple[int, int]] = {}
    for pid, started in _processes():
        try:
            namespace = _namespace(pid)
            if (started, pid) < oldest.get(namespace, (started + 1, 0)) and (
                namespace == own or _identity(Path(f"/proc/{pid}/root{run_directory}")) == wanted
            ):
                oldest[namespace] = (started, pid)
        except OSError:
            # It ended meanwhile, is better protected than we are, or has no such directory.
            continue
    # A /proc that hides this very process leaves the own namespace as the last resort.
    oldest.setdefault(own, (sys.maxsize, os.getpid()))
    ordered = sorted(oldest.items(), key=lambda item: item[1])
    return [_View(pid, namespace, namespace == own) for namespace, (_at, pid) in ordered]


def _processes() -> Iterator[tuple[int, int]]:
    # (pid, start time in ticks since boot)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            stat = (process / "stat").read_text()
        except OSError:
            continue
        # The command may hold spaces and parentheses: count from its closing one.
        yield int(process.name), int(stat.rpartition(")")[2].split()[_START_TIME_AT])


def _namespace(pid: int | str) -> str:
    return str(Path(f"/proc/{pid}/ns/mnt").readlink())


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _in_namespace(view: _View, place: Path, work: Callable[[Path], None]) -> None:
    # In a thread of its own: setns(2) wants a task that shares its root and working directory
    # with no other, and the thread ends with the namespace it changed to.
    if view.is_own:
        work(place)
        return
    wanted = _identity(place.parent)
    failures: list[OSError] = []

    def run() -> None:
        try:
            namespace = os.open(f"/proc/{view.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _system(_libc().unshare(_CLONE_FS))
                _system(_libc().setns(namespace, _CLONE_NEWNS))
            finally:
                os.close(namespace)
            # A process in a chroot sees another tree than the namespace's own root.
            if _identity(place.parent) != wanted:
                raise FileNotFoundError(errno.ENOENT, "another directory is at", str(place.parent))
            work(place)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="bpffs-mount")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _mount_here(place: Path) -> None:
    _system(
        _libc().mount(
            b"bpf", os.fsencode(place), b"bpf", ctypes.c_ulong(_MS_NOSUID_NODEV_NOEXEC),
            b"mode=0700",
        )
    )  # fmt: skip


def _unmount_here(place: Path) -> None:
    # Lazily: a descriptor that another process still holds is no reason to fail.
    _system(_libc().umount2(os.fsencode(place), _MNT_DETACH))


def _empty(path: Path) -> None:
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _empty(entry)
            entry.rmdir()
        elif entry.name not in _KERNELS_OWN:
            entry.unlink()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _system(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))

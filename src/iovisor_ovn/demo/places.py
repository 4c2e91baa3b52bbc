# SPDX-License-Identifier: Apache-2.0
"""Network namespaces, and directories that know all that must be removed with them."""

import ctypes
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from iovisor_ovn.demo.processes import end_all, run

__all__ = ["Namespace", "enter", "inside", "sweep"]

_CLONE_NEWNET = 0x40000000
_LIST = "namespaces"
T = TypeVar("T")


class Namespace:
    """A network namespace; recorded in a directory so that :func:`sweep` finds it."""

    def __init__(self, name: str, record: Path) -> None:
        """Make it, with its loopback up and IPv6 addresses usable at once (no DAD, no RA)."""
        self.name = name
        with (record / _LIST).open("a") as listing:
            listing.write(f"{name}\n")
        run("ip", "netns", "add", name)
        self.ip("link set lo up")
        self.run(
            "sysctl",
            "-qw",
            "net.ipv6.conf.default.accept_dad=0",
            "net.ipv6.conf.default.accept_ra=0",
        )

    def words(self, *words: str) -> tuple[str, ...]:
        """Return the command that runs ``words`` inside."""
        return ("ip", "netns", "exec", self.name, *words)

    def run(self, *words: str, timeout_s: float = 30.0) -> str:
        """Run a program inside; see :func:`iovisor_ovn.demo.processes.run`."""
        return run(*self.words(*words), timeout_s=timeout_s)

    def ip(self, *lines: str) -> None:
        """Run lines of ``ip`` commands in one process."""
        run("ip", "-n", self.name, "-batch", "-", text="\n".join(lines))

    def remove(self) -> None:
        """Remove it with the devices in it."""
        run("ip", "netns", "del", self.name)


def enter(namespace: str) -> None:
    """Move the calling thread into the namespace, for good."""
    with Path("/run/netns", namespace).open() as handle:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Call ``work`` in a thread that is in the namespace: sockets that it makes are there."""
    answers: list[T] = []
    faults: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            enter(namespace)
            answers.append(work())
        except BaseException as fault:  # noqa: BLE001 - raised again in the caller's thread
            faults.append(fault)

    # The thread ends with this call, so no other work ever runs in the wrong namespace.
    thread = threading.Thread(target=enter_and_work)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return answers[0]


def sweep(directory: Path) -> None:
    """Remove a directory with its processes, namespaces and mounts; fine when there is none."""
    if not directory.is_dir():
        return
    end_all(directory)
    for listing in directory.rglob(_LIST):
        for name in listing.read_text().split():
            if Path("/run/netns", name).exists():
                run("ip", "netns", "del", name)
    for line in Path("/proc/self/mounts").read_text().splitlines():
        mounted = Path(line.split()[1])
        if mounted.is_relative_to(directory):
            run("umount", "-l", str(mounted))
    shutil.rmtree(directory)

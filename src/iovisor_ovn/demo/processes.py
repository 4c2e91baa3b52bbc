# SPDX-License-Identifier: Apache-2.0
"""Start programs, wait for what they do, and end them by their process id.

Everything that is started belongs to a directory: daemons are given pid files there, and
:mod:`iovisor_ovn.demo.places` notes the names of its network namespaces.  So what a run left
behind, even one that was killed, is found and removed from the directory alone (:func:`end_all`).
"""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

__all__ = [
    "CommandFailed",
    "NotInTime",
    "end",
    "end_all",
    "is_running",
    "read_pid",
    "run",
    "until",
]

_END_S = 10.0
T = TypeVar("T")


class CommandFailed(Exception):
    """A program that must succeed did not; ``output`` is what it printed on both streams."""

    def __init__(self, words: tuple[str, ...], status: int, output: str) -> None:
        """Keep the parts; the text shown holds all."""
        super().__init__(f"{' '.join(words)}: exit status {status}\n{output}")
        self.words = words
        self.status = status
        self.output = output


class NotInTime(Exception):
    """What was waited for did not come before the deadline."""


def run(
    *words: str,
    timeout_s: float = 30.0,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program with ``text`` as its input; return its standard output.

    ``environment`` adds to the present one.  Raises CommandFailed, and NotInTime after
    ``timeout_s`` (the program is killed then).
    """
    try:
        done = subprocess.run(
            words,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as late:
        raise NotInTime(f"{' '.join(words)}: not done within {timeout_s} s") from late
    if done.returncode != 0:
        raise CommandFailed(words, done.returncode, done.stdout + done.stderr)
    return done.stdout


def until(
    found: Callable[[], T | None], what: str, timeout_s: float = 15.0, every_s: float = 0.03
) -> T:
    """Ask until the answer is true and return it; NotInTime names ``what`` was awaited.

    Where this process itself is not run for a while, no more than two seconds of it count.
    """
    waited_s, asked_at = 0.0, time.monotonic()
    pause = threading.Event()
    while not (answer := found()):
        if waited_s > timeout_s:
            raise NotInTime(f"not within {timeout_s} s: {what}")
        pause.wait(every_s)
        was, asked_at = asked_at, time.monotonic()
        waited_s += min(asked_at - was, 2.0)
    return answer


def end(pid: int, how: signal.Signals = signal.SIGTERM, timeout_s: float = _END_S) -> None:
    """Send a signal and wait until the process is gone; SIGKILL after ``timeout_s``.

    Works for processes that are not our children, as daemons are.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        gone = select.poll()
        gone.register(handle, select.POLLIN)
        for number in (how, signal.SIGKILL):
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return
            if gone.poll(timeout_s * 1000):
                return
    finally:
        os.close(handle)
    raise NotInTime(f"process {pid} survived SIGKILL")


def read_pid(pid_file: Path) -> int | None:
    """Return the pid in a pid file, None when there is no such file or process."""
    try:
        pid = int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if is_running(pid) else None


def is_running(pid: int) -> bool:
    """Return whether there is such a process; one that only waits to be reaped has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # The state follows the command's name, which is in brackets and may itself hold some.
    return stat.rpartition(")")[2].split()[0] != "Z"


def end_all(directory: Path) -> None:
    """End every process that was started with a pid file under ``directory``, youngest first.

    Found by their arguments: a daemon that was interrupted while it started has not written its
    pid file yet, and the number in an old file may by now be another process.
    """
    while pids := _owners(directory):
        for pid in pids:
            end(pid)


def _owners(directory: Path) -> list[int]:
    found = []
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command_line.read_text(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(command_line.parent.name)
        if any(_is_pid_file(word, directory) for word in words) and is_running(pid):
            found.append(pid)
    return sorted(found, reverse=True)


def _is_pid_file(word: str, directory: Path) -> bool:
    return word.endswith(".pid") and word.removeprefix("--pidfile=").startswith(f"{directory}/")

# SPDX-License-Identifier: Apache-2.0
"""A shell into which commands are typed one after the other, as a reader of a README does."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from iovisor_ovn.demo.processes import NotInTime

__all__ = ["Shell"]

_MARK = "--- done ---"
_PATIENCE_S = 60.0


class Shell:
    """Bash in a directory, ``iovisor-ovn`` in its path; use in a ``with`` block."""

    def __init__(self, directory: Path) -> None:
        """Start it; what it starts in the background outlives it."""
        programs = Path(sys.executable).parent
        environment = {**os.environ, "LC_ALL": "C", "COLUMNS": "80", "TERM": "dumb"}
        environment["PATH"] = f"{programs}:{environment['PATH']}:/usr/sbin:/sbin"
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def run(self, command: str) -> str:
        """Run a command; return what it printed on both streams, without newlines at the end.

        Raises NotInTime when it takes more than a minute.
        """
        assert self._process.stdin is not None
        script = f"{{ {command}\n}} </dev/null\nprintf '\\n%s\\n' '{_MARK}'\n"
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()
        return self._read(command).rstrip("\n")

    def _read(self, command: str) -> str:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + _PATIENCE_S
        end = f"\n{_MARK}\n".encode()
        got = b""
        while not got.endswith(end):
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise NotInTime(f"{command}: not done within {_PATIENCE_S} s\n{got.decode()}")
            part = os.read(pipe, 65536)
            if not part:
                raise NotInTime(f"{command}: the shell ended\n{got.decode()}")
            got += part
        return got.removesuffix(end).decode(errors="replace")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

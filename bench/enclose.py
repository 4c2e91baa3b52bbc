# SPDX-License-Identifier: Apache-2.0
"""Run in namespaces of our own, so that nothing can be left behind.

Processes, mounts and network devices that a benchmark makes belong to the namespaces and go
with them, also when the benchmark is killed.
"""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["PLACE", "enclose"]

#: Where files may be made that go with the namespaces.
PLACE = Path("/run")

_MARK = "IOVISOR_OVN_BENCH"


def enclose() -> None:
    """Start this program again inside new PID, mount and network namespaces, once.

    Returns inside; outside, the call ends the program with the inner one's exit status.
    """
    if os.environ.get(_MARK) == "inside":
        # `ip netns` keeps its list in files, as do the servers: these vanish with the mount.
        subprocess.run(["mount", "-t", "tmpfs", "bench", str(PLACE)], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    os.environ[_MARK] = "inside"
    # The shell is the PID namespace's init: daemons that end are reaped by it.
    inner = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, *sys.argv]
    flags = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.execvp("unshare", ["unshare", *flags, "--propagation", "private", *inner])  # noqa: S606

# SPDX-License-Identifier: Apache-2.0
"""The demo shows what it promises and leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iovisor_ovn.demo.__main__ import KEPT
from support.central import Release
from support.hypervisor import Flavor

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]


def _start(directory: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "iovisor_ovn.demo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(directory)},
    )


def _left_behind(directory: Path, prefix: str) -> list[str]:
    """Return namespaces, files, mounts and processes that belong to a demo."""
    namespaces = [path.name for path in Path("/run/netns").iterdir()]
    commands = [
        path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    ]
    return [
        *[name for name in namespaces if name == prefix or name.startswith(f"{prefix}-")],
        *[str(path) for path in directory.glob("iovisor-ovn-demo-*")],
        *[
            line
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if str(directory) in line
        ],
        *[command for command in commands if f"{directory}/iovisor-ovn-demo-" in command],
    ]


def test_all_is_as_expected_and_nothing_stays(
    module_directory: Path, flavor: Flavor, release: Release
) -> None:
    """The table agrees with the rules, the exit status says so, the machine is as before."""
    demo = _start(module_directory, "run", f"--flavor={flavor}", f"--ovn={release.name}")
    output, _ = demo.communicate(timeout=90)
    assert demo.returncode == 0, output
    assert "removed; all as expected" in output
    assert output.count(" → ") >= 12
    assert _left_behind(module_directory, f"demo{demo.pid}") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("moment", ["OVN ", "machine db1", "traffic:"])
def test_an_interrupted_demo_leaves_nothing(
    module_directory: Path,
    flavor: Flavor,
    release: Release,
    number: signal.Signals,
    moment: str,
) -> None:
    """Whatever stood at that moment is taken away."""
    demo = _start(module_directory, "run", f"--flavor={flavor}", f"--ovn={release.name}")
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith(moment):
            break
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode != 0, output
    assert _left_behind(module_directory, f"demo{demo.pid}") == []


def test_a_demo_that_stays_can_be_removed(module_directory: Path, flavor: Flavor) -> None:
    """`up` ends with a running cloud and says what to try; `down` removes it all."""
    if KEPT.exists():
        pytest.skip(f"a demo is up on this machine: {KEPT}")
    up = _start(module_directory, "up", f"--flavor={flavor}")
    try:
        output, _ = up.communicate(timeout=90)
        assert up.returncode == 0, output
        assert "Up until `make demo-down`" in output
        ping = next(line for line in output.splitlines() if "demo-ops1 ping" in line)
        words = ping.partition("#")[0].split()
        subprocess.run([*words, "-c", "1"], check=True, capture_output=True, timeout=10)
    finally:
        down = _start(module_directory, "down")
        down_output, _ = down.communicate(timeout=60)
    assert down.returncode == 0, down_output
    assert not KEPT.exists()
    assert _left_behind(module_directory, "demo") == []

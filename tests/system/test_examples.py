# SPDX-License-Identifier: Apache-2.0
"""Every example does what its README says, through `make example`'s own program."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iovisor_ovn.demo.examples.hosts import in_use
from iovisor_ovn.demo.examples.page import read_page

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_bpf]

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))
_PROGRAM = [sys.executable, "-u", "-m", "iovisor_ovn.demo.examples"]
#: `up` and `down` in a world like that of `run`: their names might be taken on this machine.
_WORLD = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _traces() -> list[str]:
    """Return what the machine has of the example `null`: namespaces, devices, mounts."""
    page = read_page(EXAMPLES / "null" / "README.md")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return [*in_use(page.hosts), *(line for line in mounts if " /run/iovisor-ovn" in line)]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_what_its_readme_says(name: str) -> None:
    """Each command prints what stands there."""
    done = subprocess.run(
        [*_PROGRAM, "run", str(EXAMPLES / name)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nas described\n") == len(
        read_page(EXAMPLES / name / "README.md").steps
    )
    assert "all as described" in done.stdout


def test_what_is_not_as_described_is_said(tmp_path: Path) -> None:
    """A README that promises something else fails, and names the line."""
    for file in (EXAMPLES / "switch").iterdir():
        (tmp_path / file.name).write_text(file.read_text().replace("ttl=64", "ttl=65"))
    done = subprocess.run(
        [*_PROGRAM, "run", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    line = next(
        step.line for step in read_page(tmp_path / "README.md").steps if "ttl=65" in step.expected
    )
    assert f"DIFFERS from line {line} of README.md" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_example_leaves_nothing(number: signal.Signals) -> None:
    """Its world goes with it: processes, namespaces, programs."""
    before = _traces()
    example = subprocess.Popen(
        [*_PROGRAM, "run", str(EXAMPLES / "null")], stdout=subprocess.PIPE, text=True
    )
    assert example.stdout is not None
    for line in example.stdout:
        if line.startswith("as described"):
            break
    example.send_signal(number)
    # All that it started holds the pipe: it ends when the last of them has.
    example.stdout.read()
    assert example.wait() != 0
    example.stdout.close()
    assert _traces() == before


def test_an_example_that_stays_is_deployed_and_removed() -> None:
    """`up` leaves hosts and chain for the README's commands, a second one is refused, `down`."""
    script = f"""
        set -eu
        mount -t tmpfs none /run
        export PATH={Path(sys.executable).parent}:$PATH
        program="{" ".join(_PROGRAM)}"
        $program up {EXAMPLES / "switch"}
        ip netns exec alice ping -c 1 10.0.0.2
        $program up {EXAMPLES / "switch"} 2>&1 || echo "refused: $?"
        $program down
        ip netns; ls /run; ip -br link; grep ' /run/' /proc/mounts || true
        ip netns add alice
        $program up {EXAMPLES / "switch"} 2>&1 || echo "refused: $?"
        ip netns
    """
    done = subprocess.run(
        [*_WORLD, "bash", "-c", script], capture_output=True, text=True, check=True
    )
    before, after = done.stdout.split("removed\n")
    assert "  ip netns exec alice ping -c 3 -i 0.2 10.0.0.2\n" in before
    assert "1 received" in before
    assert "an example is up already" in before
    left, refused = after.split("these names are in use on this machine: alice\n")
    assert left.splitlines()[0:2] == ["iovisor-ovn", "netns"]
    assert "veth" not in left
    assert " bpf " not in left
    assert refused == "refused: 2\nalice\n"

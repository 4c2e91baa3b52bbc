# SPDX-License-Identifier: Apache-2.0
"""What is pinned outlives the agent, wherever and however the agent was started.

An agent is played by ``survivor.py``: it mounts, adopts, attaches to its loopback device, says
what it found, and dies by SIGKILL. Then traffic runs, and the next one is started.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from iovisor_ovn.dataplane import mount, unmount
from iovisor_ovn.errors import DataplaneError

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

_SURVIVOR = Path(__file__).with_name("survivor.py")
_SOURCE = Path(__file__).parents[3] / "src"
_SEND = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 4242))"


@dataclass(frozen=True, slots=True)
class Found:
    """What one agent said before it died."""

    lasting: bool
    namespace: str
    hides_sys_fs_bpf: bool
    adopted: list[str]
    attached: int
    counted: int


@pytest.fixture
def run_directory(tmp_path: Path) -> Iterator[Path]:
    """Give a run directory, and unmount what agents left in it."""
    yield tmp_path
    unmount(tmp_path / "bpffs")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_SOURCE)}


def _agents(command: list[str], directory: Path, binding_path: Path) -> list[str]:
    return [*command, sys.executable, str(_SURVIVOR), str(directory), str(binding_path)]


def _live_and_die(command: list[str], directory: Path, binding_path: Path) -> Found:
    agent = subprocess.run(
        _agents(command, directory, binding_path),
        env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert agent.stdout, agent.stderr
    return Found(**json.loads(agent.stdout))


def _send(name: str) -> None:
    subprocess.run(["ip", "netns", "exec", name, sys.executable, "-c", _SEND], check=True)


def test_traffic_and_maps_outlive_an_agent_in_ip_netns_exec(
    namespace: Callable[[], str], run_directory: Path, binding_path: Path
) -> None:
    """Each agent has a mount namespace of its own, yet the next finds maps, link and counts."""
    name = namespace()
    command = ["ip", "netns", "exec", name]
    first = _live_and_die(command, run_directory, binding_path)
    _send(name)
    _send(name)
    second = _live_and_die(command, run_directory, binding_path)
    _send(name)
    third = _live_and_die(command, run_directory, binding_path)
    own = str(Path("/proc/self/ns/mnt").readlink())
    assert own not in {first.namespace, second.namespace, third.namespace}
    assert [found.lasting for found in (first, second, third)] == [True] * 3
    assert [found.counted for found in (first, second, third)] == [0, 2, 3]
    assert [found.attached for found in (first, second, third)] == [0, 1, 1]
    assert first.adopted == []
    assert "shared" in second.adopted
    assert first.hides_sys_fs_bpf


def test_two_run_directories_share_nothing(
    namespace: Callable[[], str], run_directory: Path, binding_path: Path
) -> None:
    """The agent of another hypervisor finds an empty bpffs and counts its own traffic only."""
    names = [namespace(), namespace()]
    directories = [run_directory / "a", run_directory / "b"]
    for name, directory in zip(names, directories, strict=True):
        directory.mkdir()
        found = _live_and_die(["ip", "netns", "exec", name], directory, binding_path)
        assert (found.adopted, found.attached) == ([], 0)
    _send(names[0])
    counted = [
        _live_and_die(["ip", "netns", "exec", name], directory, binding_path).counted
        for name, directory in zip(names, directories, strict=True)
    ]
    assert counted == [1, 0]
    assert [unmount(directory / "bpffs") for directory in directories] == [True, True]


@pytest.mark.parametrize("propagation", ["private", "shared"])
def test_container_keeps_pins_between_its_agents(
    propagation: str, namespace: Callable[[], str], run_directory: Path, binding_path: Path
) -> None:
    """Where pid 1 is a container's own init, pins live with the container, and end with it."""
    name = namespace()
    agent = " ".join(_agents(["ip", "netns", "exec", name], run_directory, binding_path))
    # The last command keeps the shell, which is pid 1, from becoming the second agent.
    script = f"mount --make-r{propagation} /; {agent}; {agent}; true"
    container = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
        env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = container.stdout.splitlines()
    assert len(lines) == 2, container.stderr
    first, second = (Found(**json.loads(line)) for line in lines)
    # Two namespaces, each other than ours; the second may be given the number of the first.
    own = str(Path("/proc/self/ns/mnt").readlink())
    assert own not in {first.namespace, second.namespace}
    assert (first.lasting, first.adopted, first.attached) == (True, [], 0)
    assert (second.lasting, second.attached) == (True, 1)
    assert "shared" in second.adopted
    assert not unmount(run_directory / "bpffs")


def test_second_mount_is_the_first(run_directory: Path) -> None:
    """Without any namespace around, a second call finds what the first made."""
    with mount(run_directory / "bpffs") as first, mount(run_directory / "bpffs") as second:
        (first.path / "v1").mkdir()
        assert (second.path / "v1").is_dir()
        assert (run_directory / "bpffs" / "v1").is_dir()


def test_unmount_forgets_every_pin(run_directory: Path) -> None:
    """After the unmount there is nothing to find, and the next mount is empty."""
    with mount(run_directory / "bpffs") as first:
        (first.path / "v1" / "maps").mkdir(parents=True)
        assert unmount(run_directory / "bpffs")
        # Somebody who still holds the file system must not keep the pins alive.
        assert not (first.path / "v1").exists()
    assert not unmount(run_directory / "bpffs")
    with mount(run_directory / "bpffs") as second:
        assert not (second.path / "v1").exists()


def test_missing_run_directory_is_an_error(tmp_path: Path) -> None:
    """The run directory is for the agent to make; its absence is named."""
    with pytest.raises(DataplaneError, match="nowhere"):
        mount(tmp_path / "nowhere" / "bpffs")

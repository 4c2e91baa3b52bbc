# SPDX-License-Identifier: Apache-2.0
"""An agent that cannot work says why in its last line, ends with status 1, and attaches nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iovisor_ovn.dataplane import unmount
from iovisor_ovn.dataplane.machine import OBJECT_PATH
from support.refuse import Refusal, refusing

pytestmark = [
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.skipif(not OBJECT_PATH.exists(), reason="needs the BPF object: run make bpf"),
]

_SOURCE = Path(__file__).parents[2] / "src"
_AGENT = f'{sys.executable} -c "from iovisor_ovn.cli.main import main; main()" agent'
_UNPRIVILEGED = ("setpriv", "--bounding-set=-bpf,-sys_admin,-net_admin", "--inh-caps=-all")


def _start(run_directory: Path, before: str = "", around: tuple[str, ...] = ()) -> str:
    """Start an agent in mount and network namespaces of its own; return its last line."""
    return _lines(run_directory, before, around, "-vconsole:off")[-1]


def _lines(run_directory: Path, before: str, around: tuple[str, ...], *options: str) -> list[str]:
    """Return all that it says on its standard error."""
    script = (
        f"{before}\nexec {' '.join(around)} {_AGENT} unix:/none -vsyslog:off {' '.join(options)}"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--net", "bash", "-ec", script],
        env={**os.environ, "OVN_RUNDIR": str(run_directory), "PYTHONPATH": str(_SOURCE)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("iovisor-ovn: "), done.stderr
    return lines


def test_missing_privileges_are_named(tmp_path: Path) -> None:
    """All of them at once."""
    said = _start(tmp_path, around=_UNPRIVILEGED)
    assert "lacks CAP_NET_ADMIN, CAP_BPF, CAP_SYS_ADMIN" in said


def test_console_has_each_log_line_once(tmp_path: Path) -> None:
    """Also where there is neither a log file nor a syslog."""
    lines = _lines(tmp_path, "", _UNPRIVILEGED)
    assert [line.split("|")[3].strip() for line in lines[:-1]] == ["EMER"]


def test_refused_mount_is_named(tmp_path: Path) -> None:
    """With the place and the kernel's reason."""
    said = _start(tmp_path, around=refusing(Refusal("mount", "EPERM")))
    assert f"cannot mount a bpffs at {tmp_path}/iovisor-ovn.bpffs" in said
    assert "Operation not permitted" in said


def test_refused_bpf_is_named(tmp_path: Path) -> None:
    """As by a container's policy."""
    assert "bpf(2) is refused" in _start(tmp_path, around=refusing(Refusal("bpf", "EPERM")))


def test_kernel_without_bpf_is_named(tmp_path: Path) -> None:
    """As one that was built without the system call."""
    assert "CONFIG_BPF_SYSCALL" in _start(tmp_path, around=refusing(Refusal("bpf", "ENOSYS")))


def test_kernel_below_the_floor_is_named(tmp_path: Path) -> None:
    """With the release that it has."""
    said = _start(tmp_path, around=("setarch", "--uname-2.6"))
    assert "kernel 6.1 or later is needed, this is 2.6" in said


def test_missing_type_information_is_named(tmp_path: Path) -> None:
    """Where the kernel was built without, or /sys is not mounted."""
    assert "/sys/kernel/btf/vmlinux" in _start(tmp_path, before="umount -l /sys")


@pytest.mark.parametrize("size", [0, 5000])
def test_damaged_object_is_named(tmp_path: Path, size: int) -> None:
    """Empty, or cut."""
    damaged = tmp_path / "damaged.o"
    damaged.write_bytes(OBJECT_PATH.read_bytes()[:size])
    try:
        said = _start(tmp_path, before=f"mount --bind {damaged} {OBJECT_PATH}")
    finally:
        unmount(tmp_path / "iovisor-ovn.bpffs")
    assert str(OBJECT_PATH) in said


def test_object_of_another_version_is_named(tmp_path: Path) -> None:
    """One that loads and is not the machine."""
    source = Path(__file__).parents[1] / "bpf" / "fixtures" / "binding.bpf.c"
    other = tmp_path / "other.o"
    subprocess.run(
        ["clang-19", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c", str(source), "-o",
         str(other), "-I", str(source.parents[3] / "bpf"),
         "-I", f"/usr/include/{os.uname().machine}-linux-gnu"],
        check=True,
    )  # fmt: skip
    try:
        said = _start(tmp_path, before=f"mount --bind {other} {OBJECT_PATH}")
    finally:
        unmount(tmp_path / "iovisor-ovn.bpffs")
    assert "machine.bpf.o has no" in said


def test_read_only_run_directory_is_named(tmp_path: Path) -> None:
    """With its path."""
    said = _start(tmp_path, before=f"mount -t tmpfs -o ro none {tmp_path}")
    assert "Read-only file system" in said
    assert str(tmp_path) in said

# SPDX-License-Identifier: Apache-2.0
"""The choice of a mount namespace, on a pretended machine."""

import os
import subprocess
from pathlib import Path

import pytest

from iovisor_ovn.dataplane import bpffs
from iovisor_ovn.errors import DataplaneError


def test_missing_run_directory_is_named(tmp_path: Path) -> None:
    """Nothing is mounted where the run directory does not exist."""
    with pytest.raises(DataplaneError, match="nowhere"):
        bpffs.mount(tmp_path / "nowhere" / "bpffs")


def test_nothing_is_unmounted_where_nothing_is_mounted(tmp_path: Path) -> None:
    """A plain directory with files stays as it is."""
    (tmp_path / "bpffs").mkdir()
    (tmp_path / "bpffs" / "file").write_text("kept")
    assert not bpffs.unmount(tmp_path / "bpffs")
    assert (tmp_path / "bpffs" / "file").read_text() == "kept"


@pytest.mark.parametrize("is_reaped", [True, False], ids=["gone", "zombie"])
def test_a_namespace_whose_process_ended_is_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_reaped: bool
) -> None:
    """The process by which a namespace is entered may end at any moment."""
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    if is_reaped:
        ended.wait()
    looks = [[bpffs._View(ended.pid, "mnt:[1]", is_own=False)], []]
    monkeypatch.setattr(bpffs, "_views", lambda _directory: looks.pop(0))
    monkeypatch.setattr(bpffs, "_is_bpffs", lambda _path: True)
    monkeypatch.setattr(bpffs, "_empty", lambda _path: None)  # it ends between the two steps
    assert bpffs.unmount(tmp_path / "bpffs")
    assert not looks
    ended.wait()

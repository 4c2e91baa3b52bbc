# SPDX-License-Identifier: Apache-2.0
"""The check of the machine, on the machine itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iovisor_ovn.dataplane import check_kernel

pytestmark = pytest.mark.needs_bpf

_SOURCE = Path(__file__).parents[3] / "src"
_CHECK = "from iovisor_ovn.dataplane import check_kernel; check_kernel()"


def test_this_machine_is_fit() -> None:
    """Where these tests run, nothing is missing."""
    check_kernel()


def test_missing_privilege_is_named() -> None:
    """Root without two capabilities is told which."""
    dropped = "-sys_admin,-net_admin"
    done = subprocess.run(
        ["setpriv", f"--bounding-set={dropped}", sys.executable, "-c", _CHECK],
        env={**os.environ, "PYTHONPATH": str(_SOURCE)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "lacks CAP_NET_ADMIN, CAP_SYS_ADMIN (run it as root)" in done.stderr

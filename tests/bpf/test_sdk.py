# SPDX-License-Identifier: Apache-2.0
"""What users test their modules with gives what the machine gives."""

import subprocess
import sys
from pathlib import Path

import pytest

from iovisor_ovn.errors import UserModuleError
from iovisor_ovn.sdk.testing import Result, load

pytestmark = pytest.mark.needs_bpf

SOURCES = Path(__file__).parent / "modules"
FRAME = bytes(range(64))


@pytest.mark.parametrize(
    ("code", "ports", "expected"),
    [
        (0, 2, ("pass", None)),
        (2, 2, ("drop", None)),
        (0x101, 2, ("port", 1)),
        (0x102, 2, ("invalid", None)),
        (0x102, 3, ("port", 2)),
        (1, 2, ("invalid", None)),
        (-1, 2, ("invalid", None)),
    ],
)
def test_verdicts(code: int, ports: int, expected: tuple[str, int | None]) -> None:
    """As the machine takes them."""
    with load(SOURCES / "verdict.bpf.c", verdict=code) as module:
        result = module.run(FRAME, port=1, ports=ports, mark=7)
    assert (result.verdict, result.port) == expected
    assert result.frame == FRAME
    assert result.mark == 1 << 8 | ports, "the module is told where the packet came in"


def test_module_knows_that_it_stands_before_a_logical_port() -> None:
    """If the test says so."""
    with load(str(SOURCES / "verdict.bpf.c")) as module:
        assert module.run(FRAME, at_logical_port=True).mark == 0x10000 | 2


def test_frame_and_maps_are_there_to_be_looked_at() -> None:
    """Longer, changed, counted."""
    with load(SOURCES / "rewrite.bpf.c", grow=6, last=0xEE) as module:
        result = module.run(FRAME, gso_size=20)
        assert result == Result("pass", None, FRAME + bytes(5) + b"\xee", 0, 0)
        assert module.maps["seen"].lookup(bytes(4)) == (1).to_bytes(8, "little")


def test_errors_are_those_of_a_deployment() -> None:
    """With the file's name."""
    with pytest.raises(UserModuleError, match=r"verdict\.bpf\.c: it has no setting verdit: did"):
        load(SOURCES / "verdict.bpf.c", verdit=1)


def test_include_directory_is_printed() -> None:
    """For who compiles by hand."""
    done = subprocess.run(
        [sys.executable, "-m", "iovisor_ovn.sdk"], capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip(), "iovisor_ovn", "module.h").is_file()

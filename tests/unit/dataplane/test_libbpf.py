# SPDX-License-Identifier: Apache-2.0
"""The door to libbpf, as far as it opens without privileges."""

import ctypes
import errno

import pytest

from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.errors import DataplaneError


@pytest.mark.parametrize("name", sorted(libbpf.SIGNATURES))
def test_declared_function_exists(name: str) -> None:
    """Every function of the table is one that libbpf exports."""
    assert hasattr(ctypes.CDLL("libbpf.so.1"), name)


def test_error_text_has_words_and_name() -> None:
    """An errno of either sign is said in words and by name."""
    assert libbpf.error_text(-errno.ENOENT) == "No such file or directory (ENOENT)"
    assert libbpf.error_text(errno.EPERM) == "Operation not permitted (EPERM)"


def test_error_text_knows_the_kernels_own_errno() -> None:
    """ENOTSUPP (524), unknown to the C library, is named too."""
    assert "ENOTSUPP" in libbpf.error_text(-524)


def test_check_passes_results_and_raises_refusals() -> None:
    """Zero and descriptors go through; -errno becomes an error that says what was tried."""
    assert libbpf.check(7, "open it") == 7
    with pytest.raises(DataplaneError, match=r"cannot open it: Permission denied \(EACCES\)"):
        libbpf.check(-errno.EACCES, "open it")


def test_possible_cpus_are_counted() -> None:
    """There is at least the CPU that runs this."""
    assert libbpf.possible_cpus() >= 1


def test_log_is_captured_only_inside_its_block() -> None:
    """What libbpf says while the block is open, formatted, and nothing afterwards."""
    with libbpf.captured_log() as lines:
        assert libbpf.pointer("bpf_object__open_file", b"/nonexistent/file.o", None) is None
    assert any("/nonexistent/file.o" in line for line in lines)
    before = list(lines)
    assert libbpf.pointer("bpf_object__open_file", b"/nonexistent/other.o", None) is None
    assert lines == before

# SPDX-License-Identifier: Apache-2.0
"""Checksum arithmetic of ``bpf/lib/csum.h``, built for the host under sanitizers."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.sctp import crc32c as scapy_crc32c
from scapy.utils import checksum as scapy_checksum

ROOT = Path(__file__).resolve().parents[3]
FLAGS = "-O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all"

Ask = Callable[[str, int, bytes], int]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """A function that puts a request to the compiled header."""
    compiler = shutil.which("cc")
    assert compiler is not None, "a C compiler for the host is part of the tools"
    program = tmp_path_factory.mktemp("csum") / "csum"
    subprocess.run(
        [compiler, *FLAGS.split(), "-I", "bpf", "tests/unit/bpf_lib/csum_host.c", "-o", program],
        cwd=ROOT, check=True,
    )  # fmt: skip
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def request(name: str, number: int, data: bytes) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{name} {number:x} {data.hex()}\n".encode())
            process.stdin.flush()
            return int(process.stdout.readline(), 16)

        yield request
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


def reference(data: bytes) -> int:
    """CRC32c by Scapy, which gives it in the order of the packet's bytes."""
    value: int = scapy_crc32c(data)  # type: ignore[no-untyped-call]
    return int.from_bytes(value.to_bytes(4, "big"), "little")


def test_crc32c_of_the_standard_string(ask: Ask) -> None:
    """The check value of CRC-32C."""
    assert ask("crc32c", 0, b"123456789") == 0xE3069283


@given(data=st.binary(min_size=1, max_size=2000))
def test_internet_checksum_is_that_of_scapy(ask: Ask, data: bytes) -> None:
    """Sums of 32-bit words fold to the checksum of RFC 1071, odd lengths padded with zeros."""
    expected = int.from_bytes(scapy_checksum(data).to_bytes(2, "big"), sys.byteorder)
    got = ask("sum", 0, data)
    # Both are a zero of ones' complement; only which of them is left open.
    assert got in (expected, 0xFFFF if expected == 0 else expected)


@given(
    before=st.binary(max_size=40), word=st.binary(min_size=4, max_size=4),
    diff=st.binary(min_size=4, max_size=4), after=st.binary(max_size=9000),
)  # fmt: skip
def test_delta_is_the_difference_of_two_crcs(
    ask: Ask, before: bytes, word: bytes, diff: bytes, after: bytes
) -> None:
    """The CRC's change follows from the changed word and the bytes behind it alone."""
    changed = bytes(a ^ b for a, b in zip(word, diff, strict=True))
    old, new = reference(before + word + after), reference(before + changed + after)
    assert ask("delta", len(after), diff) == old ^ new

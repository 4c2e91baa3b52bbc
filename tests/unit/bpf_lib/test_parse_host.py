# SPDX-License-Identifier: Apache-2.0
"""Packet parser and deparser, built for the host under sanitizers, on packets right and wrong."""

import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from fuzz.corpus import packets
from support.fuzzing import Fuzz

ROOT = Path(__file__).resolve().parents[3]
#: What ``make fuzz-parser`` builds with clang, its fuzzer, and these flags.
FLAGS = (ROOT / "tests/unit/bpf_lib/parse_host.flags").read_text().split()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the target."""
    compiler = shutil.which("cc")
    assert compiler is not None, "a C compiler for the host is part of the tools"
    built = tmp_path_factory.mktemp("parse") / "parse"
    subprocess.run([compiler, *FLAGS, "-o", built], cwd=ROOT, check=True)
    return built


def test_any_packet_is_read_and_written_soundly(program: Path, fuzz: Fuzz) -> None:
    """Cut at every byte and changed at random.

    No access out of bounds, a defined verdict, unchanged packets keep their bytes, and what is
    written is what is read next.
    """
    inputs = packets(random.Random(fuzz.seed), 80)
    feed = b"".join(struct.pack("=I", len(data)) + data for data in inputs)
    changed = fuzz.count(1000)
    done = subprocess.run(
        [program, str(fuzz.seed), str(changed)], input=feed, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    tried = int(done.stdout)
    fuzz.summary = f"{tried} packets, no fault"
    assert tried == sum(len(data) + 1 + changed for data in inputs)

# SPDX-License-Identifier: Apache-2.0
"""The C header is what the Python source says, and the numbers fit where they are stored."""

import subprocess
import sys
from pathlib import Path

import pytest

from iovisor_ovn.abi import DROP_TEXT, Drop, Limit, Op, PacketClass, Program, Temp, Word

ROOT = Path(__file__).resolve().parents[3]


def test_generated_header_is_current() -> None:
    """`tools/gen_abi.py --check` finds nothing to write."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "gen_abi.py", "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_stale_header_is_reported(tmp_path: Path) -> None:
    """The check compares the header with the source instead of trusting it."""
    copy = tmp_path / "project"
    for part in ("tools/gen_abi.py", "bpf/abi/generated.h", *_sources()):
        (copy / part).parent.mkdir(parents=True, exist_ok=True)
        (copy / part).write_text((ROOT / part).read_text())
    header = copy / "bpf" / "abi" / "generated.h"
    header.write_text(header.read_text().replace("W_INPORT = 0", "W_INPORT = 1"))
    command = [sys.executable, str(copy / "tools" / "gen_abi.py")]
    assert subprocess.run([*command, "--check"], capture_output=True, check=False).returncode == 1
    subprocess.run(command, check=True)
    assert header.read_text() == (ROOT / "bpf" / "abi" / "generated.h").read_text()


def _sources() -> list[str]:
    package = ROOT / "src" / "iovisor_ovn"
    files = [package / "__init__.py", *(package / "abi").glob("*.py")]
    return [str(path.relative_to(ROOT)) for path in files]


def test_words_and_temporaries_fill_their_halves() -> None:
    """Words lie below what a clone copies, temporaries behind it, none twice."""
    assert sorted(Word) == list(range(len(Word)))
    assert max(Word) < Limit.WORDS
    assert int(min(Temp)) == Limit.WORDS
    assert max(Temp) < Limit.WORDS + Limit.TEMPS
    assert len({int(item) for item in Temp}) == len(Temp.__members__)


@pytest.mark.parametrize("enum", [Op, Drop])
def test_numbers_fit_their_byte(enum: type[Op] | type[Drop]) -> None:
    """An opcode is stored in eight bits; a drop reason is an index of a small array."""
    assert len({int(item) for item in enum}) == len(enum.__members__)
    assert 0 <= min(enum) <= max(enum) < 256


def test_drop_reasons_are_dense_and_told() -> None:
    """The drop array has DROP_COUNT elements, and people get a line about each."""
    assert sorted(Drop) == list(range(len(Drop)))
    assert set(DROP_TEXT) == set(Drop)
    assert all(DROP_TEXT.values())


def test_limits_that_c_uses_as_masks_are_powers_of_two() -> None:
    """The machine masks indexes with limit - 1 for the verifier."""
    for limit in (Limit.DIMS, Limit.WORK_DEPTH, Limit.GENERATED, Limit.STACK, Limit.STAGES):
        assert limit & (limit - 1) == 0, limit


def test_guards_of_one_slot_fit_their_counter() -> None:
    """Counters of a slot are wide enough, and no instruction is taken for a verdict."""
    assert Limit.MORE_GUARDS < 256
    assert Limit.SHAPE_WORDS + 1 == 40
    assert Limit.CACHED_DIMS <= Limit.DIMS <= 64
    assert max(Program.DROP, Program.NEXT) < Program.FIRST


def test_class_bits_are_single_and_distinct() -> None:
    """Each class is one bit of its word."""
    bits = [int(item) for item in PacketClass]
    assert all(bit.bit_count() == 1 for bit in bits)
    assert len(set(bits)) == len(bits)

# SPDX-License-Identifier: Apache-2.0
"""Instructions of action programs as values."""

from typing import NamedTuple

__all__ = ["Insn", "ProgramText"]


class Insn(NamedTuple):
    """One instruction; operands as ``Op`` says."""

    op: int
    a: int = 0
    b: int = 0
    c: int = 0
    x: int = 0
    y: int = 0


ProgramText = tuple[Insn, ...]

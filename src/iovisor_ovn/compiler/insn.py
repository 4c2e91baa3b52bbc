# SPDX-License-Identifier: Apache-2.0
"""Instructions of action programs as values, and as the bytes that the machine reads."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple

from iovisor_ovn.abi import STRUCTS

__all__ = ["INSN_SIZE", "Insn", "ProgramText", "assembler", "decode", "encode", "flatten"]

_INSN = STRUCTS["insn"]
#: Bytes of an instruction.
INSN_SIZE = _INSN.size


class Insn(NamedTuple):
    """One instruction; operands as ``Op`` says."""

    op: int
    a: int = 0
    b: int = 0
    c: int = 0
    x: int = 0
    y: int = 0


ProgramText = tuple[Insn, ...]


def encode(text: Iterable[Insn]) -> bytes:
    """The bytes of a program."""
    return b"".join(_INSN.pack_flat(*insn) for insn in text)


def decode(code: bytes) -> ProgramText:
    """The instructions of bytes that `encode` made."""
    return tuple(Insn(*fields) for fields in _INSN.iter_unpack(code))


def flatten(code: bytes) -> tuple[int, ...]:
    """The fields of all instructions in a row."""
    return tuple(chain.from_iterable(_INSN.iter_unpack(code)))


def assembler(count: int) -> Callable[..., bytes]:
    """What makes the bytes of ``count`` instructions from their fields in a row."""
    return _INSN.packer(count)

# SPDX-License-Identifier: Apache-2.0
"""Patterns and programs as text, for people and for the golden cases.

::

    [IP4 TCP] REG0&0x80=0x80 L4&0xffff=0x50 dim0:3 !dim4:9 (ETH_HI&0xffff!=0x1 or ETH_SRC_LO!=0x2)
    LOAD REG0&0x1=0x1; MOVE ETH_DST_LO=ETH_SRC_LO; NEXT 5
"""

from collections.abc import Iterable

from iovisor_ovn.abi import Drop, GuardKind, Limit, Op, PacketClass, Program, Temp, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.patterns import Guard, Pattern

__all__ = ["print_pattern", "print_program"]

_ALL = 0xFFFFFFFF


def print_pattern(pattern: Pattern) -> str:
    """One line: class bits, word tests, sets, guards; ``any`` for what always holds."""
    parts = []
    if pattern.class_bits:
        names = (bit.name for bit in PacketClass if bit & pattern.class_bits)
        parts.append(f"[{' '.join(name for name in names if name)}]")
    parts += [_test(word, mask, value, "=") for word, mask, value in pattern.words]
    parts += [f"dim{dimension}:{number}" for dimension, number in pattern.dims]
    parts += [_guard(guard) for guard in pattern.guards if not guard.group]
    groups: dict[int, list[str]] = {}
    for guard in pattern.guards:
        if guard.group:
            groups.setdefault(guard.group, []).append(_guard(guard))
    parts += [f"({' or '.join(tests)})" for tests in groups.values()]
    return " ".join(parts) or "any"


def print_program(program: Program | tuple[Insn, ...]) -> str:
    """Instructions in order, separated by semicolons; jumps say how far they lead."""
    if isinstance(program, Program):
        return program.name
    return "; ".join(_lines(program))


def _lines(program: Iterable[Insn]) -> Iterable[str]:
    for insn in program:
        name = Op(insn.op).name
        match insn.op:
            case Op.LOAD:
                yield f"LOAD {_test(insn.a, insn.x, insn.y, '=')}"
            case Op.MOVE:
                turn = f"<<{insn.c}" if insn.c else ""
                yield f"MOVE {_bits(insn.a, insn.x)}={_word(insn.b)}{turn}"
            case Op.NEXT | Op.CALL:
                yield f"{name} {_stage(insn.a)}"
            case Op.FORK:
                yield f"FORK +{insn.x}"
            case Op.GENERATE:
                yield f"GENERATE {Op(insn.a).name} +{insn.x}"
            case Op.END:
                yield f"END {Drop(insn.x).name}" if insn.x else "END"
            case Op.CT_NEXT:
                yield f"CT_NEXT {_word(insn.a)}"
            case Op.CT_LB | Op.BACKEND | Op.AFFINITY_GET | Op.AFFINITY_PUT | Op.SELECT | Op.SHARE:
                yield _balancing(insn)
            case Op.CT_COMMIT | Op.CT_NAT:
                yield f"{name} {_word(insn.a)} flags={insn.b}"
            case Op.CHECK_LARGER | Op.UNSUPPORTED:
                yield f"{name} {insn.x}"
            case Op.NEIGH_LOOKUP:
                yield f"NEIGH_LOOKUP mac={insn.a}"
            case _:
                yield name


def _balancing(insn: Insn) -> str:
    match insn.op:
        case Op.CT_LB:
            return f"CT_LB {_word(insn.a)} flags={insn.b} fields={insn.c} of {insn.x}"
        case Op.BACKEND:
            return f"BACKEND {insn.x:#x} {insn.y:#x} port={insn.b << 8 | insn.c}"
        case Op.AFFINITY_GET:
            return f"AFFINITY_GET {_word(insn.a)} {_word(insn.b)} {_word(insn.c)}"
        case Op.SELECT:
            return f"SELECT fields={insn.c} of {insn.x}"
        case Op.SHARE:
            return f"SHARE {insn.y >> 16} {insn.x / _ALL:.3f} else {insn.y & 0xFFFF}"
        case _:
            return f"AFFINITY_PUT protocol={insn.c} timeout={insn.x}"


def _stage(number: int) -> str:
    egress = number >= Limit.EGRESS
    return f"{'egress' if egress else 'ingress'}{number - egress * Limit.EGRESS}"


def _word(number: int) -> str:
    if number < Limit.WORDS:
        return Word(number).name
    known = {int(temp): temp.name for temp in Temp}
    # Temporaries repeat names of words (ct_mark): the prefix tells them apart.
    return f"T.{known.get(number) or f'SCRATCH{number - Temp.SCRATCH0}'}"


def _bits(word: int, mask: int) -> str:
    return _word(word) + ("" if mask == _ALL else f"&{mask:#x}")


def _test(word: int, mask: int, value: int, relation: str) -> str:
    return f"{_bits(word, mask)}{relation}{value:#x}"


def _guard(guard: Guard) -> str:
    match guard.kind:
        case GuardKind.EQUAL:
            return _test(guard.word, guard.mask, guard.value, "==")
        case GuardKind.IN_SET:
            return f"?dim{guard.word}:{guard.value}"
        case GuardKind.NOT_IN_SET:
            return f"!dim{guard.word}:{guard.value}"
        case _:
            return _test(guard.word, guard.mask, guard.value, "!=")

# SPDX-License-Identifier: Apache-2.0
"""Flows that differ in nothing but constants are translated once, and then filled in.

northd writes its flows from a few hundred templates, so many flows are of few *kinds*, a kind being
the texts without their constants (:mod:`iovisor_ovn.language.constants`). What flows of a kind
become differs, as a rule, in nothing but the constants' bits, in the words of patterns and the
operands of programs. :class:`Kinds` learns from one flow where they go, as a linker knows where
addresses go, and fills in those of the others::

    outport == _0 && reg0 == _1       OUTPORT=_0  REG0=_1
    eth.dst = _2; next;               LOAD ETH_HI  mask 0xffff0000  _2[32..47] << 16
                                      LOAD ETH_DST_LO               _2[0..31]
                                      NEXT 16

To learn is to translate a flow once more with :mod:`.marks` for constants, and to look where these
come out. A kind is learned if

- its constants meet none but each other: what bits they are compared with are compared with nothing
  else, so that all that can matter is whether they are equal; equal ones are never filled in;
- every constant comes out;
- filled with the flow's own constants it gives what the flow itself has become.

Everything else is translated as ever: other kinds, names that stand for nothing yet, the first
flows of a kind. Kinds are kept for one pass, in which no word changes its meaning.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.patterns import Names, Pattern
from iovisor_ovn.compiler.programs import Compiled, ProgramCompiler
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.errors import LanguageError
from iovisor_ovn.language import Expr, join_constants, read_address, split_constants
from iovisor_ovn.mainlogic.marks import (
    GROUP,
    NUMBER,
    PORT,
    SET,
    Form,
    MarkedSets,
    Marks,
    NotAlike,
    Slot,
)
from iovisor_ovn.mainlogic.southbound import Flow

__all__ = ["Kinds", "Translate", "Translation"]

#: Patterns and program of a flow on a datapath.
Translation = tuple[list[Pattern], Compiled]
Translate = Callable[[Flow, Names, ProgramCompiler, SetTable], Translation]

#: Flows of a kind that there must be before it is learned; most changes bring fewer.
_LEARN_FROM = 4
#: What ``inport`` is compared with to say that there is none.
_NO_PORT = ("", "none")
_NUMBER_MAX = 0xFFFF


class _Constant(NamedTuple):
    """A constant of a text: the value of an address, or a name without what marks it as one."""

    form: Form
    value: int | str


@dataclass(frozen=True, slots=True)
class _PatternForm:
    """A pattern, and where constants go in it."""

    pattern: Pattern
    words: tuple[Slot, ...]
    guards: tuple[Slot, ...]
    dims: tuple[Slot, ...]

    def fill(self, values: Sequence[int]) -> Pattern:
        """The pattern with these values."""
        pattern = self.pattern
        words, guards, dims = pattern.words, pattern.guards, pattern.dims
        if self.words:
            filled = list(words)
            for slot in self.words:
                word, mask, _mark = filled[slot.at]
                filled[slot.at] = (word, mask, slot.fill(values))
            words = tuple(filled)
        if self.guards:
            tests = list(guards)
            for slot in self.guards:
                tests[slot.at] = replace(tests[slot.at], value=slot.fill(values))
            guards = tuple(sorted(tests))
        if self.dims:
            sets = list(dims)
            for slot in self.dims:
                sets[slot.at] = (sets[slot.at][0], slot.fill(values))
            dims = tuple(sets)
        return Pattern(pattern.class_bits, words, guards, dims)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the flows of a kind become. ``rivals``: constants that must differ from each other."""

    patterns: tuple[_PatternForm, ...]
    compiled: Compiled
    operands: tuple[Slot, ...]  # `y` of instructions
    rivals: tuple[tuple[int, ...], ...]

    def fill(self, values: Sequence[int]) -> Translation | None:
        """What a flow with these constants becomes; ``None`` if they are not all different."""
        for rivals in self.rivals:
            if len({values[constant] for constant in rivals}) < len(rivals):
                return None
        return [form.fill(values) for form in self.patterns], self._program(values)

    def _program(self, values: Sequence[int]) -> Compiled:
        program = self.compiled.program
        if not self.operands or not isinstance(program, tuple):
            return self.compiled
        code = list(program)
        for slot in self.operands:
            op, a, b, c, x, _mark = code[slot.at]
            code[slot.at] = Insn(op, a, b, c, x, slot.fill(values))
        return Compiled(tuple(code))


class Kinds:
    """Translates the flows of a pass."""

    def __init__(
        self,
        sets: SetTable,
        translate: Translate,
        conditions: Callable[[Flow], Iterable[Expr]],
    ) -> None:
        """``translate`` does it without short cuts.

        ``conditions``: all that must hold for a flow to match, annotated.
        """
        self._sets = sets
        self._translate = translate
        self._conditions = conditions
        # Of a kind that is not learned yet, how many flows there were; None of one that cannot be.
        self._kinds: dict[tuple[object, ...], _Kind | int | None] = {}
        self._constants: dict[str, _Constant | None] = {}

    def translate(self, flow: Flow, names: Names, compiler: ProgramCompiler) -> Translation:
        """Patterns and program of a flow; raises what ``translate`` raises."""
        match, actions = split_constants(flow.match, flow.actions)
        read = [self._constant(text) for text in (*match[1::2], *actions[1::2])]
        constants = [constant for constant in read if constant is not None]
        if len(constants) < len(read):
            return self._translate(flow, names, compiler, self._sets)
        forms = tuple(constant.form for constant in constants)
        key = (compiler.settings, forms, len(match), *match[::2], *actions[::2])
        known = self._kinds.get(key, 0)
        if isinstance(known, _Kind):
            values = self._values(constants, names)
            filled = None if values is None else known.fill(values)
            return filled or self._translate(flow, names, compiler, self._sets)
        translation = self._translate(flow, names, compiler, self._sets)
        if known is not None:
            self._kinds[key] = known + 1
            values = self._values(constants, names) if known + 1 >= _LEARN_FROM else None
            if values is not None:
                self._kinds[key] = self._learn(flow, forms, compiler, values, translation)
        return translation

    def _constant(self, text: str) -> _Constant | None:
        """A constant read; ``None`` for a text that is none."""
        if text not in self._constants:
            self._constants[text] = _read(text)
        return self._constants[text]

    def _values(self, constants: Iterable[_Constant], names: Names) -> list[int] | None:
        """Numbers that constants stand for; ``None`` where a port stands for none."""
        values: list[int] = []
        for form, value in constants:
            if isinstance(value, int):
                values.append(value)
            elif form == GROUP:
                values.append(names.port_group(value))
            elif form == SET:
                values.append(self._sets.set_id(names.address_set(value)))
            else:
                key = None if value in _NO_PORT else names.port_key(value)
                if key is None:
                    return None
                values.append(key)
        return values

    def _learn(
        self,
        flow: Flow,
        forms: Sequence[Form],
        compiler: ProgramCompiler,
        values: Sequence[int],
        translation: Translation,
    ) -> _Kind | int | None:
        """The kind of a flow with these values, which became this; a number: try another flow."""
        try:
            kind = self._with_marks(flow, Marks(forms, _numbers(translation)), compiler)
        except (LanguageError, NotAlike):
            return None
        filled = kind.fill(values)
        if filled is None:
            return _LEARN_FROM
        same = set(filled[0]) == set(translation[0]) and filled[1] == translation[1]
        return kind if same else None

    def _with_marks(self, flow: Flow, marks: Marks, compiler: ProgramCompiler) -> _Kind:
        match, actions = join_constants(split_constants(flow.match, flow.actions), marks.texts)
        marked = replace(flow, match=match, actions=actions)
        rivals = marks.rivals(self._conditions(marked))
        patterns, compiled = self._translate(
            marked, marks, replace(compiler, names=marks), MarkedSets(self._sets, marks)
        )
        forms = tuple(
            _PatternForm(
                pattern,
                marks.slots(value for _word, _mask, value in pattern.words),
                marks.slots(guard.value for guard in pattern.guards),
                marks.slots(number for _dimension, number in pattern.dims),
            )
            for pattern in patterns
        )
        operands = marks.slots(_operands(compiled))
        if not marks.all_came_out:
            raise NotAlike
        return _Kind(forms, compiled, operands, rivals)


def _numbers(translation: Translation) -> Iterator[int]:
    """All that constants could be in."""
    patterns, compiled = translation
    for pattern in patterns:
        yield from (value for _word, _mask, value in pattern.words)
        yield from (guard.value for guard in pattern.guards)
        yield from (number for _dimension, number in pattern.dims)
    yield from _operands(compiled)


def _operands(compiled: Compiled) -> list[int]:
    program = compiled.program
    return [insn.y for insn in program] if isinstance(program, tuple) else []


def _read(text: str) -> _Constant | None:
    if text[0] == PORT:
        return _Constant(PORT, text[1:-1])
    if text[0] in (GROUP, SET):
        return _Constant(text[0], text[1:])
    if text.isdigit():
        is_plain = len(text) <= 5 and text == str(int(text)) and int(text) <= _NUMBER_MAX
        return _Constant(NUMBER, int(text)) if is_plain else None
    address = read_address(text)
    return None if address is None else _Constant(address[1], address[0])

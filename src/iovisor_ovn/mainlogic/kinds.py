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

from iovisor_ovn.abi import Program
from iovisor_ovn.compiler.insn import INSN_SIZE, assembler, flatten
from iovisor_ovn.compiler.patterns import Names
from iovisor_ovn.compiler.programs import ProgramCompiler
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.compiler.tuples import Entry, Identity
from iovisor_ovn.errors import LanguageError
from iovisor_ovn.language import (
    Expr,
    constants_of,
    join_constants,
    read_address,
    split_constants,
)
from iovisor_ovn.mainlogic.marks import (
    GROUP,
    NUMBER,
    PORT,
    SET,
    Blank,
    Form,
    MarkedSets,
    Marks,
    NotAlike,
    mask_of,
)
from iovisor_ovn.mainlogic.southbound import Flow

__all__ = ["Kinds", "Translate", "Translation", "Translator"]


class Translation(NamedTuple):
    """What a flow on a datapath becomes, as the image stores it.

    ``unsupported``: the verb that made the program a counted drop, if one did.
    """

    entries: Sequence[Entry]
    code: Program | bytes
    unsupported: str = ""


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
class _EntryForm:
    """An entry that lacks constants: in its values and, seldom, in its guards."""

    identity: Identity
    guards: Blank
    values: Blank

    def fill(self, values: Sequence[int]) -> Entry:
        """The entry with these values."""
        identity = self.identity
        if self.guards.bits:
            class_bits, words, guards, dims = identity
            tests = zip(guards, self.guards.fill(values), strict=True)
            filled = sorted(replace(guard, value=value) for guard, value in tests)
            identity = (class_bits, words, tuple(filled), dims)
        return identity, tuple(self.values.fill(values))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the flows of a kind become. ``rivals``: constants that must differ from each other."""

    entries: tuple[_EntryForm, ...]
    code: Program | bytes
    fields: Blank  # of the program's instructions
    assemble: Callable[..., bytes]
    unsupported: str
    rivals: tuple[tuple[int, ...], ...]

    def fill(self, values: Sequence[int]) -> Translation | None:
        """What a flow with these constants becomes; ``None`` if they are not all different."""
        for rivals in self.rivals:
            if len({values[constant] for constant in rivals}) < len(rivals):
                return None
        code = self.code
        if self.fields.bits:
            code = self.assemble(*self.fields.fill(values))
        return Translation([form.fill(values) for form in self.entries], code, self.unsupported)


#: By texts and forms of constants. Of a kind that is not learned yet, how many flows there were;
#: ``None`` of one that cannot be.
_Known = dict[tuple[object, ...], _Kind | int | None]


class Kinds:
    """The kinds of flows that a pass has met."""

    def __init__(
        self,
        sets: SetTable,
        translate: Translate,
        conditions: Callable[[Flow], Iterable[Expr]],
    ) -> None:
        """``translate`` does it without short cuts.

        ``conditions``: all that must hold for a flow to match, annotated.
        """
        self.sets = sets
        self.translate = translate
        self.conditions = conditions
        self._constants: dict[str, _Constant | None] = {}
        self._known: dict[tuple[object, ...], _Known] = {}

    def read(self, texts: Iterable[str]) -> list[_Constant] | None:
        """Constants; ``None`` if a text is none."""
        known = self._constants
        found: list[_Constant] = []
        for text in texts:
            constant = known.get(text)
            if constant is None:
                constant = known[text] = _read(text)
                if constant is None:
                    return None
            found.append(constant)
        return found

    def known(self, settings: tuple[object, ...]) -> _Known:
        """The kinds of flows that are compiled with these settings."""
        return self._known.setdefault(settings, {})

    def all(self) -> Iterator[_Kind | int | None]:
        """Those of all settings."""
        for known in self._known.values():
            yield from known.values()


class Translator:
    """Translates the flows of one stage of one datapath during a pass."""

    def __init__(self, kinds: Kinds, names: Names, compiler: ProgramCompiler) -> None:
        """Share what is known with other stages where ``compiler`` has the same settings."""
        self._kinds = kinds
        self._names = names
        self._compiler = compiler
        self._known = kinds.known(compiler.settings)

    def translate(self, flow: Flow) -> Translation:
        """What a flow becomes; raises what the translation without short cuts raises."""
        parts = split_constants(flow.match, flow.actions)
        constants = self._kinds.read(constants_of(parts))
        if constants is None:
            return self._alone(flow)
        forms = [constant.form for constant in constants]
        match, actions = parts
        del match[2::3], actions[2::3]
        key = (*forms, len(match), *match, *actions)
        known = self._known.get(key, 0)
        if isinstance(known, _Kind):
            values = self._values(constants)
            filled = None if values is None else known.fill(values)
            return filled or self._alone(flow)
        translation = self._alone(flow)
        if known is not None:
            self._known[key] = known + 1
            values = self._values(constants) if known + 1 >= _LEARN_FROM else None
            if values is not None:
                self._known[key] = self._learn(flow, forms, values, translation)
        return translation

    def _alone(self, flow: Flow) -> Translation:
        return self._kinds.translate(flow, self._names, self._compiler, self._kinds.sets)

    def _values(self, constants: Iterable[_Constant]) -> list[int] | None:
        """Numbers that constants stand for; ``None`` where a port stands for none."""
        names = self._names
        values: list[int] = []
        for form, value in constants:
            if isinstance(value, int):
                values.append(value)
            elif form == GROUP:
                values.append(names.port_group(value))
            elif form == SET:
                values.append(self._kinds.sets.set_id(names.address_set(value)))
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
        values: Sequence[int],
        translation: Translation,
    ) -> _Kind | int | None:
        """The kind of a flow with these values, which became this; a number: try another flow."""
        try:
            kind = self._with_marks(flow, Marks(forms, _numbers(translation)))
        except (LanguageError, NotAlike):
            return None
        filled = kind.fill(values)
        if filled is None:
            return _LEARN_FROM
        same = set(filled.entries) == set(translation.entries) and filled[1:] == translation[1:]
        return kind if same else None

    def _with_marks(self, flow: Flow, marks: Marks) -> _Kind:
        match, actions = join_constants(split_constants(flow.match, flow.actions), marks.texts)
        marked = flow._replace(match=match, actions=actions)
        rivals = marks.rivals(self._kinds.conditions(marked))
        entries, code, unsupported = self._kinds.translate(
            marked,
            marks,
            replace(self._compiler, names=marks),
            MarkedSets(self._kinds.sets, marks),
        )
        forms = tuple(
            _EntryForm(identity, marks.blank(guard.value for guard in identity[2]),
                       marks.blank(values))
            for identity, values in entries
        )  # fmt: skip
        fields = marks.blank(_fields(code))
        if not marks.all_came_out:
            raise NotAlike
        assemble = assembler(len(code) // INSN_SIZE if isinstance(code, bytes) else 0)
        return _Kind(forms, code, fields, assemble, unsupported, rivals)


def _numbers(translation: Translation) -> Iterator[int]:
    """All that constants could be in."""
    for identity, values in translation.entries:
        yield from (guard.value for guard in identity[2])
        yield from values
    yield from _fields(translation.code)


def _fields(code: Program | bytes) -> tuple[int, ...]:
    return flatten(code) if isinstance(code, bytes) else ()


def _read(text: str) -> _Constant | None:
    if text[0] == PORT:
        return _Constant(PORT, text[1:-1])
    if text[0] in (GROUP, SET):
        return _Constant(text[0], text[1:])
    if text.isdigit():
        is_plain = len(text) <= 5 and text == str(int(text)) and int(text) <= _NUMBER_MAX
        return _Constant(NUMBER, int(text)) if is_plain else None
    address, slash, length = text.partition("/")
    found = read_address(address)
    if found is None:
        return None
    form = f"{found[1].value}{slash}{length}"
    mask = mask_of(form) if slash else -1
    return None if mask is None or found[0] & ~mask else _Constant(form, found[0])

# SPDX-License-Identifier: Apache-2.0
"""What a machine's maps mean: indexes and set ids become names, slots become rules.

Two pipelines that went different ways to the same rows number datapaths, lists and sets
differently; what :func:`read` returns is equal for them.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from uuid import UUID

from iovisor_ovn.abi import STRUCTS, GuardKind, Op, PortKind, Program
from iovisor_ovn.compiler.image import KEY_WORDS, Insn
from iovisor_ovn.mainlogic.pipeline import Pipeline
from unit.mainlogic.fakes import FakeMachine

__all__ = ["Contents", "Rule", "differences", "read", "waste"]

Text = tuple[Insn, ...]
_SET_KINDS = (GuardKind.IN_SET, GuardKind.NOT_IN_SET)


class Rule(NamedTuple):
    """An entry: all ``tests`` must hold."""

    class_bits: int
    tests: frozenset[tuple[object, ...]]
    priority: int
    program: Text | Program | str  # the name of a verb that is not executed


class Contents(NamedTuple):
    """What the maps say, by names that do not depend on how it came about."""

    datapaths: Mapping[UUID, Mapping[str, int]]
    ports: Mapping[tuple[UUID, int], Mapping[str, object]]
    devices: Mapping[tuple[int, int], tuple[object, ...]]
    members: Mapping[tuple[str, bytes], frozenset[str]]
    stages: Mapping[tuple[UUID, int, int], frozenset[Rule]]
    neighbours: Mapping[tuple[UUID, bytes], bytes]
    fdb: Mapping[tuple[UUID, bytes], bytes]
    hooked: frozenset[int]
    diagnostics: Mapping[UUID, str]
    unsupported: Mapping[str, frozenset[tuple[UUID, UUID]]]


def read(pipeline: Pipeline, machine: FakeMachine) -> Contents:
    """All that the maps say."""
    reader = _Reader(pipeline, machine)
    return Contents(
        datapaths={uuid: machine.datapaths[i] for uuid, i in pipeline.world.local.items()},
        ports=dict(reader.ports()),
        devices=dict(reader.devices()),
        members=dict(reader.members()),
        stages=dict(reader.stages()),
        neighbours=dict(reader.by_datapath("neighbours")),
        fdb=dict(reader.by_datapath("fdb_entries")),
        hooked=frozenset(machine.hooked),
        diagnostics={uuid: d.message for uuid, d in pipeline.flows.diagnostics.items()},
        unsupported={v: frozenset(units) for v, units in pipeline.flows.unsupported.items()},
    )


def differences(found: Contents, expected: Contents) -> list[str]:
    """What differs, one line for each thing.

    Rules of a stage may differ where that makes no difference: which of the flows that do what the
    default does are left out depends on the order in which they came.
    """
    lines: list[str] = []
    for name in Contents._fields:
        if name == "stages":
            continue
        ours, theirs = _flat(getattr(found, name)), _flat(getattr(expected, name))
        lines += [f"{name}: too much: {item}" for item in sorted(ours - theirs)]
        lines += [f"{name}: missing: {item}" for item in sorted(theirs - ours)]
    for where in found.stages.keys() | expected.stages.keys():
        mine, other = found.stages.get(where, frozenset()), expected.stages.get(where, frozenset())
        for rule in mine ^ other:
            if not _winners(mine, rule) & _winners(other, rule):
                lines.append(
                    f"stages: {where}: {'missing' if rule in other else 'too much'}: {rule}"
                )
    return lines


def _flat(part: object) -> set[str]:
    if isinstance(part, frozenset):
        return {repr(item) for item in part}
    assert isinstance(part, Mapping)
    return {
        f"{key} {item}"
        for key, value in part.items()
        for item in (value if isinstance(value, frozenset) else (value,))
    }


def _winners(rules: frozenset[Rule], like: Rule) -> set[Text | Program | str]:
    """What happens to a packet of which only is true what ``like`` asks for."""
    words: dict[object, int] = {}
    for test in like.tests:
        if test[0] == "is":
            words[test[1]] = words.get(test[1], 0) | _number(test[3])
    sets = {test[1:] for test in like.tests if test[0] == "in"}

    def is_equal(word: object, mask: object, value: object) -> bool:
        return words.get(word, 0) & _number(mask) == value

    def holds(test: tuple[object, ...]) -> bool:
        match test:
            case ("is", word, mask, value):
                return is_equal(word, mask, value)
            case ("not", word, mask, value):
                return not is_equal(word, mask, value)
            case ("in", *rest):
                return tuple(rest) in sets
            case ("not in", *rest):
                return tuple(rest) not in sets
            case (_, frozenset() as group):
                return not all(is_equal(*one) for one in group)
        raise AssertionError(test)

    hits = [
        rule
        for rule in rules
        if rule.class_bits & like.class_bits == rule.class_bits and all(map(holds, rule.tests))
    ]
    best = max((rule.priority for rule in hits), default=-1)
    return {rule.program for rule in hits if rule.priority == best} or {"nothing"}


def waste(pipeline: Pipeline, machine: FakeMachine) -> dict[str, int]:
    """What is in use of things that must be given back, by kind."""
    use = pipeline.image.use()
    return {
        **{name: use[name] for name in ("slots", "insns", "lists", "guards")},
        "entries": sum(len(machine.maps[f"entries{n}"].contents) for n in KEY_WORDS),
        "ports": len(machine.maps["ports"].contents),
        "devices": len(machine.maps["devices"].contents),
        "members": len(machine.maps["members"].contents),
        "prefixes": len(machine.maps["prefixes"].contents),
        "sets": sum(n.startswith("{") or not pipeline._has_set(n) for n in pipeline.sets._ids),
    }


class _Reader:
    def __init__(self, pipeline: Pipeline, machine: FakeMachine) -> None:
        self._pipeline = pipeline
        self._machine = machine
        self._uuids = {index: uuid for uuid, index in pipeline.world.local.items()}
        self._sets = {item.id: name for name, item in pipeline.sets._ids.items()}
        spaces = {number: name for name, number in pipeline.sets._spaces.items()}
        self._spaces = {0: "ip4", 1: "ip6", 2: "eth", **spaces}
        self._dimensions = {
            d.index: (key[0], key[1], self._spaces[d.space])
            for key, d in pipeline.sets._dimensions.items()
        } | {0: ("inport", 0, "group"), 1: ("outport", 0, "group")}

    def _list(self, index: int) -> tuple[int, ...]:
        if not index:
            return ()
        cells = self._machine.arrays["lists"]
        length = int.from_bytes(cells[index], "little")
        return tuple(int.from_bytes(cells[index + 1 + i], "little") for i in range(length))

    def _names(self, index: int) -> frozenset[str]:
        return frozenset(self._set_name(number) for number in self._list(index))

    def _set_name(self, number: int) -> str:
        name = self._sets[number]
        if not name.startswith("{"):
            return name
        space, _, members = name[1:].partition(":")
        return f"{{{self._spaces[int(space)]}:{members}"

    def by_datapath(self, name: str) -> Iterator[tuple[tuple[UUID, bytes], bytes]]:
        """Entries whose key begins with a datapath index."""
        for key, value in self._machine.maps[name].items():
            yield (self._uuids[int.from_bytes(key[:4], "little")], key[4:]), value

    def ports(self) -> Iterator[tuple[tuple[UUID, int], Mapping[str, object]]]:
        """Port records with peers by UUID, lists by content."""
        for (uuid, key), value in self.by_datapath("ports"):
            fields: dict[str, object] = dict(STRUCTS["port"].unpack(value))
            fields["list"] = self._list(_number(fields["list"]))
            fields["groups"] = tuple(sorted(self._names(_number(fields["groups"]))))
            if fields["kind"] == PortKind.PATCH:
                fields["peer_dp"] = self._uuids[_number(fields["peer_dp"])]
            yield (uuid, int.from_bytes(key, "little")), fields

    def devices(self) -> Iterator[tuple[tuple[int, int], tuple[object, ...]]]:
        """Devices with their datapath by UUID."""
        for key, value in self._machine.maps["devices"].items():
            where, what = STRUCTS["device_key"].unpack(key), STRUCTS["device"].unpack(value)
            record = (self._uuids[_number(what["dp"])], what["port"], what["zone"], what["flags"])
            yield (_number(where["ifindex"]), _number(where["tag"])), record

    def members(self) -> Iterator[tuple[tuple[str, bytes], frozenset[str]]]:
        """Values and prefixes with the names of the sets that hold them."""
        for name in ("members", "prefixes"):
            order: tuple[str, int] = ("little", 0) if name == "members" else ("big", 4)
            for key, value in self._machine.maps[name].items():
                number = key[order[1] : order[1] + 4]
                space = int.from_bytes(number, "little" if name == "members" else "big")
                rest = key[:4] + key[8:] if name == "prefixes" else key[4:]
                where = (f"{name} {self._spaces[space]}", rest)
                yield where, self._names(int.from_bytes(value, "little"))

    def stages(self) -> Iterator[tuple[tuple[UUID, int, int], frozenset[Rule]]]:
        """Rules that the slots in force lead to, by datapath, stage and kind of packet."""
        for (index, stage), rows in self._machine.rows.items():
            for kind, (first, length, _works) in enumerate(rows):
                if length:
                    yield (self._uuids[index], stage, kind), self._stage(first, length)

    def _stage(self, first: int, length: int) -> frozenset[Rule]:
        rules: list[Rule] = []
        priorities = []
        for at in range(first, first + length):
            slot = STRUCTS["slot"].unpack(self._machine.arrays["slots"][at])
            found = list(self._rules(slot))
            assert found, "a slot without entries"
            assert max(rule.priority for rule in found) == slot["max_priority"]
            priorities.append(_number(slot["max_priority"]))
            rules += found
        assert priorities == sorted(priorities, reverse=True)
        return frozenset(rules)

    def _rules(self, slot: dict[str, int | tuple[int, ...]]) -> Iterator[Rule]:
        tests = frozenset(self._guards(slot))
        class_bits = _number(slot["classes"])
        if not slot["shape"]:
            program = self._program(_number(slot["uid"]))
            yield Rule(class_bits, tests, _number(slot["max_priority"]), program)
            return
        shape = STRUCTS["shape"].unpack(self._machine.arrays["shapes"][_number(slot["shape"])])
        n_words, dims = _number(shape["n_words"]), _many(slot["dims"])[: _number(slot["n_dims"])]
        name = f"entries{KEY_WORDS[_number(shape['key_class'])]}"
        for key, value in self._machine.maps[name].items():
            cells = [int.from_bytes(key[i : i + 4], "little") for i in range(0, len(key), 4)]
            if cells[0] != slot["uid"]:
                continue
            words = zip(_many(shape["words"]), _many(shape["masks"]), cells[1 : 1 + n_words],
                        strict=False)  # fmt: skip
            own: set[tuple[object, ...]] = {("is", *word) for word in words}
            ids = zip(dims, cells[1 + n_words :], strict=False)
            own |= {("in", self._dimensions[dim], self._set_name(number)) for dim, number in ids}
            entry = STRUCTS["entry"].unpack(value)
            program = self._program(_number(entry["program"]))
            yield Rule(class_bits, tests | own, _number(entry["priority"]), program)

    def _guards(self, slot: dict[str, int | tuple[int, ...]]) -> Iterator[tuple[object, ...]]:
        names = ("guard_kind", "guard_word", "guard_mask", "guard_value")
        columns = [_many(slot[name])[: _number(slot["n_guards"])] for name in names]
        for kind, word, mask, value in zip(*columns, strict=False):
            yield self._guard(kind, word, mask, value)
        more, n_more = _number(slot["more"]), _number(slot["n_more"])
        group: list[tuple[object, ...]] = []
        for at in range(more, more + n_more):
            guard = STRUCTS["guard"].unpack(self._machine.arrays["guards"][at])
            kind, word, mask, value = (_number(guard[n]) for n in ("kind", "word", "mask", "value"))
            if kind != GuardKind.NOT_ALL_EQUAL:
                yield self._guard(kind, word, mask, value)
                continue
            group.append((word, mask, value))
            if len(group) == guard["n"]:
                yield ("not all", frozenset(group))
                group = []
        assert not group

    def _guard(self, kind: int, word: int, mask: int, value: int) -> tuple[object, ...]:
        if kind in _SET_KINDS:
            verb = "in" if kind == GuardKind.IN_SET else "not in"
            return (verb, self._dimensions[word], self._set_name(value))
        return ("is" if kind == GuardKind.EQUAL else "not", word, mask, value)

    def _program(self, index: int) -> Text | Program | str:
        text = self._pipeline.image.program_text(index)
        if not isinstance(text, Program):
            stored = self._machine.arrays["insns"]
            for at, insn in enumerate(text):
                expected = STRUCTS["insn"].pack(**insn._asdict())
                assert stored[index + at] == expected, "instructions are not the program's"
            if text[0].op == Op.UNSUPPORTED:
                return self._pipeline.flows.verb_names[text[0].x]
        return text


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _many(value: int | tuple[int, ...]) -> tuple[int, ...]:
    assert isinstance(value, tuple)
    return value

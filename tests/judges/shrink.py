# SPDX-License-Identifier: Apache-2.0
"""A disagreement made small: steps, matches, actions and fields that do not matter are left out."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from iovisor_ovn.language import And, Expr, LanguageError, Not, Or, parse_match, print_match
from judges.court import Case, Flow, Put, Send, Step
from judges.packets import Packet
from judges.world import SYMBOLS

__all__ = ["shrink"]

Fails = Callable[[Case], bool]


def shrink(case: Case, fails: Fails) -> Case:
    """A small case that still ``fails``; the given one if it does not fail when repeated."""
    if not fails(case):
        return case
    before = None
    while before != case:
        before = case
        case = _fewer_steps(case, fails)
        for position in range(len(case.steps)):
            case = _simpler_step(case, position, fails)
    return case


def _fewer_steps(case: Case, fails: Fails) -> Case:
    """Leave steps out, halves first."""
    size = len(case.steps) // 2
    while size:
        at = 0
        while at < len(case.steps):
            shorter = replace(case, steps=case.steps[:at] + case.steps[at + size :])
            if shorter.steps and fails(shorter):
                case = shorter
            else:
                at += size
        size //= 2
    return case


def _simpler_step(case: Case, position: int, fails: Fails) -> Case:
    """Take the first simplification that still fails, again and again."""
    found = True
    while found:
        found = False
        for step in _simpler(case.steps[position]):
            steps = (*case.steps[:position], step, *case.steps[position + 1 :])
            if fails(replace(case, steps=steps)):
                case, found = replace(case, steps=steps), True
                break
    return case


def _simpler(step: Step) -> Iterator[Step]:
    match step:
        case Put(number, flow):
            if flow.stage:
                yield Put(number, replace(flow, stage=0))
            for match in _simpler_matches(flow):
                yield Put(number, replace(flow, match=match))
            for actions in _simpler_actions(flow.actions):
                yield Put(number, replace(flow, actions=actions))
        case Send(packet):
            for name, value in packet.fields.items():
                if value and name not in ("eth.type", "ip.proto"):
                    yield Send(Packet({**packet.fields, name: 0}, packet.shape))
            if packet.shape.payload.strip(b"\0"):
                zeros = replace(packet.shape, payload=bytes(len(packet.shape.payload)))
                yield Send(Packet(packet.fields, zeros))


def _simpler_matches(flow: Flow) -> Iterator[str]:
    if flow.match == "1":
        return
    yield "1"
    try:
        tree = parse_match(flow.match, SYMBOLS)
    except LanguageError:
        return
    for simpler in _simpler_trees(tree):
        yield print_match(simpler)


def _simpler_trees(tree: Expr) -> Iterator[Expr]:
    match tree:
        case Not(arg):
            yield arg
            yield from (Not(simpler) for simpler in _simpler_trees(arg))
        case And(args) | Or(args):
            yield from args
            kind = type(tree)
            for at, arg in enumerate(args):
                if len(args) > 2:
                    yield kind(args[:at] + args[at + 1 :])
                for simpler in _simpler_trees(arg):
                    yield kind((*args[:at], simpler, *args[at + 1 :]))


def _simpler_actions(text: str) -> Iterator[str]:
    """Without one statement, or with a clone's body in its place."""
    statements = list(_statements(text))
    for at, statement in enumerate(statements):
        rest = statements[:at], statements[at + 1 :]
        yield " ".join((*rest[0], *rest[1]))
        if statement.startswith("clone {"):
            inner = statement.removeprefix("clone {").removesuffix("};").strip()
            yield " ".join((*rest[0], inner, *rest[1]))
            for simpler in _simpler_actions(inner):
                yield " ".join((*rest[0], f"clone {{ {simpler} }};", *rest[1]))


def _statements(text: str) -> Iterator[str]:
    """Statements of the outermost level."""
    depth, start = 0, 0
    for at, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == ";" and not depth:
            yield text[start : at + 1].strip()
            start = at + 1

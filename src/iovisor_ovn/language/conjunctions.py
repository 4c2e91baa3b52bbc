# SPDX-License-Identifier: Apache-2.0
"""The algebra behind normalisation: conjunctions being built, and their AND and OR."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from iovisor_ovn.language.clauses import (
    Clause,
    Conjunction,
    FieldClause,
    PortClause,
    ResidentClause,
    SetClause,
)
from iovisor_ovn.language.terms import complements, intersect, minimal, overlap, within

__all__ = [
    "FALSE",
    "MAX_CONJUNCTIONS",
    "MAX_TERMS",
    "TRUE",
    "Draft",
    "Drafts",
    "TooComplex",
    "both",
    "either",
]

#: Terms that two lists may have to be crossed into, and conjunctions that an AND may yield.
MAX_TERMS = 1 << 16
MAX_CONJUNCTIONS = 1 << 12

#: Beyond so many conjunctions they are no longer compared pair by pair.
_PAIRWISE = 64

_NOTHING: Mapping[str, FieldClause] = MappingProxyType({})


class TooComplex(Exception):
    """Alternatives multiply beyond what anything could execute."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A conjunction under construction: one clause a field, and the clauses on names."""

    fields: Mapping[str, FieldClause] = field(default_factory=lambda: _NOTHING)
    others: frozenset[Clause] = frozenset()

    @staticmethod
    def of(clause: FieldClause) -> "Draft":
        """A draft with one clause."""
        return Draft({clause.field.name: clause})

    def clauses(self) -> frozenset[Clause]:
        """All clauses, in no order."""
        return self.others.union(self.fields.values())

    def conjunction(self) -> Conjunction:
        """The finished form: clauses in order."""
        fields = (self.fields[name] for name in sorted(self.fields))
        return (*fields, *sorted(self.others, key=_order))


Drafts = tuple[Draft, ...]
TRUE: Drafts = (Draft(),)
FALSE: Drafts = ()


def _order(clause: Clause) -> tuple[int, str, str, bool]:
    match clause:
        case SetClause(ref, name, negated):
            return 0, f"{ref.field.name}[{ref.offset}+{ref.width}]", name, negated
        case PortClause(known, names, groups, negated):
            return 1, known.name, ",".join((*sorted(names), "@", *sorted(groups))), negated
        case ResidentClause(port, negated):
            return 2, port, "", negated
        case FieldClause(known):
            return 3, known.name, "", False


def both(a: Drafts, b: Drafts) -> Drafts:
    """AND: each of ``a`` with each of ``b``."""
    if a is TRUE:
        return b
    if b is TRUE:
        return a
    if len(a) * len(b) > MAX_CONJUNCTIONS:
        raise TooComplex
    merged = (_merge(x, y) for x in a for y in b)
    found = [draft for draft in merged if draft is not None]
    return tuple(found) if len(found) <= 1 else _tidy(found)


def either(parts: Iterable[Drafts]) -> Drafts:
    """OR: what speaks about one field alone is gathered into one clause."""
    found = [draft for part in parts for draft in part]
    return tuple(found) if len(found) <= 1 else _tidy(found)


def _merge(a: Draft, b: Draft) -> Draft | None:
    """AND of two drafts; ``None`` if they contradict."""
    fields = dict(a.fields)
    for name, clause in b.fields.items():
        mine = fields.get(name)
        if mine is None:
            fields[name] = clause
            continue
        narrowed = _narrow(mine, clause)
        if narrowed is None:
            return None
        fields[name] = narrowed
    if not a.others or not b.others:
        return Draft(fields, a.others or b.others)
    others = _merge_others(a.others | b.others)
    return None if others is None else Draft(fields, others)


def _narrow(a: FieldClause, b: FieldClause) -> FieldClause | None:
    """AND of two clauses about one field."""
    if a == b:
        return a
    if not a.any_of or not b.any_of:
        any_of = a.any_of or b.any_of
    else:
        if len(a.any_of) * len(b.any_of) > MAX_TERMS:
            raise TooComplex
        any_of = intersect(a.any_of, b.any_of)
        if not any_of:
            return None
    none_of = minimal((*a.none_of, *b.none_of))
    if not none_of or not any_of:
        return FieldClause(a.field, any_of, none_of)
    left = tuple(t for t in any_of if not any(within(t, out) for out in none_of))
    if not left:
        return None
    kept = tuple(out for out in none_of if any(overlap(out, t) for t in left))
    return FieldClause(a.field, left, kept)


def _merge_others(clauses: frozenset[Clause]) -> frozenset[Clause] | None:
    """AND of clauses on names; ``None`` if two of them contradict."""
    result: set[Clause] = set()
    for clause in clauses:
        match clause:
            case SetClause(ref, name, negated):
                opposite: Clause = SetClause(ref, name, not negated)
            case ResidentClause(port, negated):
                opposite = ResidentClause(port, not negated)
            case _:
                continue
        if opposite in clauses:
            return None
        result.add(clause)
    ports = _merge_ports(c for c in clauses if isinstance(c, PortClause))
    return None if ports is None else frozenset(result.union(ports))


def _merge_ports(clauses: Iterable[PortClause]) -> set[PortClause] | None:
    """AND of port clauses: lists of names intersect, exclusions add up, groups stay."""
    named: dict[str, PortClause] = {}
    excluded: dict[str, PortClause] = {}
    kept: set[PortClause] = set()
    for clause in clauses:
        key = clause.field.name
        if clause.negated:
            mine = excluded.get(key, clause)
            excluded[key] = PortClause(
                clause.field, mine.names | clause.names, mine.groups | clause.groups, True
            )
        elif clause.groups:
            kept.add(clause)
        else:
            mine = named.get(key, clause)
            named[key] = PortClause(clause.field, mine.names & clause.names, frozenset())
    for key, clause in named.items():
        out = excluded.get(key)
        names = clause.names - out.names if out else clause.names
        if not names:
            return None
        kept.add(PortClause(clause.field, names, frozenset()))
    return kept.union(excluded.values())


def _tidy(drafts: Sequence[Draft]) -> Drafts:
    """OR of drafts: duplicates dropped, differences in one clause united, implied ones dropped."""
    unique = list({draft.clauses(): draft for draft in drafts}.values())
    while True:
        united = _unite(unique)
        if any(not draft.fields and not draft.others for draft in united):
            return TRUE
        if len(united) == len(unique):
            break
        unique = united
    return _drop_implied(united)


def _unite(drafts: list[Draft]) -> list[Draft]:
    """One pass of uniting drafts that differ in a single clause."""
    names = sorted({name for draft in drafts for name in draft.fields})
    pending = drafts
    for name in names:
        buckets: dict[frozenset[Clause], list[Draft]] = {}
        untouched: list[Draft] = []
        for draft in pending:
            clause = draft.fields.get(name)
            if clause is None:
                untouched.append(draft)
            else:
                buckets.setdefault(draft.clauses() - {clause}, []).append(draft)
        pending = untouched
        for bucket in buckets.values():
            pending += _unite_field(name, bucket)
    united = _unite_ports(pending)
    return list({draft.clauses(): draft for draft in united}.values())


def _unite_field(name: str, drafts: list[Draft]) -> list[Draft]:
    """OR of drafts that differ only in their clause about ``name``."""
    if len(drafts) == 1:
        return drafts
    rest = {key: clause for key, clause in drafts[0].fields.items() if key != name}
    clauses = [draft.fields[name] for draft in drafts]
    return [
        Draft(rest if clause is None else {**rest, name: clause}, drafts[0].others)
        for clause in _widen(clauses)
    ]


def _widen(clauses: list[FieldClause]) -> list[FieldClause | None]:
    """OR of clauses about one field; ``None`` in it is a clause that always holds."""
    known = clauses[0].field
    listed = minimal(t for c in clauses if not c.none_of for t in c.any_of)
    excluding = [c.none_of for c in clauses if not c.any_of]
    mixed: list[FieldClause | None] = [c for c in clauses if c.any_of and c.none_of]
    if complements(listed):
        return [None]
    if not excluding:
        return [FieldClause(known, listed, ()), *mixed] if listed else mixed
    # Not in A or not in B is: not in both.
    outside = excluding[0]
    for other in excluding[1:]:
        outside = intersect(outside, other)
    # A value that is excluded on one side and listed on the other is welcome.
    outside = tuple(t for t in outside if not any(within(t, term) for term in listed))
    if not outside:
        return [None]
    result: list[FieldClause | None] = [FieldClause(known, (), outside), *mixed]
    straddling = tuple(t for t in listed if any(overlap(t, out) for out in outside))
    if straddling:
        result.append(FieldClause(known, straddling, ()))
    return result


def _unite_ports(drafts: list[Draft]) -> list[Draft]:
    """OR of drafts that differ only in one list of ports."""
    buckets: dict[tuple[object, ...], list[tuple[Draft, PortClause]]] = {}
    result: list[Draft] = []
    for draft in drafts:
        ports = [c for c in draft.others if isinstance(c, PortClause) and not c.negated]
        if len(ports) != 1:
            result.append(draft)
            continue
        key = (ports[0].field.name, draft.clauses() - {ports[0]})
        buckets.setdefault(key, []).append((draft, ports[0]))
    for bucket in buckets.values():
        first, clause = bucket[0]
        united = PortClause(
            clause.field,
            frozenset().union(*(ports.names for _, ports in bucket)),
            frozenset().union(*(ports.groups for _, ports in bucket)),
        )
        result.append(Draft(first.fields, first.others - {clause} | {united}))
    return result


def _drop_implied(drafts: list[Draft]) -> Drafts:
    """Leave out drafts that demand all that another one demands, and more."""
    if len(drafts) > _PAIRWISE or len(drafts) == 1:
        return tuple(drafts)
    demands = [draft.clauses() for draft in drafts]
    return tuple(
        draft
        for draft, mine in zip(drafts, demands, strict=True)
        if not any(other < mine for other in demands)
    )

# SPDX-License-Identifier: Apache-2.0
"""The golden cases in ``tests/cases/language``.

A line is ``input  =>  expected``; lines that begin with ``#`` are comments. To bring the expected
sides up to date run ``UPDATE_CASES=1 pytest tests/unit/language/test_cases.py`` and review the
difference as code.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from iovisor_ovn.language import (
    Clause,
    FieldClause,
    LanguageError,
    PortClause,
    ResidentClause,
    SetClause,
    Symbol,
    SymbolTable,
    Term,
    normalize,
    parse_actions,
    parse_match,
    print_actions,
    print_match,
)
from iovisor_ovn.language.conntrack_parser import CONNTRACK
from iovisor_ovn.language.record_parser import RECORDS
from iovisor_ovn.language.verbs import EXTENSIONS, NESTED_PREREQS, SERVICES

CASES = Path(__file__).parents[2] / "cases" / "language"
ARROW = "  =>  "
SYMBOLS = SymbolTable.default()

#: Verbs without a table to take them from.
OTHER_VERBS = """
    output next push pop ip.ttl-- ct_clear ct_snat_to_vip clone get_arp put_arp get_nd put_nd
    put_fdb select lookup_arp lookup_nd lookup_arp_ip lookup_nd_ip get_fdb get_remote_fdb
    lookup_fdb check_in_port_sec check_out_port_sec check_pkt_larger
"""


def describe_symbol(text: str) -> str:
    """Return the facts about ``name``, ``release:name`` or ``ct:name``."""
    release, _, name = text.rpartition(":")
    table = SymbolTable.conntrack() if release == "ct" else SymbolTable.default(release or "main")
    symbol = table.lookup(name)
    return "unknown" if symbol is None else _facts(symbol)


def _facts(symbol: Symbol) -> str:
    meaning = symbol.predicate
    if symbol.ref is not None:
        low, high = symbol.ref.offset, symbol.ref.offset + symbol.ref.width - 1
        meaning = f"{symbol.ref.field.name}[{low}..{high}]"
    needs = f", needs {symbol.prereqs}" if symbol.prereqs else ""
    until = f" until {symbol.until}" if symbol.until else ""
    return (
        f"{symbol.kind.value} {meaning}, {symbol.level.value} {symbol.writable.value}{needs}, "
        f"since {symbol.since}{until}"
    )


def read_match(text: str) -> str:
    """Return the match as it is printed back."""
    return print_match(parse_match(text, SYMBOLS))


def read_actions(text: str) -> str:
    """Return the actions as they are printed back."""
    return print_actions(
        parse_actions(text, SYMBOLS, pipeline="ingress", table=10, n_tables=(35, 35))
    )


def read_extensions(text: str) -> str:
    """Return actions that may hold verbs of ours as they are printed back, and their demands."""
    actions = parse_actions(
        text, SYMBOLS, pipeline="ingress", table=10, n_tables=(35, 35), extensions=True
    )
    demands = [f"needs {print_match(prereq)}" for prereq in actions.prereqs]
    return " ".join((print_actions(actions), *demands))


def read_prerequisites(text: str) -> str:
    """Return what the actions demand."""
    actions = parse_actions(text, SYMBOLS, pipeline="ingress", table=10, n_tables=(35, 35))
    return ", ".join(print_match(prereq) for prereq in actions.prereqs) or "nothing"


def normal_form(text: str) -> str:
    """Return the conjunctions of a match."""
    conjunctions = normalize(parse_match(text, SYMBOLS), SYMBOLS)
    if not conjunctions:
        return "never"
    return " | ".join("; ".join(map(clause_text, c)) or "always" for c in conjunctions)


def clause_text(clause: Clause) -> str:
    """Return a clause in one line."""
    match clause:
        case FieldClause(field, any_of, none_of):
            full = (1 << field.width) - 1
            parts = [f"= {_terms(any_of, full)}"] if any_of else []
            parts += [f"not {_terms(none_of, full)}"] if none_of else []
            return " ".join((field.name, *parts))
        case SetClause(ref, name, negated):
            return f"{ref} {'not in' if negated else 'in'} ${name}"
        case PortClause(field, names, groups, negated):
            members = [*sorted(names), *(f"@{group}" for group in sorted(groups))]
            return f"{field.name} {'not in' if negated else 'in'} {{{', '.join(members)}}}"
        case ResidentClause(port, negated):
            return f"{port} {'not ' if negated else ''}resident"


def _terms(terms: tuple[Term, ...], full: int) -> str:
    texts = [f"{t.value:x}" if t.mask == full else f"{t.value:x}/{t.mask:x}" for t in terms]
    return texts[0] if len(texts) == 1 else f"{{{', '.join(texts)}}}"


READERS: dict[str, Callable[[str], str]] = {
    "symbols": describe_symbol,
    "match": read_match,
    "normalize": normal_form,
    "actions": read_actions,
    "extensions": read_extensions,
    "prerequisites": read_prerequisites,
}


def outcome(read: Callable[[str], str], text: str) -> str:
    """Return what reading gives, or its error."""
    try:
        return read(text)
    except LanguageError as error:
        return f"error: {error}"


def refreshed(name: str) -> str:
    """Return the case file with its expected sides computed anew."""
    lines: list[str] = []
    for line in (CASES / f"{name}.txt").read_text().splitlines():
        if line.startswith("#"):
            lines.append(line)
        else:
            text = line.split(ARROW)[0]
            lines.append(f"{text}{ARROW}{outcome(READERS[name], text)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", READERS)
def test_cases(name: str) -> None:
    """Each input of the file reads as the file says."""
    path = CASES / f"{name}.txt"
    if os.environ.get("UPDATE_CASES"):
        path.write_text(refreshed(name))
    assert path.read_text().splitlines() == refreshed(name).splitlines()


def inputs(name: str) -> list[str]:
    """Return the inputs of a case file."""
    lines = (CASES / f"{name}.txt").read_text().splitlines()
    return [line.split(ARROW)[0] for line in lines if not line.startswith("#")]


def test_every_symbol_has_a_case() -> None:
    """A symbol cannot be added without saying what it means."""
    covered = {text.rpartition(":")[2] for text in inputs("symbols")}
    known = {symbol.name for symbol in (*SYMBOLS, *SymbolTable.conntrack())}
    assert known - covered == set()


def test_every_verb_has_a_case_that_is_accepted() -> None:
    """A verb cannot be added without a text that it accepts."""
    accepted = " ".join(
        text
        for name in ("actions", "extensions")
        for text in inputs(name)
        if not outcome(READERS[name], text).startswith("error")
    )
    words = set(accepted.replace("(", " ").replace(";", " ").split())
    verbs = {
        *CONNTRACK, *RECORDS, *SERVICES, *EXTENSIONS, *NESTED_PREREQS, *OTHER_VERBS.split()
    }  # fmt: skip
    assert verbs - words == set()


def test_our_own_verbs_are_errors_where_the_flows_are_ovns() -> None:
    """Without extensions the parser is as strict as OVN's."""
    assert len(EXTENSIONS) > 0
    for text in inputs("extensions"):
        assert outcome(read_actions, text).startswith("error")


@pytest.mark.parametrize("name", ["match", "actions"])
def test_what_is_printed_reads_the_same(name: str) -> None:
    """Printing is idempotent over every accepted case."""
    read = READERS[name]
    printed = [outcome(read, text) for text in inputs(name)]
    accepted = [text for text in printed if not text.startswith("error")]
    assert [read(text) for text in accepted] == accepted

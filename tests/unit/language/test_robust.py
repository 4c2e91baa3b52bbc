# SPDX-License-Identifier: Apache-2.0
"""Whatever text comes: a tree or a LanguageError, in time that grows as the text does."""

import random
import string
import sys
from collections.abc import Callable

import pytest

from fuzz.corpus import texts
from fuzz.language import check
from iovisor_ovn.language import LanguageError, SymbolTable, parse_actions, parse_match
from support.fuzzing import Fuzz

SYMBOLS = SymbolTable.default()
ALPHABET = string.printable + "é€𝄞\0\x7f"

#: Texts that grow, by what grows in them.
GROWING: dict[str, Callable[[int], str]] = {
    "parentheses": lambda n: "(" * n + "ip4" + ")" * n,
    "open parentheses": lambda n: "(" * n,
    "negations": lambda n: "!(" * n + "reg0[0]" + ")" * n,
    "conjunction": lambda n: " && ".join(["ip4"] * n),
    "alternatives": lambda n: " || ".join(f"tcp.dst == {i}" for i in range(n)),
    "two fields": lambda n: " && ".join(
        f"(ip4.src == 10.0.{i >> 8}.{i & 255} || tcp.dst == {i})" for i in range(n)
    ),
    "ranges": lambda n: " && ".join(f"{i} < tcp.src < {i + 9}" for i in range(n)),
    "set": lambda n: f"tcp.dst == {{{', '.join(map(str, range(n)))}}}",
    "exclusions": lambda n: f"tcp.dst != {{{', '.join(map(str, range(n)))}}}",
    "ports": lambda n: " || ".join(f'inport == "p{i}"' for i in range(n)),
    "open comments": lambda n: "/*" * n,
    "quotes": lambda n: '"' * n,
    "escapes": lambda n: 'inport == "' + "\\\\" * n,
    "digits": lambda n: "1" * n,
    "colons": lambda n: "1:" * n,
    "dots": lambda n: "1." * n,
    "bodies": lambda n: "clone { " * n + "next;" + " };" * n,
    "stores": lambda n: "reg0 = 1; " * n,
    "options": lambda n: f"reg0[0] = put_dhcp_opts(offerip = 10.0.0.1{', mtu = 1400' * n});",
    "backends": lambda n: f"ct_lb_mark(backends=10.0.0.2:80{',10.0.0.3:80' * n});",
}


def test_random_texts(fuzz: Fuzz) -> None:
    """Right ones, ones with mistakes, and any characters."""
    rng = random.Random(fuzz.seed)
    count = fuzz.count(400)
    given = texts(rng, count)
    given += ["".join(rng.choices(ALPHABET, k=rng.randrange(60))) for _ in range(count)]
    fuzz.summary = f"{len(given)} texts"
    for text in given:
        try:
            check(text)
        except Exception as error:
            error.add_note(f"{text!r}, seed {fuzz.seed}")
            raise


def calls(text: str) -> int:
    """Count the calls of functions while a text is read."""
    count = 0

    def called(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        check(text)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", GROWING)
def test_work_grows_as_the_text_does(name: str) -> None:
    """Twice the text is about twice the work, or is refused early."""
    grow = GROWING[name]
    calls(grow(10))  # what is cached is read once
    assert calls(grow(800)) < 2.6 * calls(grow(400)) + 1000


@pytest.mark.parametrize(("depth", "taken"), [(100, True), (101, False)])
def test_nested_parentheses_are_bounded(depth: int, taken: bool) -> None:
    """As many as OVN takes."""
    text = "(" * depth + "ip4" + ")" * depth
    if taken:
        parse_match(text, SYMBOLS)
        return
    with pytest.raises(LanguageError, match="nested too deeply"):
        parse_match(text, SYMBOLS)


@pytest.mark.parametrize(("depth", "taken"), [(31, True), (32, False)])
def test_nested_bodies_are_bounded(depth: int, taken: bool) -> None:
    """As many as OVN takes."""
    text = "clone { " * depth + "next;" + " };" * depth
    where = {"pipeline": "ingress", "table": 0, "n_tables": (9, 9)}
    if taken:
        parse_actions(text, SYMBOLS, **where)  # type: ignore[arg-type]  # mypy sees a union
        return
    with pytest.raises(LanguageError, match="nested too deeply"):
        parse_actions(text, SYMBOLS, **where)  # type: ignore[arg-type]  # mypy sees a union

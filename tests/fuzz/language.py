# SPDX-License-Identifier: Apache-2.0
"""Whatever text comes from the database, the parsers answer with a tree or a LanguageError.

``python -m fuzz.language CORPUS…`` lets Atheris guide the texts.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from iovisor_ovn.language import (
    ActionList,
    LanguageError,
    SymbolTable,
    normalize,
    parse_actions,
    parse_match,
    print_actions,
    print_match,
)

__all__ = ["check"]

_SYMBOLS = SymbolTable.default()
_Tree = TypeVar("_Tree")


def check(text: str) -> None:
    """Read the text as a match and as actions; anything but a LanguageError is a fault of ours.

    What is taken is printed, and the print reads as the same tree.
    """
    match = _taken(lambda: parse_match(text, _SYMBOLS), text)
    if match is not None:
        printed = print_match(match)
        assert parse_match(printed, _SYMBOLS) == match, printed
        _taken(lambda: normalize(match, _SYMBOLS), text)
    for extensions in (False, True):
        read = partial(_actions, extensions=extensions)
        actions = _taken(partial(read, text), text)
        if actions is not None:
            printed = print_actions(actions)
            assert read(printed).actions == actions.actions, printed
    _taken(lambda: parse_match(text, _SYMBOLS, templates={"vip": "10.0.0.1"}), text)


def _actions(text: str, *, extensions: bool) -> ActionList:
    return parse_actions(
        text, _SYMBOLS, pipeline="ingress", table=10, n_tables=(35, 35), extensions=extensions
    )


def _taken(read: Callable[[], _Tree], text: str) -> _Tree | None:
    try:
        return read()
    except LanguageError as error:
        refusal = error
    assert 0 <= refusal.column <= max(len(refusal.source), len(text)), "an error has a place"
    return None


def _main() -> None:
    import atheris  # noqa: PLC0415  # only here: the check itself runs without it

    def one_input(data: bytes) -> None:
        check(data.decode(errors="replace"))  # OVSDB takes UTF-8 only

    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    _main()

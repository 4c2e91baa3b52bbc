# SPDX-License-Identifier: Apache-2.0
"""Texts of flows with their constants taken out; what is left says which kind of flow it is.

::

    outport == "vm7" && reg0 == 10.0.0.17       outport ==  && reg0 ==        "vm7"  10.0.0.17
    eth.dst = 02:00:00:00:00:11; next;          eth.dst = ; next;             02:00:00:00:00:11

Taken out is what northd writes for each port, address and group, where it stands alone behind
``==`` or ``=`` or in braces, or is all that NAT is given: addresses and prefixes, ports, port
groups, address sets, TCP and UDP ports. Other constants stay, such as masks and /0. This is done
without reading the text, so what looks like a constant may be none (in a comment, say): who puts
another in its place sees what it does.
"""

import re

__all__ = ["constants_of", "join_constants", "split_constants"]

_ADDRESS = r"[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]*"
_LENGTH = r"[1-9][0-9]{0,2}"
_NAME = r"[A-Za-z_][A-Za-z0-9_.]*+"
# What a constant stands behind comes first: that lets the search pass over all other characters.
_OF_MATCH = re.compile(
    rf"""( ==\  | \{{\ ? | ,\  )
    ( (?<=port\ ==\ )  (?: "[^"\\]*" | @{_NAME} )
    | (?<===\ )        \${_NAME}
    | (?<= (?:tcp|udp)\.(?:src|dst)\ ==\ )  [0-9]+ (?=[ )]|\Z)
    | {_ADDRESS} (?:/{_LENGTH})? (?=[ ),}}]|\Z)
    )""",
    re.VERBOSE,
)
_OF_ACTIONS = re.compile(
    rf"""( =\  | nat\( )
    ( (?<=port\ =\ )  "[^"\\]*" (?=;)
    | (?<==\ )        {_ADDRESS} (?=;)
    | (?<=nat\()      {_ADDRESS} (?=\))
    )""",
    re.VERBOSE,
)

#: A match and actions in pieces: text, what a constant stands behind, the constant, text ...
Parts = tuple[list[str], list[str]]


def split_constants(match: str, actions: str) -> Parts:
    """The texts in pieces; see `constants_of`."""
    return _OF_MATCH.split(match), _OF_ACTIONS.split(actions)


def constants_of(parts: Parts) -> list[str]:
    """The constants, those of the match first."""
    return parts[0][2::3] + parts[1][2::3]


def join_constants(parts: Parts, constants: list[str]) -> tuple[str, str]:
    """The texts with other constants."""
    left = iter(constants)
    match, actions = (
        "".join(next(left) if number % 3 == 2 else piece for number, piece in enumerate(pieces))
        for pieces in parts
    )
    return match, actions

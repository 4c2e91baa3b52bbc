# SPDX-License-Identifier: Apache-2.0
"""Texts that are nearly right: tokens lost, doubled, swapped, taken from elsewhere, too wide."""

import random
import re
from collections.abc import Sequence

__all__ = ["mutated", "tokens"]

_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|[$@^]?[A-Za-z_][A-Za-z0-9_.]*|[0-9][0-9A-Za-z.:/]*|<->|[=!<>]=|&&|\|\||\.\.'
    r"|--|\S"
)
_INTRUDERS = (
    "!", "(", ")", "{", "}", "[", "]", ",", ";", "=", "==", "!=", "<", "<=", ">", ">=", "&&", "||",
    "&", "|", "..", "--", "<->", ":", "-", "0", "1", "2", "65536", "4294967296", "0x", "0xg", "00",
    "0x1ffffffff", "18446744073709551616", "10.0.0.1", "10.0.0.1/33", "10.0.0.256", "fd00::1",
    "::/0", "02:00:00:00:00:01", "1/3", "0/5", "0x3/0x6", '"p1"', '""', '"', "$a4", "$a6", "$ae",
    "@g1", "ip4", "tcp", "ip.proto", "ip.ttl", "inport", "outport", "reg0", "reg0[0]", "xxreg1",
    "reg0[3..5]", "eth.type", "eth.src", "tcp.dst", "tcp.flags", "ip4.src", "vlan.tci", "flags",
    "ct_state", "ct_mark", "ct_label", "ct.est", "icmp4.frag_mtu", "nd.target", "next", "output",
    "drop", "clone", "no_such", "//", "/*", "/", "?", "#",
)  # fmt: skip


def tokens(text: str) -> list[str]:
    """Tokens, roughly."""
    return _TOKEN.findall(text)


def mutated(rng: random.Random, text: str, others: Sequence[str]) -> str:
    """The text with one to three changes; ``others`` lend tokens."""
    found = tokens(text)
    for _change in range(rng.choice([1, 1, 1, 2, 3])):
        found = _changed(rng, found, others)
    glue = " " if rng.random() < 0.9 else ""
    return glue.join(found)


def _changed(rng: random.Random, found: list[str], others: Sequence[str]) -> list[str]:
    if not found:
        return [rng.choice(_INTRUDERS)]
    at = rng.randrange(len(found))
    match rng.randrange(7):
        case 0:
            return found[:at] + found[at + 1 :]
        case 1:
            return [*found[: at + 1], found[at], *found[at + 1 :]]
        case 2 if at + 1 < len(found):
            return [*found[:at], found[at + 1], found[at], *found[at + 2 :]]
        case 3:
            return [*found[:at], rng.choice(_INTRUDERS), *found[at:]]
        case 4:
            return [*found[:at], rng.choice(_INTRUDERS), *found[at + 1 :]]
        case 5:
            lender = tokens(rng.choice(others)) or ["0"]
            return [*found[:at], rng.choice(lender), *found[at + 1 :]]
        case _:
            token = found[at]
            place = rng.randrange(len(token) + 1)
            return [*found[:at], token[:place] + rng.choice("0123456789./:-_a") + token[place:],
                    *found[at + 1 :]]  # fmt: skip

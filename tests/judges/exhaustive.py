# SPDX-License-Identifier: Apache-2.0
"""Every small match over a few small variables, and every packet that they can tell apart.

As OVN's own expression tests do: two numbers of two bits and a port, all relations with all
constants, joined and negated in every way that the parser takes. The numbers lie in fields that are
part of every packet's state.
"""

from collections.abc import Iterator, Sequence
from itertools import product

from judges.packets import Fields
from judges.world import PORTS

__all__ = ["PACKETS", "matches"]

_NUMBERS = ("pkt.mark[0..1]", "flags[30..31]")
_RELOPS = ("==", "!=", "<", "<=", ">", ">=")
_PORTS = ("p1", "p2")

#: Fields of all packets: 4 times 4 values, 2 ports.
PACKETS: tuple[Fields, ...] = tuple(
    {"pkt.mark": mark, "flags": flags << 30, "inport": PORTS[port]}
    for mark, flags, port in product(range(4), range(4), _PORTS)
)


def _terminals(*, negated: bool) -> list[str]:
    """Relations as they may stand inside an even (odd: ``negated``) number of ``!``."""
    found = [f"{n} {relop} {c}" for n in _NUMBERS for relop in _RELOPS for c in range(4)]
    found += [f"{bang}{n[: n.index('[')]}[{b}]" for n, low in zip(_NUMBERS, (0, 30), strict=True)
              for b in (low, low + 1) for bang in ("", "!")]  # fmt: skip
    relation = "!=" if negated else "=="
    return found + [f'inport {relation} "{port}"' for port in _PORTS]


#: Of the terminals, a few of each kind: for trees of three.
_FEW = ("pkt.mark[0]", "pkt.mark[0..1] < 3", "flags[30..31] == 1", "!flags[31]")


def matches() -> Iterator[str]:
    """All with one and two terminals, each also negated, and some with three."""
    for negated in (False, True):
        terminals = _terminals(negated=negated)
        whole = "!({})" if negated else "{}"
        yield from (whole.format(terminal) for terminal in terminals)
        for position, one in enumerate(terminals):
            for other in terminals[position:]:
                for joint in ("&&", "||"):
                    yield whole.format(f"({one}) {joint} ({other})")
    yield from _trees_of_three()


def _trees_of_three() -> Iterator[str]:
    for joints in product(("&&", "||"), repeat=2):
        for bangs in product((False, True), repeat=2):
            # The third may be a port; what its `!' is is told by those around it.
            ports = [f'inport {"!=" if sum(bangs) % 2 else "=="} "p1"']
            for one, two, three in product(_FEW, _FEW, (*_FEW, *ports)):
                yield _tree((one, two, three), joints, bangs)


def _tree(terms: Sequence[str], joints: Sequence[str], bangs: Sequence[bool]) -> str:
    """``!(one joint !(two joint three))``."""
    inner = f"({terms[1]}) {joints[1]} ({terms[2]})"
    inner = f"!({inner})" if bangs[1] else f"({inner})"
    outer = f"({terms[0]}) {joints[0]} {inner}"
    return f"!({outer})" if bangs[0] else outer

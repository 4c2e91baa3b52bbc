# SPDX-License-Identifier: Apache-2.0
"""Whether a command printed what a README says.

``...`` stands for any text within a line, alone in a line for any number of lines. How long
something took (``0.05 ms``, ``time 2003ms``) is not compared, nor are spaces at ends of lines.
"""

import re

__all__ = ["agrees"]

_ANYTHING = "..."
_TIMES = re.compile(r"\d[\d./]* ?ms\b")


def agrees(expected: str, seen: str) -> bool:
    """Return whether ``seen`` is as ``expected`` says."""
    return re.fullmatch(_pattern(_plain(expected)), "".join(_plain(seen))) is not None


def _plain(text: str) -> list[str]:
    return [_TIMES.sub("N ms", line.rstrip()) + "\n" for line in text.splitlines()]


def _pattern(lines: list[str]) -> str:
    return "".join(
        r"(?:.*\n)*?"
        if line.strip() == _ANYTHING
        else ".*".join(re.escape(part) for part in line.split(_ANYTHING))
        for line in lines
    )

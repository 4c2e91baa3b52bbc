# SPDX-License-Identifier: Apache-2.0
"""Case after case until judges disagree; then a small case, and how to see it again."""

import re
from collections.abc import Callable
from functools import partial

from judges.cases import Tally, random_case
from judges.court import Case, Court
from judges.direct import Unsuited
from judges.shrink import shrink
from support.fuzzing import Fuzz

__all__ = ["hold_trial"]


def hold_trial(fuzz: Fuzz, usual: int, court_of: Callable[[bool], Court]) -> Tally:
    """Try as many cases as were asked for; an AssertionError shows a small one that fails."""
    tally = Tally()
    for seed in fuzz.seeds(usual):
        case, words = random_case(seed, court_of, tally)
        fuzz.summary = f"{tally}, {bool(words):d} disagreements"
        if words:
            small = shrink(case, partial(_fails_alike, words, court_of))
            raise AssertionError(
                f"{words}\n\nsmallest case found:\n{small}\n{_say(small, court_of)}\n\n"
                f"again: make fuzz-language SEED={seed} N=1"
            )
    few = tally.met < tally.expressions // 6
    assert fuzz.asked == 1 or not few, "the packets meet too few of the flows"
    return tally


def _say(case: Case, court_of: Callable[[bool], Court]) -> str:
    court = court_of(case.any_state)
    try:
        return next((words for words in map(court.take, case.steps) if words), "")
    finally:
        court.close()


def _fails_alike(words: str, court_of: Callable[[bool], Court], case: Case) -> bool:
    """The same two judges disagree on the same kind of thing."""
    kind = re.split(": [{[]", words, maxsplit=1)[0]
    try:
        return _say(case, court_of).startswith(kind)
    except Unsuited:
        return False

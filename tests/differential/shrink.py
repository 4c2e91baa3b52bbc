# SPDX-License-Identifier: Apache-2.0
"""Makes a case small: leaves out steps and elements as long as the mismatch stays.

The same mismatch is one of the same kind at a step of the same kind; what else goes wrong on
the way, a command that no longer makes sense for instance, counts as no mismatch.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from differential.arena import Mismatch
from differential.case import Case
from iovisor_ovn.demo.processes import CommandFailed

__all__ = ["shrink"]

Judge = Callable[[Case], list[Mismatch]]
Less = Callable[[Case, int, int], Case | None]


def shrink(case: Case, unlike: list[Mismatch], judge: Judge, budget_s: float = 120.0) -> Case:
    """Return a smaller case with the same mismatch, the best that ``budget_s`` seconds allow."""
    deadline = time.monotonic() + budget_s
    first = min(one.step for one in unlike)
    best = replace(case, steps=case.steps[: first + 1]) if first >= 0 else case
    wanted = _kinds(case, unlike)

    def is_like(smaller: Case) -> bool:
        try:
            found = judge(smaller)
        except CommandFailed:
            return False
        return bool(_kinds(smaller, found) & wanted)

    for less in (_fewer_steps, _fewer_elements, _fewer_steps):
        for size in _sizes(best, less):
            start = 0
            while (smaller := less(best, start, size)) is not None:
                if time.monotonic() > deadline:
                    return best
                if is_like(smaller):
                    best = smaller
                else:
                    start += size
    return best


def _kinds(case: Case, unlike: list[Mismatch]) -> set[tuple[str, str]]:
    found = set()
    for one in unlike:
        step = case.steps[one.step] if 0 <= one.step < len(case.steps) else None
        found.add((one.what, step.what if step is not None else ""))
    return found


def _sizes(case: Case, less: Less) -> list[int]:
    """Return how many things to leave out at once: half of all, a quarter ... one."""
    size = len(case.steps) if less is not _fewer_elements else len(case.topology.elements)
    return [size >> shift for shift in range(1, size.bit_length())] or [1]


def _fewer_steps(case: Case, start: int, size: int) -> Case | None:
    return case.without_steps(start, start + size) if start < len(case.steps) else None


def _fewer_elements(case: Case, start: int, size: int) -> Case | None:
    names = list(case.topology.names())[start : start + size]
    return replace(case, topology=case.topology.without(names)) if names else None

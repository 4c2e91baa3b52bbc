# SPDX-License-Identifier: Apache-2.0
"""What verifying costs: a jump is fixed, or approved by a change of ``verifier_budget.json``.

``UPDATE_BUDGET=1 pytest tests/bpf/machine/test_machine_budget.py`` writes today's figures.
"""

import json
import os
import platform
from pathlib import Path

import pytest

from machine_rig import Rig

pytestmark = pytest.mark.needs_bpf

_BUDGET = Path(__file__).parents[1] / "verifier_budget.json"
#: BPF_COMPLEXITY_LIMIT_INSNS of the kernel: beyond it a program is refused.
_LIMIT = 1_000_000
#: Kernels count differently; older ones prune less. So much of the limit must stay free.
_FREE = 0.25


def _kernel() -> str:
    return ".".join(platform.release().split(".")[:2])


def _figures(rig: Rig) -> dict[str, int]:
    programs = rig.machine._programs.items()
    return {name: program.info().verified_instructions for name, program in sorted(programs)}


def test_verified_instructions_stay_within_the_budget(rig: Rig) -> None:
    """Instructions that the verifier processed, per program, on the kernel of the figures."""
    figures = _figures(rig)
    budget = json.loads(_BUDGET.read_text())
    if os.environ.get("UPDATE_BUDGET"):
        budget["kernel"] = _kernel()
        budget["verified_instructions"][rig.mode] = figures
        _BUDGET.write_text(json.dumps(budget, indent=2) + "\n")
    known = budget["verified_instructions"][rig.mode]
    assert known.keys() == figures.keys()
    if budget["kernel"] != _kernel():
        pytest.skip(f"the figures are from kernel {budget['kernel']}")
    over = {
        name: (count, known[name])
        for name, count in figures.items()
        if count > known[name] * (1 + budget["headroom"])
    }
    assert not over, "now, budget"


def test_the_kernels_limit_is_far_away(rig: Rig) -> None:
    """Every kernel that we support must still take the programs."""
    assert max(_figures(rig).values()) <= _LIMIT * (1 - _FREE)

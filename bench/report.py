# SPDX-License-Identifier: Apache-2.0
"""Figures as tables for people and as JSON for programs, with what they were measured on."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

__all__ = ["FOOTNOTE", "Spread", "save", "spread", "table"]

_ROOT = Path(__file__).parent.parent
_WIDE = 0.25

#: Stands below a table of spreads.
FOOTNOTE = "median (first - third quartile); ! marks a spread too wide to be trusted: run again"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, first and third quartile of repeated measurements."""

    median: float
    low: float
    high: float

    @property
    def is_wide(self) -> bool:
        """The middle of the measurements is so far apart that they should be made again."""
        return self.high - self.low > _WIDE * self.median

    def text(self, digits: int = 0) -> str:
        """``median (low - high)``, with a mark when wide."""
        mark = " !" if self.is_wide else ""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} - {self.high:,.{digits}f}){mark}"


def spread(values: Sequence[float]) -> Spread:
    """Summarise two or more measurements."""
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Spread(median=middle, low=low, high=high)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines of columns: the first to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join(cells).rstrip())
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def save(name: str, figures: object) -> Path:
    """Write ``build/bench/<name>-<time>.json`` with machine, kernel and commit beside."""
    now = datetime.now(UTC)
    place = _ROOT / "build" / "bench"
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    record = {"benchmark": name, "time": now.isoformat(), **_machine(), "figures": figures}
    path.write_text(json.dumps(record, indent=2, default=_plain) + "\n")
    return path


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{value!r} has no form in JSON")


def _machine() -> dict[str, object]:
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain").splitlines()),
    }


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", _ROOT, *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"

# SPDX-License-Identifier: Apache-2.0
"""Where a packet's time goes.

While a case runs over and over, perf samples the CPU's clock (hardware counters are not needed,
so it works in virtual machines). A sample in a kernel function counts for the BPF function that
called it. Shares become nanoseconds by the time per packet, measured without perf before.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from packet import CASES, Case, establish
from report import save, table
from rig import Rig, open_rig

__all__ = ["main"]

_SAMPLES_PER_S = 9973  # a prime: not in step with the program
_SECONDS = 4.0
_REPEAT = 5000
_SHOWN = 12
_FUNCTION = re.compile(r"\bbpf_prog_[0-9a-f]{16}_(\w+)")
_OWN = {"again", "stub"}  # the benchmark's

# Parts of the program by function; the names' beginnings suffice.
_PARTS = {
    "parse": ("parse", "walk_extensions"),
    "classify": ("classify", "try_", "in_set", "scan_member", "more_guards", "find_"),
    "conntrack": ("ct_", "tcp_"),
    "neighbour, fdb, icmp": ("neigh", "fdb", "generate"),
    "deparse": ("deparse", "write_", "sctp"),
    "act": ("visit", "execute", "ingress", "resume"),
}


def _part(function: str) -> str:
    for part, beginnings in _PARTS.items():
        if function.startswith(beginnings):
            return part
    return "other"


def _record(rig: Rig, case: Case, path: Path) -> float:
    """Sample a case into a file of perf's; return the nanoseconds per packet without perf."""
    frame, port = case.frame, case.conversation.client.name
    times = [
        rig.time(frame, port, _REPEAT, port_at=case.port_at)
        - rig.overhead(frame, port, _REPEAT, port_at=case.port_at)
        for _ in range(9)
    ]
    words = ["perf", "record", "--quiet", "--event", "cpu-clock", "--freq", str(_SAMPLES_PER_S),
             "-g", "--pid", str(os.getpid()), "--output", str(path)]  # fmt: skip
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as perf:
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            rig.time(frame, port, _REPEAT, port_at=case.port_at)
        perf.send_signal(signal.SIGINT)
        _out, said = perf.communicate()
    if not path.exists():
        raise RuntimeError(f"perf recorded nothing: {said}")
    return min(times)


def _functions(path: Path) -> Counter[str]:
    """Samples by BPF function."""
    script = subprocess.run(
        ["perf", "script", "--input", path, "--fields", "ip,sym"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    counts: Counter[str] = Counter()
    for sample in script.stdout.split("\n\n"):
        # The innermost frame comes first.
        found = _FUNCTION.search(sample)
        if found and found[1] not in _OWN:
            counts[found[1]] += 1
    return counts


def main(pattern: str = "") -> None:
    """Profile the cases whose names hold ``pattern``. Run by ``bench/run.py hotspots``."""
    if shutil.which("perf") is None:
        raise SystemExit("hotspots needs perf: apt-get install linux-perf")
    cases = [case for case in CASES if pattern in case.name]
    if not cases:
        raise SystemExit(f"no case is called like {pattern}: {[case.name for case in CASES]}")
    kept = []
    with open_rig() as rig, tempfile.TemporaryDirectory() as place:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        for number, case in enumerate(cases):
            establish(rig, case)
            path = Path(place, f"{number}.perf")
            ns = _record(rig, case, path)
            functions = _functions(path)
            _print(case, ns, functions)
            kept.append({"case": case.name, "ns": ns, "samples": functions})
    print(f"figures in {save('hotspots', kept)}")


def _print(case: Case, ns: float, functions: Counter[str]) -> None:
    total = functions.total()
    parts: Counter[str] = Counter()
    for function, count in functions.items():
        parts[_part(function)] += count
    print(f"\n{case.name}: {ns:,.0f} ns, {total} samples")
    for head, counts in (("part", parts), ("function, with helpers it calls", functions)):
        rows = [
            (name, f"{100 * count / total:.1f}", f"{ns * count / total:,.0f}")
            for name, count in counts.most_common(_SHOWN)
        ]
        print(table((head, "%", "ns"), rows))

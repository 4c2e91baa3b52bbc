# SPDX-License-Identifier: Apache-2.0
"""Does the comparison see? ``make mutations``: faults put in on purpose, each must be caught.

A fault is one changed place in a scratch copy of the project, which is built as far as it must
be and then compared with ordinary OVN with a fixed seed. A place that is no longer there is an
error: whoever changed it finds another one for the same fault.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATIONS", "Mutation"]

_ROOT = Path(__file__).parents[2]
_COPIED = ("bpf", "build", "src", "tests", "Makefile", "pyproject.toml", "tools")
_SEED = 7
_PACKETS = 4000
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Mutation:
    """``old`` becomes ``new`` in ``file``; it stands there once. ``seed`` is one that meets it."""

    fault: str
    file: str
    old: str
    new: str
    seed: int = _SEED


MUTATIONS = (
    Mutation(
        "wrong priority",
        "src/iovisor_ovn/compiler/image.py",
        "value = _ENTRY.pack_flat(program, priority)",
        "value = _ENTRY.pack_flat(program, min(priority, 2000))",
    ),
    Mutation(
        "lost mask bit",
        "src/iovisor_ovn/compiler/patterns.py",
        "words = masked_words(_place(clause.field.name), term.value, term.mask)",
        "words = masked_words(_place(clause.field.name), term.value & -2, term.mask & -2)",
    ),
    Mutation(
        "stale set member",
        "src/iovisor_ovn/compiler/sets.py",
        "        holders.discard(number)\n        if not holders:",
        "        if not holders:",
    ),
    Mutation(
        "inverted set guard",
        "src/iovisor_ovn/compiler/patterns.py",
        "kind = GuardKind.NOT_EQUAL if len(words) == 1",
        "kind = GuardKind.EQUAL if len(words) == 1",
    ),
    Mutation(
        "TTL not decremented",
        "bpf/machine/machine.bpf.c",
        "m->w[W_IP_META] -= 0x100;",
        "m->w[W_IP_META] -= 0;",
    ),
    Mutation(
        "checksum not updated",
        "bpf/machine/deparse.bpf.c",
        "(__be16)~old[1] + new[0] + new[1]);",
        "(__be16)~old[1] + new[0] + old[1]);",
    ),
    Mutation(
        "copy to the ingress port",
        "bpf/machine/machine.bpf.c",
        "return m->w[W_INPORT] == outport && !(m->w[W_FLAGS] & FLAG_LOOPBACK);",
        "return 0 * (m->w[W_INPORT] + outport);",
    ),
    Mutation(
        "flags kept on the way to a peer",
        "bpf/machine/machine.bpf.c",
        "put(m, W_FLAGS, 0);",
        "",
    ),
    Mutation(
        "lost reply bit of ct_state",
        "bpf/iomodules/conntrack/conntrack.bpf.c",
        "return CT_EST | reply;",
        "return CT_EST;",
        seed=2000,
    ),
    Mutation(
        "port not translated",
        "bpf/iomodules/conntrack/translate.bpf.c",
        "m->w[W_L4] = sport << 16 | dport;",
        "m->w[W_L4] = sport << 16 | (m->w[W_L4] & 0xffff);",
        seed=431,
    ),
    Mutation(
        "answer not translated back",
        "bpf/iomodules/conntrack/translate.bpf.c",
        "ip[i] = s->reply ? original : s->nat_ip[i];",
        "ip[i] = s->nat_ip[i] + 0 * original;",
        seed=431,
    ),
    Mutation(
        "choice that is none of the values",
        "bpf/machine/machine.bpf.c",
        "(__u32)point < insn->x ? insn->y >> 16 :",
        "(__u32)point < insn->x ? insn->y >> 15 :",
    ),
    Mutation(
        "wrong ND option",
        "bpf/iomodules/icmp/neighbours.bpf.c",
        "(type == ICMP6_NS ? 1 : 2) << 8 | 1",
        "1 << 8 | 1",
    ),
    Mutation(
        "no router flag in advertisements",
        "bpf/iomodules/icmp/neighbours.bpf.c",
        "flags |= ND_ROUTER;",
        "flags |= 0;",
    ),
    Mutation(
        "VLAN tag not seen",
        "bpf/machine/parse.bpf.c",
        "(skb->vlan_tci & 0xffff) | TCI_PRESENT",
        "(skb->vlan_tci & 0xffff)",
    ),
    Mutation(
        "acknowledgement of a reset",
        "bpf/iomodules/icmp/resets.bpf.c",
        "READ_BE32(in + 4) + 1",
        "READ_BE32(in + 4)",
    ),
    Mutation(
        "learned address not written",
        "src/iovisor_ovn/mainlogic/events.py",
        "        row.mac = mac_text(fact.mac)\n        if",
        "        row.mac = mac_text(fact.mac ^ 1)\n        if",
    ),
)


def copy_project(directory: Path) -> None:
    """Copy what a run needs, with times of change, so that little is built again."""
    for name in _COPIED:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, symlinks=True)
        else:
            shutil.copy2(source, directory / name)
    (directory / ".venv").symlink_to(_ROOT / ".venv")


def caught_by(mutation: Mutation | None, directory: Path) -> str:
    """Return the line that tells what is unlike, "" when nothing is."""
    if mutation is not None:
        path = directory / mutation.file
        text = path.read_text()
        assert text.count(mutation.old) == 1, f"{mutation.fault}: no longer in {mutation.file}"
        path.write_text(text.replace(mutation.old, mutation.new))
    try:
        subprocess.run(["make", "-s", "bpf"], cwd=directory, check=True, capture_output=True)
        return _compare(directory, mutation.seed if mutation is not None else _SEED)
    finally:
        if mutation is not None:
            path.write_text(text)


def _compare(directory: Path, seed: int) -> str:
    command = [
        sys.executable, "-m", "differential.run", f"--packets={_PACKETS}", f"--seed={seed}",
        "--first", "--shrink-s=0", f"--out={directory}/found",
    ]  # fmt: skip
    paths = f"{directory}/src:{directory}/tests"
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, "PYTHONPATH": paths}, check=False,
        capture_output=True, text=True, timeout=_TIMEOUT_S,
    )  # fmt: skip
    if done.returncode == 0:
        return ""
    found = re.search(r"^step .*$", done.stdout, re.MULTILINE)
    return found[0] if found else f"run failed: {done.stderr[-300:]}"


def main() -> int:
    """Try all faults, or those that are named; return 1 when one is not caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", help="parts of faults' names")
    wanted = parser.parse_args().faults
    missed = 0
    with tempfile.TemporaryDirectory(prefix="ivm-") as name:
        directory = Path(name)
        copy_project(directory)
        chosen: list[Mutation | None] = [None]
        chosen += [m for m in MUTATIONS if not wanted or any(one in m.fault for one in wanted)]
        for mutation in chosen:
            start = time.monotonic()
            found = caught_by(mutation, directory)
            is_right = bool(found) == (mutation is not None)
            missed += not is_right
            fault = mutation.fault if mutation is not None else "(none)"
            took_s = time.monotonic() - start
            print(f"{fault:34} {'' if is_right else 'WRONG '}{found or 'alike'} ({took_s:.0f} s)")
            sys.stdout.flush()
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())

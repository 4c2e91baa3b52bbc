#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check what no linter of one language does: SPDX lines, white space, links between pages.

``check_files.py`` checks all; ``--links`` the links alone.  Files are those that git would
commit, so build products do not count.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_APACHE = "SPDX-License-Identifier: Apache-2.0"
_DUAL = "SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)"
#: By suffix: the text that the first lines must hold.
LICENCE_LINES = {
    ".py": f"# {_APACHE}",
    ".sh": f"# {_APACHE}",
    ".toml": f"# {_APACHE}",
    ".yaml": f"# {_APACHE}",
    ".yml": f"# {_APACHE}",
    ".c": f"// {_DUAL}",
    ".h": f"/* {_DUAL} */",
}
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
_BINARY = frozenset({".pcap", ".png", ".svg"})
# Recorded output of other programs, and texts that are not ours to edit.
_VERBATIM = ("LICENSES/", "tests/cases/", "tests/bpf/icmp/answers")


def project_files() -> list[Path]:
    """Return the files that git has or would take, relative to the root."""
    listing = subprocess.run(
        # Root may check a clone that belongs to somebody else.
        [
            "git",
            "-c",
            f"safe.directory={ROOT}",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = (Path(name) for name in listing.split("\0") if name)
    return sorted(name for name in names if (ROOT / name).is_file())


def licence_faults(path: Path, lines: list[str]) -> Iterator[str]:
    """Yield what is wrong with the licence line."""
    wanted = LICENCE_LINES.get(path.suffix)
    start = 1 if lines and lines[0].startswith("#!") else 0
    if wanted is not None and (len(lines) <= start or lines[start] != wanted):
        yield f"{path}:{start + 1}: must read `{wanted}`"


def space_faults(path: Path, text: str, lines: list[str]) -> Iterator[str]:
    """Yield white space at ends of lines and at the end of the file."""
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield f"{path}:{number}: white space at the end"
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield f"{path}: must end with one newline"


def link_faults(path: Path, lines: list[str]) -> Iterator[str]:
    """Yield links of a page to files that do not exist."""
    if path.suffix != ".md":
        return
    for number, line in enumerate(lines, 1):
        for target in _LINK.findall(line):
            if not (ROOT / path.parent / target).exists():
                yield f"{path}:{number}: no such file: {target}"


def faults(*, links_only: bool) -> Iterator[str]:
    """Yield all faults."""
    for path in project_files():
        if path.suffix in _BINARY:
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        lines = text.split("\n")
        yield from link_faults(path, lines)
        if links_only:
            continue
        yield from licence_faults(path, lines)
        if not str(path).startswith(_VERBATIM):
            yield from space_faults(path, text, lines)


def main() -> int:
    """Print the faults; return 1 if there is one."""
    found = list(faults(links_only="--links" in sys.argv[1:]))
    print("\n".join(found) or "files: no fault")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

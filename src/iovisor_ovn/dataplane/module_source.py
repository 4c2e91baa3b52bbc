# SPDX-License-Identifier: Apache-2.0
"""C source of a user's module to an object file, by the clang that is installed here."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from iovisor_ovn.errors import UserModuleError

__all__ = ["INCLUDE", "compile_source", "find_clang"]

#: Where ``<iovisor_ovn/module.h>`` is.
INCLUDE = Path(__file__).parents[1] / "sdk" / "include"

_OLDEST, _NEWEST = 14, 24
_TIMEOUT_S = 120


def find_clang() -> str | None:
    """The compiler: ``$CLANG``, ``clang``, or the newest ``clang-N``."""
    names = [f"clang-{version}" for version in range(_NEWEST, _OLDEST - 1, -1)]
    wanted = os.environ.get("CLANG", "").split()[:1]
    return next((path for name in (*wanted, "clang", *names) if (path := shutil.which(name))), None)


def compile_source(source: Path, target: Path) -> None:
    """Write the object of ``source`` to ``target``.

    Raises :class:`UserModuleError` with the compiler's messages, or if there is no compiler.
    """
    clang = find_clang()
    if clang is None:
        raise UserModuleError(
            str(source), "there is no clang here to compile it (install clang, or set CLANG); "
            "object files need none"
        )  # fmt: skip
    command = [
        clang, "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-fno-color-diagnostics",
        "-I", str(INCLUDE), "-I", str(source.parent),
        "-I", f"/usr/include/{platform.machine()}-linux-gnu", "-c", str(source), "-o", str(target),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise UserModuleError(str(source), f"{clang} took longer than {_TIMEOUT_S} s") from None
    if done.returncode:
        raise UserModuleError(str(source), f"it does not compile:\n{done.stderr.strip()}")

# SPDX-License-Identifier: Apache-2.0
"""A user's module from its file to the kernel: compiled if it is source, set, checked, loaded.

::

    with load_module(Path("limit.bpf.c"), {"max_size": 1500}) as module:
        module.program.fd

What is wrong with it comes as :class:`UserModuleError`: the compiler's messages, the end of the
verifier's log, the nearest name of a setting.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from iovisor_ovn.dataplane.maps import Map, MapType
from iovisor_ovn.dataplane.module_settings import Value, encode, nearest
from iovisor_ovn.dataplane.module_source import INCLUDE, compile_source
from iovisor_ovn.dataplane.program import Object, Program
from iovisor_ovn.errors import DataplaneError, ProgramLoadError, UserModuleError

__all__ = ["SDK_VERSION", "UserProgram", "digest", "load_module"]

_SECTION = "iomodule/"
_SCHED_CLS = 3  # enum bpf_prog_type


def _sdk_version() -> int:
    header = (INCLUDE / "iovisor_ovn" / "module.h").read_text()
    return int(header.split("#define IOM_SDK ", 1)[1].split(None, 1)[0])


#: Of ``<iovisor_ovn/module.h>``; an object built against another is refused.
SDK_VERSION = _sdk_version()


@dataclass(frozen=True, slots=True)
class UserProgram:
    """A loaded module. ``maps`` are those that it declares; ``digest`` is its object's.

    Close it when nothing is to be asked of it any more; the kernel keeps what is in use.
    """

    path: Path
    settings: Mapping[str, Value]
    program: Program
    maps: Mapping[str, Map]
    digest: bytes

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Give descriptors back."""
        self.program.close()
        for item in self.maps.values():
            item.close()


def digest(path: Path) -> bytes:
    """What tells a program from a later one under its name: of C source, of what it compiles to."""
    with tempfile.TemporaryDirectory(prefix="iomodule-") as directory:
        return _digest(_object(path, Path(directory)))


def load_module(
    path: Path, settings: Mapping[str, Value], keep: Mapping[str, Map] | None = None
) -> UserProgram:
    """Load a module's file (``.c``: source, else an object) with these settings.

    Maps of ``keep`` are used in place of new ones where name and layout agree, with what they
    hold. Raises UserModuleError; nothing is left behind then.
    """
    with tempfile.TemporaryDirectory(prefix="iomodule-") as directory:
        compiled = _object(path, Path(directory))
        try:
            with Object.open(compiled) as opened:
                return _load(opened, path, settings, keep or {}, _digest(compiled))
        except ProgramLoadError as error:
            reason = f"the verifier refuses {error.program}; the end of its log:\n{error.log}"
            raise UserModuleError(str(path), reason) from error
        except UserModuleError:
            raise
        except DataplaneError as error:
            raise UserModuleError(str(path), str(error)) from error


def _object(path: Path, directory: Path) -> Path:
    if not path.is_file():
        raise UserModuleError(str(path), "there is no such file")
    if path.suffix != ".c":
        return path
    compiled = directory / f"{path.name.split('.')[0]}.o"
    compile_source(path, compiled)
    return compiled


def _digest(compiled: Path) -> bytes:
    return hashlib.sha256(compiled.read_bytes()).digest()


def _load(
    opened: Object, path: Path, settings: Mapping[str, Value], keep: Mapping[str, Map],
    object_digest: bytes,
) -> UserProgram:  # fmt: skip
    name = _find_program(opened, path)
    opened.set_type(name, _SCHED_CLS)
    opened.set_rodata(_encode(opened, path, settings))
    declared = opened.declared_maps()
    # The maps of a program's own tail calls belong to its version.
    opened.reuse(
        {
            kept: existing
            for kept, existing in keep.items()
            if kept in declared
            and existing.type != MapType.PROG_ARRAY
            and not declared[kept].differences(existing.layout)
        }
    )
    opened.load()
    maps = {name: opened.maps.pop(name) for name in declared}
    program = opened.programs.pop(name)
    # Of the rest (globals, programs that it calls) the kernel keeps what the program uses.
    for unused in opened.maps.values():
        unused.close()
    for called in opened.programs.values():
        called.close()
    return UserProgram(path, dict(settings), program, maps, object_digest)


def _find_program(opened: Object, path: Path) -> str:
    sections = opened.sections()
    found = [name for name, section in sections.items() if section.startswith(_SECTION)]
    if not found:
        there = ", ".join(sorted(set(sections.values()))) or "none"
        raise UserModuleError(
            str(path), f"it defines no IOMODULE(); sections of its programs: {there}"
        )
    if len(found) > 1:
        raise UserModuleError(str(path), f"it defines several modules: {', '.join(found)}")
    version = sections[found[0]].removeprefix(_SECTION)
    if version != str(SDK_VERSION):
        raise UserModuleError(
            str(path), f"it was built against version {version} of iovisor_ovn/module.h, this is "
            f"version {SDK_VERSION}: compile it again"
        )  # fmt: skip
    return found[0]


def _encode(opened: Object, path: Path, settings: Mapping[str, Value]) -> dict[str, int | bytes]:
    known = {
        name: variable.type for name, variable in opened.read_only().items() if variable.is_volatile
    }
    encoded: dict[str, int | bytes] = {}
    for name, value in settings.items():
        if name not in known:
            raise UserModuleError(str(path), f"it has no setting {name}: {nearest(name, known)}")
        try:
            encoded[name] = encode(value, known[name])
        except ValueError as error:
            raise UserModuleError(str(path), f"setting {name}: {error}") from error
    return encoded

# SPDX-License-Identifier: Apache-2.0
"""A compiled BPF object: set up, load (or adopt what is pinned), then use its maps and programs.

::

    machine = Object.open("machine.bpf.o")
    machine.set_max_entries({"conntrack": 1_000_000})
    machine.set_rodata({"fast_path_on": 1})
    adoption = machine.adopt_or_create(bpffs.path, ABI_VERSION)
    machine.maps["entries"].update_many(keys, values)
    attach_ingress(machine.programs["vif"], ifindex, bpffs.path)

Pins lie under ``<pin_dir>/v<abi version>/maps/<map>``, so that a new layout never meets old
contents. Globals (``.data``, ``.bss``, ``.rodata``) belong to one load and are never adopted:
state that must outlive the agent lives in a declared map.
"""

import ctypes
import mmap
import os
import re
import struct
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.dataplane.btf import Variable, variables
from iovisor_ovn.dataplane.maps import Map, MapLayout
from iovisor_ovn.errors import DataplaneError, ProgramLoadError

__all__ = ["Adoption", "Object", "Program", "ProgramInfo", "TestRun", "remove_other_versions"]

# Big enough for the whole log of a failing program even where the kernel (before 6.4) gives
# up on a log that does not fit; the pages are only touched as far as they are written.
_LOG_SIZE = 16 << 20
_LOG_LINES = 40
_DATA_MAX = 1 << 17
_CTX_MAX = 4096

_NO_COMMON_LRU = 1 << 1

# type, id, tag, lengths of the two code forms; much later the verifier's count
# (struct bpf_prog_info of linux/bpf.h, 5.16 and later).
_PROG_INFO = struct.Struct("=II8sII")
_PROG_INFO_SIZE = 232
_VERIFIED_INSTRUCTIONS_AT = 216

_REFUSED = re.compile(r"prog '([^']+)': (?:BPF program load failed|failed to load)")


@dataclass(frozen=True, slots=True)
class TestRun:
    """What one BPF_PROG_TEST_RUN gave: the program's verdict and the packet afterwards."""

    __test__ = False  # the name begins like a test class of pytest

    retval: int
    data_out: bytes
    ctx_out: bytes
    duration_ns: int
    """Average over the repetitions."""


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel says about a loaded program."""

    id: int
    tag: str
    verified_instructions: int
    translated_bytes: int


@dataclass(frozen=True, slots=True)
class Adoption:
    """Names of the maps that were taken over with their contents, and of those made new."""

    adopted: frozenset[str]
    created: frozenset[str]


class Program:
    """A loaded program by its file descriptor, which this object owns and closes."""

    __slots__ = ("fd", "name", "section")

    def __init__(self, fd: int, name: str, section: str = "") -> None:
        """Take over ``fd``."""
        self.fd = fd
        self.name = name
        self.section = section

    @classmethod
    def open_id(cls, number: int) -> Self:
        """Open the program with this kernel id. Raises DataplaneError: it is gone."""
        fd = libbpf.call("bpf_prog_get_fd_by_id", number)
        return cls(libbpf.check(fd, f"open program {number}"), str(number))

    def __enter__(self) -> Self:
        """Close it at the end."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Give the descriptor back; the kernel keeps the program while something uses it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def info(self) -> ProgramInfo:
        """Ask the kernel."""
        raw = libbpf.object_info(self.fd, _PROG_INFO_SIZE, f"read what program {self.name} is")
        _kind, number, tag, _native, translated = _PROG_INFO.unpack_from(raw)
        (verified,) = struct.unpack_from("=I", raw, _VERIFIED_INSTRUCTIONS_AT)
        return ProgramInfo(number, tag.hex(), verified, translated)

    def test_run(self, data_in: bytes, ctx_in: bytes = b"", repeat: int = 1) -> TestRun:
        """Run the program on a frame (from the Ethernet header on) without a device.

        ``ctx_in`` is the leading part of ``struct __sk_buff``, of which the kernel takes mark,
        priority, ifindex, cb, tstamp, wire_len, gso_segs, gso_size and hwtstamp, and wants
        zero elsewhere; all of it comes back. The frame that comes back is the last
        repetition's; nothing is sent.
        """
        data_out = ctypes.create_string_buffer(_DATA_MAX)
        ctx_out = ctypes.create_string_buffer(_CTX_MAX)
        opts = libbpf.TestRunOpts(
            sz=ctypes.sizeof(libbpf.TestRunOpts), repeat=repeat,
            data_in=_address_of(data_in), data_size_in=len(data_in),
            data_out=ctypes.addressof(data_out), data_size_out=_DATA_MAX,
            ctx_in=_address_of(ctx_in), ctx_size_in=len(ctx_in),
            ctx_out=ctypes.addressof(ctx_out), ctx_size_out=_CTX_MAX,
        )  # fmt: skip
        result = libbpf.call("bpf_prog_test_run_opts", self.fd, ctypes.byref(opts))
        libbpf.check(result, f"run program {self.name} on a test frame")
        return TestRun(
            retval=int(opts.retval),
            data_out=ctypes.string_at(data_out, int(opts.data_size_out)),
            ctx_out=ctypes.string_at(ctx_out, int(opts.ctx_size_out)),
            duration_ns=int(opts.duration),
        )


class Object:
    """One object file through its life: opened, set up, loaded. Close it when done with it.

    ``maps`` and ``programs`` are filled by :meth:`load`; they stay valid after :meth:`close`.
    The globals are among the maps as libbpf names them (``machine.rodata``, ``machine.bss``);
    programs in a ``SEC("?...")`` are left out unless :meth:`want` names them.
    """

    def __init__(self, path: Path, handle: int) -> None:
        """Use :meth:`open`."""
        self.path = path
        self.maps: dict[str, Map] = {}
        self.programs: dict[str, Program] = {}
        self._handle: int | None = handle
        self._map_handles = _handles(handle, "bpf_object__next_map", "bpf_map__name")
        self._program_handles = _handles(handle, "bpf_object__next_program", "bpf_program__name")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read an object file; nothing reaches the kernel yet."""
        with libbpf.captured_log() as log:
            handle = libbpf.pointer("bpf_object__open_file", os.fsencode(path), None)
        if handle is None:
            reason = "; ".join(log) or libbpf.error_text(ctypes.get_errno())
            raise DataplaneError(f"cannot open BPF object {os.fspath(path)}: {reason}")
        return cls(Path(path), handle)

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Free what libbpf holds."""
        if self._handle is not None:
            libbpf.call("bpf_object__close", self._handle)
            self._handle = None

    # Before loading

    def declared_maps(self) -> dict[str, MapLayout]:
        """Return the layout of each declared map (globals left out) as load would make it."""
        self._open_handle()
        return {
            name: _declared_layout(handle)
            for name, handle in self._map_handles.items()
            if not libbpf.call("bpf_map__is_internal", handle)
        }

    def set_max_entries(self, max_entries: Mapping[str, int]) -> None:
        """Set how many entries maps hold, by map name."""
        for name, number in max_entries.items():
            result = libbpf.call("bpf_map__set_max_entries", self._map_handle(name), number)
            libbpf.check(result, f"set the size of map {name} to {number}")

    def want(self, name: str) -> None:
        """Load a program in a ``SEC("?...")``, too."""
        if name not in self._program_handles:
            raise DataplaneError(f"{self.path.name} has no program {name}")
        result = libbpf.call("bpf_program__set_autoload", self._program_handles[name], True)
        libbpf.check(result, f"have program {name} loaded")

    def sections(self) -> dict[str, str]:
        """Return the section of each program, by the program's name."""
        self._open_handle()
        return {
            name: libbpf.text("bpf_program__section_name", handle)
            for name, handle in self._program_handles.items()
        }

    def set_type(self, program: str, program_type: int) -> None:
        """Say what a program is (``enum bpf_prog_type``) whose section libbpf does not know."""
        self._open_handle()
        result = libbpf.call("bpf_program__set_type", self._program_handles[program], program_type)
        libbpf.check(result, f"set the type of program {program}")

    def read_only(self) -> dict[str, Variable]:
        """Return the ``const volatile`` variables by name.

        Raises DataplaneError for an object without type information (``-g``).
        """
        btf = libbpf.pointer("bpf_object__btf", self._open_handle())
        if btf is None:
            raise DataplaneError(f"{self.path.name} has no type information: compile it with -g")
        return variables(btf, ".rodata")

    def set_rodata(self, rodata: Mapping[str, int | bytes]) -> None:
        """Set ``const volatile`` variables by name; the verifier sees them as constants.

        Integers are packed to the variable's size, bytes must have it.
        """
        if not rodata:
            return
        known = self.read_only()
        for name in rodata:
            if name not in known:
                raise DataplaneError(f"{self.path.name} has no read-only variable {name}")
        size = ctypes.c_size_t()
        area = libbpf.pointer(
            "bpf_map__initial_value", self._map_handle(".rodata"), ctypes.byref(size)
        )
        if area is None:
            raise DataplaneError(f"{self.path.name}: read-only data cannot be set after loading")
        for name, value in rodata.items():
            packed = _packed(name, value, known[name].size)
            ctypes.memmove(area + known[name].offset, packed, len(packed))

    def reuse(self, maps: Mapping[str, Map]) -> None:
        """Make programs use these maps in place of new ones, by map name; layouts must agree."""
        declared = self.declared_maps()
        for name, existing in maps.items():
            handle = self._map_handle(name)
            differences = declared[name].differences(existing.layout) if name in declared else []
            if differences:
                raise DataplaneError(
                    f"map {name} cannot be reused, its layout differs "
                    f"(declared, existing): {'; '.join(differences)}"
                )
            result = libbpf.call("bpf_map__reuse_fd", handle, existing.fd)
            libbpf.check(result, f"reuse map {name}")

    # Loading

    def load(self) -> Self:
        """Create the maps and load the programs; ProgramLoadError when the verifier refuses."""
        handle = self._open_handle()
        log_buffer = mmap.mmap(-1, _LOG_SIZE)
        anchor = ctypes.c_char.from_buffer(log_buffer)
        for program in self._program_handles.values():
            libbpf.call("bpf_program__set_log_buf", program, ctypes.addressof(anchor), _LOG_SIZE)
        with libbpf.captured_log() as messages:
            result = libbpf.call("bpf_object__load", handle)
        verifier_log = ctypes.string_at(ctypes.addressof(anchor)).decode(errors="replace")
        del anchor
        log_buffer.close()
        for program in self._program_handles.values():
            libbpf.call("bpf_program__set_log_buf", program, None, 0)
        if result < 0:
            raise self._load_error(result, messages, verifier_log)
        self._collect()
        return self

    def adopt_or_create(
        self,
        pin_dir: str | os.PathLike[str],
        abi_version: int,
        names: Collection[str] | None = None,
    ) -> Adoption:
        """Load with the maps pinned for this ABI version, and pin those that were not there.

        ``names`` says which maps outlive the agent (all, unless said); the others are made
        anew by each load and belong to its programs.

        ``pin_dir`` is a directory in a bpffs. A map whose layout differs from the pinned one
        (a size option changed, say) is refused with DataplaneError naming the difference, and
        nothing is changed; remove ``<pin_dir>/v<abi_version>`` to begin anew. An agent that
        died half-way through pinning is no trouble: what is there is adopted, the rest made.
        """
        place = map_pins(pin_dir, abi_version)
        place.mkdir(parents=True, exist_ok=True)
        declared = self.declared_maps()
        if names is not None:
            declared = {name: layout for name, layout in declared.items() if name in names}
        pinned = {name: Map.open_pin(place / name) for name in declared if (place / name).exists()}
        try:
            self.reuse(pinned)
            self.load()
        finally:
            for existing in pinned.values():
                existing.close()
        for name in declared.keys() - pinned.keys():
            self.maps[name].pin(place / name)
        return Adoption(frozenset(pinned), frozenset(declared.keys() - pinned.keys()))

    # Inside

    def _collect(self) -> None:
        # The objects own duplicates, so that closing this object leaves them alone.
        for name, handle in self._map_handles.items():
            fd = libbpf.check(libbpf.call("bpf_map__fd", handle), f"find map {name}")
            self.maps[name] = Map(os.dup(fd), name)
        for name, handle in self._program_handles.items():
            if not libbpf.call("bpf_program__autoload", handle):
                continue
            fd = libbpf.call("bpf_program__fd", handle)
            section = libbpf.text("bpf_program__section_name", handle)
            libbpf.check(fd, f"find program {name}")
            self.programs[name] = Program(os.dup(fd), name, section)

    def _load_error(self, result: int, messages: list[str], verifier_log: str) -> DataplaneError:
        refused = next((found[1] for line in messages if (found := _REFUSED.search(line))), None)
        if refused is not None:
            last = (verifier_log or "\n".join(messages)).rstrip().splitlines()[-_LOG_LINES:]
            return ProgramLoadError(refused, "\n".join(last))
        reasons = "; ".join(messages) or libbpf.error_text(result)
        return DataplaneError(f"cannot load {self.path.name}: {reasons}")

    def _open_handle(self) -> int:
        if self._handle is None:
            raise DataplaneError(f"{self.path.name} was closed")
        return self._handle

    def _map_handle(self, name: str) -> int:
        self._open_handle()
        for full_name, handle in self._map_handles.items():
            # libbpf names the globals' maps after the file: "machine.rodata".
            if full_name == name or (name.startswith(".") and full_name.endswith(name)):
                return handle
        raise DataplaneError(f"{self.path.name} declares no map {name}")


def map_pins(pin_dir: str | os.PathLike[str], abi_version: int) -> Path:
    """Where maps that outlive the agent are pinned under their names."""
    return Path(pin_dir) / f"v{abi_version}" / "maps"


def remove_other_versions(pin_dir: str | os.PathLike[str], abi_version: int) -> list[str]:
    """Unpin the maps of every other ABI version and return the version names removed.

    To be called once the links run programs of this version: until then the old maps are
    what traffic uses.
    """
    removed = []
    for entry in sorted(Path(pin_dir).glob("v*")):
        if entry.name == f"v{abi_version}" or not entry.name[1:].isdigit():
            continue
        for pin in (entry / "maps").glob("*"):
            pin.unlink()
        (entry / "maps").rmdir()
        entry.rmdir()
        removed.append(entry.name)
    return removed


def _handles(
    handle: int,
    following: Literal["bpf_object__next_map", "bpf_object__next_program"],
    name_of: Literal["bpf_map__name", "bpf_program__name"],
) -> dict[str, int]:
    found: dict[str, int] = {}
    current = libbpf.pointer(following, handle, None)
    while current is not None:
        found[libbpf.text(name_of, current)] = current
        current = libbpf.pointer(following, handle, current)
    return found


def _declared_layout(handle: int) -> MapLayout:
    layout = MapLayout(
        type=libbpf.call("bpf_map__type", handle),
        key_size=libbpf.call("bpf_map__key_size", handle),
        value_size=libbpf.call("bpf_map__value_size", handle),
        max_entries=libbpf.call("bpf_map__max_entries", handle),
        flags=libbpf.call("bpf_map__map_flags", handle),
    )
    if layout.flags & _NO_COMMON_LRU:
        # The kernel gives every CPU's own LRU list the same length (htab_map_alloc).
        cpus = libbpf.possible_cpus()
        return replace(layout, max_entries=-(-layout.max_entries // cpus) * cpus)
    return layout


def _packed(name: str, value: int | bytes, size: int) -> bytes:
    if isinstance(value, bytes):
        if len(value) != size:
            raise DataplaneError(f"read-only variable {name} has {size} bytes, not {len(value)}")
        return value
    try:
        return value.to_bytes(size, sys.byteorder, signed=value < 0)
    except OverflowError as error:
        raise DataplaneError(
            f"read-only variable {name} has {size} bytes: {value} does not fit"
        ) from error


def _address_of(buffer: bytes) -> int | None:
    return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value if buffer else None

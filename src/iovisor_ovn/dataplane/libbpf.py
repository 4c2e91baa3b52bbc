# SPDX-License-Identifier: Apache-2.0
"""A thin, typed door to libbpf (``libbpf.so.1``, 1.1 or later) through ctypes.

Every function that the room uses is declared in one table with its C signature; the rest of
the room calls it by its C name through :func:`call` (functions that return an int) or
:func:`pointer` (functions that return an address). Nothing outside ``dataplane`` should need
this module::

    fd = check(call("bpf_obj_get", b"/sys/fs/bpf/thing"), "open the pin thing")

libbpf writes its messages through a callback; here they go to a list while a
:func:`captured_log` block is open, and are dropped otherwise (its debug level always is).
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from iovisor_ovn.errors import DataplaneError, KernelSupportError

__all__ = [
    "SIGNATURES",
    "TcHook",
    "TcOpts",
    "TestRunOpts",
    "bpf_syscall",
    "call",
    "captured_log",
    "check",
    "error_text",
    "object_info",
    "pointer",
    "possible_cpus",
    "text",
]

_INT = ctypes.c_int
_U32 = ctypes.c_uint32
_U64 = ctypes.c_uint64
_SIZE = ctypes.c_size_t
_STR = ctypes.c_char_p
_PTR = ctypes.c_void_p

# libbpf sometimes answers ENOTSUPP, an errno of the kernel alone that strerror does not know.
_ENOTSUPP = 524

_LOG_DEBUG = 2
_LOG_LINE_BYTES = 1 << 16

SIGNATURES: dict[str, tuple[type[object] | None, tuple[type[object], ...]]] = {
    # objects
    "bpf_object__open_file": (_PTR, (_STR, _PTR)),
    "bpf_object__load": (_INT, (_PTR,)),
    "bpf_object__close": (None, (_PTR,)),
    "bpf_object__next_program": (_PTR, (_PTR, _PTR)),
    "bpf_object__next_map": (_PTR, (_PTR, _PTR)),
    "bpf_object__btf": (_PTR, (_PTR,)),
    "bpf_program__name": (_STR, (_PTR,)),
    "bpf_program__section_name": (_STR, (_PTR,)),
    "bpf_program__fd": (_INT, (_PTR,)),
    "bpf_program__set_log_buf": (_INT, (_PTR, _PTR, _SIZE)),
    "bpf_program__set_type": (_INT, (_PTR, _INT)),
    "bpf_program__autoload": (ctypes.c_bool, (_PTR,)),
    "bpf_program__set_autoload": (ctypes.c_int, (_PTR, ctypes.c_bool)),
    "bpf_map__name": (_STR, (_PTR,)),
    "bpf_map__fd": (_INT, (_PTR,)),
    "bpf_map__type": (_INT, (_PTR,)),
    "bpf_map__key_size": (_U32, (_PTR,)),
    "bpf_map__value_size": (_U32, (_PTR,)),
    "bpf_map__max_entries": (_U32, (_PTR,)),
    "bpf_map__map_flags": (_U32, (_PTR,)),
    "bpf_map__is_internal": (ctypes.c_bool, (_PTR,)),
    "bpf_map__set_max_entries": (_INT, (_PTR, _U32)),
    "bpf_map__initial_value": (_PTR, (_PTR, _PTR)),
    "bpf_map__reuse_fd": (_INT, (_PTR, _INT)),
    # type information
    "btf__find_by_name_kind": (_INT, (_PTR, _STR, _U32)),
    "btf__type_by_id": (_PTR, (_PTR, _U32)),
    "btf__name_by_offset": (_STR, (_PTR, _U32)),
    # maps
    "bpf_map_create": (_INT, (_INT, _STR, _U32, _U32, _U32, _PTR)),
    "bpf_map_lookup_elem": (_INT, (_INT, _PTR, _PTR)),
    "bpf_map_lookup_elem_flags": (_INT, (_INT, _PTR, _PTR, _U64)),
    "bpf_map_update_elem": (_INT, (_INT, _PTR, _PTR, _U64)),
    "bpf_map_delete_elem": (_INT, (_INT, _PTR)),
    "bpf_map_get_next_key": (_INT, (_INT, _PTR, _PTR)),
    "bpf_map_lookup_batch": (_INT, (_INT, _PTR, _PTR, _PTR, _PTR, _PTR, _PTR)),
    "bpf_map_update_batch": (_INT, (_INT, _PTR, _PTR, _PTR, _PTR)),
    "bpf_map_delete_batch": (_INT, (_INT, _PTR, _PTR, _PTR)),
    # pins and information
    "bpf_obj_pin": (_INT, (_INT, _STR)),
    "bpf_obj_get": (_INT, (_STR,)),
    "bpf_prog_get_fd_by_id": (_INT, (_U32,)),
    "bpf_obj_get_info_by_fd": (_INT, (_INT, _PTR, _PTR)),
    "libbpf_num_possible_cpus": (_INT, ()),
    # links and tc
    "bpf_link_create": (_INT, (_INT, _INT, _INT, _PTR)),
    "bpf_link_update": (_INT, (_INT, _INT, _PTR)),
    "bpf_link_detach": (_INT, (_INT,)),
    "bpf_tc_hook_create": (_INT, (_PTR,)),
    "bpf_tc_attach": (_INT, (_PTR, _PTR)),
    "bpf_tc_detach": (_INT, (_PTR, _PTR)),
    "bpf_tc_query": (_INT, (_PTR, _PTR)),
    # runs and events
    "bpf_prog_test_run_opts": (_INT, (_INT, _PTR)),
    "ring_buffer__new": (_PTR, (_INT, _PTR, _PTR, _PTR)),
    "ring_buffer__free": (None, (_PTR,)),
    "ring_buffer__consume": (_INT, (_PTR,)),
    "ring_buffer__epoll_fd": (_INT, (_PTR,)),
    # messages
    "libbpf_set_print": (_PTR, (_PTR,)),
}
"""C name to (result type, argument types)."""

# The number of bpf(2) differs by machine; libbpf keeps its own wrapper private.
_BPF_SYSCALL = {
    "x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280,
    "ppc64le": 361, "s390x": 351, "armv7l": 386, "i686": 357,
}  # fmt: skip


class TcHook(ctypes.Structure):
    """``struct bpf_tc_hook`` of libbpf 1.1."""

    _fields_ = (
        ("sz", _SIZE), ("ifindex", _INT), ("attach_point", _U32), ("parent", _U32),
    )  # fmt: skip


class TcOpts(ctypes.Structure):
    """``struct bpf_tc_opts`` of libbpf 1.1."""

    _fields_ = (
        ("sz", _SIZE), ("prog_fd", _INT), ("flags", _U32), ("prog_id", _U32),
        ("handle", _U32), ("priority", _U32),
    )  # fmt: skip


class TestRunOpts(ctypes.Structure):
    """``struct bpf_test_run_opts`` of libbpf 1.1."""

    __test__ = False  # the name begins like a test class of pytest
    _fields_ = (
        ("sz", _SIZE), ("data_in", _PTR), ("data_out", _PTR),
        ("data_size_in", _U32), ("data_size_out", _U32),
        ("ctx_in", _PTR), ("ctx_out", _PTR),
        ("ctx_size_in", _U32), ("ctx_size_out", _U32),
        ("retval", _U32), ("repeat", _INT), ("duration", _U32),
        ("flags", _U32), ("cpu", _U32), ("batch_size", _U32),
    )  # fmt: skip


_log_sink: list[str] | None = None
_LogCallback = ctypes.CFUNCTYPE(_INT, _INT, _PTR, _PTR)


def _on_log(level: int, text_format: int, arguments: int) -> int:
    # A va_list reaches a callee as an address on x86-64 and on arm64, so it can be handed on.
    if _log_sink is None or level >= _LOG_DEBUG:
        return 0
    line = ctypes.create_string_buffer(_LOG_LINE_BYTES)
    written: int = _libc().vsnprintf(
        line, _SIZE(_LOG_LINE_BYTES), _PTR(text_format), _PTR(arguments)
    )
    _log_sink.append(line.value.decode(errors="replace").rstrip("\n"))
    return written


_log_callback = _LogCallback(_on_log)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise KernelSupportError(f"libbpf.so.1 cannot be loaded: {error}") from error
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    library.libbpf_set_print(ctypes.cast(_log_callback, _PTR))
    return library


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """Collect libbpf's warnings and notices, one string per message, while the block runs."""
    global _log_sink  # noqa: PLW0603 - libbpf has one callback per process
    before, lines = _log_sink, list[str]()
    _log_sink = lines
    try:
        yield lines
    finally:
        _log_sink = before


def call(name: str, *arguments: object) -> int:
    """Call an int function; the result is its own, negative for ``-errno``."""
    function = getattr(_library(), name)
    result = function(*arguments)
    return 0 if result is None else int(result)


def text(name: str, *arguments: object) -> str:
    """Call a function that returns a C string (UTF-8)."""
    value: bytes | None = getattr(_library(), name)(*arguments)
    return "" if value is None else value.decode()


def pointer(name: str, *arguments: object) -> int | None:
    """Call a function that returns an address; None for NULL (then ``ctypes.get_errno()``)."""
    ctypes.set_errno(0)
    address: int | None = getattr(_library(), name)(*arguments)
    return address


def error_text(code: int) -> str:
    """Say an errno (positive or negative) in words."""
    code = abs(code)
    if code == _ENOTSUPP:
        return "operation not supported by the kernel (ENOTSUPP)"
    return f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"


def check(result: int, doing: str) -> int:
    """Return ``result`` unless it is ``-errno``: then raise DataplaneError("cannot <doing>")."""
    if result < 0:
        raise DataplaneError(f"cannot {doing}: {error_text(result)}")
    return result


def object_info(fd: int, size: int, doing: str) -> bytes:
    """Return the first ``size`` bytes of the kernel's ``bpf_*_info`` of a map, program or link."""
    info = ctypes.create_string_buffer(size)
    length = _U32(size)
    check(call("bpf_obj_get_info_by_fd", fd, info, ctypes.byref(length)), doing)
    return info.raw


def bpf_syscall(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """Call bpf(2) itself, for what libbpf 1.1 does not know yet; negative for ``-errno``."""
    machine = os.uname().machine
    if machine not in _BPF_SYSCALL:
        raise KernelSupportError(f"the number of bpf(2) on {machine} is not known")
    result: int = _libc().syscall(
        ctypes.c_long(_BPF_SYSCALL[machine]), _INT(command), attributes, _U32(len(attributes))
    )
    return -ctypes.get_errno() if result < 0 else result


@cache
def possible_cpus() -> int:
    """Return how many slots a per-CPU value has (possible CPUs, which may exceed those online)."""
    return check(call("libbpf_num_possible_cpus"), "count the possible CPUs")

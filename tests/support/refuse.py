# SPDX-License-Identifier: Apache-2.0
"""Run a program to which the kernel refuses system calls, as another kernel or a policy would.

::

    (*refusing(Refusal("bpf", "EINVAL", 16), Refusal("mount", "EPERM")), "iovisor-ovn", "agent")

The filter (seccomp(2)) holds for the program and all that it starts.
"""

import ctypes
import errno
import os
import struct
import sys
from dataclasses import dataclass

__all__ = ["Refusal", "refusing"]

_NUMBERS = {"x86_64": {"bpf": 321, "mount": 165}, "aarch64": {"bpf": 280, "mount": 40}}
_FILTER = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, if false, k
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16  # in struct seccomp_data
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """A system call, what it fails with, and with which first argument (None: any)."""

    call: str
    error: str
    first: int | None = None


def refusing(*refusals: Refusal) -> tuple[str, ...]:
    """Return the words that stand before a command to which these calls are refused."""
    return (sys.executable, __file__, *(f"{r.call}:{r.error}:{r.first}" for r in refusals), "--")


def _program(specs: list[str]) -> bytes:
    numbers = _NUMBERS[os.uname().machine]
    program = b""
    for spec in specs:
        call, error, first = spec.split(":")
        rule = _FILTER.pack(_RETURN, 0, 0, _ERRNO | getattr(errno, error))
        if first != "None":
            rule = (
                _FILTER.pack(_LOAD, 0, 0, _FIRST_ARGUMENT_AT)
                + _FILTER.pack(_JUMP_IF_EQUAL, 0, 1, int(first))
                + rule
            )
        program += _FILTER.pack(_LOAD, 0, 0, _NUMBER_AT)
        program += _FILTER.pack(_JUMP_IF_EQUAL, 0, len(rule) // _FILTER.size, numbers[call]) + rule
    return program + _FILTER.pack(_RETURN, 0, 0, _ALLOW)


def _main() -> None:
    end = sys.argv.index("--")
    program = _program(sys.argv[1:end])
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: length and pointer, aligned.
    whole = struct.pack("=HxxxxxxQ", len(program) // _FILTER.size, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, whole) != 0:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])  # noqa: S606 - what it is for


if __name__ == "__main__":
    _main()

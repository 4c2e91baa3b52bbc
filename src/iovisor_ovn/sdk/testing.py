# SPDX-License-Identifier: Apache-2.0
"""Run a module on packets, in the kernel, without a chain around it.

::

    with load("limit_size.bpf.c", max_size=100) as module:
        assert module.run(Ether() / IP() / bytes(200)).verdict == "drop"

Needs root, as everything that loads programs does.
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

from iovisor_ovn.abi import ModuleReach
from iovisor_ovn.dataplane import Map
from iovisor_ovn.dataplane.module_settings import Value
from iovisor_ovn.dataplane.user_program import UserProgram, load_module

__all__ = ["Module", "Result", "load"]

_PASS, _DROP, _FIRST_PORT = 0, 2, 0x100
# Offsets in struct __sk_buff, and its size.
_MARK_AT, _CB_AT, _GSO_SEGS_AT, _GSO_SIZE_AT, _SKB_SIZE = 8, 48, 164, 176, 192


class Packet(Protocol):
    """What ``bytes()`` makes a frame of: bytes, a packet of scapy's."""

    def __bytes__(self) -> bytes:
        """The frame, from the Ethernet header on."""


@dataclass(frozen=True, slots=True)
class Result:
    """``port`` is that of ``IOM_PORT``, else None; ``frame`` and ``mark`` as the module left them.

    ``code`` is what it returned, for a verdict that is ``invalid``.
    """

    verdict: Literal["pass", "drop", "port", "invalid"]
    port: int | None
    frame: bytes
    mark: int
    code: int


class Module:
    """A loaded module. Close it, or use it as a context."""

    def __init__(self, loaded: UserProgram) -> None:
        """Use :func:`load`."""
        self._loaded = loaded

    @property
    def maps(self) -> Mapping[str, Map]:
        """Maps that the module declares."""
        return self._loaded.maps

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Unload it."""
        self._loaded.close()

    def run(
        self, packet: bytes | Packet, *, port: int = 0, ports: int = 2, mark: int = 0,
        gso_size: int = 0, at_logical_port: bool = False,
    ) -> Result:  # fmt: skip
        """What the module does with a packet that comes in by ``port``.

        ``gso_size``: bytes of each segment of a packet that is to be cut. Frames have at least 14
        bytes, and up to about a page.
        """
        frame = bytes(packet)
        context = bytearray(_SKB_SIZE)
        reach = ModuleReach.LOGICAL_PORT if at_logical_port else 0
        struct.pack_into("=I", context, _MARK_AT, mark)
        struct.pack_into("=III", context, _CB_AT, port, ports, reach)
        if gso_size:
            struct.pack_into("=I", context, _GSO_SEGS_AT, -(-len(frame) // gso_size))
            struct.pack_into("=I", context, _GSO_SIZE_AT, gso_size)
        out = self._loaded.program.test_run(frame, bytes(context))
        (left,) = struct.unpack_from("=I", out.ctx_out, _MARK_AT)
        code = out.retval
        if code in (_PASS, _DROP):
            return Result("pass" if code == _PASS else "drop", None, out.data_out, left, code)
        if _FIRST_PORT <= code < _FIRST_PORT + ports:
            return Result("port", code - _FIRST_PORT, out.data_out, left, code)
        return Result("invalid", None, out.data_out, left, code)


def load(program: str | os.PathLike[str], **settings: Value) -> Module:
    """Load a module's C source or object with these settings.

    Raises :class:`iovisor_ovn.errors.UserModuleError`, as a deployment would.
    """
    return Module(load_module(Path(program), settings))

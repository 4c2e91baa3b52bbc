# SPDX-License-Identifier: Apache-2.0
"""Put a tc program in front of everything that a device receives or sends, and take it away again.

Where the kernel has tcx (6.6), the attachment is a link pinned at ``<pin_dir>/links/<ifindex>``
(``<ifindex>-egress`` for what the device sends): it lives on when the agent dies, ends with the
device, and its program is exchanged without a gap. Elsewhere a filter on the clsact qdisc does the
same without a pin; its handle tells whose it is. Only devices of the caller's own network namespace
can be reached::

    attach_ingress(machine.programs["vif"], ifindex, bpffs.path)
    for attachment in attached(bpffs.path):
        ...
    detach(ifindex, bpffs.path)
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.dataplane.bpffs import owner_number
from iovisor_ovn.dataplane.program import Program
from iovisor_ovn.errors import AttachError, DeviceError

__all__ = ["Attachment", "Direction", "Hook", "attach_egress", "attach_ingress", "attached",
       "detach", "has_tcx", "restored_on_failure"]  # fmt: skip

_BPF_PROG_QUERY = 16
_LOOPBACK_IFINDEX = 1
# Members of union bpf_attr's "query": target, type, flags, attach flags, ids, count, ...
_QUERY = struct.Struct("=IIIIQIIQQQQ")
_QUERY_IDS_MAX = 64

# struct bpf_link_info: type, id, program id, padding, then for tcx ifindex and attach type.
_LINK_INFO = struct.Struct("=IIIIII")
_LINK_TCX = 11

_TC_REPLACE = 1
# Where the filter stands among others on the device.
_TC_PRIORITY = 1


class Hook(StrEnum):
    """How a program is attached."""

    TCX = "tcx"
    CLSACT = "clsact"


class Direction(StrEnum):
    """Which packets of a device a program is in front of."""

    INGRESS = "ingress"
    EGRESS = "egress"


#: Attach types of tcx, and attach points of libbpf for clsact.
_TCX = {Direction.INGRESS: 46, Direction.EGRESS: 47}
_TC_POINT = {Direction.INGRESS: 1, Direction.EGRESS: 2}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A device of this network namespace that has one of our programs."""

    ifindex: int
    hook: Hook
    program_id: int
    direction: Direction = Direction.INGRESS


@cache
def has_tcx() -> bool:
    """Tell whether the kernel has tcx, by asking what the loopback device has attached."""
    result = libbpf.bpf_syscall(_BPF_PROG_QUERY, _query(_LOOPBACK_IFINDEX, Direction.INGRESS))
    if result == -errno.EINVAL:
        return False
    libbpf.check(result, "ask the kernel for tcx")
    return True


def attach_ingress(
    program: Program,
    ifindex: int,
    pin_dir: str | os.PathLike[str],
    hook: Hook | None = None,
) -> Attachment:
    """Attach ``program`` to the device's ingress, or exchange the program that we have there.

    ``hook`` overrides the choice by kernel. DeviceError when the device is not there (any
    more), AttachError when the kernel refuses.
    """
    return _attach(program, ifindex, pin_dir, hook, Direction.INGRESS)


def attach_egress(
    program: Program,
    ifindex: int,
    pin_dir: str | os.PathLike[str],
    hook: Hook | None = None,
) -> Attachment:
    """Attach ``program`` to what leaves by the device; else as :func:`attach_ingress`."""
    return _attach(program, ifindex, pin_dir, hook, Direction.EGRESS)


def _attach(
    program: Program,
    ifindex: int,
    pin_dir: str | os.PathLike[str],
    hook: Hook | None,
    direction: Direction,
) -> Attachment:
    _require_device(ifindex)
    if (hook or (Hook.TCX if has_tcx() else Hook.CLSACT)) is Hook.CLSACT:
        return _attach_clsact(program, ifindex, pin_dir, direction)
    pin = _link_path(pin_dir, ifindex, direction)
    pin.parent.mkdir(parents=True, exist_ok=True)
    made = Attachment(ifindex, Hook.TCX, program.info().id, direction)
    if pin.exists() and _exchange(program, ifindex, pin, direction):
        return made
    # A pin that is still here belongs to a device that is gone, whose number was given again.
    pin.unlink(missing_ok=True)
    link = libbpf.call("bpf_link_create", program.fd, ifindex, _TCX[direction], None)
    _check(link, f"attach program {program.name}", ifindex)
    try:
        _check(libbpf.call("bpf_obj_pin", link, os.fsencode(pin)), f"pin link {pin}", ifindex)
    finally:
        os.close(link)
    return made


def detach(
    ifindex: int,
    pin_dir: str | os.PathLike[str],
    directions: Iterable[Direction] = tuple(Direction),
) -> bool:
    """Take our programs off the device; False when there was none (a vanished device too)."""
    found = [_detach(ifindex, pin_dir, direction) for direction in directions]
    return True in found


def _detach(ifindex: int, pin_dir: str | os.PathLike[str], direction: Direction) -> bool:
    pin = _link_path(pin_dir, ifindex, direction)
    found = False
    if pin.exists():
        link = _open_link(pin)
        try:
            found = _link_state(link, pin)[0] == ifindex
            # Detached, not only unpinned: somebody may hold the link open.
            result = libbpf.call("bpf_link_detach", link)
            if result not in (-errno.ENOLINK, -errno.ENODEV):
                _check(result, "detach the link", ifindex)
        finally:
            os.close(link)
        pin.unlink()
    return _detach_clsact(ifindex, pin_dir, direction) or found


def attached(pin_dir: str | os.PathLike[str]) -> list[Attachment]:
    """List the devices of this network namespace that have a program of ours, by ifindex.

    Pins of devices that are gone are removed on the way.
    """
    found = []
    for pin in sorted(Path(pin_dir).joinpath("links").glob("[0-9]*")):
        number, _hyphen, rest = pin.name.partition("-")
        ifindex, direction = int(number), Direction(rest or Direction.INGRESS)
        link = _open_link(pin)
        try:
            attached_to, link_id, program_id = _link_state(link, pin)
        finally:
            os.close(link)
        if attached_to == 0:
            pin.unlink()
        elif attached_to == ifindex and link_id in _links_of(ifindex, direction):
            found.append(Attachment(ifindex, Hook.TCX, program_id, direction))
    for ifindex, _name in socket.if_nameindex():
        for direction in Direction:
            program_id = _clsact_program(ifindex, pin_dir, direction)
            if program_id:
                found.append(Attachment(ifindex, Hook.CLSACT, program_id, direction))
    return sorted(found, key=lambda attachment: attachment.ifindex)


@contextmanager
def restored_on_failure(*pin_dirs: str | os.PathLike[str]) -> Iterator[None]:
    """Attach and detach within; if that raises, devices run again what they ran before."""
    with ExitStack() as stack:
        before = {
            (pin_dir, item): stack.enter_context(Program.open_id(item.program_id))
            for pin_dir in pin_dirs
            for item in attached(pin_dir)
        }
        try:
            yield
        except BaseException:
            kept = {(pin_dir, item.ifindex, item.direction) for pin_dir, item in before}
            for pin_dir in pin_dirs:
                for item in attached(pin_dir):
                    if (pin_dir, item.ifindex, item.direction) not in kept:
                        detach(item.ifindex, pin_dir, [item.direction])
            for (pin_dir, item), program in before.items():
                # What is gone or is refused now nobody can put back; the others can.
                with suppress(DeviceError, AttachError):
                    _attach(program, item.ifindex, pin_dir, item.hook, item.direction)
            raise


def _exchange(program: Program, ifindex: int, pin: Path, direction: Direction) -> bool:
    # False when the pinned link is not (any more) on this device of this network namespace.
    link = _open_link(pin)
    try:
        attached_to, link_id, _program = _link_state(link, pin)
        if attached_to != ifindex or link_id not in _links_of(ifindex, direction):
            return False
        result = libbpf.call("bpf_link_update", link, program.fd, None)
        if result == -errno.ENOLINK:
            return False
        _check(result, f"exchange the program for {program.name}", ifindex)
        return True
    finally:
        os.close(link)


def _link_path(pin_dir: str | os.PathLike[str], ifindex: int, direction: Direction) -> Path:
    suffix = "" if direction is Direction.INGRESS else f"-{direction}"
    return Path(pin_dir) / "links" / f"{ifindex}{suffix}"


def _open_link(pin: Path) -> int:
    result = libbpf.call("bpf_obj_get", os.fsencode(pin))
    if result < 0:
        raise AttachError(f"cannot open the pinned link {pin}: {libbpf.error_text(result)}")
    return result


def _link_state(link: int, pin: Path) -> tuple[int, int, int]:
    # (ifindex, link id, program id); the ifindex is 0 once the device is gone.
    raw = libbpf.object_info(link, _LINK_INFO.size, f"read what link {pin} is")
    kind, link_id, program_id, _pad, ifindex, _attach_type = _LINK_INFO.unpack(raw)
    if kind != _LINK_TCX:
        raise AttachError(f"the pin {pin} is no tcx link (type {kind})")
    return ifindex, link_id, program_id


def _query(
    ifindex: int,
    direction: Direction,
    link_ids: ctypes.Array[ctypes.c_uint32] | None = None,
    count: int = 0,
) -> ctypes.Array[ctypes.c_char]:
    # One array for program ids (unwanted, but its length is the count) and one for link ids.
    address = ctypes.addressof(link_ids) if link_ids is not None else 0
    packed = _QUERY.pack(ifindex, _TCX[direction], 0, 0, 0, count, 0, 0, address, 0, 0)
    return ctypes.create_string_buffer(packed, len(packed))


def _links_of(ifindex: int, direction: Direction) -> set[int]:
    # The link info knows an ifindex but not whose: only the query tells network namespaces
    # apart.
    programs = (ctypes.c_uint32 * _QUERY_IDS_MAX)()
    links = (ctypes.c_uint32 * _QUERY_IDS_MAX)()
    query = _query(ifindex, direction, links, _QUERY_IDS_MAX)
    struct.pack_into("=Q", query, 16, ctypes.addressof(programs))
    result = libbpf.bpf_syscall(_BPF_PROG_QUERY, query)
    if result == -errno.ENODEV:
        return set()
    _check(result, "ask what is attached", ifindex)
    (count,) = struct.unpack_from("=I", query, 24)
    return set(links[:count])


def _tc_hook(ifindex: int, direction: Direction) -> libbpf.TcHook:
    return libbpf.TcHook(
        sz=ctypes.sizeof(libbpf.TcHook), ifindex=ifindex, attach_point=_TC_POINT[direction]
    )


def _tc_filter(
    pin_dir: str | os.PathLike[str], program_fd: int = 0, flags: int = 0
) -> libbpf.TcOpts:
    # A handle of 0 would let the kernel choose one.
    handle = owner_number(pin_dir) or 1
    return libbpf.TcOpts(
        sz=ctypes.sizeof(libbpf.TcOpts), prog_fd=program_fd, flags=flags,
        handle=handle, priority=_TC_PRIORITY,
    )  # fmt: skip


def _attach_clsact(
    program: Program, ifindex: int, pin_dir: str | os.PathLike[str], direction: Direction
) -> Attachment:
    hook = _tc_hook(ifindex, direction)
    with libbpf.captured_log():
        result = libbpf.call("bpf_tc_hook_create", ctypes.byref(hook))
        if result != -errno.EEXIST:
            _check(result, "make the clsact qdisc", ifindex)
        wanted = _tc_filter(pin_dir, program.fd, _TC_REPLACE)
        result = libbpf.call("bpf_tc_attach", ctypes.byref(hook), ctypes.byref(wanted))
    _check(result, f"attach program {program.name}", ifindex)
    return Attachment(ifindex, Hook.CLSACT, int(wanted.prog_id), direction)


def _clsact_program(ifindex: int, pin_dir: str | os.PathLike[str], direction: Direction) -> int:
    # The id of our filter's program, 0 when there is none.
    hook, wanted = _tc_hook(ifindex, direction), _tc_filter(pin_dir)
    with libbpf.captured_log():
        result = libbpf.call("bpf_tc_query", ctypes.byref(hook), ctypes.byref(wanted))
    if result in (-errno.ENOENT, -errno.EINVAL, -errno.ENODEV):
        return 0
    _check(result, "ask for the filter", ifindex)
    return int(wanted.prog_id)


def _detach_clsact(ifindex: int, pin_dir: str | os.PathLike[str], direction: Direction) -> bool:
    # The qdisc stays: filters of others may hang on it.
    if not _clsact_program(ifindex, pin_dir, direction):
        return False
    hook, wanted = _tc_hook(ifindex, direction), _tc_filter(pin_dir)
    with libbpf.captured_log():
        result = libbpf.call("bpf_tc_detach", ctypes.byref(hook), ctypes.byref(wanted))
    _check(result, "remove the filter", ifindex)
    return True


def _require_device(ifindex: int) -> None:
    try:
        socket.if_indextoname(ifindex)
    except OSError as error:
        raise DeviceError(f"there is no device with ifindex {ifindex} here") from error


def _check(result: int, doing: str, ifindex: int) -> None:
    if result >= 0:
        return
    if result == -errno.ENODEV:
        raise DeviceError(f"cannot {doing}: the device with ifindex {ifindex} is gone")
    raise AttachError(
        f"cannot {doing} on the device with ifindex {ifindex}: {libbpf.error_text(result)}"
    )

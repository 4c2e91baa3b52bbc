# SPDX-License-Identifier: Apache-2.0
"""What an object's type information (BTF) says about its global variables.

Only as much as settings need: numbers, characters, arrays of these, and the names that types
go by (``__be32``, ``iom_mac``). Everything else is a type that no setting can have::

    variable = variables(btf, ".rodata")["rate"]
    variable.offset, variable.type.size
"""

import ctypes
import struct
from dataclasses import dataclass
from enum import IntEnum

from iovisor_ovn.dataplane import libbpf

__all__ = ["Kind", "ValueType", "Variable", "variables"]

_TYPE = struct.Struct("=III")  # struct btf_type: name, info, size or type
_MEMBER = struct.Struct("=III")
_POINTER_SIZE = 8


class Kind(IntEnum):
    """``BTF_KIND_*`` of linux/btf.h."""

    INT = 1
    POINTER = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    DATASEC = 15
    TYPE_TAG = 18
    ENUM64 = 19


_TRANSPARENT = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})


@dataclass(frozen=True, slots=True)
class ValueType:
    """A type without its qualifiers. ``names`` are its typedefs, outermost first.

    ``element`` and ``length`` are an array's; ``is_signed``, ``is_char`` and ``is_bool`` an
    integer's; ``kind`` is none of :class:`Kind` for types that are of no use here.
    """

    kind: int
    size: int
    names: tuple[str, ...] = ()
    is_signed: bool = False
    is_char: bool = False
    is_bool: bool = False
    element: "ValueType | None" = None
    length: int = 0


@dataclass(frozen=True, slots=True)
class Variable:
    """A global: where it lies in its section, bytes, and its type."""

    offset: int
    size: int
    type: ValueType
    is_volatile: bool


def variables(btf: int, section: str) -> dict[str, Variable]:
    """Variables of a data section by name; none if the object has no such section.

    ``btf`` is libbpf's ``struct btf *``.
    """
    number = libbpf.call("btf__find_by_name_kind", btf, section.encode(), Kind.DATASEC)
    if number < 0:
        return {}
    address = _address(btf, number)
    _name, info, _size = _TYPE.unpack(ctypes.string_at(address, _TYPE.size))
    count = info & 0xFFFF
    raw = ctypes.string_at(address + _TYPE.size, _MEMBER.size * count)
    found: dict[str, Variable] = {}
    for type_id, offset, size in _MEMBER.iter_unpack(raw):
        name, _kind, of_type, _behind = _read(btf, type_id)
        is_volatile = _is_volatile(btf, of_type)
        found[name] = Variable(offset, size, _value_type(btf, of_type), is_volatile)
    return found


def _value_type(btf: int, number: int) -> ValueType:
    names: list[str] = []
    name, kind, size, behind = _read(btf, number)
    while kind in _TRANSPARENT:
        if kind == Kind.TYPEDEF:
            names.append(name)
        name, kind, size, behind = _read(btf, size)
    if kind == Kind.INT:
        (encoding,) = struct.unpack("=I", ctypes.string_at(behind, 4))
        flags = encoding >> 24 & 0xF
        is_char = name == "char"
        return ValueType(
            kind, size, tuple(names), bool(flags & 1), is_char, bool(flags & 4) or name == "_Bool"
        )
    if kind == Kind.ARRAY:
        of_type, _index, length = struct.unpack("=III", ctypes.string_at(behind, 12))
        element = _value_type(btf, of_type)
        return ValueType(kind, element.size * length, tuple(names), element=element, length=length)
    if kind == Kind.POINTER:
        size = _POINTER_SIZE
    return ValueType(kind, size, tuple(names))


def _is_volatile(btf: int, number: int) -> bool:
    """Whether a type is volatile; an array is if its elements are."""
    _name, kind, size, behind = _read(btf, number)
    while kind in _TRANSPARENT or kind == Kind.ARRAY:
        if kind == Kind.VOLATILE:
            return True
        if kind == Kind.ARRAY:
            (size,) = struct.unpack("=I", ctypes.string_at(behind, 4))
        _name, kind, size, behind = _read(btf, size)
    return False


def _read(btf: int, number: int) -> tuple[str, int, int, int]:
    """Name, kind, size (or the type referred to), address of what follows."""
    address = _address(btf, number)
    name_at, info, size = _TYPE.unpack(ctypes.string_at(address, _TYPE.size))
    name = libbpf.text("btf__name_by_offset", btf, name_at)
    return name, info >> 24 & 0x1F, size, address + _TYPE.size


def _address(btf: int, number: int) -> int:
    address = libbpf.pointer("btf__type_by_id", btf, number)
    assert address is not None, "libbpf lost a type that it had just named"
    return address

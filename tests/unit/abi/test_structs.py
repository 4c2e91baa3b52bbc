# SPDX-License-Identifier: Apache-2.0
"""Layouts: offsets and sizes as C has them, and bytes there and back."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovisor_ovn.abi import STRUCTS, Struct
from iovisor_ovn.abi.structs import Member

_CTYPES: dict[
    str, type[ctypes.c_uint8 | ctypes.c_uint16 | ctypes.c_uint32 | ctypes.c_uint64 | ctypes.c_int64]
] = {
    "__u8": ctypes.c_uint8,
    "__u16": ctypes.c_uint16,
    "__u32": ctypes.c_uint32,
    "__u64": ctypes.c_uint64,
    "__s64": ctypes.c_int64,
}
_BITS = {"__u8": 8, "__u16": 16, "__u32": 32, "__u64": 64}


@pytest.mark.parametrize("item", STRUCTS.values(), ids=STRUCTS)
def test_layout_is_the_c_compilers(item: Struct) -> None:
    """Size and offsets are those of a C struct with the same members: there are no holes."""

    class Native(ctypes.Structure):
        _fields_ = [
            (m.name, _CTYPES[m.ctype] * m.count if m.count > 1 else _CTYPES[m.ctype])
            for m in item.members
        ]

    assert item.size == ctypes.sizeof(Native)
    for member in item.members:
        assert item.offset_of(member.name) == getattr(Native, member.name).offset, member.name
        assert member.size == getattr(Native, member.name).size


@pytest.mark.parametrize("item", STRUCTS.values(), ids=STRUCTS)
@given(data=st.data())
def test_unpack_undoes_pack(item: Struct, data: st.DataObject) -> None:
    """Values come back as they were given, and lie where offset_of says."""
    values: dict[str, int | tuple[int, ...]] = {}
    for member in item.members:
        number = st.integers(0, (1 << _BITS[member.ctype]) - 1)
        if member.count > 1:
            values[member.name] = data.draw(st.tuples(*[number] * member.count))
        else:
            values[member.name] = data.draw(number)
    packed = item.pack(**values)
    assert item.unpack(packed) == values
    for member in item.members:
        value = values[member.name]
        first = value[0] if isinstance(value, tuple) else value
        at, width = item.offset_of(member.name), member.size // member.count
        assert int.from_bytes(packed[at : at + width], "little") == first


def test_members_left_out_are_zero() -> None:
    """Hash keys compare raw bytes, so what is not given is 0, also the rest of short arrays."""
    item = STRUCTS["member_key"]
    assert item.pack() == bytes(item.size)
    assert item.pack(space=1, value=(2, 3)) == item.pack(space=1, value=(2, 3, 0, 0))


def test_unpack_reads_only_its_own_bytes() -> None:
    """Records of the ring buffer carry a packet behind the struct."""
    item = STRUCTS["port_key"]
    packed = item.pack(dp=1, port=2)
    assert item.unpack(packed + b"behind") == {"dp": 1, "port": 2}
    assert item.unpack(memoryview(packed + b"behind")) == {"dp": 1, "port": 2}


def test_unknown_member_is_refused() -> None:
    """A misspelt name must not pack zeros."""
    with pytest.raises(KeyError, match="prot"):
        STRUCTS["port_key"].pack(dp=1, prot=2)
    with pytest.raises(KeyError):
        STRUCTS["port_key"].offset_of("prot")


def test_too_long_array_is_refused() -> None:
    """More values than the array holds would shift the members behind it."""
    with pytest.raises(Exception, match="expected"):
        STRUCTS["member_key"].pack(value=(1, 2, 3, 4, 5))


def test_too_large_value_is_refused() -> None:
    """A value must fit its member instead of being cut."""
    with pytest.raises(Exception, match=r"255|range"):
        STRUCTS["insn"].pack(op=256)


def test_unaligned_member_is_refused() -> None:
    """A layout that C would pad cannot be declared."""
    with pytest.raises(ValueError, match="aligned"):
        Struct("bad", "", (Member("a", "__u8", 1, ""), Member("b", "__u32", 1, "")))


def test_missing_padding_at_the_end_is_refused() -> None:
    """C rounds the size up to the widest member; the declaration has to say so itself."""
    with pytest.raises(ValueError, match="padding"):
        Struct("bad", "", (Member("a", "__u64", 1, ""), Member("b", "__u32", 1, "")))

# SPDX-License-Identifier: Apache-2.0
"""Values as people write them become bytes of a program's variables, or errors that say why."""

import re
import sys

import pytest

from iovisor_ovn.dataplane.btf import Kind, ValueType
from iovisor_ovn.dataplane.module_settings import Value, encode, nearest

U8 = ValueType(Kind.INT, 1, ("__u8",))
U16 = ValueType(Kind.INT, 2, ("__u16",))
S8 = ValueType(Kind.INT, 1, ("__s8",), is_signed=True)
BOOL = ValueType(Kind.INT, 1, ("_Bool",), is_bool=True)
BE16 = ValueType(Kind.INT, 2, ("__be16", "__u16"))
IP4 = ValueType(Kind.INT, 4, ("iom_ip4", "__be32", "__u32"))
IP6 = ValueType(Kind.STRUCT, 16, ("iom_ip6",))
MAC = ValueType(Kind.STRUCT, 6, ("iom_mac",))
CHAR = ValueType(Kind.INT, 1, (), is_signed=True, is_char=True)
TEXT = ValueType(Kind.ARRAY, 4, element=CHAR, length=4)
LIST = ValueType(Kind.ARRAY, 6, element=U16, length=3)
ADDRESSES = ValueType(Kind.ARRAY, 8, element=IP4, length=2)
POINTER = ValueType(Kind.POINTER, 8)


def native(*numbers: int, size: int) -> bytes:
    """Numbers in this machine's order."""
    return b"".join(number.to_bytes(size, sys.byteorder) for number in numbers)


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        (0, U16, bytes(2)),
        (0xFFFF, U16, b"\xff\xff"),
        ("0x12ab", U16, native(0x12AB, size=2)),
        (" 17 ", U8, b"\x11"),
        (-128, S8, b"\x80"),
        ("-1", S8, b"\xff"),
        (True, BOOL, b"\x01"),
        ("No", BOOL, b"\x00"),
        (1, BOOL, b"\x01"),
        (80, BE16, b"\x00\x50"),
        ("10.1.2.3", IP4, b"\x0a\x01\x02\x03"),
        (0x0A010203, IP4, b"\x0a\x01\x02\x03"),
        ("fd00::1", IP6, b"\xfd" + bytes(14) + b"\x01"),
        ("02:00:00:00:AB:cd", MAC, b"\x02\x00\x00\x00\xab\xcd"),
        ("abc", TEXT, b"abc\x00"),
        ("", TEXT, bytes(4)),
        (42, TEXT, b"42\x00\x00"),
        ("1, 2", LIST, native(1, 2, 0, size=2)),
        (7, LIST, native(7, 0, 0, size=2)),
        ("10.0.0.1,10.0.0.2", ADDRESSES, b"\x0a\x00\x00\x01\x0a\x00\x00\x02"),
    ],
)
def test_value_becomes_bytes(value: Value, wanted: ValueType, expected: bytes) -> None:
    """Each type takes what people write for it, and fills all its bytes."""
    assert encode(value, wanted) == expected


@pytest.mark.parametrize(
    ("value", "wanted", "message"),
    [
        (65536, U16, "65536 is not in 0 to 65535"),
        (-1, U16, "-1 is not in 0 to 65535"),
        (128, S8, "128 is not in -128 to 127"),
        ("ten", U16, "'ten' is no number"),
        ("1.5", U16, "'1.5' is no number"),
        ("0x", U16, "'0x' is no number"),
        (True, U16, "true is no number"),
        (2, BOOL, "2 is neither true nor false"),
        ("10.0.0.256", IP4, "'10.0.0.256' is neither a number nor an IPv4 address"),
        ("10.0.0.1", U16, "'10.0.0.1' is no number"),
        ("10.0.0.1", IP6, "'10.0.0.1' is no IPv6 address"),
        ("02:00:00:00:00", MAC, "'02:00:00:00:00' is no MAC address"),
        ("abcd", TEXT, "'abcd' has 4 bytes, there is room for 3"),
        ("äö", TEXT, "'äö' has 4 bytes, there is room for 3"),
        ("1,2,3,4", LIST, "4 values, there is room for 3"),
        ("1,x", LIST, "'x' is no number"),
        (1, POINTER, "its type is none that a setting can have"),
    ],
)
def test_value_that_does_not_fit_is_refused(value: Value, wanted: ValueType, message: str) -> None:
    """The error says what is wrong and what would do."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        encode(value, wanted)


def test_unknown_name_gets_the_nearest() -> None:
    """Or all names, where none is near."""
    assert nearest("max_sise", ["max_size", "rate"]) == "did you mean max_size?"
    assert nearest("zzz", ["max_size", "rate"]) == "there are: max_size, rate"
    assert nearest("zzz", []) == "there are none"

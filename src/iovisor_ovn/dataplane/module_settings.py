# SPDX-License-Identifier: Apache-2.0
"""Settings of users' modules: values as people write them become bytes of the program's variables.

===================================  =====================================================
type of the ``const volatile``       what it is set from
===================================  =====================================================
``bool``                             true, false
``__u8`` to ``__u64``, ``__s8`` ...  a number, also 0x…; refused when it does not fit
``__be16``, ``__be32``, ``__be64``   the same; stored in network order
``iom_ip4``, ``__be32``              an IPv4 address
``iom_ip6``                          an IPv6 address
``iom_mac``                          a MAC address
``char[n]``                          a text of at most n - 1 bytes
an array of any of these             values with commas between; the rest of it is zero
===================================  =====================================================
"""

import difflib
import re
import sys
from collections.abc import Collection
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from iovisor_ovn.dataplane.btf import Kind, ValueType

__all__ = ["Value", "encode", "nearest"]

Value = int | str | bool

_NUMBER = re.compile(r"[+-]?(0x[0-9a-fA-F]+|[0-9]+)")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_BIG_ENDIAN = frozenset({"__be16", "__be32", "__be64", "iom_ip4"})
_TRUTHS = {"true": 1, "false": 0, "yes": 1, "no": 0, "1": 1, "0": 0}


def encode(value: Value, wanted: ValueType) -> bytes:
    """Bytes of a variable of type ``wanted`` (``wanted.size`` of them).

    ValueError says what is wrong with the value, without the setting's name.
    """
    if "iom_mac" in wanted.names:
        return _mac(value)
    if "iom_ip6" in wanted.names:
        return _ip6(value)
    if wanted.kind == Kind.INT:
        return _integer(value, wanted)
    if wanted.kind == Kind.ARRAY and wanted.element is not None:
        if wanted.element.is_char:
            return _text(value, wanted.length)
        return _list(value, wanted, wanted.element)
    raise ValueError("its type is none that a setting can have")


def nearest(name: str, known: Collection[str]) -> str:
    """What is added to an error about an unknown name: the nearest one, or all that there are."""
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are: {', '.join(sorted(known))}" if known else "there are none"


def _integer(value: Value, wanted: ValueType) -> bytes:
    is_big = not _BIG_ENDIAN.isdisjoint(wanted.names)
    number = _truth(value) if wanted.is_bool else _number(value, is_address=is_big)
    order = "big" if is_big else sys.byteorder
    try:
        return number.to_bytes(wanted.size, order, signed=wanted.is_signed)
    except OverflowError:
        bits = wanted.size * 8 - wanted.is_signed
        least, most = -(1 << bits) if wanted.is_signed else 0, (1 << bits) - 1
        raise ValueError(f"{value} is not in {least} to {most}") from None


def _truth(value: Value) -> int:
    found = _TRUTHS.get(str(value).lower())
    if found is None:
        raise ValueError(f"{value!r} is neither true nor false")
    return found


def _number(value: Value, *, is_address: bool) -> int:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number")  # noqa: TRY004 - bad input, no bug
    if isinstance(value, int):
        return value
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return int(text, 16 if "x" in text else 10)
    if is_address:
        try:
            return int(IPv4Address(text))
        except AddressValueError:
            raise ValueError(f"{value!r} is neither a number nor an IPv4 address") from None
    raise ValueError(f"{value!r} is no number")


def _ip6(value: Value) -> bytes:
    try:
        return IPv6Address(str(value).strip()).packed
    except AddressValueError:
        raise ValueError(f"{value!r} is no IPv6 address") from None


def _mac(value: Value) -> bytes:
    text = str(value).strip()
    if not _MAC.fullmatch(text):
        raise ValueError(f"{value!r} is no MAC address")
    return bytes.fromhex(text.replace(":", ""))


def _text(value: Value, length: int) -> bytes:
    raw = (str(value).lower() if isinstance(value, bool) else str(value)).encode()
    if len(raw) >= length:
        raise ValueError(f"{value!r} has {len(raw)} bytes, there is room for {length - 1}")
    return raw.ljust(length, b"\0")


def _list(value: Value, wanted: ValueType, element: ValueType) -> bytes:
    items: list[Value] = [value]
    if isinstance(value, str):
        items = [item.strip() for item in value.split(",") if item.strip()]
    if len(items) > wanted.length:
        raise ValueError(f"{len(items)} values, there is room for {wanted.length}")
    return b"".join(encode(item, element) for item in items).ljust(wanted.size, b"\0")

# SPDX-License-Identifier: Apache-2.0
"""What a single value of a file may be, as types of pydantic that read it from its text.

An error says what is wrong in the words of whoever wrote the value. Nothing is guessed: an address
with leading zeros or a netmask with holes is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

from iovisor_ovn.config.section import shown

__all__ = [
    "Bool",
    "Cidr",
    "CommaList",
    "Ip",
    "Ipv4",
    "ListOrOne",
    "Mac",
    "Name",
    "Netmask",
    "NextHop",
    "Prefixed",
    "Text",
    "is_name",
    "leaf",
    "number",
    "read_bool",
    "wrong",
]

_T = TypeVar("_T")
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_MAC = re.compile(
    r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}"
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_LENGTH = re.compile(r"[0-9]{1,3}")
_GROUP_BIT = 1


def wrong(message: str) -> PydanticCustomError:
    """Return the error that says ``message`` and nothing else."""
    return PydanticCustomError("wrong", "{message}", {"message": message})


def leaf(read: Callable[[str], _T]) -> PlainValidator:
    """Return the validator that reads a single value; ``read`` raises ValueError with a reason."""

    def validate(value: object) -> _T:
        if value is None:
            raise wrong("has no value")
        if not isinstance(value, str):
            raise wrong("must be a single value")
        try:
            return read(value)
        except ValueError as error:
            raise wrong(str(error)) from error

    return PlainValidator(validate)


def number(lowest: int, highest: int, what: str) -> PlainValidator:
    """Return the validator of whole decimal numbers, both ends included; ``what`` are they."""

    def read(text: str) -> int:
        if not _NUMBER.fullmatch(text) or not lowest <= int(text) <= highest:
            raise ValueError(f"{shown(text)} is no {what} from {lowest} to {highest}")
        return int(text)

    return leaf(read)


def read_bool(text: str) -> bool:
    """Return a truth value, written as YAML 1.1 has it; raises ValueError for other texts."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"{shown(text)} is neither true nor false")


def _read_text(text: str) -> str:
    if not text:
        raise ValueError("is empty")
    return text


def is_name(text: str) -> bool:
    """Tell whether a module or a port may be called so."""
    return _NAME.fullmatch(text) is not None


def _read_name(text: str) -> str:
    if not is_name(text):
        raise ValueError(
            f"{shown(text)} is no name: up to 63 letters, digits and _ . -, the first no . or -"
        )
    return text


def _read_mac(text: str) -> str:
    if not _MAC.fullmatch(text.lower()):
        raise ValueError(f"{shown(text)} is no MAC address such as 02:00:00:00:00:01")
    raw = bytes.fromhex(re.sub("[:.-]", "", text))
    mac = raw.hex(":")
    if raw[0] & _GROUP_BIT:
        raise ValueError(f"{mac} is the MAC address of a group, not of one host")
    if not any(raw):
        raise ValueError(f"{mac} is no host's MAC address")
    return mac


def _read_ip(text: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text)
    except ValueError:
        hint = "; a network's length has no place here" if "/" in text else ""
        raise ValueError(f"{shown(text)} is no IP address{hint}") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{shown(text)} has a zone (%), which means nothing here")
    return address


def _usable(address: IPv4Address | IPv6Address) -> None:
    """Refuse what can be no host's address on a link."""
    is_broadcast = isinstance(address, IPv4Address) and int(address) == 0xFFFFFFFF
    if address.is_unspecified or address.is_multicast or address.is_loopback or is_broadcast:
        raise ValueError(f"{address} can be no host's address")


def _read_host(text: str) -> IPv4Address | IPv6Address:
    address = _read_ip(text)
    _usable(address)
    return address


def _read_host4(text: str) -> IPv4Address:
    address = _read_host(text)
    if not isinstance(address, IPv4Address):
        raise ValueError(f"{address} is IPv6; an IPv4 address is wanted")  # noqa: TRY004 - a text
    return address


def _read_next_hop(text: str) -> IPv4Address | IPv6Address | None:
    """Read a next hop; as the archived project has it, 0 says on link."""
    if text == "0":
        return None
    address = _read_ip(text)
    if address.is_unspecified:
        return None
    _usable(address)
    return address


def _read_netmask(text: str) -> int:
    """Return the length that a dotted mask stands for."""
    try:
        bits = int(IPv4Address(text))
    except ValueError:
        raise ValueError(f"{shown(text)} is no netmask such as 255.255.255.0") from None
    zeros = 32 - bits.bit_count()
    if bits != 0xFFFFFFFF << zeros & 0xFFFFFFFF:
        raise ValueError(f"{text} is no netmask: it must be ones, then zeros")
    return 32 - zeros


@dataclass(frozen=True, slots=True)
class Prefixed:
    """An address; ``length`` is that of its network, if it was written (``/24``)."""

    ip: IPv4Address | IPv6Address
    length: int | None

    def network(self, length: int) -> IPv4Network | IPv6Network:
        """Return the network of that length that the address is in."""
        if isinstance(self.ip, IPv4Address):
            return IPv4Network((self.ip, length), strict=False)
        return IPv6Network((self.ip, length), strict=False)


def _read_cidr(text: str) -> Prefixed:
    address, slash, length = text.partition("/")
    ip = _read_ip(address)
    if not slash:
        return Prefixed(ip, None)
    if isinstance(ip, IPv4Address) and "." in length:
        return Prefixed(ip, _read_netmask(length))
    if not _LENGTH.fullmatch(length) or int(length) > ip.max_prefixlen:
        raise ValueError(f"{shown(length)} is no length of an IPv{ip.version} network")
    return Prefixed(ip, int(length))


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Bool = Annotated[bool, leaf(read_bool)]
Text = Annotated[str, leaf(_read_text)]
Name = Annotated[str, leaf(_read_name)]
#: In lower case, with colons.
Mac = Annotated[str, leaf(_read_mac)]
Ip = Annotated[IPv4Address | IPv6Address, leaf(_read_host)]
Ipv4 = Annotated[IPv4Address, leaf(_read_host4)]
NextHop = Annotated[IPv4Address | IPv6Address | None, leaf(_read_next_hop)]
#: The length of the network.
Netmask = Annotated[int, leaf(_read_netmask)]
Cidr = Annotated[Prefixed, leaf(_read_cidr)]
#: One value may stand for a list of one.
ListOrOne = Annotated[tuple[_T, ...], BeforeValidator(_as_list)]
#: The same, or several with commas between them.
CommaList = Annotated[tuple[_T, ...], BeforeValidator(_split)]

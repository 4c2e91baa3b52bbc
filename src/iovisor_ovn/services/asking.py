# SPDX-License-Identifier: Apache-2.0
"""The frames of ARP requests (RFC 826) and neighbour solicitations (RFC 4861, 4.3)."""

import struct
from ipaddress import IPv4Address, IPv6Address

__all__ = ["ask_arp", "ask_nd"]

_BROADCAST = 0xFFFFFFFFFFFF
_GROUP_MAC = 0x3333FF000000  # of solicited-node groups, 24 bits of the address behind
_GROUP = int(IPv6Address("ff02::1:ff00:0"))
_24_BITS = 0xFFFFFF
_ARP, _IPV6 = 0x0806, 0x86DD
_ICMPV6, _HOP_LIMIT = 58, 255
_SOLICITATION, _SOURCE_LINK = 135, 1


def ask_arp(own_mac: int, own: IPv4Address, target: IPv4Address, mac: int = 0) -> bytes:
    """Ask for the MAC address of ``target``: all, or the one that is thought to have it."""
    head = _mac(mac or _BROADCAST) + _mac(own_mac) + struct.pack(">H", _ARP)
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1)
    return head + body + _mac(own_mac) + own.packed + _mac(0) + target.packed


def ask_nd(own_mac: int, own: IPv6Address, target: IPv6Address, mac: int = 0) -> bytes:
    """Ask for the MAC address of ``target``: its group, or the one that is thought to have it."""
    low = int(target) & _24_BITS
    to, to_mac = (target, mac) if mac else (IPv6Address(_GROUP | low), _GROUP_MAC | low)
    option = struct.pack(">BB", _SOURCE_LINK, 1) + _mac(own_mac)
    message = struct.pack(">BBHI", _SOLICITATION, 0, 0, 0) + target.packed + option
    pseudo = own.packed + to.packed + struct.pack(">II", len(message), _ICMPV6)
    checksum = _sum(pseudo + message)
    message = message[:2] + struct.pack(">H", checksum) + message[4:]
    head = _mac(to_mac) + _mac(own_mac) + struct.pack(">H", _IPV6)
    ip = struct.pack(">IHBB", 6 << 28, len(message), _ICMPV6, _HOP_LIMIT) + own.packed + to.packed
    return head + ip + message


def _mac(number: int) -> bytes:
    return number.to_bytes(6, "big")


def _sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

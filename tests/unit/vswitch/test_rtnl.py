# SPDX-License-Identifier: Apache-2.0
"""The rtnetlink codec, against messages written by hand as linux/rtnetlink.h lays them out."""

import socket
import struct

from iovisor_ovn.vswitch import rtnl


def link_message(
    *attributes: bytes, family: int = 0, ifindex: int = 7, flags: int = 0x43, arp_type: int = 1
) -> bytes:
    """Return the payload of an RTM_NEWLINK message."""
    return struct.pack("=BxHiII", family, arp_type, ifindex, flags, 0) + b"".join(attributes)


def test_a_link_is_read_with_its_kind_and_peer() -> None:
    """Name, address, MTU, kind, alias and a peer elsewhere come out of the attributes."""
    info = rtnl.attribute(1, b"veth\0") + rtnl.attribute(2, b"")
    payload = link_message(
        rtnl.attribute(3, b"tap0\0"),
        rtnl.attribute(1, bytes.fromhex("fe163e000001")),
        rtnl.attribute(4, struct.pack("=I", 1442)),
        rtnl.attribute(5, struct.pack("=I", 9)),
        rtnl.attribute(18 | 0x8000, info),
        rtnl.attribute(20, b"somebody's\0"),
        rtnl.attribute(37, struct.pack("=i", 3)),
    )
    expected = rtnl.Link(
        "tap0", 7, "fe:16:3e:00:00:01", 1442, 0x43, "veth", "somebody's", 9, 3, is_ethernet=True
    )
    assert rtnl.parse_link(payload) == expected
    assert expected.is_up
    assert expected.has_carrier


def test_a_peer_in_the_same_namespace_has_no_namespace_id() -> None:
    """Namespace id 0 is another namespace; only a missing attribute means the same one."""
    name = rtnl.attribute(3, b"v\0")
    same = rtnl.parse_link(link_message(name))
    other = rtnl.parse_link(link_message(name, rtnl.attribute(37, struct.pack("=i", 0))))
    assert (same and same.peer_netns) is None
    assert (other and other.peer_netns) == 0


def test_bridge_membership_is_not_a_link() -> None:
    """A port that leaves a bridge gives an RTM_DELLINK of family AF_BRIDGE: not a removal."""
    payload = link_message(rtnl.attribute(3, b"v\0"), family=socket.AF_BRIDGE)
    assert rtnl.parse_link(payload) is None
    assert rtnl.link_index(payload) == 0
    assert rtnl.link_index(link_message()) == 7


def test_attributes_are_padded_and_read_back() -> None:
    """Lengths that are no multiple of four leave the following attribute in its place."""
    data = rtnl.attribute(1, b"abcde") + rtnl.text_attribute(2, "x")
    assert len(data) == 12 + 8
    assert list(rtnl.attributes(data)) == [(1, b"abcde"), (2, b"x\0")]


def test_a_cut_off_attribute_ends_the_reading() -> None:
    """An attribute longer than the message is not read, and nothing is raised."""
    data = rtnl.attribute(1, b"abcd") + struct.pack("=HH", 400, 2)
    assert list(rtnl.attributes(data)) == [(1, b"abcd")]


def test_an_attribute_of_impossible_length_ends_the_reading() -> None:
    """A length below the header's own would otherwise be read for ever."""
    assert list(rtnl.attributes(struct.pack("=HH", 0, 2) * 2)) == []


def test_messages_of_one_datagram_are_split() -> None:
    """Each message keeps its type, flags, sequence number and payload."""
    data = rtnl.message(16, 2, 5, b"abc") + b"\0" + rtnl.message(3, 0, 5, b"")
    assert list(rtnl.messages(data)) == [
        rtnl.Message(16, 2, 5, b"abc"),
        rtnl.Message(3, 0, 5, b""),
    ]


def test_an_error_message_gives_the_errno() -> None:
    """The kernel sends a negative number; 0 is an acknowledgement."""
    assert rtnl.error_number(struct.pack("=i", -19)) == 19
    assert rtnl.error_number(struct.pack("=i", 0)) == 0


def test_counters_are_read_in_the_kernels_order() -> None:
    """The fields of struct rtnl_link_stats64 land under their names."""
    counters = struct.pack("=25Q", *range(100, 125))
    payload = struct.pack("=BxxxII", 0, 4, 1) + rtnl.attribute(1, counters)
    parsed = rtnl.parse_statistics(payload)
    assert parsed is not None
    ifindex, statistics = parsed
    assert ifindex == 4
    assert statistics.rx_packets == 100
    assert statistics.tx_bytes == 103
    assert statistics.collisions == 109
    assert statistics.rx_missed_errors == 115


def test_a_statistics_message_without_counters_is_nothing() -> None:
    """A device that went while it was listed has no counters, and is left out."""
    assert rtnl.parse_statistics(struct.pack("=BxxxII", 0, 4, 1)) is None

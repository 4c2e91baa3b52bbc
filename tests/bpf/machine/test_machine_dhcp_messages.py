# SPDX-License-Identifier: Apache-2.0
"""DHCP messages as they should be, as they may be, and as they must not be."""

import struct
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from dhcp_rig import SERVER_IP, Client, Server, serve, settings
from iovisor_ovn.abi import Drop
from machine_rig import Rig

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

ONE = Client(1)
MAGIC = b"\x63\x82\x53\x63"
DISCOVER = b"\x35\x01\x01"
END = b"\xff"
WISH = bytes((50, 4, 10, 9, 0, 15))
HEADERS = 14 + 20 + 8


def raw(options: bytes, *, magic: bytes = MAGIC, **fields: Any) -> Packet:
    """A message with these bytes as its options."""
    values: dict[str, Any] = {"chaddr": b"\x02\xc0\x00\x00\x00\x01", "xid": 5} | fields
    return (
        Ether(dst="ff:ff:ff:ff:ff:ff", src=ONE.mac)
        / IP(src="0.0.0.0", dst="255.255.255.255")  # no address to listen on
        / UDP(sport=68, dport=67)
        / BOOTP(options=b"", **values)
        / (magic + options)
    )


def offered(server: Server, frame: Packet) -> str:
    """The address offered, or why there was none."""
    answer = server.ask(frame)
    return answer.ip if answer.kind == "offer" else answer.kind


# -- what is read ------------------------------------------------------------------------


def test_options_may_lie_in_file_and_sname(rig: Rig) -> None:
    """Option 52 says so: file first, then sname (RFC 2132, 9.3)."""
    file_has = raw(DISCOVER + b"\x34\x01\x01" + END, file=WISH + END)
    sname_has = raw(DISCOVER + b"\x34\x01\x02" + END, sname=WISH + END)
    both_have = raw(b"\x34\x01\x03" + END, file=DISCOVER + END, sname=b"\0" * 3 + WISH + END)
    for frame in (file_has, sname_has, both_have):
        assert offered(serve(rig), frame) == "10.9.0.15"


def test_without_overload_file_and_sname_are_not_read(rig: Rig) -> None:
    """They hold names."""
    frame = raw(DISCOVER + END, file=WISH + END, sname=WISH + END)
    assert offered(serve(rig), frame) == "10.9.0.10"


def test_overload_inside_of_what_is_overloaded_counts_for_nothing(rig: Rig) -> None:
    """No option leads round in a circle."""
    inside = raw(DISCOVER + b"\x34\x01\x01" + END, file=b"\x34\x01\x03" + END, sname=WISH + END)
    assert offered(serve(rig), inside) == "10.9.0.10"


def test_of_an_option_that_comes_twice_the_first_counts(rig: Rig) -> None:
    """As most servers do."""
    frame = raw(DISCOVER + WISH + bytes((50, 4, 10, 9, 0, 16)) + END)
    assert offered(serve(rig), frame) == "10.9.0.15"


def test_pads_and_unknown_options_are_passed_over(rig: Rig) -> None:
    """Whatever is in them."""
    noise = b"\0\0" + bytes((12, 3)) + b"\xff\x32\x04" + b"\0" + bytes((224, 0)) + b"\0"
    assert offered(serve(rig), raw(noise + DISCOVER + noise + WISH + END)) == "10.9.0.15"


def test_end_may_be_missing(rig: Rig) -> None:
    """Where the message ends with an option."""
    assert offered(serve(rig), raw(DISCOVER + WISH)) == "10.9.0.15"


def test_behind_end_is_nothing(rig: Rig) -> None:
    """Not even rubbish."""
    assert offered(serve(rig), raw(DISCOVER + END + WISH + b"\x32")) == "10.9.0.10"


def test_a_long_message_is_read_to_its_end(rig: Rig) -> None:
    """As long as an Ethernet frame may be."""
    filler = (bytes((224, 255)) + b"f" * 255) * 4
    assert offered(serve(rig), raw(filler + DISCOVER + WISH + END)) == "10.9.0.15"


def test_bytes_behind_the_datagram_are_no_options(rig: Rig) -> None:
    """An Ethernet trailer is not part of the message."""
    frame = bytes(raw(DISCOVER)) + WISH
    assert offered(serve(rig), Ether(frame)) == "10.9.0.10"


# -- what is refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(raw(DISCOVER + END, op=2), id="a reply"),
        pytest.param(raw(DISCOVER + END, htype=6), id="not Ethernet"),
        pytest.param(raw(DISCOVER + END, hlen=16), id="long hardware address"),
        pytest.param(raw(DISCOVER + END, hlen=0), id="no hardware address"),
        pytest.param(raw(DISCOVER + END, chaddr=bytes(6)), id="nobody's hardware address"),
        pytest.param(raw(DISCOVER + END, magic=b"\x63\x82\x53\x64"), id="cookie"),
        pytest.param(raw(END), id="BOOTP"),
        pytest.param(raw(b""), id="no options"),
        pytest.param(raw(b"\x35\x01\x02" + END), id="an OFFER"),
        pytest.param(raw(b"\x35\x01\x05" + END), id="an ACK"),
        pytest.param(raw(b"\x35\x01\x0d" + END), id="a type of later"),
        pytest.param(raw(b"\x35\x02\x01\x01" + END), id="type of two bytes"),
        pytest.param(raw(DISCOVER + b"\x32\x03\x0a\x09\x00" + END), id="address of three bytes"),
        pytest.param(raw(DISCOVER + b"\x3d\x00" + END), id="empty identifier"),
        pytest.param(raw(DISCOVER + b"\x39\x01\x02" + END), id="size of one byte"),
        pytest.param(raw(DISCOVER + b"\x0c\x05host"), id="option one byte too long"),
        pytest.param(raw(DISCOVER + b"\x0c\xff" + b"h" * 254), id="longest option, cut"),
        pytest.param(raw(DISCOVER + b"\x0c"), id="option without a length"),
        pytest.param(raw(DISCOVER + b"\x34\x01\x01" + END, file=b"\x0c\x7f"), id="beyond file"),
        pytest.param(raw(b"\x35\x01\x03" + END), id="REQUEST of nothing"),
    ],
)
def test_a_message_against_the_rules_is_dropped(rig: Rig, frame: Packet) -> None:
    """It is counted, and nothing is given away."""
    server = serve(rig)
    assert server.ask(frame).drops == {Drop.DHCP_MALFORMED: 1}
    assert server.servers.leases(server.pool) == []


def test_a_message_cut_anywhere_is_dropped(rig: Rig) -> None:
    """With lengths of the whole: none of its bytes is taken from elsewhere."""
    server = serve(rig)
    whole = bytes(raw(DISCOVER + WISH + END))
    for size in range(HEADERS, len(whole)):
        answer = server.ask(whole[:size])
        assert answer.frame is None, size
        assert set(answer.drops) <= {Drop.DHCP_MALFORMED, Drop.GENERATE, Drop.PARSE}, size
    assert server.servers.leases(server.pool) == []
    assert server.ask(whole).kind == "offer"


def test_a_message_that_ends_early_is_read_as_far_as_it_goes(rig: Rig) -> None:
    """With lengths that fit: an offer where the options are whole, else a drop."""
    options = bytes((61, 4)) + b"\0abc" + DISCOVER + WISH + END
    #: Where one option ends and the next begins, once the type is there.
    whole = {9, 15, 16}
    for size in range(-236 - 4, len(options)):
        frame = bytes(raw(options))
        cut = Ether(frame[: HEADERS + 240 + size])
        del cut[IP].len, cut[IP].chksum, cut[UDP].len, cut[UDP].chksum
        kind = serve(rig).ask(cut).kind
        assert kind == ("offer" if size in whole else "DHCP_MALFORMED"), size


def test_a_length_beyond_the_datagram_is_refused(rig: Rig) -> None:
    """UDP's length must fit into IP's, and hold a message."""
    server = serve(rig)
    for length in (0, 7, 8, 8 + 239, 8 + 245, 400, 0xFFFF):
        frame = raw(DISCOVER + END)
        frame[UDP].len = length
        # Not even what would be there behind the datagram.
        assert server.ask(bytes(frame) + bytes(600)).kind == "DHCP_MALFORMED", length


def test_a_fragment_is_no_message(rig: Rig) -> None:
    """The rest of it is elsewhere."""
    frame = raw(DISCOVER + END)
    frame[IP].flags = "MF"
    assert serve(rig).ask(frame).frame is None


def test_random_bytes_as_options_do_no_harm(rig: Rig) -> None:
    """A defined end for each, and the server goes on."""
    server = serve(rig)
    state = 1
    for _ in range(500):
        noise = bytearray()
        for _ in range(1 + state % 300):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            noise.append(state >> 16 & 0xFF)
        answer = server.ask(raw(DISCOVER + bytes(noise)))
        assert answer.kind in {"offer", "DHCP_MALFORMED"}
    assert server.ask(raw(DISCOVER + END)).kind == "offer"


# -- offloads ----------------------------------------------------------------------------


def test_a_partial_checksum_is_none_to_complain_about(rig: Rig) -> None:
    """A client in a namespace leaves the sum to a device that never comes."""
    frame = raw(DISCOVER + WISH + END)
    frame[UDP].chksum = 0x1234
    answer = serve(rig).ask(frame)
    assert (answer.kind, answer.ip) == ("offer", "10.9.0.15")


def test_a_reply_keeps_the_devices_sum_right(rig: Rig) -> None:
    """The kernel fails the run if a complete checksum does not fit the reply."""
    # Of this length the skb neither grows nor is trimmed, both of which forget the sum.
    frame = bytes(raw(DISCOVER + END)).ljust(HEADERS + 300 + 512, b"t")
    assert serve(rig).ask(frame, complete=True).kind == "offer"


# -- how long replies are ----------------------------------------------------------------

LONG = settings(
    domain_name="d" * 200, dns=tuple(IPv4Address(f"9.9.9.{n}") for n in range(20)), mtu=1400,
    router=IPv4Address("10.9.0.254"),
)  # fmt: skip


ORDER = ["subnet_mask", "router", "name_server", "domain", "interface-mtu", "broadcast_address"]


def sized(server: Server, options: bytes) -> tuple[int, list[str]]:
    """Size of the reply's datagram, and which options are in it."""
    answer = server.ask(raw(DISCOVER + options + END))
    assert answer.kind == "offer"
    assert answer.frame is not None
    return answer.frame[IP].len, [name for name in ORDER if answer.option(name) is not None]


def test_a_reply_is_as_long_as_the_client_takes(rig: Rig) -> None:
    """576 bytes if it says nothing; what has no place is left out from the end on."""
    server = serve(rig, LONG)
    assert sized(server, b"") == (392, ORDER[:3])
    for given, size, n_options in (
        (300, 392, 3), (576, 392, 3), (591, 392, 3), (592, 592, 4), (595, 592, 4), (596, 596, 5),
        (603, 596, 5), (604, 604, 6), (1500, 604, 6), (65535, 604, 6),
    ):  # fmt: skip
        option = b"\x39\x02" + struct.pack("!H", given)
        assert sized(server, option) == (size, ORDER[:n_options]), given


def test_what_the_client_sent_has_its_place_first(rig: Rig) -> None:
    """Its identifier and its relay's option come back whole, whatever else has no place."""
    server = serve(rig, LONG)
    echoed = bytes((61, 255)) + b"i" * 255 + bytes((82, 255)) + b"r" * 255
    answer = server.ask(raw(DISCOVER + echoed + END))
    assert answer.option("client_id") == b"i" * 255
    assert answer.option("relay_agent_information") == b"r" * 255
    assert answer.option("server_id") == SERVER_IP
    assert answer.option("lease_time") == 3600
    assert answer.option("domain") is None
    anew = answer.frame
    assert anew is not None
    assert anew[IP].len == 28 + 240 + 27 + 257 + 257 + 3

# SPDX-License-Identifier: Apache-2.0
"""The switch module, frame by frame."""

import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, LLC, STP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from chain_rig import ChainRig, chain
from iovisor_ovn.config.topology import ForwardingEntry, Switch
from iovisor_ovn.standalone.report import report

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
ALL = "ff:ff:ff:ff:ff:ff"


def frame(dst: str, src: str, payload: Packet | None = None) -> bytes:
    """An Ethernet frame, an IPv4 datagram in it if nothing else is given."""
    inner = payload or IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / (b"x" * 20)
    return bytes(Ether(dst=dst, src=src) / inner)


@pytest.fixture
def switch(rig: ChainRig) -> ChainRig:
    """One switch with four devices, nothing learned."""
    rig.fresh(chain({"sw": Switch()}, ["sw"] * 4))
    return rig


def others(wire: int, data: bytes) -> dict[int, list[bytes]]:
    """The frame out of every wire but one."""
    return {number: [data] for number in range(4) if number != wire}


FLOODED = [
    ("unknown unicast", frame(B, A)),
    ("broadcast", frame(ALL, A)),
    ("IPv4 multicast", frame("01:00:5e:00:00:05", A)),
    ("IPv6 multicast", frame("33:33:00:00:00:01", A, IPv6(dst="ff02::1") / UDP() / b"x")),
    ("ARP", frame(ALL, A, ARP(psrc="10.0.0.1", pdst="10.0.0.2"))),
    ("neighbour solicitation", frame("33:33:ff:00:00:02", A, IPv6() / ICMPv6ND_NS(tgt="fe80::2"))),
    ("unknown ethertype", bytes(Ether(dst=B, src=A, type=0x88B6) / Raw(b"y" * 50))),
    ("802.3 with LLC", bytes(Ether(dst=B, src=A, type=43) / LLC() / Raw(b"y" * 40))),
    ("VLAN tag", frame(B, A, Dot1Q(vlan=7, prio=3) / IP() / UDP() / (b"z" * 20))),
    ("priority tag", frame(B, A, Dot1Q(vlan=0, prio=3) / IP() / UDP() / (b"z" * 20))),
    ("two tags", frame(B, A, Dot1Q(vlan=7) / Dot1Q(vlan=8) / IP() / UDP() / (b"z" * 20))),
    ("no IP behind the type of IP", bytes(Ether(dst=B, src=A, type=0x800) / Raw(b"\0" * 46))),
    ("fragment", frame(B, A, IP(dst="10.0.0.2", frag=10, proto=17) / Raw(b"z" * 40))),
    ("IPv4 with TTL 0", frame(B, A, IP(ttl=0) / UDP() / (b"z" * 20))),
    ("long frame", frame(B, A, IP() / UDP() / (b"z" * 1400))),
]


@pytest.mark.parametrize("data", [row[1] for row in FLOODED], ids=[row[0] for row in FLOODED])
def test_frame_for_nobody_known_goes_everywhere_else(switch: ChainRig, data: bytes) -> None:
    """All ports but that which it came by, unchanged."""
    assert switch.always(1, data) == others(1, data)


NOT_FORWARDED = [
    *((f"reserved group {n}", frame(f"01:80:c2:00:00:{n:02x}", A)) for n in (0, 1, 2, 3, 14, 15)),
    ("STP", bytes(Ether(dst="01:80:c2:00:00:00", src=A, type=38) / LLC() / STP())),
    ("source that is a group", frame(B, "03:00:00:00:00:0a")),
    ("source that is the broadcast", frame(B, ALL)),
    ("source that is nobody", frame(B, "00:00:00:00:00:00")),
]  # fmt: skip


@pytest.mark.parametrize(
    "data", [row[1] for row in NOT_FORWARDED], ids=[row[0] for row in NOT_FORWARDED]
)
def test_frame_that_no_bridge_forwards_ends(switch: ChainRig, data: bytes) -> None:
    """Nor is anything learned from it: what answers goes everywhere."""
    assert switch.always(1, data) == {}
    if not data[6] & 1:
        back = frame(data[6:12].hex(":"), C)
        assert switch.always(2, back) == others(2, back)


def test_group_beside_the_reserved_ones_is_forwarded(switch: ChainRig) -> None:
    """01:80:c2:00:00:10 is the first that a bridge forwards."""
    data = frame("01:80:c2:00:00:10", A)
    assert switch.always(0, data) == others(0, data)


def test_answer_goes_where_the_question_came_from(switch: ChainRig) -> None:
    """Learned from any frame, broadcasts included."""
    switch.send(1, frame(ALL, A, ARP(hwsrc=A)))
    answer = frame(A, B)
    assert switch.always(3, answer) == {1: [answer]}
    again = frame(B, A)
    assert switch.always(1, again) == {3: [again]}


def test_host_that_moves_is_followed(switch: ChainRig) -> None:
    """The first frame from its new place is enough."""
    to_a = frame(A, B)
    switch.send(1, frame(ALL, A))
    assert switch.always(0, to_a) == {1: [to_a]}
    switch.send(2, frame(ALL, A))
    assert switch.always(0, to_a) == {2: [to_a]}


def test_frame_for_where_it_comes_from_ends(switch: ChainRig) -> None:
    """Two hosts behind one port talk past the switch."""
    switch.send(1, frame(ALL, A))
    assert switch.always(1, frame(A, B)) == {}


def test_configured_address_is_where_it_is_configured(rig: ChainRig) -> None:
    """Whoever else uses it; and it need not speak first."""
    rig.fresh(chain({"sw": Switch((ForwardingEntry("wire2", A),))}, ["sw"] * 4))
    to_a = frame(A, B)
    assert rig.always(0, to_a) == {2: [to_a]}
    rig.send(1, frame(ALL, A))
    assert rig.always(0, to_a) == {2: [to_a]}
    assert rig.always(2, to_a) == {}


def test_frame_crosses_switches_in_a_row(rig: ChainRig) -> None:
    """Three switches, two of them with two devices; each learns for itself."""
    modules = {"a": Switch(), "b": Switch(), "c": Switch()}
    rig.fresh(chain(modules, ["a", "a", "c", "c"], [("a", "b"), ("b", "c")]))
    everywhere = frame(ALL, A)
    assert rig.always(0, everywhere) == others(0, everywhere)
    back = frame(A, B)
    assert rig.always(3, back) == {0: [back]}
    forth = frame(B, A)
    assert rig.always(0, forth) == {3: [forth]}
    assert rig.always(1, frame(B, C)) == {3: [frame(B, C)]}


def test_two_switches_know_nothing_of_each_other(rig: ChainRig) -> None:
    """The same address on both."""
    rig.fresh(chain({"a": Switch(), "b": Switch()}, ["a", "a", "b", "b"]))
    data, back = frame(ALL, A), frame(A, B)
    assert rig.always(0, data) == {1: [data]}
    assert rig.always(3, back) == {2: [back]}
    assert rig.always(1, back) == {0: [back]}


def test_switch_with_one_port_swallows_everything(rig: ChainRig) -> None:
    """There is nobody to send it to."""
    rig.fresh(chain({"sw": Switch()}, ["sw"]))
    assert rig.always(0, frame(ALL, A)) == {}


def test_address_behind_a_port_that_goes_is_forgotten(rig: ChainRig) -> None:
    """What was learned there is not sent to the port that takes its place."""
    rig.fresh(chain({"sw": Switch()}, ["sw", "sw", "sw:uplink"]))
    rig.send(2, frame(ALL, A))
    to_a = frame(A, B)
    assert rig.always(0, to_a) == {2: [to_a]}
    rig.apply(chain({"sw": Switch()}, ["sw", "sw", "sw:other"]))
    assert rig.always(0, to_a) == {1: [to_a], 2: [to_a]}


def test_change_elsewhere_keeps_what_is_learned(rig: ChainRig) -> None:
    """A port more, a module more."""
    rig.fresh(chain({"sw": Switch()}, ["sw", "sw", "sw"]))
    rig.send(1, frame(ALL, A))
    rig.apply(chain({"sw": Switch(), "new": Switch()}, ["sw", "sw", "sw", "new"]))
    to_a = frame(A, B)
    assert rig.always(0, to_a) == {1: [to_a]}


# -- ageing and bounds ---------------------------------------------------------------------------


def macs(rig: ChainRig) -> int:
    """Learned addresses of all switches."""
    return len(rig.machine.maps["fdb_entries"].keys())


def test_address_that_is_not_heard_of_ages(rig: ChainRig) -> None:
    """After the time that the module says; one that speaks stays, and so does it with no time."""
    rig.fresh(chain({"a": Switch(mac_age_s=60), "b": Switch(mac_age_s=0)}, ["a", "a", "b", "b"]))
    rig.send(0, frame(ALL, A))
    rig.send(2, frame(ALL, A))
    to_a = frame(A, B)
    now_ns = time.monotonic_ns()
    rig.chain._ageing.sweep(now_ns + 59 * 10**9)
    assert rig.send(1, to_a) == {0: [to_a]}
    rig.chain._ageing.sweep(now_ns + 70 * 10**9)
    assert macs(rig) == 1
    assert rig.send(3, to_a) == {2: [to_a]}


def numbered(number: int) -> str:
    """One of many MAC addresses."""
    return (0x0200_0100_0000 | number).to_bytes(6, "big").hex(":")


def test_switch_learns_no_more_than_it_may(rig: ChainRig) -> None:
    """What it has not learned is flooded; who is known moves all the same."""
    rig.fresh(chain({"a": Switch(max_macs=4), "b": Switch()}, ["a", "a", "a", "b"]))
    for number in range(8):
        rig.send(0, frame(ALL, numbered(number)))
    assert macs(rig) == 4
    assert report(rig.chain)["switches"] == [
        {"module": "a", "learned": 4, "limit": 4, "refused": 4},
        {"module": "b", "learned": 0, "limit": 8192, "refused": 0},
    ]
    for number in range(8):
        to_it = frame(numbered(number), ALL.replace("ff", "02"))
        known = {0: [to_it]}
        assert rig.send(1, to_it) == (known if number < 4 else known | {2: [to_it]})
    rig.send(2, frame(ALL, numbered(0)))
    moved = frame(numbered(0), numbered(6))
    assert rig.send(1, moved) == {2: [moved]}


def test_flood_of_addresses_does_not_reach_another_switch(rig: ChainRig) -> None:
    """It neither pushes out what the other knows nor keeps it from learning."""
    rig.fresh(chain({"a": Switch(max_macs=4), "b": Switch()}, ["a", "a", "b", "b"]))
    rig.send(2, frame(ALL, A))
    for number in range(50):
        rig.send(0, frame(ALL, numbered(number)))
    rig.send(3, frame(ALL, B))
    to_a, to_b = frame(A, B), frame(B, A)
    assert rig.send(3, to_a) == {2: [to_a]}
    assert rig.send(2, to_b) == {3: [to_b]}


def test_room_comes_back(rig: ChainRig) -> None:
    """By ageing, and with the port behind which the addresses were."""
    rig.fresh(chain({"a": Switch(max_macs=4, mac_age_s=60)}, ["a", "a", "a"]))
    for number in range(8):
        rig.send(0, frame(ALL, numbered(number)))
    rig.chain._ageing.sweep(time.monotonic_ns() + 61 * 10**9)
    assert macs(rig) == 0
    for number in range(8):
        rig.send(1, frame(ALL, numbered(number)))
    assert macs(rig) == 4
    rig.apply(chain({"a": Switch(max_macs=4, mac_age_s=60)}, ["a", "a:other", "a"]))
    assert macs(rig) == 0
    for number in range(8):
        rig.send(2, frame(ALL, numbered(number)))
    assert macs(rig) == 4


def test_limit_follows_its_setting(rig: ChainRig) -> None:
    """A change keeps what is learned, and a new chain begins with nothing."""
    rig.fresh(chain({"a": Switch(max_macs=2)}, ["a", "a"]))
    for number in range(8):
        rig.send(0, frame(ALL, numbered(number)))
    rig.apply(chain({"a": Switch(max_macs=6)}, ["a", "a"]))
    assert macs(rig) == 2
    for number in range(8):
        rig.send(0, frame(ALL, numbered(number)))
    assert macs(rig) == 6
    rig.apply(chain({"a": Switch(max_macs=3)}, ["a", "a"]))
    assert macs(rig) == 6
    rig.fresh(chain({"b": Switch(max_macs=3)}, ["b", "b"]))
    for number in range(8):
        rig.send(0, frame(ALL, numbered(number)))
    assert macs(rig) == 3

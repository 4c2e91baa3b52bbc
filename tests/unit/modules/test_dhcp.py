# SPDX-License-Identifier: Apache-2.0
"""Which packets the DHCP module answers; what clients make of the answers, system tests show."""

from ipaddress import IPv4Address, IPv4Interface

import pytest

from iovisor_ovn.config.topology import Dhcp
from iovisor_ovn.language import (
    Packet,
    SymbolTable,
    annotate,
    evaluate,
    parse_actions,
    parse_match,
)
from iovisor_ovn.modules.dhcp import emit_dhcp

SYMBOLS = SymbolTable.default()
SERVER, SERVER_MAC = IPv4Address("10.0.0.1"), 0x0200000000FE
DHCP = Dhcp(
    IPv4Interface("10.0.0.1/24"), "02:00:00:00:00:fe", IPv4Address("10.0.0.10"),
    IPv4Address("10.0.0.20"),
)  # fmt: skip
EMISSION = emit_dhcp("Server", DHCP, 7)
EVERYBODY_MAC, EVERYBODY = 0xFFFFFFFFFFFF, 0xFFFFFFFF

DISCOVER: Packet = {
    "eth.src": 0x020000000001, "eth.dst": EVERYBODY_MAC, "eth.type": 0x800, "ip.proto": 17,
    "ip4.dst": EVERYBODY, "udp.src": 68, "udp.dst": 67,
}  # fmt: skip
RENEWAL: Packet = {
    **DISCOVER, "eth.dst": SERVER_MAC, "ip4.src": 0x0A00000A, "ip4.dst": int(SERVER),
}  # fmt: skip
ARP: Packet = {
    "eth.src": 0x020000000001, "eth.dst": EVERYBODY_MAC, "eth.type": 0x806, "arp.op": 1,
    "arp.tpa": int(SERVER),
}  # fmt: skip
ECHO: Packet = {
    **RENEWAL, "ip.proto": 1, "icmp4.type": 8, "icmp4.code": 0, "udp.src": 0, "udp.dst": 0,
}  # fmt: skip


def fate(packet: Packet) -> str:
    """The actions that end a packet's way through the ingress pipeline."""
    for table in (0, 1):
        met = [
            flow
            for flow in EMISSION.flows
            if not flow.egress
            and flow.table == table
            and evaluate(annotate(parse_match(flow.match, SYMBOLS), SYMBOLS), packet)
        ]
        best = max(met, key=lambda flow: flow.priority, default=None)
        if best is None:
            return "nothing"
        if best.actions != "next;":
            return best.actions
    raise AssertionError("the pipeline has two tables")


@pytest.mark.parametrize("packet", [DISCOVER, RENEWAL, {**RENEWAL, "udp.src": 67}])
def test_messages_are_for_the_server(packet: Packet) -> None:
    """Broadcast, to its address, and from relays; its own pool answers."""
    assert fate(packet).startswith("dhcp_server(pool = 7) {")


def test_who_asks_for_the_server_finds_it() -> None:
    """ARP and echo requests are answered with its addresses."""
    assert "arp.op = 2; " in fate(ARP)
    assert "arp.sha = 02:00:00:00:00:fe; " in fate(ARP)
    assert "icmp4.type = 0; " in fate(ECHO)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param({**ARP, "arp.tpa": 0x0A000002}, id="ARP for another"),
        pytest.param({**ARP, "arp.op": 2}, id="ARP reply"),
        pytest.param({**ECHO, "ip4.dst": 0x0A000002}, id="echo for another"),
        pytest.param({**ECHO, "icmp4.type": 0}, id="echo reply"),
        pytest.param({**ECHO, "ip.frag": 3}, id="later fragment"),
        pytest.param({**RENEWAL, "ip4.dst": 0x0A000002}, id="message for another"),
        pytest.param({**RENEWAL, "eth.dst": 0x020000000002}, id="frame for another"),
        pytest.param({**DISCOVER, "udp.dst": 68}, id="reply of a server"),
        pytest.param({**DISCOVER, "vlan.tci": 0x1007}, id="tagged"),
        pytest.param({**DISCOVER, "eth.src": 0x010000000001}, id="from a group"),
        pytest.param({**DISCOVER, "eth.type": 0x86DD}, id="IPv6"),
    ],
)
def test_nothing_else_gets_an_answer(packet: Packet) -> None:
    """It is dropped, most of it counted."""
    assert fate(packet) in {"drop;", 'count("Server:not for the server");', "nothing"}


def test_all_flows_are_read() -> None:
    """With our own verbs."""
    for flow in EMISSION.flows:
        pipeline = "egress" if flow.egress else "ingress"
        parse_match(flow.match, SYMBOLS)
        parse_actions(
            flow.actions, SYMBOLS, pipeline=pipeline, table=flow.table, n_tables=(9, 9),
            extensions=True,
        )  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""What the DHCP server says to each message, and where it says it (RFC 2131, section 4)."""

from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from dhcp_rig import EVERYBODY, NOBODY, SERVER_IP, SERVER_MAC, Answer, Client, serve, settings
from iovisor_ovn.abi import DhcpState, Drop, Word
from iovisor_ovn.demo import until
from machine_rig import REDIRECT, Rig

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

ONE, OTHER = Client(1), Client(2)
RELAY_IP, RELAY_MAC = "10.77.0.1", "02:00:00:00:77:01"
FOREIGN = "192.0.2.5"
TCI_PRESENT = 0x1000


def way(answer: Answer) -> tuple[str, str, int]:
    """Ethernet and IP address, and the UDP port, to which a reply goes; whence it comes."""
    frame = answer.frame
    assert frame is not None, answer.drops
    assert (frame.src, frame[IP].src, frame[UDP].sport) == (SERVER_MAC, SERVER_IP, 67)
    return frame.dst, frame[IP].dst, frame[UDP].dport


def checked(answer: Answer) -> None:
    """Both checksums are what Scapy computes."""
    assert answer.frame is not None
    anew = answer.frame.copy()
    del anew[IP].chksum, anew[UDP].chksum
    assert bytes(anew) == bytes(answer.frame)


# -- DISCOVER ----------------------------------------------------------------------------


def test_an_offer_is_this_frame(rig: Rig) -> None:
    """Every byte of it."""
    server = serve(
        rig,
        settings(
            router=IPv4Address("10.9.0.254"), dns=(IPv4Address("9.9.9.9"), IPv4Address("8.8.8.8")),
            domain_name="example.org", mtu=1400, lease_s=1001,
        ),
    )  # fmt: skip
    expected = (
        Ether(dst=ONE.mac, src=SERVER_MAC)
        / IP(src=SERVER_IP, dst="10.9.0.10", id=0, flags="DF", ttl=64)
        / UDP(sport=67, dport=68)
        / BOOTP(op=2, xid=0x1001, yiaddr="10.9.0.10", chaddr=ONE.raw_mac)
        / DHCP(
            options=[
                ("message-type", "offer"), ("server_id", SERVER_IP), ("lease_time", 1001),
                ("renewal_time", 500), ("rebinding_time", 875), ("subnet_mask", "255.255.255.0"),
                ("router", "10.9.0.254"), ("name_server", "9.9.9.9", "8.8.8.8"),
                ("domain", b"example.org"), ("interface-mtu", 1400),
                ("broadcast_address", "10.9.0.255"), "end", "pad", "pad", "pad",
            ]
        )
    )  # fmt: skip
    frame = bytes(server.run(ONE.discover()).frame)
    assert frame == bytes(expected)


def test_a_short_reply_is_padded_to_the_size_of_bootp(rig: Rig) -> None:
    """Relays and clients of old drop what is shorter than 300 bytes."""
    answer = serve(rig).ask(ONE.discover())
    assert answer.frame is not None
    assert answer.frame[UDP].len == 8 + 300
    checked(answer)


def test_an_offer_keeps_the_address_for_its_client(rig: Rig) -> None:
    """Nobody else gets it, and who asks again hears the same."""
    server = serve(rig)
    offered = server.ask(ONE.discover())
    assert (offered.kind, offered.ip) == ("offer", "10.9.0.10")
    assert server.ask(OTHER.discover()).ip == "10.9.0.11"
    assert server.ask(ONE.discover()).ip == "10.9.0.10"


def test_an_offer_that_nobody_takes_up_lapses(rig: Rig) -> None:
    """After its time the address is free for others."""
    server = serve(rig, settings(10, 10, offer_s=1))
    assert server.ask(ONE.discover()).ip == "10.9.0.10"
    assert server.ask(OTHER.discover()).kind == "DHCP_EXHAUSTED"
    until(lambda: server.ask(OTHER.discover()).kind == "offer", "the address is free")


def test_a_free_address_that_is_asked_for_is_offered(rig: Rig) -> None:
    """Option 50 in a DISCOVER is a wish."""
    server = serve(rig)
    assert server.ask(ONE.discover(("requested_addr", "10.9.0.15"))).ip == "10.9.0.15"
    assert server.ask(OTHER.discover(("requested_addr", "10.9.0.15"))).ip == "10.9.0.10"
    for wish in ("10.9.0.200", FOREIGN, SERVER_IP, "10.9.0.255"):
        assert server.ask(Client(3).discover(("requested_addr", wish))).ip == "10.9.0.11"


def test_whoever_has_a_lease_is_offered_it_again_and_keeps_it(rig: Rig) -> None:
    """Also if something else is asked for; the lease is not shortened to the offer's time."""
    server = serve(rig)
    ip = server.lease(ONE)
    assert server.ask(ONE.discover(("requested_addr", "10.9.0.17"))).ip == ip
    (lease,) = server.servers.leases(server.pool)
    assert lease.state is DhcpState.BOUND
    assert lease.expires_s > 3500


# -- REQUEST, SELECTING ------------------------------------------------------------------


def test_the_address_that_was_offered_is_acknowledged(rig: Rig) -> None:
    """With the options of the offer; the lease is in force."""
    server = serve(rig)
    offer = server.ask(ONE.discover())
    ack = server.ask(ONE.select(offer.ip))
    assert (ack.kind, ack.ip) == ("ack", offer.ip)
    for name in ("server_id", "lease_time", "renewal_time", "rebinding_time", "subnet_mask"):
        assert ack.option(name) == offer.option(name)
    (lease,) = server.servers.leases(server.pool)
    assert (str(lease.ip), lease.mac, lease.client_id) == (offer.ip, ONE.mac, None)
    assert lease.state is DhcpState.BOUND
    assert 3590 < lease.expires_s <= 3600


def test_who_chooses_another_server_gives_the_offer_back(rig: Rig) -> None:
    """Nothing is said; the address is free at once."""
    server = serve(rig, settings(10, 10))
    server.ask(ONE.discover())
    assert server.ask(ONE.select("10.9.0.10", server="10.9.0.99")).kind == "DHCP_SILENT"
    assert server.ask(OTHER.discover()).kind == "offer"


def test_choosing_another_server_ends_no_lease(rig: Rig) -> None:
    """What is in force only its client's RELEASE ends."""
    server = serve(rig, settings(10, 10))
    server.lease(ONE)
    server.ask(ONE.select("10.9.0.10", server="10.9.0.99"))
    assert server.ask(OTHER.discover()).kind == "DHCP_EXHAUSTED"


@pytest.mark.parametrize("ip", ["10.9.0.200", "10.9.0.255", SERVER_IP, FOREIGN])
def test_an_address_that_nobody_offered_is_refused(rig: Rig, ip: str) -> None:
    """A client that chose this server must hear no."""
    assert serve(rig).ask(ONE.select(ip)).kind == "nak"


def test_the_address_of_another_is_refused(rig: Rig) -> None:
    """Whether it is leased or offered."""
    server = serve(rig)
    leased = server.lease(ONE)
    offered = server.ask(Client(3).discover()).ip
    assert server.ask(OTHER.select(leased)).kind == "nak"
    assert server.ask(OTHER.select(offered)).kind == "nak"
    assert server.ask(ONE.renew(leased)).kind == "ack"


# -- REQUEST, INIT-REBOOT ----------------------------------------------------------------


def test_a_client_that_boots_keeps_its_address(rig: Rig) -> None:
    """It asks for the address it remembers, and has it."""
    server = serve(rig)
    ip = server.lease(ONE)
    again = server.ask(ONE.reboot(ip))
    assert (again.kind, again.ip) == ("ack", ip)


def test_a_client_that_boots_in_another_network_hears_so(rig: Rig) -> None:
    """Whether or not it is known: nobody else could say it."""
    assert serve(rig).ask(ONE.reboot(FOREIGN)).kind == "nak"


def test_a_client_that_boots_with_an_address_not_its_own_hears_so(rig: Rig) -> None:
    """It has another one here, or another client has this one."""
    server = serve(rig)
    ip = server.lease(ONE)
    assert server.ask(ONE.reboot("10.9.0.19")).kind == "nak"
    assert server.ask(OTHER.reboot(ip)).kind == "nak"


@pytest.mark.parametrize("ip", ["10.9.0.15", "10.9.0.200"])
def test_of_a_client_that_boots_and_is_unknown_nothing_is_said(rig: Rig, ip: str) -> None:
    """Another server in the same network may know it (RFC 2131, 4.3.2)."""
    assert serve(rig).ask(ONE.reboot(ip)).kind == "DHCP_SILENT"


# -- REQUEST, RENEWING and REBINDING -----------------------------------------------------


def test_a_lease_is_renewed(rig: Rig) -> None:
    """The reply goes to the client's address and names it; the time begins anew."""
    server = serve(rig, settings(lease_s=4))
    ip = server.lease(ONE)
    until(lambda: server.servers.leases(server.pool)[0].expires_s < 3.9, "time passes")
    renewed = server.ask(ONE.renew(ip))
    assert (renewed.kind, renewed.ip) == ("ack", ip)
    assert renewed.frame is not None
    assert renewed.frame[BOOTP].ciaddr == ip
    assert way(renewed) == (ONE.mac, ip, 68)
    assert server.servers.leases(server.pool)[0].expires_s > 3.9


def test_a_renewal_through_routers_goes_back_the_way_it_came(rig: Rig) -> None:
    """The Ethernet address is the router's, not the client's."""
    server = serve(rig)
    ip = server.lease(ONE)
    assert way(server.ask(ONE.renew(ip, eth_src=RELAY_MAC))) == (RELAY_MAC, ip, 68)


def test_a_lease_is_rebound(rig: Rig) -> None:
    """A broadcast without a server's name is answered to the client's address."""
    server = serve(rig)
    ip = server.lease(ONE)
    rebound = server.ask(ONE.rebind(ip))
    assert (rebound.kind, rebound.ip, way(rebound)) == ("ack", ip, (ONE.mac, ip, 68))


def test_an_address_in_use_of_which_nothing_is_known_is_granted(rig: Rig) -> None:
    """If the leases were lost, those who have an address keep it, and it is not given away."""
    server = serve(rig, settings(10, 11))
    assert server.ask(ONE.renew("10.9.0.10")).kind == "ack"
    assert server.ask(OTHER.discover(("requested_addr", "10.9.0.10"))).ip == "10.9.0.11"


def test_nobody_renews_what_another_has(rig: Rig) -> None:
    """The client must start afresh."""
    server = serve(rig)
    ip = server.lease(ONE)
    for frame in (OTHER.renew(ip), OTHER.rebind(ip)):
        refused = server.ask(frame)
        assert (refused.kind, refused.ip) == ("nak", NOBODY)
        assert way(refused) == ("ff:ff:ff:ff:ff:ff", EVERYBODY, 68)


def test_a_lease_that_the_settings_forbid_now_is_not_renewed(rig: Rig) -> None:
    """A pool that moved takes its clients along."""
    server = serve(rig)
    ip = server.lease(ONE)
    server.put(settings(30, 39))
    assert server.ask(ONE.renew(ip)).kind == "nak"
    assert server.ask(ONE.discover()).ip == "10.9.0.30"


def test_of_an_address_that_is_not_the_pools_nothing_is_said(rig: Rig) -> None:
    """A client of another server in the same network rebinds."""
    assert serve(rig).ask(ONE.rebind("10.9.0.200")).kind == "DHCP_SILENT"


# -- RELEASE, DECLINE, INFORM ------------------------------------------------------------


def test_a_released_address_is_free_at_once(rig: Rig) -> None:
    """The message gets no answer, and is no drop."""
    server = serve(rig, settings(10, 10))
    ip = server.lease(ONE)
    assert server.ask(ONE.release(ip)).kind == "nothing"
    assert server.ask(OTHER.discover()).ip == ip


def test_nobody_releases_what_another_has(rig: Rig) -> None:
    """Nor what is not there."""
    server = serve(rig, settings(10, 10))
    ip = server.lease(ONE)
    assert server.ask(OTHER.release(ip)).kind == "DHCP_SILENT"
    assert server.ask(OTHER.release("10.9.0.11")).kind == "DHCP_SILENT"
    assert server.ask(OTHER.discover()).kind == "DHCP_EXHAUSTED"


def test_a_message_for_another_server_changes_nothing(rig: Rig) -> None:
    """RELEASE and DECLINE name their server."""
    server = serve(rig, settings(10, 10))
    ip = server.lease(ONE)
    theirs = ("server_id", "10.9.0.99")
    for kind, asked in (("release", (theirs,)), ("decline", (theirs, ("requested_addr", ip)))):
        assert server.ask(ONE.message(kind, asked, ciaddr=ip)).kind == "DHCP_SILENT"
    assert server.ask(OTHER.discover()).kind == "DHCP_EXHAUSTED"


def test_a_declined_address_rests(rig: Rig) -> None:
    """Nobody gets it for a while, its client neither."""
    server = serve(rig, settings(10, 11, rest_s=1))
    ip = server.lease(ONE)
    assert server.ask(ONE.decline(ip)).kind == "nothing"
    (lease,) = server.servers.leases(server.pool)
    assert lease.state is DhcpState.DECLINED
    other = server.ask(ONE.discover(("requested_addr", ip))).ip
    assert other != ip
    assert server.ask(OTHER.discover()).kind == "DHCP_EXHAUSTED"
    until(lambda: server.ask(OTHER.discover()).kind == "offer", "it has rested")


def test_nobody_declines_what_another_has(rig: Rig) -> None:
    """Else one client could empty the pool of the others."""
    server = serve(rig)
    ip = server.lease(ONE)
    assert server.ask(OTHER.decline(ip)).kind == "DHCP_SILENT"
    assert server.ask(ONE.renew(ip)).kind == "ack"


def test_who_has_an_address_is_informed(rig: Rig) -> None:
    """Options but no address and no times, to where it has its address."""
    server = serve(rig, settings(dns=(IPv4Address("9.9.9.9"),)))
    frame = ONE.message("inform", source="10.9.0.200", ciaddr="10.9.0.200")
    informed = server.ask(frame)
    assert (informed.kind, informed.ip) == ("ack", NOBODY)
    assert way(informed) == (ONE.mac, "10.9.0.200", 68)
    assert informed.option("name_server") == "9.9.9.9"
    for name in ("lease_time", "renewal_time", "rebinding_time"):
        assert informed.option(name) is None
    assert server.servers.leases(server.pool) == []


def test_who_informs_without_its_address_is_answered_at_its_source(rig: Rig) -> None:
    """Some clients leave ciaddr out; without either there is nowhere to answer to."""
    server = serve(rig)
    assert way(server.ask(ONE.message("inform", source="10.9.0.200")))[1] == "10.9.0.200"
    assert server.ask(ONE.message("inform")).kind == "DHCP_MALFORMED"


# -- where replies go --------------------------------------------------------------------


def test_who_cannot_take_unicasts_gets_broadcasts(rig: Rig) -> None:
    """The flag says so, in offers and acknowledgements; it comes back."""
    server = serve(rig)
    offer = server.ask(ONE.discover(flags="B"))
    ack = server.ask(ONE.select(offer.ip, flags="B"))
    for answer in (offer, ack):
        assert way(answer) == ("ff:ff:ff:ff:ff:ff", EVERYBODY, 68)
        assert answer.frame is not None
        assert answer.frame[BOOTP].flags == "B"
        checked(answer)


def test_who_can_take_unicasts_gets_unicasts(rig: Rig) -> None:
    """To the address it does not have yet."""
    assert way(serve(rig).ask(ONE.discover())) == (ONE.mac, "10.9.0.10", 68)


def test_a_refusal_is_a_broadcast(rig: Rig) -> None:
    """The client may have no usable address; nothing but the refusal is in it."""
    refused = serve(rig).ask(ONE.select(FOREIGN))
    assert way(refused) == ("ff:ff:ff:ff:ff:ff", EVERYBODY, 68)
    assert refused.option("error_message") == b"not your address"
    assert refused.option("subnet_mask") is None
    checked(refused)


RELAYED: dict[str, Any] = {
    "giaddr": RELAY_IP, "source": RELAY_IP, "target": SERVER_IP, "eth_dst": SERVER_MAC,
    "eth_src": RELAY_MAC, "hops": 1,
}  # fmt: skip
CIRCUIT = b"\x01\x04port\x02\x06\x00\x11\x22\x33\x44\x55"


def test_a_relay_gets_the_replies_of_its_clients(rig: Rig) -> None:
    """At its own port 67, with its own option, which comes last and whole."""
    server = serve(rig)
    offer = server.ask(ONE.discover(("relay_agent_information", CIRCUIT), **RELAYED))
    ack = server.ask(ONE.select(offer.ip, ("relay_agent_information", CIRCUIT), **RELAYED))
    for kind, answer in (("offer", offer), ("ack", ack)):
        assert answer.kind == kind
        assert way(answer) == (RELAY_MAC, RELAY_IP, 67)
        assert answer.frame is not None
        assert answer.frame[BOOTP].giaddr == RELAY_IP
        assert bytes(answer.frame).rstrip(b"\0").endswith(b"\x52\x0e" + CIRCUIT + b"\xff")
        checked(answer)


def test_a_relay_shall_broadcast_a_refusal(rig: Rig) -> None:
    """The server sets the flag for it (RFC 2131, 4.3.2)."""
    refused = serve(rig).ask(ONE.select(FOREIGN, **RELAYED))
    assert (refused.kind, way(refused)) == ("nak", (RELAY_MAC, RELAY_IP, 67))
    assert refused.frame is not None
    assert refused.frame[BOOTP].flags == "B"


def test_a_reply_has_the_tag_of_the_message(rig: Rig) -> None:
    """It goes back to where that came from."""
    frame = ONE.discover()
    inside = frame.payload
    frame.remove_payload()
    tagged = frame / Dot1Q(vlan=7) / inside
    out = serve(rig).run(tagged)
    assert out.verdict == REDIRECT
    assert out.words[Word.ETH_TYPE_TCI] & 0x1FFF == TCI_PRESENT | 7


# -- who is who --------------------------------------------------------------------------


def test_a_client_is_who_it_says_it_is(rig: Rig) -> None:
    """Two identifiers behind one MAC address are two clients, one behind two is one."""
    server = serve(rig)
    first, second = Client(1, b"\x00first"), Client(1, b"\x00second")
    assert server.lease(first) == "10.9.0.10"
    assert server.lease(second) == "10.9.0.11"
    assert server.lease(Client(9, b"\x00first")) == "10.9.0.10"
    assert server.lease(Client(1)) == "10.9.0.12"


@pytest.mark.parametrize("kind", ["offer", "ack", "nak"])
def test_the_identifier_comes_back(rig: Rig, kind: str) -> None:
    """RFC 6842: two clients behind one MAC address know whose reply it is."""
    client = Client(1, b"\x01\x02\x03 somebody")
    server = serve(rig)
    frame = {
        "offer": client.discover(), "ack": client.renew("10.9.0.12"), "nak": client.select(FOREIGN)
    }[kind]  # fmt: skip
    answer = server.ask(frame)
    assert (answer.kind, answer.option("client_id")) == (kind, client.client_id)


@pytest.mark.parametrize("size", [1, 58, 59, 60, 100, 255])
def test_identifiers_of_any_length_tell_clients_apart(rig: Rig, size: int) -> None:
    """Also by their last byte alone."""
    server = serve(rig)
    one, other = (Client(1, b"i" * (size - 1) + end) for end in (b"a", b"b"))
    assert server.lease(one) == "10.9.0.10"
    assert server.lease(other) == "10.9.0.11"
    assert server.lease(one) == "10.9.0.10"
    assert server.ask(one.discover()).option("client_id") == one.client_id


# -- times -------------------------------------------------------------------------------


def test_a_client_may_ask_for_a_shorter_lease(rig: Rig) -> None:
    """Not for a longer one."""
    server = serve(rig, settings(lease_s=100))
    assert server.ask(ONE.discover(("lease_time", 60))).option("lease_time") == 60
    assert server.ask(ONE.discover(("lease_time", 1000))).option("lease_time") == 100
    server.ask(ONE.select("10.9.0.10", ("lease_time", 60)))
    assert server.servers.leases(server.pool)[0].expires_s < 61


def test_a_lease_can_be_for_ever(rig: Rig) -> None:
    """Nothing is to be renewed then."""
    server = serve(rig, settings(lease_s=0xFFFFFFFF))
    server.lease(ONE)
    offer = server.ask(ONE.discover())
    for name in ("lease_time", "renewal_time", "rebinding_time"):
        assert offer.option(name) == 0xFFFFFFFF
    assert server.servers.leases(server.pool)[0].expires_s > 4e9


def test_a_server_without_settings_says_nothing(rig: Rig) -> None:
    """What it would have said is counted."""
    server = serve(rig)
    server.servers.remove(server.pool)
    answer = server.ask(ONE.discover())
    assert answer.drops == {Drop.DHCP_NO_POOL: 1}

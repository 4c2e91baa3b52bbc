# SPDX-License-Identifier: Apache-2.0
"""Addresses and their clients: the pool, time, races, and what the agent may do."""

import dataclasses
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv4Interface

import pytest

from dhcp_rig import SERVER_IP, Client, Server, serve, settings
from iovisor_ovn.abi import STRUCTS, DhcpState, Drop
from iovisor_ovn.dataplane.dhcp import DhcpServers, DhcpSettings, Lease
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.demo import until
from iovisor_ovn.errors import MapFullError
from machine_rig import Rig

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

ONE, OTHER, THIRD = Client(1), Client(2), Client(3)


def addresses(server: Server) -> dict[str, DhcpState]:
    """Addresses of which something is known."""
    return {str(lease.ip): lease.state for lease in server.servers.leases(server.pool)}


# -- the pool ----------------------------------------------------------------------------


def test_every_address_is_given_away_and_no_other(rig: Rig) -> None:
    """Then nothing is offered, and that is counted."""
    server = serve(rig)
    given = {server.lease(Client(n)) for n in range(10)}
    assert given == {f"10.9.0.{n}" for n in range(10, 20)}
    for _ in range(2):
        assert server.ask(Client(10).discover()).drops == {Drop.DHCP_EXHAUSTED: 1}
    assert server.ask(Client(4).discover()).kind == "offer"


def test_the_servers_and_the_routers_address_are_nobodys(rig: Rig) -> None:
    """Nor that of the network, nor its broadcast address, though the pool holds them."""
    given = settings(0, 255, router=IPv4Address("10.9.0.7"))
    server = serve(rig, given)
    taken = {server.ask(Client(n).discover()).ip for n in range(252)}
    assert server.ask(Client(999).discover()).kind == "DHCP_EXHAUSTED"
    left_out = {f"10.9.0.{n}" for n in range(256)} - taken
    assert left_out == {"10.9.0.0", "10.9.0.255", SERVER_IP, "10.9.0.7"}


def test_the_last_free_address_is_found_wherever_it_is(rig: Rig) -> None:
    """In a pool of several groups, before and behind the last one found."""
    server = serve(rig, settings(3, 250))
    given = {server.lease(Client(n)): n for n in range(248)}
    for ip in ("10.9.0.3", "10.9.0.250", "10.9.0.63", "10.9.0.64", "10.9.0.128"):
        assert server.ask(Client(500).discover()).kind == "DHCP_EXHAUSTED"
        server.ask(Client(given[ip]).release(ip))
        assert server.ask(Client(given[ip] + 1000).discover()).ip == ip
        server.ask(Client(given[ip] + 1000).select(ip))


def test_an_address_that_became_free_rests_as_long_as_possible(rig: Rig) -> None:
    """Others get those that nobody had; so a client that comes back finds its own."""
    server = serve(rig)
    ip = server.lease(ONE)
    server.ask(ONE.release(ip))
    assert [server.lease(Client(n)) for n in range(10, 19)] == [
        f"10.9.0.{n}" for n in range(11, 20)
    ]
    assert server.lease(ONE) == ip


def test_a_lease_that_ran_out_is_free(rig: Rig) -> None:
    """By time alone; until somebody has it, its client may come back to it."""
    server = serve(rig, settings(10, 11, lease_s=1))
    mine, others = server.lease(ONE), server.lease(OTHER)
    assert server.ask(THIRD.discover()).kind == "DHCP_EXHAUSTED"
    until(lambda: all(lease.expires_s < 0 for lease in server.servers.leases(server.pool)), "time")
    assert server.lease(OTHER) == others
    assert server.lease(THIRD) == mine
    assert server.ask(ONE.renew(mine)).kind == "nak"


def test_a_full_pool_is_searched_again_when_a_lease_has_run_out(rig: Rig) -> None:
    """What a search found out about full groups holds until then and no longer."""
    server = serve(rig, settings(3, 250, lease_s=1000))
    for n in range(247):
        server.lease(Client(n))
    brief = ("lease_time", 1)
    ip = server.ask(Client(247).discover()).ip
    assert server.ask(Client(247).select(ip, brief)).option("lease_time") == 1
    assert server.ask(Client(500).discover()).kind == "DHCP_EXHAUSTED"
    until(lambda: server.ask(Client(500).discover()).kind == "offer", "a lease has run out")


def test_a_lease_that_was_shortened_ends_in_time(rig: Rig) -> None:
    """Though a search has found that nothing would become free for long."""
    server = serve(rig, settings(3, 250, lease_s=1000))
    given = [server.lease(Client(n)) for n in range(248)]
    assert server.ask(Client(500).discover()).kind == "DHCP_EXHAUSTED"
    assert server.ask(Client(200).select(given[200], ("lease_time", 1))).kind == "ack"
    assert server.ask(Client(500).discover()).kind == "DHCP_EXHAUSTED"
    until(lambda: server.ask(Client(500).discover()).kind == "offer", "a lease has run out")


WIDE = DhcpSettings(
    server=IPv4Interface(f"{SERVER_IP}/16"), server_mac="02:00:00:00:00:fe",
    first=IPv4Address("10.9.0.0"), last=IPv4Address("10.9.255.255"),
)  # fmt: skip
#: Addresses and hints that one message may look at.
_MAX_PROBES = 2048
_TORN = 9


def test_the_last_free_address_of_65536_is_found(rig: Rig) -> None:
    """The first search takes several messages, which find out what is full; later ones take one."""
    server = serve(rig, WIDE)
    free = ["10.9.200.7", "10.9.3.9"]
    nobodys = {"10.9.0.0", "10.9.0.1", "10.9.255.255"}
    leases = [
        Lease(server.pool, ip, Client(n).mac, None, DhcpState.BOUND, 3600)
        for n, ip in enumerate(WIDE.server.network)
        if str(ip) not in {*free, *nobodys}
    ]
    assert server.servers.restore(leases) == 65531
    strangers = [Client(1 << 20 | n) for n in range(65536 // _MAX_PROBES + 3)]
    asked = [server.ask(stranger.discover()) for stranger in strangers]
    assert {answer.ip for answer in asked if answer.kind == "offer"} == set(free)
    assert server.ask(Client(1 << 21).discover()).kind == "DHCP_EXHAUSTED"
    last = leases[40000]
    holder = Client(int(last.mac[6:].replace(":", ""), 16))
    assert server.ask(holder.release(str(last.ip))).kind == "nothing"
    assert server.ask(Client(1 << 21).discover()).ip == str(last.ip)
    server.forget()


# -- two at once -------------------------------------------------------------------------


def both(server: Server, clients: list[list[Client]]) -> list[list[str]]:
    """Let two CPUs ask for addresses at the same time, each for its clients one after another."""
    given: list[list[str]] = [[], []]
    start = threading.Barrier(2)

    def ask(number: int, cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        frames = [bytes(client.discover()) for client in clients[number]]
        start.wait(10)
        given[number] += [server.quick(frame) for frame in frames]

    at_once([partial(ask, number, cpu) for number, cpu in enumerate(two_cpus())])
    return given


def at_once(tasks: list[Callable[[], None]]) -> None:
    """Run tasks in threads to their ends."""
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def two_cpus() -> list[int]:
    """Two of those that this process may use."""
    cpus = sorted(os.sched_getaffinity(os.getppid()))[:2]
    if len(cpus) < 2:
        pytest.skip("a race needs two CPUs")
    return cpus


def test_two_cpus_never_give_one_address_to_two_clients(rig: Rig) -> None:
    """Whichever comes first to each address has it; none is lost."""
    server = serve(rig, settings(3, 202))
    given = both(server, [[Client(n) for n in range(100)], [Client(n) for n in range(100, 200)]])
    assert sorted(map(IPv4Address, given[0] + given[1])) == [
        IPv4Address(f"10.9.0.{n}") for n in range(3, 203)
    ]


def test_one_address_and_two_cpus(rig: Rig) -> None:
    """Again and again: one has it, and the other hears nothing."""
    for _ in range(100):
        server = serve(rig, settings(10, 10))
        given = both(server, [[ONE], [OTHER]])
        assert sorted(given) == [[""], ["10.9.0.10"]]


def test_what_two_cpus_write_to_one_entry_is_of_one_of_them(rig: Rig) -> None:
    """Offers that lapse at once let both write all the time: no entry has parts of two clients."""
    server = serve(rig, settings(10, 10, offer_s=0))
    clients = [Client(1, b"a" * 59), Client(2, b"b" * 59)]
    server.ask(clients[0].discover())
    key = STRUCTS["dhcp_addr"].pack(pool=server.pool, ip=int(IPv4Address("10.9.0.10")))
    leases = rig.machine.maps["dhcp_leases"]
    id_at = 8 + STRUCTS["dhcp_lease"].offset_of("id")
    names = {client.client_id for client in clients}
    fork = multiprocessing.get_context("fork")

    def hammer(cpu: int, client: Client) -> None:
        os.sched_setaffinity(0, {cpu})
        again = server.repeater(bytes(client.discover()))
        for _ in range(30000):
            again()
            value = leases.lookup_locked(key)
            assert value is not None
            if value[id_at : id_at + 59] not in names:
                os._exit(_TORN)
        os._exit(0)

    pairs = zip(two_cpus(), clients, strict=True)
    processes = [fork.Process(target=hammer, args=pair) for pair in pairs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0], f"{_TORN}: parts of both"


# -- reservations ------------------------------------------------------------------------

RESERVED = settings(10, 12, reservations={ONE.mac: IPv4Address("10.9.0.11")})


def test_a_reserved_address_is_its_hosts_alone(rig: Rig) -> None:
    """In the pool it is passed over for others, whatever they ask for."""
    server = serve(rig, RESERVED)
    assert server.ask(OTHER.discover(("requested_addr", "10.9.0.11"))).ip == "10.9.0.10"
    assert server.lease(THIRD) == "10.9.0.12"
    assert server.ask(Client(4).discover()).kind == "DHCP_EXHAUSTED"
    assert server.ask(Client(4).select("10.9.0.11")).kind == "nak"
    assert server.lease(ONE) == "10.9.0.11"


def test_a_reservation_is_for_a_mac_address_whatever_runs_there(rig: Rig) -> None:
    """Boot firmware and system call themselves differently."""
    server = serve(rig, RESERVED)
    assert server.lease(Client(1, b"\0firmware")) == "10.9.0.11"
    assert server.lease(Client(1, b"\0system")) == "10.9.0.11"
    assert server.ask(Client(1, b"\0system").discover()).option("client_id") == b"\0system"


def test_a_reservation_may_lie_outside_of_the_pool(rig: Rig) -> None:
    """It is in the network."""
    server = serve(rig, settings(10, 12, reservations={ONE.mac: IPv4Address("10.9.0.99")}))
    assert server.lease(ONE) == "10.9.0.99"
    assert server.ask(ONE.renew("10.9.0.99")).kind == "ack"


def test_a_client_moves_to_a_reservation_that_came_later(rig: Rig) -> None:
    """At its next renewal; unless somebody else is still there."""
    server = serve(rig)
    ip = server.lease(ONE)
    there = server.lease(OTHER)
    server.put(settings(reservations={ONE.mac: IPv4Address(there)}))
    assert server.ask(ONE.renew(ip)).kind == "ack"
    assert server.ask(OTHER.renew(there)).kind == "nak"
    server.ask(OTHER.release(there))
    assert server.ask(ONE.renew(ip)).kind == "nak"
    assert server.lease(ONE) == there
    server.put(settings())
    assert server.ask(OTHER.discover(("requested_addr", "10.9.0.15"))).ip == "10.9.0.15"


def test_too_many_reservations_change_nothing(rig: Rig) -> None:
    """The settings before stay in force, those of other servers too."""
    server = serve(rig, RESERVED)
    many = {f"02:dd:00:00:{n >> 8:02x}:{n & 255:02x}": IPv4Address(n) for n in range(20000)}
    with pytest.raises(MapFullError, match="dhcp_"):
        server.put(settings(50, 60, reservations=many))
    assert server.ask(OTHER.discover(("requested_addr", "10.9.0.11"))).ip == "10.9.0.10"
    assert server.lease(ONE) == "10.9.0.11"
    other = serve(rig, settings(50, 60, reservations={ONE.mac: IPv4Address("10.9.0.99")}))
    assert other.lease(ONE) == "10.9.0.99"


# -- the agent's hand --------------------------------------------------------------------


def test_leases_are_what_clients_were_told(rig: Rig) -> None:
    """With client, state and time."""
    server = serve(rig, settings(lease_s=500))
    named = Client(7, b"\0seven")
    ip = server.lease(named)
    offered = server.ask(ONE.discover()).ip
    found = {str(lease.ip): lease for lease in server.servers.leases(server.pool)}
    assert found.keys() == {ip, offered}
    assert (found[ip].mac, found[ip].client_id) == (named.mac, b"\0seven")
    assert (found[ip].state, found[offered].state) == (DhcpState.BOUND, DhcpState.OFFERED)
    assert 499 < found[ip].expires_s <= 500
    assert 29 < found[offered].expires_s <= 30
    assert {lease.pool for lease in server.servers.leases()} >= {server.pool}


def test_a_deleted_lease_is_free_at_once(rig: Rig) -> None:
    """A search that found the pool full does not hide it."""
    server = serve(rig, settings(3, 250))
    given = [server.lease(Client(n)) for n in range(248)]
    assert server.ask(Client(500).discover()).kind == "DHCP_EXHAUSTED"
    assert server.servers.delete(server.pool, IPv4Address(given[100]))
    assert server.ask(Client(500).discover()).ip == given[100]
    assert not server.servers.delete(server.pool, IPv4Address("10.9.0.251"))


def test_leases_live_through_a_reboot(rig: Rig) -> None:
    """Saved, lost and put back, they are what they were, to the second and the last client."""
    server = serve(rig, settings(10, 16, lease_s=500))
    clients = [ONE, Client(2, b"\0two"), Client(3, b"x" * 200), Client(4), Client(5)]
    given = [server.lease(client) for client in clients]
    server.ask(clients[3].release(given[3]))
    server.ask(clients[4].decline(given[4]))
    saved = server.servers.leases(server.pool)
    server.forget()
    rig.machine.maps["dhcp_clients"].clear()
    assert server.servers.leases(server.pool) == []
    assert server.servers.restore(saved) == 5
    assert server.servers.restore(saved) == 0
    after = {lease.ip: lease for lease in server.servers.leases(server.pool)}
    for lease in saved:
        again = after[lease.ip]
        assert dataclasses.replace(again, expires_s=lease.expires_s) == lease
        assert abs(again.expires_s - lease.expires_s) < 30
    for client, ip in zip(clients[:4], given, strict=False):
        assert server.ask(client.discover()).ip == ip
    assert server.ask(OTHER.discover(("requested_addr", given[4]))).ip not in given


def test_what_the_kernel_gave_away_meanwhile_is_not_overwritten(rig: Rig) -> None:
    """It is newer than what was saved."""
    server = serve(rig, settings(10, 10))
    server.lease(ONE)
    stale = Lease(server.pool, IPv4Address("10.9.0.10"), OTHER.mac, None, DhcpState.BOUND, 100)
    assert server.servers.restore([stale]) == 0
    assert server.ask(ONE.renew("10.9.0.10")).kind == "ack"


def test_leases_of_a_server_that_is_gone_are_forgotten(rig: Rig) -> None:
    """Not at once, since a packet may still be on its way; those of others stay."""
    now = [time.clock_gettime_ns(time.CLOCK_BOOTTIME)]
    servers = DhcpServers(rig.machine.maps, clock=lambda: now[0])
    gone = Server(rig, servers, settings())
    gone.lease(ONE)
    stays = Server(rig, servers, settings())
    stays.lease(ONE)
    servers.remove(gone.pool)
    assert servers.sweep() == 0
    now[0] += 2 * 10**9
    assert servers.sweep() >= 1  # those of earlier tests, too
    assert addresses(gone) == {}
    assert addresses(stays) == {"10.9.0.10": DhcpState.BOUND}


def test_a_lease_that_is_over_and_not_allowed_is_forgotten(rig: Rig) -> None:
    """One that is in force stays, and so does what its client may come back to."""
    now = [time.clock_gettime_ns(time.CLOCK_BOOTTIME)]
    servers = DhcpServers(rig.machine.maps, clock=lambda: now[0])
    server = Server(rig, servers, settings(10, 12))
    given = [server.lease(client) for client in (ONE, OTHER, THIRD)]
    server.ask(ONE.release(given[0]))
    server.ask(THIRD.release(given[2]))
    server.put(settings(12, 19))
    now[0] += 2 * 10**9
    servers.sweep()
    assert addresses(server) == {given[1]: DhcpState.BOUND, given[2]: DhcpState.FREE}


def test_leases_outlive_the_agent(rig: Rig) -> None:
    """The next load of the machine finds them."""
    server = serve(rig)
    server.lease(ONE)
    following = Machine.load(rig.machine._pin_dir)
    try:
        assert {"dhcp_leases", "dhcp_clients"} <= following.adopted
        (lease,) = DhcpServers(following.maps).leases(server.pool)
        assert (lease.mac, str(lease.ip)) == (ONE.mac, "10.9.0.10")
    finally:
        following.close()


# -- what leads from a client to its address ---------------------------------------------


def clients_of(rig: Rig, server: Server) -> int:
    """How many clients of a pool are known."""
    pool = server.pool.to_bytes(4, "little")
    known = rig.machine.maps["dhcp_clients"].keys()
    return sum(key[:4] == pool for key in known)


def test_no_more_clients_are_known_than_addresses(rig: Rig) -> None:
    """Whatever a flood of strangers asks for, and whoever declines, releases, or is deleted."""
    server = serve(rig, settings(10, 13, offer_s=0, rest_s=0))
    for n in range(40):
        assert server.ask(Client(n, b"c%d" % n).discover()).kind == "offer"
        assert clients_of(rig, server) == min(n + 1, 4)
    ip = server.lease(ONE)
    server.ask(ONE.decline(ip))
    assert clients_of(rig, server) == 3
    for client in (ONE, OTHER, THIRD, Client(4)):
        given = server.lease(client)
        assert clients_of(rig, server) <= 4
    assert server.servers.delete(server.pool, IPv4Address(given))
    assert clients_of(rig, server) == 3


def test_a_client_that_moved_keeps_what_leads_to_its_address(rig: Rig) -> None:
    """When somebody gets the one that it had before, or the agent forgets that or deletes it."""
    now = [time.clock_gettime_ns(time.CLOCK_BOOTTIME)]
    servers = DhcpServers(rig.machine.maps, clock=lambda: now[0])
    for last in ("taken", "swept", "deleted"):
        server = Server(rig, servers, settings())
        first = server.lease(ONE)
        server.ask(ONE.release(first))
        assert server.ask(ONE.select("10.9.0.15")).kind == "ack"
        if last == "taken":
            assert server.ask(OTHER.discover(("requested_addr", first))).ip == first
        elif last == "swept":
            server.put(settings(11, 19))
            now[0] += 2 * 10**9
            assert servers.sweep() >= 1
        else:
            assert servers.delete(server.pool, IPv4Address(first))
        assert server.ask(ONE.discover()).ip == "10.9.0.15"

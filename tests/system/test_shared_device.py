# SPDX-License-Identifier: Apache-2.0
"""A device that the host keeps using (``host: true``): its wire, the host, and a machine.

``host`` is the chain's own namespace by its ``eth0``, ``wire`` a neighbour on the other end of that
cable, ``vm`` a machine at another port of the switch.
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from iovisor_ovn.demo import until
from iovisor_ovn.demo.places import sweep
from support.chain import ChainHost
from support.fixtures import run_name
from support.flows import PingStream, reaches, serve, transfer
from support.hypervisor import Vm
from support.packets import Wire, datagram, payload_is
from support.refuse import Refusal, refusing

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_bpf]

SHARED = """
modules:
  - {name: sw, type: switch}
external_interfaces:
  - {module: sw, iface: eth0, host: true}
  - {module: sw, iface: vm}
"""
ALONE = """
modules:
  - {name: sw, type: switch}
external_interfaces:
  - {module: sw, iface: vm}
"""
NAMES = ("host", "wire", "vm")
PAIRS = list(itertools.permutations(NAMES, 2))
NEW_MAC = "02:00:00:00:09:99"
LLDP = "01:80:c2:00:00:0e"
_SIZE = 8 << 20
_PROG_QUERY, _LINK_CREATE = 16, 28  # enum bpf_cmd
_WITHOUT_TCX = refusing(
    Refusal("bpf", "EINVAL", _PROG_QUERY), Refusal("bpf", "EINVAL", _LINK_CREATE)
)
_PASS, _DROP = 0, 2  # what a user's program says

pairs = pytest.mark.parametrize("pair", PAIRS, ids=["-".join(pair) for pair in PAIRS])
versions = pytest.mark.parametrize("version", [4, 6])


@contextmanager
def _lab(place: Path) -> Iterator[ChainHost]:
    directory = place / run_name("lab")
    made = ChainHost(directory, "chain")
    try:
        made.add("wire", "eth0", number=2, host=1)
        made.add("vm", "vm", number=3)
        yield made
    finally:
        made.close()
        sweep(directory)


@pytest.fixture
def lab(module_directory: Path) -> Iterator[ChainHost]:
    """Return the three, with no chain yet."""
    with _lab(module_directory) as made:
        yield made


@pytest.fixture
def fresh_chain(lab: ChainHost) -> ChainHost:
    """Return the three with the chain in force, in which nothing has happened."""
    lab.up(SHARED)
    return lab


@pytest.fixture(scope="module")
def chain(module_directory: Path) -> Iterator[ChainHost]:
    """Return the three with the chain in force; tests leave them as they were."""
    with _lab(module_directory) as made:
        made.up(SHARED)
        yield made


def _address(vm: Vm, version: int) -> str:
    return vm.ip4 if version == 4 else vm.ip6


def _unanswered(chain: ChainHost, *names: str) -> list[str]:
    """Return who does not reach whom."""
    return [
        f"{one} to {_address(chain.vms[other], version)}"
        for one, other in itertools.permutations(names or NAMES, 2)
        for version in (4, 6)
        if not chain.vms[one].ping(_address(chain.vms[other], version), count=2).received
    ]


def _flush(chain: ChainHost, wires: dict[str, Wire]) -> None:
    """Return when all that is under way has arrived."""
    for number, (one, other) in enumerate(PAIRS):
        mark = f"mark {number}".encode()
        sender, receiver = chain.vms[one], chain.vms[other]
        wires[one].send(datagram(sender.mac, receiver.mac, sender.ip4, receiver.ip4, mark))
        wires[other].wait_for(payload_is(mark))


def _heard(chain: ChainHost, sender: str, frame: Packet, payload: bytes) -> dict[str, int]:
    """Send a frame; return how often the network stack of each of the others receives it."""
    with ExitStack() as open_wires:
        wires = {name: open_wires.enter_context(Wire(vm)) for name, vm in chain.vms.items()}
        stacks = {
            name: open_wires.enter_context(Wire(vm, frame.type)) for name, vm in chain.vms.items()
        }
        _flush(chain, wires)  # everybody is known to the switch
        wires[sender].send(frame)
        _flush(chain, wires)
        counts = {
            # An ICMP error of the receiver may hold the payload, too.
            name: sum(payload in bytes(heard) and heard.src == frame.src for heard in stack.drain())
            for name, stack in stacks.items()
        }
    return {name: count for name, count in counts.items() if count}


def _drops(chain: ChainHost) -> dict[str, int]:
    found = json.loads(chain.command("show", "--json"))
    return {row["reason"]: row["packets"] for row in found["drops"]}


# -- who reaches whom --------------------------------------------------------------------


def test_everybody_reaches_everybody(chain: ChainHost) -> None:
    """Both versions of IP: ARP and neighbour discovery too."""
    assert _unanswered(chain) == []
    assert _drops(chain) == {}


@versions
@pytest.mark.parametrize("offloads", ["off", "on"])
def test_bulk_data_arrives_unchanged(chain: ChainHost, offloads: str, version: int) -> None:
    """All directions; without offloads the receivers verify checksums that are really there."""
    for vm in chain.vms.values():
        vm.run("ethtool", "-K", "eth0", "tx", offloads, "tso", offloads, "gso", offloads)
    for one, other in PAIRS:
        receiver = chain.vms[other]
        transfer(chain.vms[one], receiver, _address(receiver, version), _SIZE)


@pytest.mark.parametrize("pair", [("host", "wire"), ("host", "vm"), ("vm", "host"), ("vm", "wire")])
def test_segments_cross_whole(chain: ChainHost, pair: tuple[str, str]) -> None:
    """What a sender leaves to the device to cut is not cut on the way."""
    sender, receiver = (chain.vms[name] for name in pair)
    with Wire(receiver) as wire:
        transfer(sender, receiver, receiver.ip4, _SIZE)
        wire.wait_for(lambda frame: len(frame) > 3 * 1500)


def test_services_of_the_host_are_reached(chain: ChainHost) -> None:
    """From both sides, and only as long as they are there."""
    assert not reaches(chain.vms["vm"], chain.vms["host"].ip4, 7000)
    serve(chain.vms["host"], 7000)
    assert reaches(chain.vms["vm"], chain.vms["host"].ip4, 7000)
    assert reaches(chain.vms["wire"], chain.vms["host"].ip6, 7000)


def test_host_asks_a_dhcp_server_of_the_chain(lab: ChainHost) -> None:
    """Its broadcast gets there, and the offer to its network stack."""
    lab.up(
        SHARED.replace(
            "external_interfaces:",
            "  - {name: dhcp, type: dhcp, config: {server_ip: 10.9.0.254/24, addr_low: 10.9.0.100, "
            "server_mac: 02:00:00:00:09:fe, addr_high: 10.9.0.200}}\n"
            "links: [{from: sw, to: dhcp}]\nexternal_interfaces:",
        )
    )
    host = lab.vms["host"]
    discover = (
        Ether(src=host.mac, dst="ff:ff:ff:ff:ff:ff")
        / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67)
        / BOOTP(chaddr=bytes.fromhex(host.mac.replace(":", "")), xid=77, flags=0x8000)
        / DHCP(options=[("message-type", "discover"), "end"])
    )
    with Wire(host) as sender, Wire(host, discover.type) as stack:
        sender.send(discover)
        offer = stack.wait_for(lambda heard: BOOTP in heard and heard[BOOTP].op == 2)
    assert (offer[BOOTP].xid, offer.src) == (77, "02:00:00:00:09:fe")
    assert offer[BOOTP].yiaddr.startswith("10.9.0.1")


@pairs
def test_vlan_tags_go_along(chain: ChainHost, pair: tuple[str, str]) -> None:
    """As ``eth0.5`` sends and receives them."""
    (one, other), payload = (chain.vms[name] for name in pair), b"on VLAN 5"
    frame = datagram(one.mac, other.mac, "10.5.0.1", "10.5.0.2", payload)
    tagged = Ether(src=one.mac, dst=other.mac) / Dot1Q(vlan=5, prio=3) / frame[IP]
    with Wire(one) as sender, Wire(other) as receiver:
        sender.send(tagged)
        heard = receiver.wait_for(payload_is(payload))
    assert bytes(heard) == bytes(tagged)


# -- which frames go where ---------------------------------------------------------------


@pytest.mark.parametrize("sender", NAMES)
def test_broadcast_reaches_each_of_the_others_once(chain: ChainHost, sender: str) -> None:
    """No copy too many, no loop."""
    vm, payload = chain.vms[sender], b"to all of you"
    frame = datagram(vm.mac, "ff:ff:ff:ff:ff:ff", vm.ip4, "255.255.255.255", payload)
    others = [name for name in NAMES if name != sender]
    assert _heard(chain, sender, frame, payload) == dict.fromkeys(others, 1)


@pytest.mark.parametrize("sender", NAMES)
def test_unknown_address_is_flooded_once(chain: ChainHost, sender: str) -> None:
    """To a MAC address that nobody has."""
    vm, payload = chain.vms[sender], b"is there anybody"
    frame = datagram(vm.mac, NEW_MAC, vm.ip4, "10.9.0.77", payload)
    others = [name for name in NAMES if name != sender]
    assert _heard(chain, sender, frame, payload) == dict.fromkeys(others, 1)


@pairs
def test_frame_for_one_is_heard_by_no_other(chain: ChainHost, pair: tuple[str, str]) -> None:
    """Once, at its destination."""
    (one, other), payload = (chain.vms[name] for name in pair), b"for you alone"
    frame = datagram(one.mac, other.mac, one.ip4, other.ip4, payload)
    assert _heard(chain, pair[0], frame, payload) == {pair[1]: 1}


def test_host_is_known_before_it_has_spoken(fresh_chain: ChainHost) -> None:
    """The first frame for it, of a chain in which nothing was learned, is not flooded."""
    wire, host, payload = fresh_chain.vms["wire"], fresh_chain.vms["host"], b"good morning"
    with Wire(wire) as sender, Wire(host) as receiver, Wire(fresh_chain.vms["vm"]) as other:
        sender.send(datagram(wire.mac, host.mac, wire.ip4, host.ip4, payload))
        receiver.wait_for(payload_is(payload))
        sender.send(datagram(wire.mac, "ff:ff:ff:ff:ff:ff", wire.ip4, "10.9.0.255", b"the end"))
        other.wait_for(payload_is(b"the end"))
        assert not other.has_heard(payload_is(payload))


def test_new_address_of_the_host_is_followed(fresh_chain: ChainHost) -> None:
    """The old one is nobody's from then on, the new one is not flooded."""
    host, wire, old = fresh_chain.vms["host"], fresh_chain.vms["wire"], fresh_chain.vms["host"].mac
    host.namespace.ip(f"link set eth0 address {NEW_MAC}")
    host.mac = NEW_MAC
    number = itertools.count()

    def heard(mac: str) -> dict[str, int]:
        payload = f"for {mac} {next(number)}".encode()
        frame = datagram(wire.mac, mac, wire.ip4, host.ip4, payload)
        return _heard(fresh_chain, "wire", frame, payload)

    until(lambda: heard(old) == {"host": 1, "vm": 1}, "the old address flooded")
    assert heard(NEW_MAC) == {"host": 1}
    assert _unanswered(fresh_chain) == []


def test_frames_that_no_bridge_forwards_stay_on_the_cable(chain: ChainHost) -> None:
    """LLDP goes between the host and what its device is plugged into, and no farther."""

    def lldp(sender: str) -> dict[str, int]:
        payload = f"I am {sender}, a chassis".encode()
        frame = Ether(src=chain.vms[sender].mac, dst=LLDP, type=0x88CC) / Raw(payload)
        return _heard(chain, sender, frame, payload)

    assert [lldp(name) for name in NAMES] == [{"wire": 1}, {"host": 1}, {}]


def test_gratuitous_arp_of_the_host_is_heard(chain: ChainHost) -> None:
    """On both sides, as one that announces an address needs it."""
    host = chain.vms["host"]
    frame = Ether(src=host.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=2, hwsrc=host.mac, psrc=host.ip4, pdst=host.ip4
    )
    with Wire(host) as sender, Wire(chain.vms["wire"]) as one, Wire(chain.vms["vm"]) as other:
        sender.send(frame)
        for wire in (one, other):
            wire.wait_for(lambda heard: ARP in heard and heard[ARP].hwsrc == host.mac)


# -- the life of a chain -----------------------------------------------------------------


def test_traffic_of_the_host_lives_through_crash_and_start(fresh_chain: ChainHost) -> None:
    """Not a ping is lost, of the host's with either side."""
    host, wire, vm = (fresh_chain.vms[name] for name in NAMES)
    with PingStream(wire, host.ip4) as outside, PingStream(host, vm.ip4) as inside:
        fresh_chain.crash()
        for stream in (outside, inside):
            stream.wait_answers(10)
        fresh_chain.command("up", "--detach", str(fresh_chain.file))
        for stream in (outside, inside):
            stream.wait_answers(10)
        assert [outside.stop(), inside.stop()] == [0, 0]
    assert _unanswered(fresh_chain) == []


def test_all_is_as_before_when_the_chain_is_gone(fresh_chain: ChainHost) -> None:
    """The host has its device for itself: it loses no ping, its neighbour hears no machine."""
    host, wire, vm = (fresh_chain.vms[name] for name in NAMES)
    with PingStream(host, wire.ip4) as stream:
        fresh_chain.down()
        stream.wait_answers(10)
        assert stream.stop() == 0
    assert _unanswered(fresh_chain, "host", "wire") == []
    assert not wire.ping(vm.ip4).received
    fresh_chain.up(SHARED)
    assert _unanswered(fresh_chain) == []


def test_device_is_given_and_returned_without_a_loss(lab: ChainHost) -> None:
    """A change of the file takes the device into the chain, another gives it back."""
    lab.up(ALONE)
    host, wire, vm = (lab.vms[name] for name in NAMES)
    with PingStream(host, wire.ip4) as stream:
        lab.apply(SHARED)
        assert host.ping(vm.ip4, count=2).received
        stream.wait_answers(10)
        lab.apply(ALONE)
        stream.wait_answers(10)
        assert stream.stop() == 0
    assert not host.ping(vm.ip4).received


def test_host_that_does_not_share_any_more_is_cut_off(fresh_chain: ChainHost) -> None:
    """Without ``host: true`` the device belongs to the chain alone, and back."""
    host, wire, vm = (fresh_chain.vms[name] for name in NAMES)
    fresh_chain.apply(SHARED.replace(", host: true", ""))
    assert vm.ping(wire.ip4, count=2).received
    assert not wire.ping(host.ip4).received
    fresh_chain.apply(SHARED)
    assert _unanswered(fresh_chain) == []


@pytest.mark.parametrize("kernel", ["tcx", "filters"])
def test_users_program_stands_before_a_machine(lab: ChainHost, kernel: str) -> None:
    """It sees what the machine sends and gets, and not what host and wire have with each other."""
    if kernel == "filters":
        lab.before = _WITHOUT_TCX
    lab.up(_with_program(_PASS))
    assert _unanswered(lab) == []
    (program,) = json.loads(lab.command("show", "--json"))["programs"]
    assert program["passed"] > 0
    lab.apply(_with_program(_DROP))
    assert _unanswered(lab, "host", "wire") == []
    assert not lab.vms["vm"].ping(lab.vms["host"].ip4).received
    assert not lab.vms["vm"].ping(lab.vms["wire"].ip4).received


def _with_program(verdict: int) -> str:
    source = Path(__file__).parents[1] / "bpf" / "modules" / "verdict.bpf.c"
    return f"""
modules:
  - {{name: sw, type: switch}}
  - {{name: own, type: ebpf, config: {{program: {source}, settings: {{verdict: {verdict}}}}}}}
links:
  - {{from: sw, to: own}}
external_interfaces:
  - {{module: sw, iface: eth0, host: true}}
  - {{module: own, iface: vm}}
"""


def test_kernel_without_tcx_shares_by_filters(lab: ChainHost) -> None:
    """The same on clsact: all reach each other, a crash is survived, nothing is left at the end."""
    lab.before = _WITHOUT_TCX
    lab.up(SHARED)
    assert _filters(lab) == [1, 1]
    assert _unanswered(lab) == []
    with PingStream(lab.vms["host"], lab.vms["wire"].ip4) as stream:
        lab.crash()
        stream.wait_answers(10)
        lab.command("up", "--detach", str(lab.file))
        stream.wait_answers(10)
        assert stream.stop() == 0
    lab.down()
    assert _filters(lab) == [0, 0]
    assert _unanswered(lab, "host", "wire") == []


def _filters(chain: ChainHost) -> list[int]:
    return [
        chain.namespace.run("tc", "filter", "show", "dev", "eth0", hook).count("direct-action")
        for hook in ("ingress", "egress")
    ]

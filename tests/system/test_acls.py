# SPDX-License-Identifier: Apache-2.0
"""Access control lists: verdicts, priorities, directions, groups and sets, changed while used."""

from collections.abc import Iterator

import pytest

from iovisor_ovn.demo import until
from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import Connection, PingStream, connects, reaches, serve, udp_error
from support.hypervisor import Flavor, Vm
from support.network import Host, plug, port_lines, router_lines
from support.packets import Wire

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B, C = Host("a", 1, 11), Host("b", 1, 12), Host("c", 2, 11)
_TARGETS = {"same switch": "b", "across the router": "c"}


@pytest.fixture(scope="module")
def vms(central: Central, make_hypervisor: HypervisorMaker) -> dict[str, Vm]:
    """Return two machines on one switch and one behind a router; all echo on 80 and 81."""
    ports = [port_lines("left", A), port_lines("left", B), port_lines("right", C)]
    router = router_lines("router", {"left": 1, "right": 2})
    groups = ["pg-add everybody a b c", "pg-add servers b c", "pg-add clients a"]
    central.nb_lines("\n".join(["ls-add left", "ls-add right", router, *ports, *groups]))
    hypervisor = make_hypervisor("hv")
    for host in (A, B, C):
        serve(plug(hypervisor, host, routed=True), 80, 81)
    hypervisor.wait_installed()
    central.sync()
    for target in (B, C):
        assert hypervisor.vms["a"].ping(target.ip4, count=2).received == 2
    return hypervisor.vms


class Rules:
    """The lists of the port groups, emptied after each test."""

    def __init__(self, central: Central) -> None:
        """Rules of this central."""
        self._central = central

    def add(self, *rules: tuple[str, str, int, str, str]) -> None:
        """Add (group, direction, priority, match, verdict) in one transaction, wait until live."""
        words: list[str] = []
        for group, direction, priority, match, verdict in rules:
            words += [*(["--"] if words else []), "acl-add", group, direction]
            words += [str(priority), match, verdict]
        self._central.nbctl(*words)
        self._central.sync()

    def remove(self, group: str, direction: str, priority: int, match: str) -> None:
        """Take one away, wait until it no longer works."""
        self._central.nbctl("acl-del", group, direction, str(priority), match)
        self._central.sync()

    def clear(self) -> None:
        """Take all away."""
        groups = ("everybody", "servers", "clients")
        words = " -- ".join(f"acl-del {group}" for group in groups)
        self._central.nbctl(*words.split(), "--", "--if-exists", "destroy", "Address_Set", "set4")
        self._central.sync()


@pytest.fixture
def rules(central: Central, vms: dict[str, Vm]) -> Iterator[Rules]:
    """Return the access lists, empty before and after."""
    assert vms
    ours = Rules(central)
    yield ours
    ours.clear()


_DROP_ALL = (
    ("everybody", "from-lport", 1001, "inport == @everybody && ip", "drop"),
    ("everybody", "to-lport", 1001, "outport == @everybody && ip", "drop"),
)
_OUT = ("everybody", "from-lport", 1002, "inport == @everybody && ip", "allow-related")


def _address(vms: dict[str, Vm], name: str, version: int) -> str:
    return vms[name].ip4 if version == 4 else vms[name].ip6


each_target = pytest.mark.parametrize("target", _TARGETS.values(), ids=_TARGETS)
each_version = pytest.mark.parametrize("version", [4, 6])


@each_target
@each_version
@pytest.mark.parametrize("direction", ["from-lport", "to-lport"])
def test_drop_is_silent(
    vms: dict[str, Vm], rules: Rules, target: str, version: int, direction: str
) -> None:
    """A dropped connection meets silence in either direction of the list; others go on."""
    port = "inport" if direction == "from-lport" else "outport"
    group = "clients" if direction == "from-lport" else "servers"
    rules.add((group, direction, 1000, f"{port} == @{group} && tcp.dst == 80", "drop"))
    address = _address(vms, target, version)
    assert not connects(vms["a"], address, 80)
    assert reaches(vms["a"], address, 81)


@each_target
@each_version
def test_related_traffic_is_allowed_back(
    vms: dict[str, Vm], rules: Rules, target: str, version: int
) -> None:
    """With all else dropped, one stateful rule lets connections out and their answers in."""
    tcp = "outport == @servers && tcp.dst == 80"
    rules.add(*_DROP_ALL, _OUT, ("servers", "to-lport", 1002, tcp, "allow-related"))
    address = _address(vms, target, version)
    with Connection(vms["a"], address, 80) as connection:
        assert connection.echoes(b"there and back" * 1000)
    assert not connects(vms["a"], address, 81)
    assert not connects(vms[target], _address(vms, "a", version), 80)
    assert vms["a"].ping(address).received == 0


@each_version
def test_an_error_about_an_allowed_connection_comes_back(
    vms: dict[str, Vm], rules: Rules, version: int
) -> None:
    """Port unreachable, from a machine that may send nothing of its own, reaches the client."""
    udp = "outport == @servers && udp"
    clients_out = ("clients", "from-lport", 1002, "inport == @clients && ip", "allow-related")
    rules.add(*_DROP_ALL, clients_out, ("servers", "to-lport", 1002, udp, "allow-related"))
    error = udp_error(vms["a"], _address(vms, "c", version), 4321)
    assert isinstance(error, ConnectionRefusedError)


def test_stateless_rules_need_both_ways(vms: dict[str, Vm], rules: Rules) -> None:
    """`allow-stateless` lets no answer in by itself."""
    there = ("servers", "to-lport", 1002, "outport == @servers && tcp.dst == 80", "allow-stateless")
    out = ("everybody", "from-lport", 1002, "inport == @everybody && tcp", "allow-stateless")
    rules.add(*_DROP_ALL, out, there)
    assert not connects(vms["a"], B.ip4, 80)
    rules.add(
        ("clients", "to-lport", 1002, "outport == @clients && tcp.src == 80", "allow-stateless")
    )
    assert reaches(vms["a"], B.ip4, 80)


@each_version
def test_the_higher_priority_decides(vms: dict[str, Vm], rules: Rules, version: int) -> None:
    """Allow above drop above allow: each wins over what is below it."""
    address = _address(vms, "c", version)
    match = "outport == @servers && tcp.dst == 80"
    rules.add(("servers", "to-lport", 100, match, "allow-related"))
    assert reaches(vms["a"], address, 80)
    rules.add(("servers", "to-lport", 200, f"{match} && ip", "drop"))
    assert not connects(vms["a"], address, 80)
    rules.add(("servers", "to-lport", 300, f"{match} && tcp", "allow"))
    assert reaches(vms["a"], address, 80)


@each_target
@each_version
@pytest.mark.parametrize("direction", ["from-lport", "to-lport"])
def test_reject_answers_at_once(
    vms: dict[str, Vm], rules: Rules, target: str, version: int, direction: str
) -> None:
    """TCP gets a reset, UDP a port unreachable."""
    port = "inport" if direction == "from-lport" else "outport"
    group = "clients" if direction == "from-lport" else "servers"
    rules.add((group, direction, 1000, f"{port} == @{group} && (tcp || udp)", "reject"))
    address = _address(vms, target, version)
    with pytest.raises(ConnectionRefusedError):
        Connection(vms["a"], address, 80)
    assert isinstance(udp_error(vms["a"], address, 80), ConnectionRefusedError)


def test_an_address_set_is_changed_under_traffic(
    vms: dict[str, Vm], rules: Rules, central: Central
) -> None:
    """Adding an address lets it in, removing it shuts it out; what else passes is not disturbed."""
    central.nbctl("create", "Address_Set", "name=set4", 'addresses="192.0.2.1"')
    ping = ("everybody", "to-lport", 1003, "outport == @everybody && icmp4", "allow-related")
    from_set = "outport == @servers && ip4.src == $set4 && tcp.dst == 80"
    rules.add(*_DROP_ALL, _OUT, ping, ("servers", "to-lport", 1002, from_set, "allow-related"))
    with PingStream(vms["a"], C.ip4) as stream:
        assert not connects(vms["a"], B.ip4, 80)
        central.nbctl("add", "Address_Set", "set4", "addresses", f'"{A.ip4}"')
        central.sync()
        assert reaches(vms["a"], B.ip4, 80)
        central.nbctl("set", "Address_Set", "set4", 'addresses="10.0.1.0/24"')
        central.sync()
        assert reaches(vms["a"], C.ip4, 80)
        central.nbctl("set", "Address_Set", "set4", 'addresses="192.0.2.1"')
        central.sync()
        assert not connects(vms["a"], B.ip4, 80)
        assert stream.stop() == 0


def test_a_port_joins_and_leaves_a_group_under_traffic(
    vms: dict[str, Vm], rules: Rules, central: Central
) -> None:
    """A group's rules hold for a port from joining to leaving; so does `$group_ip4`."""
    from_group = "outport == @servers && ip4.src == $clients_ip4 && tcp.dst == 80"
    rules.add(*_DROP_ALL, _OUT, ("servers", "to-lport", 1002, from_group, "allow-related"))
    assert reaches(vms["a"], C.ip4, 80)
    assert not connects(vms["b"], C.ip4, 80)
    central.nbctl("pg-set-ports", "clients", "a", "b")
    central.sync()
    assert reaches(vms["b"], C.ip4, 80)
    central.nbctl("pg-set-ports", "servers", "b")
    central.sync()
    assert not connects(vms["a"], C.ip4, 80)
    central.nbctl("pg-set-ports", "clients", "a", "--", "pg-set-ports", "servers", "b", "c")
    central.sync()
    assert not connects(vms["b"], C.ip4, 80)
    assert reaches(vms["a"], C.ip4, 80)


@each_target
@each_version
def test_an_established_connection_is_cut_when_its_rule_goes(
    vms: dict[str, Vm], rules: Rules, flavor: Flavor, target: str, version: int
) -> None:
    """It stops when its rule goes, goes on when the rule is back, and others are not touched."""
    first = "outport == @servers && tcp.dst == 80"
    second = "outport == @servers && tcp.dst == 81"
    rules.add(
        *_DROP_ALL,
        _OUT,
        ("servers", "to-lport", 1002, first, "allow-related"),
        ("servers", "to-lport", 1002, second, "allow-related"),
    )
    address = _address(vms, target, version)
    with Connection(vms["a"], address, 80) as cut, Connection(vms["a"], address, 81) as kept:
        assert cut.echoes()
        assert kept.echoes()
        rules.remove("servers", "to-lport", 1002, first)
        if flavor == "ovn":
            # ovs-vswitchd revises the flows in its data path some time after the change is done.
            until(lambda: not cut.echoes(patience_s=1.0), "the end of the connection")
        assert not cut.echoes(patience_s=1.0)
        assert kept.echoes()
        rules.add(("servers", "to-lport", 1002, first, "allow-related"))
        until(lambda: cut.echoes(patience_s=2.0), "the connection's second life")


def test_a_drop_does_not_stop_arp(vms: dict[str, Vm], rules: Rules) -> None:
    """Rules about IP leave address resolution alone."""
    rules.add(*_DROP_ALL)
    vms["a"].run("ip", "neigh", "flush", "dev", vms["a"].device)
    with Wire(vms["b"]):
        assert vms["a"].ping(B.ip4).received == 0
    neighbours = until(
        lambda: vms["a"].run("ip", "neigh", "show", B.ip4), "a neighbour entry"
    )  # fmt: skip
    assert B.mac in neighbours

# SPDX-License-Identifier: Apache-2.0
"""Load balancers on a switch, a gateway router and both: backends, affinity, hairpin, errors.

::

    a, c - inside - gw - outside - b          VIPs 10.0.9.1, 10.0.9.2 (switches),
          10.0.1        10.0.2            10.0.2.80 (gateway)
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from iovisor_ovn.demo import until
from iovisor_ovn.demo.places import inside
from support.central import Central, Release
from support.fixtures import HypervisorMaker
from support.flows import (
    Connection,
    answers,
    connects,
    reaches,
    serve_name,
    transfer,
    udp_error,
)
from support.hypervisor import Flavor, Hypervisor, Vm
from support.network import Host, plug, port_lines, router_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, C, E = Host("a", 1, 11), Host("c", 1, 12), Host("e", 1, 13)
B = Host("b", 2, 11)
VIP = {4: "10.0.9.1", 6: "fd00:9::1"}
REMOTE_VIP = {4: "10.0.9.2", 6: "fd00:9::2"}
GATEWAY_VIP = {4: "10.0.2.80", 6: "fd00:2::80"}


def _end(version: int, address: str, port: int) -> str:
    return f"{address}:{port}" if version == 4 else f"[{address}]:{port}"


def _balancer(name: str, vips: dict[int, str], port: int, backends: tuple[Host, ...],
              backend_port: int) -> list[str]:  # fmt: skip
    lines = []
    for version in (4, 6):
        ends = ",".join(
            _end(version, host.ip4 if version == 4 else host.ip6, backend_port) for host in backends
        )
        lines.append(f"lb-add {name}{version} {_end(version, vips[version], port)} {ends}")
    return lines


@pytest.fixture(scope="module")
def hypervisor(central: Central, make_hypervisor: HypervisorMaker) -> Hypervisor:
    """Return a hypervisor that holds it all."""
    hypervisor = make_hypervisor("hv")
    central.nb_lines(
        "\n".join(
            [
                *[f"ls-add {name}" for name in ("inside", "outside")],
                router_lines("gw", {"inside": 1, "outside": 2}),
                f"set Logical_Router gw options:chassis={hypervisor.name}",
                *[port_lines("inside", host) for host in (A, C, E)],
                port_lines("outside", B),
                *_balancer("near", VIP, 80, (C, E), 8080),
                *_balancer("far", GATEWAY_VIP, 80, (A, C), 8080),
                *_balancer("alone", VIP, 90, (A,), 8080),
                *[f"ls-lb-add inside {name}{version}"
                  for name in ("near", "alone") for version in (4, 6)],
                *_balancer("remote", REMOTE_VIP, 80, (A, C), 8080),
                *[f"ls-lb-add outside remote{version}" for version in (4, 6)],
                *[f"lr-lb-add gw far{version}" for version in (4, 6)],
                # So that all connections are committed.
                "acl-add inside from-lport 1001 ip allow-related",
                "acl-add inside to-lport 1001 ip allow-related",
            ]
        )
    )  # fmt: skip
    for host in (A, C, E, B):
        plug(hypervisor, host, routed=True)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor


@pytest.fixture(scope="module")
def vms(hypervisor: Hypervisor) -> dict[str, Vm]:
    """Return the machines by name, each of which tells its name on port 8080."""
    for vm in hypervisor.vms.values():
        serve_name(vm, 8080)
    return hypervisor.vms


def _connect(address: str, port: int, source_port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    one.settimeout(5)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("", source_port))
    one.connect((address, port))
    return one


@contextmanager
def _options(central: Central, balancers: tuple[str, ...], *columns: str) -> Iterator[None]:
    """Set columns of load balancers for a while: ``options:a=b``."""
    for name in balancers:
        central.nbctl("set", "Load_Balancer", name, *columns)
    central.sync()
    try:
        yield
    finally:
        for name in balancers:
            for column in columns:
                table, _, key = column.partition(":")
                central.nbctl("remove", "Load_Balancer", name, table, key.partition("=")[0])
        central.sync()


@pytest.mark.parametrize("version", [4, 6])
def test_connections_are_spread_over_backends_of_a_switch(vms: dict[str, Vm], version: int) -> None:
    """Both backends get some of forty connections, nobody else does."""
    seen = answers(vms["a"], VIP[version], 80, 40)
    assert seen.keys() == {"c", "e"}


@pytest.mark.parametrize("version", [4, 6])
def test_connections_are_spread_over_backends_of_a_gateway(
    vms: dict[str, Vm], version: int
) -> None:
    """From outside, to addresses of the inside."""
    seen = answers(vms["b"], GATEWAY_VIP[version], 80, 40)
    assert seen.keys() == {"a", "c"}


@pytest.mark.parametrize("version", [4, 6])
def test_machine_reaches_itself_by_the_vip(vms: dict[str, Vm], version: int) -> None:
    """The only backend is the client: the answer comes from the VIP (hairpin)."""
    assert answers(vms["a"], VIP[version], 90, 5) == {"a": 5}
    # A backend among others meets itself every other time.
    assert answers(vms["c"], VIP[version], 80, 20).keys() == {"c", "e"}


@pytest.mark.parametrize("version", [4, 6])
def test_backend_is_reached_directly_as_well(vms: dict[str, Vm], version: int) -> None:
    """One source port serves for the VIP and, at the same time, for the backend itself."""
    address = A.ip4 if version == 4 else A.ip6
    name = vms["c"].namespace.name
    for port in range(41000, 41005):
        with (
            inside(name, partial(_connect, VIP[version], 90, port)) as one,
            inside(name, partial(_connect, address, 8080, port)) as other,
        ):
            assert [connected.recv(100) for connected in (one, other)] == [b"a", b"a"]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("balancer", "vips"), [("remote", REMOTE_VIP), ("far", GATEWAY_VIP)], ids=["switch", "router"]
)
def test_client_stays_with_its_backend(
    vms: dict[str, Vm], central: Central, balancer: str, vips: dict[int, str], version: int
) -> None:
    """With affinity all connections of a client go where its first one went."""
    assert len(answers(vms["b"], vips[version], 80, 40)) == 2
    with _options(central, (f"{balancer}{version}",), "options:affinity_timeout=60"):
        # The flows of 23.03 drop the packets that teach: the first connection may be lost.
        connects(vms["b"], vips[version], 80)
        # Ordinary OVS learns a little behind the packets.
        until(lambda: len(answers(vms["b"], vips[version], 80, 20)) == 1, "one backend")


def test_fields_of_the_hash_are_chosen(vms: dict[str, Vm], central: Central) -> None:
    """A hash of the addresses alone sends all of a client's connections to one backend."""
    fields = "selection_fields=ip_src,ip_dst"
    central.nbctl("set", "Load_Balancer", "near4", fields)
    central.sync()
    try:
        assert len(answers(vms["a"], VIP[4], 80, 20)) == 1
    finally:
        central.nbctl("clear", "Load_Balancer", "near4", "selection_fields")
        central.sync()


def test_vip_without_backends_is_closed(vms: dict[str, Vm], central: Central) -> None:
    """Rejected, when so asked; another VIP goes on."""
    central.nbctl("set", "Load_Balancer", "alone4", 'vips:"10.0.9.1:91"=""')
    with _options(central, ("alone4",), "options:reject=true"):
        assert not connects(vms["c"], VIP[4], 91)
        assert reaches(vms["c"], VIP[4], 90)
    central.nbctl("remove", "Load_Balancer", "alone4", "vips", '"10.0.9.1:91"')


def test_connection_stays_where_it_is_when_backends_change(
    vms: dict[str, Vm], central: Central
) -> None:
    """Established connections go on; new ones go to the backend that is left."""
    process = vms["c"].popen(sys.executable, "-m", "iovisor_ovn.demo.listen", "/dev/null", "7000")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    central.nb_lines(f"lb-add moving 10.0.9.1:70 {C.ip4}:7000\nls-lb-add inside moving")
    central.sync()
    with Connection(vms["a"], VIP[4], 70) as connection:
        assert connection.echoes()
        central.nbctl("set", "Load_Balancer", "moving", f'vips:"10.0.9.1:70"="{E.ip4}:8080"')
        central.sync()
        assert connection.echoes(b"still there" * 100)
        assert answers(vms["a"], VIP[4], 70, 5) == {"e": 5}
    central.nbctl("lb-del", "moving")
    central.sync()


def test_datagrams_and_their_errors(vms: dict[str, Vm], central: Central) -> None:
    """A closed port of the backend is told as one of the VIP's."""
    central.nb_lines(f"lb-add datagrams 10.0.9.1:53 {C.ip4}:5353 udp\nls-lb-add inside datagrams")
    central.sync()
    assert isinstance(udp_error(vms["a"], VIP[4], 53), ConnectionRefusedError)
    central.nbctl("lb-del", "datagrams")
    central.sync()


def test_client_is_hidden_from_backends(
    vms: dict[str, Vm], central: Central, flavor: Flavor, release: Release
) -> None:
    """With lb_force_snat_ip the backends see the gateway."""
    if flavor == "ovn" and release.name == "23.03":
        pytest.skip("OVS 3.1 sends the first packet on without the second translation")
    option = "options:lb_force_snat_ip=10.0.1.1"
    central.nbctl("set", "Logical_Router", "gw", option)
    central.sync()
    try:
        assert answers(vms["b"], GATEWAY_VIP[4], 80, 20).keys() == {"a", "c"}
    finally:
        central.nbctl("remove", "Logical_Router", "gw", "options", "lb_force_snat_ip")
        central.sync()


@pytest.mark.parametrize("version", [4, 6])
def test_bulk_data_from_a_backend(vms: dict[str, Vm], central: Central, version: int) -> None:
    """A VIP for all ports of one machine: data arrive whole."""
    address = A.ip4 if version == 4 else A.ip6
    vip = "10.0.9.7" if version == 4 else "fd00:9::7"
    central.nb_lines(f"lb-add whole {vip} {address}\nls-lb-add inside whole")
    central.sync()
    transfer(vms["c"], vms["a"], vip, 8 << 20)
    central.nbctl("lb-del", "whole")
    central.sync()

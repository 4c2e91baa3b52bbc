# SPDX-License-Identifier: Apache-2.0
"""Ports, rules, switches and routers come and go while other traffic runs."""

import pytest

from iovisor_ovn.demo import until
from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import Connection, PingStream, serve
from support.hypervisor import Hypervisor, Kind
from support.network import Host, plug, port_lines, router_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B, C = Host("a", 1, 11), Host("b", 1, 12), Host("c", 2, 11)


@pytest.fixture(scope="module")
def hypervisor(central: Central, make_hypervisor: HypervisorMaker) -> Hypervisor:
    """Return a hypervisor with two machines on one switch and one across a router."""
    ports = [port_lines("left", A), port_lines("left", B), port_lines("right", C)]
    router = router_lines("router", {"left": 1, "right": 2})
    central.nb_lines("\n".join(["ls-add left", "ls-add right", router, *ports]))
    hypervisor = make_hypervisor("hv")
    for host in (A, B, C):
        plug(hypervisor, host, routed=True)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor


def _claim(central: Central, host: Host) -> str:
    words = ("--bare", "--columns=chassis", "find", "Port_Binding")
    return central.sbctl(*words, f"logical_port={host.name}")


@pytest.mark.parametrize("kind", ["veth", "tap", "internal"])
def test_a_machine_comes_and_goes(hypervisor: Hypervisor, central: Central, kind: Kind) -> None:
    """It is reached while it is there, its claim goes with it, other traffic does not notice."""
    guest = Host(f"g{kind}", 1, 30)
    a = hypervisor.vms["a"]
    with PingStream(a, B.ip4) as near, PingStream(a, C.ip6) as far:
        for _round in range(2):
            central.nb_lines(port_lines("left", guest))
            vm = plug(hypervisor, guest, kind=kind)
            hypervisor.wait_installed(vm)
            assert a.ping(guest.ip4, count=2).received == 2
            hypervisor.remove_vm(vm)
            until(lambda: not _claim(central, guest), f"release of {guest.name}")
            central.nbctl("lsp-del", guest.name)
            central.sync()
            assert a.ping(guest.ip4).received == 0
        assert near.stop() == 0
        assert far.stop() == 0


def test_a_device_that_comes_after_its_row(hypervisor: Hypervisor, central: Central) -> None:
    """The Interface row may be there first, as with os-vif and libvirt."""
    late = Host("row-first", 1, 31)
    central.nb_lines(port_lines("left", late))
    try:
        hypervisor.vsctl(
            "--no-wait", "add-port", "br-int", f"tap-{late.name}"[:15], "--",
            "set", "Interface", f"tap-{late.name}"[:15], f"external_ids:iface-id={late.name}",
        )  # fmt: skip
        vm = plug(hypervisor, late)
        hypervisor.wait_installed(vm)
        assert hypervisor.vms["a"].ping(late.ip4, count=2).received == 2
        hypervisor.remove_vm(vm)
    finally:
        central.nbctl("lsp-del", late.name)


def test_a_device_that_vanishes_under_traffic_comes_back(
    hypervisor: Hypervisor, central: Central
) -> None:
    """Its row stays; the port is released and claimed again, and others do not notice."""
    guest = Host("vanish", 1, 32)
    central.nb_lines(port_lines("left", guest))
    a = hypervisor.vms["a"]
    try:
        vm = plug(hypervisor, guest)
        hypervisor.wait_installed(vm)
        with PingStream(a, B.ip4) as other, PingStream(a, guest.ip4):
            hypervisor.namespace.ip(f"link del {vm.port}")
            until(lambda: not _claim(central, guest), "the release")
            vm.plug_in(hypervisor.namespace, hypervisor.directory)
            vm.configure((), checksums_by_device=True)
            until(lambda: bool(_claim(central, guest)), "the claim")
            until(lambda: a.ping(guest.ip4).received == 1, "the answer")
            assert other.stop() == 0
        hypervisor.remove_vm(vm)
    finally:
        central.nbctl("lsp-del", guest.name)


def test_rules_come_and_go(hypervisor: Hypervisor, central: Central) -> None:
    """Fifty rules added and removed, and the change to stateful processing, lose nothing."""
    a = hypervisor.vms["a"]
    with PingStream(a, B.ip4) as near, PingStream(a, C.ip4) as far:
        for port in range(5000, 5050, 10):
            central.nb_lines(
                "\n".join(
                    f'acl-add left to-lport {port - 4000} "tcp.dst == {port + offset}" drop'
                    for offset in range(10)
                )
            )
            central.sync()
        central.nbctl("acl-add", "left", "to-lport", "500", "udp", "allow-related")
        central.sync()
        near.wait_answers(5)
        central.nbctl("acl-del", "left")
        central.sync()
        near.wait_answers(5)
        assert near.stop() == 0
        assert far.stop() == 0


def test_switches_and_routers_come_and_go(hypervisor: Hypervisor, central: Central) -> None:
    """A network is built, joined to the router, used and removed beside running traffic."""
    guest = Host("elsewhere", 3, 11)
    a = hypervisor.vms["a"]
    with PingStream(a, B.ip4) as near, PingStream(a, C.ip4) as far:
        central.nb_lines(
            "\n".join(
                [
                    "ls-add third",
                    "lrp-add router router-third 02:00:00:00:03:01 10.0.3.1/24 fd00:3::1/64",
                    "lsp-add third third-router",
                    "lsp-set-type third-router router",
                    "lsp-set-addresses third-router router",
                    "lsp-set-options third-router router-port=router-third",
                    port_lines("third", guest),
                ]
            )
        )
        vm = plug(hypervisor, guest, routed=True)
        hypervisor.wait_installed(vm)
        central.sync()
        assert a.ping(guest.ip4, count=2).received == 2
        assert a.ping(guest.ip6, count=2).received == 2
        central.nbctl("lrp-del", "router-third")
        central.sync()
        assert a.ping(guest.ip4).received == 0
        central.nbctl("ls-del", "third")
        hypervisor.remove_vm(vm)
        central.sync()
        assert near.stop() == 0
        assert far.stop() == 0


def test_a_connection_outlives_changes_around_it(hypervisor: Hypervisor, central: Central) -> None:
    """A tracked connection goes on while rules of others change."""
    a, c = hypervisor.vms["a"], hypervisor.vms["c"]
    serve(c, 80)
    tcp = ("acl-add", "right", "to-lport", "1002", "tcp.dst == 80", "allow-related")
    drop = ("acl-add", "right", "to-lport", "1001", "tcp", "drop")
    central.nbctl(*tcp, "--", *drop)
    central.sync()
    try:
        with Connection(a, C.ip4, 80) as connection:
            for port in range(90, 95):
                central.nbctl("acl-add", "right", "to-lport", "1003", f"tcp.dst == {port}", "drop")
                central.sync()
                assert connection.echoes(b"still here" * 100)
    finally:
        central.nbctl("acl-del", "right")
        central.sync()

# SPDX-License-Identifier: Apache-2.0
"""The DHCP module of a chain with real clients: udhcpc, dhclient, and a kernel's own UDP."""

import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from scapy.layers.dhcp import BOOTP, DHCP

from iovisor_ovn.demo import Namespace, until
from iovisor_ovn.demo.places import inside
from iovisor_ovn.demo.processes import end
from support.fixtures import run_name

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

SERVER_IP, SERVER_MAC = "10.9.0.1", "02:00:00:00:00:fe"
RESERVED = "02:c0:00:00:00:03"
OPTIONS = {"router": "10.9.0.254", "dns": "10.9.0.53", "domain": "example.org", "mtu": "1400"}
CHAIN = f"""
    modules:
      - name: Lan
        type: switch
      - name: Server
        type: dhcp
        config:
          server_ip: {SERVER_IP}/24
          server_mac: "{SERVER_MAC}"
          addr_low: 10.9.0.10
          addr_high: 10.9.0.99
          router: {OPTIONS["router"]}
          dns: {OPTIONS["dns"]}
          domain_name: {OPTIONS["domain"]}
          mtu: {OPTIONS["mtu"]}
          lease_time: 3600
          reservations: [{{mac: "{RESERVED}", ip: 10.9.0.200}}]
    links:
      - from: Lan
        to: Server
    external_interfaces:
      - {{module: Lan, iface: client1}}
      - {{module: Lan, iface: client2}}
      - {{module: Lan, iface: client3}}
"""
#: What a client's script is told goes into a file, and the address onto the device.
SCRIPT = """#!/bin/sh
env > {found}.new
case "$1$reason" in
bound|renew|BOUND|RENEW|REBIND|REBOOT)
    ip addr replace ${{ip:-$new_ip_address}}/24 dev eth0
    mv {found}.new {found};;
PREINIT) ip link set eth0 up;;
esac
"""


class Lab:
    """A chain in one namespace, clients in others."""

    def __init__(self, directory: Path) -> None:
        """Make the namespaces; the chain is not up yet."""
        self.directory = directory
        self.host = Namespace(run_name("dhcp-host"), directory)
        self.clients = [self._client(number) for number in (1, 2, 3)]
        self.chain = directory / "chain.yaml"
        self.chain.write_text(dedent(CHAIN))

    def _client(self, number: int) -> Namespace:
        client = Namespace(run_name(f"dhcp-c{number}"), self.directory)
        self.host.ip(
            f"link add client{number} type veth peer name eth0 netns {client.name}"
            f" address 02:c0:00:00:00:0{number}",
            f"link set client{number} up",
        )
        client.ip("link set eth0 up")
        return client

    def command(self, *words: str) -> str:
        """Run ``iovisor-ovn standalone`` where the chain's devices are."""
        executable = Path(sys.executable).parent / "iovisor-ovn"
        return self.host.run(
            str(executable), "standalone", *words, "--run-dir", str(self.directory / "run")
        )

    def leases(self) -> dict[str, str]:
        """Addresses by MAC address, of leases in force, as the chain shows them."""
        return {row["mac"]: row["ip"] for row in self.shown() if row["state"] == "bound"}

    def shown(self) -> list[dict[str, str]]:
        """Leases as the chain shows them."""
        return list(json.loads(self.command("show", "--json"))["leases"])

    def script(self, name: str) -> tuple[Path, Path]:
        """A client's script, and the file in which it leaves what it was told."""
        script, found = self.directory / f"{name}.sh", self.directory / f"{name}.env"
        script.write_text(SCRIPT.format(found=found))
        script.chmod(0o755)
        return script, found


def told(found: Path) -> dict[str, str]:
    """What a client's script was told, by name."""
    lines = until(lambda: found.read_text() if found.exists() else "", f"{found.name} is written")
    return dict(line.split("=", 1) for line in lines.splitlines() if "=" in line)


@pytest.fixture(scope="module")
def lab(module_directory: Path) -> Iterator[Lab]:
    """Give the chain, up, with three clients that have no addresses."""
    made = Lab(module_directory)
    made.command("up", str(made.chain), "--detach")
    yield made
    made.command("down")


# -- real clients ------------------------------------------------------------------------


def udhcpc(lab: Lab, number: int, *options: str) -> dict[str, str]:
    """Let udhcpc get an address; what it was told."""
    script, found = lab.script(f"udhcpc{number}")
    found.unlink(missing_ok=True)
    lab.clients[number - 1].run(
        "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-s", str(script), *options
    )
    return told(found)


def test_udhcpc_gets_an_address_and_all_options(lab: Lab) -> None:
    """With a checksum that no device filled in, through the switch."""
    env = udhcpc(lab, 1, "-O", "mtu")
    assert env["ip"] == lab.leases()["02:c0:00:00:00:01"]
    assert (env["mask"], env["subnet"]) == ("24", "255.255.255.0")
    assert (env["router"], env["dns"]) == (OPTIONS["router"], OPTIONS["dns"])
    assert (env["domain"], env["mtu"]) == (OPTIONS["domain"], OPTIONS["mtu"])
    assert (env["lease"], env["serverid"]) == ("3600", SERVER_IP)


def test_udhcpc_gets_its_reservation(lab: Lab) -> None:
    """It is outside of the pool."""
    assert udhcpc(lab, 3)["ip"] == "10.9.0.200"


def test_udhcpc_gets_the_same_address_again(lab: Lab) -> None:
    """By its identifier, as long as it is free; after its release too."""
    first = udhcpc(lab, 1)["ip"]
    assert udhcpc(lab, 1, "-R")["ip"] == first
    assert udhcpc(lab, 1)["ip"] == first


def dhclient(lab: Lab, number: int, *words: str) -> None:
    """Run dhclient to the end of what ``words`` say."""
    script, _found = lab.script(f"dhclient{number}")
    settings = lab.directory / "dhclient.conf"
    settings.write_text("request subnet-mask, routers, domain-name-servers, interface-mtu;")
    lab.clients[number - 1].run(
        "dhclient", "-4", *words, "-v", "-sf", str(script), "-cf", str(settings),
        "-lf", str(lab.directory / f"dhclient{number}.leases"),
        "-pf", str(lab.directory / f"dhclient{number}.pid"), "eth0",
        timeout_s=60,
    )  # fmt: skip


def test_dhclient_gets_releases_and_remembers(lab: Lab) -> None:
    """SELECTING, then RELEASE; then INIT-REBOOT of what its file remembers."""
    _script, found = lab.script("dhclient2")
    dhclient(lab, 2, "-1")
    env = told(found)
    assert (env["reason"], env["new_dhcp_server_identifier"]) == ("BOUND", SERVER_IP)
    assert env["new_interface_mtu"] == OPTIONS["mtu"]
    ip = env["new_ip_address"]
    assert lab.leases()["02:c0:00:00:00:02"] == ip
    # Taken off the device without a word, as by a loss of power: it boots with its address.
    dhclient(lab, 2, "-x")
    found.unlink()
    dhclient(lab, 2, "-1")
    assert (told(found)["reason"], told(found)["new_ip_address"]) == ("REBOOT", ip)
    dhclient(lab, 2, "-r")
    until(lambda: "02:c0:00:00:00:02" not in lab.leases(), "the lease is released")


def test_the_server_answers_pings(lab: Lab) -> None:
    """ARP and echo for its address, from a client that has one."""
    udhcpc(lab, 1)
    lab.clients[0].run("ping", "-c", "1", "-W", "2", SERVER_IP)


def test_a_renewal_through_the_clients_own_stack(lab: Lab) -> None:
    """Its kernel leaves the checksum to the device, asks for the server, and checks the reply."""
    ip = udhcpc(lab, 1)["ip"]
    mac = bytes.fromhex("02c000000001")
    asked = DHCP(options=[("message-type", "request"), ("client_id", b"\x01" + mac), "end"])
    request = bytes(BOOTP(chaddr=mac, xid=7, ciaddr=ip) / asked)

    def renew() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((ip, 68))
            client.settimeout(5)
            client.sendto(request, (SERVER_IP, 67))
            return client.recv(2048)

    reply = BOOTP(inside(lab.clients[0].name, renew))
    assert (reply.xid, reply.yiaddr, reply.ciaddr) == (7, ip, ip)
    assert ("message-type", 5) in reply[DHCP].options


@pytest.mark.parametrize(("is_alive", "client_id"), [(True, "0x3d:a1"), (False, "0x3d:a2")])
def test_leases_outlive_the_chain(lab: Lab, is_alive: bool, client_id: str) -> None:
    """After `down` and `up` nobody else gets a client's address, and the client gets it again."""
    before = udhcpc(lab, 1)["ip"]
    pid = int((lab.directory / "run" / "standalone.pid").read_text())
    if not is_alive:
        end(pid, signal.SIGKILL)
    # Given away when nobody was there to write it down.
    other = udhcpc(lab, 2, "-x", client_id)["ip"]
    lab.command("down")
    lab.command("up", str(lab.chain), "--detach")
    assert {before, other} <= {row["ip"] for row in lab.shown() if row["state"] == "bound"}
    # What another has is not to be had.
    assert udhcpc(lab, 2, "-x", client_id, "-r", before)["ip"] == other
    assert udhcpc(lab, 1)["ip"] == before


def test_clients_go_on_while_nobody_is_up(lab: Lab) -> None:
    """The process is killed: leases are renewed, given and known to the next process."""
    before = udhcpc(lab, 1)["ip"]
    pid = int((lab.directory / "run" / "standalone.pid").read_text())
    end(pid, signal.SIGKILL)
    assert udhcpc(lab, 1)["ip"] == before
    other = udhcpc(lab, 2)["ip"]
    lab.command("up", str(lab.chain), "--detach")
    leases = lab.leases()
    assert (leases["02:c0:00:00:00:01"], leases["02:c0:00:00:00:02"]) == (before, other)
    assert udhcpc(lab, 2)["ip"] == other

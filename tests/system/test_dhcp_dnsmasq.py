# SPDX-License-Identifier: Apache-2.0
"""The DHCP module beside dnsmasq: the same messages get the same replies at the same place."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from iovisor_ovn.demo import Namespace, until
from iovisor_ovn.demo.places import inside
from iovisor_ovn.demo.processes import end
from support.fixtures import run_name

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

SERVER_IP, SERVER_MAC = "10.9.0.1", "02:00:00:00:00:fe"
ME, ME_RAW, MY_IP = "02:d0:00:00:00:07", b"\x02\xd0\x00\x00\x00\x07", "10.9.0.42"
RELAY_IP, PROBE_IP = "10.9.0.2", "10.9.0.66"
NOBODY, EVERYBODY = "0.0.0.0", "255.255.255.255"  # no address to listen on
CHAIN = f"""
    modules:
      - name: Server
        type: dhcp
        config:
          server_ip: {SERVER_IP}/24
          server_mac: "{SERVER_MAC}"
          addr_low: 10.9.0.10
          addr_high: 10.9.0.99
          router: 10.9.0.254
          dns: 10.9.0.53
          domain_name: example.org
          mtu: 1400
          lease_time: 3600
    external_interfaces:
      - {{module: Server, iface: srv}}
"""
DNSMASQ = (
    "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=srv",
    "--user=root", "--pid-file=", "--dhcp-authoritative", "--no-ping", "--log-facility=-",
    "--dhcp-range=10.9.0.10,10.9.0.99,255.255.255.0,3600", "--dhcp-option=3,10.9.0.254",
    "--dhcp-option=6,10.9.0.53", "--domain=example.org", "--dhcp-option=26,1400",
)  # fmt: skip
#: What a reply is asked for.
WANTED = [1, 3, 6, 15, 26, 28, 51, 54, 58, 59]
_PROBE = 0x9999


def message(kind: str, *options: object, **fields: Any) -> Packet:
    """A message of the client."""
    source, target = fields.pop("source", NOBODY), fields.pop("target", EVERYBODY)
    values: dict[str, Any] = {"chaddr": ME_RAW, "xid": 0x7777} | fields
    eth_dst = SERVER_MAC if target == SERVER_IP else "ff:ff:ff:ff:ff:ff"
    asked = [("message-type", kind), ("param_req_list", WANTED), *options, "end"]
    return (
        Ether(src=ME, dst=eth_dst) / IP(src=source, dst=target) / UDP(sport=68, dport=67)
        / BOOTP(**values) / DHCP(options=asked)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """What is compared: where it goes, and what it says."""

    way: tuple[str, str, int]
    fields: tuple[str, ...]
    options: dict[str, tuple[Any, ...]] = field(hash=False)


def read(frame: Packet) -> Reply:
    """The parts of a reply that are compared."""
    bootp = frame[BOOTP]
    options = {
        option[0]: option[1:]
        for option in frame[DHCP].options
        if isinstance(option, tuple) and option[0] != "pad"
    }
    return Reply(
        (frame.dst, frame[IP].dst, frame[UDP].dport),
        tuple(str(value) for value in (bootp.yiaddr, bootp.ciaddr, bootp.giaddr, bootp.flags)),
        options,
    )


class Server:
    """A server behind a wire, in a namespace; the other end of the wire in another."""

    def __init__(self, name: str, directory: Path) -> None:
        """Make the wire; the server is not up yet."""
        self.name = name
        self.inner = Namespace(run_name(f"{name}-in"), directory)
        self.outer = Namespace(run_name(f"{name}-out"), directory)
        self.inner.ip(
            f"link add srv type veth peer name ask netns {self.outer.name}", "link set srv up"
        )
        self.outer.ip("link set ask up")
        self._socket = inside(self.outer.name, _open)

    def ask(self, frame: Packet) -> list[Reply]:
        """Replies to a message; one to another that is sent behind it ends the waiting."""
        probe = message("inform", source=PROBE_IP, ciaddr=PROBE_IP, xid=_PROBE)
        self._socket.send(bytes(frame))
        self._socket.send(bytes(probe))
        found: list[Reply] = []
        while True:
            try:
                got = Ether(self._socket.recv(4096))
            except TimeoutError:
                raise AssertionError(f"{self.name} is silent") from None
            if UDP not in got or got[UDP].sport != 67:
                continue
            if got[BOOTP].xid == _PROBE:
                return found
            found.append(read(got))

    def close(self) -> None:
        """Close the socket; the namespaces go with their directory."""
        self._socket.close()


def _open() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    made.bind(("ask", 3))
    made.settimeout(10)
    return made


@pytest.fixture(scope="module")
def ours(module_directory: Path) -> Iterator[Server]:
    """Give a chain that is a DHCP server and nothing else."""
    server = Server("chain", module_directory)
    file, where = module_directory / "chain.yaml", str(module_directory / "run")
    file.write_text(dedent(CHAIN))
    command = str(Path(sys.executable).parent / "iovisor-ovn")
    server.inner.run(command, "standalone", "up", str(file), "--detach", "--run-dir", where)
    yield server
    server.inner.run(command, "standalone", "down", "--run-dir", where)
    server.close()


@pytest.fixture(scope="module")
def theirs(module_directory: Path) -> Iterator[Server]:
    """Give dnsmasq with the same settings."""
    server = Server("dnsmasq", module_directory)
    server.inner.ip(f"link set srv address {SERVER_MAC}", f"addr add {SERVER_IP}/24 dev srv")
    for ip in (MY_IP, RELAY_IP, PROBE_IP):
        # Nobody answers ARP there.
        server.inner.ip(f"neigh add {ip} lladdr {ME} dev srv nud permanent")
    log_file = module_directory / "dnsmasq.log"
    log = log_file.open("w")
    leases = f"--dhcp-leasefile={module_directory / 'dnsmasq.leases'}"
    process = subprocess.Popen(server.inner.words(*DNSMASQ, leases), stdout=log, stderr=log)
    until(lambda: "DHCP, IP range" in log_file.read_text(), "dnsmasq is up")
    yield server
    end(process.pid, signal.SIGTERM)
    process.wait()
    log.close()
    server.close()


WISH = ("requested_addr", MY_IP)
ELSEWHERE, OUTSIDE = ("requested_addr", "192.0.2.5"), ("requested_addr", "10.9.0.200")
SERVER = ("server_id", SERVER_IP)
MINE = {"source": MY_IP, "ciaddr": MY_IP}
TO_SERVER = {"target": SERVER_IP}
RELAYED = {"giaddr": RELAY_IP, "source": RELAY_IP, "target": SERVER_IP, "hops": 1}
CIRCUIT = ("relay_agent_information", b"\x01\x04port")
NAMED = ("client_id", b"\x00somebody")

#: One after another: each says what it is, then its message.
STEPS: list[tuple[str, Packet]] = [
    ("DISCOVER with a wish", message("discover", WISH)),
    ("DISCOVER of one that wants broadcasts", message("discover", WISH, flags="B")),
    ("REQUEST of what was offered", message("request", SERVER, WISH)),
    ("the same with broadcasts", message("request", SERVER, WISH, flags="B")),
    ("INIT-REBOOT", message("request", WISH)),
    ("INIT-REBOOT elsewhere", message("request", ELSEWHERE)),
    ("RENEWING", message("request", **MINE, **TO_SERVER)),
    ("REBINDING", message("request", **MINE)),
    ("INFORM", message("inform", **MINE)),
    ("DISCOVER of one that has a lease", message("discover")),
    ("a shorter lease", message("request", SERVER, WISH, ("lease_time", 600))),
    ("REQUEST of an address out of the pool", message("request", SERVER, OUTSIDE)),
    ("REQUEST to another server", message("request", ("server_id", "10.9.0.9"), WISH)),
    ("DISCOVER again", message("discover", WISH)),
    ("REQUEST again", message("request", SERVER, WISH)),
    ("DISCOVER through a relay", message("discover", WISH, CIRCUIT, **RELAYED)),
    ("REQUEST through a relay", message("request", SERVER, WISH, CIRCUIT, **RELAYED)),
    ("a refusal through a relay", message("request", SERVER, ELSEWHERE, **RELAYED)),
    ("RELEASE", message("release", SERVER, **MINE, **TO_SERVER)),
    ("DISCOVER of one with an identifier", message("discover", NAMED, WISH)),
    ("REQUEST of one with an identifier", message("request", NAMED, SERVER, WISH)),
    ("RENEWING of one with an identifier", message("request", NAMED, **MINE, **TO_SERVER)),
    ("RENEWING of another", message("request", **MINE, **TO_SERVER)),
    ("BOOTP", Ether(src=ME, dst="ff:ff:ff:ff:ff:ff") / IP(src=NOBODY, dst=EVERYBODY)
     / UDP(sport=68, dport=67) / BOOTP(chaddr=ME_RAW, xid=5)),
]  # fmt: skip


#: Options in which dnsmasq says more than the RFCs, or less.
NOT_COMPARED = {
    "error_message": "its words, which are for people",
    "renewal_time": "it spreads renewals",
    "rebinding_time": "likewise",
    "client_id": "it does not give it back (RFC 6842)",
}
#: Steps at which it does something else, and what we say.
OURS = {
    "INFORM": "ack",  # with no lease time (RFC 2131, 4.3.5)
    "REQUEST to another server": "",  # silence (4.3.2)
    "RENEWING of another": "nak",  # a client is its identifier, not its MAC address (4.2)
}


def compared(
    reply: Reply,
) -> tuple[tuple[str, str, int], tuple[str, ...], dict[str, tuple[Any, ...]]]:
    """The reply without what is not compared."""
    options = {name: value for name, value in reply.options.items() if name not in NOT_COMPARED}
    # Of a refusal it sets the broadcast flag always, also to clients that will not see it relayed.
    is_refusal = reply.options["message-type"] == (6,)
    fields = reply.fields[:3] if is_refusal else reply.fields
    return reply.way, fields, options


def test_both_say_the_same(ours: Server, theirs: Server) -> None:
    """To each message of a client's life, one after another."""
    wrong = []
    for name, frame in STEPS:
        a = [compared(reply) for reply in ours.ask(frame)]
        b = [compared(reply) for reply in theirs.ask(frame)]
        if (a == b) == (name in OURS):
            wrong.append(f"{name}\n  ours:   {a}\n  theirs: {b}")
        elif name in OURS:
            kinds = [_KINDS[options["message-type"][0]] for _way, _fields, options in a]
            assert ", ".join(kinds) == OURS[name], name
    assert not wrong, "\n".join(wrong)


_KINDS = {2: "offer", 5: "ack", 6: "nak"}

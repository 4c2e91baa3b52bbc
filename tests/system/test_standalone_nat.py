# SPDX-License-Identifier: Apache-2.0
"""Programs behind a chain's NAT: many flows, bulk data, path MTUs, restarts, changes.

The files have the shape of the archived project's examples, with all that is peculiar to them.
"""

import errno
import hashlib
import random
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from iovisor_ovn.demo.places import Namespace, inside
from iovisor_ovn.demo.processes import end
from support.chains import StandaloneRig
from support.fixtures import run_name
from support.flows import PingStream, udp_error
from support.mirror import Line, Mirror, ask, ask_from, datagrams

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_bpf]

_PUBLIC, _BLUE, _GREEN, _WEB, _FAR = (
    "10.10.1.100", "10.0.1.1", "10.0.2.1", "10.10.1.1", "198.51.100.1",
)  # fmt: skip
_CHAIN = """
modules:
  - name: Switch1
    type: switch
    config:

  - name: Switch2
    type: switch
    config:

  - name: Nat
    type: nat
    config:
      public_ip: 10.10.1.100
      public_port_ip: 10.10.1.100
      public_port_mac: "7e:ee:c2:cf:3c:dc"

  - name: Router
    type: router
    config:
      interfaces:
        - name: Switch1
          ip: 10.0.1.254
          netmask: 255.255.255.0
          mac: "7e:ee:c2:01:01:01"

        - name: Switch2
          ip: 10.0.2.254
          netmask: 255.255.255.0
          mac: "7e:ee:c2:02:02:02"

        - name: Nat
          ip: 10.10.1.100
          netmask: 255.255.255.0
          mac: "7e:ee:c2:03:03:03"

      static_routes:
        - network: 0.0.0.0
          netmask: 0.0.0.0
          interface: Nat
          #next_hop: "0"

links:
  - from: Switch1
    to: Router
  - from: Switch2
    to: Router
  - from: Router
    to: Nat

external_interfaces:
  - module: Switch1
    iface: {blue}
  - module: Switch2
    iface: {green}
  - module: Nat
    iface: {web}
"""
_INSIDE, _OUTSIDE = "10.0.1.1", "203.0.113.1"
_ONE_TO_ONE = """
modules:
  - name: Switch1
    type: switch
    config:

  - name: Nat
    type: onetoonenat
    config:
      nat_entries:
      - internal_ip: 10.0.1.1
        external_ip: 203.0.113.1

  - name: Router
    type: router
    config:
      interfaces:
        - name: Switch1
          ip: 10.0.1.254
          netmask: 255.255.255.0
          mac: "7e:ee:c2:01:01:01"

        - name: Nat
          ip: 10.10.1.254
          netmask: 255.255.255.0
          mac: "7e:ee:c2:03:03:03"

      static_routes:
        - network: 0.0.0.0
          netmask: 0.0.0.0
          interface: Nat

links:
  - from: Switch1
    to: Router
  - from: Router
    to: Nat

external_interfaces:
  - module: Switch1
    iface: {host}
  - module: Nat
    iface: {peer}
"""
#: Source ports of many flows; below those that systems give by themselves.
_PORTS = range(20000, 23000)
_TCP_PORTS = range(24000, 24300)
_LONE_PORT = 25000
_SMALL_MTU = 1300
#: Linux' names that Python lacks (ip(7)).
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO, _IP_MTU = 10, 2, 14


def _with_annex(text: str) -> str:
    """Add a third network, with nobody in it, to a chain."""
    interfaces, modules, links = "      interfaces:\n", "modules:\n", "links:\n"
    for old, new in (
        (
            interfaces,
            '        - {name: Annex, ip: 10.0.3.254/24, mac: "7e:ee:c2:04:04:04"}\n',
        ),
        (modules, "  - {name: Annex, type: switch}\n"),
        (links, "  - {from: Annex, to: Router}\n"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, old + new)
    return text


@pytest.fixture(scope="module")
def rig(module_directory: Path) -> Iterator[StandaloneRig]:
    """Return blue and green inside, web outside."""
    made = StandaloneRig(module_directory / "nat", run_name("nat"))
    try:
        made.add_host("blue", 1, [f"{_BLUE}/24"], ["10.0.1.254"])
        made.add_host("green", 2, [f"{_GREEN}/24"], ["10.0.2.254"])
        made.add_host("web", 3, [f"{_WEB}/24"])
        made.up(_CHAIN)
        # Neighbours are known: a fragment can overtake the first one, which waited for them.
        for name in ("blue", "green"):
            assert made.hosts[name].ping(_WEB).received == 1
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def far(rig: StandaloneRig) -> Namespace:
    """Return what is behind web and a link of 1300 bytes."""
    web = rig.hosts["web"].namespace
    far = Namespace(f"{rig.prefix}-far", rig.directory)
    web.ip(
        f"link add side type veth peer name eth0 netns {far.name}",
        f"link set side mtu {_SMALL_MTU} up",
        "address add 198.51.100.254/24 dev side",
    )
    # Web answers ARP for far: the NAT's router takes all the world to be on its link.
    web.run(
        "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.eth0.proxy_arp=1",
        "net.ipv4.neigh.eth0.proxy_delay=0",
    )  # fmt: skip
    far.ip(
        "link set eth0 up",
        f"address add {_FAR}/24 dev eth0",
        # Far sends what fits but offers to take more: its peer must find the way's MTU.
        f"route add default via 198.51.100.254 mtu {_SMALL_MTU} advmss 1460",
    )
    return far


def _bindings(rig: StandaloneRig, protocol: str, target: tuple[str, int]) -> dict[str, str]:
    """Return what `show` says that flows to a target are translated to, by their source."""
    name = f"{target[0]}:{target[1]}"
    return {
        row["source"]: row["translated"]
        for row in rig.show()["connections"]
        if row["module"] == "Nat" and (row["protocol"], row["destination"]) == (protocol, name)
    }


def _public_ports(seen: Iterable[str]) -> list[int]:
    """Return the ports that a mirror sees, all at the public address."""
    ends = [one.rsplit(":", 1) for one in seen]
    assert {address for address, _port in ends} == {_PUBLIC}
    return [int(port) for _address, port in ends]


@contextmanager
def _unharmed(
    rig: StandaloneRig, chain: str, host: str, target: str, lines: Iterable[Line]
) -> Iterator[Callable[[], None]]:
    """Kill and take over, change and change back; no ping of ``host``, no connection is lost.

    Yields, with the process just replaced, a function that looks after the lines.
    """
    lines = list(lines)

    def look() -> None:
        stream.wait_answers(5)
        for number, line in enumerate(lines):
            question = b"alive %d" % number
            assert line.echo(question) == question

    with PingStream(rig.hosts[host], target, 0.01) as stream:
        look()
        pid = rig.pid
        assert pid is not None
        end(pid, signal.SIGKILL)
        look()
        rig.up(chain)
        assert rig.pid not in (None, pid)
        look()
        yield look
        for changed in (_with_annex(chain), chain):
            rig.apply(changed)
            look()
        assert stream.stop() == 0, "pings were lost"


def test_thousands_of_flows_have_a_public_port_each(rig: StandaloneRig) -> None:
    """Two clients with the same 3000 ports; each is answered, seen and shown as one of 6000."""
    blue, green = (rig.hosts[name].namespace for name in ("blue", "green"))
    with Mirror(rig.hosts["web"].namespace, _WEB) as mirror:
        of_blue = ask_from(blue, _PORTS, mirror.udp)
        of_green = ask_from(green, _PORTS, mirror.udp)
        # Who asks again is still the same.
        again = _PORTS[::100]
        assert ask_from(blue, again, mirror.udp) == {port: of_blue[port] for port in again}
        shown = _bindings(rig, "udp", mirror.udp)
    ports = _public_ports([*of_blue.values(), *of_green.values()])
    assert len(set(ports)) == 2 * len(_PORTS)
    assert shown == {
        f"{address}:{port}": seen
        for address, flows in ((_BLUE, of_blue), (_GREEN, of_green))
        for port, seen in flows.items()
    }


def test_hundreds_of_connections_are_kept_apart(rig: StandaloneRig) -> None:
    """All are open before the first speaks; two clients use the same ports."""
    clients = {
        (address, port): rig.hosts[name].namespace
        for name, address, ports in (
            ("blue", _BLUE, _TCP_PORTS), ("green", _GREEN, _TCP_PORTS[:100]),
        )
        for port in ports
    }  # fmt: skip
    with Mirror(rig.hosts["web"].namespace, _WEB) as mirror, ExitStack() as stack:
        lines = {
            (address, port): stack.enter_context(Line(where, mirror.tcp, port))
            for (address, port), where in clients.items()
        }
        assert len(set(_public_ports(line.seen for line in lines.values()))) == len(clients)
        for client, line in reversed(lines.items()):
            question = f"I am {client}".encode() * 100
            assert line.echo(question) == question
        assert _bindings(rig, "tcp", mirror.tcp) == {
            f"{address}:{port}": line.seen for (address, port), line in lines.items()
        }


def test_a_stream_crosses_unchanged_both_ways(rig: StandaloneRig) -> None:
    """16 MiB to the server and back over one connection have the SHA-256 that they had."""
    data = random.Random(1).randbytes(16 << 20)
    with (
        Mirror(rig.hosts["web"].namespace, _WEB) as mirror,
        Line(rig.hosts["blue"].namespace, mirror.tcp) as line,
    ):
        assert hashlib.sha256(line.echo(data)).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("count", "sizes"), [(4000, range(1, 1453)), (500, range(1473, 8000))],
    ids=["whole", "fragments"],
)  # fmt: skip
def test_datagrams_cross_unchanged_both_ways(rig: StandaloneRig, count: int, sizes: range) -> None:
    """Megabytes in datagrams of all sizes, odd ones and those that are cut on the way too."""
    choice = random.Random(2)
    with (
        Mirror(rig.hosts["web"].namespace, _WEB) as mirror,
        inside(rig.hosts["blue"].namespace.name, lambda: datagrams("", 0)) as one,
    ):
        for _ in range(count):
            ask(one, mirror.udp, choice.randbytes(choice.choice(sizes)))


def test_a_sender_learns_of_a_small_mtu_outside(rig: StandaloneRig, far: Namespace) -> None:
    """A router's "fragmentation needed" finds the socket behind the public address."""
    with (
        Mirror(far, _FAR) as mirror,
        inside(rig.hosts["blue"].namespace.name, lambda: datagrams("", 0)) as one,
    ):
        one.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        one.connect(mirror.udp)
        assert one.getsockopt(socket.IPPROTO_IP, _IP_MTU) == 1500
        one.send(bytes(1400))
        with pytest.raises(OSError, match="Message too long") as raised:
            one.recv(65535)
        assert raised.value.errno == errno.EMSGSIZE
        assert one.getsockopt(socket.IPPROTO_IP, _IP_MTU) == _SMALL_MTU
        assert ask(one, mirror.udp, bytes(1200)).startswith(f"{_PUBLIC}:")


def test_a_connection_finds_the_mtu_of_its_path(rig: StandaloneRig, far: Namespace) -> None:
    """What was too long is sent again in smaller segments, and arrives unchanged."""
    data = random.Random(3).randbytes(1 << 20)
    with Mirror(far, _FAR) as mirror, Line(rig.hosts["green"].namespace, mirror.tcp) as line:
        assert line.socket.getsockopt(socket.IPPROTO_IP, _IP_MTU) == 1500
        assert line.echo(data) == data
        assert line.socket.getsockopt(socket.IPPROTO_IP, _IP_MTU) == _SMALL_MTU


def test_a_closed_port_outside_is_told(rig: StandaloneRig) -> None:
    """The server's "port unreachable" is the error of the client's socket."""
    for name in ("blue", "green"):
        error = udp_error(rig.hosts[name], _WEB, 9)
        assert isinstance(error, ConnectionRefusedError)


def test_bindings_outlive_the_process_and_changes(rig: StandaloneRig) -> None:
    """A successor knows all, and gives no port away that an earlier connection has."""
    blue, green, web = (rig.hosts[name].namespace for name in ("blue", "green", "web"))
    with Mirror(web, _WEB) as mirror, Line(blue, mirror.tcp, _LONE_PORT) as line:
        asked = ask_from(blue, [_LONE_PORT], mirror.udp)
        with _unharmed(rig, _CHAIN, "blue", _WEB, [line]) as look:
            assert _bindings(rig, "tcp", mirror.tcp) == {f"{_BLUE}:{_LONE_PORT}": line.seen}
            assert ask_from(blue, [_LONE_PORT], mirror.udp) == asked
            assert ask_from(green, [_LONE_PORT], mirror.udp) != asked
            with Line(green, mirror.tcp, _LONE_PORT) as other:
                assert other.seen != line.seen
                look()


def test_a_new_chain_knows_no_bindings(rig: StandaloneRig) -> None:
    """After `down`, what was bound is refused like any port that nobody has."""
    blue, web = (rig.hosts[name].namespace for name in ("blue", "web"))
    with (
        inside(web.name, lambda: datagrams(_WEB, 0)) as server,
        inside(blue.name, lambda: datagrams("", 0)) as client,
    ):
        target = server.getsockname()
        client.sendto(b"question", target)
        _question, seen = server.recvfrom(100)
        server.connect(seen)
        server.send(b"answer")
        assert client.recv(100) == b"answer"
        rig.run("down")
        rig.up(_CHAIN)
        assert _bindings(rig, "udp", target) == {}
        server.send(b"too late")
        with pytest.raises(ConnectionRefusedError):
            server.recv(100)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)
        client.sendto(b"again", target)
        assert server.recv(100) == b"again"
        assert list(_bindings(rig, "udp", target).values()) == [f"{seen[0]}:{seen[1]}"]


def test_one_to_one_connections_outlive_the_process_and_changes(module_directory: Path) -> None:
    """From outside and from inside; each side sees the other as it was."""
    name = run_name("one")
    rig = StandaloneRig(module_directory / name, name)
    try:
        host = rig.add_host("host", 1, [f"{_INSIDE}/24"], ["10.0.1.254"]).namespace
        peer = rig.add_host("peer", 2, [f"{_WEB}/24"], ["10.10.1.254"]).namespace
        rig.up(_ONE_TO_ONE)
        with (
            Mirror(host, _INSIDE) as within,
            Mirror(peer, _WEB) as without,
            Line(peer, (_OUTSIDE, within.tcp[1]), _LONE_PORT) as inbound,
            Line(host, without.tcp, _LONE_PORT) as outbound,
            _unharmed(rig, _ONE_TO_ONE, "peer", _OUTSIDE, [inbound, outbound]),
        ):
            assert inbound.seen == f"{_WEB}:{_LONE_PORT}"
            assert outbound.seen == f"{_OUTSIDE}:{_LONE_PORT}"
            shown = {row["source"]: row["translated"] for row in rig.show()["connections"]}
            assert shown[f"{_WEB}:{_LONE_PORT}"] == f"{_INSIDE}:{within.tcp[1]}"
            assert shown[f"{_INSIDE}:{_LONE_PORT}"] == f"{_OUTSIDE}:{_LONE_PORT}"
    finally:
        rig.close()

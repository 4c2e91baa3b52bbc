# SPDX-License-Identifier: Apache-2.0
"""The same three jobs for a service chain and for the Linux kernel: switch, router, router + NAT.

Each candidate has a host with two devices, ``in`` and ``out``, whose other ends are the ``eth0`` of
a client and of a server; between them is either a chain from a file or what the kernel offers.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from setups import Route

from iovisor_ovn.demo.places import Namespace

__all__ = ["JOBS", "NAT", "ROUTER", "Job", "candidates", "deployed"]

_COMMAND = Path(__file__).parent.parent / ".venv" / "bin" / "iovisor-ovn"
_START_S = 120.0

_SWITCH = """\
modules:
  - {name: lan, type: switch}
external_interfaces:
  - {module: lan, iface: in}
  - {module: lan, iface: out}
"""

ROUTER = """\
modules:
  - name: gate
    type: router
    config:
      interfaces:
        - {name: in, ip: 10.0.1.1/24, mac: 02:00:00:00:01:01}
        - {name: out, ip: 192.0.2.1/24, mac: 02:00:00:00:02:01}
external_interfaces:
  - {module: gate, iface: in}
  - {module: gate, iface: out}
"""

NAT = """\
modules:
  - name: gate
    type: router
    config:
      interfaces:
        - {name: in, ip: 10.0.1.1/24, mac: 02:00:00:00:01:01}
        - {name: nat, ip: 192.0.2.1/24, mac: 02:00:00:00:02:01}
  - name: nat
    type: nat
    config: {public_ip: 192.0.2.1}
links:
  - {from: gate, to: nat}
external_interfaces:
  - {module: gate, iface: in}
  - {module: nat, iface: out}
"""

_MASQUERADE = """
table ip bench {
    chain out {
        type nat hook postrouting priority srcnat;
        oifname "out" masquerade
    }
}
"""


@dataclass(frozen=True, slots=True)
class Job:
    """What is done for the packets; ``client`` and ``server`` are commands of ``ip`` there."""

    name: str
    chain: str
    client: tuple[str, ...]
    server: tuple[str, ...]
    address: str


_FAR = ("address add 192.0.2.2/24 dev eth0",)
_INSIDE = ("address add 10.0.1.2/24 dev eth0", "route add default via 10.0.1.1")

#: In order of what they cost.
JOBS = (
    Job("switch", _SWITCH, ("address add 192.0.2.3/24 dev eth0",), _FAR, "192.0.2.2"),
    Job("router", ROUTER, _INSIDE, (*_FAR, "route add default via 192.0.2.1"), "192.0.2.2"),
    Job("router + NAT", NAT, _INSIDE, _FAR, "192.0.2.2"),
)


@contextmanager
def candidates(place: Path) -> Iterator[list[Route]]:
    """Every job twice: ``kernel, ...`` and ``ours, ...``."""
    with ExitStack() as stack:
        routes = []
        for number, job in enumerate(JOBS):
            host, route = _hosts(f"kernel, {job.name}", f"k{number}", job, place)
            _serve_by_kernel(host, job, place)
            routes.append(route)
            host, route = _hosts(f"ours, {job.name}", f"o{number}", job, place)
            stack.enter_context(deployed(host, job.chain, place / f"o{number}"))
            routes.append(route)
        yield routes


def _hosts(name: str, prefix: str, job: Job, place: Path) -> tuple[Namespace, Route]:
    host, client, server = (
        Namespace(f"{prefix}-{role}", place) for role in ("host", "client", "server")
    )
    for end, device, commands in ((client, "in", job.client), (server, "out", job.server)):
        host.ip(
            f"link add {device} type veth peer name eth0 netns {end.name}",
            f"link set {device} up",
        )
        end.ip("link set eth0 up", *commands)
    return host, Route(name, client, server, job.address)


def _serve_by_kernel(host: Namespace, job: Job, place: Path) -> None:
    if job.name == "switch":
        host.ip(
            "link add lan type bridge",
            "link set lan up",
            "link set in master lan",
            "link set out master lan",
        )
        return
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    host.ip("address add 10.0.1.1/24 dev in", "address add 192.0.2.1/24 dev out")
    if "NAT" in job.name:
        rules = place / "masquerade.nft"
        rules.write_text(_MASQUERADE)
        host.run("nft", "-f", str(rules))


@contextmanager
def deployed(host: Namespace, chain: str, directory: Path) -> Iterator[Path]:
    """Let the chain work in a namespace; gives its run directory."""
    directory.mkdir()
    file = directory / "chain.yaml"
    file.write_text(chain)
    _standalone(host, "up", str(file), "--detach", "--run-dir", str(directory))
    try:
        yield directory
    finally:
        _standalone(host, "down", "--run-dir", str(directory))


def _standalone(host: Namespace, *words: str) -> None:
    host.run(str(_COMMAND), "standalone", *words, timeout_s=_START_S)

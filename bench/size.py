# SPDX-License-Identifier: Apache-2.0
"""How long large chains take to deploy, how much memory, and what packets cost in them.

A router with 10,000 routes, 100 modules in a row, 100,000 live NAT bindings: in this process, as
the daemon does it, and by test runs, so nothing of a network's is in the figures. What a packet
must become is checked on the way.
"""

import multiprocessing
import random
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from statistics import median
from typing import TypeVar

import chains
import ovs.vlog
from enclose import PLACE
from report import save, table
from rig import REDIRECT, Rig, WrongVerdict
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from iovisor_ovn.config.topology_file import read_topology
from iovisor_ovn.dataplane.conntrack import Conntrack
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.standalone.chain import Chain
from iovisor_ovn.standalone.lease_file import LeaseFile
from iovisor_ovn.standalone.store import Store
from iovisor_ovn.vswitch import NetDevices

__all__ = ["main"]

_ROUTES, _MODULES, _BINDINGS = 10_000, 100, 100_000
_PER_DESTINATION = 25_000
_CLIENT, _SERVER, _GATE_IN, _GATE_OUT = (
    "02:aa:00:00:00:01", "02:aa:00:00:00:02", "02:00:00:00:01:01", "02:00:00:00:02:01",
)  # fmt: skip
_REPEAT, _TURNS = 2000, 5
_TTL_AT = 14 + 8
_Figures = dict[str, float]
T = TypeVar("T")


@dataclass(slots=True)
class _Deployed:
    """A chain in this process, its devices, and what it took."""

    chain: Chain
    devices: dict[str, int]
    figures: _Figures

    def send(self, frame: bytes, device: str) -> tuple[bytes, int]:
        """Let a frame come in; returns it as it left, and nanoseconds. Raises WrongVerdict."""
        machine = self.chain.pipeline.machine
        verdict, left, ns = machine.test(frame, self.devices[device])
        if verdict != REDIRECT:
            raise WrongVerdict(f"verdict {verdict}, drops {machine.drops()}")
        return left, ns

    def time(self, frame: bytes, device: str) -> float:
        """Nanoseconds of a frame that comes in again and again."""
        rig = Rig(self.chain.pipeline.machine, self.chain.pipeline, self.devices)
        taken = [rig.time(frame, device, _REPEAT) for _turn in range(_TURNS)]
        return min(taken) - min(rig.overhead(frame, device, _REPEAT) for _turn in range(_TURNS))


@contextmanager
def _deployed(text: str) -> Iterator[_Deployed]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=PLACE) as name:
        pins = Path(name, "bpffs")
        pins.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bench", str(pins)], check=True)
        _ip("link add in type veth peer name in-far", "link add out type veth peer name out-far")
        chain = Chain(
            Machine.load(pins), NetDevices(), Store(Path(name, "state.json")),
            LeaseFile(Path(name, "leases")),
        )  # fmt: skip
        try:
            before_mb = _resident_mb()
            topology, reading_s = _timed(lambda: read_topology(text, "bench", Path(name)))
            _none, applying_s = _timed(lambda: chain.apply(topology))
            figures = {
                "reading the file, s": reading_s,
                "deploying, s": applying_s,
                "memory of the daemon, MB more": _resident_mb() - before_mb,
            }
            devices = {device: socket.if_nametoindex(device) for device in ("in", "out")}
            yield _Deployed(chain, devices, figures)
        finally:
            chain.close(keep=False)
            _ip("link del in", "link del out")
            subprocess.run(["umount", "-l", str(pins)], check=True)


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.monotonic()
    answer = work()
    return answer, time.monotonic() - began


def _introduce(place: _Deployed, mac: str, address: str, device: str, gate: str) -> None:
    """Let a host ask for the router, which learns it by that."""
    arp = ARP(op=1, hwsrc=mac, psrc=address, pdst=gate)
    place.send(bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / arp), device)


# -- routes ------------------------------------------------------------------------------


def _networks() -> list[IPv4Network]:
    """Random prefixes of 8 to 32 bits, none of an address that is not routed."""
    rng = random.Random(1)  # noqa: S311  no secrecy needed
    found: set[IPv4Network] = set()
    while len(found) < _ROUTES:
        length = rng.randint(8, 32)
        first = rng.randrange(11 << 24, 127 << 24) >> (32 - length) << (32 - length)
        if first >= 11 << 24:
            found.add(IPv4Network((first, length)))
    return sorted(found)


def _router(networks: list[IPv4Network]) -> str:
    routes = "".join(
        f"        - {{network: {network}, interface: out, next_hop: 192.0.2.2}}\n"
        for network in networks
    )
    return chains.ROUTER.replace("external", f"      static_routes:\n{routes}external", 1)


def _measure_routes() -> _Figures:
    networks = _networks()
    with _deployed(_router(networks)) as place:
        _introduce(place, _SERVER, "192.0.2.2", "out", "192.0.2.1")
        frames = [
            _datagram(Ether(src=_CLIENT, dst=_GATE_IN), "10.0.1.2", str(network.network_address))
            for network in networks[:: _ROUTES // 200]
        ]
        first = [place.send(frame, "in")[1] for frame in frames]
        later = [place.time(frame, "in") for frame in frames[::20]]
        more = _router([*networks, IPv4Network("198.51.100.0/24")])
        topology = read_topology(more, "bench", Path("/"))
        _none, seconds = _timed(lambda: place.chain.apply(topology))
        return place.figures | {
            "one route more, s": seconds,
            "first packet to an address, ns": median(first),
            "a later one, ns": median(later),
        }


# -- modules -----------------------------------------------------------------------------


_FIRST = ("10.1.0.9", _CLIENT)


def _row_of_modules() -> str:
    """A switch, a router, a switch ...; router n has 10.1.n.2 behind it, 10.1.n+1.1 before it."""
    modules, links = [], []
    for number in range(_MODULES // 2):
        ahead = "out" if number == _MODULES // 2 - 1 else f"s{number + 1}"
        behind, mac = (f"10.1.{number}.1", _mac(number - 1, 1)) if number else _FIRST
        back = f"{{network: 10.1.0.0/24, interface: s{number}, next_hop: {behind}}}"
        modules.append(f"""\
  - {{name: s{number}, type: switch}}
  - name: r{number}
    type: router
    config:
      interfaces:
        - {{name: s{number}, ip: 10.1.{number}.2/24, mac: {_mac(number, 0)}}}
        - {{name: {ahead}, ip: 10.1.{number + 1}.1/24, mac: {_mac(number, 1)}}}
      static_routes:
        - {{network: 198.51.100.0/24, interface: {ahead}, next_hop: 10.1.{number + 1}.2}}
{f"        - {back}" if number else ""}
      arp_entries:
        - {{ip: 10.1.{number + 1}.2, mac: {_mac(number + 1, 0)}}}
        - {{ip: {behind}, mac: {mac}}}
""")
        links.append(f"  - {{from: s{number}, to: r{number}}}\n")
        if ahead != "out":
            links.append(f"  - {{from: r{number}, to: {ahead}}}\n")
    last = f"r{_MODULES // 2 - 1}"
    return f"""\
modules:
{"".join(modules)}links:
{"".join(links)}external_interfaces:
  - {{module: s0, iface: in}}
  - {{module: {last}, iface: out}}
"""


def _mac(number: int, side: int) -> str:
    return f"02:00:00:00:{side:02x}:{number:02x}"


def _measure_modules() -> _Figures:
    with _deployed(_row_of_modules()) as place:
        frame = _datagram(Ether(src=_CLIENT, dst=_mac(0, 0)), "10.1.0.9", "198.51.100.1")
        answer = Ether(src=_SERVER, dst=_mac(_MODULES // 2 - 1, 1))
        place.send(_datagram(answer, "198.51.100.1", "10.1.0.9"), "out")  # the switches learn
        left, first_ns = place.send(frame, "in")
        if left[_TTL_AT] != frame[_TTL_AT] - _MODULES // 2:
            raise WrongVerdict(f"TTL {left[_TTL_AT]}: not all routers were crossed")
        return place.figures | {
            "first packet, ns": first_ns,
            "a later one, ns": place.time(frame, "in"),
        }


# -- bindings ----------------------------------------------------------------------------


def _measure_bindings() -> _Figures:
    with _deployed(chains.NAT) as place:
        machine = place.chain.pipeline.machine
        _introduce(place, _CLIENT, "10.0.1.2", "in", "10.0.1.1")
        _introduce(place, _SERVER, "192.0.2.2", "out", "192.0.2.1")
        began = time.monotonic()
        for first in range(0, _BINDINGS, _PER_DESTINATION):
            numbers = range(first, first + _PER_DESTINATION)
            for number in numbers:
                _converse(place, number)
            # A quarter of a second after the first one a connection counts as established.
            for number in numbers:
                place.send(_question(number), "in")
        creating_s = time.monotonic() - began
        later = Conntrack(machine.maps, lambda: time.monotonic_ns() + 10**15)
        live = sum(1 for _binding in place.chain.conntrack.bindings())
        _converse(place, _BINDINGS)
        began = time.monotonic()
        while later.collect():
            pass
        collecting_s = time.monotonic() - began
        left = len(machine.maps["ct_conns"].keys())
        return place.figures | {
            "live bindings": live,
            "making one (three packets), us": creating_s / _BINDINGS * 1e6,
            "taking all away once expired, s": collecting_s,
            "left then": left,
            "memory of connections' maps, MB": sum(
                _locked_mb(machine.maps[name].fd) for name in ("ct_conns", "ct_fresh")
            ),
        }


def _question(number: int) -> bytes:
    sport, host = 1024 + number % _PER_DESTINATION, number // _PER_DESTINATION
    asked = bytearray(_QUESTION)
    struct.pack_into("!HH", asked, 34, sport, 2000 + host)
    return bytes(asked)


def _converse(place: _Deployed, number: int) -> None:
    """Ask and answer. Raises WrongVerdict."""
    asked = _question(number)
    out, _ns = place.send(asked, "in")
    answer = bytearray(_ANSWER)
    answer[34:38] = out[36:38] + out[34:36]
    back, _ns = place.send(bytes(answer), "out")
    if back[30:34] != asked[26:30] or back[36:38] != asked[34:36]:
        raise WrongVerdict(f"an answer went to {IPv4Address(back[30:34])}, not to its asker")


def _datagram(ethernet: Packet, source: str, target: str) -> bytes:
    return bytes(ethernet / IP(src=source, dst=target) / UDP(chksum=0) / Raw(b"x" * 58))


_QUESTION = _datagram(Ether(src=_CLIENT, dst=_GATE_IN), "10.0.1.2", "192.0.2.2")
_ANSWER = _datagram(Ether(src=_SERVER, dst=_GATE_OUT), "192.0.2.2", "192.0.2.1")


def _locked_mb(fd: int) -> float:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("memlock"))) / 1e6


def main() -> None:
    """Measure, print the tables, keep the figures. Run by ``bench/run.py standalone``."""
    ovs.vlog.Vlog.init(None)
    ovs.vlog.Vlog.set_level("any", "console", "warn")
    kept = {}
    for title, measure in (
        (f"{_ROUTES:,} routes", _measure_routes),
        (f"{_MODULES} modules in a row", _measure_modules),
        (f"{_BINDINGS:,} NAT bindings", _measure_bindings),
    ):
        # In a process of its own, whose memory tells of nothing else.
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as process:
            kept[title] = figures = process.submit(measure).result()
        rows = [(name, f"{value:,.{_digits(value)}f}") for name, value in figures.items()]
        print(table((title, ""), rows), end="\n\n")
    print(f"figures in {save('size', kept)}")


def _digits(value: float) -> int:
    return 0 if value == int(value) or value >= 100 else 2

# SPDX-License-Identifier: Apache-2.0
"""Virtual machines played by network namespaces.

A *veth* machine has the far end of a pair; an *internal* one has a device that the switch made
and that was moved in (as Neutron's metadata agent does); a *tap* one is what QEMU does: a
process holds the tap on the hypervisor and exchanges frames, offloads included, with the machine.
"""

import ipaddress
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from iovisor_ovn.demo.places import Namespace
from iovisor_ovn.demo.processes import CommandFailed, until

__all__ = ["Kind", "Ping", "Vm"]

Kind = Literal["veth", "tap", "internal"]
_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received")
_TIMES = re.compile(r"= ([\d.]+)/([\d.]+)/")


@dataclass(frozen=True, slots=True)
class Ping:
    """What ping counted; ``rtt_ms`` is the shortest time, None without an answer."""

    sent: int
    received: int
    rtt_ms: float | None
    output: str


@dataclass(slots=True)
class Vm:
    """A machine; made by ``Hypervisor.add_vm``."""

    name: str
    logical_port: str
    mac: str
    addresses: tuple[str, ...]
    kind: Kind
    namespace: Namespace
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def port(self) -> str:
        """The device on the hypervisor's side, as the Interface row names it."""
        return f"tap-{self.name}"[:15]

    @property
    def device(self) -> str:
        """The device inside."""
        return self.port if self.kind == "internal" else "eth0"

    @property
    def ip4(self) -> str:
        """The first IPv4 address."""
        return self._address(4)

    @property
    def ip6(self) -> str:
        """The first IPv6 address."""
        return self._address(6)

    def run(self, *words: str, timeout_s: float = 30.0) -> str:
        """Run a program inside; return its output, raise CommandFailed or NotInTime."""
        return self.namespace.run(*words, timeout_s=timeout_s)

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start a program inside, its standard output a pipe; it ends with the machine."""
        process = subprocess.Popen(
            self.namespace.words(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def ping(self, target: str, *options: str, count: int = 1, wait_s: float = 1.0) -> Ping:
        """Ping ``count`` times, 0.2 s apart; ``wait_s`` is the patience for the last answer."""
        words = ("ping", "-n", "-c", str(count), "-i", "0.2", "-W", str(wait_s), *options, target)
        try:
            output = self.run(*words, timeout_s=count + wait_s + 20)
        except CommandFailed as failed:
            output = failed.output
        counted = _SUMMARY.search(output)
        if counted is None:
            raise CommandFailed(words, 2, output)
        times = _TIMES.search(output)
        rtt_ms = float(times[1]) if times else None
        return Ping(int(counted[1]), int(counted[2]), rtt_ms, output)

    def end_processes(self) -> None:
        """End what :meth:`popen` started."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.processes.clear()

    # -- called by the hypervisor --------------------------------------------------------

    def plug_in(self, hypervisor: Namespace, directory: Path) -> None:
        """Make the device on the hypervisor and its other end inside."""
        if self.kind == "veth":
            hypervisor.ip(
                f"link add {self.port} type veth peer name {self.device} netns "
                f"{self.namespace.name}",
                f"link set {self.port} up",
            )
            return
        pid_file = directory / f"{self.name}-wire.pid"
        wire = self.popen(
            sys.executable, "-m", "iovisor_ovn.demo.wire", hypervisor.name, self.port,
            self.namespace.name, self.device, str(pid_file),
        )  # fmt: skip
        assert wire.stdout is not None
        until(lambda: wire.stdout and wire.stdout.readline() == "ready\n", "the tap's process")
        hypervisor.ip(f"link set {self.port} up")

    def configure(self, gateways: Sequence[str], *, checksums_by_device: bool) -> None:
        """Give the device inside its addresses and routes, as a guest does.

        Without ``checksums_by_device`` the guest computes checksums and cuts segments itself:
        ordinary OVS's user space path sends what it reads from a device to the next one as it
        is.
        """
        device = self.device
        if not checksums_by_device:
            off = ("tx", "off", "tso", "off", "gso", "off")
            self.run("ethtool", "-K", device, *off)
        self.namespace.ip(f"link set {device} address {self.mac} up")
        self.namespace.ip(
            # `nodad` is a word of IPv6 that ip takes for IPv4 too.
            *[f"address add {address} dev {device} nodad" for address in self.addresses],
            *[f"route add default via {gateway} dev {device}" for gateway in gateways],
        )

    def _address(self, version: int) -> str:
        for text in self.addresses:
            interface = ipaddress.ip_interface(text)
            if interface.version == version:
                return str(interface.ip)
        raise LookupError(f"{self.name} has no IPv{version} address")

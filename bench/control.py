# SPDX-License-Identifier: Apache-2.0
"""How long the control plane takes with many logical flows, beside ovn-controller.

Our agent, and ovn-controller with ovs-vswitchd, take turns on the same databases
(`region.py`), each on a hypervisor with one VM on each network. A start ends when all ports are
marked as installed and the chassis has confirmed ``nb_cfg``: both promise that everything is in the
maps or OpenFlow tables. A change is timed from the moment when the Southbound database shows
northd's rows until it shows the chassis' confirmation, so northd's own time is left out. While an
agent starts, its control socket is asked again and again: the longest answer is how long its main
loop stood still.
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import ovs.poller
import ovs.vlog
import region
from enclose import PLACE
from report import save, table

from iovisor_ovn.demo.central import Central
from iovisor_ovn.demo.hypervisor import Flavor, Hypervisor
from iovisor_ovn.demo.places import Namespace
from iovisor_ovn.demo.processes import CommandFailed, NotInTime, read_pid
from iovisor_ovn.ovsdb import Database

__all__ = ["main"]

_FLAVORS: tuple[Flavor, ...] = ("iovisor", "ovn")
_LIMIT_S = 300.0
_CHANGES = 5
_ASK_EVERY_S = 0.05
_TICKS_S = os.sysconf("SC_CLK_TCK")
_PING_EVERY_S = 0.01
_PINGS = re.compile(r"(\d+) packets transmitted, (\d+) received")
_ANSWER = re.compile(r"\[([\d.]+)\] \d+ bytes from .* time=")


@dataclass(slots=True)
class _Start:
    """One start, and the changes after it (milliseconds by name)."""

    flavor: str
    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    agent_peak_mb: float = 0.0
    pause_s: float = 0.0
    changes_ms: dict[str, list[float]] = field(default_factory=dict)
    restart_change_s: float = 0.0
    restart_pings: int = 0
    restart_lost: int = 0
    restart_silence_ms: float = 0.0


class _Watch:
    """The rows that tell how far a hypervisor is, followed as they change."""

    def __init__(self, central: Central, hypervisor: Hypervisor) -> None:
        self._name = hypervisor.name
        columns = {"SB_Global": ("nb_cfg",), "Chassis_Private": ("name", "nb_cfg")}
        self._southbound = Database(central.sb, "OVN_Southbound", columns)
        local = f"unix:{hypervisor.directory}/db.sock"
        self._local = Database(local, "Open_vSwitch", {"Interface": ("name", "external_ids")})

    def until(self, reached: Callable[[], bool], what: str) -> float:
        """Return the moment when it was seen; NotInTime."""
        deadline = time.monotonic() + _LIMIT_S
        while True:
            ready = True
            for database in (self._southbound, self._local):
                database.run()
                database.changes()
                ready &= database.ever_connected
            now = time.monotonic()
            if ready and reached():
                return now
            if now > deadline:
                raise NotInTime(f"{self._name}: {what} not within {_LIMIT_S} s")
            poller = ovs.poller.Poller()
            self._southbound.wait(poller)
            self._local.wait(poller)
            poller.timer_wait(1000)
            poller.block()

    def close(self) -> None:
        self._southbound.close()
        self._local.close()

    @property
    def wanted(self) -> int:
        """``nb_cfg`` that northd has written."""
        return int(next(iter(self._southbound.tables["SB_Global"].rows.values())).nb_cfg)

    @property
    def confirmed(self) -> int:
        """``nb_cfg`` that the chassis has confirmed."""
        rows = self._southbound.tables["Chassis_Private"].rows.values()
        return next((int(row.nb_cfg) for row in rows if row.name == self._name), -1)

    def is_installed(self, devices: set[str]) -> bool:
        """Whether all these interfaces bear the mark."""
        marked = {
            row.name
            for row in self._local.tables["Interface"].rows.values()
            if row.external_ids.get("ovn-installed") == "true"
        }
        return devices <= marked


def _add_vms(hypervisor: Hypervisor, size: region.Size) -> set[str]:
    """Give each VM that is here its device; the first two can send."""
    vms = region.vms(size)
    words: list[str] = []
    for vm in vms:
        hypervisor.namespace.ip(
            f"link add {vm.name} type veth peer name {vm.name}-vm", f"link set {vm.name} up"
        )
        words += ["--", "add-port", "br-int", vm.name]
        words += ["--", "set", "Interface", vm.name, f"external_ids:iface-id={vm.name}"]
    hypervisor.vsctl("--no-wait", "--may-exist", "add-br", "br-int", *words)
    for vm in vms[:2]:
        namespace = Namespace(_namespace(hypervisor, vm), hypervisor.directory)
        hypervisor.namespace.ip(f"link set {vm.name}-vm netns {namespace.name}")
        namespace.ip(
            f"link set {vm.name}-vm address {vm.mac} up",
            f"address add {vm.address} dev {vm.name}-vm",
            f"route add default via {vm.gateway}",
        )
    return {vm.name for vm in vms}


def _namespace(hypervisor: Hypervisor, vm: region.Vm) -> str:
    return f"{hypervisor.name}-{vm.name}"


@contextmanager
def _asked(hypervisor: Hypervisor, start: _Start) -> Iterator[None]:
    """Ask the agent for its version again and again; note the longest time without an answer."""
    done = threading.Event()

    def ask() -> None:
        answered = 0.0
        while not done.wait(_ASK_EVERY_S):
            if hypervisor.agent_pid is None or not hypervisor.control.exists():
                continue
            answered = answered or time.monotonic()
            with suppress(CommandFailed, NotInTime):  # no answer within 20 s: the pause goes on
                hypervisor.appctl("version")
                now = time.monotonic()
                start.pause_s = max(start.pause_s, now - answered)
                answered = now

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _pids(hypervisor: Hypervisor) -> list[int]:
    found = [hypervisor.agent_pid, read_pid(hypervisor.directory / "ovs-vswitchd.pid")]
    return [pid for pid in found if pid is not None]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def _changes(turn: int, size: region.Size) -> Iterator[tuple[str, list[str]]]:
    """Name and ovn-nbctl's words of each change; none of them is made twice."""
    for number in range(_CHANGES):
        unique = turn * _CHANGES + number + 1
        group = f"pg_{unique % size.groups}"
        match = f"outport == @{group} && ip4 && tcp.dst == {unique}"
        yield "one ACL", ["acl-add", group, "to-lport", "1002", match, "allow-related"]
        address = f"172.31.{unique >> 8}.{unique & 255}"
        yield "one address in a set of 10,000", [
            "add", "Address_Set", region.BIG_SET, "addresses", address
        ]  # fmt: skip
        port, switch = f"new{unique}", f"net{unique % size.switches}"
        addresses = f"02:00:fe:00:{unique >> 8:02x}:{unique & 255:02x} 10.250.0.{unique & 255}"
        yield "one port", [
            "lsp-add", switch, port, "--", "lsp-set-addresses", port, addresses,
            "--", "lsp-set-port-security", port, addresses,
        ]  # fmt: skip


def _time_change(central: Central, watch: _Watch, words: list[str]) -> float:
    """Milliseconds from northd's rows to the confirmation."""
    before = watch.wanted
    asked = subprocess.Popen(
        ["ovn-nbctl", f"--db={central.nb}", "--wait=hv", f"--timeout={int(_LIMIT_S)}", *words]
    )
    seen = watch.until(lambda: watch.wanted > before, "rows of northd")
    confirmed = watch.until(lambda: watch.confirmed >= watch.wanted, "nb_cfg")
    if asked.wait(_LIMIT_S):
        raise CommandFailed(tuple(words), asked.returncode, "")
    return (confirmed - seen) * 1000


@contextmanager
def _pinging(words: list[str], start: _Start) -> Iterator[None]:
    """Ping all the time; note what was lost and how long there was no answer."""
    output = PLACE / f"{start.flavor}.ping"
    with output.open("w") as file:
        process = subprocess.Popen([*words, "-n", "-D", "-i", str(_PING_EVERY_S)], stdout=file)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)
    text = output.read_text()
    counted = _PINGS.search(text)
    answered_s = [float(seconds) for seconds in _ANSWER.findall(text)]
    if counted is None or len(answered_s) < 2:
        raise RuntimeError(f"no answers to {' '.join(words)}")
    start.restart_pings = int(counted[1])
    start.restart_lost = int(counted[1]) - int(counted[2])
    start.restart_silence_ms = 1000 * max(b - a for a, b in pairwise(answered_s))


def _restart(
    central: Central, watch: _Watch, hypervisor: Hypervisor, start: _Start, vms: list[region.Vm]
) -> None:
    words = ["ip", "netns", "exec", _namespace(hypervisor, vms[0]), "ping", vms[1].ip]
    subprocess.run([*words, "-q", "-c", "3"], check=True, stdout=subprocess.DEVNULL)
    match = f"outport == @pg_0 && tcp.src == {len(start.flavor)}"
    with _pinging(words, start):
        hypervisor.pause()
        began = time.monotonic()
        hypervisor.start()
        _time_change(central, watch, ["acl-add", "pg_0", "to-lport", "1003", match, "allow"])
        start.restart_change_s = time.monotonic() - began
    central.nbctl("acl-del", "pg_0", "to-lport", "1003", match)


def _measure(central: Central, flavor: Flavor, turn: int, size: region.Size) -> _Start:
    start = _Start(flavor)
    hypervisor = Hypervisor(PLACE / f"hv-{flavor}", f"{flavor}-hv", central.sb, flavor)
    watch = _Watch(central, hypervisor)
    try:
        devices = _add_vms(hypervisor, size)
        watch.until(lambda: True, "databases")
        used = sum(_cpu_s(pid) for pid in _pids(hypervisor))
        with _asked(hypervisor, start):
            began = time.monotonic()
            hypervisor.start()
            ended = watch.until(
                lambda: watch.is_installed(devices) and watch.confirmed >= watch.wanted, "start"
            )
        start.seconds = ended - began
        start.cpu_s = sum(_cpu_s(pid) for pid in _pids(hypervisor)) - used
        for name, words in _changes(turn, size):
            taken = _time_change(central, watch, words)
            start.changes_ms.setdefault(name, []).append(taken)
        start.peak_mb = sum(_peak_mb(pid) for pid in _pids(hypervisor))
        start.agent_peak_mb = _peak_mb(hypervisor.agent_pid or 0)
        _restart(central, watch, hypervisor, start, region.vms(size))
    finally:
        watch.close()
        hypervisor.close()
    return start


def main(rounds: int = 2) -> None:
    """Measure, print the table, keep the figures. Run by ``bench/run.py control``."""
    ovs.vlog.Vlog.init(None)
    size = region.LARGE
    central = region.open_central(PLACE / "central", size)
    try:
        flows = central.sbctl("--columns=_uuid", "--bare", "list", "Logical_Flow").split()
        print(f"{len(flows)} logical flows on {size.switches + 1} datapaths, {rounds} rounds")
        starts = [
            _measure(central, flavor, turn * len(_FLAVORS) + place, size)
            for turn in range(rounds)
            for place, flavor in enumerate(_FLAVORS)
        ]
    finally:
        central.stop()
    ours, theirs = ([s for s in starts if s.flavor == flavor] for flavor in _FLAVORS)
    rows = []
    for name, digits, read in _figures(starts[0]):
        one, other = (median(read(start) for start in some) for some in (ours, theirs))
        ratio = f"{one / other:.2f}" if other else ""
        rows.append((name, f"{one:,.{digits}f}", f"{other:,.{digits}f}", ratio))
    print(table(("median of the rounds", "ours", "ovn-controller + vswitchd", "ratio"), rows))
    print(f"figures in {save('control', {'flows': len(flows), 'starts': starts})}")


def _figures(start: _Start) -> Iterator[tuple[str, int, Callable[[_Start], float]]]:
    yield "start: seconds", 1, lambda s: s.seconds
    yield "start: CPU seconds", 1, lambda s: s.cpu_s
    yield "start: longest pause of the control socket, seconds", 2, lambda s: s.pause_s
    yield "peak memory, agent alone, MB", 0, lambda s: s.agent_peak_mb
    yield "peak memory, all processes, MB", 0, lambda s: s.peak_mb
    for name in start.changes_ms:
        yield f"{name}: ms", 1, lambda s, name=name: median(s.changes_ms[name])  # type: ignore[misc]
    yield "restart: seconds until a change is in force", 1, lambda s: s.restart_change_s
    yield "restart: pings lost, 100 a second", 0, lambda s: s.restart_lost
    yield "restart: longest time without an answer, ms", 0, lambda s: s.restart_silence_ms

# SPDX-License-Identifier: Apache-2.0
"""The agent's pipeline in this process, on flows of a real northd, ready for test runs.

Every logical port has a device of its own (one end of a pair), as on a hypervisor. Nothing is
ever sent: BPF_PROG_TEST_RUN gives the frame to the program and takes the verdict.
"""

import os
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cloud
import ovs.poller
import ovs.vlog
from enclose import PLACE

from iovisor_ovn.dataplane.machine import OBJECT_PATH, Machine
from iovisor_ovn.dataplane.program import Object, Program
from iovisor_ovn.demo.central import Central
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.mainlogic.southbound import COLUMNS, LEAN_TABLES
from iovisor_ovn.ovsdb import Database

__all__ = ["REDIRECT", "Rig", "WrongVerdict", "compile_bpf", "open_rig", "skb_from"]

#: TC_ACT_REDIRECT: the packet goes to the device of its logical port.
REDIRECT = 7

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_SKB_SIZE = 192
_IFINDEX_AT = 40  # in struct __sk_buff
_HEADERS = struct.Struct("=96sII")  # struct headers of again.bpf.c
_CONNECT_S = 30.0


class WrongVerdict(Exception):
    """A packet was not handled as the figure for it claims."""


@dataclass(frozen=True, slots=True)
class _Interface:
    """What the pipeline asks of a local interface; the peer stands for a VM."""

    ifindex: int
    peer_elsewhere: bool = True
    module: str = ""
    module_settings: str = ""


def compile_bpf(name: str) -> Path:
    """Compile ``bench/bpf/<name>.bpf.c`` with the flags of the Makefile."""
    target = _ROOT / "build" / "bench" / f"{name}.bpf.o"
    target.parent.mkdir(parents=True, exist_ok=True)
    include = f"/usr/include/{os.uname().machine}-linux-gnu"
    subprocess.run(
        [os.environ.get("CLANG", "clang-19"), "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall",
         "-Wextra", "-Werror", "-I", include, "-c", _HERE / "bpf" / f"{name}.bpf.c",
         "-o", target],
        check=True,
    )  # fmt: skip
    return target


def skb_from(ifindex: int) -> bytes:
    """Return the context of a frame that comes from the device."""
    context = bytearray(_SKB_SIZE)
    struct.pack_into("=I", context, _IFINDEX_AT, ifindex)
    return bytes(context)


class Rig:
    """A machine with contents. Use :func:`open_rig`."""

    def __init__(self, machine: Machine, pipeline: Pipeline, ifindexes: Mapping[str, int]) -> None:
        """Wrap ``again`` around the machine's program."""
        self.machine = machine
        self.pipeline = pipeline
        self.ifindexes = ifindexes
        with Object.open(compile_bpf("again")) as loaded:
            loaded.load()
            self._again = loaded.programs["again"]
            self._stub = loaded.programs["stub"]
            self._headers = loaded.maps["headers"]
            self._under_test = loaded.maps["under_test"]
        self._ingress = machine._programs["ingress"]  # noqa: SLF001  run, not attached

    def send(self, frame: bytes, port: str) -> int:
        """Let a frame come out of a VM once; return the verdict."""
        verdict, _frame, _ns = self.machine.test(frame, self.ifindexes[port])
        return verdict

    def time(self, frame: bytes, port: str, repeat: int, *, port_at: int = 0) -> float:
        """Nanoseconds per run, the cost of the restored headers included (see `overhead`).

        ``port_at``: where the source port lies, for another connection each time. Raises
        WrongVerdict unless every run redirected.
        """
        drops = self.machine.drops()
        nanoseconds = self._run(self._ingress, frame, port, repeat, port_at)
        if self.machine.drops() != drops:
            after = {reason.name: n for reason, n in self.machine.drops().items()}
            raise WrongVerdict(f"frames from {port} were dropped: {after}")
        return nanoseconds

    def overhead(self, frame: bytes, port: str, repeat: int, *, port_at: int = 0) -> float:
        """Nanoseconds per run of what `time` does beside the program."""
        return self._run(self._stub, frame, port, repeat, port_at)

    def _run(self, program: Program, frame: bytes, port: str, repeat: int, port_at: int) -> float:
        zero = struct.pack("=I", 0)
        (_bytes, _at, runs) = _HEADERS.unpack(self._headers.lookup(zero) or b"")
        self._headers.update(zero, _HEADERS.pack(frame[:96], port_at, runs))
        self._under_test.update(zero, struct.pack("=I", program.fd))
        result = self._again.test_run(frame, skb_from(self.ifindexes[port]), repeat)
        if result.retval != REDIRECT:
            drops = {reason.name: n for reason, n in self.machine.drops().items()}
            raise WrongVerdict(f"verdict {result.retval} for a frame from {port}, drops {drops}")
        return float(result.duration_ns)


@contextmanager
def open_rig(object_path: Path = OBJECT_PATH, *, fast_path: bool = True) -> Iterator[Rig]:
    """Start a central, build the cloud, and fill a machine with its flows.

    Call it inside :func:`enclose.enclose`: devices and mounts are made here.
    """
    ovs.vlog.Vlog.init(None)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=PLACE) as place:
        pins = Path(place, "bpffs")
        pins.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bench", str(pins)], check=True)
        central = Central(Path(place, "central"))
        try:
            cloud.build(central)
            machine = Machine.load(pins, path=object_path, fast_path=fast_path)
            pipeline = Pipeline(machine)
            ifindexes = _make_devices()
            _fill(pipeline, central.sb, ifindexes)
            yield Rig(machine, pipeline, ifindexes)
            pipeline.close(keep=False)
            _remove_devices()
        finally:
            central.stop()
            subprocess.run(["umount", "-l", str(pins)], check=True)


def _make_devices() -> dict[str, int]:
    # They stay down: nothing but the benchmark's frames is to reach the program.
    lines = [f"link add {name} type veth peer name {name}-vm" for name in cloud.PORTS]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    return {name: socket.if_nametoindex(name) for name in cloud.PORTS}


def _remove_devices() -> None:
    lines = [f"link del {name}" for name in cloud.PORTS]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _fill(pipeline: Pipeline, remote: str, ifindexes: Mapping[str, int]) -> None:
    southbound = Database(remote, "OVN_Southbound", COLUMNS, lean=LEAN_TABLES)
    deadline = time.monotonic() + _CONNECT_S
    while True:
        southbound.run()
        if southbound.ever_connected:
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f"no rows from {remote} within {_CONNECT_S} s")
        poller = ovs.poller.Poller()
        southbound.wait(poller)
        poller.timer_wait(1000)
        poller.block()
    interfaces = {name: _Interface(ifindex) for name, ifindex in ifindexes.items()}
    zones = {name: number for number, name in enumerate(ifindexes, start=1)}
    pipeline.update(southbound.changes(), interfaces, zones, "bench")
    southbound.close()

# SPDX-License-Identifier: Apache-2.0
"""A service chain in a network namespace, with hosts around it, driven by the real commands.

Hosts are the machines of the other system tests, so that their traffic (:mod:`support.flows`)
serves here too; ``host.port`` is the device that the chain's file names.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from iovisor_ovn.demo.places import Namespace, sweep
from iovisor_ovn.demo.processes import CommandFailed, end, read_pid, until
from support.hypervisor import Vm

__all__ = ["PROGRAM", "StandaloneRig", "kernel_objects"]

PROGRAM = Path(sys.executable).parent / "iovisor-ovn"


class StandaloneRig:
    """One namespace for a chain's devices, a namespace for each host, one run directory."""

    #: What every chain is started with besides.
    options: ClassVar[Sequence[str]] = ()

    def __init__(self, directory: Path, prefix: str) -> None:
        """Make the namespace ``prefix``; all files are in ``directory``, which is made."""
        directory.mkdir()
        self.directory = directory
        self.prefix = prefix
        self.run_dir = directory / "run"
        self.hosts: dict[str, Vm] = {}
        self._started: list[subprocess.Popen[str]] = []
        self.namespace = Namespace(prefix, directory)

    def add_host(
        self, name: str, number: int, addresses: Sequence[str] = (), gateways: Sequence[str] = ()
    ) -> Vm:
        """Make a host; its MAC address ends in ``number``, its device here is ``host.port``."""
        namespace = Namespace(f"{self.prefix}-{name}", self.directory)
        mac = f"02:00:00:00:00:{number:02x}"
        host = Vm(name, "", mac, tuple(addresses), "veth", namespace)
        self.hosts[name] = host
        host.plug_in(self.namespace, self.directory)
        host.configure(gateways, checksums_by_device=True)
        return host

    # -- commands ------------------------------------------------------------------------

    def words(self, verb: str, *words: str, run_dir: Path | None = None) -> tuple[str, ...]:
        """Return the command line of a standalone command in the chain's namespace."""
        where = () if verb == "validate" else ("--run-dir", str(run_dir or self.run_dir))
        options = self.options if verb == "up" else ()
        program = (str(PROGRAM), "standalone", verb, *words, *where, *options)
        return self.namespace.words(*program)

    def run(self, verb: str, *words: str, run_dir: Path | None = None) -> str:
        """Run a command that must succeed; return its standard output."""
        done = self.attempt(verb, *words, run_dir=run_dir)
        if done.returncode:
            raise CommandFailed((verb, *words), done.returncode, done.stdout + done.stderr)
        return done.stdout

    def attempt(
        self, verb: str, *words: str, run_dir: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, whatever becomes of it."""
        return subprocess.run(
            self.words(verb, *words, run_dir=run_dir),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def write(self, text: str, name: str = "chain.yaml") -> str:
        """Write a chain's file, replacing each ``{HOST}`` by the host's device; return its path."""
        for host in self.hosts.values():
            text = text.replace(f"{{{host.name}}}", host.port)
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def up(self, text: str) -> None:
        """Deploy a chain, detached."""
        self.run("up", self.write(text), "--detach")

    def apply(self, text: str) -> None:
        """Change the chain."""
        self.run("apply", self.write(text))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a program in the chain's namespace, output to a pipe; it ends with the rig."""
        process = subprocess.Popen(
            self.namespace.words(*words),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env={**os.environ, "IOVISOR_OVN_RUNDIR": str(self.run_dir)},
        )  # fmt: skip
        self._started.append(process)
        return process

    def wait_started(self) -> None:
        """Wait until a chain that was started in the foreground works."""
        self.wait_starting()
        self.show()

    def wait_starting(self) -> None:
        """Wait until a chain has a process that deploys it."""
        until((self.run_dir / "standalone.ctl").exists, "the chain's process")

    def show(self) -> Any:
        """Return all that `show --json` says."""
        return json.loads(self.run("show", "--json"))

    @property
    def pid(self) -> int | None:
        """Process id of the chain, None when none runs."""
        return read_pid(self.run_dir / "standalone.pid")

    def close(self) -> None:
        """End all, remove all."""
        for host in self.hosts.values():
            host.end_processes()
        for process in self._started:
            if process.poll() is None:
                process.terminate()
            process.communicate()
        if self.pid is not None:
            self.attempt("down")
        if self.pid is not None:
            end(self.pid)
        sweep(self.directory)


def kernel_objects(pid: int) -> set[tuple[str, int]]:
    """Return kind (``map``, ``prog``, ``link``) and id of the BPF objects that a process holds."""
    found = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        for line in info.read_text().splitlines():
            key, _tab, value = line.partition("\t")
            if key in {"map_id:", "prog_id:", "link_id:"}:
                found.add((key.removesuffix("_id:"), int(value)))
    return found

# SPDX-License-Identifier: Apache-2.0
"""A service chain under ``iovisor-ovn standalone``, in a network namespace, with its neighbours.

::

    chain = ChainHost(directory, "lab")
    neighbour = chain.add("wire", "eth0", number=2, host=1)   # behind the host's own eth0
    machine = chain.add("vm", "vm", number=3)
    chain.up(TEXT)

Machine number 3 is 10.9.0.3 and fd09::3, with MAC address 02:00:00:00:09:03. Where ``host`` is
given, the chain's namespace has a number, too, at its end of the pair: then it is :attr:`itself`.
"""

import contextlib
import signal
import sys
from pathlib import Path

from iovisor_ovn.demo.places import Namespace
from iovisor_ovn.demo.processes import CommandFailed, end, read_pid, run
from support.fixtures import run_name
from support.hypervisor import Vm

__all__ = ["ChainHost"]

_PROGRAM = str(Path(sys.executable).with_name("iovisor-ovn"))


class ChainHost:
    """The namespace of a chain and those of machines around it; ``sweep`` removes all of it."""

    def __init__(self, directory: Path, name: str) -> None:
        """Make the namespace; nothing runs yet."""
        directory.mkdir()
        self.directory = directory
        self.namespace = Namespace(run_name(name), directory)
        self.file = directory / "chain.yaml"
        self.run_directory = directory / "run"
        self.vms: dict[str, Vm] = {}
        self.before: tuple[str, ...] = ()  # words in front of the command

    @property
    def log(self) -> Path:
        """What a detached process writes."""
        return self.run_directory / "standalone.log"

    def add(self, name: str, port: str, number: int, host: int | None = None) -> Vm:
        """Make a machine whose ``eth0`` is the far end of the device ``port``.

        With ``host`` the device has addresses of that number: the machine is the chain's own
        host, seen through it.
        """
        namespace = Namespace(run_name(name), self.directory)
        vm = _vm(name, number, namespace)
        self.namespace.ip(f"link add {port} type veth peer name eth0 netns {namespace.name}")
        vm.configure((), checksums_by_device=True)
        self.namespace.ip(f"link set {port} up")
        self.vms[name] = vm
        if host is not None:
            assert port == "eth0", "the host's device is called as a machine's"
            itself = _vm("host", host, self.namespace)
            itself.configure((), checksums_by_device=True)
            self.vms["host"] = itself
        return vm

    def command(self, *words: str) -> str:
        """Run a subcommand of ``iovisor-ovn standalone``; raises CommandFailed."""
        command = (_PROGRAM, "standalone", *words, "--run-dir", str(self.run_directory))
        try:
            return run(*self.namespace.words(*self.before, *command), timeout_s=60)
        except CommandFailed as failed:
            if self.log.exists():
                failed.add_note(self.log.read_text())
            raise

    def up(self, text: str) -> None:
        """Deploy a chain, detached."""
        self.file.write_text(text)
        self.command("up", "--detach", str(self.file))

    def apply(self, text: str) -> None:
        """Change the chain."""
        self.file.write_text(text)
        self.command("apply", str(self.file))

    def down(self) -> None:
        """Remove the chain."""
        self.command("down")

    def crash(self) -> None:
        """Kill the process as a fault would."""
        pid = read_pid(self.run_directory / "standalone.pid")
        assert pid is not None
        end(pid, signal.SIGKILL)

    def close(self) -> None:
        """End what runs in the machines, and the chain; directory and namespaces stay."""
        for vm in self.vms.values():
            vm.end_processes()
        with contextlib.suppress(CommandFailed):
            self.down()


def _vm(name: str, number: int, namespace: Namespace) -> Vm:
    addresses = (f"10.9.0.{number}/24", f"fd09::{number}/64")
    return Vm(name, name, f"02:00:00:00:09:{number:02x}", addresses, "veth", namespace)

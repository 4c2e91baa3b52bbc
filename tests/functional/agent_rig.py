# SPDX-License-Identifier: Apache-2.0
"""A private OVN central and a local database in a directory, and a controller on fakes."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import ovs.poller

from iovisor_ovn.errors import DataplaneError
from iovisor_ovn.mainlogic.controller import (
    LOCAL_COLUMNS,
    SOUTHBOUND_COLUMNS,
    Controller,
    Parts,
)
from iovisor_ovn.ovsdb import Database, RowChange
from iovisor_ovn.vswitch import LocalInterface
from support.central import Release

__all__ = ["FakePipeline", "FakeSwitch", "Rig", "Servers", "ended", "interface", "run_until",
           "stop_process"]  # fmt: skip

_SCHEMAS = {
    "nb": "/usr/share/ovn/ovn-nb.ovsschema",
    "sb": "/usr/share/ovn/ovn-sb.ovsschema",
    "ovs": "/usr/share/openvswitch/vswitch.ovsschema",
}
_DEADLINE_S = 20.0


@contextmanager
def ended(pid: int) -> Iterator[None]:
    """Do something that ends a process; wait until it is gone."""
    fd = os.pidfd_open(pid)
    try:
        yield
        readable, _, _ = select.select([fd], [], [], _DEADLINE_S)
        assert readable, f"process {pid} goes on"
    finally:
        os.close(fd)


def stop_process(pid: int, number: int = signal.SIGTERM) -> None:
    """End a process, if there is one, and wait until it is gone."""
    with suppress(ProcessLookupError), ended(pid):
        os.kill(pid, number)


def run_until(database: Database, holds: Callable[[], bool]) -> list[RowChange]:
    """Run the database until the condition holds; return what changed meanwhile."""
    changes: list[RowChange] = []
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        database.run()
        changes += database.changes()
        if holds():
            return changes
        assert time.monotonic() < deadline, "condition never held"
        poller = ovs.poller.Poller()
        database.wait(poller)
        poller.timer_wait(100)
        poller.block()


class Servers:
    """NB, SB and Open_vSwitch database servers and ovn-northd; everything under one directory."""

    def __init__(self, directory: Path, release: Release, system_id: str = "hv1") -> None:
        """Start all and write the settings of one hypervisor."""
        self.directory = directory
        self.release = release
        self.environment = {**os.environ, "OVN_RUNDIR": str(directory)}
        self.environment["OVS_RUNDIR"] = str(directory)
        for name, schema in _SCHEMAS.items():
            self._run("ovsdb-tool", "create", f"{directory}/{name}.db", schema)
            self.start(name)
        self.nb("init")
        self.sb("init")
        self._run(
            "ovn-northd", f"--ovnnb-db={self.remote('nb')}", f"--ovnsb-db={self.remote('sb')}",
            f"--unixctl={directory}/northd.ctl", *self._daemon("northd"),
        )  # fmt: skip
        self.vs(
            "--no-wait", "--", "init", "--", "set", "open", ".",
            f"external_ids:system-id={system_id}", f"external_ids:ovn-remote={self.remote('sb')}",
            "external_ids:ovn-encap-type=geneve", "external_ids:ovn-encap-ip=127.0.0.1",
        )  # fmt: skip

    def remote(self, name: str) -> str:
        """Return where a server listens."""
        return f"unix:{self.directory}/{name}.sock"

    def start(self, name: str, *options: str, namespace: str = "") -> None:
        """Start one database server; it answers when this returns."""
        inside = ("ip", "netns", "exec", namespace) if namespace else ()
        self._run(
            "ovsdb-server", f"{self.directory}/{name}.db",
            f"--remote=p{self.remote(name)}", f"--unixctl={self.directory}/{name}.ctl",
            *options, *self._daemon(name), inside=inside,
        )  # fmt: skip

    def stop(self, name: str) -> None:
        """End one server or northd."""
        pidfile = self.directory / f"{name}.pid"
        if pidfile.exists():
            stop_process(int(pidfile.read_text()))

    def close(self) -> None:
        """End all."""
        for name in ("northd", *_SCHEMAS):
            self.stop(name)

    def nb(self, *arguments: str) -> str:
        """Run ovn-nbctl."""
        return self._run("ovn-nbctl", "-t", "20", f"--db={self.remote('nb')}", *arguments)

    def sb(self, *arguments: str) -> str:
        """Run ovn-sbctl."""
        return self._run("ovn-sbctl", "-t", "20", f"--db={self.remote('sb')}", *arguments)

    def vs(self, *arguments: str) -> str:
        """Run ovs-vsctl."""
        return self._run("ovs-vsctl", "-t", "20", f"--db={self.remote('ovs')}", *arguments)

    def port(self, name: str, *columns: str) -> str:
        """Return columns of a Port_Binding as ovn-sbctl prints them, chassis as its name."""
        return self.sb(
            "--bare", f"--columns={','.join(columns)}", "find", "port_binding",
            f"logical_port={name}",
        ).strip()  # fmt: skip

    def chassis_of(self, name: str) -> str:
        """Return the name of the chassis that a port is bound to, empty for none."""
        uuid = self.port(name, "chassis")
        return self.sb("--bare", "get", "chassis", uuid, "name").strip() if uuid else ""

    def _daemon(self, name: str) -> list[str]:
        at = f"{self.directory}/{name}"
        return [f"--pidfile={at}.pid", f"--log-file={at}.log", "--detach", "--no-chdir",
                "-vconsole:off", "-vsyslog:off"]  # fmt: skip

    def _run(self, *command: str, inside: tuple[str, ...] = ()) -> str:
        done = subprocess.run(
            (*inside, *self.release.command, *command),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


def interface(port: str, version: str | None = None, encap_ip: str | None = None) -> LocalInterface:
    """Return an interface named ``if-PORT`` for a logical port."""
    return LocalInterface(
        name=f"if-{port}", iface_id=port, iface_id_ver=version, ifindex=7, ofport=1, mtu=1500,
        mac="02:00:00:00:00:01", kind="veth", peer_elsewhere=True, encap_ip=encap_ip,
    )  # fmt: skip


class FakeSwitch:
    """Interfaces as the test says."""

    def __init__(self) -> None:
        """Begin with none."""
        self.present: dict[str, LocalInterface] = {}

    def run(self, changes: Sequence[RowChange] | None = None) -> bool:  # noqa: ARG002
        """Nothing is ever due."""
        return False

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Nothing to wait for."""

    def interfaces(self, bridge: str | None = None) -> Mapping[str, LocalInterface]:  # noqa: ARG002
        """Return what the test put there."""
        return dict(self.present)


class FakePipeline:
    """Notes what it gets; fails while ``is_broken``."""

    def __init__(self) -> None:
        """Begin whole."""
        self.is_broken = False
        self.updates = 0
        self.changes: list[RowChange] = []
        self.interfaces: Mapping[str, LocalInterface] = {}
        self.zones: Mapping[str, int] = {}
        self.kept: bool | None = None
        self.without_room: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.on_update: Callable[[], None] = lambda: None

    def update(
        self,
        changes: Sequence[RowChange],
        interfaces: Mapping[str, LocalInterface],
        zones: Mapping[str, int],
        chassis: str,  # noqa: ARG002
    ) -> None:
        """Take it, or fail."""
        self.updates += 1
        if self.is_broken:
            raise DataplaneError("broken for the test")
        self.on_update()
        self.changes += changes
        self.interfaces, self.zones = interfaces, zones

    def waiting(self) -> dict[str, int]:
        """Return what the test says."""
        return self.without_room

    def refused_modules(self) -> dict[str, str]:
        """Return what the test says."""
        return self.refused

    def recompute(self) -> None:
        """Nothing is kept that could be old."""

    def breathe_by(self, breathe: Callable[[], None]) -> None:
        """There is no long work here but `on_update`'s."""

    def close(self, *, keep: bool) -> None:
        """Note how."""
        self.kept = keep


class _NoEvents:
    def run(self) -> None: ...
    def wait(self, poller: ovs.poller.Poller) -> None: ...
    def close(self) -> None: ...


class Rig:
    """A controller on real servers, with fakes for switch and data plane."""

    def __init__(self, servers: Servers) -> None:
        """Connect; nothing happens before `until`."""
        self.servers = servers
        self.switch = FakeSwitch()
        self.pipeline = FakePipeline()
        self.flushed: list[int] = []
        local = Database(servers.remote("ovs"), "Open_vSwitch", LOCAL_COLUMNS)
        self.controller = Controller(
            Parts(
                local=local,
                vswitch=self.switch,
                pipeline=self.pipeline,
                open_southbound=lambda remote, probe: Database(
                    remote, "OVN_Southbound", SOUTHBOUND_COLUMNS, probe
                ),
                open_events=lambda _southbound: _NoEvents(),
                flush_zone=self.flushed.append,
            )
        )

    def until(self, holds: Callable[[], bool], work: Callable[[], object] | None = None) -> None:
        """Let the controller work until the condition holds; fail after a while."""
        step = work or self.controller.run
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            step()
            if holds():
                return
            assert time.monotonic() < deadline, "condition never held"
            poller = ovs.poller.Poller()
            self.controller.wait(poller)
            poller.timer_wait(50)
            poller.block()

    def sync(self) -> None:
        """Run ``ovn-nbctl --wait=hv sync`` beside the controller; it must return."""
        command = [
            *self.servers.release.command,
            "ovn-nbctl",
            "-t",
            "15",
            f"--db={self.servers.remote('nb')}",
            "--wait=hv",
            "sync",
        ]
        with subprocess.Popen(command, env=self.servers.environment) as process:
            self.until(lambda: process.poll() is not None)
        assert process.returncode == 0

    def settle(self) -> None:
        """Let the controller work until it has nothing to write and no answer is outstanding."""
        self.sync()
        southbound = self.controller.southbound
        assert southbound is not None
        seen: list[int] = []

        def is_quiet() -> bool:
            seen.append(southbound.change_seqno)
            return len(seen) > 4 and len(set(seen[-4:])) == 1 and not southbound.busy

        self.until(is_quiet)

    def plug(self, port: str, **settings: str) -> None:
        """Add an interface for a port, in the database and as a device."""
        found = interface(port, **settings)
        self.servers.vs(
            "--no-wait", "add-port", "br-int", found.name, "--", "set", "interface", found.name,
            f"external_ids:iface-id={port}",
        )  # fmt: skip
        self.switch.present[found.name] = found

    def unplug(self, port: str) -> None:
        """Take the interface away again."""
        self.servers.vs("--no-wait", "del-port", f"if-{port}")
        del self.switch.present[f"if-{port}"]

    def close(self) -> None:
        """End, rows and all left as they are."""
        self.controller.close(keep=True)

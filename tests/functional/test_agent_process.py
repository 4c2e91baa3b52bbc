# SPDX-License-Identifier: Apache-2.0
"""The agent as its users start it: one process in a network namespace of its own."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from functional.agent_rig import Servers, ended, stop_process
from iovisor_ovn.dataplane import unmount
from iovisor_ovn.dataplane.machine import OBJECT_PATH
from support.central import Release

pytestmark = [
    pytest.mark.needs_ovs,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.skipif(not OBJECT_PATH.exists(), reason="needs the BPF object: run make bpf"),
]

_COMMAND = [sys.executable, "-c", "from iovisor_ovn.cli.main import main; main()"]
_SOURCE = Path(__file__).parents[2] / "src"


class Host:
    """A namespace, servers, and the agent in them."""

    def __init__(self, directory: Path, release: Release) -> None:
        """Start the servers only."""
        self.servers = Servers(directory, release)
        self.directory = directory
        self.name = f"agt-{os.getpid()}"
        self.pidfile = directory / "iovisor-ovn.pid"
        self.environment = {**self.servers.environment, "PYTHONPATH": str(_SOURCE)}
        self.ip("netns", "add", self.name)

    def ip(self, *arguments: str) -> None:
        """Run ip."""
        subprocess.run(["ip", *arguments], check=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run iovisor-ovn in the namespace."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *_COMMAND, *arguments],
            env=self.environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def start(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Start the agent as a service does."""
        return self.run(
            "agent", self.servers.remote("ovs"), "--pidfile", "--detach", "-vsyslog:off",
            "-vconsole:err", f"--log-file={self.directory}/agent.log", *more,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The agent's process."""
        return int(self.pidfile.read_text())

    def appctl(self, *arguments: str) -> str:
        """Run ovn-appctl."""
        done = subprocess.run(
            ["ovn-appctl", *arguments],
            env=self.environment, capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        return done.stdout

    def chassis(self) -> str:
        """Return the names of all chassis."""
        return self.servers.sb("--bare", "--columns=name", "list", "chassis").strip()

    def close(self) -> None:
        """End all and leave nothing."""
        if self.pidfile.exists():
            stop_process(self.pid, signal.SIGKILL)
        self.ip("netns", "del", self.name)
        unmount(self.directory / "iovisor-ovn.bpffs")
        self.servers.close()


@pytest.fixture
def host(tmp_path: Path, release: Release) -> Iterator[Host]:
    """Give a host without an agent."""
    found = Host(tmp_path, release)
    try:
        yield found
    finally:
        found.close()


def test_detached_agent_serves(host: Host) -> None:
    """It starts, registers, binds an internal port, answers by both names, and exit undoes it."""
    servers = host.servers
    started = host.start()
    assert started.returncode == 0, started.stderr
    assert host.appctl("-t", "ovn-controller", "version").startswith("iovisor-ovn ")
    assert host.appctl("-t", "iovisor-ovn", "list-commands").count("ct-zone-list") == 1
    servers.nb("ls-add", "sw", "--", "lsp-add", "sw", "p1")
    servers.vs("add-port", "br-int", "vm1", "--", "set", "interface", "vm1", "type=internal",
               "external_ids:iface-id=p1")  # fmt: skip
    servers.nb("wait-until", "logical_switch_port", "p1", "up=true")
    servers.nb("--wait=hv", "sync")
    assert host.appctl("connection-status") == "connected"
    # As ovn-controller: a zone for each port here, two for each datapath that is local.
    users = [line.split()[0] for line in host.appctl("ct-zone-list").splitlines()]
    switch = users[0].removesuffix("_dnat")
    assert users == [f"{switch}_dnat", f"{switch}_snat", "p1"]
    shown = json.loads(host.run("show", "--json").stdout)
    assert [port["port"] for port in shown["ports"]] == ["p1"]
    assert "p1" in host.run("show").stdout
    host.appctl("recompute")
    host.appctl("lflow-cache/flush")
    host.appctl("sb-cluster-state-reset")
    assert "cache-expr" in host.appctl("lflow-cache/show-stats")
    counts = host.appctl("inc-engine/show-stats")
    assert int(counts.split("compute:")[2].split()[0]) > 0
    host.appctl("inc-engine/clear-stats")
    assert host.appctl("group-table-list") == host.appctl("meter-table-list") == ""
    with pytest.raises(subprocess.CalledProcessError):
        host.appctl("inject-pkt", "ip4")
    host.appctl("vlog/set", "binding:file:dbg")
    assert "binding" in host.appctl("vlog/list")
    pid = host.pid
    with ended(pid):
        host.appctl("-t", "ovn-controller", "exit")
    assert host.chassis() == ""
    assert servers.chassis_of("p1") == ""
    assert not host.pidfile.exists()
    assert not list(host.directory.glob(f"*.{pid}.ctl"))
    assert not (host.directory / "ovn-controller.pid").is_symlink()


def test_pid_file_is_locked(host: Host) -> None:
    """The pid file is locked as OVS daemons lock it; a second agent is refused with a reason."""
    assert host.start().returncode == 0
    with host.pidfile.open("r+") as file, pytest.raises(OSError, match="unavailable"):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    second = host.start()
    assert second.returncode != 0
    assert "already running" in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_agent_leaves_its_rows(host: Host, number: signal.Signals) -> None:
    """SIGTERM and a crash keep rows and zones; the next agent carries on."""
    servers = host.servers
    assert host.start().returncode == 0
    servers.nb("ls-add", "sw", "--", "lsp-add", "sw", "p0", "--", "lsp-add", "sw", "p1")
    servers.vs("add-port", "br-int", "vm1", "--", "set", "interface", "vm1", "type=internal",
               "external_ids:iface-id=p1")  # fmt: skip
    servers.nb("wait-until", "logical_switch_port", "p1", "up=true")
    zones = host.appctl("ct-zone-list")
    stop_process(host.pid, number)
    assert host.chassis() == "hv1"
    assert servers.chassis_of("p1") == "hv1"
    assert host.start().returncode == 0
    servers.nb("--wait=hv", "sync")
    assert host.appctl("ct-zone-list") == zones
    assert (
        "port_claiming" not in (host.directory / "agent.log").read_text().split("agent_works")[-1]
    )


def test_restart_keeps_the_rows(host: Host) -> None:
    """``exit --restart`` ends the process and keeps the rows."""
    assert host.start().returncode == 0
    host.servers.nb("--wait=hv", "sync")
    with ended(host.pid):
        host.appctl("exit", "--restart")
    assert host.chassis() == "hv1"


def test_failed_start_is_told(host: Host) -> None:
    """What cannot work ends with a status and a reason for whoever started it."""
    unusable = host.start("--log-file=/proc/none/agent.log")
    assert unusable.returncode != 0
    assert "--log-file" in unusable.stderr
    unknown = host.start("--unheard-of")
    assert unknown.returncode != 0
    assert "--unheard-of" in unknown.stderr
    in_the_way = host.directory / "iovisor-ovn.bpffs"
    in_the_way.write_text("")
    refused = host.start()
    assert refused.returncode != 0
    assert "iovisor-ovn.bpffs" in refused.stderr
    in_the_way.unlink()


def test_version_and_help_need_no_database(host: Host) -> None:
    """The verbs that only print work anywhere."""
    assert host.run("version").stdout == host.run("agent", "--version").stdout
    assert "--unixctl" in host.run("agent", "--help").stdout
    absent = host.run("show")
    assert absent.returncode == 1
    assert "pid" in absent.stderr

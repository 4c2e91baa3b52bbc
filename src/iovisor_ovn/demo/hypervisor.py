# SPDX-License-Identifier: Apache-2.0
"""A hypervisor in a network namespace: an Open_vSwitch database, an agent, virtual machines.

What runs there is a *flavor*: ``iovisor`` is our agent, started exactly as people start it;
``ovn`` is ordinary ovn-controller with ovs-vswitchd on the user space data path, of any release, so
that the same traffic can be shown to be OVN's own behaviour.
"""

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from iovisor_ovn.demo.machines import Kind, Vm
from iovisor_ovn.demo.places import Namespace, sweep
from iovisor_ovn.demo.processes import end, is_running, read_pid, run, until
from iovisor_ovn.demo.releases import INSTALLED, Release

__all__ = ["Flavor", "Hypervisor"]

Flavor = Literal["iovisor", "ovn"]
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


class Hypervisor:
    """Set up by construction, its agent started by :meth:`start`, all removed by :meth:`close`."""

    #: What every agent of ours is started with besides; set before any is.
    agent_options: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        directory: Path,
        name: str,
        southbound: str,
        flavor: Flavor = "iovisor",
        prefix: str | None = None,
        release: Release = INSTALLED,
    ) -> None:
        """Make namespace and database in ``directory``.

        ``name`` becomes the system-id; namespaces are called ``prefix`` (default: ``name``) for
        the hypervisor and ``prefix-VM`` for its machines.  ``southbound`` is OVN's remote;
        ``release`` that of the flavor ``ovn`` (our agent finds the installed one beside it).
        """
        self.directory = directory
        self.name = name
        self.flavor = flavor
        self.vms: dict[str, Vm] = {}
        #: Words before the command that starts our agent.
        self.around_agent: Sequence[str] = ()
        self._prefix = prefix or name
        self._release = release if flavor == "ovn" else INSTALLED
        self._agent = directory / ("agent" if flavor == "iovisor" else "ovn-controller")
        self._environment = {"OVS_RUNDIR": str(directory), "OVN_RUNDIR": str(directory)}
        directory.mkdir(parents=True)
        try:
            self.namespace = Namespace(self._prefix, directory)
            self._start_database()
            self._configure(southbound)
            if flavor == "ovn":
                self._start_vswitchd()
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> Path:
        """The agent's log."""
        return self._agent.with_suffix(".log")

    @property
    def control(self) -> Path:
        """The agent's control socket; ovn-controller 23.03 has no option to name it."""
        if self.flavor == "ovn":
            return self.directory / f"ovn-controller.{self.agent_pid}.ctl"
        return self._agent.with_suffix(".ctl")

    @property
    def agent_pid(self) -> int | None:
        """The agent's process id, None when none runs."""
        return read_pid(self._agent.with_suffix(".pid"))

    def vsctl(self, *words: str) -> str:
        """Run ovs-vsctl, which waits for the switch; return what it prints."""
        return run(
            *self._release.command, "ovs-vsctl", "--timeout=20",
            f"--db=unix:{self.directory}/db.sock", *words,
        ).removesuffix("\n")  # fmt: skip

    def appctl(self, *words: str) -> str:
        """Ask the agent over its control socket."""
        return run(
            *self._release.command, "ovn-appctl", "-t", str(self.control), *words, timeout_s=20
        )

    # -- the agent's life ----------------------------------------------------------------

    def start(self) -> None:
        """Start the agent; returns when it works."""
        words = [*self._release.command, "ovn-controller"]
        options = ["--detach", f"--pidfile={self._agent}.pid", f"--log-file={self._agent}.log"]
        if self.flavor == "iovisor":
            # The program that is installed beside this interpreter.
            words = [*self.around_agent, str(Path(sys.executable).parent / "iovisor-ovn"), "agent"]
            options += [f"--unixctl={self.control}", *self.agent_options]
        self._in_namespace(*words, f"unix:{self.directory}/db.sock", *options)

    def stop(self) -> None:
        """Ask the agent to leave for good: it takes its rows out of the Southbound database."""
        self._leave("exit")

    def pause(self) -> None:
        """Stop the agent as for an upgrade: its rows and the traffic stay."""
        pid = self.agent_pid
        if pid is not None:
            if self.flavor == "iovisor":
                end(pid)
            else:
                # SIGTERM makes ovn-controller 23.03 take its rows out.
                self._leave("exit", "--restart")

    def kill(self) -> None:
        """Kill the agent with SIGKILL."""
        pid = self.agent_pid
        if pid is not None:
            end(pid, signal.SIGKILL)

    def close(self) -> None:
        """Remove everything: machines, agent, database, namespaces, directory."""
        for vm in self.vms.values():
            vm.end_processes()
        # The namespace goes while vswitchd still runs, so let the agent leave first.
        if self.agent_pid is not None and self.control.exists():
            self._leave("exit")
        sweep(self.directory)

    # -- machines ------------------------------------------------------------------------

    def add_vm(
        self,
        name: str,
        logical_port: str,
        mac: str,
        addresses: Sequence[str],
        gateways: Sequence[str] = (),
        kind: Kind = "veth",
    ) -> Vm:
        """Make a machine, its device and its Interface row; returns when the row is done.

        ``addresses`` are with prefix (``10.0.0.11/24``); ``gateways`` become default routes.
        The logical port itself is the Northbound database's matter.
        """
        namespace = Namespace(f"{self._prefix}-{name}", self.directory)
        vm = Vm(name, logical_port, mac, tuple(addresses), kind, namespace)
        self.vms[name] = vm
        if kind != "internal":
            vm.plug_in(self.namespace, self.directory)
        self._add_port(vm)
        if kind == "internal":
            until(lambda: self._has_device(vm.port), f"device {vm.port}")
            self.namespace.ip(f"link set {vm.port} netns {namespace.name}")
        vm.configure(gateways, checksums_by_device=self.flavor == "iovisor")
        return vm

    def remove_vm(self, vm: Vm) -> None:
        """Remove a machine as a hypervisor does: port first, then the device."""
        self.vsctl("--if-exists", "del-port", "br-int", vm.port)
        del self.vms[vm.name]
        vm.end_processes()
        vm.namespace.remove()

    def wait_installed(self, *vms: Vm, timeout_s: float = 20.0) -> None:
        """Wait until the agent has marked the ports as installed (default: all)."""
        for vm in vms or self.vms.values():

            def installed(port: str = vm.port) -> bool:
                get = ("get", "Interface", port, "external_ids:ovn-installed")
                return self.vsctl("--if-exists", *get) == '"true"'

            until(installed, f"ovn-installed of {vm.port}", timeout_s)

    def _add_port(self, vm: Vm) -> None:
        settings = [f"external_ids:iface-id={vm.logical_port}"]
        if vm.kind == "internal":
            # The device's own address, which frames of the host bear.
            settings += ["type=internal", f'mac="{vm.mac}"']
        self.vsctl(
            "--may-exist",
            "add-port",
            "br-int",
            vm.port,
            "--",
            "set",
            "Interface",
            vm.port,
            *settings,
        )

    def _has_device(self, device: str) -> bool:
        links = json.loads(self.namespace.run("ip", "-j", "link", "show"))
        return any(link["ifname"] == device for link in links)

    # -- set-up --------------------------------------------------------------------------

    def _in_namespace(self, *words: str) -> None:
        run(*self.namespace.words(*words), environment=self._environment, timeout_s=60)

    def _leave(self, *command: str) -> None:
        pid = self.agent_pid
        if pid is None:
            return
        self.appctl(*command)
        until(lambda: not is_running(pid), f"{self.name}: end of the agent", 30)

    def _start_database(self) -> None:
        database = self.directory / "conf.db"
        run(*self._release.command, "ovsdb-tool", "create", str(database), _SCHEMA)
        self._in_namespace(
            *self._release.command,
            "ovsdb-server",
            "--detach",
            "--no-chdir",
            f"--pidfile={self.directory}/ovsdb.pid",
            f"--unixctl={self.directory}/ovsdb.ctl",
            f"--log-file={self.directory}/ovsdb.log",
            f"--remote=punix:{self.directory}/db.sock",
            str(database),
        )

    def _configure(self, southbound: str) -> None:
        settings = {
            "system-id": self.name,
            "hostname": self.name,
            "ovn-remote": southbound,
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": "127.0.0.1",
        }
        if self.flavor == "ovn":
            settings["ovn-bridge-datapath-type"] = "netdev"
        words = [f'external_ids:{key}="{value}"' for key, value in settings.items()]
        self.vsctl("--no-wait", "init", "--", "set", "Open_vSwitch", ".", *words)

    def _start_vswitchd(self) -> None:
        self._in_namespace(
            *self._release.command,
            "ovs-vswitchd",
            f"unix:{self.directory}/db.sock",
            "--disable-system",
            "--detach",
            "--no-chdir",
            f"--pidfile={self.directory}/ovs-vswitchd.pid",
            f"--unixctl={self.directory}/ovs-vswitchd.ctl",
            f"--log-file={self.directory}/ovs-vswitchd.log",
        )

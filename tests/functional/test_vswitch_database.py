# SPDX-License-Identifier: Apache-2.0
"""The switch's side of a real Open_vSwitch database, with real devices and ovs-vsctl as client."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

import iovisor_ovn

pytestmark = [
    pytest.mark.needs_ovs,
    pytest.mark.needs_netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and devices need root"),
    pytest.mark.skipif(shutil.which("ovsdb-server") is None, reason="ovsdb-server not installed"),
]

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
RUNNER = Path(__file__).parent / "vswitch_runner.py"
SOURCES = Path(iovisor_ovn.__file__).parents[1]
DEADLINE_S = 15.0
T = TypeVar("T")
_numbers = itertools.count()


def until(found: Callable[[], T | None], what: str) -> T:
    """Ask again until the answer is true; fail after the deadline, naming what was awaited."""
    end = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not (answer := found()):
        assert time.monotonic() < end, f"not within {DEADLINE_S} s: {what}"
        pause.wait(0.03)
    return answer


def call(*words: str) -> str:
    """Run a command that must succeed; return what it prints."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


class Namespace:
    """A network namespace of this test's own."""

    def __init__(self) -> None:
        """Make it."""
        self.name = f"ivs{os.getpid()}x{next(_numbers)}"
        call("ip", "netns", "add", self.name)

    def remove(self) -> None:
        """Remove it and the devices in it."""
        call("ip", "netns", "del", self.name)

    def ip(self, line: str) -> str:
        """Run ``ip`` in it."""
        return call("ip", "-n", self.name, *line.split())

    def link(self, device: str) -> dict[str, object] | None:
        """Return what ``ip link`` says of a device, None when there is none."""
        links = json.loads(self.ip("-d -j link show"))
        return next((link for link in links if link["ifname"] == device), None)

    def popen(self, *words: str, output: Path) -> subprocess.Popen[bytes]:
        """Start a process in it."""
        line = ("ip", "netns", "exec", self.name, *words)
        environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
        with output.open("ab") as file:
            return subprocess.Popen(line, stdout=file, stderr=file, env=environment)


class Machine:
    """A database server and a running switch, in one namespace."""

    def __init__(self, directory: Path, namespace: Namespace) -> None:
        """Start both on a fresh database."""
        directory.mkdir(exist_ok=True)
        self.namespace = namespace
        self._directory = directory
        self._remote = f"unix:{directory}/db.sock"
        call("ovsdb-tool", "create", f"{directory}/conf.db", SCHEMA)
        self._server = self._start_server()
        self.vsctl("--no-wait", "init")
        self._switch = self._start_switch()

    def _start_server(self) -> subprocess.Popen[bytes]:
        server = self.namespace.popen(
            "ovsdb-server",
            f"--remote=punix:{self._directory}/db.sock",
            f"--unixctl={self._directory}/db.ctl",
            f"{self._directory}/conf.db",
            output=self._directory / "server.log",
        )
        until((self._directory / "db.sock").exists, "the database server's socket")
        return server

    def _start_switch(self) -> subprocess.Popen[bytes]:
        return self.namespace.popen(
            sys.executable, str(RUNNER), self._remote, output=self._directory / "switch.log"
        )

    def stop(self) -> None:
        """End both."""
        for process in (self._switch, self._server):
            process.kill()
            process.wait()

    def restart_switch(self) -> None:
        """Kill the switch as a crash would, and start another."""
        self.stop_switch()
        self._switch = self._start_switch()

    def stop_switch(self) -> None:
        """Kill the switch as a crash would."""
        self._switch.send_signal(signal.SIGKILL)
        self._switch.wait()

    def restart_server(self) -> None:
        """Restart the database server on the same file."""
        self._server.terminate()
        self._server.wait()
        (self._directory / "db.sock").unlink(missing_ok=True)
        self._server = self._start_server()

    def run_vsctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ovs-vsctl, which waits for the switch unless told otherwise."""
        line = ("ovs-vsctl", f"--timeout={DEADLINE_S:.0f}", f"--db={self._remote}", *words)
        return subprocess.run(line, capture_output=True, text=True, check=False)

    def vsctl(self, *words: str) -> str:
        """Run ovs-vsctl, which must succeed and complain of nothing."""
        done = self.run_vsctl(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout.strip()

    def get(self, table: str, row: str, *columns: str) -> str:
        """Return columns as ovs-vsctl prints them, a line each, quotes left out."""
        return self.vsctl("get", table, row, *columns).replace('"', "")

    def wait_until(self, row: str, *conditions: str) -> None:
        """Wait until an Interface row is as told."""
        self.vsctl("wait-until", "Interface", row, *conditions)

    def interfaces(self) -> dict[str, dict[str, object]]:
        """Return what the switch has last told of the working interfaces of br-int."""
        lines = (self._directory / "switch.log").read_text().splitlines()
        told = [line for line in lines if line.startswith("interfaces ")]
        found: dict[str, dict[str, object]] = json.loads(told[-1].split(" ", 1)[1]) if told else {}
        return found

    def monitor(self, *columns: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Watch columns of Interface; return the process and the file that it writes to."""
        output = self._directory / "monitor.log"
        words = ("ovsdb-client", "monitor", self._remote, "Interface", ",".join(columns))
        process = self.namespace.popen(*words, output=output)
        until(lambda: output.stat().st_size, "the first contents of the monitor")
        return process, output


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Return a namespace for the switch."""
    one = Namespace()
    yield one
    one.remove()


@pytest.fixture
def other_namespace() -> Iterator[Namespace]:
    """Return a namespace to move devices into."""
    one = Namespace()
    yield one
    one.remove()


@pytest.fixture
def machine(tmp_path: Path, namespace: Namespace) -> Iterator[Machine]:
    """Return a machine with bridge br-int."""
    one = Machine(tmp_path / "m", namespace)
    try:
        one.vsctl("add-br", "br-int")
        yield one
    finally:
        one.stop()


def test_a_bridge_gets_its_own_device(machine: Machine) -> None:
    """ovs-vsctl add-br returns, and device, port number and datapath id are there."""
    link = machine.namespace.link("br-int")
    assert link is not None
    assert machine.get("Interface", "br-int", "ofport") == "65534"
    assert machine.get("Interface", "br-int", "mac_in_use") == link["address"]
    assert machine.get("Interface", "br-int", "ifindex") == str(link["ifindex"])
    mac = str(link["address"]).replace(":", "")
    assert machine.get("Bridge", "br-int", "datapath_id") == f"0000{mac}"
    assert machine.get("Open_vSwitch", ".", "cur_cfg") == machine.get(
        "Open_vSwitch", ".", "next_cfg"
    )
    assert machine.get("Open_vSwitch", ".", "ovs_version") == "3.1.0"


def test_a_removed_bridge_leaves_no_devices(machine: Machine) -> None:
    """ovs-vsctl del-br returns when the bridge's and its internal devices are gone."""
    machine.vsctl("add-port", "br-int", "i0", "--", "set", "Interface", "i0", "type=internal")
    machine.vsctl("del-br", "br-int")
    names = [link["ifname"] for link in json.loads(machine.namespace.ip("-j link show"))]
    assert names == ["lo"]


def test_a_missing_device_is_told_to_the_caller(machine: Machine) -> None:
    """ovs-vsctl prints vswitchd's message; the configuration counts as done."""
    done = machine.run_vsctl("add-port", "br-int", "tap9")
    assert "could not open network device tap9 (No such device)" in done.stderr
    assert machine.get("Interface", "tap9", "ofport") == "-1"
    assert machine.get("Interface", "tap9", "mac_in_use") == "[]"
    machine.vsctl("set", "Open_vSwitch", ".", "external_ids:system-id=a")


def test_a_device_may_come_late_go_and_come_back(machine: Machine) -> None:
    """The row waits for its device; made again, the port keeps its number under another ifindex."""
    machine.run_vsctl("add-port", "br-int", "tap9")
    machine.namespace.ip("tuntap add tap9 mode tap")
    machine.wait_until("tap9", "ofport>0", "error=[]")
    port = machine.get("Interface", "tap9", "ofport")
    ifindex = machine.get("Interface", "tap9", "ifindex")
    assert until(lambda: machine.interfaces().get("tap9"), "tap9 told")["kind"] == "tun"
    machine.namespace.ip("link del tap9")
    machine.wait_until("tap9", "ofport=-1", "ifindex=[]", "link_state=[]")
    until(lambda: "tap9" not in machine.interfaces(), "tap9 told gone")
    machine.namespace.ip("tuntap add tap9 mode tap")
    machine.wait_until("tap9", f"ofport={port}", "error=[]", f"ifindex!={ifindex}")


def test_a_renamed_device_is_found_by_its_name_only(machine: Machine) -> None:
    """Under another name the device is not the port's; back under its name it is."""
    machine.namespace.ip("link add v1 type veth peer name p1")
    machine.vsctl("add-port", "br-int", "v1")
    machine.namespace.ip("link set v1 name v2")
    machine.wait_until("v1", "ofport=-1")
    machine.namespace.ip("link set v2 name v1")
    machine.wait_until("v1", "ofport>0", "error=[]")


def test_the_state_of_a_link_is_followed(machine: Machine) -> None:
    """Admin state, carrier, MTU and resets follow the device without anybody's transaction."""
    machine.namespace.ip("link add v1 type veth peer name p1")
    machine.vsctl("add-port", "br-int", "v1")
    assert machine.get("Interface", "v1", "admin_state") == "down"
    assert machine.get("Interface", "v1", "link_resets") == "0"
    machine.namespace.ip("link set p1 up")
    machine.namespace.ip("link set v1 up")
    machine.wait_until("v1", "admin_state=up", "link_state=up", "link_resets>0")
    machine.namespace.ip("link set v1 mtu 1442")
    machine.wait_until("v1", "mtu=1442")
    assert machine.get("Interface", "v1", "link_speed") == "10000000000"
    assert machine.get("Interface", "v1", "status:driver_name") == "veth"


def test_a_peer_that_moves_away_is_told(machine: Machine, other_namespace: Namespace) -> None:
    """The data plane learns that the other end of the veth is in another namespace."""
    machine.namespace.ip("link add v1 type veth peer name p1")
    iface_id = ("set", "Interface", "v1", "external_ids:iface-id=lp1")
    machine.vsctl("add-port", "br-int", "v1", "--", *iface_id)
    told = until(lambda: machine.interfaces().get("v1"), "v1 told")
    assert (told["iface_id"], told["peer_elsewhere"]) == ("lp1", False)
    machine.namespace.ip(f"link set p1 netns {other_namespace.name}")
    machine.namespace.ip("link set v1 up")
    other_namespace.ip("link set p1 up")
    until(lambda: machine.interfaces()["v1"]["peer_elsewhere"], "the peer told elsewhere")


def test_an_internal_device_is_made_as_asked_and_removed(machine: Machine) -> None:
    """Address and MTU are the row's, a later change is followed, del-port removes the device."""
    wishes = ("type=internal", 'mac="02:00:00:00:00:77"', "mtu_request=1400")
    machine.vsctl("add-port", "br-int", "i0", "--", "set", "Interface", "i0", *wishes)
    link = machine.namespace.link("i0")
    assert link is not None
    assert (link["address"], link["mtu"]) == ("02:00:00:00:00:77", 1400)
    assert machine.get("Interface", "i0", "mac_in_use") == "02:00:00:00:00:77"
    machine.vsctl("set", "Interface", "i0", 'mac="02:00:00:00:00:78"', "mtu_request=1300")
    link = machine.namespace.link("i0")
    assert link is not None
    assert (link["address"], link["mtu"]) == ("02:00:00:00:00:78", 1300)
    machine.vsctl("del-port", "i0")
    assert machine.namespace.link("i0") is None


def test_a_port_may_become_internal_later(machine: Machine) -> None:
    """A port without a device is given one when its type changes, and loses it with the type."""
    machine.run_vsctl("add-port", "br-int", "i0")
    machine.vsctl("set", "Interface", "i0", "type=internal")
    assert machine.namespace.link("i0") is not None
    assert machine.get("Interface", "i0", "error") == "[]"
    machine.run_vsctl("set", "Interface", "i0", "type=system")
    assert machine.namespace.link("i0") is None
    assert machine.get("Interface", "i0", "ofport") == "-1"


def test_an_internal_device_moved_away_still_works(
    machine: Machine, other_namespace: Namespace
) -> None:
    """Moved and changed there, its address is shown; deleted there, it is made anew here."""
    machine.vsctl("add-port", "br-int", "i0", "--", "set", "Interface", "i0", "type=internal")
    machine.namespace.ip(f"link set i0 netns {other_namespace.name}")
    other_namespace.ip("link set i0 address 02:00:00:00:00:99 up")
    machine.wait_until("i0", "link_state=up", "admin_state=up", 'mac_in_use="02:00:00:00:00:99"')
    assert machine.interfaces()["i0"]["peer_elsewhere"]
    assert machine.get("Interface", "i0", "error") == "[]"
    other_namespace.ip("link del i0")
    until(lambda: machine.namespace.link("i0"), "i0 made again")
    until(lambda: not machine.interfaces()["i0"]["peer_elsewhere"], "i0 told here")


def test_a_name_in_use_is_not_taken_for_an_internal_device(machine: Machine) -> None:
    """Somebody's device of that name stays as it is, and the caller is told."""
    machine.namespace.ip("tuntap add i0 mode tap")
    words = ("add-port", "br-int", "i0", "--", "set", "Interface", "i0", "type=internal")
    assert "(File exists)" in machine.run_vsctl(*words).stderr
    machine.vsctl("del-port", "i0")
    assert machine.namespace.link("i0") is not None


def test_what_the_host_sends_counts_as_received(machine: Machine) -> None:
    """Counters are the switch's: frames from the internal device are rx, and come every 5 s."""
    machine.vsctl("add-port", "br-int", "i0", "--", "set", "Interface", "i0", "type=internal")
    machine.namespace.ip("link set i0 up")  # the host's IPv6 says hello

    def received() -> bool:
        return machine.get("Interface", "i0", "statistics:rx_packets") not in ("0", "1")

    until(received, "received frames in the database")
    assert machine.get("Interface", "i0", "statistics:tx_packets") == "0"


def test_a_requested_number_is_granted_when_free(machine: Machine) -> None:
    """ofport_request is honoured, at first and later; a number in use is not taken away."""
    for device in ("v1", "v2"):
        machine.namespace.ip(f"tuntap add {device} mode tap")
    machine.vsctl("add-port", "br-int", "v1", "--", "set", "Interface", "v1", "ofport_request=9")
    machine.vsctl("add-port", "br-int", "v2", "--", "set", "Interface", "v2", "ofport_request=9")
    assert machine.get("Interface", "v1", "ofport") == "9"
    second = machine.get("Interface", "v2", "ofport")
    assert second not in ("9", "-1")
    machine.vsctl("set", "Interface", "v2", "ofport_request=33")
    assert machine.get("Interface", "v2", "ofport") == "33"


def test_a_restart_changes_nothing(machine: Machine) -> None:
    """Killed and started again, devices and numbers are the same ones; work left over is done."""
    machine.namespace.ip("tuntap add v1 mode tap")
    machine.vsctl("add-port", "br-int", "i0", "--", "set", "Interface", "i0", "type=internal")
    machine.vsctl("add-port", "br-int", "v1")
    before = [machine.get("Interface", n, "ofport", "ifindex") for n in ("br-int", "i0", "v1")]
    machine.stop_switch()
    assert machine.namespace.link("i0") is not None
    machine.vsctl("--no-wait", "del-port", "i0")
    machine.vsctl("--no-wait", "add-port", "br-int", "v2")
    machine.restart_switch()
    machine.wait_until("v2", "ofport=-1")
    machine.vsctl("add-port", "br-int", "i1", "--", "set", "Interface", "i1", "type=internal")
    assert machine.namespace.link("i0") is None
    after = [machine.get("Interface", n, "ofport", "ifindex") for n in ("br-int", "v1")]
    assert after == [before[0], before[2]]


def test_a_restarted_server_gets_the_state_again(machine: Machine) -> None:
    """State columns are not in the database's file; the switch writes them once more."""
    machine.namespace.ip("tuntap add v1 mode tap")
    machine.vsctl("add-port", "br-int", "v1")
    ifindex = machine.get("Interface", "v1", "ifindex")
    machine.restart_server()
    machine.wait_until("v1", f"ifindex={ifindex}", "mtu=1500")
    machine.vsctl("add-port", "br-int", "i1", "--", "set", "Interface", "i1", "type=internal")


def test_events_that_mean_nothing_are_not_written(machine: Machine) -> None:
    """Other devices, and changes that no column shows, leave the rows alone."""
    machine.namespace.ip("link add v1 type veth peer name p1")
    machine.vsctl("add-port", "br-int", "v1")
    columns = ("name", "ofport", "error", "ifindex", "mac_in_use", "mtu", "link_state", "status")
    process, output = machine.monitor(*columns)
    try:
        first = output.read_text()
        machine.namespace.ip("link set v1 alias something")
        machine.namespace.ip("link set v1 promisc on")
        machine.namespace.ip("link add unrelated type veth peer name other")
        machine.namespace.ip("link del unrelated")
        machine.vsctl("set", "Open_vSwitch", ".", "external_ids:done=1")
        machine.vsctl("set", "Open_vSwitch", ".", "external_ids:done=2")
        assert output.read_text() == first
        machine.namespace.ip("link set v1 mtu 1400")
        until(lambda: output.read_text() != first, "the monitor still alive")
    finally:
        process.kill()
        process.wait()


def test_two_databases_in_one_namespace_keep_apart(
    machine: Machine, namespace: Namespace, tmp_path: Path
) -> None:
    """A second switch neither removes nor takes over the devices of the first."""
    machine.vsctl("add-port", "br-int", "i0", "--", "set", "Interface", "i0", "type=internal")
    before = machine.namespace.link("i0")
    second = Machine(tmp_path / "second", namespace)
    try:
        second.vsctl("add-br", "br-two")
        assert (
            "(File exists)"
            in second.run_vsctl(
                *("add-port", "br-two", "i0", "--", "set", "Interface", "i0", "type=internal")
            ).stderr
        )
        second.vsctl("del-br", "br-two")
    finally:
        second.stop()
    assert machine.namespace.link("i0") == before
    assert machine.get("Interface", "i0", "error") == "[]"


def test_devices_of_a_database_that_is_no_more_are_replaced(
    machine: Machine, namespace: Namespace, tmp_path: Path
) -> None:
    """Made anew, the database has another identity; the old one's br-int must not be in the way."""
    before = namespace.link("br-int")
    machine.stop_switch()
    second = Machine(tmp_path / "second", namespace)
    try:
        second.vsctl("add-br", "br-int")
        assert second.get("Interface", "br-int", "ofport") == "65534"
        after = namespace.link("br-int")
        assert before is not None
        assert after is not None
        assert after["ifindex"] != before["ifindex"]
    finally:
        second.stop()


def test_a_port_of_an_ordinary_bridge_lends_its_address(machine: Machine) -> None:
    """A bridge other than br-int has device, numbers and state too."""
    machine.namespace.ip("link add eth9 address 02:00:00:00:00:05 type veth peer name wire")
    machine.vsctl("add-br", "br-ex")
    machine.vsctl("add-port", "br-ex", "eth9")
    assert machine.get("Interface", "br-ex", "mac_in_use") == "02:00:00:00:00:05"
    assert machine.get("Bridge", "br-ex", "datapath_id") == "0000020000000005"
    assert machine.get("Interface", "eth9", "ofport") == "1"
    assert "eth9" not in machine.interfaces()

# SPDX-License-Identifier: Apache-2.0
"""The life of a chain: `up`, its end, its successor, and what each leaves behind."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iovisor_ovn.demo.processes import end, is_running, until
from support.chains import PROGRAM, StandaloneRig, kernel_objects
from support.fixtures import run_name
from support.flows import Connection, PingStream, serve
from support.refuse import Refusal, refusing

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_bpf]

_SWITCH = """
modules:
  - {name: lan, type: switch}
external_interfaces:
  - {module: lan, iface: {a}}
  - {module: lan, iface: {b}}
"""
#: Whoever is inside may talk to outside; nothing may begin there.
_FIREWALL = """
modules:
  - name: wall
    type: firewall
    config:
      rules:
        - match: inport == "{a}" && ip
          action: allow-related
external_interfaces:
  - {module: wall, iface: {a}}
  - {module: wall, iface: {b}}
"""


#: Behind the firewall a user's program with maps of its own.
_WITH_PROGRAM = f"""
modules:
  - name: wall
    type: firewall
    config:
      rules:
        - match: inport == "{{a}}" && ip
          action: allow-related
  - name: own
    type: ebpf
    config:
      program: {Path(__file__).parents[2] / "examples" / "ebpf" / "rate_limit.bpf.c"}
      settings: {{rate: 1000000}}
links:
  - {{from: wall, to: own}}
external_interfaces:
  - {{module: wall, iface: {{a}}}}
  - {{module: own, iface: {{b}}}}
"""
_LINK_CREATE = 28  # enum bpf_cmd


@pytest.fixture
def rig(module_directory: Path) -> Iterator[StandaloneRig]:
    """Return two hosts, not connected yet."""
    name = run_name("life")
    made = StandaloneRig(module_directory / name, name)
    try:
        made.add_host("a", 1, ["10.0.0.1/24"])
        made.add_host("b", 2, ["10.0.0.2/24"])
        yield made
    finally:
        made.close()


def _pings(rig: StandaloneRig) -> bool:
    return rig.hosts["a"].ping("10.0.0.2").received == 1


def _has_mount(rig: StandaloneRig) -> bool:
    return str(rig.run_dir) in Path("/proc/self/mounts").read_text()


def _exists(kind: str, number: int) -> bool:
    words = ["bpftool", kind, "show", "id", str(number)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_nothing_is_left_of_a_chain_that_is_taken_down(rig: StandaloneRig) -> None:
    """No program, map, link, pin, mount, process; only the log stays."""
    devices = rig.namespace.run("ip", "-br", "link")
    rig.up(_SWITCH)
    assert _pings(rig)
    pid = rig.pid
    assert pid is not None
    objects = kernel_objects(pid)
    assert {kind for kind, _number in objects} >= {"map", "prog"}
    assert all(_exists(*one) for one in objects)
    assert _has_mount(rig)
    assert rig.run("down") == ""
    assert not is_running(pid)
    assert not _has_mount(rig)
    assert [path.name for path in rig.run_dir.iterdir()] == ["standalone.log"]
    until(lambda: not any(_exists(*one) for one in objects), "end of programs and maps")
    assert rig.namespace.run("ip", "-br", "link") == devices
    assert not _pings(rig)
    assert rig.run("down") == f"nothing runs in {rig.run_dir}\n"


def test_a_second_chain_in_a_run_directory_is_refused(rig: StandaloneRig) -> None:
    """The first goes on."""
    rig.up(_SWITCH)
    with PingStream(rig.hosts["a"], "10.0.0.2", 0.01) as stream:
        second = rig.attempt("up", rig.write(_SWITCH), "--detach")
        assert second.returncode == 1
        assert second.stderr == (
            f"iovisor-ovn: a chain runs in {rig.run_dir} already: use `apply`, or another"
            " --run-dir\n"
        )
        stream.wait_answers(10)
        assert stream.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_chain_in_the_foreground_ends_with_its_process(
    rig: StandaloneRig, number: signal.Signals
) -> None:
    """Ctrl-C takes all away, and is no failure."""
    process = rig.start(*rig.words("up", rig.write(_SWITCH))[4:])
    rig.wait_started()
    assert _pings(rig)
    pid = rig.pid
    assert pid is not None
    objects = kernel_objects(pid)
    process.send_signal(number)
    assert process.wait(20) == 0
    assert not _has_mount(rig)
    assert list(rig.run_dir.iterdir()) == []
    until(lambda: not any(_exists(*one) for one in objects), "end of programs and maps")
    assert not _pings(rig)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_traffic_outlives_a_detached_process_and_its_successor_takes_it_over(
    rig: StandaloneRig, number: signal.Signals
) -> None:
    """No packet is lost, and a connection that only state lets pass lives on."""
    rig.up(_FIREWALL)
    serve(rig.hosts["b"], 80)
    with (
        PingStream(rig.hosts["a"], "10.0.0.2", 0.01) as stream,
        Connection(rig.hosts["a"], "10.0.0.2", 80) as connection,
    ):
        pid = rig.pid
        assert pid is not None
        end(pid, number)
        stream.wait_answers(20)
        assert connection.echoes()
        assert rig.attempt("show").stderr == f"iovisor-ovn: no chain runs in {rig.run_dir}\n"
        rig.up(_FIREWALL)
        stream.wait_answers(20)
        assert connection.echoes()
        assert stream.stop() == 0
    assert rig.hosts["b"].ping("10.0.0.1", wait_s=0.3).received == 0, "state, not an open door"


def test_what_a_killed_process_left_can_be_taken_down(rig: StandaloneRig) -> None:
    """`down` needs no process."""
    rig.up(_SWITCH)
    pid = rig.pid
    assert pid is not None
    objects = kernel_objects(pid)
    end(pid, signal.SIGKILL)
    assert _pings(rig)
    rig.run("down")
    assert not _has_mount(rig)
    until(lambda: not any(_exists(*one) for one in objects), "end of programs and maps")
    assert not _pings(rig)


@pytest.mark.parametrize("detach", [True, False], ids=["detached", "foreground"])
def test_a_failed_start_leaves_nothing(rig: StandaloneRig, detach: bool) -> None:
    """A device that is missing is told with its place; no program, mount or file stays."""
    file = rig.write(_SWITCH.replace("{b}", "nowhere"))
    words = ["--detach"] if detach else []
    failed = rig.attempt("up", file, *words)
    assert failed.returncode == 1
    assert failed.stderr == (
        f"iovisor-ovn: {file}:6:26: external_interfaces[1].iface: there is no device nowhere here\n"
    )
    assert not _has_mount(rig)
    assert [path.name for path in rig.run_dir.iterdir() if path.suffix != ".log"] == []


@pytest.mark.parametrize(
    "file", [_FIREWALL.replace("{b}", "nowhere"), _FIREWALL.replace("ip\n", "blah\n")],
    ids=["device", "match"],
)  # fmt: skip
def test_a_failed_start_over_a_dead_process_leaves_its_chain_alone(
    rig: StandaloneRig, file: str
) -> None:
    """Packets and connections of the earlier chain go on; a right file takes it over later."""
    rig.up(_FIREWALL)
    serve(rig.hosts["b"], 80)
    with (
        PingStream(rig.hosts["a"], "10.0.0.2", 0.01) as stream,
        Connection(rig.hosts["a"], "10.0.0.2", 80) as connection,
    ):
        pid = rig.pid
        assert pid is not None
        end(pid, signal.SIGKILL)
        assert rig.attempt("up", rig.write(file), "--detach").returncode == 1
        stream.wait_answers(20)
        assert connection.echoes()
        rig.up(_FIREWALL)
        assert connection.echoes()
        stream.wait_answers(20)
        assert stream.stop() == 0


def test_a_device_that_refuses_leaves_the_earlier_chain_alone(rig: StandaloneRig) -> None:
    """Also the devices whose programs were exchanged before: packets, connections, users' maps."""
    rig.add_host("c", 3, ["10.0.0.3/24"])
    rig.up(_WITH_PROGRAM)
    serve(rig.hosts["b"], 80)
    with (
        PingStream(rig.hosts["a"], "10.0.0.2", 0.01) as stream,
        Connection(rig.hosts["a"], "10.0.0.2", 80) as connection,
    ):
        before = _programs(rig), _module_maps(rig)
        assert len(before[0]) == 2
        assert before[1]
        pid = rig.pid
        assert pid is not None
        end(pid, signal.SIGKILL)
        file = rig.write(_WITH_PROGRAM + "  - {module: own, iface: {c}}\n", "more.yaml")
        no_link = refusing(Refusal("bpf", "EPERM", _LINK_CREATE))
        words = rig.namespace.words(*no_link, *rig.words("up", file, "--detach")[4:])
        failed = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert failed.returncode == 1
        assert "cannot attach program ingress" in failed.stderr
        assert (_programs(rig), _module_maps(rig)) == before
        stream.wait_answers(20)
        assert connection.echoes()
        rig.up(_WITH_PROGRAM)
        assert _module_maps(rig) == before[1]
        assert connection.echoes()
        assert stream.stop() == 0


def _programs(rig: StandaloneRig) -> dict[str, int]:
    """Kernel ids of the programs in front of devices, by the pins of their links."""
    return _of_pins(rig, "link", "links/*", "prog_id")


def _module_maps(rig: StandaloneRig) -> dict[str, int]:
    """Kernel ids of the maps of users' modules, by their pins."""
    return _of_pins(rig, "map", "module-maps/*/*", "id")


def _of_pins(rig: StandaloneRig, kind: str, pattern: str, key: str) -> dict[str, int]:
    found = {}
    for pin in (rig.run_dir / "standalone.bpffs").glob(pattern):
        words = ["bpftool", "--json", kind, "show", "pinned", str(pin)]
        found[pin.name] = int(json.loads(subprocess.check_output(words))[key])
    return found


def test_a_chain_may_be_taken_down_while_it_starts(rig: StandaloneRig) -> None:
    """`down` waits for it; nothing is left then."""
    up = rig.start(*rig.words("up", rig.write(_large()), "--detach")[4:])
    rig.wait_starting()
    assert rig.run("down") == ""
    assert up.wait(60) == 0
    assert rig.pid is None
    assert not _has_mount(rig)
    assert [path.name for path in rig.run_dir.iterdir()] == ["standalone.log"]


def test_a_chain_that_is_ended_while_it_starts_leaves_nothing(rig: StandaloneRig) -> None:
    """Ctrl-C in the middle of the work."""
    up = rig.start(*rig.words("up", rig.write(_large()))[4:])
    rig.wait_starting()
    up.send_signal(signal.SIGINT)
    output, _ = up.communicate(timeout=60)
    assert up.returncode == 1
    assert output.endswith("iovisor-ovn: ended by a signal before the chain worked\n")
    assert not _has_mount(rig)
    assert list(rig.run_dir.iterdir()) == []


def test_a_detached_start_that_nobody_waits_for_leaves_nothing(rig: StandaloneRig) -> None:
    """Ctrl-C ends the command that waits, and with it the start."""
    up = rig.start(*rig.words("up", rig.write(_large()), "--detach")[4:])
    rig.wait_starting()
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=60)  # until the process that deploys has closed its output, too
    assert up.returncode == 130
    assert rig.pid is None
    assert not _has_mount(rig)
    assert [path.name for path in rig.run_dir.iterdir()] == ["standalone.log"]


@pytest.mark.parametrize("detach", [True, False], ids=["detached", "foreground"])
def test_an_interrupted_start_over_a_dead_process_leaves_its_chain_alone(
    rig: StandaloneRig, detach: bool
) -> None:
    """Packets and connections of the earlier chain go on, by the programs that they met before."""
    rig.up(_FIREWALL)
    serve(rig.hosts["b"], 80)
    with Connection(rig.hosts["a"], "10.0.0.2", 80) as connection:
        before = _programs(rig)
        pid = rig.pid
        assert pid is not None
        end(pid, signal.SIGKILL)
        (rig.run_dir / "standalone.ctl").unlink()
        file = rig.write(_large(), "large.yaml")
        up = rig.start(*rig.words("up", file, *["--detach"] * detach)[4:])
        rig.wait_starting()
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)
        assert up.returncode == (130 if detach else 1)
        assert rig.pid is None
        assert _programs(rig) == before
        assert connection.echoes()
        rig.up(_FIREWALL)
        assert connection.echoes()


def test_of_two_starts_at_once_one_is_refused(rig: StandaloneRig) -> None:
    """With a reason, and the other chain works."""
    words = rig.words("up", rig.write(_SWITCH), "--detach")[4:]
    both = [rig.start(*words), rig.start(*words)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert sorted(outputs) == [
        "",
        f"iovisor-ovn: a chain runs in {rig.run_dir} already: use `apply`, or another --run-dir\n",
    ]
    assert _pings(rig)


def _large() -> str:
    """A chain that takes a while to deploy."""
    routes = "\n".join(
        f"        - {{network: 10.{n >> 8}.{n & 255}.0/24, interface: {{b}}, next_hop: 10.255.0.2}}"
        for n in range(5000)
    )
    return f"""
modules:
  - name: gate
    type: router
    config:
      interfaces:
        - {{name: {{a}}, ip: 192.0.2.1/24, mac: "02:00:00:00:01:01"}}
        - {{name: {{b}}, ip: 10.255.0.1/24, mac: "02:00:00:00:01:02"}}
      static_routes:
{routes}
external_interfaces:
  - {{module: gate, iface: {{a}}}}
  - {{module: gate, iface: {{b}}}}
"""


def test_two_chains_live_side_by_side(rig: StandaloneRig) -> None:
    """Each has its run directory and devices; the end of one is not noticed by the other."""
    rig.add_host("c", 1, ["10.0.0.1/24"])
    rig.add_host("d", 2, ["10.0.0.2/24"])
    second = rig.directory / "run2"
    rig.up(_SWITCH)
    other = rig.write(_SWITCH.replace("{a}", "{c}").replace("{b}", "{d}"), "second.yaml")
    rig.run("up", other, "--detach", run_dir=second)
    with PingStream(rig.hosts["a"], "10.0.0.2", 0.01) as stream:
        ping = rig.hosts["c"].ping("10.0.0.2", count=2)
        assert ping.received == 2
        assert "DUP" not in ping.output
        rig.run("down", run_dir=second)
        assert rig.hosts["c"].ping("10.0.0.2", wait_s=0.3).received == 0
        stream.wait_answers(10)
        assert stream.stop() == 0


def test_the_archived_command_line_works(rig: StandaloneRig) -> None:
    """`iovisorovnd -file FILE -hover URL` deploys; what has no effect any more is said."""
    file = rig.write(_SWITCH)
    program = str(PROGRAM.parent / "iovisorovnd")
    daemon = rig.start(program, "-file", file, "-hover", "http://127.0.0.1:5002", "-testenv=null")
    rig.wait_started()
    assert _pings(rig)
    daemon.send_signal(signal.SIGINT)
    output, _ = daemon.communicate(timeout=20)
    assert daemon.returncode == 0
    assert "iovisorovnd: -hover is of no effect here\n" in output
    assert "iovisorovnd: -testenv=null is of no effect here\n" in output
    assert not _has_mount(rig)


def test_the_archived_command_line_wants_a_file(rig: StandaloneRig) -> None:
    """Without `-file` it says how it is used."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM.parent / "iovisorovnd"), "-hover", "x"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith("usage: iovisorovnd -file FILE\n")
    file = rig.write("modules: [}")
    done = subprocess.run(
        [sys.executable, str(PROGRAM.parent / "iovisorovnd"), "-file", file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{file}:1:11: " in done.stderr


def test_a_file_is_checked_whole_without_devices(rig: StandaloneRig) -> None:
    """Every problem has its line, column and key; the status tells scripts."""
    assert rig.run("validate", rig.write(_SWITCH)).endswith("chain.yaml: ok\n")
    file = rig.write(
        "modules:\n"
        "  - {name: lan, type: switchh}\n"
        "  - name: gate\n"
        "    type: router\n"
        "    config:\n"
        "      interfaces: [{name: lan, ip: 10.0.0.1, netmask: 255.0.255.0, mac: zz}]\n"
        "links:\n"
        "  - {from: lan, to: gat}\n"
    )
    checked = rig.attempt("validate", file)
    assert checked.returncode == 1
    problems = checked.stderr.removeprefix("iovisor-ovn: ").splitlines()
    assert [problem.split(": ")[:2] for problem in problems] == [
        [f"{file}:2:23", "modules[0].type"],
        [f"{file}:6:55", "modules[1].config.interfaces[0].netmask"],
        [f"{file}:6:73", "modules[1].config.interfaces[0].mac"],
        [f"{file}:8:21", "links[0].to"],
    ]
    assert "did you mean switch?" in problems[0]
    assert "did you mean gate?" in problems[3]

# SPDX-License-Identifier: Apache-2.0
"""Users' modules before logical ports, by ``external_ids`` of an Interface; bad ones, too."""

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from scapy.packet import Packet

from iovisor_ovn.dataplane.module_source import compile_source
from iovisor_ovn.demo import until
from iovisor_ovn.demo.processes import run
from support.central import Central
from support.fixtures import HypervisorMaker
from support.hypervisor import Flavor, Hypervisor
from support.network import Host, plug, port_lines
from support.packets import Wire, datagram, payload_is

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B = Host("a", 1, 11), Host("b", 1, 12)
SOURCES = Path(__file__).parents[1] / "bpf" / "modules"
_ERROR = "external_ids:iovisor-module-error"
DROP = 2


@pytest.fixture(scope="module")
def hypervisor(central: Central, make_hypervisor: HypervisorMaker, flavor: Flavor) -> Hypervisor:
    """Return a hypervisor with two machines on a switch."""
    if flavor == "ovn":
        pytest.skip("ordinary OVN has no modules of users")
    central.nb_lines("\n".join(["ls-add sw", *[port_lines("sw", host) for host in (A, B)]]))
    hypervisor = make_hypervisor("hv")
    for host in (A, B):
        plug(hypervisor, host)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor


@pytest.fixture
def wires(hypervisor: Hypervisor) -> Iterator[tuple[Wire, Wire]]:
    """Return the wires of both machines, with no module anywhere."""
    for port in hypervisor.vms:
        set_module(hypervisor, port, "")
    with Wire(hypervisor.vms["a"]) as a, Wire(hypervisor.vms["b"]) as b:
        yield a, b


def device_of(hypervisor: Hypervisor, port: str) -> str:
    """The Interface of a logical port."""
    return hypervisor.vms[port].port


def set_module(hypervisor: Hypervisor, port: str, program: Path | str, settings: str = "") -> None:
    """Ask for a module before a port, or for none, and wait until that is settled."""
    if not program:
        for key in ("iovisor-module", "iovisor-module-settings"):
            hypervisor.vsctl(
                "remove", "Interface", device_of(hypervisor, port), "external_ids", key
            )
        until(lambda: f"port/{port}" not in modules(hypervisor), "the module is gone")
        return
    hypervisor.vsctl(
        "set", "Interface", device_of(hypervisor, port),
        f"external_ids:iovisor-module={program}",
        f'external_ids:iovisor-module-settings="{settings}"',
    )  # fmt: skip


def modules(hypervisor: Hypervisor) -> dict[str, dict[str, str | int]]:
    """What ``iovisor-ovn show`` says of modules, by name."""
    program = str(Path(sys.executable).parent / "iovisor-ovn")
    shown = json.loads(run(program, "show", "--json", "-t", str(hypervisor.control)))
    return {row["module"]: row for row in shown["modules"]}


def module_of(hypervisor: Hypervisor, port: str) -> dict[str, str | int]:
    """What ``show`` says of the one before a port; nothing while there is none."""
    return modules(hypervisor).get(f"port/{port}", {})


def wait_module(hypervisor: Hypervisor, port: str, settings: str) -> None:
    """Wait until a module is in force with these settings."""
    until(
        lambda: module_of(hypervisor, port).get("settings") == settings,
        f"the module of {port} has {settings}",
    )


def count(hypervisor: Hypervisor, port: str, what: str) -> int:
    """Packets of the module before a port."""
    return int(module_of(hypervisor, port).get(what, 0))


def is_refused(hypervisor: Hypervisor, port: str, why: str) -> bool:
    """Whether the Interface says so."""
    return why in error(hypervisor, port)


def error(hypervisor: Hypervisor, port: str) -> str:
    """What the Interface says is wrong."""
    return hypervisor.vsctl("--if-exists", "get", "Interface", device_of(hypervisor, port), _ERROR)


def frame(payload: bytes, *, back: bool = False) -> Packet:
    """A datagram from A to B, or back."""
    one, other = (B, A) if back else (A, B)
    return datagram(one.mac, other.mac, one.ip4, other.ip4, payload)


def test_module_sees_both_directions(
    hypervisor: Hypervisor, wires: tuple[Wire, Wire], tmp_path: Path
) -> None:
    """What comes from the machine and what goes to it is the module's to change; others' is not."""
    a, b = wires
    compile_source(SOURCES / "rewrite.bpf.c", tmp_path / "rewrite.o")
    port = "b"
    set_module(hypervisor, port, tmp_path / "rewrite.o", "last=0x21")
    wait_module(hypervisor, port, "last=0x21")
    a.send(frame(b"to the machine?"))
    b.wait_for(payload_is(b"to the machine!"))
    b.send(frame(b"from the machine?", back=True))
    a.wait_for(payload_is(b"from the machine!"))
    set_module(hypervisor, port, "")
    a.send(frame(b"without it?"))
    b.wait_for(payload_is(b"without it?"))


def test_packets_are_counted_by_what_the_module_said(
    hypervisor: Hypervisor, wires: tuple[Wire, Wire]
) -> None:
    """A module that drops lets nothing of its port through, and nothing else stops."""
    a, b = wires
    port = "a"
    set_module(hypervisor, port, SOURCES / "verdict.bpf.c", f"verdict={DROP}")
    wait_module(hypervisor, port, f"verdict={DROP}")
    a.send(frame(b"never"))
    until(lambda: count(hypervisor, port, "dropped") >= 1, "the packet is counted")
    set_module(hypervisor, port, SOURCES / "verdict.bpf.c", "verdict=0")
    wait_module(hypervisor, port, "verdict=0")
    a.send(frame(b"the end"))
    b.wait_for(payload_is(b"the end"))
    assert not b.has_heard(payload_is(b"never"))
    assert count(hypervisor, port, "passed") >= 1


def test_port_whose_module_cannot_be_loaded_gets_no_packets(
    hypervisor: Hypervisor, wires: tuple[Wire, Wire], central: Central
) -> None:
    """The Interface, show and the log say why; a good one puts it right."""
    a, b = wires
    port = "a"
    set_module(hypervisor, port, SOURCES / "broken.bpf.c")
    until(lambda: "no_such_name" in error(hypervisor, port), "the Interface says why")
    assert "its packets are dropped" in error(hypervisor, port)
    assert "module_refused" in hypervisor.log.read_text()
    problems = json.loads(hypervisor.appctl("iovisor/show"))["problems"]
    assert [row["reason"] for row in problems if row["what"] == "module_refused"]
    a.send(frame(b"unfiltered"))
    until(lambda: count(hypervisor, port, "missing") >= 1, "the packet is counted")
    set_module(hypervisor, port, SOURCES / "verdict.bpf.c")
    until(lambda: not error(hypervisor, port), "the error is gone")
    a.send(frame(b"filtered"))
    b.wait_for(payload_is(b"filtered"))
    assert not b.has_heard(payload_is(b"unfiltered"))
    central.sync()


def test_bad_change_leaves_the_module_in_force(
    hypervisor: Hypervisor, wires: tuple[Wire, Wire]
) -> None:
    """A setting that does not exist, a file that is gone: what filtered before filters on."""
    a, b = wires
    port = "b"
    set_module(hypervisor, port, SOURCES / "rewrite.bpf.c", "last=0x21")
    wait_module(hypervisor, port, "last=0x21")
    for program, settings, why in (
        (SOURCES / "rewrite.bpf.c", "lst=0x22", "did you mean last?"),
        (SOURCES / "rewrite.bpf.c", "last", "is not name=value"),
        (SOURCES / "none.o", "", "there is no such file"),
        (SOURCES / "refused.bpf.c", "", "invalid access to packet"),
    ):
        set_module(hypervisor, port, program, settings)
        until(partial(is_refused, hypervisor, port, why), f"the Interface says {why}")
        assert f"{SOURCES / 'rewrite.bpf.c'} stays" in error(hypervisor, port)
        a.send(frame(b"still there?"))
        b.wait_for(payload_is(b"still there!"))
        b.heard.clear()


def test_module_goes_on_without_the_agent(
    hypervisor: Hypervisor, wires: tuple[Wire, Wire], central: Central
) -> None:
    """And its maps with the next one."""
    a, b = wires
    port = "b"
    set_module(hypervisor, port, SOURCES / "rewrite.bpf.c", "last=0x21")
    wait_module(hypervisor, port, "last=0x21")
    hypervisor.kill()
    a.send(frame(b"without an agent?"))
    b.wait_for(payload_is(b"without an agent!"))
    hypervisor.start()
    central.sync()
    wait_module(hypervisor, port, "last=0x21")
    a.send(frame(b"with the next?"))
    b.wait_for(payload_is(b"with the next!"))

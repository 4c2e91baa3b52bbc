# SPDX-License-Identifier: Apache-2.0
"""Users' programs as modules of a chain: where their verdicts lead, and what a change does."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from chain_rig import NOTHING, ChainRig, Output, chain
from iovisor_ovn.config.topology import Config, Ebpf, Setting, Switch
from iovisor_ovn.errors import TopologyError
from iovisor_ovn.standalone.report import report

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

SOURCES = Path(__file__).parents[1] / "modules"
PASS, DROP, FIRST_PORT = 0, 2, 0x100
FRAME = bytes(
    Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    / IP(src="10.0.0.1", dst="10.0.0.2")
    / UDP(sport=1, dport=2)
    / (b"x" * 30)
)


def program(name: str, **settings: Setting) -> Ebpf:
    """A module that runs a program of the tests."""
    return Ebpf(SOURCES / f"{name}.bpf.c", settings)


def verdict(value: int) -> Ebpf:
    """A module that says the same of each packet."""
    return program("verdict", verdict=value)


def ended(last: int) -> bytes:
    """The frame with another last byte."""
    return FRAME[:-1] + bytes([last])


def test_passed_packet_leaves_by_the_other_port(rig: ChainRig) -> None:
    """From either side."""
    rig.fresh(chain({"m": verdict(PASS)}, ["m", "m"]))
    assert rig.always(0, FRAME) == {1: [FRAME]}
    assert rig.always(1, FRAME) == {0: [FRAME]}


def test_of_more_ports_by_every_other(rig: ChainRig) -> None:
    """And of one port by none."""
    rig.fresh(chain({"m": verdict(PASS)}, ["m", "m", "m"]))
    assert rig.always(1, FRAME) == {0: [FRAME], 2: [FRAME]}
    rig.fresh(chain({"m": verdict(PASS)}, ["m"]))
    assert rig.always(0, FRAME) == {}


def test_dropped_packet_leaves_by_none(rig: ChainRig) -> None:
    """Whatever the ports."""
    rig.fresh(chain({"m": verdict(DROP)}, ["m", "m", "m"]))
    assert rig.always(0, FRAME) == {}


@pytest.mark.parametrize("port", [0, 1, 2])
def test_module_sends_where_it_likes(rig: ChainRig, port: int) -> None:
    """Ports are numbered as the file connects them; back to the sender, too."""
    rig.fresh(chain({"m": verdict(FIRST_PORT + port)}, ["m", "m", "m"]))
    assert rig.always(0, FRAME) == {port: [FRAME]}


def test_modules_one_behind_the_other(rig: ChainRig) -> None:
    """Each works on what the one before left."""
    modules = {f"m{n}": program("rewrite", grow=1, last=n) for n in range(3)}
    rig.fresh(chain(modules, ["m0", "m2"], [("m0", "m1"), ("m1", "m2")]))
    assert rig.always(0, FRAME) == {1: [FRAME + bytes([0, 1, 2])]}
    assert rig.always(1, FRAME) == {0: [FRAME + bytes([2, 1, 0])]}


def test_flood_to_two_modules_and_a_device(rig: ChainRig) -> None:
    """Each branch of a switch's flood is its own packet."""
    modules: dict[str, Config] = {
        "sw": Switch(),
        "a": program("rewrite", grow=20, last=0xAA),
        "b": program("rewrite", grow=-3, last=0xBB),
    }
    rig.fresh(chain(modules, ["sw", "sw", "a", "b"], [("sw", "a"), ("sw", "b")]))
    wanted = {1: [FRAME], 2: [FRAME + bytes(19) + b"\xaa"], 3: [FRAME[:-4] + b"\xbb"]}
    rig.wires[0].put(FRAME)
    found: Output = {}
    deadline = time.monotonic() + 5
    while found.keys() != wanted.keys() and time.monotonic() < deadline:
        for wire, frames in rig.received().items():
            found.setdefault(wire, []).extend(frames)
    assert found == wanted


def test_changed_setting_is_in_force_at_once_and_the_map_goes_on(rig: ChainRig) -> None:
    """The same module in the next version of the file."""
    rig.fresh(chain({"m": program("rewrite", last=1)}, ["m", "m"]))
    assert rig.send(0, FRAME) == {1: [ended(1)]}
    rig.apply(chain({"m": program("rewrite", last=2)}, ["m", "m"]))
    assert rig.send(0, FRAME) == {1: [ended(2)]}
    loaded = rig.chain.pipeline.modules.installed("m")
    assert loaded is not None
    assert loaded.maps["seen"].lookup(bytes(4)) == (2).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (program("broken"), "use of undeclared identifier 'no_such_name'"),
        (program("refused"), "invalid access to packet"),
        (program("rewrite", lst=2), "it has no setting lst: did you mean last?"),
        (program("plain"), "it defines no IOMODULE()"),
        (program("none"), "there is no such file"),
    ],
    ids=["compiler", "verifier", "setting", "section", "file"],
)
def test_bad_program_changes_nothing(rig: ChainRig, bad: Ebpf, message: str) -> None:
    """Neither the module nor another that is new in the same file."""
    rig.fresh(chain({"m": program("rewrite", last=1)}, ["m", "m"]))
    with pytest.raises(TopologyError) as caught:
        rig.apply(chain({"other": verdict(DROP), "m": bad}, ["m", "m", "other"]))
    assert message in str(caught.value)
    assert rig.always(0, FRAME) == {1: [ended(1)]}
    assert rig.chain.pipeline.modules.names == {"m"}


def test_chain_that_fails_otherwise_takes_its_programs_along(rig: ChainRig) -> None:
    """A device that is missing is found before, flows that do not compile after the programs."""
    rig.fresh(chain({"m": program("rewrite", last=1)}, ["m", "m"]))
    modules = {"m": program("rewrite", last=2), "n": verdict(PASS)}
    bad = chain(modules, ["m", "m", "n"])
    first, second = bad.modules
    second = replace(second, ports=("wire2", *(f"port{number}" for number in range(64))))
    bad = replace(bad, modules=(first, second))
    with pytest.raises(TopologyError, match="iomodule at port 0 of 65 cannot be executed"):
        rig.apply(bad)
    assert rig.always(0, FRAME) == {1: [ended(1)]}
    assert rig.chain.pipeline.modules.names == {"m"}


def test_report_shows_programs(rig: ChainRig) -> None:
    """With what they were told and what they did; nothing stays when they go."""
    rig.fresh(chain({"m": program("rewrite", last=1), "n": verdict(DROP)}, ["m", "m", "n"]))
    rig.send(0, FRAME)
    rig.send(2, FRAME)
    one, other = report(rig.chain)["programs"]
    assert one == {
        "module": "m", "program": str(SOURCES / "rewrite.bpf.c"), "settings": "last=1",
        "passed": 1, "sent": 0, "dropped": 0, "invalid": 0, "missing": 0, "maps": "seen",
    }  # fmt: skip
    assert (other["module"], other["settings"], other["dropped"]) == ("n", "verdict=2", 1)
    rig.apply(NOTHING)
    assert report(rig.chain)["programs"] == []
    assert not list(rig.machine.pin_dir.glob("module-maps/*"))

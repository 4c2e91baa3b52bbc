# SPDX-License-Identifier: Apache-2.0
"""A flow that no release knows, in a live Southbound database under a running agent."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iovisor_ovn.demo import until
from iovisor_ovn.demo.processes import run
from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import PingStream
from support.hypervisor import Flavor, Hypervisor
from support.network import Host, plug, port_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B, C, D = Host("a", 1, 11), Host("b", 1, 12), Host("c", 2, 11), Host("d", 2, 12)
_PROGRAM = str(Path(sys.executable).parent / "iovisor-ovn")
_ACTIONS = "frobnicate(reg0, 7); next;"


@pytest.fixture(scope="module")
def hypervisor(central: Central, make_hypervisor: HypervisorMaker, flavor: Flavor) -> Hypervisor:
    """Return a hypervisor with two switches of two machines each."""
    if flavor == "ovn":
        pytest.skip("ovn-controller leaves out flows that it does not know")
    lines = [port_lines("one", A), port_lines("one", B), port_lines("two", C), port_lines("two", D)]
    central.nb_lines("\n".join(["ls-add one", "ls-add two", *lines]))
    hypervisor = make_hypervisor("hv")
    for host in (A, B, C, D):
        plug(hypervisor, host)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor


@pytest.fixture
def unknown(hypervisor: Hypervisor, central: Central) -> Iterator[str]:
    """Put an unknown flow into switch `one`; return its row.

    northd takes away what it did not write, so it is stopped for as long as the flow stays.
    """
    central.stop_northd()
    try:
        datapath = central.sbctl(
            "--bare", "--columns=_uuid", "find", "Datapath_Binding", "external_ids:name=one"
        )
        row = central.sbctl(
            "create", "Logical_Flow", f"logical_datapath={datapath}", "pipeline=ingress",
            "table_id=0", "priority=200", "match=ip4", f"actions={json.dumps(_ACTIONS)}",
        )  # fmt: skip
        until(lambda: _held(hypervisor), "a datapath that is held")
        yield row
    finally:
        central.sbctl("--if-exists", "destroy", "Logical_Flow", row)
        central.start_northd()


def _held(hypervisor: Hypervisor) -> list[dict[str, object]]:
    words = (_PROGRAM, "show", "--json", "-t", str(hypervisor.control))
    held: list[dict[str, object]] = json.loads(run(*words))["held"]
    return held


def test_traffic_goes_on_and_the_datapath_catches_up(
    hypervisor: Hypervisor, central: Central, unknown: str
) -> None:
    """The switch keeps its pipeline, the other follows, log and show name the verb."""
    a, c = hypervisor.vms["a"], hypervisor.vms["c"]
    (held,) = _held(hypervisor)
    assert (held["datapath"], held["missing"], held["flows"]) == ("one", "frobnicate", 1)
    assert hypervisor.log.read_text().count("missing='frobnicate'") == 1
    with PingStream(a, B.ip4) as stream:
        stream.wait_answers(5)
        # What northd would write for a rule on each of them, by hand: it is not running.
        rows = [_drop_icmp(central, name) for name in ("one", "two")]
        until(lambda: not c.ping(D.ip4).received, "the rule of switch two")
        stream.wait_answers(5)
        assert _held(hypervisor)[0]["waiting"] == 2
        central.sbctl("destroy", "Logical_Flow", unknown)
        until(lambda: not _held(hypervisor), "the datapath catches up")
        assert a.ping(B.ip4).received == 0
        central.sbctl("destroy", "Logical_Flow", *rows)
        until(lambda: a.ping(B.ip4).received, "what it was before")
    assert "datapath_caught_up datapath=one" in hypervisor.log.read_text()


def test_nb_cfg_is_answered_meanwhile(
    hypervisor: Hypervisor, central: Central, unknown: str
) -> None:
    """One datapath that waits does not stop everybody's `--wait=hv`."""
    assert unknown
    wanted = int(central.sbctl("get", "SB_Global", ".", "nb_cfg")) + 1
    central.sbctl("set", "SB_Global", ".", f"nb_cfg={wanted}")
    get = ("get", "Chassis_Private", hypervisor.name, "nb_cfg")
    until(lambda: central.sbctl(*get) == str(wanted), "nb_cfg")
    assert _held(hypervisor)


def _drop_icmp(central: Central, switch: str) -> str:
    datapath = central.sbctl(
        "--bare", "--columns=_uuid", "find", "Datapath_Binding", f"external_ids:name={switch}"
    )
    return central.sbctl(
        "create", "Logical_Flow", f"logical_datapath={datapath}", "pipeline=ingress",
        "table_id=0", "priority=300", "match=icmp4", 'actions="drop;"',
    )  # fmt: skip

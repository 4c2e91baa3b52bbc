# SPDX-License-Identifier: Apache-2.0
"""`iovisor-ovn show` tells what runs here and why packets were dropped."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from scapy.layers.inet import IP, IPOption_Router_Alert
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from iovisor_ovn.demo import until
from iovisor_ovn.demo.processes import run
from support.central import Central
from support.fixtures import HypervisorMaker
from support.flows import connects
from support.hypervisor import Flavor, Hypervisor
from support.network import Host, plug, port_lines
from support.packets import Wire

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B = Host("a", 1, 11), Host("b", 1, 12)
_PROGRAM = str(Path(sys.executable).parent / "iovisor-ovn")
#: One record for 239.1.2.3, IGMPv3 membership report.
_IGMP_REPORT = bytes.fromhex("2200e9fb00000001 04000000ef010203".replace(" ", ""))


@pytest.fixture(scope="module")
def hypervisor(central: Central, make_hypervisor: HypervisorMaker, flavor: Flavor) -> Hypervisor:
    """Return a hypervisor with two machines on a switch."""
    if flavor == "ovn":
        pytest.skip("a command of our agent's")
    central.nb_lines("\n".join(["ls-add sw", port_lines("sw", A), port_lines("sw", B)]))
    hypervisor = make_hypervisor("hv")
    plug(hypervisor, A)
    plug(hypervisor, B)
    hypervisor.wait_installed()
    central.sync()
    return hypervisor


def _show(hypervisor: Hypervisor) -> Mapping[str, list[Mapping[str, str | int]]]:
    words = (_PROGRAM, "show", "--json", "-t", str(hypervisor.control))
    shown: Mapping[str, list[Mapping[str, str | int]]] = json.loads(run(*words))
    return shown


def _packets(hypervisor: Hypervisor, table: str, key: str, name: str) -> int:
    rows = [row for row in _show(hypervisor)[table] if row[key] == name]
    return sum(int(row["packets"]) for row in rows)


def test_what_is_here_is_shown(hypervisor: Hypervisor) -> None:
    """Ports and datapaths bear the names that the Northbound database gave them."""
    shown = _show(hypervisor)
    assert [row["port"] for row in shown["ports"]] == ["a", "b"]
    assert [row["name"] for row in shown["datapaths"]] == ["sw"]
    text = run(_PROGRAM, "show", "-t", str(hypervisor.control))
    assert "tap-a" in text
    assert "segments replayed" in text


def test_a_dropped_packet_is_counted_under_its_reason(
    hypervisor: Hypervisor, central: Central
) -> None:
    """What a rule drops is counted as policy."""
    before = _packets(hypervisor, "drops", "reason", "policy")
    central.nbctl("acl-add", "sw", "to-lport", "1000", "tcp.dst == 99", "drop")
    central.sync()
    assert not connects(hypervisor.vms["a"], B.ip4, 99)
    assert _packets(hypervisor, "drops", "reason", "policy") > before
    central.nbctl("acl-del", "sw")


def test_a_verb_that_is_not_executed_is_named_and_counted(
    hypervisor: Hypervisor, central: Central
) -> None:
    """With IGMP snooping asked for, reports are dropped under the verb's name; the rest works."""
    central.nbctl("set", "Logical_Switch", "sw", "other_config:mcast_snoop=true")
    central.sync()
    report = (
        Ether(src=A.mac, dst="01:00:5e:00:00:16")
        / IP(src=A.ip4, dst="224.0.0.22", proto=2, ttl=1, options=[IPOption_Router_Alert()])
        / Raw(_IGMP_REPORT)
    )
    with Wire(hypervisor.vms["a"]) as wire:
        wire.send(report)
    until(lambda: _packets(hypervisor, "unsupported", "verb", "igmp"), "the count of igmp")
    assert hypervisor.vms["a"].ping(B.ip4, count=2).received == 2


def test_a_verb_that_is_not_executed_is_in_the_log(
    hypervisor: Hypervisor, central: Central
) -> None:
    """The operator need not ask: the log names the verb."""
    central.nbctl("set", "Logical_Switch", "sw", "other_config:mcast_snoop=true")
    central.sync()
    log = hypervisor.log
    until(lambda: "verb=igmp" in log.read_text(), "the verb's name in the log", timeout_s=5)

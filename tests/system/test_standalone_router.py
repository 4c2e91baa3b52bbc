# SPDX-License-Identifier: Apache-2.0
"""A chain's router with hosts that it has never heard of."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from iovisor_ovn.demo import Namespace, until
from support.chains import StandaloneRig
from support.fixtures import run_name

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_bpf]

_ROUTER = """
modules:
  - name: gate
    type: router
    config:
      interfaces:
        - {name: {a}, ip: 10.0.1.1/24, mac: "02:00:00:00:01:01"}
        - {name: {b}, ip: 10.0.2.1/24, mac: "02:00:00:00:01:02"}
external_interfaces:
  - {module: gate, iface: {a}}
  - {module: gate, iface: {b}}
"""


@pytest.fixture
def rig(module_directory: Path) -> Iterator[StandaloneRig]:
    """Return a router between two hosts that have not spoken."""
    name = run_name("gate")
    made = StandaloneRig(module_directory / name, name)
    try:
        made.add_host("a", 1, ["10.0.1.2/24"], ["10.0.1.1"])
        made.add_host("b", 2, ["10.0.2.2/24"], ["10.0.2.1"])
        made.up(_ROUTER)
        yield made
    finally:
        made.close()


def test_devices_count_what_their_hosts_see(rig: StandaloneRig) -> None:
    """Frames that are handed over to a namespace past the device's own counters, too."""
    assert rig.hosts["a"].ping("10.0.2.2", count=5).received == 5
    shown = {row["device"]: row for row in rig.show()["devices"]}
    for host in rig.hosts.values():
        counted = _received(host.namespace)
        assert counted >= 5
        assert shown[host.port]["tx_packets"] == counted


def test_first_datagram_may_be_large(rig: StandaloneRig) -> None:
    """All forty-odd fragments of it wait until the host behind the router answers."""
    b = rig.hosts["b"].namespace
    b.ip("link set eth0 arp off")
    before = _received(b)
    ping = rig.hosts["a"].popen("ping", "-c1", "-W9", "-s60000", "10.0.2.2")
    until(lambda: _received(b) > before, "the router's question")
    b.ip("link set eth0 arp on")
    output, _ = ping.communicate(timeout=20)
    assert " 1 received" in output


def _received(host: Namespace) -> int:
    (link,) = json.loads(host.run("ip", "-j", "-s", "link", "show", "eth0"))
    return int(link["stats64"]["rx"]["packets"])

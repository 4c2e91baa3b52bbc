# SPDX-License-Identifier: Apache-2.0
"""Two agents want the same: a chassis of one name, or a port of one iface-id."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from iovisor_ovn.demo import until
from iovisor_ovn.demo.processes import run
from support.central import Central, Release
from support.fixtures import run_name, running
from support.flows import PingStream
from support.hypervisor import Flavor, Hypervisor
from support.network import Host, plug, port_lines

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_ovs, pytest.mark.needs_bpf]

A, B, BOTH = Host("a", 1, 11), Host("b", 1, 12), Host("both", 1, 13)
FAR, C = Host("far", 1, 14), Host("c", 1, 15)
#: Transactions per second that two agents may cause: each takes a port back twice a second
#: (claim, release, up) and writes its Chassis four times at most.
_PER_SECOND, _AT_ONCE = 20, 40
_RECORD = re.compile(r"^record \d+: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", re.MULTILINE)


class _Pair:
    """Two hypervisors of one central."""

    def __init__(
        self, directory: Path, flavor: Flavor, release: Release, names: tuple[str, str]
    ) -> None:
        self.central = Central(directory / "central", release)
        self.hypervisors: list[Hypervisor] = []
        hosts = [port_lines("sw", host) for host in (A, B, C, FAR, BOTH)]
        self.central.nb_lines("\n".join(["ls-add sw", *hosts]))
        try:
            for number, name in enumerate(names):
                made = Hypervisor(
                    directory / f"hv{number}", name, self.central.sb, flavor, run_name("hv"),
                    release,
                )  # fmt: skip
                self.hypervisors.append(made)
                running.append(made)
                made.vsctl(
                    "--no-wait", "set", "open", ".", f"external_ids:hostname=host{number}",
                    f"external_ids:ovn-encap-ip=127.0.0.{number + 1}",
                )  # fmt: skip
                made.start()
        except BaseException:
            self.close()
            raise

    def transactions(self) -> list[datetime]:
        """Times of all that was written to the Southbound database, to the second."""
        log = run("ovsdb-tool", "show-log", str(self.central.database("sb")))
        return [datetime.fromisoformat(time) for time in _RECORD.findall(log)]

    def is_calm(self, before: int) -> bool:
        """Whether what was written since ``before`` transactions is within bounds."""
        times = self.transactions()[before:]
        lasted = (times[-1] - times[0]).total_seconds() + 1
        return len(times) <= _AT_ONCE + _PER_SECOND * lasted

    def close(self) -> None:
        for hypervisor in self.hypervisors:
            hypervisor.close()
            running.remove(hypervisor)
        self.central.stop()


def _await(hypervisor: Hypervisor, what: str) -> str:
    """Wait for a problem in what the agent shows; return its reason."""

    def reason() -> str | None:
        problems = json.loads(hypervisor.appctl("iovisor/show"))["problems"]
        return next((str(one["reason"]) for one in problems if one["what"] == what), None)

    return until(reason, f"{what} of {hypervisor.directory.name}", 60)


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, flavor: Flavor,
    release: Release,
) -> Iterator[_Pair]:  # fmt: skip
    """Start two agents with the names that the test gives."""
    if flavor == "ovn":
        pytest.skip("ovn-controller has no list of problems")
    found = _Pair(tmp_path_factory.mktemp("p"), flavor, release, request.param)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.parametrize("pair", [("hv", "hv")], indirect=True)
def test_two_agents_of_one_name_quarrel_calmly(pair: _Pair) -> None:
    """Both name it, the database is not flooded, and packets go on."""
    first, second = pair.hypervisors
    before = len(pair.transactions())
    plug(first, A)
    plug(first, B)
    until(lambda: first.vms["a"].ping(B.ip4).received, "a ping")
    with PingStream(first.vms["a"], B.ip4) as stream:
        for what in ("chassis_contended", "port_contended"):
            for hypervisor in (first, second):
                _await(hypervisor, what)
        stream.wait_answers(20)
        assert stream.stop() == 0
    assert pair.is_calm(before)
    for hypervisor in (first, second):
        assert hypervisor.log.read_text().count("| chassis_contended ") == 1


@pytest.mark.parametrize("pair", [("hv0", "hv1")], indirect=True)
def test_port_on_two_chassis_goes_from_one_to_the_other(pair: _Pair) -> None:
    """As with ovn-controller who claims wins, twice a second; other ports do not notice."""
    first, second = pair.hypervisors
    plug(first, A)
    plug(first, B)
    plug(second, FAR)
    plug(second, C)
    first.wait_installed()
    second.wait_installed()
    pair.central.sync()
    with (
        PingStream(first.vms["a"], B.ip4) as one,
        PingStream(second.vms["c"], FAR.ip4) as other,
    ):
        before = len(pair.transactions())
        plug(first, BOTH)
        plug(second, BOTH)
        assert "chassis hv1" in _await(first, "port_contended")
        assert "chassis hv0" in _await(second, "port_contended")
        assert pair.is_calm(before)
        second.remove_vm(second.vms["both"])
        first.wait_installed(first.vms["both"])
        pair.central.sync()
        assert first.vms["a"].ping(BOTH.ip4).received
        one.wait_answers(10)
        other.wait_answers(10)
        assert one.stop() == 0
        assert other.stop() == 0

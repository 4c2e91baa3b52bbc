# SPDX-License-Identifier: Apache-2.0
"""Our data path beside ordinary OVN's: recorded cases, and two minutes of random ones."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from differential.arena import Arenas
from differential.case import load
from differential.run import Report, compare, judge, show
from iovisor_ovn.demo.places import sweep
from iovisor_ovn.demo.releases import Release
from support.fuzzing import Fuzz

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns, pytest.mark.needs_ovs]

_RANDOM_S = 120
_PACKETS_A_TOPOLOGY = 400
_CASES = sorted(Path(__file__).with_name("cases").glob("*.json"))


@pytest.fixture(scope="module")
def arenas(release: Release) -> Iterator[Arenas]:
    """Return both sides, running, for all tests here."""
    directory = Path(tempfile.mkdtemp(prefix="ivd-"))
    try:
        with Arenas(directory, release) as running:
            yield running
    finally:
        sweep(directory)


@pytest.mark.parametrize("path", _CASES, ids=[path.stem for path in _CASES])
def test_a_recorded_case_ends_alike(arenas: Arenas, path: Path) -> None:
    """What once went wrong gives the same packets on both sides, but for the difference named."""
    case = load(path)
    arenas.arena.explained.clear()
    unlike = judge(arenas, case)
    assert not unlike, show(case, unlike)
    assert set(arenas.arena.explained) == {case.difference} - {""}


@pytest.mark.slow
@pytest.mark.timeout(_RANDOM_S + 300)
def test_random_packets_fare_as_with_ordinary_ovn(arenas: Arenas, fuzz: Fuzz) -> None:
    """Topologies and packets of a fresh seed end alike; `make differential SEED=` repeats it."""
    report = Report()
    end = time.monotonic() + _RANDOM_S
    while time.monotonic() < end and not report.cases:
        compare(arenas, fuzz.seed + report.topologies, _PACKETS_A_TOPOLOGY, report)
        fuzz.summary = report.text().splitlines()[-1]
    assert not report.cases, "\n".join(show(*found) for found in report.cases)
    assert not report.untrue, report.untrue
    assert report.outputs > report.packets / 10, report.text()

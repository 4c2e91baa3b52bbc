# SPDX-License-Identifier: Apache-2.0
"""The ct words of packet sequences, in our module and in Open vSwitch."""

import random
from collections.abc import Iterator

import pytest

from conntrack_cases import CASES
from conntrack_ovs import OvsConntrack, running_ovs
from conntrack_packets import LABEL, MARK, Case, Via, random_frames
from conntrack_rig import Seen, Tracker, Verb, commit_in, commit_nat_in, next_in

pytestmark = pytest.mark.needs_bpf

_VERBS: dict[Via, tuple[Verb, ...]] = {
    Via.LOOK: (next_in(1),),
    Via.COMMIT: (next_in(1), commit_in(1)),
    Via.MARK: (next_in(1), commit_in(1, MARK, LABEL)),
    Via.NAT: (next_in(1), commit_nat_in(1)),
    Via.ZONE2: (next_in(2),),
}
_RANDOM_FRAMES = 400


@pytest.fixture(scope="module")
def ovs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OvsConntrack]:
    """Run Open vSwitch for the tests of this file."""
    with running_ovs(tmp_path_factory.mktemp("ovs")) as switch:
        yield switch


def _ours(tracker: Tracker, frame: bytes, via: Via) -> Seen:
    outcome = tracker.send(frame, *_VERBS[via])
    return outcome[1 if via is Via.NAT else 0]


def _describe(seen: Seen) -> str:
    return f"{seen.state} mark {seen.mark:#x} label {seen.label:#x}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_packet_sees_the_expected_words(tracker: Tracker, case: Case) -> None:
    """State, mark and label after each packet of a sequence are as the case says."""
    expected, seen = [], []
    for step in case.steps:
        tracker.rewind(step.wait_s)
        expected.append(_describe(Seen(step.state, step.mark, step.label)))
        seen.append(_describe(_ours(tracker, step.frame, step.via)))
    assert seen == expected


@pytest.mark.needs_ovs
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_open_vswitch_sees_the_same_words(ovs: OvsConntrack, case: Case) -> None:
    """The expectations are those of OVS, or the case says why not."""
    ovs.forget()
    expected, seen = [], []
    for step in case.steps:
        ovs.wait(step.wait_s)
        expected.append(_describe(Seen(step.state, step.mark, step.label)))
        seen.append(_describe(ovs.send(step.frame, step.via)))
    if case.differs:
        assert seen != expected, f"no longer so: {case.differs}"
    else:
        assert seen == expected


@pytest.mark.needs_ovs
@pytest.mark.parametrize("seed", range(4))
def test_random_packets_are_seen_as_open_vswitch_sees_them(
    tracker: Tracker, ovs: OvsConntrack, seed: int
) -> None:
    """No random sequence of segments and datagrams tells the two apart."""
    ovs.forget()
    trail = []
    for frame, via, wait_s in random_frames(random.Random(seed), _RANDOM_FRAMES):
        tracker.rewind(wait_s)
        ovs.wait(wait_s)
        ours, theirs = _ours(tracker, frame, via), ovs.send(frame, via)
        trail.append(f"{frame[14:].hex()} {via.name} +{wait_s}s {_describe(ours)}")
        assert _describe(ours) == _describe(theirs), "\n".join(trail[-12:])

# SPDX-License-Identifier: Apache-2.0
"""Three judges on random flows and packets: the texts, the image in Python, the loaded machine."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from iovisor_ovn.abi import PortKind
from iovisor_ovn.dataplane.ringbuf import RingReader
from judges.court import Court, Sent
from judges.trial import hold_trial
from judges.world import MEMBERS, PORTS
from machine_rig import Datapath, Rig
from support.fuzzing import Fuzz

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]


@dataclass(slots=True)
class Machine:
    """A datapath of the loaded machine that packets enter with any state."""

    rig: Rig
    dp: Datapath
    events: RingReader

    def court(self, any_state: bool) -> Court:
        """A court whose third judge is the machine; what it learned before is forgotten."""
        for name in ("neighbours", "fdb_entries"):
            self.rig.machine.maps[name].clear()
        self.events.consume()
        court = Court(self.rig, self.dp.index, self.send, any_state, is_alone=False)
        wires = dict(zip(MEMBERS, self.rig.wires, strict=True))
        for key in PORTS.values():
            groups = self.rig.reference.groups[self.dp.index, key]
            values = {"kind": int(PortKind.NONE), "groups": self.rig.write_list(groups)}
            if key in wires:
                values |= {"kind": PortKind.VIF, "ifindex": wires[key].ifindex}
            elif key == PORTS["flood"]:
                values |= {"kind": PortKind.MULTICAST, "list": self.rig.write_list(MEMBERS)}
            self.dp.port(key, **values)
        return court

    def send(self, frame: bytes, words: Sequence[int]) -> Sent:
        """Let a frame enter the first stage, and see what leaves."""
        drops = self.rig.inject(frame, dict(enumerate(words[:24])))
        left = {
            key: frames
            for key, wire in zip(MEMBERS, self.rig.wires, strict=True)
            if (frames := wire.received())
        }
        return Sent(left, drops, self.rig.words())


@pytest.fixture
def court_of(rig: Rig) -> Iterator[Callable[[bool], Court]]:
    """Give what makes courts on the loaded machine."""
    events = RingReader(rig.machine.maps["events"])
    yield Machine(rig, rig.datapath(), events).court
    events.close()


def test_three_judges_agree(fuzz: Fuzz, court_of: Callable[[bool], Court]) -> None:
    """Whatever the flows, their history and the packets."""
    hold_trial(fuzz, 12, court_of)

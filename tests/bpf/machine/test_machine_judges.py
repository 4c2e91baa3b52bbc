# SPDX-License-Identifier: Apache-2.0
"""Three judges on random flows and packets: the texts, the image in Python, the loaded machine."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from iovisor_ovn.abi import Op, PortKind, Program, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.dataplane.ringbuf import RingReader
from iovisor_ovn.language import evaluate
from judges.court import Court, Flow, Sent, compile_flow
from judges.direct import View
from judges.exhaustive import PACKETS, matches
from judges.trial import hold_trial
from judges.world import MEMBERS, PORTS, SETS, context
from machine_rig import Datapath, Rig, load
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


#: Matches looked at in one run: each has a stage, and a bit of a register to say that it was met.
_AT_ONCE = 58
_FRAME = bytes(12) + b"\x88\xcc" + bytes(46)


def test_every_small_match(rig: Rig) -> None:
    """Thousands of matches, and every packet that they can tell apart, as new and as known."""
    dp, sets, rows = rig.datapath(), SetTable(), context(SETS)
    for stage in range(_AT_ONCE):
        dp.flow(stage, Program.NEXT)
    dp.flow(_AT_ONCE, (Insn(Op.END),))
    texts = list(matches())
    wrong: list[tuple[str, object]] = []
    for start in range(0, len(texts), _AT_ONCE):
        batch = texts[start : start + _AT_ONCE]
        trees, names = [], []
        for stage, text in enumerate(batch):
            direct, patterns, _next = compile_flow(Flow(0, 1, text, "next(1);"), sets)
            trees.append(direct.demands[0])
            bit = 1 << stage % 32
            program = (load(Word.REG0 + stage // 32, bit, bit), Insn(Op.NEXT, stage + 1))
            names += [dp.flow(stage, program, pattern, priority=1) for pattern in patterns]
        for fields in PACKETS * (2 if rig.mode == "replay" else 1):
            state: dict[int, int] = {Word.DATAPATH: dp.index, Word.PKT_MARK: fields["pkt.mark"],
                     Word.FLAGS: fields["flags"], Word.INPORT: fields["inport"]}  # fmt: skip
            rig.inject(_FRAME, state)
            words = rig.words()
            met = words[Word.REG0] | words[Word.REG1] << 32
            view = View(fields)
            wrong += [
                (text, fields)
                for stage, (text, tree) in enumerate(zip(batch, trees, strict=True))
                if evaluate(tree, view, rows) != bool(met >> stage & 1)
            ]
        for name in names:
            rig.image.remove_flow(name)
    assert wrong == []

# SPDX-License-Identifier: Apache-2.0
"""The fast path: what it may replay, what it must not, and that nobody can tell."""

import random
import struct
from collections.abc import Callable, Sequence

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from iovisor_ovn.abi import STRUCTS, Drop, Op, PortKind, Replay, Temp, Word
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.patterns import Pattern
from iovisor_ovn.demo.processes import until
from machine_rig import EGRESS, REDIRECT, Datapath, Rig, Run, Wire, inside, load

pytestmark = [pytest.mark.needs_bpf, pytest.mark.needs_netns]

_ALL = 0xFFFFFFFF
_FLOOD, _SINGLE, _PATCH = 0x8000, 0x8001, 9
_PAYLOAD = b"x" * 18


def frame(src: str = "02:00:00:00:00:01", sport: int = 1000, dport: int = 80, ttl: int = 64,
          dst: str = "02:00:00:00:00:02") -> bytes:  # fmt: skip
    """A UDP datagram."""
    packet = Ether(src=src, dst=dst) / IP(src="10.0.0.1", dst="10.0.0.2", ttl=ttl)
    return bytes(packet / UDP(sport=sport, dport=dport) / _PAYLOAD)


@pytest.fixture
def fast(pair: tuple[Rig, Rig]) -> Rig:
    """Give the machine with the fast path."""
    return pair[0]


def _outcome(rig: Rig, data: bytes, wire: Wire) -> tuple[Run, dict[Replay, int]]:
    before = rig.machine.replays()
    run = rig.run(data, wire)
    after = rig.machine.replays()
    return run, {kind: after[kind] - before[kind] for kind in Replay if after[kind] != before[kind]}


def _by_port(rig: Rig) -> Datapath:
    """Datagrams to port 80 go to wire 2, others are dropped; the source port is nobody's matter."""
    dp = rig.datapath()
    for number, wire in enumerate(rig.wires):
        dp.bind(number + 1, wire)
    to_80 = Pattern(words=((Word.L4, 0xFFFF, 80),))
    out = (load(Word.OUTPORT, 2), load(Word.ETH_SRC_LO, 0xAB), Insn(Op.OUTPUT))
    dp.flow(0, out, to_80, 10)
    dp.flow(0, (Insn(Op.END, x=Drop.POLICY),))
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    return dp


def test_packets_alike_in_what_was_asked_are_replayed(fast: Rig) -> None:
    """Another source port is the same to these flows, another destination port is not."""
    with inside(fast.namespace):
        _by_port(fast)
        wire = fast.wires[0]
        _run, first = _outcome(fast, frame(sport=1000), wire)
        run, second = _outcome(fast, frame(sport=2000), wire)
        assert first == {Replay.MISS: 1}
        assert second == {Replay.HIT: 1}
        assert (run.verdict, run.frame) == (
            REDIRECT, frame(src="02:00:00:00:00:ab", sport=2000)
        )  # fmt: skip
        _run, third = _outcome(fast, frame(dport=81), wire)
        assert third == {Replay.MISS: 1}


def test_a_replayed_drop_counts(fast: Rig) -> None:
    """The reason is counted for each packet."""
    with inside(fast.namespace):
        _by_port(fast)
        for kind in (Replay.MISS, Replay.HIT, Replay.HIT):
            run, replays = _outcome(fast, frame(dport=81), fast.wires[0])
            assert (run.drops, replays) == ({Drop.POLICY: 1}, {kind: 1})


def test_what_is_written_is_written_to_every_packet(fast: Rig) -> None:
    """A walk that met a field with the value that it writes still writes it to the next one."""
    with inside(fast.namespace):
        _by_port(fast)
        wire = fast.wires[0]
        rewritten = frame(src="02:00:00:00:00:ab")
        fast.run(rewritten, wire)
        run, replays = _outcome(fast, frame(src="02:00:00:00:00:77"), wire)
        assert replays[Replay.HIT] == 1
        assert run.frame == rewritten


def test_ttl_is_part_of_what_was_asked(fast: Rig) -> None:
    """Counting down depends on the value, so another TTL is another packet."""
    with inside(fast.namespace):
        dp = fast.datapath()
        dp.bind(1, fast.wires[0])
        dp.bind(2, fast.wires[1])
        dp.flow(0, (Insn(Op.DEC_TTL), load(Word.OUTPORT, 2), Insn(Op.OUTPUT)))
        dp.flow(EGRESS, (Insn(Op.DELIVER),))
        for ttl in (64, 64, 9, 64):
            assert fast.run(frame(ttl=ttl), fast.wires[0]).frame == frame(ttl=ttl - 1)
        assert fast.run(frame(ttl=1), fast.wires[0]).drops == {Drop.TTL: 1}


def test_a_copied_field_is_part_of_what_was_asked(fast: Rig) -> None:
    """What a walk copies elsewhere is not the same for packets that differ in it."""
    with inside(fast.namespace):
        dp = fast.datapath()
        dp.bind(1, fast.wires[0])
        dp.flow(0, (Insn(Op.MOVE, Word.REG0, Word.L4, 16, 0xFFFF), Insn(Op.END)))
        for sport in (1, 1, 2, 1):
            assert fast.run(frame(sport=sport), fast.wires[0]).words[Word.REG0] == sport


def test_every_word_of_a_look_up_is_part_of_what_was_asked(fast: Rig) -> None:
    """Not only the first one, over which a tuple's filter goes."""
    with inside(fast.namespace):
        dp = fast.datapath()
        dp.bind(1, fast.wires[0])
        for mac, dport in ((1, 80), (2, 81)):
            both = Pattern(words=((Word.ETH_SRC_LO, _ALL, mac), (Word.L4, 0xFFFF, dport)))
            dp.flow(0, (load(Word.REG0, mac), Insn(Op.END)), both, 10)
        dp.flow(0, (Insn(Op.END),))
        for dport, found in ((80, 1), (80, 1), (81, 0), (80, 1)):
            assert fast.run(frame(dport=dport), fast.wires[0]).words[Word.REG0] == found


def test_flags_from_before_are_part_of_what_was_asked(fast: Rig) -> None:
    """Whether a packet may leave where it came from can be decided in an earlier segment."""
    with inside(fast.namespace):
        dp = fast.datapath()
        dp.bind(1, fast.wires[0])
        may_return = Pattern(words=((Word.L4, 0xFFFF, 80),))
        dp.flow(0, (load(Word.FLAGS, 1, 1), Insn(Op.NEXT, 1)), may_return, 10)
        dp.flow(0, (Insn(Op.NEXT, 1),))
        dp.flow(1, (Insn(Op.CT_NEXT, Word.CT_ZONE), Insn(Op.NEXT, 2)))
        dp.flow(2, (load(Word.OUTPORT, 1), Insn(Op.OUTPUT)))
        dp.flow(EGRESS, (Insn(Op.DELIVER),))
        for dport, drops in ((80, {}), (80, {}), (81, {Drop.LOOPBACK: 1}), (80, {})):
            assert fast.run(frame(dport=dport), fast.wires[0]).drops == drops


def test_a_change_of_the_pipeline_ends_every_segment(fast: Rig) -> None:
    """A flow that is added or removed, or a port that leads elsewhere, counts at once."""
    with inside(fast.namespace):
        dp = _by_port(fast)
        wire = fast.wires[0]
        for _packet in range(2):
            assert fast.run(frame(), wire).verdict == REDIRECT
        stop = dp.flow(0, (Insn(Op.END, x=Drop.POLICY),), priority=20)
        assert fast.run(frame(), wire).drops == {Drop.POLICY: 1}
        fast.image.remove_flow(stop)
        assert fast.run(frame(), wire).verdict == REDIRECT
        dp.port(2, kind=PortKind.NONE)
        assert fast.run(frame(), wire).drops == {Drop.NO_PORT: 1}


def test_walks_that_ask_for_too_much_are_not_kept(fast: Rig) -> None:
    """More words than a key holds: every packet walks, and gets what it should."""
    words = range(Word.ETH_HI, Word.CLASS)
    assert len(words) > 24
    with inside(fast.namespace):
        dp = fast.datapath()
        dp.bind(1, fast.wires[0])
        copies = [Insn(Op.MOVE, Word.REG0, word, 0, _ALL) for word in (*words, Word.L4)]
        dp.flow(0, (*copies, Insn(Op.END)))
        for sport, kind in ((1, Replay.MISS), (1, Replay.NONE), (2, Replay.NONE)):
            run, replays = _outcome(fast, frame(sport=sport), fast.wires[0])
            assert run.words[Word.REG0] == sport << 16 | 80
            assert replays == {kind: 1}


_SOURCE = (
    Insn(Op.MOVE, Temp.MAC_HI, Word.ETH_HI, 0, 0xFFFF),
    Insn(Op.MOVE, Temp.MAC_LO, Word.ETH_SRC_LO, 0, _ALL),
    Insn(Op.MOVE, Temp.PORT, Word.INPORT, 0, _ALL),
)
_DESTINATION = (
    Insn(Op.MOVE, Temp.MAC_HI, Word.ETH_HI, 16, 0xFFFF),
    Insn(Op.MOVE, Temp.MAC_LO, Word.ETH_DST_LO, 0, _ALL),
)
_ADDRESS = (
    *(load(word, 0) for word in (Temp.IP0, Temp.IP1, Temp.IP2)),
    Insn(Op.MOVE, Temp.IP3, Word.IP4_DST, 0, _ALL),
)


def _learning(rig: Rig) -> Datapath:
    """A switch of three ports; what is for an address that it does not know goes to port 3."""
    dp = rig.datapath()
    for number, wire in enumerate(rig.wires[:3]):
        dp.bind(number + 1, wire)
    found = Insn(Op.MOVE, Word.OUTPORT, Temp.RESULT, 0, _ALL)
    dp.flow(0, (*_SOURCE, Insn(Op.FDB_PUT), *_DESTINATION, Insn(Op.FDB_GET), found,
                Insn(Op.NEXT, 1)))  # fmt: skip
    unknown = Pattern(words=((Word.OUTPORT, _ALL, 0),))
    dp.flow(1, (load(Word.OUTPORT, 3), Insn(Op.OUTPUT)), unknown, 10)
    dp.flow(1, (Insn(Op.OUTPUT),))
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    return dp


_A, _B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def test_what_is_learned_is_replayed_until_it_changes(fast: Rig) -> None:
    """Learning what is known and asking for it cost nothing; news count for the next packet."""
    with inside(fast.namespace):
        _learning(fast)
        one, two, three = fast.wires[:3]
        from_a, from_b = frame(src=_A, dst=_B), frame(src=_B, dst=_A)
        assert fast.run(from_b, two).words[Word.OUTPORT] == 3
        assert fast.run(from_a, one).words[Word.OUTPORT] == 2
        _run, replays = _outcome(fast, from_a, one)
        assert replays == {Replay.MISS: 1}
        for _packet in range(3):
            run, replays = _outcome(fast, from_a, one)
            assert (run.verdict, run.words[Word.OUTPORT]) == (REDIRECT, 2)
            assert replays == {Replay.HIT: 1}
        fast.run(from_b, three)  # it has moved
        for _packet in range(3):
            assert fast.run(from_a, one).words[Word.OUTPORT] == 3


def test_a_new_neighbour_counts_for_the_next_packet(fast: Rig) -> None:
    """Whoever learned the address: the segment that knew another is not used any more."""
    with inside(fast.namespace):
        dp = fast.datapath()
        dp.bind(1, fast.wires[0])
        dp.bind(2, fast.wires[1])
        teach = Pattern(words=((Word.L4, 0xFFFF, 81),))
        here = (load(Temp.PORT, 2), *_ADDRESS)
        dp.flow(0, (*_SOURCE, *here, Insn(Op.NEIGH_PUT), Insn(Op.END)), teach, 10)
        dp.flow(0, (*here, Insn(Op.NEIGH_GET), load(Word.OUTPORT, 2), Insn(Op.OUTPUT)))
        dp.flow(EGRESS, (Insn(Op.DELIVER),))
        for mac in (_A, _B):
            fast.run(frame(src=mac, dport=81), fast.wires[0])
            for kind in (Replay.MISS, Replay.HIT, Replay.HIT):
                run, replays = _outcome(fast, frame(), fast.wires[0])
                assert (run.frame, replays) == (frame(dst=mac), {kind: 1})


def test_use_of_what_is_learned_is_seen(fast: Rig) -> None:
    """An address in use is looked up again every second, so that it does not age."""
    with inside(fast.namespace):
        dp = _learning(fast)
        fast.run(frame(src=_A), fast.wires[0])
        key = struct.pack("=III", dp.index, 0x0200, 0x0A)

        def used_ns() -> int:
            value = fast.machine.maps["fdb_entries"].lookup(key)
            assert value is not None
            used = STRUCTS["fdb"].unpack(value)["used_ns"]
            assert isinstance(used, int)
            return used

        first = used_ns()

        def is_used_later() -> bool:
            fast.run(frame(src=_A), fast.wires[0])
            return used_ns() > first

        until(is_used_later, "another time of use", timeout_s=5)


# -- nobody can tell ---------------------------------------------------------------------


_FIELDS = (
    (Word.L4, 0xFFFF), (Word.L4, 0xFFFF0000), (Word.IP4_SRC, 0xF), (Word.IP4_DST, 0x3),
    (Word.ETH_SRC_LO, 0x7), (Word.ETH_DST_LO, _ALL), (Word.ETH_TYPE_TCI, 0x1FFF), (Word.REG0, 0x3),
    (Word.REG1, 0x1), (Word.IP_META, 0xFF00), (Word.CT_STATE, 0x3F), (Word.INPORT, _ALL),
    (Word.FLAGS, 0x1), (Word.TCP_FLAGS, 0x2), (Temp.RESULT, 0x1), (Word.CT_MARK, 0x1),
)  # fmt: skip
_VALUES: dict[int, Sequence[int]] = {
    Word.L4: (80, 81, 1 << 16, 2 << 16), Word.IP_META: (0x4000, 0x100),
}  # fmt: skip
_STAGES = 6
_COUNTERS = 8


def _pattern(rng: random.Random) -> Pattern:
    # Few different combinations, so that tuples have several entries.
    chosen = random.Random(rng.randrange(6)).sample(_FIELDS, rng.randrange(1, 4))
    return Pattern(
        words=tuple(
            (word, mask, rng.choice(_VALUES.get(word, range(4))) & mask) for word, mask in chosen
        )
    )


def _instructions(rng: random.Random, stage: int) -> tuple[Insn, ...]:
    """A random program that ends by going on."""
    writable = (Word.REG0, Word.REG1, Word.IP4_DST, Word.ETH_SRC_LO, Word.L4, Word.FLAGS)
    makers: tuple[Callable[[], list[Insn]], ...] = (
        lambda: [load(rng.choice(writable), rng.randrange(4), rng.choice((1, 3, 0xFF)))],
        lambda: [Insn(Op.MOVE, rng.choice((Word.REG0, Word.REG1)), rng.choice(_FIELDS)[0],
                      rng.randrange(32), rng.choice((1, 0xF, _ALL)))],
        lambda: [Insn(Op.DEC_TTL)],
        lambda: [Insn(Op.CT_NEXT, Word.CT_ZONE)],
        lambda: [load(Temp.CT_MARK, rng.randrange(4)), load(Temp.CT_MARK_MASK, 3),
                 Insn(Op.CT_COMMIT, Word.CT_ZONE, 1)],
        lambda: [Insn(Op.CT_CLEAR)],
        lambda: [Insn(Op.PUSH), load(Temp.SCRATCH0, 7), Insn(Op.POP)],
        lambda: [Insn(Op.CHECK_LARGER, x=rng.choice((40, 70, 5000)))],
        lambda: [Insn(Op.CALL, 40)],
        lambda: [*_SOURCE, Insn(rng.choice((Op.FDB_PUT, Op.FDB_LOOKUP)))],
        lambda: [*_DESTINATION, Insn(Op.FDB_GET)],
        lambda: [*_SOURCE, *_ADDRESS, Insn(rng.choice((Op.NEIGH_PUT, Op.NEIGH_GET)))],
        lambda: [*_SOURCE, *_ADDRESS, Insn(Op.NEIGH_LOOKUP, rng.randrange(2))],
        lambda: [Insn(Op.COUNT, x=rng.randrange(_COUNTERS))] * rng.choice((1, 1, 5)),
    )  # fmt: skip
    body = [insn for _n in range(rng.randrange(4)) for insn in rng.choice(makers)()]
    if rng.random() < 0.2:
        other = (
            load(Word.OUTPORT, rng.randrange(1, 5)),
            Insn(Op.OUTPUT if stage < EGRESS else Op.END),
        )
        body += [Insn(Op.FORK, x=1 + len(other)), *other]
    if stage % EGRESS < _STAGES - 1 and rng.random() < 0.9:
        return (*body, Insn(Op.NEXT, stage + 1))
    if stage >= EGRESS:
        return (*body, Insn(Op.DELIVER))
    ports = (1, 2, 3, 4, _PATCH, _FLOOD, _SINGLE, 77)
    return (*body, load(Word.OUTPORT, rng.choice(ports)), Insn(Op.OUTPUT))


def _frame(rng: random.Random) -> bytes:
    ether = Ether(
        src=f"02:00:00:00:00:0{rng.randrange(4)}", dst=f"02:00:00:00:01:0{rng.randrange(3)}"
    )
    if rng.random() < 0.1:
        ether /= Dot1Q(vlan=rng.randrange(3))
    ip = IP(src=f"10.0.0.{rng.randrange(6)}", dst=f"10.0.0.{rng.randrange(6)}",
            ttl=rng.choice((1, 2, 64, 64, 64)))  # fmt: skip
    sport, dport = rng.randrange(1, 4), rng.choice((80, 81))
    body = rng.choice((
        ip / UDP(sport=sport, dport=dport),
        ip / TCP(sport=sport, dport=dport, flags=rng.choice(("S", "SA", "A", "FA"))),
        ip / ICMP(id=rng.randrange(2)), ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
    ))  # fmt: skip
    return bytes(ether / body / (b"x" * rng.choice((18, 40))))


def _build(rig: Rig) -> tuple[Datapath, Datapath]:
    """Two switches with two wires each, joined, and a group of all ports on either."""
    dps = rig.datapath(), rig.datapath()
    for which, dp in enumerate(dps):
        for number in (which, which + 2):
            dp.bind(number + 1, rig.wires[number], zone=number + 1)
        peer = dps[1 - which].index
        dp.port(_PATCH, kind=PortKind.PATCH, peer_dp=peer, peer_port=_PATCH)
        dp.port(_FLOOD, kind=PortKind.MULTICAST, list=rig.write_list((1, 2, 3, 4, _PATCH)))
        dp.port(_SINGLE, kind=PortKind.MULTICAST, list=rig.write_list((which + 1,)))
        # Temporaries keep what the last packet left; the compiler sets them before use.
        dp.flow(0, (load(Temp.RESULT, 0), Insn(Op.NEXT, 1)))
        dp.flow(40, (Insn(Op.END),))
        for stage in (*range(1, _STAGES - 1), *range(EGRESS, EGRESS + _STAGES - 1)):
            dp.flow(stage, (Insn(Op.NEXT, stage + 1),))
        group = (_FLOOD, _SINGLE)[which]
        dp.flow(_STAGES - 1, (load(Word.OUTPORT, group), Insn(Op.OUTPUT)))
        dp.flow(EGRESS + _STAGES - 1, (Insn(Op.DELIVER),))
    return dps


def _add_flow(twins: Sequence[tuple[Datapath, Datapath]], rng: random.Random, stage: int) -> None:
    """The same flow on both machines."""
    which, priority = rng.randrange(2), rng.randrange(1 << 15)
    program, pattern = _instructions(rng, stage), _pattern(rng)
    for dps in twins:
        dps[which].flow(stage, program, pattern, priority)


def _let_in(rig: Rig, data: bytes, number: int) -> tuple[object, ...]:
    with inside(rig.namespace):
        run = rig.run(data, rig.wires[number])
        copies = [wire.received() for wire in rig.wires]
    return run.verdict, run.frame, run.drops, copies


@pytest.mark.parametrize("seed", range(12))
def test_nobody_can_tell(pair: tuple[Rig, Rig], seed: int) -> None:
    """Random pipelines with copies, calls, counters, conntrack: the same packets, drops, counts."""
    rng = random.Random(seed)
    twins = []
    for rig in pair:
        with inside(rig.namespace):
            twins.append(_build(rig))
    for stage in (*range(1, _STAGES), *range(EGRESS, EGRESS + _STAGES)):
        for _flow in range(10):
            _add_flow(twins, rng, stage)
    before = pair[0].machine.replays()
    frames = [(_frame(rng), rng.randrange(4)) for _frame_of_pool in range(40)]
    for turn in range(240):
        if turn % 60 == 59:
            _add_flow(twins, rng, rng.choice((1, 2, EGRESS, EGRESS + 3)))
        data, number = rng.choice(frames)
        fast, slow = (_let_in(rig, data, number) for rig in pair)
        assert fast == slow, f"packet {turn} from wire {number}: {data.hex()}"
    for number in range(_COUNTERS):
        fast_count, slow_count = (rig.machine.counter(number) for rig in pair)
        assert fast_count == slow_count
    after = pair[0].machine.replays()
    assert after[Replay.HIT] - before[Replay.HIT] > 100, "hardly anything was replayed"

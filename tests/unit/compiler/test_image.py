# SPDX-License-Identifier: Apache-2.0
"""The image: what a packet finds equals what the flows say, after any history of changes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovisor_ovn.abi import STRUCTS, Drop, GuardKind, Limit, Op, PacketClass, Program, Word
from iovisor_ovn.compiler.allocate import REST_S
from iovisor_ovn.compiler.image import Capacity, Delta, Image
from iovisor_ovn.compiler.insn import Insn, ProgramText
from iovisor_ovn.compiler.patterns import Guard, Pattern
from iovisor_ovn.compiler.prune import packet_kind
from iovisor_ovn.compiler.reference import Found, Reference
from iovisor_ovn.errors import MapFullError

CAPACITY = Capacity(slots=1 << 12, insns=1 << 12, shapes=256, guards=1 << 10, lists=1 << 10)
DP, STAGE = 1, 3
WHERE = (DP, STAGE)
ONE, TWO = (Insn(Op.LOAD, Word.OUTPORT, x=0xFFFFFFFF, y=1), Insn(Op.OUTPUT)), (Insn(Op.OUTPUT),)
WRITES = (Insn(Op.LOAD, Word.REG0, x=0xFF, y=0x3), Insn(Op.OUTPUT))


@dataclass(frozen=True, slots=True)
class Flow:
    """What add_flow is given."""

    priority: int
    patterns: tuple[Pattern, ...]
    program: Program | ProgramText


class Bench:
    """An image and the maps that its deltas go to."""

    def __init__(self, capacity: Capacity = CAPACITY) -> None:
        self.image = Image(capacity)
        self.reference = Reference()

    def apply(self) -> Delta:
        """Drain the image into the maps."""
        delta = self.image.drain()
        self.reference.apply(delta)
        return delta

    def find(self, words: Sequence[int], stage: int = STAGE) -> Program | ProgramText | Drop:
        """Program that a packet finds, or why it finds none."""
        found = self.reference.classify(words, stage)
        if found.program < 0:
            return Drop(-found.program)
        return self.image.program_text(found.program)


def packet(**words: int) -> list[int]:
    """Words of a packet on the datapath; the others are 0."""
    result = [0] * Limit.WORDS
    result[Word.DATAPATH] = DP
    for name, value in words.items():
        result[Word[name]] = value
    return result


def equal_to(**words: int) -> Pattern:
    """A pattern of whole words."""
    return Pattern(words=tuple(sorted((int(Word[n]), 0xFFFFFFFF, v) for n, v in words.items())))


def slots_of(bench: Bench, where: tuple[int, int] = WHERE) -> int:
    """Slots of a stage."""
    return max(row.length for row in bench.reference.rows[where])


# -- layouts -----------------------------------------------------------------------------


def test_single_entry_of_few_words_needs_no_map() -> None:
    """Its guards are the key: no lookup, no entry."""
    bench = Bench()
    bench.image.add_flow("f", WHERE, 7, [equal_to(IP4_SRC=1, IP4_DST=2, L4=3)], ONE)
    delta = bench.apply()
    assert not any(delta.entries)
    assert bench.find(packet(IP4_SRC=1, IP4_DST=2, L4=3)) == ONE
    for name in ("IP4_SRC", "IP4_DST", "L4"):
        wrong = packet(**({"IP4_SRC": 1, "IP4_DST": 2, "L4": 3} | {name: 9}))
        assert bench.find(wrong) == Drop.NO_FLOW


def test_single_entry_of_many_words_is_hashed() -> None:
    """Four tests do not fit into the slot."""
    bench = Bench()
    words = {"IP4_SRC": 1, "IP4_DST": 2, "L4": 3, "ETH_DST_LO": 4}
    bench.image.add_flow("f", WHERE, 7, [equal_to(**words)], ONE)
    assert [len(entries) for entries in bench.apply().entries] == [0, 1, 0, 0]
    assert bench.find(packet(**words)) == ONE
    assert bench.find(packet(**(words | {"ETH_DST_LO": 5}))) == Drop.NO_FLOW


def test_words_that_all_entries_share_become_guards() -> None:
    """Most packets are turned away by a comparison, and the key is shorter."""
    bench = Bench()
    for number in range(10):
        bench.image.add_flow(number, WHERE, 7, [equal_to(IP4_SRC=5, L4=number)], ONE)
    delta = bench.apply()
    ((_index, data),) = delta.slots
    slot = STRUCTS["slot"].unpack(data)
    assert slot["n_guards"] == 1
    assert [len(entries) for entries in delta.entries] == [10, 0, 0, 0]
    keys = {key[4:] for key in delta.entries[0]}
    assert keys == {number.to_bytes(4, "little") + bytes(8) for number in range(10)}
    assert bench.find(packet(IP4_SRC=5, L4=9)) == ONE
    assert bench.find(packet(IP4_SRC=6, L4=9)) == Drop.NO_FLOW


def test_entry_that_breaks_a_shared_word_gets_a_new_layout() -> None:
    """The guard would turn the newcomer away."""
    bench = Bench()
    for number in range(3):
        bench.image.add_flow(number, WHERE, 7, [equal_to(IP4_SRC=5, L4=number)], ONE)
    bench.apply()
    bench.image.add_flow("new", WHERE, 7, [equal_to(IP4_SRC=6, L4=1)], TWO)
    delta = bench.apply()
    assert sum(map(len, delta.gone)) == 3, "the old keys go when the new row is in force"
    assert bench.find(packet(IP4_SRC=6, L4=1)) == TWO
    assert bench.find(packet(IP4_SRC=5, L4=1)) == ONE
    assert bench.reference.entry_count() == 4


@pytest.mark.parametrize(
    ("n_words", "key_class"), [(1, 0), (3, 0), (4, 1), (7, 1), (8, 2), (15, 2), (16, 3), (39, 3)]
)
def test_key_takes_the_shortest_map_that_holds_it(n_words: int, key_class: int) -> None:
    """Keys of 4, 8, 16 and 40 words, the uid included."""
    bench = Bench()
    numbers = [*range(Word.ETH_HI, Limit.WORDS - 8), *range(Limit.WORDS - 8)][:n_words]
    for value in (1, 2):
        pattern = Pattern(words=tuple((word, 0xFFFFFFFF, value) for word in sorted(numbers)))
        bench.image.add_flow(value, WHERE, 7, [pattern], WRITES)
    # Registers that nobody writes are 0 and no entry would be looked up: all bits are written.
    everything = tuple(Insn(Op.LOAD, word, x=0xFFFFFFFF, y=0xFFFFFFFF) for word in range(3, 13))
    bench.image.add_flow("writer", (DP, 5), 0, [Pattern()], everything)
    sizes = [len(entries) for entries in bench.apply().entries]
    assert sizes == [2 * (number == key_class) for number in range(4)]


def test_class_bits_turn_packets_away() -> None:
    """All bits of the class must be there."""
    bench = Bench()
    bits = PacketClass.IP4 | PacketClass.TCP
    bench.image.add_flow("f", WHERE, 7, [Pattern(class_bits=bits)], ONE)
    bench.apply()
    assert bench.find(packet(CLASS=bits | PacketClass.IP)) == ONE
    assert bench.find(packet(CLASS=PacketClass.IP4)) == Drop.NO_FLOW


def test_alternatives_of_a_group_need_one_difference() -> None:
    """NOT_ALL_EQUAL turns away exactly the one value, each group by itself."""
    bench = Bench()
    groups = [(1, Word.ETH_DST_LO, Word.ETH_HI), (2, Word.ETH_SRC_LO, Word.ARP_HI)]
    guards = tuple(
        sorted(
            Guard(GuardKind.NOT_ALL_EQUAL, word, 0xFFFFFFFF, 5, group)
            for group, *words in groups
            for word in words
        )
    )
    bench.image.add_flow("f", WHERE, 7, [Pattern(guards=guards)], ONE)
    bench.apply()
    assert bench.find(packet()) == ONE
    assert bench.find(packet(ETH_DST_LO=5, ARP_HI=5)) == ONE
    assert bench.find(packet(ETH_DST_LO=5, ETH_HI=5)) == Drop.NO_FLOW
    assert bench.find(packet(ETH_SRC_LO=5, ARP_HI=5, ETH_HI=5)) == Drop.NO_FLOW


def test_set_ids_are_part_of_the_key() -> None:
    """One entry for each pair of sets; a packet in several sets finds the best of them."""
    bench = Bench()
    pairs = {(901, 902): ONE, (901, 903): TWO, (904, 902): WRITES}
    for number, (pair, program) in enumerate(pairs.items()):
        dims = tuple(enumerate(pair))
        bench.image.add_flow(pair, WHERE, number, [Pattern(dims=dims)], program)
    bench.apply()
    bench.reference.groups = {(DP, 1): (901,), (DP, 2): (902, 903), (DP, 3): (901, 904)}
    assert bench.find(packet(INPORT=1, OUTPORT=2)) == TWO
    assert bench.find(packet(INPORT=3, OUTPORT=2)) == WRITES
    assert bench.find(packet(INPORT=2, OUTPORT=2)) == Drop.NO_FLOW
    assert bench.find(packet(INPORT=9, OUTPORT=2)) == Drop.NO_FLOW


# -- priorities --------------------------------------------------------------------------


def test_highest_priority_wins_across_tuples() -> None:
    """Whatever the order of adding and whichever tuple it is in."""
    bench = Bench()
    for priority, pattern in ((1, Pattern()), (5, equal_to(L4=1)), (9, equal_to(L4=1, IP4_SRC=1))):
        program = (Insn(Op.END, x=priority),)
        bench.image.add_flow(priority, WHERE, priority, [pattern], program)
    bench.apply()
    assert bench.find(packet(L4=1, IP4_SRC=1)) == (Insn(Op.END, x=9),)
    assert bench.find(packet(L4=1)) == (Insn(Op.END, x=5),)
    assert bench.find(packet()) == (Insn(Op.END, x=1),)


def test_low_entry_of_a_high_tuple_does_not_win() -> None:
    """A tuple stands at its best entry's place; its other entries compete by their own."""
    bench = Bench()
    bench.image.add_flow("high", WHERE, 100, [equal_to(L4=1)], ONE)
    bench.image.add_flow("low", WHERE, 10, [equal_to(L4=2)], ONE)
    bench.image.add_flow("middle", WHERE, 50, [equal_to(IP4_SRC=1)], TWO)
    bench.apply()
    assert bench.find(packet(L4=2, IP4_SRC=1)) == TWO
    assert bench.find(packet(L4=1, IP4_SRC=1)) == ONE
    assert bench.find(packet(L4=2)) == ONE


def test_flow_that_acts_as_the_default_still_shadows_lower_ones() -> None:
    """Leaving it out is right only if nothing of lower priority could take its packets."""
    bench = Bench()
    bench.image.add_flow("high", WHERE, 100, [equal_to(L4=1)], ONE)
    bench.image.add_flow("low", WHERE, 10, [equal_to(L4=2)], ONE)
    bench.image.add_flow("as default", WHERE, 50, [equal_to(IP4_SRC=1)], Program.NEXT)
    bench.image.add_flow("default", WHERE, 0, [Pattern()], Program.NEXT)
    bench.apply()
    assert bench.find(packet(L4=2, IP4_SRC=1)) == Program.NEXT
    assert bench.find(packet(L4=2)) == ONE


def test_shadowed_flow_comes_back_when_the_better_one_leaves() -> None:
    """Flows with the same match and different priorities share an entry."""
    bench = Bench()
    bench.image.add_flow("low", WHERE, 1, [equal_to(L4=1)], ONE)
    bench.image.add_flow("high", WHERE, 2, [equal_to(L4=1)], TWO)
    bench.apply()
    assert bench.find(packet(L4=1)) == TWO
    bench.image.remove_flow("high")
    bench.apply()
    assert bench.find(packet(L4=1)) == ONE


def test_priority_zero_is_found() -> None:
    """0 is a priority like any other."""
    bench = Bench()
    for number in range(3):
        bench.image.add_flow(number, WHERE, 0, [equal_to(L4=number)], ONE)
    bench.apply()
    assert bench.find(packet(L4=2)) == ONE


# -- stages ------------------------------------------------------------------------------


def test_stage_that_only_passes_on_is_skipped() -> None:
    """The search starts at the next stage that does something."""
    bench = Bench()
    bench.image.add_flow("pass", (DP, 3), 0, [Pattern()], Program.NEXT)
    bench.image.add_flow("work", (DP, 4), 0, [Pattern()], ONE)
    bench.apply()
    found = bench.reference.classify(packet(), 3)
    assert (found.stage, bench.image.program_text(found.program)) == (4, ONE)


def test_stage_without_flows_drops() -> None:
    """A stage is passed only because a flow says so."""
    bench = Bench()
    bench.image.add_flow("work", (DP, 4), 0, [Pattern()], ONE)
    bench.apply()
    assert bench.reference.classify(packet(), 3) == Found(3, -Drop.NO_FLOW)


def test_stage_whose_flows_cannot_match_drops() -> None:
    """Nobody sets the register, so its only flow never holds; that is no default."""
    bench = Bench()
    bench.image.add_flow("never", (DP, 3), 5, [equal_to(REG0=1)], Program.NEXT)
    bench.image.add_flow("work", (DP, 4), 0, [Pattern()], ONE)
    bench.apply()
    assert bench.find(packet(), 3) == Drop.NO_FLOW


def test_search_does_not_leave_its_pipeline() -> None:
    """The last ingress stage is not followed by the first egress stage."""
    bench = Bench()
    for stage in range(60, Limit.EGRESS):
        bench.image.add_flow(stage, (DP, stage), 0, [Pattern()], Program.NEXT)
    bench.image.add_flow("egress", (DP, Limit.EGRESS), 0, [Pattern()], ONE)
    bench.apply()
    assert bench.find(packet(), 60) == Drop.NO_FLOW


def test_flow_comes_into_force_when_another_writes_its_register() -> None:
    """What was left out as impossible is brought back, and goes again with the writer."""
    bench = Bench()
    bench.image.add_flow("reader", (DP, 4), 5, [equal_to(REG0=3)], TWO)
    bench.image.add_flow("default", (DP, 4), 0, [Pattern()], Program.NEXT)
    bench.apply()
    assert not any(row.works for row in bench.reference.rows[DP, 4])
    bench.image.add_flow("writer", WHERE, 0, [Pattern()], WRITES)
    bench.apply()
    assert bench.find(packet(REG0=3), 4) == TWO
    bench.image.remove_flow("writer")
    bench.apply()
    assert not any(row.works for row in bench.reference.rows[DP, 4])


# -- what a delta holds ------------------------------------------------------------------


def test_nothing_changed_drains_nothing() -> None:
    """An idle pass costs no map update."""
    bench = Bench()
    bench.image.add_flow("f", WHERE, 0, [Pattern()], ONE)
    assert bench.apply()
    assert not bench.apply()


def test_one_more_entry_is_one_map_update() -> None:
    """In a tuple too big for a filter: the row and other entries are left as they are."""
    bench = Bench()
    for number in range(100):
        bench.image.add_flow(number, WHERE, 7, [equal_to(L4=number)], ONE)
    bench.apply()
    bench.image.add_flow("new", WHERE, 7, [equal_to(L4=177)], ONE)
    delta = bench.apply()
    assert (len(delta.entries[0]), delta.rows, delta.slots, delta.insns) == (1, {}, [], [])
    bench.image.remove_flow("new")
    delta = bench.apply()
    assert (len(delta.gone[0]), delta.rows, delta.slots) == (1, {}, [])


def test_change_in_one_stage_leaves_the_others_alone() -> None:
    """Only rows of stages that changed are written."""
    bench = Bench()
    for stage in range(5):
        bench.image.add_flow(stage, (DP, stage), 0, [Pattern()], ONE)
    bench.apply()
    bench.image.add_flow("new", (DP, 2), 5, [equal_to(L4=1)], TWO)
    assert set(bench.apply().rows) == {(DP, 2)}


def test_flow_taken_out_and_put_back_changes_nothing() -> None:
    """A row that northd rewrites with the same text does not disturb the machine."""
    bench = Bench()
    for number in range(5):
        bench.image.add_flow(number, WHERE, 7, [equal_to(L4=number)], ONE)
    bench.apply()
    bench.image.remove_flow(3)
    bench.image.add_flow(3, WHERE, 7, [equal_to(L4=3)], ONE)
    delta = bench.apply()
    assert not any(delta.entries)
    assert not any(delta.gone)
    assert not delta.rows


def test_equal_programs_are_stored_once() -> None:
    """Programs are shared by all stages and datapaths, until the last user leaves."""
    bench = Bench()
    bench.image.add_flow("a", (DP, 1), 0, [Pattern()], ONE)
    bench.image.add_flow("b", (DP, 2), 0, [Pattern()], ONE)
    assert len(bench.apply().insns) == 1
    assert bench.image.program_count == 1
    bench.image.remove_flow("a")
    bench.image.remove_flow("b")
    assert bench.image.program_count == 0
    assert bench.image.use()["insns"] == 0


def test_removed_stage_is_emptied() -> None:
    """All flows gone: no slots, no entries, no guards stay in use."""
    bench = Bench()
    guards = tuple(Guard(GuardKind.NOT_EQUAL, Word.L4, 0xFFFFFFFF, n) for n in range(9))
    bench.image.add_flow("guarded", WHERE, 3, [Pattern(guards=guards)], ONE)
    for number in range(5):
        bench.image.add_flow(number, WHERE, 7, [equal_to(L4=number)], ONE)
    bench.apply()
    for flow in ("guarded", *range(5), "unknown"):
        bench.image.remove_flow(flow)
    bench.apply()
    assert slots_of(bench) == 0
    assert bench.reference.entry_count() == 0
    use = bench.image.use()
    assert (use["slots"], use["guards"], use["insns"]) == (0, 0, 0)


def test_lists_are_shared_and_given_back() -> None:
    """Index 0 is the empty list; equal lists have one index."""
    image = Image(CAPACITY)
    assert image.take_list(()) == 0
    first = image.take_list((5, 6))
    assert image.take_list((5, 6)) == first
    ((index, data),) = image.drain_lists().lists
    assert (index, data) == (first, b"".join(n.to_bytes(4, "little") for n in (2, 5, 6)))
    assert not image.drain_lists()
    for _user in range(2):
        image.release_list(first)
    image.release_list(0)
    assert image.use()["lists"] == 0


def test_shapes_are_given_back() -> None:
    """Masks that come and go do not fill the map in the end."""
    bench = Bench()
    for bit in range(32):
        patterns = [
            Pattern(words=((Word.IP4_SRC, 1 << bit, 0), (Word.L4, 0xFFFF, port))) for port in (1, 2)
        ]
        bench.image.add_flow("f", WHERE, 7, patterns, ONE)
        bench.apply()
        assert bench.image.use()["shapes"] == 1
        bench.image.remove_flow("f")
    bench.apply()
    assert bench.image.use()["shapes"] == 0


# -- full maps ---------------------------------------------------------------------------


def test_full_slots_leave_the_image_able_to_go_on() -> None:
    """After MapFullError the stage that ran goes on; when there is room again all is written."""
    bench = Bench(Capacity(slots=4, insns=64, shapes=16, guards=16, lists=16))
    bench.image.add_flow("a", WHERE, 1, [equal_to(L4=1)], ONE)
    bench.image.add_flow("b", (DP, 4), 1, [equal_to(L4=1)], TWO)
    bench.apply()
    for number, word in enumerate(("IP4_SRC", "IP4_DST", "ETH_DST_LO", "ETH_SRC_LO", "ARP_SPA")):
        bench.image.add_flow(word, WHERE, 2 + number, [equal_to(**{word: 1})], TWO)
    for _attempt in range(3):
        with pytest.raises(MapFullError):
            bench.apply()
    for word in ("IP4_DST", "ETH_DST_LO", "ETH_SRC_LO", "ARP_SPA"):
        bench.image.remove_flow(word)
    deadline = time.monotonic() + 10 * REST_S
    while time.monotonic() < deadline:
        try:
            bench.apply()
            break
        except MapFullError:
            continue
    assert bench.find(packet(IP4_SRC=1)) == TWO
    assert bench.find(packet(L4=1)) == ONE
    assert bench.find(packet(L4=1), 4) == TWO
    rows = [{(row.first, row.length) for row in rows} for rows in bench.reference.rows.values()]
    taken = [
        index for kinds in rows for first, length in kinds for index in range(first, first + length)
    ]
    assert len(taken) == len(set(taken)), "no two stages share a slot"


# -- random histories --------------------------------------------------------------------

_WORDS = (Word.REG0, Word.CT_STATE, Word.ETH_HI, Word.IP4_SRC, Word.L4, Word.ETH_SRC_LO)
_values = st.integers(0, 3)
_word_tests = st.dictionaries(
    st.sampled_from(_WORDS), st.tuples(st.sampled_from([1, 3, 0xFFFFFFFF]), _values), max_size=5
)
_guards = st.lists(
    st.tuples(st.sampled_from(_WORDS), st.sampled_from([1, 0xFFFFFFFF]), _values), max_size=5
)
_group = st.lists(st.tuples(st.sampled_from(_WORDS), _values), min_size=2, max_size=3)
_set_guards = st.lists(
    st.tuples(st.sampled_from([GuardKind.IN_SET, GuardKind.NOT_IN_SET]), st.integers(0, 1),
              st.integers(1, 3)),
    max_size=2,
)  # fmt: skip


@st.composite
def _patterns(draw: st.DrawFn) -> Pattern:
    words = tuple(
        (int(word), mask, value & mask) for word, (mask, value) in sorted(draw(_word_tests).items())
    )
    guards = [Guard(GuardKind.NOT_EQUAL, w, m, v & m) for w, m, v in draw(_guards)]
    for number, members in enumerate(draw(st.lists(_group, max_size=2))):
        guards += [Guard(GuardKind.NOT_ALL_EQUAL, w, 0xFFFFFFFF, v, number + 1) for w, v in members]
    guards += [Guard(kind, dim, 0, number) for kind, dim, number in draw(_set_guards)]
    dims = draw(st.dictionaries(st.integers(0, 1), st.integers(1, 3)))
    class_bits = draw(st.sampled_from([0, 0, int(PacketClass.IP4)]))
    return Pattern(class_bits, words, tuple(sorted(set(guards))), tuple(sorted(dims.items())))


_simple = st.builds(
    lambda words: Pattern(words=tuple((int(w), 0xFFFFFFFF, v) for w, v in sorted(words.items()))),
    st.dictionaries(st.sampled_from(_WORDS), _values, max_size=2),
)
_programs: st.SearchStrategy[Program | ProgramText] = st.sampled_from(
    [Program.DROP, Program.NEXT, ONE, TWO, WRITES, (Insn(Op.CT_NEXT, Word.CT_ZONE),)]
)
_flows = st.builds(
    Flow,
    st.integers(0, 4),
    st.lists(st.one_of(_simple, _simple, _patterns()), min_size=1, max_size=3).map(tuple),
    _programs,
)
_GROUPS = {(DP, 0): (), (DP, 1): (1,), (DP, 2): (1, 2), (DP, 3): (2, 3)}


def holds(pattern: Pattern, words: Sequence[int]) -> bool:
    """Evaluate a pattern directly."""
    if words[Word.CLASS] & pattern.class_bits != pattern.class_bits:
        return False
    if any(words[word] & mask != value for word, mask, value in pattern.words):
        return False
    groups = [_GROUPS[DP, words[Word.INPORT]], _GROUPS[DP, words[Word.OUTPORT]]]
    if any(number not in groups[dim] for dim, number in pattern.dims):
        return False
    alternatives: dict[int, bool] = {}
    for guard in pattern.guards:
        if guard.kind == GuardKind.NOT_ALL_EQUAL:
            differs = words[guard.word] & guard.mask != guard.value
            alternatives[guard.group] = alternatives.get(guard.group, False) or differs
        elif guard.kind == GuardKind.NOT_EQUAL:
            if words[guard.word] & guard.mask == guard.value:
                return False
        elif (guard.value in groups[guard.word]) != (guard.kind == GuardKind.IN_SET):
            return False
    return all(alternatives.values())


def expected(flows: Sequence[Flow], words: Sequence[int]) -> set[Program | ProgramText | Drop]:
    """What may be found: OVN does not say which of several flows of equal priority wins."""
    matching = [flow for flow in flows if any(holds(p, words) for p in flow.patterns)]
    best = max((flow.priority for flow in matching), default=None)
    return {flow.program for flow in matching if flow.priority == best} or {Drop.NO_FLOW}


def packets(flows: Sequence[Flow], data: st.DataObject) -> list[list[int]]:
    """Packets that could be: a register bit that no program writes is 0."""
    writes = any(flow.program == WRITES for flow in flows)
    tracks = any(isinstance(f.program, tuple) and f.program[0].op == Op.CT_NEXT for f in flows)
    found = []
    for _number in range(12):
        words = packet(
            **{word.name: data.draw(_values) for word in _WORDS},
            INPORT=data.draw(_values), OUTPORT=data.draw(_values),
            CLASS=data.draw(st.sampled_from([0, int(PacketClass.IP4)])),
        )  # fmt: skip
        words[Word.REG0] &= 3 if writes else 0
        words[Word.CT_STATE] &= 3 if tracks else 0
        found.append(words)
    return found


_steps = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 9), _flows),
        st.tuples(st.integers(0, 9), st.none()),
        st.none(),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(steps=_steps, data=st.data())
def test_any_history_ends_where_a_fresh_image_would(
    steps: list[tuple[int, Flow | None] | None], data: st.DataObject
) -> None:
    """Adding, removing and draining in any order: packets find what the flows left say."""
    bench = Bench()
    bench.reference.groups = _GROUPS
    flows: dict[int, Flow] = {}
    for step in steps:
        if step is None:
            bench.apply()
            continue
        number, flow = step
        bench.image.remove_flow(number)
        flows.pop(number, None)
        if flow is not None:
            bench.image.add_flow(number, WHERE, flow.priority, flow.patterns, flow.program)
            flows[number] = flow
    bench.apply()
    fresh = Bench()
    fresh.reference.groups = _GROUPS
    for number, flow in flows.items():
        fresh.image.add_flow(number, WHERE, flow.priority, flow.patterns, flow.program)
    fresh.apply()
    assert bench.reference.entry_count() == fresh.reference.entry_count()
    assert bench.reference.entry_count() <= bench.image.entry_count
    assert _without_history(bench) == _without_history(fresh)
    for words in packets(list(flows.values()), data):
        wanted = expected(list(flows.values()), words)
        rows = bench.reference.rows.get(WHERE)
        if rows is None or rows[packet_kind(words[Word.CLASS])].works:
            assert bench.find(words) in wanted
            assert fresh.find(words) in wanted
        else:
            assert Program.NEXT in wanted


def _without_history(bench: Bench) -> dict[str, int]:
    return {name: number for name, number in bench.image.use().items() if name != "shapes"}

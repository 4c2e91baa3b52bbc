# SPDX-License-Identifier: Apache-2.0
"""Sets: what a value resolves to, and that small changes end where a rebuild would."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovisor_ovn.abi import Limit, Space, Word
from iovisor_ovn.compiler.packet import pieces, slice_pieces
from iovisor_ovn.compiler.sets import Member, SetTable, parse_member, space_width

HOST = Member(Space.IP4, 0x0A000001, 32)
NET8 = Member(Space.IP4, 0x0A000000, 8)
NET24 = Member(Space.IP4, 0x0A000000, 24)
ELSEWHERE = Member(Space.IP4, 0xC0A80000, 16)


def ids_of(table: SetTable, *names: str) -> tuple[int, ...]:
    """Ids of sets, sorted as lists are."""
    return tuple(sorted(table.set_id(name) for name in names))


@pytest.mark.parametrize(
    ("text", "member"),
    [
        ("10.0.0.1", Member(Space.IP4, 0x0A000001, 32)),
        ("10.0.0.0/8", Member(Space.IP4, 0x0A000000, 8)),
        ("10.0.0.0/255.255.255.0", Member(Space.IP4, 0x0A000000, 24)),
        ("10.1.2.3/8", Member(Space.IP4, 0x0A000000, 8)),
        ("0.0.0.0/0", Member(Space.IP4, 0, 0)),
        ("fd00::1", Member(Space.IP6, 0xFD << 120 | 1, 128)),
        ("fd00::/8", Member(Space.IP6, 0xFD << 120, 8)),
        ("02:00:00:00:00:0A", Member(Space.ETH, 0x02000000000A, 48)),
        ("10.0.0.0/33", None),
        ("02:00:00:00:00", None),
        ("02:00:00:00:00:0a:0b", None),
        ("lsp1", None),
        ("", None),
    ],
)
def test_members_are_read_as_address_sets_write_them(text: str, member: Member | None) -> None:
    """Hosts and prefixes of three families; anything else is no member."""
    assert parse_member(text) == member


def test_host_gets_the_ids_of_covering_prefixes() -> None:
    """The machine stops at the host's entry, so it must name the prefixes' sets too."""
    table = SetTable()
    table.define("hosts", [HOST])
    table.define("wide", [NET8])
    table.define("elsewhere", [ELSEWHERE])
    assert table.drain() == {
        HOST: ids_of(table, "hosts", "wide"),
        NET8: ids_of(table, "wide"),
        ELSEWHERE: ids_of(table, "elsewhere"),
    }


def test_prefix_gets_the_ids_of_shorter_prefixes() -> None:
    """The prefix map gives the longest match only."""
    table = SetTable()
    table.define("wide", [NET8])
    table.define("narrow", [NET24])
    assert table.drain()[NET24] == ids_of(table, "wide", "narrow")


def test_prefix_of_length_zero_covers_its_space_only() -> None:
    """0.0.0.0/0 says nothing about IPv6."""
    table = SetTable()
    everything = Member(Space.IP4, 0, 0)
    six = Member(Space.IP6, 1, 128)
    table.define("any", [everything])
    table.define("hosts", [HOST, six])
    drained = table.drain()
    assert drained[HOST] == ids_of(table, "any", "hosts")
    assert drained[six] == ids_of(table, "hosts")


def test_new_member_touches_nothing_else() -> None:
    """One more address in a set is one change, however large the set."""
    table = SetTable()
    table.define("hosts", [Member(Space.IP4, value, 32) for value in range(100)])
    table.drain()
    table.define("hosts", [Member(Space.IP4, value, 32) for value in range(101)])
    assert table.drain() == {Member(Space.IP4, 100, 32): ids_of(table, "hosts")}
    assert table.drain() == {}


def test_leaving_prefix_updates_what_it_covered() -> None:
    """Hosts lose the id of a set whose covering prefix is gone."""
    table = SetTable()
    table.define("hosts", [HOST])
    table.define("wide", [NET8, ELSEWHERE])
    table.drain()
    table.define("wide", [ELSEWHERE])
    assert table.drain() == {NET8: (), HOST: ids_of(table, "hosts")}


def test_id_of_a_forgotten_set_is_used_again() -> None:
    """Ids stay small: they are words of keys, and lists of them are shared."""
    table = SetTable()
    table.define("a", [HOST])
    old = table.set_id("a")
    table.forget("a")
    table.forget("never there")
    assert table.drain() == {HOST: ()}
    assert table.set_id("b") == old
    assert table.set_id("c") != old
    assert (table.size("a"), table.size("b")) == (0, 0)


def test_space_has_prefixes_while_some_set_holds_one() -> None:
    """The machine asks the prefix map only where it can answer."""
    table = SetTable()
    table.define("hosts", [HOST])
    assert not table.has_prefixes(Space.IP4)
    table.define("a", [NET8])
    table.define("b", [NET8])
    table.forget("a")
    assert table.has_prefixes(Space.IP4)
    assert not table.has_prefixes(Space.IP6)
    table.forget("b")
    assert not table.has_prefixes(Space.IP4)


def test_many_prefixes_and_hosts_are_drained_in_one_sweep() -> None:
    """Each member looks its covering prefixes up; it is not compared with all of them.

    Compared one by one these would be 40 million pairs, far beyond the timeout of a test.
    """
    table = SetTable()
    nets = [Member(Space.IP4, number << 16, 16) for number in range(4000)]
    hosts = [Member(Space.IP4, number << 14 | 1, 32) for number in range(10000)]
    table.define("nets", nets)
    table.define("hosts", hosts)
    drained = table.drain()
    covered = sum(1 for ids in drained.values() if len(ids) == 2)
    assert (len(drained), covered) == (14000, 10000)


# -- random histories --------------------------------------------------------------------


def _prefix(space: Space, top: int, length: int) -> Member:
    """A prefix of up to three bits: few enough that random ones cover each other."""
    return Member(space, top << space_width(space) - 3, 3).cut(length)


_short = st.builds(
    _prefix, st.sampled_from([Space.IP4, Space.IP6]), st.integers(0, 7), st.integers(0, 3)
)
_hosts = st.builds(
    lambda space, top: Member(space, top << space_width(space) - 3 | 1, space_width(space)),
    st.sampled_from([Space.IP4, Space.IP6, Space.ETH]),
    st.integers(0, 7),
)
_contents = st.frozensets(st.one_of(_short, _hosts), max_size=6)
_step = st.one_of(
    st.tuples(st.sampled_from("abcd"), _contents),
    st.tuples(st.sampled_from("abcd"), st.none()),
)


@given(st.lists(_step, max_size=20))
def test_incremental_drain_equals_rebuild(
    steps: list[tuple[str, frozenset[Member] | None]],
) -> None:
    """After any history the drained changes add up to what a fresh table would hold."""
    table = SetTable()
    contents: dict[str, frozenset[Member]] = {}
    state: dict[Member, tuple[int, ...]] = {}
    for name, members in steps:
        if members is None:
            table.forget(name)
            contents.pop(name, None)
        else:
            table.define(name, members)
            contents[name] = members
        state |= table.drain()
        state = {member: ids for member, ids in state.items() if ids}
        assert state == table.everything()
    for member, ids in state.items():
        holders = {
            name for name, held in contents.items() if any(_covers(outer, member) for outer in held)
        }
        assert ids == ids_of(table, *holders)
    expected = {member for members in contents.values() for member in members}
    assert state.keys() == expected


def _covers(outer: Member, inner: Member) -> bool:
    if outer.space != inner.space or outer.length > inner.length:
        return False
    shift = space_width(outer.space) - outer.length
    return outer.value >> shift == inner.value >> shift


# -- dimensions --------------------------------------------------------------------------


def test_dimension_is_shared_by_field_bits_and_space() -> None:
    """Rules about the same bits look the value up once."""
    table = SetTable()
    place = pieces("ip4.src")
    assert place is not None
    first = table.dimension("ip4.src", 0, Space.IP4, place)
    assert first is not None
    assert first == table.dimension("ip4.src", 0, Space.IP4, place)
    assert first != table.dimension("ip4.src", 0, Space.OTHER, place)
    assert len(table.dimensions) == 2
    assert first.index >= 2, "0 and 1 are the port groups of inport and outport"


def test_dimension_reads_most_significant_words_first() -> None:
    """An Ethernet address lies in two words that are not neighbours."""
    table = SetTable()
    place = pieces("eth.src")
    assert place is not None
    dimension = table.dimension("eth.src", 0, Space.ETH, place)
    assert dimension is not None
    assert [piece.word for piece in dimension.pieces] == [Word.ETH_HI, Word.ETH_SRC_LO]
    assert all(one.lsb > other.lsb for one, other in pairwise(dimension.pieces))


def test_fields_that_programs_write_are_not_cached() -> None:
    """The machine forgets cached dimensions only when a packet word changes."""
    table = SetTable()
    register, address = pieces("xxreg0"), pieces("ip6.dst")
    assert register is not None
    assert address is not None
    one = table.dimension("xxreg0", 0, Space.IP6, register)
    other = table.dimension("ip6.dst", 0, Space.IP6, address)
    assert one is not None
    assert other is not None
    assert other.index < Limit.CACHED_DIMS <= one.index < Limit.DIMS


def test_dimensions_run_out_without_an_exception() -> None:
    """The compiler then writes the values out or calls the flow unexecutable."""
    table = SetTable()
    place = pieces("ip4.src")
    assert place is not None
    made = [table.dimension("ip4.src", 0, 100 + number, place) for number in range(100)]
    taken = [item.index for item in made if item is not None]
    assert len(taken) == len(set(taken)) == Limit.CACHED_DIMS - 2
    assert made[-1] is None


@pytest.mark.parametrize(
    ("field", "offset", "width"),
    [("xxreg0", 16, 48), ("xxreg0", 16, 32), ("xxreg0", 20, 20), ("ct_label", 40, 48)],
)
def test_bits_across_words_in_another_rhythm_have_no_dimension(
    field: str, offset: int, width: int
) -> None:
    """The machine puts whole pieces into the key's words: their borders must be the value's."""
    place = pieces(field)
    assert place is not None
    sliced = slice_pieces(place, offset, width)
    assert SetTable().dimension(field, offset, Space.OTHER, sliced) is None


@pytest.mark.parametrize(
    ("field", "offset", "width"),
    [("ct_label", 32, 48), ("xxreg0", 32, 32), ("xxreg0", 3, 20), ("ip6.src", 0, 128)],
)
def test_bits_in_the_rhythm_of_words_have_a_dimension(field: str, offset: int, width: int) -> None:
    """Slices that begin at a word, or lie within one, can be looked up."""
    place = pieces(field)
    assert place is not None
    sliced = slice_pieces(place, offset, width)
    assert SetTable().dimension(field, offset, Space.OTHER, sliced) is not None

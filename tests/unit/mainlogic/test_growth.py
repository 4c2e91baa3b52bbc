# SPDX-License-Identifier: Apache-2.0
"""What the maps hold grows with the sum of what is configured, and shrinks again."""

import itertools

import pytest

from unit.mainlogic.rig import Rig

_HASHES = ("entries4", "entries8", "entries16", "entries40", "members", "prefixes")
_FIELDS = (
    "ip4.src", "ip4.dst", "ip6.src", "ip6.dst", "tcp.src", "tcp.dst", "udp.src", "udp.dst",
    "ip.ttl", "arp.spa", "arp.tpa", "ct_mark", "reg0", "reg9",
)  # fmt: skip


def held(rig: Rig) -> int:
    """Entries of all hash maps."""
    return sum(len(rig.machine.maps[name].contents) for name in _HASHES)


@pytest.mark.parametrize(
    "match",
    [
        "ip4.src == $one && ip4.dst == $two",
        "ip4.src != $one && ip4.dst == $two",
        "ip4.src != $one && ip4.dst != $two && inport == @pg",
        "inport == @pg && ip4.src == $one && ip4.dst == $two",
        "inport == @pg && outport == @pg && ip4.src == $one && ip4.dst == $two",
        "inport != @pg && ip4.src == $one && ip4.dst != $two",
        "(ip4.src == $one || ip4.dst == $two) && outport == @pg",
    ],
)
def test_entries_grow_with_the_sum_of_set_sizes(match: str) -> None:
    """Sets of n members in one match: n map entries for each set, a few for the match."""
    sizes = (4, 64)
    counts = []
    for size in sizes:
        rig = Rig()
        for number in range(size):
            rig.port(f"more{number}", 100 + number)
        ports = [f"more{number}" for number in range(size)]
        rig.db.insert("Port_Group", name="5_pg", ports=ports)
        for name, net in (("one", 1), ("two", 2)):
            addresses = [f"10.{net}.0.{number}" for number in range(size)]
            rig.db.insert("Address_Set", name=name, addresses=addresses)
        rig.update()
        before = held(rig)
        rig.flow(match)
        rig.update()
        assert before >= 2 * size
        assert held(rig) - before <= 2
        counts.append(before)
    assert counts[1] - counts[0] == 2 * (sizes[1] - sizes[0])


def test_flows_of_many_shapes_leave_nothing_behind() -> None:
    """Thousands of flows that test ever other fields, lists and masks come and go."""
    rig = Rig()
    rig.flow("ip4")
    rig.update()
    sets = rig.pipeline.sets
    at_first = (held(rig), rig.pipeline.image.use(), len(sets.dimensions), dict(sets.items()))
    pairs = list(itertools.combinations(_FIELDS, 2))
    for turn in range(30):
        flows = []
        for number, (one, other) in enumerate(pairs):
            mask = (turn * len(pairs) + number) % 255 + 1
            many = ", ".join(str(turn + 2 * item) for item in range(20))
            if "ip6" in one or one.startswith(("ip4", "arp")):
                flows.append(rig.flow(f"reg1[0..7] == {mask} && eth.src != 2:0:0:0:0:{turn:x}"))
            else:
                text = f"reg1 == {mask}/{mask} && {one} == {{{many}}} && {other} == {{{many}}}"
                flows.append(rig.flow(text, actions=f"reg2 = {mask}; next;"))
        rig.update()
        assert len(sets.dimensions) > at_first[2]
        for flow in flows:
            rig.db.delete(flow)
        rig.update()
    assert not rig.pipeline.flows.diagnostics
    now = (held(rig), rig.pipeline.image.use(), len(sets.dimensions), dict(sets.items()))
    assert now == at_first

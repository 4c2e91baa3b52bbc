# SPDX-License-Identifier: Apache-2.0
"""Learned facts on their way into the database."""

from dataclasses import replace

from iovisor_ovn.services.learning import MAX_DELAY_S, MAX_PENDING, Learned, LearnQueue

NEIGHBOUR = Learned("neighbour", 1, 2, 0x0A000001, 0xAA)
FDB = Learned("fdb", 1, 2, 0, 0xAA)


def test_fact_is_due_after_its_delay_until_it_is_done() -> None:
    """Nothing is lost while the database is away: a fact stays due until it is written."""
    queue = LearnQueue(lambda: 0.5)
    moments = [queue.next_due]
    queue.add(NEIGHBOUR, 10.0)
    moments.append(queue.next_due)
    assert moments == [None, 10.5]
    assert list(queue.due(10.4)) == []
    assert list(queue.due(10.5)) == [NEIGHBOUR]
    assert list(queue.due(99.0)) == [NEIGHBOUR]
    queue.done(NEIGHBOUR)
    assert list(queue.due(99.0)) == []


def test_newest_value_waits_at_the_place_of_the_first() -> None:
    """A MAC address that changes again keeps the moment of its first announcement."""
    queue = LearnQueue(lambda: 0.5)
    newer = replace(NEIGHBOUR, mac=0xBB)
    queue.add(NEIGHBOUR, 10.0)
    queue.add(newer, 10.4)
    assert list(queue.due(10.5)) == [newer]


def test_older_fact_that_is_done_leaves_the_newer() -> None:
    """What was learned while the older one was written is still to be written."""
    queue = LearnQueue(lambda: 0.0)
    newer = replace(NEIGHBOUR, mac=0xBB)
    queue.add(NEIGHBOUR, 0)
    queue.add(newer, 1)
    queue.done(NEIGHBOUR)
    assert list(queue.due(1)) == [newer]
    queue.done(newer)
    queue.done(newer)
    assert queue.next_due is None


def test_keys_are_neighbour_address_and_mac() -> None:
    """Neighbours differ by port and address, learned MAC addresses by MAC alone."""
    queue = LearnQueue(lambda: 0.0)
    moved = replace(FDB, port=3)
    facts = [NEIGHBOUR, replace(NEIGHBOUR, address=1), replace(NEIGHBOUR, port=9), FDB, moved]
    for fact in facts:
        queue.add(fact, 0)
    assert list(queue.due(0)) == [*facts[:3], moved]


def test_full_queue_refuses_new_keys_only() -> None:
    """A scan fills the queue and no more; what waits is still brought up to date."""
    queue = LearnQueue(lambda: 0.0)
    for address in range(MAX_PENDING + 3):
        queue.add(replace(NEIGHBOUR, address=address), 0)
    queue.add(replace(NEIGHBOUR, address=0, mac=0xCC), 0)
    assert queue.dropped == 3
    due = list(queue.due(0))
    assert len(due) == MAX_PENDING
    assert due[0].mac == 0xCC


def test_delays_are_spread() -> None:
    """Chassis that hear the same announcement do not write at the same moment."""
    queue = LearnQueue()
    for address in range(100):
        queue.add(replace(NEIGHBOUR, address=address), 0.0)
    assert len(list(queue.due(MAX_DELAY_S / 2))) in range(10, 91)
    assert len(list(queue.due(MAX_DELAY_S))) == 100


def test_facts_of_a_datapath_are_given_up() -> None:
    """An index that stands for another datapath must not get the old one's rows."""
    queue = LearnQueue(lambda: 0.0)
    other = replace(FDB, datapath=2)
    for fact in (NEIGHBOUR, FDB, other):
        queue.add(fact, 0)
    queue.forget(1)
    assert list(queue.due(0)) == [other]

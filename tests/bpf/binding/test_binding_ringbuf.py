# SPDX-License-Identifier: Apache-2.0
"""The ring buffer's reader."""

import select
import struct

import pytest

from iovisor_ovn.dataplane import Object, RingReader
from iovisor_ovn.errors import DataplaneError

pytestmark = pytest.mark.needs_bpf


def _report(loaded: Object, *first_bytes: int) -> None:
    for first in first_bytes:
        loaded.programs["report"].test_run(bytes([first]) + bytes(63))


def _records(*first_bytes: int) -> list[bytes]:
    return [struct.pack("=II", 64, first) for first in first_bytes]


def _readable(reader: RingReader) -> bool:
    poller = select.poll()
    poller.register(reader.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def test_records_come_in_order_and_once(loaded: Object) -> None:
    """What programs reported is read in order, and then it is gone."""
    reader = RingReader(loaded.maps["events"])
    assert reader.consume() == []
    _report(loaded, 1, 2, 3)
    assert reader.consume() == _records(1, 2, 3)
    assert reader.consume() == []


def test_descriptor_is_readable_while_records_wait(loaded: Object) -> None:
    """A limited read leaves the rest, and the poller still sees it."""
    reader = RingReader(loaded.maps["events"])
    assert not _readable(reader)
    _report(loaded, 1, 2, 3)
    assert _readable(reader)
    assert reader.consume(limit=2) == _records(1, 2)
    assert _readable(reader)
    assert reader.consume(limit=2) == _records(3)
    assert not _readable(reader)


def test_next_reader_finds_what_was_left(loaded: Object) -> None:
    """Records outlive a reader that was closed before it took them."""
    reader = RingReader(loaded.maps["events"])
    _report(loaded, 1, 2)
    assert reader.consume(limit=1) == _records(1)
    reader.close()
    with pytest.raises(DataplaneError, match="closed"):
        reader.consume()
    assert RingReader(loaded.maps["events"]).consume() == _records(2)


def test_ring_survives_wrapping_and_overflow(loaded: Object) -> None:
    """More records than fit are refused to the program; after reading, there is room again."""
    reader = RingReader(loaded.maps["events"])
    for round_number in range(3):
        runs = loaded.programs["report"].test_run(bytes([round_number]) + bytes(63), repeat=3000)
        assert runs.retval == 2
        records = reader.consume()
        assert 0 < len(records) < 3000
        assert set(records) == set(_records(round_number))


def test_other_map_is_refused(loaded: Object) -> None:
    """Only a ring buffer can be read as one."""
    with pytest.raises(DataplaneError, match="flows"):
        RingReader(loaded.maps["flows"])

# SPDX-License-Identifier: Apache-2.0
"""Maps of a live kernel through the Map class."""

import struct

import pytest

from iovisor_ovn.dataplane import Map, MapLayout, MapType, Object, Update, maps
from iovisor_ovn.errors import DataplaneError, MapFullError

pytestmark = pytest.mark.needs_bpf

_MISSING = 99


def _keys(numbers: range) -> bytes:
    return b"".join(struct.pack("=I", number) for number in numbers)


def _values(numbers: range) -> bytes:
    return b"".join(struct.pack("=Q", number * 3) for number in numbers)


def _entries(numbers: range) -> list[tuple[bytes, bytes]]:
    return [(struct.pack("=I", number), struct.pack("=Q", number * 3)) for number in numbers]


@pytest.fixture
def flows(loaded: Object) -> Map:
    """Give the hash map of 1000 entries."""
    return loaded.maps["flows"]


def test_entry_is_found_until_it_is_deleted(flows: Map) -> None:
    """What was written is read back; after the deletion it is not there."""
    key, value = struct.pack("=I", 5), struct.pack("=Q", 6)
    assert flows.lookup(key) is None
    flows.update(key, value)
    assert flows.lookup(key) == value
    flows.delete(key)
    assert flows.lookup(key) is None


def test_deletion_of_a_missing_key_is_an_error_unless_allowed(flows: Map) -> None:
    """The caller says whether a key may be missing."""
    key = struct.pack("=I", _MISSING)
    with pytest.raises(DataplaneError, match="delete a key in map flows"):
        flows.delete(key)
    flows.delete(key, missing_ok=True)


def test_update_flags_are_kept(flows: Map) -> None:
    """CREATE wants the key absent and REPLACE wants it present."""
    key, value = struct.pack("=I", 1), struct.pack("=Q", 1)
    with pytest.raises(DataplaneError):
        flows.update(key, value, Update.REPLACE)
    flows.update(key, value, Update.CREATE)
    with pytest.raises(DataplaneError):
        flows.update(key, value, Update.CREATE)


def test_buffers_of_a_wrong_size_never_reach_the_kernel(flows: Map) -> None:
    """A short value would make the kernel read behind its end."""
    with pytest.raises(ValueError, match="expected 4 and 8"):
        flows.update(struct.pack("=I", 1), b"short")
    with pytest.raises(ValueError, match="no whole number"):
        flows.update_many(b"12345", b"")
    with pytest.raises(ValueError, match="expected 8 and 16"):
        flows.update_many(bytes(8), bytes(8))


def test_batches_write_read_and_delete_everything(flows: Map) -> None:
    """A thousand entries make the round, and missing keys do not stop a batch deletion."""
    flows.update_many(_keys(range(1000)), _values(range(1000)))
    assert sorted(flows.items()) == sorted(_entries(range(1000)))
    flows.delete_many(_keys(range(2000, 2003)) + _keys(range(500)) + _keys(range(400, 600)))
    assert sorted(flows.items()) == sorted(_entries(range(600, 1000)))
    assert flows.count() == 400
    flows.clear()
    assert flows.items() == []


def test_batches_go_on_over_several_system_calls() -> None:
    """More entries than one call carries arrive complete."""
    big = Map.create("big", MapLayout(MapType.HASH, 4, 8, 50_000, 0))
    numbers = range(40_000)
    big.update_many(_keys(numbers), _values(numbers))
    assert sorted(big.items()) == sorted(_entries(numbers))
    big.close()


def test_small_chunks_find_every_entry(flows: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash bucket that does not fit into the reader's buffer makes it larger, not the loss."""
    monkeypatch.setattr(maps, "_BATCH_ENTRIES", 1)
    flows.update_many(_keys(range(1000)), _values(range(1000)))
    assert sorted(flows.items()) == sorted(_entries(range(1000)))


def test_full_map_is_named_with_its_capacity(flows: Map) -> None:
    """Both ways of writing say which map is full; what fitted stays."""
    with pytest.raises(MapFullError) as raised:
        flows.update_many(_keys(range(1200)), _values(range(1200)))
    assert (raised.value.map_name, raised.value.capacity) == ("flows", 1000)
    assert sorted(flows.items()) == sorted(_entries(range(1000)))
    with pytest.raises(MapFullError):
        flows.update(struct.pack("=I", 1200), bytes(8))


def test_longest_prefix_map_matches_and_lists(loaded: Object) -> None:
    """Batch reading of a trie, whose position is a whole key, finds all prefixes."""
    prefixes = loaded.maps["prefixes"]
    keys = [struct.pack("=I", 24) + bytes([10, 0, number, 0]) for number in range(50)]
    values = [struct.pack("=I", number) for number in range(50)]
    prefixes.update_many(b"".join(keys), b"".join(values))
    assert sorted(prefixes.items()) == sorted(zip(keys, values, strict=True))
    assert prefixes.lookup(struct.pack("=I", 32) + bytes([10, 0, 7, 9])) == values[7]


def test_per_cpu_values_have_one_slot_per_cpu(loaded: Object) -> None:
    """One run counts on one CPU; the slots are cut at 8-byte steps, and batches read the same."""
    counters = loaded.maps["counters_of_every_cpu"]
    loaded.programs["tally"].test_run(bytes(64), repeat=5)
    slots = counters.lookup_per_cpu(bytes(4))
    assert slots is not None
    assert max(struct.unpack("=I", slot)[0] for slot in slots) == 5
    assert sum(struct.unpack("=I", slot)[0] for slot in slots) == 5
    listed = dict(counters.items())
    assert counters.split_per_cpu(listed[bytes(4)]) == slots
    assert len(listed) == counters.max_entries


def test_memory_is_shared_with_the_programs(loaded: Object) -> None:
    """A mapped array shows what programs wrote, and takes writes, past the first page too."""
    shared = loaded.maps["shared"]
    memory = shared.memory()
    shared.update(struct.pack("=I", 599), struct.pack("=I", 77))
    at = 599 * shared.element_stride
    assert memory[at : at + 4] == struct.pack("=I", 77)
    memory[at : at + 4] = struct.pack("=I", 78)
    assert shared.lookup(struct.pack("=I", 599)) == struct.pack("=I", 78)


def test_memory_of_another_map_is_refused(flows: Map) -> None:
    """Only a map made for it can be mapped."""
    with pytest.raises(DataplaneError, match="flows was not made with BPF_F_MMAPABLE"):
        flows.memory()


def test_map_without_batch_calls_is_written_one_by_one(loaded: Object) -> None:
    """A program array takes descriptors and lists program ids; its kind has no batch calls."""
    jumps = loaded.maps["jumps"]
    programs = [loaded.programs["stamp"], loaded.programs["report"]]
    keys = _keys(range(2))
    jumps.update_many(keys, b"".join(struct.pack("=I", program.fd) for program in programs))
    ids = [struct.pack("=I", program.info().id) for program in programs]
    assert jumps.items() == [(keys[:4], ids[0]), (keys[4:], ids[1])]
    jumps.delete_many(keys)
    assert jumps.items() == []


def test_map_keeps_its_whole_name(loaded: Object) -> None:
    """The kernel keeps 15 characters, the Map all of them."""
    assert loaded.maps["counters_of_every_cpu"].name == "counters_of_every_cpu"

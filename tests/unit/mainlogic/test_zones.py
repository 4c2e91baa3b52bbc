# SPDX-License-Identifier: Apache-2.0
"""Conntrack zones."""

import pytest

from iovisor_ovn.errors import MapFullError
from iovisor_ovn.mainlogic.zones import Zones


def _zones() -> tuple[Zones, list[int]]:
    flushed: list[int] = []
    return Zones(flushed.append), flushed


def test_users_get_different_zones_but_not_zero() -> None:
    """Each user has a number of its own, flushed before first use."""
    zones, flushed = _zones()
    assert zones.assign({"a", "b", "c"}, {})
    assert sorted(zones.current.values()) == [1, 2, 3]
    assert flushed == [1, 2, 3]


def test_nothing_new_is_nothing_done() -> None:
    """The same users again change nothing and lose no connection."""
    zones, flushed = _zones()
    zones.assign({"a"}, {})
    flushed.clear()
    assert not zones.assign({"a"}, {})
    assert flushed == []


def test_restored_zone_is_kept_and_not_flushed() -> None:
    """What an earlier agent wrote is used again as it is."""
    zones, flushed = _zones()
    zones.restore({"ct-zone-a": "17", "ct-zone-b": "17", "ct-zone-c": "x", "other": "3",
                   "ct-zone-": "4", "ct-zone-d": "0", "ct-zone-e": "65536"})  # fmt: skip
    assert zones.current == {"a": 17}
    assert not zones.assign({"a"}, {})
    assert flushed == []


def test_zone_given_back_is_flushed_and_rests() -> None:
    """A number that became free is not the next to be given."""
    zones, flushed = _zones()
    zones.assign({"a", "b"}, {})
    flushed.clear()
    zones.assign({"b"}, {})
    assert flushed == [1]
    zones.assign({"b", "c"}, {})
    assert zones.current == {"b": 2, "c": 3}


def test_requested_zone_displaces_whoever_has_it() -> None:
    """A number that an operator asks for is given, its holder gets another, both are flushed."""
    zones, flushed = _zones()
    zones.assign({"a", "r_snat"}, {})
    assert zones.current == {"a": 1, "r_snat": 2}
    flushed.clear()
    zones.assign({"a", "r_snat"}, {"r_snat": 1, "stranger_snat": 9})
    assert zones.current == {"a": 3, "r_snat": 1}
    assert flushed == [1, 2, 3]


def test_differences_to_the_bridge() -> None:
    """Only keys that are not as they should be are named, other keys never."""
    zones, _flushed = _zones()
    zones.assign({"a", "b"}, {})
    present = {"ct-zone-a": "1", "ct-zone-gone": "7", "ovn-nb-cfg": "3"}
    assert zones.differences(present) == {"ct-zone-b": "2", "ct-zone-gone": None}


def test_full_space_is_a_named_error() -> None:
    """With all numbers taken, the next user is refused by name."""
    zones, _flushed = _zones()
    zones.restore({f"ct-zone-p{number}": str(number) for number in range(1, 65536)})
    users = {f"p{number}" for number in range(1, 65536)}
    with pytest.raises(MapFullError):
        zones.assign(users | {"one more"}, {})

# SPDX-License-Identifier: Apache-2.0
"""The parts of maps that need no kernel."""

from dataclasses import replace

import pytest

from iovisor_ovn.dataplane import MapLayout, MapType

_LAYOUT = MapLayout(type=MapType.HASH, key_size=4, value_size=8, max_entries=16, flags=0)


def test_equal_layouts_have_no_differences() -> None:
    """A map may stand in for one like it."""
    assert _LAYOUT.differences(replace(_LAYOUT)) == []


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (replace(_LAYOUT, type=MapType.ARRAY), "type: 1, 2"),
        (replace(_LAYOUT, key_size=8), "key_size: 4, 8"),
        (replace(_LAYOUT, value_size=4), "value_size: 8, 4"),
        (replace(_LAYOUT, max_entries=17), "max_entries: 16, 17"),
        (replace(_LAYOUT, flags=1), "flags: 0, 1"),
    ],
)
def test_each_member_of_a_layout_counts(other: MapLayout, difference: str) -> None:
    """A single member that differs is named with both values."""
    assert _LAYOUT.differences(other) == [difference]

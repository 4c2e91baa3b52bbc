# SPDX-License-Identifier: Apache-2.0
"""The picture of the devices, as notifications change it."""

import dataclasses

from iovisor_ovn.vswitch.devices import LinkTable
from iovisor_ovn.vswitch.rtnl import IFF_UP, Link

TAP = Link("tap0", 4, "0a:00:00:00:00:01", 1500, IFF_UP, "tun", "", 0, None, is_ethernet=True)


def table_with(*links: Link) -> LinkTable:
    """Return a table that holds links and has told of them."""
    table = LinkTable()
    for link in links:
        table.put(link)
    table.take_changed()
    return table


def test_the_same_again_is_no_change() -> None:
    """A notification that tells nothing new wakes nobody."""
    table = table_with(TAP)
    table.put(dataclasses.replace(TAP))
    assert table.take_changed() == frozenset()


def test_a_rename_changes_both_names() -> None:
    """The old name has no device any more, the new one has the same ifindex."""
    table = table_with(TAP)
    table.put(dataclasses.replace(TAP, name="tap1"))
    assert table.take_changed() == {"tap0", "tap1"}
    assert table.get("tap0") is None
    assert (found := table.get("tap1")) is not None
    assert found.ifindex == 4


def test_a_device_made_again_keeps_its_name_when_the_old_end_is_told_late() -> None:
    """News of the old device's end must not hide the new one of the same name."""
    table = table_with(TAP)
    again = dataclasses.replace(TAP, ifindex=9)
    table.put(again)
    table.drop(4)
    assert table.get("tap0") is again
    assert table.get_index(4) is None


def test_a_listing_finds_what_was_missed() -> None:
    """After lost notifications, a full listing yields removals, changes and additions."""
    other = dataclasses.replace(TAP, name="tap1", ifindex=5)
    table = table_with(TAP, other)
    new = dataclasses.replace(TAP, name="tap2", ifindex=6)
    table.replace([dataclasses.replace(other, mtu=9000), new])
    assert table.take_changed() == {"tap0", "tap1", "tap2"}
    assert table.get("tap0") is None
    assert {link.name for link in table.links()} == {"tap1", "tap2"}


def test_the_end_of_an_unknown_device_is_nothing() -> None:
    """A device that came and went between listing and notification was never seen."""
    table = table_with()
    table.drop(77)
    assert table.take_changed() == frozenset()

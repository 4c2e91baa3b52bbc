# SPDX-License-Identifier: Apache-2.0
"""Devices in memory, for tests of what is done with devices."""

import dataclasses
import errno
from collections.abc import Mapping

import pytest

from iovisor_ovn.vswitch.devices import LinkTable, NetDevices
from iovisor_ovn.vswitch.ethtool import Driver, LinkMode
from iovisor_ovn.vswitch.route_socket import DeviceRequestError
from iovisor_ovn.vswitch.rtnl import IFF_RUNNING, IFF_UP, Link, LinkStatistics


class FakeDevices(NetDevices):
    """Keeps links in a table and does to them what the kernel would; `orders` lists the changes."""

    def __init__(self) -> None:
        """Start with no device; ifindexes count from 1."""
        self._table = LinkTable()
        self._elsewhere: dict[int, Link] = {}
        self._next_index = 1
        self.orders: list[str] = []

    def plug(self, name: str, mac: str = "0a:00:00:00:00:01", mtu: int = 1500) -> Link:
        """Let a device appear, as a hypervisor does with a tap."""
        link = Link(name, self._index(), mac, mtu, IFF_UP | IFF_RUNNING, "tun", "", 0, None, True)
        self._table.put(link)
        return link

    def unplug(self, name: str) -> None:
        """Let a device vanish."""
        link = self._table.get(name)
        assert link is not None
        self._table.drop(link.ifindex)

    def move_away(self, name: str) -> None:
        """Move one end of a pair into another namespace."""
        link = self._table.get(name)
        assert link is not None
        other = self._table.get_index(link.peer_index)
        assert other is not None
        self._table.drop(link.ifindex)
        self._elsewhere[link.ifindex] = link
        self._table.put(dataclasses.replace(other, peer_netns=0))

    def change(self, name: str, flags: int) -> None:
        """Set a device's flags."""
        link = self._table.get(name)
        assert link is not None
        self._table.put(dataclasses.replace(link, flags=flags))

    def run(self) -> frozenset[str]:
        """Return the names that changed."""
        return self._table.take_changed()

    def statistics(self) -> Mapping[int, LinkStatistics]:
        """Return counters that are all the ifindex."""
        return {k.ifindex: LinkStatistics(*[k.ifindex] * 16) for k in self._table.links()}

    def driver(self, name: str) -> Driver:
        """Return a made-up driver."""
        return Driver(f"driver of {name}", "", "")

    def link_mode(self, name: str) -> LinkMode:  # noqa: ARG002  # all the same
        """Return a speed that is not known."""
        return LinkMode(None, None)

    def peer(self, link: Link) -> Link | None:
        """Return the other end, here or elsewhere."""
        if link.peer_netns is not None:
            return self._elsewhere.get(link.peer_index)
        return self._table.get_index(link.peer_index)

    def peer_statistics(self, link: Link) -> LinkStatistics | None:
        """Return counters that are all a thousand times the ifindex."""
        away = self._elsewhere.get(link.peer_index)
        return None if away is None else LinkStatistics(*[1000 * away.ifindex] * 16)

    def add_pair(self, name: str, endpoint: str, mac: str | None) -> None:
        """Make both ends."""
        self.orders.append(f"add {name}")
        if self.get(name) is not None or self.get(endpoint) is not None:
            raise DeviceRequestError(f"make device {name}", errno.EEXIST)
        one, two = self._index(), self._index()
        mac = mac or f"06:00:00:00:00:{one:02x}"
        self._table.put(Link(name, one, mac, 1500, 0, "veth", "", two, None, True))
        self._table.put(
            Link(endpoint, two, "06:ff:00:00:00:00", 65535, 0, "veth", "", one, None, True)
        )

    def make_endpoint(self, link: Link, alias: str) -> None:
        """Mark and switch on."""
        self._table.put(dataclasses.replace(link, alias=alias, flags=IFF_UP))

    def set_mac(self, link: Link, mac: str) -> None:
        """Note and change."""
        self.orders.append(f"mac {link.name} {mac}")
        self._table.put(dataclasses.replace(link, mac=mac))

    def set_mtu(self, link: Link, mtu_bytes: int) -> None:
        """Note and change; more than 9216 is refused."""
        self.orders.append(f"mtu {link.name} {mtu_bytes}")
        if mtu_bytes > 9216:
            raise DeviceRequestError(f"set the MTU of {link.name}", errno.EINVAL)
        self._table.put(dataclasses.replace(link, mtu=mtu_bytes))

    def remove(self, link: Link) -> None:
        """Note and remove both ends."""
        self.orders.append(f"remove {link.name}")
        self._table.drop(link.ifindex)
        self._table.drop(link.peer_index)

    def _index(self) -> int:
        self._next_index += 1
        return self._next_index - 1


@pytest.fixture
def devices() -> FakeDevices:
    """Return a machine without devices."""
    return FakeDevices()

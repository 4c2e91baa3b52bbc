# SPDX-License-Identifier: Apache-2.0
"""The network devices of the agent's own network namespace, followed as they change.

`NetDevices.run` reads the kernel's notifications and returns the names whose device is not what it
was; between two calls the picture stands still.  Devices are found by name or by ifindex; one that
was removed and made again has the same name and another ifindex.  When the kernel had to drop
notifications, all links are listed again and compared.

    devices = NetDevices()
    devices.run()                     # frozenset({"lo", "eth0", ...})
    devices.get("eth0")               # Link(name="eth0", ifindex=2, ...)
"""

import errno
import socket
from collections.abc import Iterable, Mapping

from iovisor_ovn.vswitch import ethtool, rtnl
from iovisor_ovn.vswitch.route_socket import DeviceRequestError, LinkEvents, RouteRequests
from iovisor_ovn.vswitch.rtnl import Link, LinkStatistics

__all__ = ["LinkTable", "NetDevices"]

_ENDPOINT_MTU_BYTES = 65535  # an end of a pair refuses frames longer than its own MTU
_ADDRESS_MODE_NONE = 1


class LinkTable:
    """Links by ifindex and by name, and the names that changed; knows no sockets."""

    def __init__(self) -> None:
        """Start empty."""
        self._by_index: dict[int, Link] = {}
        self._by_name: dict[str, Link] = {}
        self._changed: set[str] = set()

    def get(self, name: str) -> Link | None:
        """Return the device of that name."""
        return self._by_name.get(name)

    def get_index(self, ifindex: int) -> Link | None:
        """Return the device of that ifindex."""
        return self._by_index.get(ifindex)

    def links(self) -> Iterable[Link]:
        """Return all devices."""
        return self._by_index.values()

    def put(self, link: Link) -> None:
        """Note what a device is now; a rename counts as a change of both names."""
        known = self._by_index.get(link.ifindex)
        if known == link:
            return
        if known is not None and known.name != link.name:
            self._forget_name(known)
        self._by_index[link.ifindex] = link
        self._by_name[link.name] = link
        self._changed.add(link.name)

    def drop(self, ifindex: int) -> None:
        """Note that a device is gone."""
        known = self._by_index.pop(ifindex, None)
        if known is not None:
            self._forget_name(known)

    def replace(self, links: Iterable[Link]) -> None:
        """Take a whole listing: what is not in it is gone."""
        listed = list(links)
        for ifindex in self._by_index.keys() - {link.ifindex for link in listed}:
            self.drop(ifindex)
        for link in listed:
            self.put(link)

    @property
    def has_changes(self) -> bool:
        """Whether `take_changed` would return any name."""
        return bool(self._changed)

    def take_changed(self) -> frozenset[str]:
        """Return the names that changed since the last call."""
        changed = frozenset(self._changed)
        self._changed.clear()
        return changed

    def _forget_name(self, link: Link) -> None:
        self._changed.add(link.name)
        # Another device may have taken the name before the news of the old one's end was read.
        if self._by_name.get(link.name) is link:
            del self._by_name[link.name]


class NetDevices:
    """Links, their counters and drivers, and the few changes that a switch makes to devices.

    Every method that changes something raises DeviceError when the kernel refuses, and has the
    picture up to date when it returns.
    """

    def __init__(self) -> None:
        """Open the sockets in the network namespace of the calling thread, and list the links."""
        self._events = LinkEvents()  # before the listing, so that nothing falls between
        self._requests = RouteRequests()
        self._ioctl = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._table = LinkTable()
        self._table.replace(self._list())

    def close(self) -> None:
        """Close the sockets; devices stay."""
        self._events.close()
        self._requests.close()
        self._ioctl.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `run` has something to do."""
        return self._events.fileno()

    @property
    def has_changes(self) -> bool:
        """Whether changes have been read that `run` has not returned yet."""
        return self._table.has_changes

    def run(self) -> frozenset[str]:
        """Read the notifications; return the names whose device changed, appeared or went."""
        self._drain()
        return self._table.take_changed()

    def get(self, name: str) -> Link | None:
        """Return the device of that name."""
        return self._table.get(name)

    def get_index(self, ifindex: int) -> Link | None:
        """Return the device of that ifindex."""
        return self._table.get_index(ifindex)

    def links(self) -> Iterable[Link]:
        """Return all devices."""
        return self._table.links()

    def statistics(self) -> Mapping[int, LinkStatistics]:
        """Return the counters of all devices by ifindex, in one listing."""
        body = rtnl.statistics_body()
        payloads = self._requests.dump("read the link counters", rtnl.RTM_GETSTATS, body)
        return dict(filter(None, map(rtnl.parse_statistics, payloads)))

    def driver(self, name: str) -> ethtool.Driver:
        """Return the driver of a device, empty texts when it has none."""
        return ethtool.read_driver(self._ioctl, name)

    def link_mode(self, name: str) -> ethtool.LinkMode:
        """Return speed and duplex of a device, None for what is not known."""
        return ethtool.read_link_mode(self._ioctl, name)

    def peer(self, link: Link) -> Link | None:
        """Return the other end of a pair, wherever it is; None when it cannot be seen.

        For a peer in another namespace this asks the kernel each time: no notification of its
        changes comes here.
        """
        if link.peer_netns is None:
            return self._table.get_index(link.peer_index)
        payload = self._ask_elsewhere(link, link.peer_netns)
        return None if payload is None else rtnl.parse_link(payload)

    def peer_statistics(self, link: Link) -> LinkStatistics | None:
        """Return the counters of a peer in another namespace; None without one, or out of sight."""
        if link.peer_netns is None:
            return None
        payload = self._ask_elsewhere(link, link.peer_netns)
        return None if payload is None else rtnl.parse_link_statistics(payload)

    def add_pair(self, name: str, endpoint: str, mac: str | None) -> None:
        """Make a veth pair: ``name`` as made by default and down, ``endpoint`` for the switch.

        The endpoint takes frames of any length, since the length that counts is the MTU of the
        named end.
        """
        peer = rtnl.link_body() + rtnl.text_attribute(rtnl.IFLA_IFNAME, name)
        if mac is not None:
            peer += rtnl.attribute(rtnl.IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
        data = rtnl.attribute(rtnl.VETH_INFO_PEER, peer)
        info = rtnl.text_attribute(rtnl.IFLA_INFO_KIND, "veth")
        info += rtnl.attribute(rtnl.IFLA_INFO_DATA, data)
        body = rtnl.link_body() + rtnl.text_attribute(rtnl.IFLA_IFNAME, endpoint)
        body += rtnl.number_attribute(rtnl.IFLA_MTU, _ENDPOINT_MTU_BYTES)
        body += rtnl.attribute(rtnl.IFLA_LINKINFO, info)
        flags = rtnl.NLM_F_CREATE_EXCLUSIVE
        self._requests.order(f"make device {name}", rtnl.RTM_NEWLINK, body, flags)
        self._read(name)
        self._read(endpoint)

    def make_endpoint(self, link: Link, alias: str) -> None:
        """Mark a pair's switch end, keep the host's own protocols off it, and switch it on.

        No ARP and no IPv6 address of its own: the namespace's network stack must neither answer nor
        speak on a device whose frames belong to the switch.
        """
        what = f"set up device {link.name}"
        mode = rtnl.attribute(rtnl.IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDRESS_MODE_NONE]))
        silent = rtnl.link_body(link.ifindex)
        silent += rtnl.attribute(rtnl.IFLA_AF_SPEC, rtnl.attribute(socket.AF_INET6, mode))
        try:
            self._requests.order(what, rtnl.RTM_SETLINK, silent)
        except DeviceRequestError as error:
            if error.error_number != errno.EAFNOSUPPORT:  # a kernel without IPv6 is silent anyway
                raise
        marked = rtnl.link_body(link.ifindex, flags=rtnl.IFF_NOARP, change=rtnl.IFF_NOARP)
        marked += rtnl.attribute(rtnl.IFLA_IFALIAS, alias.encode())
        up = rtnl.link_body(link.ifindex, flags=rtnl.IFF_UP, change=rtnl.IFF_UP)
        for body in (marked, up):
            self._requests.order(what, rtnl.RTM_SETLINK, body)
        self._read(link.name)

    def set_mac(self, link: Link, mac: str) -> None:
        """Give a device another address; works while it is up."""
        body = rtnl.link_body(link.ifindex)
        body += rtnl.attribute(rtnl.IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
        self._requests.order(f"set the address of {link.name}", rtnl.RTM_SETLINK, body)
        self._read(link.name)

    def set_mtu(self, link: Link, mtu_bytes: int) -> None:
        """Give a device another MTU."""
        body = rtnl.link_body(link.ifindex) + rtnl.number_attribute(rtnl.IFLA_MTU, mtu_bytes)
        self._requests.order(f"set the MTU of {link.name}", rtnl.RTM_SETLINK, body)
        self._read(link.name)

    def set_promiscuous(self, link: Link, *, promiscuous: bool) -> None:
        """Let a device take frames for any MAC address, or its own only."""
        body = rtnl.link_body(
            link.ifindex, flags=rtnl.IFF_PROMISC if promiscuous else 0, change=rtnl.IFF_PROMISC
        )
        self._requests.order(f"set what {link.name} takes", rtnl.RTM_SETLINK, body)
        self._read(link.name)

    def remove(self, link: Link) -> None:
        """Remove a device (of a pair, both ends, wherever the other is)."""
        body = rtnl.link_body(link.ifindex)
        self._requests.order(f"remove device {link.name}", rtnl.RTM_DELLINK, body)
        self._table.drop(link.ifindex)
        if link.kind == "veth" and link.peer_netns is None:
            self._table.drop(link.peer_index)

    def _ask_elsewhere(self, link: Link, netns: int) -> bytes | None:
        body = rtnl.link_body(link.peer_index)
        body += rtnl.attribute(rtnl.IFLA_TARGET_NETNSID, rtnl.signed(netns))
        try:
            return self._requests.ask(f"read the peer of {link.name}", rtnl.RTM_GETLINK, body)
        except DeviceRequestError:
            return None  # it, or its namespace, went a moment ago: the news is on its way

    def _drain(self) -> None:
        arrived, complete = self._events.read()
        for message in arrived:
            self._take(message)
        if not complete:
            self._table.replace(self._list())

    def _take(self, message: rtnl.Message) -> None:
        if message.type == rtnl.RTM_NEWLINK:
            link = rtnl.parse_link(message.payload)
            if link is not None:
                self._table.put(link)
        elif message.type == rtnl.RTM_DELLINK:
            ifindex = rtnl.link_index(message.payload)
            self._table.drop(ifindex)
            self._read_widows(ifindex)

    def _read_widows(self, ifindex: int) -> None:
        """Read ends of pairs anew whose other end left: it may have gone to another namespace.

        The kernel does not tell that of the end that stays.
        """
        for link in list(self._table.links()):
            if link.kind == "veth" and link.peer_index == ifindex and link.peer_netns is None:
                body = rtnl.link_body(link.ifindex)
                try:
                    what = f"read device {link.name}"
                    payload = self._requests.ask(what, rtnl.RTM_GETLINK, body)
                except DeviceRequestError:
                    continue  # the whole pair went: the news is on its way
                fresh = rtnl.parse_link(payload)
                if fresh is not None:
                    self._table.put(fresh)

    def _list(self) -> list[Link]:
        body = rtnl.link_body()
        body += rtnl.number_attribute(rtnl.IFLA_EXT_MASK, rtnl.RTEXT_FILTER_SKIP_STATS)
        payloads = self._requests.dump("list the devices", rtnl.RTM_GETLINK, body)
        return list(filter(None, map(rtnl.parse_link, payloads)))

    def _read(self, name: str) -> None:
        """Read one device anew, so that the picture holds what was just changed.

        Older news first: the first notification of a new pair's end does not know the other end
        yet, and must not replace what is read here.
        """
        self._drain()
        body = rtnl.link_body() + rtnl.text_attribute(rtnl.IFLA_IFNAME, name)
        payload = self._requests.ask(f"read device {name}", rtnl.RTM_GETLINK, body)
        link = rtnl.parse_link(payload)
        if link is not None:
            self._table.put(link)

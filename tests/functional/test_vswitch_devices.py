# SPDX-License-Identifier: Apache-2.0
"""The picture of the devices against the kernel's own, in a namespace."""

import ctypes
import itertools
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from iovisor_ovn.demo import until
from iovisor_ovn.vswitch import Link, NetDevices

pytestmark = [
    pytest.mark.needs_netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and devices need root"),
]

_CLONE_NEWNET = 0x40000000
_LEAST_BUFFER_SIZE = 4096
_SO_MEMINFO = 55
_numbers = itertools.count()


class Place:
    """A namespace and the devices seen from it."""

    def __init__(self) -> None:
        """Make the namespace; the sockets are opened there by a thread that goes in and ends."""
        self.name = f"ivd{os.getpid()}x{next(_numbers)}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        made: list[NetDevices] = []

        def open_inside() -> None:
            with Path(f"/run/netns/{self.name}").open() as handle:
                libc = ctypes.CDLL(None, use_errno=True)
                assert libc.setns(handle.fileno(), _CLONE_NEWNET) == 0, os.strerror(
                    ctypes.get_errno()
                )
            made.append(NetDevices())

        thread = threading.Thread(target=open_inside)
        thread.start()
        thread.join()
        self.devices = made[0]

    def ip(self, *lines: str) -> None:
        """Run lines of ``ip`` commands in one process."""
        subprocess.run(
            ["ip", "-n", self.name, "-batch", "-"], input="\n".join(lines), text=True, check=True
        )

    def close(self) -> None:
        """Remove everything."""
        self.devices.close()
        subprocess.run(["ip", "netns", "del", self.name], check=True)


@pytest.fixture
def place() -> Iterator[Place]:
    """Return a namespace with its devices."""
    one = Place()
    yield one
    one.close()


def test_the_descriptor_wakes_for_a_change(place: Place) -> None:
    """What the poller waits on is readable once a device appears, and then no more."""
    place.devices.run()
    assert not select.select([place.devices], [], [], 0)[0]
    place.ip("tuntap add t0 mode tap")
    assert select.select([place.devices], [], [], 5)[0]
    assert place.devices.run() == {"t0"}
    assert not select.select([place.devices], [], [], 0)[0]


def test_lost_notifications_are_made_good(place: Place) -> None:
    """When the kernel drops notifications, the picture is that of a listing all the same."""
    events = place.devices._events._socket  # the buffer's size is no setting
    events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LEAST_BUFFER_SIZE)
    place.ip("tuntap add gone mode tap")
    place.devices.run()
    place.ip(
        "link del gone",
        *(f"link add name a{n} type veth peer name b{n}" for n in range(50)),
        "link set dev a7 mtu 1400",
    )
    memory = struct.unpack("=9I", events.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))
    assert memory[-1] > 0, "the kernel dropped nothing: this test shows nothing"
    changed = place.devices.run()
    assert {"gone", "a7", "b49"} <= changed
    assert place.devices.get("gone") is None
    assert len(list(place.devices.links())) == 101
    assert (link := place.devices.get("a7")) is not None
    assert link.mtu == 1400


def test_leaving_a_linux_bridge_is_not_a_removal(place: Place) -> None:
    """The kernel's RTM_DELLINK for a bridge's former port leaves the device in the picture."""
    place.ip(
        "link add name br type bridge",
        "tuntap add t0 mode tap",
        "link set dev t0 master br",
        "link set t0 nomaster",
    )
    place.devices.run()
    assert place.devices.get("t0") is not None


def test_counters_and_driver_are_the_devices(place: Place) -> None:
    """Counters come by ifindex; a tap's driver and speed are what the kernel says."""
    place.ip("tuntap add t0 mode tap")
    place.devices.run()
    link = place.devices.get("t0")
    assert link is not None
    assert place.devices.statistics()[link.ifindex].rx_packets == 0
    assert place.devices.driver("t0").name == "tun"
    assert place.devices.link_mode("t0").speed_bps == 10_000_000_000
    assert place.devices.link_mode("lo").speed_bps is None
    assert place.devices.driver("nosuch").name == ""


def test_the_counters_of_a_peer_elsewhere_are_seen(place: Place) -> None:
    """The kernel tells them by the id of the other namespace; a peer here has none to ask for."""
    away = Place()
    try:
        place.ip("link add name v0 type veth peer name p0", "link set dev v0 up")
        place.devices.run()
        here = place.devices.get("v0")
        assert here is not None
        assert place.devices.peer_statistics(here) is None
        place.ip(f"link set dev p0 netns {away.name}")
        away.ip("link set dev p0 up", "addr add 192.0.2.1/24 dev p0")
        place.ip("addr add 192.0.2.2/24 dev v0")
        words = ["ip", "netns", "exec", place.name, "ping", "-c1", "-W2", "-s1000", "192.0.2.1"]
        subprocess.run(words, check=True, capture_output=True)
        place.devices.run()
        link = place.devices.get("v0")
        assert link is not None
        counters = place.devices.peer_statistics(link)
        assert counters is not None
        assert counters.rx_bytes > 1000
        assert (peer := place.devices.peer(link)) is not None
        assert peer.name == "p0"
    finally:
        away.close()


def test_an_end_that_moves_away_is_noticed(place: Place) -> None:
    """However soon after it was made: the end that stays knows that its peer is elsewhere."""
    away = f"{place.name}w"
    subprocess.run(["ip", "netns", "add", away], check=True)
    try:
        for number in range(10):
            place.devices.add_pair(f"here{number}", f"ep{number}", None)
            place.ip(f"link set here{number} netns {away}")
            place.devices.run()
            end = place.devices.get(f"ep{number}")
            assert end is not None
            assert end.peer_netns is not None
    finally:
        subprocess.run(["ip", "netns", "del", away], check=True)


def test_an_endpoint_is_silent(place: Place) -> None:
    """The namespace's own stack gives the switch's end no address, and sends nothing from it."""
    place.devices.add_pair("i0", "iv-end", None)
    endpoint = place.devices.get("iv-end")
    assert endpoint is not None
    place.devices.make_endpoint(endpoint, "mine")
    place.ip("link set i0 up")

    def link_with_carrier() -> Link | None:
        place.devices.run()
        link = place.devices.get("iv-end")
        return link if link is not None and link.has_carrier else None

    link = until(link_with_carrier, "carrier of the endpoint")
    assert link.alias == "mine"
    shown = ["ip", "-n", place.name, "address", "show", "dev", "iv-end"]
    assert "inet" not in subprocess.run(shown, check=True, capture_output=True, text=True).stdout
    assert place.devices.statistics()[link.ifindex].tx_packets == 0


def test_a_frame_sent_by_the_host_arrives_at_the_endpoint(place: Place) -> None:
    """What a program on the endpoint's ingress would see is what the host sends, at full length."""
    place.devices.add_pair("i0", "iv-end", "02:00:00:00:00:01")
    endpoint = place.devices.get("iv-end")
    assert endpoint is not None
    place.devices.make_endpoint(endpoint, "mine")
    place.ip("link set i0 mtu 9000", "link set i0 up", "addr add 192.0.2.1/24 dev i0")
    place.ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev i0")
    place.devices.run()
    before = place.devices.statistics()[endpoint.ifindex].rx_bytes
    words = ["ip", "netns", "exec", place.name, "ping", "-c1", "-W0.1", "-s8900", "192.0.2.2"]
    subprocess.run(words, check=False, capture_output=True)
    after = place.devices.statistics()[endpoint.ifindex]
    assert after.rx_bytes - before >= 8900
    assert after.rx_dropped == 0

# SPDX-License-Identifier: Apache-2.0
"""Which devices are made to take all frames, and which are left as they were."""

from dataclasses import replace
from typing import cast

from iovisor_ovn.errors import DeviceError
from iovisor_ovn.standalone.promiscuity import Promiscuity
from iovisor_ovn.vswitch import Link, NetDevices
from iovisor_ovn.vswitch.rtnl import IFF_PROMISC

CARD = Link("eth0", 2, "02:00:00:00:00:01", 1500, 1, "", "", 0, None, is_ethernet=True)


class _Devices:
    def __init__(self, *links: Link) -> None:
        self.links = {link.name: link for link in links}
        self.refuses = False

    def get(self, name: str) -> Link | None:
        return self.links.get(name)

    def set_promiscuous(self, link: Link, *, promiscuous: bool) -> None:
        if self.refuses:
            raise DeviceError("no")
        flags = link.flags | IFF_PROMISC if promiscuous else link.flags & ~IFF_PROMISC
        self.links[link.name] = replace(link, flags=flags)

    def promiscuous(self) -> set[str]:
        return {name for name, link in self.links.items() if link.is_promiscuous}


def _on(devices: _Devices, *names: str) -> Promiscuity:
    return Promiscuity(cast("NetDevices", devices), names)


def test_cards_are_and_pairs_are_not() -> None:
    """A veth has no filter; what is not there is passed over."""
    devices = _Devices(CARD, replace(CARD, name="veth0", kind="veth"))
    promiscuity = _on(devices)
    assert promiscuity.follow(["eth0", "veth0", "eth9"])
    assert devices.promiscuous() == promiscuity.names == {"eth0"}
    assert not promiscuity.follow(["eth0", "veth0", "eth9"])


def test_what_was_so_before_stays_so() -> None:
    """Only what the chain has set does it take back."""
    others = replace(CARD, name="eth1", flags=1 | IFF_PROMISC)
    devices = _Devices(CARD, others)
    promiscuity = _on(devices)
    promiscuity.follow(["eth0", "eth1"])
    promiscuity.follow([])
    assert devices.promiscuous() == {"eth1"}
    assert not promiscuity.names


def test_the_next_process_knows_what_to_take_back() -> None:
    """By the names that it is given."""
    devices = _Devices(replace(CARD, flags=1 | IFF_PROMISC))
    _on(devices, "eth0").follow([])
    assert devices.promiscuous() == set()


def test_a_device_made_again_is_made_so_again() -> None:
    """Its name counts."""
    devices = _Devices(CARD)
    promiscuity = _on(devices)
    promiscuity.follow(["eth0"])
    devices.links["eth0"] = replace(CARD, ifindex=7)
    promiscuity.follow(["eth0"])
    assert devices.promiscuous() == {"eth0"}


def test_a_device_that_refuses_stops_nothing() -> None:
    """It is tried again with the next change."""
    devices = _Devices(CARD)
    devices.refuses = True
    promiscuity = _on(devices)
    promiscuity.follow(["eth0"])
    assert not promiscuity.names
    devices.refuses = False
    promiscuity.follow(["eth0"])
    assert promiscuity.names == {"eth0"}

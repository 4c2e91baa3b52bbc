# SPDX-License-Identifier: Apache-2.0
"""The device through which copies of packets come back to users' modules.

A program cannot duplicate a packet but by sending it: a copy that a module is to change is sent
to this device as if it had come in there, where the machine takes it up again.
"""

from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from iovisor_ovn.dataplane.bpffs import owner_number
from iovisor_ovn.errors import DeviceError

__all__ = ["device_name", "ensure_device", "remove_device"]


def device_name(pin_dir: Path) -> str:
    """Its name: one for each place of pins, as several agents may share a network namespace."""
    return f"iom{owner_number(pin_dir):08x}"


def ensure_device(name: str) -> int:
    """Make the device if it is not there, set it up; its ifindex. Raises DeviceError."""
    with IPRoute() as route:
        try:
            if not route.link_lookup(ifname=name):
                # The other end has no use; a pair is what each kernel of ours can make.
                route.link("add", ifname=name, kind="veth", peer=f"{name}p")
            (index,) = route.link_lookup(ifname=name)
            # Nobody is to be found there.
            no_ipv6 = Path("/proc/sys/net/ipv6/conf", name, "disable_ipv6")
            if no_ipv6.exists():
                no_ipv6.write_text("1")
            route.link("set", index=index, state="up")
        except (OSError, NetlinkError) as error:
            raise DeviceError(f"cannot make the device {name} for modules: {error}") from error
    return int(index)


def remove_device(name: str) -> None:
    """Remove the device if it is there."""
    with IPRoute() as route:
        for index in route.link_lookup(ifname=name):
            route.link("del", index=index)

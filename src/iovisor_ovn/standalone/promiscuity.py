# SPDX-License-Identifier: Apache-2.0
"""Network cards must take frames for MAC addresses that are not their own: somebody's behind them.

As a Linux bridge does with its ports. What was set is noted in the chain's state, so that it is
taken back by whoever takes the chain down.
"""

from collections.abc import Iterable

import ovs.vlog

from iovisor_ovn.errors import DeviceError
from iovisor_ovn.vswitch import Link, NetDevices

__all__ = ["Promiscuity"]

_log = ovs.vlog.Vlog("promiscuity")
#: Kinds of devices that look at no destination.
_WITHOUT_FILTER = frozenset({"veth", "tun"})


class Promiscuity:
    """Keeps a chain's devices promiscuous. ``names`` are those that were made so, and only they."""

    def __init__(self, devices: NetDevices, names: Iterable[str]) -> None:
        """Go on where an earlier process ended."""
        self._devices = devices
        self.names = set(names)

    def follow(self, wanted: Iterable[str]) -> bool:
        """Make these devices promiscuous and let go of others; whether ``names`` changed."""
        before = set(self.names)
        devices = set(wanted)
        for name in before - devices:
            self._set(name, promiscuous=False)
        for name in devices:
            self._set(name, promiscuous=True)
        return self.names != before

    def _set(self, name: str, *, promiscuous: bool) -> None:
        link = self._devices.get(name)
        try:
            if link is not None and _must_change(link, promiscuous=promiscuous):
                self._devices.set_promiscuous(link, promiscuous=promiscuous)
                if promiscuous:
                    self.names.add(name)
        except DeviceError as error:
            _log.warn(f"promiscuity_not_set device={name} reason={error}")
        if not promiscuous:
            self.names.discard(name)


def _must_change(link: Link, *, promiscuous: bool) -> bool:
    return link.kind not in _WITHOUT_FILTER and link.is_promiscuous != promiscuous

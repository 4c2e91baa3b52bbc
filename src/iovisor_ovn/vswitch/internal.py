# SPDX-License-Identifier: Apache-2.0
"""Devices of Interface type ``internal``: made by the agent, used by the host.

Open vSwitch's kernel module has a device kind for this; other kernels do not.  Of the kinds that
every kernel has, only a veth pair gives the host an ordinary device that can be moved into another
namespace, outlives the agent, and shows what the host sends to a tc program: the program sits on
the other end.  So one internal interface is one pair: the end with the interface's name is the
host's, the other, the *endpoint*, stays with the agent under a name derived from owner and
interface.

The endpoint's alias names interface and owner (the Open_vSwitch row's UUID), so that an agent finds
its devices again after a restart and removes only its own.  Removing the endpoint removes the pair,
wherever the named end is by then.  A pair in the way whose owner has no living agent (its database
was deleted, say) is removed too.
"""

import errno
import hashlib
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from iovisor_ovn.vswitch.devices import NetDevices
from iovisor_ovn.vswitch.presence import is_present
from iovisor_ovn.vswitch.route_socket import DeviceRequestError
from iovisor_ovn.vswitch.rtnl import Link

__all__ = ["InternalDevice", "InternalDevices", "endpoint_name"]

_NAME_LIMIT = 15  # IFNAMSIZ without its zero
_PREFIX = "iv-"
_ALIAS = "iovisor-ovn internal "


@dataclass(frozen=True, slots=True)
class InternalDevice:
    """Both ends of an internal interface; ``named`` is None when its namespace cannot be seen."""

    named: Link | None
    endpoint: Link

    @property
    def is_here(self) -> bool:
        """Whether the named end is in the agent's namespace, where it can be changed."""
        return self.endpoint.peer_netns is None


def endpoint_name(owner: str, name: str) -> str:
    """Return the endpoint's device name: a hash, as the interface's may fill all 15 places."""
    digest = hashlib.sha256(f"{owner} {name}".encode()).hexdigest()
    return (_PREFIX + digest)[:_NAME_LIMIT]


class InternalDevices:
    """The pairs of one owner."""

    def __init__(self, devices: NetDevices, owner: str) -> None:
        """``owner`` must be the same after a restart, and differ between agents of a machine."""
        self._devices = devices
        self._owner = owner

    def ensure(self, name: str, mac: str | None) -> InternalDevice:
        """Return the pair of an interface, made if need be (then with ``mac``).

        DeviceRequestError, worded as ovs-vswitchd does, when the name is taken by somebody else's
        device or the named end was renamed.
        """
        endpoint_text = endpoint_name(self._owner, name)
        endpoint = self._devices.get(endpoint_text)
        if endpoint is None:
            self._make(name, endpoint_text, mac)
            endpoint = self._devices.get(endpoint_text)
        if endpoint is not None and (endpoint.alias != self._alias(name) or not endpoint.is_up):
            self._devices.make_endpoint(endpoint, self._alias(name))
            endpoint = self._devices.get(endpoint_text)
        if endpoint is None:
            raise DeviceRequestError(f"could not open network device {name}", errno.ENODEV)
        named = self._devices.peer(endpoint)
        if endpoint.peer_netns is None and (named is None or named.name != name):
            raise DeviceRequestError(f"could not open network device {name}", errno.ENODEV)
        return InternalDevice(named, endpoint)

    def remove_except(self, wanted: AbstractSet[str]) -> frozenset[str]:
        """Remove this owner's pairs whose interface is not wanted; return their interfaces."""
        gone: set[str] = set()
        for link in list(self._devices.links()):
            name = self._interface_of(link)
            if name is not None and name not in wanted:
                self._devices.remove(link)
                gone.add(name)
        return frozenset(gone)

    def _make(self, name: str, endpoint: str, mac: str | None) -> None:
        what = f"could not add network device {name} to ofproto"
        self._remove_orphan(name)
        if self._devices.get(name) is not None:
            raise DeviceRequestError(what, errno.EEXIST)
        if not 0 < len(name.encode()) <= _NAME_LIMIT:
            raise DeviceRequestError(what, errno.EINVAL)
        try:
            self._devices.add_pair(name, endpoint, mac)
        except DeviceRequestError as error:
            raise DeviceRequestError(what, error.error_number) from error

    def _remove_orphan(self, name: str) -> None:
        """Remove the pair of that name whose owner has no agent: its database was made anew."""
        named = self._devices.get(name)
        endpoint = self._devices.peer(named) if named is not None and named.kind == "veth" else None
        start = f"{_ALIAS}{name} of "
        if endpoint is None or not endpoint.alias.startswith(start):
            return
        if not is_present(endpoint.alias[len(start) :]):
            self._devices.remove(endpoint)

    def _alias(self, name: str) -> str:
        return f"{_ALIAS}{name} of {self._owner}"

    def _interface_of(self, link: Link) -> str | None:
        end = f" of {self._owner}"
        if link.alias.startswith(_ALIAS) and link.alias.endswith(end):
            return link.alias[len(_ALIAS) : -len(end)]
        return None

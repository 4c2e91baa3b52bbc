# SPDX-License-Identifier: Apache-2.0
"""Pure rules of a bridge's ports: numbers, addresses, MTU, and what the database shows of a device.

All follow ovs-vswitchd.conf.db(5) (columns of Interface and Bridge) and vswitchd/bridge.c.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from iovisor_ovn.vswitch.ethtool import Driver, LinkMode
from iovisor_ovn.vswitch.rtnl import Link, LinkStatistics

__all__ = [
    "FAILED_COLUMNS",
    "LOCAL_PORT",
    "ColumnValue",
    "NumberWish",
    "PortNumbers",
    "bridge_mac",
    "datapath_id",
    "device_columns",
    "least_mtu",
    "statistics_column",
]

ColumnValue = str | int | bool | list[str] | list[int] | dict[str, str] | dict[str, int]

LOCAL_PORT = 65534  # OFPP_LOCAL
_GREATEST_PORT = 0xFEFF  # OFPP_MAX less one
_DEFAULT_MTU_BYTES = 1500

# What an interface shows whose device is not there: nothing, apart from port number and error.
FAILED_COLUMNS: Mapping[str, ColumnValue] = {
    "ofport": [-1],
    "ifindex": [],
    "mac_in_use": [],
    "mtu": [],
    "admin_state": [],
    "link_state": [],
    "link_speed": [],
    "duplex": [],
    "status": {},
    "statistics": {},
}

_STATISTICS_KEYS = {
    "rx_packets": "rx_packets",
    "tx_packets": "tx_packets",
    "rx_bytes": "rx_bytes",
    "tx_bytes": "tx_bytes",
    "rx_dropped": "rx_dropped",
    "tx_dropped": "tx_dropped",
    "rx_errors": "rx_errors",
    "tx_errors": "tx_errors",
    "rx_frame_errors": "rx_frame_err",
    "rx_over_errors": "rx_over_err",
    "rx_crc_errors": "rx_crc_err",
    "rx_missed_errors": "rx_missed_errors",
    "collisions": "collisions",
}


@dataclass(frozen=True, slots=True)
class NumberWish:
    """One interface that needs a number: the one asked for, and the one that it has or had."""

    name: str
    request: int | None
    current: int | None
    is_local: bool


class PortNumbers:
    """Gives the ports of one bridge their OpenFlow numbers.

    A number once given stays.  A free requested number is granted, a taken one is not taken away.
    Other numbers are given in rising order and start again at 1, so that a number just freed is not
    at once another port's.
    """

    def __init__(self) -> None:
        """Start below the first number."""
        self._last = 0

    def assign(self, wishes: Sequence[NumberWish]) -> dict[str, int]:
        """Return the number of each name, 1 to 65279, or 65534 for the local port."""
        given: dict[str, int] = {}
        taken: set[int] = set()

        def give(wish: NumberWish, number: int) -> None:
            given[wish.name] = number
            taken.add(number)

        for wish in wishes:
            if wish.is_local:
                give(wish, LOCAL_PORT)
            elif _is_usable(wish.current, taken) and wish.request in (None, wish.current):
                give(wish, wish.current)
        waiting = [wish for wish in wishes if wish.name not in given]
        held = {wish.current for wish in waiting if wish.current is not None}
        for wish in waiting:
            # A number that another waiting port still holds is not free for a request.
            others = held - {wish.current}
            if _is_usable(wish.request, taken | others):
                give(wish, wish.request)
            elif _is_usable(wish.current, taken):
                give(wish, wish.current)
        self._last = self._last or max(taken - {LOCAL_PORT}, default=0)  # go on where it stopped
        for wish in waiting:
            if wish.name not in given:
                give(wish, self._next(taken))
        return given

    def _next(self, taken: set[int]) -> int:
        for step in range(_GREATEST_PORT):
            number = (self._last + step) % _GREATEST_PORT + 1
            if number not in taken:
                self._last = number
                return number
        raise OverflowError("all port numbers of a bridge are in use")


def _is_usable(number: int | None, taken: set[int]) -> TypeGuard[int]:
    return number is not None and 0 < number <= _GREATEST_PORT and number not in taken


def bridge_mac(configured: str | None, port_macs: Iterable[str]) -> str | None:
    """Return the address of a bridge's local device: as configured, else the least of its ports.

    None when there is neither: the device then keeps the one that it has.
    """
    return configured or min(port_macs, default=None)


def datapath_id(configured: str | None, mac: str | None) -> str | None:
    """Return a bridge's 16 hex digits: as configured, else its address behind zeros."""
    if configured is not None:
        return configured
    return None if mac is None else mac.replace(":", "").rjust(16, "0")


def least_mtu(mtus_bytes: Iterable[int]) -> int:
    """Return the MTU for internal devices that ask for none: the least of the bridge's others."""
    return min(mtus_bytes, default=_DEFAULT_MTU_BYTES)


def device_columns(
    shown: Link | None, hook: Link, driver: Driver, mode: LinkMode
) -> dict[str, ColumnValue]:
    """Return the columns of an interface that works, except ofport, statistics and link_resets.

    ``shown`` is the device with the interface's name, ``hook`` the one that the data plane uses;
    they differ for internal interfaces, and ``shown`` is None when it is out of sight.
    """
    state = shown or hook
    status = {
        "driver_name": driver.name,
        "driver_version": driver.version,
        "firmware_version": driver.firmware,
    }
    return {
        "error": [],
        "ifindex": [hook.peer_index if shown is None else shown.ifindex],
        "mac_in_use": [shown.mac] if shown is not None else [],
        "mtu": [shown.mtu] if shown is not None else [],
        "admin_state": ["up" if state.is_up else "down"],
        "link_state": ["up" if state.has_carrier else "down"],
        "link_speed": [mode.speed_bps] if mode.speed_bps is not None else [],
        "duplex": [mode.duplex] if mode.duplex is not None else [],
        # As vswitchd: a driver's text counts as it is, also when empty.
        "status": status if driver.name else {},
    }


def statistics_column(counters: LinkStatistics) -> dict[str, int]:
    """Return the statistics column.

    Receive and transmit are the switch's: what a virtual machine sends is received.  A tap's
    counters and those of a veth's host end count that way.
    """
    return {key: getattr(counters, name) for name, key in _STATISTICS_KEYS.items()}

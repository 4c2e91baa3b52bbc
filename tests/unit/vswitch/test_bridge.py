# SPDX-License-Identifier: Apache-2.0
"""What a bridge makes of its rows and of the machine's devices."""

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from iovisor_ovn.vswitch.bridge import BridgePorts, BridgeState, FailedPort, OpenPort
from iovisor_ovn.vswitch.interfaces import local_interface
from iovisor_ovn.vswitch.internal import InternalDevices, endpoint_name
from iovisor_ovn.vswitch.presence import Presence
from iovisor_ovn.vswitch.route_socket import DeviceRequestError
from iovisor_ovn.vswitch.rows import Bridge, BridgeRow, InterfaceRow
from iovisor_ovn.vswitch.rtnl import IFF_UP

BRIDGE_UUID = uuid.uuid4()
Reconcile = Callable[..., BridgeState]


def row(name: str, kind: str = "", **columns: Any) -> InterfaceRow:
    """Return an Interface row; columns that are not given are empty."""
    empty: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(InterfaceRow))
    fixed = {"uuid": uuid.uuid5(BRIDGE_UUID, name), "name": name, "type": kind, "options": {}}
    return InterfaceRow(**{**empty, **fixed, **columns})


@pytest.fixture
def reconcile(devices: Any) -> Reconcile:
    """Return a function that reconciles br-int with rows."""
    ports = BridgePorts("br-int", devices, InternalDevices(devices, "owner"))

    def call(*rows: InterfaceRow, mac: str | None = None) -> BridgeState:
        return ports.reconcile(Bridge(BridgeRow(BRIDGE_UUID, "br-int", (), mac, None), rows, {}))

    return call


def by_name(state: BridgeState) -> dict[str, OpenPort | FailedPort]:
    """Return the ports of a state by their names."""
    return {port.row.name: port for port in state.ports}


def opened(state: BridgeState, name: str) -> OpenPort:
    """Return a port that must have been opened."""
    port = by_name(state)[name]
    assert isinstance(port, OpenPort)
    return port


def test_a_missing_device_is_an_error_of_its_own_port(devices: Any, reconcile: Reconcile) -> None:
    """The text is vswitchd's, and the other port works."""
    devices.plug("tap0")
    state = reconcile(row("tap0"), row("tap1"))
    assert opened(state, "tap0").ofport == 1
    failed = by_name(state)["tap1"]
    assert isinstance(failed, FailedPort)
    assert failed.error == "could not open network device tap1 (No such device)"


def test_a_device_that_comes_back_has_its_number_again(devices: Any, reconcile: Reconcile) -> None:
    """Unplugged and plugged under a new ifindex, the port is the same to the outside."""
    devices.plug("tap0")
    devices.plug("tap1")
    rows = row("tap0"), row("tap1")
    before = opened(reconcile(*rows), "tap1")
    devices.unplug("tap1")
    assert isinstance(by_name(reconcile(*rows))["tap1"], FailedPort)
    devices.plug("tap1")
    after = opened(reconcile(*rows), "tap1")
    assert after.ofport == before.ofport
    assert after.hook != before.hook


def test_an_internal_interface_is_a_pair(devices: Any, reconcile: Reconcile) -> None:
    """The named end is shown, the endpoint is hooked, the address is the row's."""
    state = reconcile(row("dhcp0", "internal", mac="02:00:00:00:00:09", iface_id="p"))
    port = opened(state, "dhcp0")
    assert port.shown is not None
    assert port.shown.name == "dhcp0"
    assert port.shown.mac == "02:00:00:00:00:09"
    found = local_interface(port)
    assert found is not None
    assert found.ifindex == devices.get(endpoint_name("owner", "dhcp0")).ifindex
    assert found.kind == "internal"
    assert (found.mac, found.mtu, found.peer_elsewhere) == ("02:00:00:00:00:09", 1500, False)


def test_an_internal_interface_in_another_namespace_still_works(
    devices: Any, reconcile: Reconcile
) -> None:
    """Moved, it is reached through its endpoint, and nothing tries to change it."""
    dhcp = row("dhcp0", "internal")
    reconcile(dhcp)
    devices.move_away("dhcp0")
    devices.orders.clear()
    found = local_interface(opened(reconcile(dhcp), "dhcp0"))
    assert found is not None
    assert found.peer_elsewhere
    assert devices.orders == []


def test_a_name_that_somebody_else_has_is_not_taken(devices: Any, reconcile: Reconcile) -> None:
    """An existing device is not an internal one; the error says so."""
    devices.plug("dhcp0")
    failed = by_name(reconcile(row("dhcp0", "internal")))["dhcp0"]
    assert isinstance(failed, FailedPort)
    assert failed.error == "could not add network device dhcp0 to ofproto (File exists)"


def test_an_internal_device_that_was_deleted_is_made_again(
    devices: Any, reconcile: Reconcile
) -> None:
    """Deleting the host's end (or its namespace) takes both ends; the row is still there."""
    dhcp = row("dhcp0", "internal")
    reconcile(dhcp)
    devices.remove(devices.get("dhcp0"))
    assert opened(reconcile(dhcp), "dhcp0").shown is not None


def test_a_bridge_has_its_own_device_without_a_row(devices: Any, reconcile: Reconcile) -> None:
    """A Bridge row alone makes the device of that name."""
    state = reconcile()
    assert devices.get("br-int") is not None
    assert state.ports == ()
    assert state.mac == devices.get("br-int").mac


def test_the_bridge_takes_the_least_address_of_its_ports(
    devices: Any, reconcile: Reconcile
) -> None:
    """Internal interfaces do not count; a configured address wins."""
    devices.plug("tap0", mac="0a:00:00:00:00:02")
    devices.plug("tap1", mac="0a:00:00:00:00:01")
    rows = (
        row("br-int", "internal"),
        row("tap0"),
        row("tap1"),
        row("i", "internal", mac="02:" * 5 + "02"),
    )
    assert reconcile(*rows).mac == "0a:00:00:00:00:01"
    assert opened(reconcile(*rows), "br-int").ofport == 65534
    assert reconcile(*rows, mac="06:00:00:00:00:07").mac == "06:00:00:00:00:07"


def test_internal_devices_follow_the_bridges_mtu(devices: Any, reconcile: Reconcile) -> None:
    """The least of the others is the limit; a request stands; a smaller choice is respected."""
    devices.plug("tap0", mtu=1442)
    rows = (
        row("tap0"),
        row("follows", "internal"),
        row("asks", "internal", mtu_request=1300),
    )
    state = reconcile(*rows)
    shown = [opened(state, name).shown for name in ("follows", "asks")]
    assert [link.mtu for link in shown if link is not None] == [1442, 1300]
    devices.set_mtu(devices.get("follows"), 1400)
    port = opened(reconcile(*rows), "follows")
    assert port.shown is not None
    assert port.shown.mtu == 1400


def test_a_refused_mtu_leaves_the_port_working(devices: Any, reconcile: Reconcile) -> None:
    """A request that the device cannot meet is no reason to lose the port."""
    devices.plug("tap0")
    port = opened(reconcile(row("tap0", mtu_request=65000)), "tap0")
    assert port.shown is not None
    assert port.shown.mtu == 1500


def test_a_second_look_orders_nothing(devices: Any, reconcile: Reconcile) -> None:
    """What is as it should be is left alone."""
    devices.plug("tap0", mtu=1442)
    rows = row("br-int", "internal"), row("tap0"), row("i", "internal", mac="02:00:00:00:00:01")
    reconcile(*rows)
    devices.orders.clear()
    reconcile(*rows)
    assert devices.orders == []


@pytest.mark.parametrize(
    ("port", "error"),
    [
        (row("p", "patch"), "p: patch type requires valid 'peer' argument"),
        (
            row("p", "dpdk"),
            "could not open network device p (Address family not supported by protocol)",
        ),
        (row("g", "geneve"), "g: no geneve interfaces: tunnels follow the Southbound database"),
        (
            row("a-name-of-20-letters", "internal"),
            "could not add network device a-name-of-20-letters to ofproto (Invalid argument)",
        ),
    ],
)
def test_types_that_cannot_be(reconcile: Reconcile, port: InterfaceRow, error: str) -> None:
    """Each interface that is not offered says why."""
    failed = by_name(reconcile(port))[port.name]
    assert isinstance(failed, FailedPort)
    assert failed.error == error


def test_a_patch_has_a_number_and_no_device(reconcile: Reconcile) -> None:
    """It is open, yet nothing that frames could be redirected to."""
    port = opened(reconcile(row("p", "patch", options={"peer": "q"})), "p")
    assert port.ofport == 1
    assert local_interface(port) is None


def test_only_unwanted_pairs_of_the_same_owner_are_removed(devices: Any) -> None:
    """Another database's devices, and everybody else's, stay."""
    mine, other = InternalDevices(devices, "mine"), InternalDevices(devices, "other")
    for owner, name in ((mine, "a"), (mine, "b"), (other, "c")):
        owner.ensure(name, None)
    devices.plug("d")
    assert mine.remove_except({"a"}) == {"b"}
    assert [n for n in "abcd" if devices.get(n) is not None] == ["a", "c", "d"]


def test_a_pair_in_the_way_is_removed_only_without_its_owner(devices: Any) -> None:
    """While the other owner's agent lives the name is taken; afterwards it is free."""
    name = f"other-{uuid.uuid4()}"
    presence = Presence(name)
    theirs = InternalDevices(devices, name).ensure("a", None)
    mine = InternalDevices(devices, "mine")
    with pytest.raises(DeviceRequestError, match="File exists"):
        mine.ensure("a", None)
    presence.end()
    assert mine.ensure("a", None).endpoint.ifindex != theirs.endpoint.ifindex
    assert devices.get(theirs.endpoint.name) is None


def test_a_half_made_pair_is_finished(devices: Any) -> None:
    """An agent that died between making and marking finds its pair by the derived name."""
    internal = InternalDevices(devices, "mine")
    devices.add_pair("a", endpoint_name("mine", "a"), None)
    device = internal.ensure("a", None)
    assert device.endpoint.alias == "iovisor-ovn internal a of mine"
    assert device.endpoint.flags & IFF_UP

# SPDX-License-Identifier: Apache-2.0
"""The rules of port numbers, addresses and columns."""

import pytest

from iovisor_ovn.vswitch.ethtool import Driver, LinkMode
from iovisor_ovn.vswitch.ports import (
    NumberWish,
    PortNumbers,
    bridge_mac,
    datapath_id,
    device_columns,
    least_mtu,
    statistics_column,
)
from iovisor_ovn.vswitch.rtnl import IFF_RUNNING, IFF_UP, Link, LinkStatistics

VETH = Link("v", 4, "02:00:00:00:00:01", 1442, IFF_UP | IFF_RUNNING, "veth", "", 5, None, True)


def wish(name: str, request: int | None = None, current: int | None = None) -> NumberWish:
    """Return the wish of a port that is not the local one."""
    return NumberWish(name, request, current, is_local=False)


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        pytest.param([wish("a"), wish("b")], {"a": 1, "b": 2}, id="rising"),
        pytest.param([wish("a", current=7), wish("b")], {"a": 7, "b": 8}, id="kept"),
        pytest.param([wish("a", request=9)], {"a": 9}, id="request granted"),
        pytest.param([wish("a", request=9, current=3)], {"a": 9}, id="request moves a port"),
        pytest.param(
            [wish("a", request=3), wish("b", current=3)], {"a": 4, "b": 3}, id="taken stays taken"
        ),
        pytest.param(
            [wish("a", request=3, current=5), wish("b", request=5, current=3)],
            {"a": 5, "b": 3},
            id="no exchange",
        ),
        pytest.param(
            [wish("a", current=3), wish("b", current=3)], {"a": 3, "b": 4}, id="twice the same"
        ),
        pytest.param([wish("a", current=-1)], {"a": 1}, id="failed before"),
        pytest.param([wish("a", current=65534)], {"a": 1}, id="was the local port"),
        pytest.param([wish("a", current=65279), wish("b")], {"a": 65279, "b": 1}, id="wraps"),
        pytest.param(
            [NumberWish("br", 3, 1, is_local=True), wish("a", current=1)],
            {"br": 65534, "a": 1},
            id="local",
        ),
    ],
)
def test_numbers(wishes: list[NumberWish], expected: dict[str, int]) -> None:
    """Numbers are kept, requests granted when free, and no number is given twice."""
    assert PortNumbers().assign(wishes) == expected


def test_a_freed_number_is_not_given_again_at_once() -> None:
    """Flows of a port that went must not meet another port under the same number."""
    numbers = PortNumbers()
    assert numbers.assign([wish("a"), wish("b")]) == {"a": 1, "b": 2}
    assert numbers.assign([wish("a", current=1), wish("c")]) == {"a": 1, "c": 3}


def test_the_local_address_is_the_configured_or_the_least() -> None:
    """other_config:hwaddr wins over the ports; without either there is no opinion."""
    ports = ["0a:00:00:00:00:02", "02:00:00:00:00:03"]
    assert bridge_mac("06:00:00:00:00:01", ports) == "06:00:00:00:00:01"
    assert bridge_mac(None, ports) == "02:00:00:00:00:03"
    assert bridge_mac(None, []) is None


def test_a_datapath_id_is_the_configured_or_made_of_the_address() -> None:
    """Sixteen hex digits either way."""
    assert datapath_id(None, "02:00:00:00:00:0a") == "000002000000000a"
    assert datapath_id("00000000000000ff", "02:00:00:00:00:0a") == "00000000000000ff"
    assert datapath_id(None, None) is None


def test_internal_devices_follow_the_least_mtu() -> None:
    """A bridge without other ports has the Ethernet default."""
    assert least_mtu([9000, 1442]) == 1442
    assert least_mtu([]) == 1500


def test_a_working_device_shows_its_state() -> None:
    """Each column as ovs-vswitchd writes it; speed in bits a second."""
    columns = device_columns(
        VETH, VETH, Driver("veth", "1.0", ""), LinkMode(10_000_000_000, "full")
    )
    assert columns == {
        "error": [],
        "ifindex": [4],
        "mac_in_use": ["02:00:00:00:00:01"],
        "mtu": [1442],
        "admin_state": ["up"],
        "link_state": ["up"],
        "link_speed": [10_000_000_000],
        "duplex": ["full"],
        "status": {"driver_name": "veth", "driver_version": "1.0", "firmware_version": ""},
    }


def test_a_device_out_of_sight_shows_only_what_its_endpoint_tells() -> None:
    """Address and MTU of a device that cannot be read are left empty, not guessed."""
    columns = device_columns(None, VETH, Driver("", "", ""), LinkMode(None, None))
    assert columns["ifindex"] == [5]
    assert columns["mac_in_use"] == []
    assert columns["mtu"] == []
    assert columns["link_speed"] == []
    assert columns["status"] == {}


def test_counters_have_the_names_of_the_manual() -> None:
    """The kernel's *_errors of three counters are *_err in the database."""
    column = statistics_column(LinkStatistics(*range(16)))
    assert column == {
        "rx_packets": 0,
        "tx_packets": 1,
        "rx_bytes": 2,
        "tx_bytes": 3,
        "rx_errors": 4,
        "tx_errors": 5,
        "rx_dropped": 6,
        "tx_dropped": 7,
        "collisions": 9,
        "rx_over_err": 11,
        "rx_crc_err": 12,
        "rx_frame_err": 13,
        "rx_missed_errors": 15,
    }

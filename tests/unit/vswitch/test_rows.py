# SPDX-License-Identifier: Apache-2.0
"""Rows of the database as values, malformed ones included."""

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from iovisor_ovn.vswitch.rows import (
    COLUMNS,
    CONFIG_COLUMNS,
    read_bridge,
    read_interface,
    read_port,
    read_root,
    valid_mac,
)


def row(**columns: Any) -> SimpleNamespace:
    """Return a row object with a UUID."""
    return SimpleNamespace(uuid=uuid.uuid4(), **columns)


def root(other_config: dict[str, str], external_ids: dict[str, str]) -> SimpleNamespace:
    """Return a row of table Open_vSwitch."""
    return row(
        next_cfg=4, other_config=other_config, external_ids=external_ids, system_type=["debian"]
    )


def interface(**columns: Any) -> SimpleNamespace:
    """Return a row of table Interface as the ovs package shows an untouched one."""
    empty: dict[str, Any] = {name: [] for name in COLUMNS["Interface"]}
    return row(**{**empty, "name": "v", "type": "", "options": {}, "external_ids": {}, **columns})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 5000), ("7000", 7000), ("1", 5000), ("-7000", 5000), ("soon", 5000), ("²", 5000)],
)
def test_the_interval_of_counters_is_at_least_five_seconds(text: str, expected: int) -> None:
    """Anything else than a larger number means the default."""
    assert read_root(root({"stats-update-interval": text}, {})).stats_interval_ms == expected


def test_the_integration_bridge_is_the_chassis_own_setting_first() -> None:
    """ovn-bridge-CHASSIS, then ovn-bridge, then br-int."""
    ids = {"system-id": "hv", "ovn-bridge": "br-all", "ovn-bridge-hv": "br-hv"}
    assert read_root(root({}, ids)).integration_bridge == "br-hv"
    assert read_root(root({}, {"ovn-bridge": "br-all"})).integration_bridge == "br-all"
    assert read_root(root({}, {})).integration_bridge == "br-int"


def test_an_untouched_interface_asks_for_nothing() -> None:
    """Empty optional columns are None."""
    read = read_interface(interface())
    assert (read.mac, read.mtu_request, read.ofport_request, read.ofport) == (None,) * 4
    assert (read.iface_id, read.iface_id_ver, read.encap_ip) == (None,) * 3


def test_the_ids_of_an_interface_are_read() -> None:
    """What binding and encapsulation need is among the external ids."""
    ids = {"iface-id": "lp", "iface-id-ver": "3", "encap-ip": "192.0.2.1", "vm-id": "x"}
    read = read_interface(interface(external_ids=ids, ofport=[7], mtu_request=[1400]))
    assert (read.iface_id, read.iface_id_ver, read.encap_ip) == ("lp", "3", "192.0.2.1")
    assert (read.ofport, read.mtu_request) == (7, 1400)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("02:00:00:00:00:0A", "02:00:00:00:00:0a"),
        ("03:00:00:00:00:0a", None),
        ("00:00:00:00:00:00", None),
        ("02:00:00:00:00", None),
        ("02-00-00-00-00-0a", None),
        ("", None),
        (None, None),
    ],
)
def test_only_unicast_addresses_count(text: str | None, expected: str | None) -> None:
    """A multicast, zero or broken address is as good as none."""
    assert valid_mac(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0x1F", "000000000000001f"),
        ("00000000000000ff", "00000000000000ff"),
        ("0", None),
        ("11112222333344445", None),
        ("br", None),
    ],
)
def test_a_configured_datapath_id_is_made_16_digits(text: str, expected: str | None) -> None:
    """Zero, too long and not hexadecimal ones do not count."""
    read = read_bridge(row(name="br", ports=[], other_config={"datapath-id": text}))
    assert read.datapath_id == expected


def test_references_to_rows_that_are_not_there_are_left_out() -> None:
    """A reference whose row has not come yet is shown as None by the ovs package."""
    one = row()
    assert read_port(row(interfaces=[None, one], mac=[])).interfaces == (one.uuid,)


def test_every_wish_column_is_registered() -> None:
    """What is looked at for changes must be monitored."""
    for table, columns in CONFIG_COLUMNS.items():
        assert columns <= set(COLUMNS[table])

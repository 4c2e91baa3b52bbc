# SPDX-License-Identifier: Apache-2.0
"""What becomes of a chain whose devices the host keeps using."""

from iovisor_ovn.config.topology import (
    ExternalInterface,
    ForwardingEntry,
    Module,
    Null,
    Place,
    Switch,
    Topology,
)
from iovisor_ovn.modules import emit
from iovisor_ovn.modules.emission import FLOOD
from iovisor_ovn.standalone.hosts import with_hosts
from iovisor_ovn.standalone.rows import Keys, chain_rows

_NOWHERE = Place(0, 0)
_MAC = "02:00:00:00:00:01"
_OTHER = ForwardingEntry("vm", "02:00:00:00:00:03")


def _topology(*table: ForwardingEntry, host: bool = True) -> Topology:
    return Topology(
        (
            Module("sw", Switch(table), ("up", "vm"), _NOWHERE),
            Module("end", Null(), ("eth1",), _NOWHERE),
        ),
        (),
        (
            ExternalInterface("sw", "up", "eth0", host, _NOWHERE),
            ExternalInterface("sw", "vm", "vm", False, _NOWHERE),
            ExternalInterface("end", "eth1", "eth1", False, _NOWHERE),
        ),
        "test",
    )


def _ports(topology: Topology) -> dict[str, object]:
    rows = chain_rows(topology, emit(topology), Keys())
    return {str(row.logical_port): row.type for row in rows.values() if row.table == "Port_Binding"}


def test_the_host_is_a_port_with_an_address() -> None:
    """After the others of its module; the rest stays."""
    whole = with_hosts(_topology(_OTHER), {"eth0": _MAC})
    switch, end = whole.modules
    assert switch.ports == ("up", "vm", "up/host")
    assert switch.config == Switch((_OTHER, ForwardingEntry("up/host", _MAC)))
    assert end == _topology().modules[1]
    assert _ports(whole) == {
        "sw:up": "wire", "sw:vm": "", "sw:up/host": "host", "end:eth1": ""
    }  # fmt: skip
    assert emit(whole)["sw"].groups[FLOOD] == switch.ports


def test_without_such_devices_nothing_changes() -> None:
    """Ports have no types either."""
    plain = _topology(_OTHER, host=False)
    assert with_hosts(plain, {}) == plain
    assert set(_ports(plain).values()) == {""}


def test_device_that_is_away_has_no_address() -> None:
    """The port stays, so that its number does."""
    switch = with_hosts(_topology(), {}).modules[0]
    assert (switch.ports, switch.config) == (("up", "vm", "up/host"), Switch())


def test_the_hosts_address_is_the_hosts() -> None:
    """Whatever the file says of it."""
    table = (_OTHER, ForwardingEntry("vm", _MAC))
    switch = with_hosts(_topology(*table), {"eth0": _MAC}).modules[0]
    assert switch.config == Switch((_OTHER, ForwardingEntry("up/host", _MAC)))


def test_link_local_groups_go_between_the_two_sides_only() -> None:
    """Before what drops them for all others."""
    whole = with_hosts(_topology(), {"eth0": _MAC})
    flows = emit(whole)["sw"].flows
    special = {flow for flow in flows if "01:80:c2:00:00:00" in flow.match}
    found = sorted((-flow.priority, flow.match.partition(" && ")[0], flow.actions)
                   for flow in special)  # fmt: skip
    assert [item[1:] for item in found[:2]] == [
        ('inport == "sw:up"', 'outport = "sw:up/host"; output;'),
        ('inport == "sw:up/host"', 'outport = "sw:up"; output;'),
    ]
    assert [flow.actions for flow in special if flow.priority < -found[1][0]] == ["drop;"]

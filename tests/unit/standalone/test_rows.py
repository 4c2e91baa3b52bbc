# SPDX-License-Identifier: Apache-2.0
"""A chain's rows: what stays when it changes."""

import pytest

from iovisor_ovn.config.topology import (
    Endpoint,
    ExternalInterface,
    Link,
    Module,
    Null,
    Place,
    Switch,
    Topology,
)
from iovisor_ovn.errors import MapFullError
from iovisor_ovn.modules import emit
from iovisor_ovn.standalone.rows import Keys, Row, Rows, chain_rows, differences

_NOWHERE = Place(0, 0)


def _topology(*modules: tuple[str, tuple[str, ...]], links: tuple[str, ...] = ()) -> Topology:
    """Switches with their ports; a link is written ``a:p-b:q``."""
    ends = [tuple(end.split(":") for end in link.split("-")) for link in links]
    return Topology(
        tuple(Module(name, Switch(), ports, _NOWHERE) for name, ports in modules),
        tuple(Link((Endpoint(*one), Endpoint(*other)), _NOWHERE) for one, other in ends),
        tuple(
            ExternalInterface(name, port, port, host=False, place=_NOWHERE)
            for name, ports in modules
            for port in ports
            if port.startswith("eth")
        ),
        "test",
    )


def _rows(topology: Topology, keys: Keys) -> Rows:
    return chain_rows(topology, emit(topology), keys)


def _ports(rows: Rows) -> dict[str, Row]:
    return {
        str(row.columns["logical_port"]): row
        for row in rows.values()
        if row.table == "Port_Binding"
    }


def test_same_topology_makes_no_difference() -> None:
    """Rows are found again by what they stand for."""
    topology = _topology(("a", ("eth0", "b")), ("b", ("eth1", "a")), links=("a:b-b:a",))
    keys = Keys()
    assert differences(_rows(topology, keys), _rows(topology, keys)) == []


def test_link_makes_both_ports_each_other_s_peer() -> None:
    """A port at a device has none."""
    topology = _topology(("a", ("eth0", "b")), ("b", ("eth1", "a")), links=("a:b-b:a",))
    ports = _ports(_rows(topology, Keys()))
    assert ports["a:b"].columns["options"] == {"peer": "b:a"}
    assert ports["b:a"].columns["options"] == {"peer": "a:b"}
    assert (ports["a:b"].columns["type"], ports["a:eth0"].columns["type"]) == ("patch", "")


def test_module_more_changes_no_other_row() -> None:
    """Whatever its place in the file."""
    keys = Keys()
    before = _rows(_topology(("b", ("eth0", "eth1"))), keys)
    after = _rows(_topology(("a", ("eth2", "eth3")), ("b", ("eth0", "eth1"))), keys)
    changes = differences(before, after)
    assert {change.kind for change in changes} == {"insert"}
    assert len(changes) == len(after) - len(before)


def test_numbers_stay_with_their_owners() -> None:
    """A port that goes gives its number to the next that comes; others keep theirs."""
    keys = Keys()
    first = _ports(_rows(_topology(("a", ("eth0", "eth1", "eth2"))), keys))
    second = _ports(_rows(_topology(("a", ("eth9", "eth0", "eth2"))), keys))
    number = {name: row.columns["tunnel_key"] for name, row in (first | second).items()}
    assert first["a:eth0"] == second["a:eth0"]
    assert first["a:eth2"] == second["a:eth2"]
    assert number["a:eth9"] == number["a:eth1"] == 2


def test_devices_come_before_links() -> None:
    """A group is served in order of numbers: what goes on to another module goes last."""
    both = (("a", ("b", "eth0", "eth1")), ("b", ("eth2", "a")))
    ports = _ports(_rows(_topology(*both, links=("a:b-b:a",)), Keys()))
    number = {name: row.columns["tunnel_key"] for name, row in ports.items()}
    assert number == {"a:eth0": 1, "a:eth1": 2, "a:b": 3, "b:eth2": 1, "b:a": 2}


def test_module_that_is_gone_leaves_no_numbers() -> None:
    """It begins anew when it comes again."""
    keys = Keys()
    _rows(_topology(("a", ("eth0", "eth1"))), keys)
    _rows(_topology(("b", ("eth0",))), keys)
    ports = _ports(_rows(_topology(("a", ("eth1",))), keys))
    assert ports["a:eth1"].columns["tunnel_key"] == 1


def test_difference_names_what_went_first() -> None:
    """So that a name or a number is free when it comes again."""
    keys = Keys()
    before = _rows(_topology(("a", ("eth0", "eth1"))), keys)
    after = _rows(_topology(("c", ("eth0", "eth1"))), keys)
    kinds = [change.kind for change in differences(before, after)]
    assert kinds == sorted(kinds)  # delete, insert
    assert set(kinds) == {"delete", "insert"}


def test_changed_row_is_an_update() -> None:
    """A port that leads elsewhere is the same port."""
    keys = Keys()
    before = _rows(_topology(("a", ("eth0", "x")), ("b", ("eth1", "x")), links=("a:x-b:x",)), keys)
    after = _rows(_topology(("a", ("eth0", "x")), ("b", ("eth1", "x"))), keys)
    changed = [change for change in differences(before, after) if change.table == "Port_Binding"]
    assert sorted((c.kind, str(c.row.columns["logical_port"])) for c in changed) == [
        ("update", "a:x"), ("update", "b:x"),
    ]  # fmt: skip


def test_copied_keys_change_apart() -> None:
    """A change that is refused leaves numbers as they were."""
    keys = Keys()
    keys.assign(("datapaths",), ["a", "b"], 10)
    other = keys.copy()
    assert other.assign(("datapaths",), ["c", "b"], 10) == {"b": 2, "c": 1}
    assert keys.assign(("datapaths",), ["a", "b"], 10) == {"a": 1, "b": 2}


def test_numbers_are_finite() -> None:
    """And the error says of what."""
    with pytest.raises(MapFullError, match="ports a"):
        Keys().assign(("ports", "a"), ["x", "y", "z"], 2)


def test_row_without_a_column_is_as_one_of_an_older_schema() -> None:
    """AttributeError, which readers expect."""
    row = next(iter(_rows(_topology(("a", ("eth0",))), Keys()).values()))
    with pytest.raises(AttributeError, match="no_such_column"):
        _ = row.no_such_column


def test_flows_of_one_text_are_one_row() -> None:
    """A module that writes a flow twice has it once."""
    topology = Topology((Module("n", Null(), ("eth0",), _NOWHERE),), (), (), "test")
    rows = _rows(topology, Keys())
    flows = [row for row in rows.values() if row.table == "Logical_Flow"]
    assert len(flows) == len({(f.table_id, f.pipeline, f.match) for f in flows})

# SPDX-License-Identifier: Apache-2.0
"""Rows that are only read show what rows of the package show."""

from collections.abc import Mapping
from json import loads
from typing import Any
from uuid import UUID

import ovs.db.idl
import pytest

from iovisor_ovn.ovsdb.lean import LeanRow, LeanTable

ROW = UUID("123e4567-e89b-42d3-a456-426614174000")
OTHER = UUID("123e4567-e89b-42d3-a456-426614174001")
_OPTIONAL = {"min": 0, "max": 1}
_SCHEMA = {
    "name": "S", "version": "1.0.0", "cksum": "0 0",
    "tables": {
        "T": {"columns": {
            "text": {"type": "string"},
            "number": {"type": "integer"},
            "truth": {"type": "boolean"},
            "maybe": {"type": {"key": "string", **_OPTIONAL}},
            "other": {"type": {"key": {"type": "uuid", "refTable": "T", "refType": "weak"},
                               **_OPTIONAL}},
        }},
    },
}  # fmt: skip
_COLUMNS = ("text", "number", "truth", "maybe", "other")


@pytest.fixture
def table() -> LeanTable:
    """A table without rows."""
    helper = ovs.db.idl.SchemaHelper(schema_json=_SCHEMA)
    helper.register_table("T")
    return LeanTable(ovs.db.idl.Idl("unix:/nowhere", helper).tables["T"])


def values(notice: ovs.db.idl.Notice | None) -> Mapping[str, object]:
    """What a row shows."""
    assert notice is not None
    assert isinstance(notice.row, LeanRow)
    return {name: getattr(notice.row, name) for name in _COLUMNS}


BLANK = {"text": "", "number": 0, "truth": False, "maybe": [], "other": []}


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        pytest.param({}, {}, id="columns that have their default are not sent"),
        pytest.param({"text": "egress", "number": 7}, {"text": "egress", "number": 7}, id="values"),
        pytest.param({"number": 1, "truth": True}, {"number": 1, "truth": True}, id="truth"),
        pytest.param({"maybe": "x"}, {"maybe": ["x"]}, id="one value of a set"),
        pytest.param({"maybe": ["set", ["x"]]}, {"maybe": ["x"]}, id="set of one"),
        pytest.param({"maybe": ["set", []]}, {}, id="empty set"),
        pytest.param({"other": ["uuid", str(OTHER)]}, {"other": [OTHER]}, id="reference"),
        pytest.param({"text": str(OTHER)}, {"text": str(OTHER)}, id="text like a reference"),
        pytest.param({"unknown": 1}, {}, id="column that nobody asked for"),
        pytest.param({"text": ["map", []], "number": 7}, {"number": 7}, id="no value"),
        pytest.param({"other": ["uuid", "x"], "number": 7}, {"number": 7}, id="no reference"),
    ],
)  # fmt: skip
def test_row_that_came(
    table: LeanTable, new: Mapping[str, Any], expected: Mapping[str, object]
) -> None:
    """In either form of the protocol."""
    wanted = repr({**BLANK, **expected})  # which tells 1 from True
    assert wanted == repr(values(table.update2(ROW, {"insert": dict(new)})))
    assert wanted == repr(values(table.update2(OTHER, {"initial": dict(new)})))
    if new:
        assert wanted == repr(values(table.update(ROW, {"new": dict(new)})))


def test_row_that_changed_is_another(table: LeanTable) -> None:
    """The former one stays as it was, for whoever compares."""
    before = table.update2(ROW, {"insert": {"text": "a", "maybe": "x", "number": 7}})
    after = table.update2(ROW, {"modify": {"text": "b", "maybe": ["set", []]}})
    assert values(before) == {**BLANK, "text": "a", "maybe": ["x"], "number": 7}
    assert values(after) == {**BLANK, "text": "b", "number": 7}


def test_row_that_went(table: LeanTable) -> None:
    """It is told once, as it was."""
    table.update2(ROW, {"insert": {"text": "a"}})
    gone = table.update2(ROW, {"delete": None})
    assert gone is not None
    assert (gone.event, gone.row.uuid) == (ovs.db.idl.ROW_DELETE, ROW)
    assert values(gone) == {**BLANK, "text": "a"}
    assert table.update2(ROW, {"delete": None}) is None
    assert table.update(ROW, {"old": {}}) is None


def test_column_that_a_schema_lacks(table: LeanTable) -> None:
    """Readers fall back on what it is without."""
    row = table.update2(ROW, {"insert": {}}).row  # type: ignore[union-attr]
    assert getattr(row, "later", "nothing") == "nothing"


def test_equal_values_are_one_object(table: LeanTable) -> None:
    """References, numbers and short texts that many rows have are kept once."""
    update = f'{{"insert": {{"text": "in it", "number": 40000, "other": ["uuid", "{OTHER}"]}}}}'
    one, other = (values(table.update2(uuid, loads(update))) for uuid in (ROW, OTHER))
    assert one["number"] is other["number"]
    assert one["text"] is other["text"]
    assert one["other"] == other["other"] == [OTHER]
    assert one["other"][0] is other["other"][0]


def test_table_with_sets_is_refused() -> None:
    """A set is sent as a difference, which is not applied here."""
    columns = {"set": {"type": {"key": "string", "min": 0, "max": "unlimited"}}}
    schema = {**_SCHEMA, "tables": {"T": {"columns": columns}}}
    helper = ovs.db.idl.SchemaHelper(schema_json=schema)
    helper.register_table("T")
    idl = ovs.db.idl.Idl("unix:/nowhere", helper)
    with pytest.raises(AssertionError):
        LeanTable(idl.tables["T"])


def test_several_columns_at_once(table: LeanTable) -> None:
    """As they are stored, and nothing for columns that the schema lacks."""
    new = {"text": "egress", "other": ["uuid", str(OTHER)]}
    notice = table.update2(ROW, {"insert": new})
    assert notice is not None
    assert notice.row.values(("other", "text", "none", "maybe")) == (OTHER, "egress", None, None)

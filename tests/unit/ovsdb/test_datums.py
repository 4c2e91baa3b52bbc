# SPDX-License-Identifier: Apache-2.0
"""Values that rows share."""

import pytest
from ovs.db.data import Datum
from ovs.db.error import Error
from ovs.db.types import AtomicType, BaseType, Type

from iovisor_ovn.ovsdb.datums import Datums

TEXT = Type(BaseType(AtomicType.from_string("string")))
NUMBER = Type(BaseType(AtomicType.from_string("integer")))
OPTIONAL = Type(BaseType(AtomicType.from_string("uuid")), None, 0, 1)
TEXTS = Type(BaseType(AtomicType.from_string("string")), None, 0, 100)
UUID = ["uuid", "123e4567-e89b-42d3-a456-426614174000"]


@pytest.mark.parametrize(
    ("kind", "json"),
    [(TEXT, "egress"), (NUMBER, 7), (OPTIONAL, UUID), (OPTIONAL, ["set", []]), (TEXTS, "a"),
     (TEXTS, ["set", ["a", "b"]])],
)  # fmt: skip
def test_values_are_those_of_the_package(kind: Type, json: object) -> None:
    """Sharing changes no value."""
    datums = Datums()
    for _ in range(2):
        assert datums.from_json(kind, json).to_json() == Datum.from_json(kind, json).to_json()


@pytest.mark.parametrize(("kind", "json"), [(TEXT, "egress"), (NUMBER, 7), (OPTIONAL, UUID)])
def test_equal_values_are_one_object(kind: Type, json: object) -> None:
    """A value that many rows have is kept once."""
    datums = Datums()
    assert datums.from_json(kind, json) is datums.from_json(kind, json)


@pytest.mark.parametrize(
    ("kind", "json"),
    [(OPTIONAL, ["set", []]), (TEXTS, "a"), (TEXTS, ["set", []])],
)
def test_what_changes_in_place_is_not_shared(kind: Type, json: object) -> None:
    """A difference that the package applies to one row's set leaves other rows alone."""
    datums = Datums()
    one, other = datums.from_json(kind, json), datums.from_json(kind, json)
    before = other.to_json()
    one.diff(datums.from_json(kind, UUID if kind is OPTIONAL else "b"))
    assert other.to_json() == before


def test_numbers_and_texts_of_one_look_differ() -> None:
    """A value of the wrong type is refused although the right one is known."""
    datums = Datums()
    datums.from_json(NUMBER, 1)
    with pytest.raises(Error):
        datums.from_json(NUMBER, "1")

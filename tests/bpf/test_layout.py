# SPDX-License-Identifier: Apache-2.0
"""The built object's type information says the same about shared structs as ``structs.py``."""

import json
import subprocess

import pytest

from iovisor_ovn.abi import STRUCTS, Struct
from machine_rig import build

pytestmark = pytest.mark.needs_bpf

_KEY_AND_VALUE = {
    "ports": ("port_key", "port"),
    "devices": ("device_key", "device"),
    "members": ("member_key", None),
    "prefixes": ("prefix_key", None),
    "dps": (None, "dp"),
    "slots": (None, "slot"),
    "shapes": (None, "shape"),
    "guards": (None, "guard"),
    "insns": (None, "insn"),
    "dims": (None, "dim"),
    "entries4": (None, "entry"),
    "entries40": (None, "entry"),
    "injections": (None, "injection"),
    "neighbours": ("neigh_key", "neigh"),
    "dhcp_pools": (None, "dhcp_pool"),
    "dhcp_hosts": ("dhcp_host", None),
    "dhcp_fixed": ("dhcp_addr", "dhcp_host"),
    "dhcp_leases": ("dhcp_addr", None),
    "dhcp_clients": ("dhcp_client", None),
    "dhcp_groups": ("dhcp_addr", "dhcp_group"),
    "dhcp_hunts": (None, "dhcp_hunt"),
}

BtfType = dict[str, object]


@pytest.fixture(scope="module")
def types() -> dict[int, BtfType]:
    """Give the object's types by id, as bpftool shows them."""
    shown = subprocess.run(
        ["/usr/sbin/bpftool", "--json", "btf", "dump", "file", build()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {item["id"]: item for item in json.loads(shown.stdout)["types"]}


def find(types: dict[int, BtfType], kind: str, name: str) -> BtfType:
    """The type of that kind and name; there is only one."""
    (found,) = [t for t in types.values() if (t["kind"], t["name"]) == (kind, name)]
    return found


def number(item: BtfType, name: str) -> int:
    """An integer of a type."""
    value = item[name]
    assert isinstance(value, int)
    return value


def members(item: BtfType) -> list[BtfType]:
    """Members of a struct or values of an enum."""
    found = item.get("members", item.get("values"))
    assert isinstance(found, list)
    return found


def spelling(types: dict[int, BtfType], item: BtfType) -> tuple[str, int]:
    """C type of a member and how many there are."""
    kind = types[number(item, "type_id")]
    if kind["kind"] == "ARRAY":
        return str(types[number(kind, "type_id")]["name"]), number(kind, "nr_elems")
    return str(kind["name"]), 1


def used_structs(types: dict[int, BtfType]) -> list[str]:
    """Shared structs that the object's type information holds."""
    return [name for name in STRUCTS if any(t["name"] == name for t in types.values())]


def test_structs_have_the_layout_of_python(types: dict[int, BtfType]) -> None:
    """Names, C types, counts, offsets and sizes, member by member."""
    checked = used_structs(types)
    for name in checked:
        declared: Struct = STRUCTS[name]
        built = find(types, "STRUCT", name)
        assert number(built, "size") == declared.size, name
        found = [
            (str(m["name"]), *spelling(types, m), number(m, "bits_offset") // 8)
            for m in members(built)
        ]
        assert found == [
            (m.name, m.ctype, m.count, declared.offset_of(m.name)) for m in declared.members
        ], name
    # The compiler leaves out types that no program uses; most are used.
    assert len(checked) > len(STRUCTS) * 2 // 3, sorted(STRUCTS.keys() - set(checked))


@pytest.mark.parametrize("name", sorted(_KEY_AND_VALUE))
def test_maps_hold_the_shared_structs(types: dict[int, BtfType], name: str) -> None:
    """Key and value of each map are the structs that Python packs for it."""
    variable = find(types, "VAR", name)
    definition = types[number(variable, "type_id")]
    pointed = {
        str(m["name"]): types[number(types[number(m, "type_id")], "type_id")]
        for m in members(definition)
        if m["name"] in ("key", "value")
    }
    for part, wanted in zip(("key", "value"), _KEY_AND_VALUE[name], strict=True):
        if wanted is not None:
            assert pointed[part]["name"] == wanted, part


def test_a_lease_lies_behind_its_lock(types: dict[int, BtfType]) -> None:
    """The agent packs the lock as eight bytes before the lease."""
    slot = find(types, "STRUCT", "dhcp_slot")
    assert number(slot, "size") == 8 + STRUCTS["dhcp_lease"].size
    places = {str(m["name"]): number(m, "bits_offset") // 8 for m in members(slot)}
    assert places == {"lock": 0, "pad": 4, "lease": 8}

# SPDX-License-Identifier: Apache-2.0
"""The reference of the file, docs/standalone.md, has the keys and defaults that there are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest
from pydantic.fields import FieldInfo

from iovisor_ovn.config.module_types import MODULE_TYPES
from iovisor_ovn.config.shape import Shape, annotation_parts
from iovisor_ovn.config.topology_file import read_topology

PAGE = (Path(__file__).parents[3] / "docs" / "standalone.md").read_text()
_ROW = re.compile(r"\| `([^`]+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|")
#: Defaults that another key or the order of ports decides.
_BY_OTHERS = {"the first", "the second", "the VIP's"}


def documented(heading: str) -> dict[str, str]:
    """Return keys and defaults of the table under a heading."""
    section = re.split(r"^## ", PAGE.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    rows = _ROW.findall(section)
    assert rows
    return {key: "none" if default in _BY_OTHERS else default.strip("`") for key, default in rows}


def declared(shape: type[Shape], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield keys and defaults of a shape, those of what is in it included."""
    for name, field in shape.model_fields.items():
        key = prefix + (field.alias or name)
        parts = list(annotation_parts(field.annotation))
        inner = [part for part in parts if isinstance(part, type) and issubclass(part, Shape)]
        is_list = any(get_origin(part) is tuple for part in parts)
        if inner:
            yield from declared(inner[0], f"{key}[]." if is_list else f"{key}.")
        else:
            yield key, _default(field)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in (None, (), {}, "") else str(value)


@pytest.mark.parametrize("kind", sorted(set(MODULE_TYPES) - {"null", "null_node"}))
def test_the_reference_has_every_key_of_a_type(kind: str) -> None:
    """With its default; nothing else is in the table."""
    assert documented(f"`{kind}`") == dict(declared(MODULE_TYPES[kind]))


def test_the_reference_has_every_key_of_the_null_module() -> None:
    """It has two names."""
    assert documented("`null_node`, `null`") == dict(declared(MODULE_TYPES["null"]))
    assert MODULE_TYPES["null_node"] is MODULE_TYPES["null"]


def test_the_example_of_the_reference_can_be_read() -> None:
    """Also with the links of its second example, which name their ports."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(read_topology(blocks[0], "chain.yaml", Path()).modules) == 2
    modules = "modules: [{name: lan, type: switch}, {name: gate, type: dhcp, config: {%s}}]\n"
    dhcp = "server_ip: 10.0.0.1/24, server_mac: 02:00:00:00:00:01"
    pool = "addr_low: 10.0.0.2, addr_high: 10.0.0.9"
    chain = read_topology(modules % f"{dhcp}, {pool}" + blocks[1], "chain.yaml", Path())
    assert chain.modules[0].ports == ("blue", "green")

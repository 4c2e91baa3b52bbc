# SPDX-License-Identifier: Apache-2.0
"""``type: ebpf``."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field

from iovisor_ovn.config.scalars import Text, leaf
from iovisor_ovn.config.section import Section, shown
from iovisor_ovn.config.shape import ModuleShape, Ports
from iovisor_ovn.config.topology import Ebpf, Setting
from iovisor_ovn.config.yaml_tree import Scalar

__all__ = ["EbpfShape"]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,19}|0x[0-9A-Fa-f]{1,16})")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1


class EbpfShape(ModuleShape):
    """A program of the user's."""

    program: Text
    settings: dict[str, Annotated[str, leaf(str)]] = Field(default_factory=dict)

    def value(self, here: Section, ports: Ports) -> Ebpf:  # noqa: ARG002 - its own affair
        """Return the settings."""
        program = here.directory / self.program
        if program.suffix not in {".c", ".o"}:
            here.problem(f"{shown(self.program)} is neither an object file (.o) nor C source (.c)",
                         "program")  # fmt: skip
        elif not _is_file(program):
            here.problem(f"there is no file {program}", "program")
        settings: dict[str, Setting] = {}
        for name in self.settings:
            if not _IDENTIFIER.fullmatch(name):
                here.problem("is no name of a variable in C", "settings", name, is_key=True)
            settings[name] = _setting(here, name)
        places = {name: here.place("settings", name) for name in settings}
        return Ebpf(program, settings, here.place("program"), places)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a part of the path may not be read, or is too long
        return False


def _setting(here: Section, name: str) -> Setting:
    node = here.at("settings", name).node
    assert isinstance(node, Scalar)
    if not node.is_plain:
        return node.text
    if _NUMBER.fullmatch(node.text):
        value = int(node.text, 0)
        if not _LEAST <= value <= _MOST:
            here.problem(f"{node.text} has more than 64 bits", "settings", name)
        return value
    return _TRUTH.get(node.text.lower(), node.text)

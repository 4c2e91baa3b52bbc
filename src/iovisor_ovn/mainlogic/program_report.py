# SPDX-License-Identifier: Apache-2.0
"""What ``show`` says of users' modules, in chains and before logical ports."""

from typing import TypedDict

from iovisor_ovn.dataplane.maps import Map, MapType
from iovisor_ovn.dataplane.user_modules import UserModules

__all__ = ["ProgramReport", "program_reports"]

_COUNTABLE = frozenset({MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH,
                        MapType.LRU_PERCPU_HASH, MapType.LPM_TRIE})  # fmt: skip


class ProgramReport(TypedDict):
    """A user's module; ``maps`` with entries in use where the kernel can tell.

    Packets by what the module said; ``missing`` are those that came while none was loaded.
    """

    module: str
    program: str
    settings: str
    passed: int
    sent: int
    dropped: int
    invalid: int
    missing: int
    maps: str


def program_reports(modules: UserModules) -> list[ProgramReport]:
    """All that have a number, by name. Cost: linear in what their maps hold."""
    found = []
    for name in sorted(modules.names):
        loaded, counts = modules.installed(name), modules.counts(name)
        settings = loaded.settings if loaded else {}
        found.append(
            ProgramReport(
                module=name,
                program=str(loaded.path) if loaded else "none",
                settings=" ".join(f"{key}={value}" for key, value in settings.items()),
                passed=counts.passed,
                sent=counts.sent,
                dropped=counts.dropped,
                invalid=counts.invalid,
                missing=counts.missing,
                maps=", ".join(_map_text(item) for item in loaded.maps.values()) if loaded else "",
            )
        )
    return found


def _map_text(item: Map) -> str:
    if item.type in _COUNTABLE:
        return f"{item.name} {item.count()}/{item.max_entries}"
    return item.name

# SPDX-License-Identifier: Apache-2.0
"""What a chain's next process needs to know, in a file: the numbers of its zones and pools.

Connections live in pinned maps under their zone's number, leases under their pool's; a module that
came back with another number would lose them.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import ovs.vlog

__all__ = ["Store"]

_log = ovs.vlog.Vlog("store")


class Store:
    """A small JSON file, replaced whole."""

    def __init__(self, path: Path) -> None:
        """Read ``path``; one that is missing or unreadable holds nothing."""
        self._path = path
        self.zones: dict[str, str] = {}
        self.pools: dict[str, int] = {}
        self.promiscuous: list[str] = []
        try:
            content = json.loads(path.read_text())
            zones = {str(key): str(value) for key, value in content["zones"].items()}
            pools = {str(key): int(value) for key, value in content["pools"].items()}
            promiscuous = [str(name) for name in content.get("promiscuous", [])]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warn(f"state_unreadable path={path} error={error}")
        else:
            self.zones, self.pools, self.promiscuous = zones, pools, promiscuous

    def save(
        self,
        zones: Mapping[str, str | None],
        pools: Mapping[str, int],
        promiscuous: Iterable[str] = (),
    ) -> None:
        """Write the zones, in the form in which `Zones.restore` takes them, pools and devices."""
        content = {"zones": zones, "pools": pools, "promiscuous": sorted(promiscuous)}
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps(content))
            new.replace(self._path)
        except OSError as error:
            _log.warn(f"state_not_written path={self._path} error={error}")

    def forget(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

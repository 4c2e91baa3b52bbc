# SPDX-License-Identifier: Apache-2.0
"""Learned addresses go when nobody has used them for long enough.

The machine learns by itself and notes, to a second, when an entry was used last.
"""

import time
from collections.abc import Mapping

import ovs.poller

from iovisor_ovn.abi import STRUCTS, Struct
from iovisor_ovn.config.topology import Router, Switch, Topology
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.standalone.rows import datapath_uuid

__all__ = ["EVERY_S", "Ageing"]

#: The tables are looked at this often; an address lives up to that much longer than asked for.
EVERY_S = 5.0

_FDB = STRUCTS["fdb"]
_NEIGHBOUR = STRUCTS["neigh"]
_INDEX_SIZE = 4  # keys of both tables begin with the datapath's index


class Ageing:
    """Forgets what a pipeline's machine has learned and not used since."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Begin one interval from now; nothing ages before :meth:`follow`."""
        self._world = pipeline.world
        self._maps = pipeline.machine.maps
        self._ages: dict[str, int] = {}
        self._due = time.monotonic() + EVERY_S

    def follow(self, topology: Topology) -> None:
        """Age by the settings of these modules from now on."""
        self._ages = {}
        for module in topology.modules:
            if isinstance(module.config, Switch):
                self._ages[module.name] = module.config.mac_age_s
            elif isinstance(module.config, Router):
                self._ages[module.name] = module.config.neighbour_age_s

    def run(self) -> None:
        """Look through the tables if it is time."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + EVERY_S
            self.sweep(time.monotonic_ns())

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when it is time."""
        poller.timer_wait(max(0, int((self._due - time.monotonic()) * 1000) + 1))

    def sweep(self, now_ns: int) -> None:
        """Forget what is too old at ``now_ns`` (the machine's clock, CLOCK_MONOTONIC)."""
        oldest = {}
        for name, age_s in self._ages.items():
            index = self._world.local.get(datapath_uuid(name))
            if index is not None and age_s:
                oldest[index.to_bytes(_INDEX_SIZE, "little")] = now_ns - age_s * 1_000_000_000
        for name, struct in (("fdb_entries", _FDB), ("neighbours", _NEIGHBOUR)):
            self._sweep(name, struct, oldest)

    def _sweep(self, name: str, struct: Struct, oldest: Mapping[bytes, int]) -> None:
        table = self._maps[name]
        for key, value in table.items() if oldest else ():
            limit = oldest.get(key[:_INDEX_SIZE])
            if limit is None:
                continue
            entry = struct.unpack(value)
            is_configured = entry.get("static_hi") or entry.get("static_lo")
            used_ns = entry["used_ns"]
            assert isinstance(used_ns, int)
            if used_ns < limit and not is_configured:
                table.delete(key, missing_ok=True)

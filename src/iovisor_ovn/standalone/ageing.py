# SPDX-License-Identifier: Apache-2.0
"""Learned addresses go when nobody has used them for long enough.

The machine learns by itself and notes, to a second, when an entry was used last.
"""

from collections.abc import Mapping

from iovisor_ovn.abi import STRUCTS
from iovisor_ovn.config.topology import LoadBalancer, Router, Switch, Topology
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.standalone.rows import datapath_uuid

__all__ = ["EVERY_S", "Ageing", "fair_limits"]

#: The tables are looked at this often; an address lives up to that much longer than asked for.
EVERY_S = 5.0
#: Neighbours of a load balancer, which has no setting for it.
_BALANCER_AGE_S = 300

_FDB = STRUCTS["fdb"]
_NEIGHBOUR = STRUCTS["neigh"]
_INDEX_SIZE = 4  # keys of both tables begin with the datapath's index
_SECOND_NS = 1_000_000_000


class Ageing:
    """Forgets what a pipeline's machine has learned and not used since; bounds how much it is."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Nothing ages before :meth:`follow`."""
        assert pipeline.fdb is not None
        self._world = pipeline.world
        self._machine = pipeline.machine
        self._neighbours = pipeline.machine.maps["neighbours"]
        self._fdb = pipeline.fdb
        self._mac_ages_s: dict[str, int] = {}
        self._neighbour_ages_s: dict[str, int] = {}

    def follow(self, topology: Topology) -> None:
        """Go by the settings of these modules from now on; their datapaths are there."""
        self._mac_ages_s, self._neighbour_ages_s = {}, {}
        most: dict[str, int] = {}
        for module in topology.modules:
            match module.config:
                case Switch() as switch:
                    self._mac_ages_s[module.name] = switch.mac_age_s
                    most[module.name] = switch.max_macs
                case Router() as router:
                    self._neighbour_ages_s[module.name] = router.neighbour_age_s
                case LoadBalancer():
                    self._neighbour_ages_s[module.name] = _BALANCER_AGE_S
        for name, limit in fair_limits(most, self._fdb.capacity).items():
            index = self._world.local.get(datapath_uuid(name))
            if index is not None:
                self._fdb.set_limit(index, limit)

    def sweep(self, now_ns: int) -> None:
        """Forget what is too old at ``now_ns`` (the machine's clock, CLOCK_MONOTONIC)."""
        forgotten = False
        oldest = self._oldest(self._mac_ages_s, now_ns)
        for key, value in self._fdb.items():
            limit = oldest.get(key[:_INDEX_SIZE])
            if limit is not None and _FDB.numbers(value)["used_ns"] < limit:
                self._fdb.forget(key)
                forgotten = True
        oldest = self._oldest(self._neighbour_ages_s, now_ns)
        for key, value in self._neighbours.items():
            limit = oldest.get(key[:_INDEX_SIZE])
            if limit is None:
                continue
            entry = _NEIGHBOUR.numbers(value)
            is_configured = entry["static_hi"] or entry["static_lo"]
            if entry["used_ns"] < limit and not is_configured:
                self._neighbours.delete(key, missing_ok=True)
                forgotten = True
        if forgotten:
            self._machine.renew()

    def _oldest(self, ages_s: Mapping[str, int], now_ns: int) -> dict[bytes, int]:
        """When entries of a datapath, by its index as keys have it, must have been used since.

        What a module of another kind has left behind is too old whenever it was used.
        """
        names = {uuid: self._world.datapaths[uuid].name for uuid in self._world.local}
        found = {}
        for uuid, index in self._world.local.items():
            age_s = ages_s.get(names[uuid])
            if age_s != 0:
                limit = now_ns if age_s is None else now_ns - age_s * _SECOND_NS
                found[index.to_bytes(_INDEX_SIZE, "little")] = limit
        return found


def fair_limits(most: Mapping[str, int], capacity: int) -> dict[str, int]:
    """What each may have of ``capacity``: as much as it wants, or all the same share of that.

    So none can take from another what is its own.
    """
    wanted = sum(most.values())
    if wanted <= capacity:
        return dict(most)
    return {name: max(1, limit * capacity // wanted) for name, limit in most.items()}

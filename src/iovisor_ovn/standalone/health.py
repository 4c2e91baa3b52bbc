# SPDX-License-Identifier: Apache-2.0
"""Health checks of a chain's load balancers: from its topology to probes, and back to who is dead.

Probes enter the load balancer's own pipeline where it resolves MAC addresses; answers come back
through the ring buffer (`punt`).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import ovs.poller
import ovs.vlog

from iovisor_ovn.abi import InjectKind, Word
from iovisor_ovn.config.topology import LoadBalancer, Topology
from iovisor_ovn.errors import DataplaneError
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.modules.emission import port_name
from iovisor_ovn.modules.loadbalancer import RESOLVE
from iovisor_ovn.services.health import HealthChecker, Target
from iovisor_ovn.standalone.rows import datapath_uuid

__all__ = ["BackendHealth", "Health"]

_log = ovs.vlog.Vlog("health")
_STATE_WORDS = 24


class _Owner(NamedTuple):
    """A load balancer, and its port towards the servers, by their names."""

    module: str
    port: str


class BackendHealth(NamedTuple):
    """A backend that is probed."""

    module: str
    ip: str
    port: int
    protocol: str
    is_alive: bool


class Health:
    """Probes what a topology wants probed; ``on_change`` is called when others are dead now."""

    def __init__(self, pipeline: Pipeline, on_change: Callable[[], None]) -> None:
        """Start with nothing to probe."""
        self._pipeline = pipeline
        self._on_change = on_change
        self._checker = HealthChecker(self._send, self._changed)
        self._owners: set[_Owner] = set()
        self._has_changed = False

    def dead_in(self, topology: Topology) -> Mapping[str, set[tuple[int, int]]]:
        """Dead backends by load balancer: positions of VIP and of backend within it."""
        found: dict[str, set[tuple[int, int]]] = {}
        for target, (module, vip, backend) in _targets(topology):
            if not self._checker.is_alive(target):
                found.setdefault(module, set()).add((vip, backend))
        return found

    def backends(self) -> list[BackendHealth]:
        """All backends that are probed."""
        return [
            BackendHealth(target.owner.module, str(target.ip), target.port, target.protocol, alive)
            for target, alive in self._checker.alive().items()
            if isinstance(target.owner, _Owner)
        ]

    def follow(self, topology: Topology) -> None:
        """Probe the backends of these load balancers from now on."""
        targets = {target for target, _place in _targets(topology)}
        self._owners = {target.owner for target in targets if isinstance(target.owner, _Owner)}
        self._checker.follow(targets, time.monotonic())

    def run(self) -> None:
        """Send what is due, tell of what has changed since: never in the midst of something."""
        self._checker.run(time.monotonic())
        if self._has_changed:
            self._has_changed = False
            self._on_change()

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when :meth:`run` has something to do."""
        due = self._checker.next_due
        if due is not None:
            poller.timer_wait(max(0, int((due - time.monotonic()) * 1000) + 1))

    def receive(self, datapath: int, port: int, frame: bytes) -> None:
        """Take a frame that a load balancer has punted from a port (datapath index, port key)."""
        for owner in self._owners:
            if self._where(owner) == (datapath, port):
                self._checker.receive(owner, frame, time.monotonic())

    def _where(self, owner: _Owner) -> tuple[int, int] | None:
        world = self._pipeline.world
        datapath = datapath_uuid(owner.module)
        index = world.local.get(datapath)
        key = world.key_of(datapath, port_name(owner.module, owner.port))
        return None if index is None or key is None else (index, key)

    def _send(self, target: Target, frame: bytes) -> None:
        assert isinstance(target.owner, _Owner)
        where = self._where(target.owner)
        if where is None:
            return  # no device of the chain is there: silence, as from a dead backend
        words = [0] * _STATE_WORDS
        words[Word.DATAPATH], words[Word.OUTPORT] = where
        try:
            self._pipeline.machine.inject(frame, tuple(words), kind=InjectKind.STAGE, stage=RESOLVE)
        except DataplaneError as error:
            _log.warn(f"probe_lost backend={target.ip}:{target.port} reason={error}")

    def _changed(self, target: Target, is_alive: bool) -> None:
        _log.info(
            f"backend_{'alive' if is_alive else 'dead'} ip={target.ip} port={target.port} "
            f"protocol={target.protocol}"
        )
        self._has_changed = True


def _targets(topology: Topology) -> Iterator[tuple[Target, tuple[str, int, int]]]:
    for module in topology.modules:
        balancer = module.config
        if not isinstance(balancer, LoadBalancer) or balancer.address is None:
            continue
        owner = _Owner(module.name, balancer.servers)
        for position, vip in enumerate(balancer.vips):
            check = vip.health_check
            if check is None:
                continue
            for place, backend in enumerate(vip.backends):
                assert backend.port is not None
                target = Target(
                    owner, balancer.address.ip, bytes.fromhex(balancer.mac.replace(":", "")),
                    backend.ip, backend.port, vip.protocol, check.interval_s, check.timeout_s,
                    check.success_count, check.failure_count,
                )  # fmt: skip
                yield target, (module.name, position, place)

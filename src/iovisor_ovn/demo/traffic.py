# SPDX-License-Identifier: Apache-2.0
"""Real traffic between machines: who reaches whom, and how fast."""

import errno
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations

from iovisor_ovn.demo.hypervisor import Hypervisor
from iovisor_ovn.demo.machines import Vm
from iovisor_ovn.demo.places import inside
from iovisor_ovn.demo.topology import MACHINES, SERVICES, Machine, Service

__all__ = ["PATIENCE_S", "Seen", "connect_ms", "is_spoof_heard", "listen", "look"]

#: A refused or lost packet shows as silence for so long; an answer takes a thousandth of it.
PATIENCE_S = 1.5
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened between two machines; ``rtt_ms`` is None when nothing came back."""

    source: str
    target: str
    service: Service
    rtt_ms: float | None


def listen(hypervisor: Hypervisor) -> None:
    """Let every machine accept connections on the services' ports; returns when they do."""
    ports = sorted({str(service.port) for service in SERVICES if service.port is not None})
    for vm in hypervisor.vms.values():
        pid_file = hypervisor.directory / f"{vm.name}-listen.pid"
        process = vm.popen(
            sys.executable, "-m", "iovisor_ovn.demo.listen", str(pid_file), *ports
        )  # fmt: skip
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{vm.name}: the listener did not start")


def connect_ms(vm: Vm, address: str, port: int, timeout_s: float = PATIENCE_S) -> float | None:
    """Open a TCP connection from a machine; return the time of its handshake, None if refused."""

    def connect() -> float | None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(timeout_s)
            start = time.perf_counter()
            try:
                client.connect((address, port))
            except OSError as refused:
                known = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EACCES, errno.ENETUNREACH}
                if not isinstance(refused, TimeoutError) and refused.errno not in known:
                    raise
                return None
            return (time.perf_counter() - start) * 1000

    return inside(vm.namespace.name, connect)


def look(hypervisor: Hypervisor) -> list[Seen]:
    """Try every service between every two machines, many at once; order as in the topology."""
    tries = [
        (hypervisor.vms[source.name], target, service)
        for source, target in permutations(MACHINES, 2)
        for service in SERVICES
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        times = list(pool.map(lambda one: _time(*one), tries))
    return [
        Seen(vm.name, target.name, service, rtt_ms)
        for (vm, target, service), rtt_ms in zip(tries, times, strict=True)
    ]


def _time(vm: Vm, target: Machine, service: Service) -> float | None:
    address = target.address(service.version)
    if service.port is None:
        return vm.ping(address, count=2, wait_s=PATIENCE_S).rtt_ms
    return connect_ms(vm, address, service.port)


def is_spoof_heard(vm: Vm, false_address: str, target: str) -> bool:
    """Let a machine take an address that is not its own; return whether anybody answers it."""
    vm.namespace.ip(f"address add {false_address}/24 dev {vm.device}")
    try:
        return vm.ping(target, "-I", false_address, wait_s=PATIENCE_S).received > 0
    finally:
        vm.namespace.ip(f"address del {false_address}/24 dev {vm.device}")

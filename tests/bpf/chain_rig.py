# SPDX-License-Identifier: Apache-2.0
"""Rig for tests of modules: a chain of them on the loaded machine, frames in, frames out.

::

    rig.fresh(chain({"sw": Switch()}, wires=["sw", "sw", "sw"]))
    assert rig.send(0, frame) == {1: [frame], 2: [frame]}

Device ``wireN`` is at the port ``wireN`` of the module named N-th; what comes out of each of them
is read at its far end. Nobody waits: what happens with time is asked for by name.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from iovisor_ovn.abi import STRUCTS, Drop
from iovisor_ovn.config.topology import (
    Config,
    Endpoint,
    ExternalInterface,
    Link,
    Module,
    Place,
    Topology,
)
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.standalone.asking import ASK_EVERY_S
from iovisor_ovn.standalone.chain import Chain
from iovisor_ovn.standalone.lease_file import LeaseFile
from iovisor_ovn.standalone.store import Store
from iovisor_ovn.vswitch import NetDevices
from machine_rig import Wire, inside, run_ip

__all__ = ["NOTHING", "ChainRig", "Output", "chain"]

Output = dict[int, list[bytes]]  # frames by the number of the wire that they came out of
NOTHING = Topology((), (), (), "empty")
_NOWHERE = Place(0, 0)
_NEIGHBOUR = STRUCTS["neigh"]
#: How often a frame is sent where the outcome must not depend on what was sent before: the
#: first time it walks over the flows, then a recorded segment is replayed.
_TIMES = 3


def chain(
    modules: Mapping[str, Config],
    wires: Sequence[str],
    links: Sequence[tuple[str, str]] = (),
) -> Topology:
    """A topology: ``wires`` names the module at each device, ``links`` are pairs of modules.

    A port is named after the device or the module that it leads to, the second link of the same
    two modules as ``other2``, as ``MODULE:PORT`` says otherwise.
    """
    ports: dict[str, list[str]] = {name: [] for name in modules}

    def add(module: str, port: str) -> Endpoint:
        name, _colon, own = module.partition(":")
        ports[name].append(own or port)
        return Endpoint(name, own or port)

    interfaces = []
    for number, module in enumerate(wires):
        end = add(module, f"wire{number}")
        interfaces.append(
            ExternalInterface(end.module, end.port, f"wire{number}", host=False, place=_NOWHERE)
        )
    joined = [
        Link((add(one, other.partition(":")[0]), add(other, one.partition(":")[0])), _NOWHERE)
        for one, other in links
    ]
    return Topology(
        tuple(Module(n, config, tuple(ports[n]), _NOWHERE) for n, config in modules.items()),
        tuple(joined),
        tuple(interfaces),
        "test",
    )


class ChainRig:
    """A chain on a machine of its own, in a network namespace with wires.

    ``mode`` is ``replay`` with the fast path, else ``walk``.
    """

    def __init__(
        self, path: Path, pin_dir: Path, namespace: str, n_wires: int = 4, *, fast_path: bool
    ) -> None:
        """Load the object and make wires."""
        self.namespace = namespace
        self.mode = "replay" if fast_path else "walk"
        self.machine = Machine.load(
            pin_dir, path=path, fast_path=fast_path, ask_every_s=ASK_EVERY_S
        )
        with inside(namespace):
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            run_ip("link", "set", "lo", "up")
            self.wires = [Wire(f"wire{number}") for number in range(n_wires)]
            directory = pin_dir.resolve().parent
            self.chain = Chain(
                self.machine, NetDevices(), Store(directory / "state.json"),
                LeaseFile(directory / "leases"),
            )  # fmt: skip

    def close(self) -> None:
        """Take the chain down and unload."""
        for wire in self.wires:
            wire.close()
        with inside(self.namespace):
            self.chain.close(keep=False)

    def fresh(self, topology: Topology) -> None:
        """Put a topology into force, as if nothing had been there before."""
        if topology == self.chain.topology:
            world = self.chain.pipeline.world
            for uuid, index in world.local.items():
                for port in world.ports_of[uuid].values():
                    self.chain.pipeline.neighbours.forget_learned(index, port.key)
                self.chain._pump._held.forget(index)
            for zone in set(self.chain.pipeline.ports.zones.values()):
                self.chain.conntrack.flush(zone)
        else:
            self.chain.apply(NOTHING)
            self.chain.apply(topology)
        self.chain._asking.sweep(time.monotonic_ns())
        self.forget_questions()
        self.chain.run()
        self.received()

    def forget_questions(self) -> None:
        """Let neighbours be asked for as if nobody had just done so."""
        table = self.machine.maps["asked"]
        table.delete_many(b"".join(table.keys()))

    def apply(self, topology: Topology) -> None:
        """Change to a topology."""
        self.chain.apply(topology)

    def send(self, wire: int, frame: bytes, header: bytes | None = None) -> Output:
        """Let a frame come in from a wire; what comes out of all of them.

        ``header`` is a virtio_net_hdr: what a device has still to do to the frame.
        """
        self.wires[wire].put(frame, header)
        self.chain.run()
        return self.received()

    def received(self) -> Output:
        """Frames that came out of each wire since the last call; wires without any left out."""
        frames = {number: wire.received() for number, wire in enumerate(self.wires)}
        return {number: some for number, some in frames.items() if some}

    def wait_for_neighbours(self, seconds: float) -> Output:
        """What comes out when packets have waited so long for their neighbours."""
        self.chain._pump.run(time.monotonic() + seconds)
        return self.received()

    def doubt_neighbours(self, seconds: float, *, in_use: bool = True) -> Output:
        """What comes out when neighbours are looked at ``seconds`` from now."""
        now_ns = time.monotonic_ns() + int(seconds * 1e9)
        table = self.machine.maps["neighbours"]
        for key, value in table.items() if in_use else ():
            table.update(key, _NEIGHBOUR.pack(**(_NEIGHBOUR.unpack(value) | {"used_ns": now_ns})))
        self.chain._asking.sweep(now_ns)
        return self.received()

    def always(self, wire: int, frame: bytes) -> Output:
        """What comes out for a frame, the same each time that it is sent."""
        first = self.send(wire, frame)
        for _ in range(_TIMES - 1):
            assert self.send(wire, frame) == first
        return first

    def drops(self) -> dict[Drop, int]:
        """Packets by drop reason."""
        return self.machine.drops()

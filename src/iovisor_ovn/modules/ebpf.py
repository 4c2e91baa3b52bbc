# SPDX-License-Identifier: Apache-2.0
"""A program of the user's as a module: flows that ask it, and do as it says.

The program learns the number of the port that a packet came in by, in the order in which the
file connects the module's ports. Passed packets leave by every other port.
"""

from collections.abc import Sequence

from iovisor_ovn.modules.emission import FLOOD, Emission, FlowList, quoted

__all__ = ["emit_ebpf"]

_ASK, _SEND = range(2)


def emit_ebpf(name: str, ports: Sequence[str]) -> Emission:
    """Flows of the ebpf module ``name``."""
    flows = FlowList(name)
    for number, port in enumerate(ports):
        flows.add(
            _ASK,
            50,
            f"inport == {flows.port(port)}",
            f"reg0 = iomodule({quoted(name)}, {number}, {len(ports)}); next;",
        )
        # As IOM_PORT(number), which may be where the packet came in.
        flows.add(
            _SEND,
            50,
            f"reg0 == {number + 1}",
            f"outport = {flows.port(port)}; flags.loopback = 1; output;",
        )
    # As IOM_PASS.
    if len(ports) == 2:
        for here, there in (ports, reversed(ports)):
            flows.add(
                _SEND,
                40,
                f"reg0 == 0 && inport == {flows.port(here)}",
                f"outport = {flows.port(there)}; output;",
            )
    elif len(ports) > 2:
        flows.add(_SEND, 40, "reg0 == 0", f"outport = {quoted(FLOOD)}; output;")
    flows.add(_SEND, 0, "1", "drop;")
    flows.deliver()
    return flows.emission({FLOOD: tuple(ports)} if len(ports) > 2 else {})

# SPDX-License-Identifier: Apache-2.0
"""The end of a chain: drops what it gets, or lets it pass untouched between its two ports."""

from collections.abc import Sequence

from iovisor_ovn.config.topology import Null
from iovisor_ovn.modules.emission import Emission, FlowList

__all__ = ["emit_null"]


def emit_null(name: str, null: Null, ports: Sequence[str]) -> Emission:
    """Flows of the null module ``name``; all packets are counted."""
    flows = FlowList(name)
    if null.forwards and len(ports) == 2:
        for here, there in (ports, reversed(ports)):
            flows.add(
                0,
                50,
                f"inport == {flows.port(here)}",
                f"{flows.count(f'passed from {here}')} outport = {flows.port(there)}; output;",
            )
    else:
        flows.add(0, 0, "1", flows.count("dropped"))
    flows.deliver()
    return flows.emission()

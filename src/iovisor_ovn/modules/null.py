# SPDX-License-Identifier: Apache-2.0
"""The end of a chain: drops what it gets, or lets it pass untouched between its two ports."""

from collections.abc import Sequence

from iovisor_ovn.config.topology import Null
from iovisor_ovn.modules.emission import Emission, FlowList

__all__ = ["emit_null"]


def emit_null(name: str, null: Null, ports: Sequence[str]) -> Emission:
    """Flows of the null module ``name``; packets are counted where they come in."""
    flows = FlowList(name)
    if null.forwards and len(ports) == 2:
        for here, there in (ports, reversed(ports)):
            flows.add(
                0, 50, f"inport == {flows.port(here)}", f"outport = {flows.port(there)}; output;"
            )
    flows.add(0, 0, "1", "drop;")
    flows.deliver()
    return Emission(flows.all())

# SPDX-License-Identifier: Apache-2.0
"""A learning switch (IEEE 802.1D without spanning tree).

::

    LEARN    put_fdb(inport, eth.src)
    LOOK_UP  multicast -> all ports; configured address -> its port; else get_fdb(eth.dst)
    FORWARD  known -> that port; unknown -> all ports

The machine's FDB learns in the kernel and follows a host that moves; the daemon ages it.

A device that the host keeps using has two ports, its wire and the host. What a bridge must not
forward goes between these two, and nowhere else: it is the device's own business.
"""

from collections.abc import Sequence

from iovisor_ovn.config.topology import Switch, host_port
from iovisor_ovn.modules.emission import FLOOD, Emission, FlowList, quoted

__all__ = ["emit_switch"]

_LEARN, _LOOK_UP, _FORWARD = range(3)
#: Addresses that a bridge must not forward (802.1D, table 7-10): pause frames, LACP, LLDP ...
_LINK_LOCAL = "eth.dst == 01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0"

_NOBODY = "00:00:00:00:00:00"


def emit_switch(name: str, switch: Switch, ports: Sequence[str]) -> Emission:
    """Flows of the switch ``name`` with these ports."""
    flows = FlowList(name)
    flows.add(_LEARN, 100, f"eth.src[40] || eth.src == {_NOBODY} || {_LINK_LOCAL}", "drop;")
    for wire in ports:
        host = host_port(wire)
        if host in ports:
            for one, other in ((wire, host), (host, wire)):
                flows.add(
                    _LEARN,
                    110,
                    f"inport == {flows.port(one)} && {_LINK_LOCAL}",
                    f"outport = {flows.port(other)}; output;",
                )
    for entry in switch.forwarding_table:
        # A configured address is not learned, wherever its frames come from.
        flows.add(_LEARN, 50, f"eth.src == {entry.mac}", "next;")
        flows.add(
            _LOOK_UP, 50, f"eth.dst == {entry.mac}", f"outport = {flows.port(entry.port)}; output;"
        )
    flows.add(_LEARN, 0, "1", "put_fdb(inport, eth.src); next;")
    flood = f"outport = {quoted(FLOOD)}; output;"
    flows.add(_LOOK_UP, 100, "eth.mcast", flood)
    flows.add(_LOOK_UP, 0, "1", "outport = get_fdb(eth.dst); next;")
    flows.add(_FORWARD, 50, 'outport == "none"', flood)
    flows.add(_FORWARD, 0, "1", "output;")
    flows.deliver()
    return flows.emission({FLOOD: tuple(ports)})

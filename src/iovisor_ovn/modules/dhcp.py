# SPDX-License-Identifier: Apache-2.0
"""A DHCPv4 server as a module: what is for its address or for all, and nothing else.

::

    ADMIT    frames for the server's MAC address and for groups
    ANSWER   ARP and echo requests for its address, DHCP messages

DHCP itself is the machine's (``bpf/iomodules/dhcp``), from the pool that the settings make; the
reply leaves by the port that the message came in by, be it from a client, a relay or a router.
"""

from iovisor_ovn.config.topology import Dhcp
from iovisor_ovn.modules.emission import BACK, Emission, FlowList, answer_arp, braces

__all__ = ["emit_dhcp"]

_ADMIT, _ANSWER = range(2)
_EVERYBODY = "255.255.255.255"


def emit_dhcp(name: str, dhcp: Dhcp, pool: int) -> Emission:
    """Flows of the server ``name``; ``pool`` is the number under which its settings are known."""
    flows = FlowList(name)
    ip, mac = dhcp.server.ip, dhcp.server_mac
    flows.add(_ADMIT, 100, "vlan.present || eth.src[40]", "drop;")
    flows.add(_ADMIT, 50, f"eth.mcast || eth.dst == {mac}", "next;")
    flows.add(
        _ANSWER,
        50,
        f"arp.op == 1 && arp.tpa == {ip}",
        answer_arp(ip, mac),
    )
    flows.add(
        _ANSWER,
        50,
        f"ip4.dst == {ip} && icmp4.type == 8 && icmp4.code == 0 && !ip.later_frag",
        f"eth.dst <-> eth.src; ip4.dst <-> ip4.src; ip.ttl = 64; icmp4.type = 0; {BACK}",
    )
    flows.add(
        _ANSWER,
        50,
        f"ip4.dst == {braces((ip, _EVERYBODY))} && udp.dst == 67",
        f"dhcp_server(pool = {pool}) {{ {BACK} }};",
    )
    flows.add(_ANSWER, 0, "1", flows.count("not for the server"))
    flows.deliver()
    return flows.emission()

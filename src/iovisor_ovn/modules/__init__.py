# SPDX-License-Identifier: Apache-2.0
"""Network functions as logical flows: what ovn-northd is to OVN, these are to a service chain.

A module becomes one logical datapath. Its function takes the module's settings and what it is
connected to, and returns an :class:`~iovisor_ovn.modules.emission.Emission`: flows in OVN's own
language, multicast groups, neighbours. Nothing here touches the kernel or the outside.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from iovisor_ovn.config.topology import (
    Dhcp,
    Ebpf,
    Endpoint,
    Firewall,
    LoadBalancer,
    Module,
    Nat,
    Null,
    OneToOneNat,
    Router,
    Switch,
    Topology,
)
from iovisor_ovn.errors import LanguageError, Problem, TopologyError
from iovisor_ovn.modules.dhcp import emit_dhcp
from iovisor_ovn.modules.ebpf import emit_ebpf
from iovisor_ovn.modules.emission import (
    Emission,
    Flow,
    Peer,
    link_counter,
    port_name,
    quoted,
)
from iovisor_ovn.modules.firewall import emit_firewall, rule_match
from iovisor_ovn.modules.loadbalancer import emit_load_balancer
from iovisor_ovn.modules.nat import emit_nat, emit_one_to_one_nat
from iovisor_ovn.modules.null import emit_null
from iovisor_ovn.modules.router import emit_router
from iovisor_ovn.modules.switch import emit_switch

__all__ = ["Emission", "emit"]


def emit(
    topology: Topology,
    dead: Mapping[str, Collection[tuple[int, int]]] | None = None,
    pools: Mapping[str, int] | None = None,
) -> Mapping[str, Emission]:
    """What each module of a chain gives to the machine, by the module's name.

    ``dead`` names load balancers' backends that get no connections: positions of VIP and backend.
    ``pools`` says under which number the machine knows the pool of a DHCP server: without it the
    flows are good for being checked only. Raises TopologyError when a firewall's match is none.
    """
    problems = [
        problem
        for module in topology.modules
        if isinstance(module.config, Firewall)
        for problem in _wrong_rules(module.config)
    ]
    if problems:
        raise TopologyError(topology.source, problems)
    peers = _peers(topology)
    emissions = {
        module.name: _emit(
            module,
            peers,
            (dead or {}).get(module.name, ()),
            (pools or {}).get(module.name, 0),
        )
        for module in topology.modules
    }
    return {name: _counting_links(name, what, peers) for name, what in emissions.items()}


def _counting_links(module: str, emission: Emission, peers: Mapping[Endpoint, Peer]) -> Emission:
    """The emission with a counter for what leaves by each port that is linked.

    It is in front of the `output` of the egress pipeline, which does nothing else in any module.
    Costs 2 to 3 ns a link (null modules in a row, with the fast path, 165 ns in all).
    """
    names = {end.port: link_counter(module, end.port) for end in peers if end.module == module}
    flows = (
        Flow(True, 0, 50, f"outport == {quoted(port_name(module, port))}",
             f"count({quoted(name)}); output;")
        for port, name in names.items()
    )  # fmt: skip
    return replace(
        emission,
        flows=(*emission.flows, *flows),
        counters=(*emission.counters, *names.values()),
    )


def _wrong_rules(firewall: Firewall) -> Iterator[Problem]:
    ports = {port: port for port in (firewall.inside, firewall.outside)}
    for rule in firewall.rules:
        try:
            rule_match(rule.match, ports)
        except LanguageError as error:
            yield rule.place.problem(str(error))


def _peers(topology: Topology) -> Mapping[Endpoint, Peer]:
    """What each linked port meets: addresses where the other end is a router's interface."""
    routers = {
        Endpoint(module.name, interface.name): Peer(interface.addresses, interface.mac)
        for module in topology.modules
        if isinstance(module.config, Router)
        for interface in module.config.interfaces
    }
    found = {}
    for link in topology.links:
        for here, there in (link.ends, link.ends[::-1]):
            found[here] = routers.get(there, Peer())
    return found


def _emit(
    module: Module,
    peers: Mapping[Endpoint, Peer],
    dead: Collection[tuple[int, int]],
    pool: int,
) -> Emission:
    def peer(port: str) -> Peer:
        return peers.get(Endpoint(module.name, port), Peer())

    match module.config:
        case Switch() as switch:
            return emit_switch(module.name, switch, module.ports)
        case Router() as router:
            return emit_router(module.name, router)
        case Firewall() as firewall:
            return emit_firewall(module.name, firewall)
        case Nat() as nat:
            return emit_nat(module.name, nat, peer(nat.inside))
        case OneToOneNat() as nat:
            return emit_one_to_one_nat(module.name, nat, peer(nat.inside))
        case LoadBalancer() as balancer:
            return emit_load_balancer(module.name, balancer, peer(balancer.servers), dead)
        case Dhcp() as dhcp:
            return emit_dhcp(module.name, dhcp, pool)
        case Null() as null:
            return emit_null(module.name, null, module.ports)
        case Ebpf():
            return emit_ebpf(module.name, module.ports)

# SPDX-License-Identifier: Apache-2.0
"""A load balancer between clients and servers: VIPs, backends, affinity.

::

    DIRECT    in by one port, out by the other; ARP and ND for VIPs and its own address; probes
    KNOWN     conntrack says what belongs to a connection that has its backend
    REMEMBER  a client with affinity: which backend had it
    CHOOSE    a new connection gets a backend, by the hash of its five-tuple
    LEARN     the backend is remembered for the client
    RESOLVE   on its own link: MAC address of the backend
    SEND      out, or held while the backend is asked for

Transparent at layer 2: it stands before a router, which finds the way to the backends, or has an
address of its own (``address``, ``mac``) and reaches backends on its own link. Weights are shares:
a backend of weight 3 stands three times in the list from which the hash chooses.

Registers are those of ovn-northd for a router's load balancers: reg0 or xxreg0 the VIP, reg4 or
xxreg1 and reg8[0..15] a remembered backend, reg9[6] whether there is one.
"""

from collections.abc import Collection, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

from iovisor_ovn.config.topology import Backend, LoadBalancer, Vip
from iovisor_ovn.modules.emission import (
    BACK,
    REJECT,
    Emission,
    FlowList,
    Peer,
    Speaker,
    answer_arp,
    quoted,
)

__all__ = ["RESOLVE", "emit_load_balancer"]

_DIRECT, _KNOWN, _REMEMBER, _CHOOSE, _LEARN, RESOLVE, _SEND = range(7)
_REMEMBERED = "reg9[6]"
_NO_MAC = "00:00:00:00:00:00"


def emit_load_balancer(
    name: str, balancer: LoadBalancer, servers: Peer, dead: Collection[tuple[int, int]] = ()
) -> Emission:
    """Flows of the module ``name``.

    ``servers`` is what lies behind its servers' port; ``dead`` names backends that get no new
    connections, by position of VIP and of backend within it.
    """
    flows = FlowList(name)
    clients = f"inport == {flows.port(balancer.clients)}"
    behind = f"inport == {flows.port(balancer.servers)}"
    mac = balancer.mac or servers.mac
    _direct(flows, balancer, clients, behind)
    _own_address(flows, balancer, clients, behind)
    for address in dict.fromkeys(vip.ip for vip in balancer.vips):
        if mac:
            _answer_for(flows, f"{clients} && ", address, mac)
        _answer_echo(flows, f"{clients} && ip{address.version}.dst == {address}", address.version)
        flows.add(_KNOWN, 50, f"{clients} && ip{address.version}.dst == {address}", "ct_dnat;")
        # What reaches CHOOSE and has no backend by then has no service.
        flows.add(
            _CHOOSE, 10, f"{clients} && ip{address.version}.dst == {address}",
            f"{flows.count(f'no service {address}')} {REJECT}",
        )  # fmt: skip
    flows.add(_KNOWN, 40, f"{behind} && ip", "ct_dnat;")
    flows.add(_KNOWN, 0, "1", "next;")
    for position, vip in enumerate(balancer.vips):
        alive = [
            backend for place, backend in enumerate(vip.backends) if (position, place) not in dead
        ]
        _vip(flows, f"{clients} && ", vip, alive)
    for table in (_REMEMBER, _CHOOSE, _LEARN):
        flows.add(table, 0, "1", "next;")
    _resolve(flows, balancer)
    flows.add(_SEND, 0, "1", "output;")
    flows.deliver()
    speakers = (
        (Speaker(balancer.servers, balancer.mac, (balancer.address,)),) if balancer.address else ()
    )
    return flows.emission(has_zones=True, speakers=speakers)


def _direct(flows: FlowList, balancer: LoadBalancer, clients: str, behind: str) -> None:
    for match, there in ((clients, balancer.servers), (behind, balancer.clients)):
        flows.add(_DIRECT, 40, match, f"outport = {flows.port(there)}; next;")


def _own_address(flows: FlowList, balancer: LoadBalancer, clients: str, behind: str) -> None:
    if balancer.address is None:
        return
    own = balancer.address.ip
    to = f"ip{own.version}.dst == {own}"
    _answer_for(flows, "", own, balancer.mac)
    _answer_echo(flows, to, own.version)
    # Answers to probes, and to what asks for the backends' MAC addresses.
    flows.add(_DIRECT, 80, f"{behind} && {to}", "punt;")
    if own.version == 4:
        flows.add(
            _DIRECT, 85, f"{behind} && arp.op == 2 && arp.tpa == {own}",
            "put_arp(inport, arp.spa, arp.sha);",
        )  # fmt: skip
    else:
        flows.add(
            _DIRECT, 85, f"{behind} && nd_na && {to} && nd.tll != {_NO_MAC}",
            "put_nd(inport, nd.target, nd.tll);",
        )  # fmt: skip
    if own not in {vip.ip for vip in balancer.vips}:
        flows.add(_DIRECT, 80, f"{clients} && {to}", "drop;")


def _answer_echo(flows: FlowList, match: str, version: int) -> None:
    request, reply = ((8, 0), (128, 129))[version == 6]
    flows.add(
        _DIRECT, 90, f"{match} && icmp{version}.type == {request} && icmp{version}.code == 0",
        f"eth.dst <-> eth.src; ip{version}.dst <-> ip{version}.src; ip.ttl = 255;"
        f" icmp{version}.type = {reply}; {BACK}",
    )  # fmt: skip


def _answer_for(flows: FlowList, port: str, address: IPv4Address | IPv6Address, mac: str) -> None:
    """Answer ARP or neighbour solicitations for an address with a MAC address."""
    if isinstance(address, IPv4Address):
        flows.add(
            _DIRECT, 90, f"{port}arp.op == 1 && arp.tpa == {address}",
            answer_arp(address, mac),
        )  # fmt: skip
        return
    flows.add(
        _DIRECT, 90, f"{port}nd_ns && nd.target == {address}",
        f"nd_na {{ eth.src = {mac}; ip6.src = {address}; nd.target = {address}; nd.tll = {mac};"
        f" {BACK} }};",
    )  # fmt: skip


def _endpoint(ip: IPv4Address | IPv6Address, port: int | None) -> str:
    if port is None:
        return str(ip)
    return f"{ip}:{port}" if ip.version == 4 else f"[{ip}]:{port}"


def _backends(backends: Sequence[Backend]) -> Iterator[str]:
    """Each backend as often as its weight says, by turns."""
    most = max(backend.weight for backend in backends)
    for turn in range(most):
        for backend in backends:
            if turn < backend.weight:
                yield _endpoint(backend.ip, backend.port)


def _vip(flows: FlowList, port: str, vip: Vip, alive: Sequence[Backend]) -> None:
    version = vip.ip.version
    service = f"ip{version}.dst == {vip.ip} && {vip.protocol}"
    if vip.port is not None:
        service += f" && {vip.protocol}.dst == {vip.port}"
    name = f"{vip.protocol} {_endpoint(vip.ip, vip.port)}"
    new = f"{port}ct.new && {service}"
    # A connection that is known has been translated by conntrack: it is not for the VIP any more.
    count = flows.count(f"{name} new connections")
    none = flows.count(f"{name} without backend")
    if not alive:
        flows.add(_CHOOSE, 50, new, f"{none} {REJECT}")
        return
    keep = "reg0" if version == 4 else "xxreg0"
    if vip.affinity_s:
        _affinity(flows, port, vip, alive)
    flows.add(
        _CHOOSE, 50, new,
        f"{count} {keep} = ip{version}.dst; ct_lb_mark(backends={','.join(_backends(alive))});",
    )  # fmt: skip


def _affinity(flows: FlowList, port: str, vip: Vip, alive: Sequence[Backend]) -> None:
    version = vip.ip.version
    keep, was = (("reg0", "reg4"), ("xxreg0", "xxreg1"))[version == 6]
    protocol = vip.protocol
    service = f"ip{version}.dst == {vip.ip} && {protocol} && {protocol}.dst == {vip.port}"
    flows.add(
        _REMEMBER, 50, f"{port}ct.new && {service}",
        f"{keep} = ip{version}.dst; reg9[16..31] = {protocol}.dst; {_REMEMBERED} = chk_lb_aff();"
        " next;",
    )  # fmt: skip
    for backend in alive:
        end = _endpoint(backend.ip, backend.port)
        flows.add(
            _CHOOSE, 60,
            f"{port}{_REMEMBERED} == 1 && ct.new && {service} && {was} == {backend.ip}"
            f" && reg8[0..15] == {backend.port}",
            f"{keep} = ip{version}.dst; ct_lb_mark(backends={end});",
        )  # fmt: skip
        flows.add(
            _LEARN, 50,
            f"{port}{_REMEMBERED} == 0 && ct.new && ip{version} && {keep} == {vip.ip}"
            f" && ip{version}.dst == {backend.ip} && {protocol}.dst == {backend.port}",
            f"commit_lb_aff(vip = {quoted(_endpoint(vip.ip, vip.port))}, backend = {quoted(end)},"
            f" proto = {protocol}, timeout = {vip.affinity_s}); next;",
        )  # fmt: skip


def _resolve(flows: FlowList, balancer: LoadBalancer) -> None:
    """On the load balancer's own link: what came for its MAC address, and its probes (for none)."""
    flows.add(RESOLVE, 0, "1", "next;")
    address = balancer.address
    if address is None:
        return
    version = address.version
    hop, own = (("reg0", "reg1"), ("xxreg0", "xxreg1"))[version == 6]
    get = "get_arp" if version == 4 else "get_nd"
    flows.add(
        RESOLVE, 50,
        f"eth.dst == {{{balancer.mac}, {_NO_MAC}}} && ip{version}.dst == {address.network}",
        f"{hop} = ip{version}.dst; {own} = {address.ip}; {get}(outport, {hop}); next;",
    )  # fmt: skip
    ask = (
        f"arp {{ eth.src = {balancer.mac}; eth.dst = ff:ff:ff:ff:ff:ff; arp.spa = reg1;"
        " arp.tpa = reg0; arp.op = 1; output; };"
        if version == 4
        else f"nd_ns {{ eth.src = {balancer.mac}; ip6.src = xxreg1; nd.target = xxreg0; output; }};"
    )
    flows.add(_SEND, 50, f"ip{version} && eth.dst == {_NO_MAC}", ask)

# SPDX-License-Identifier: Apache-2.0
"""A router for IPv4 and IPv6 (RFC 1812, 4443, 4861), as far as a chain needs one.

::

    ADMIT      frames for the port's MAC address and for groups
    KNOWN      whether the sender of ARP or ND is a neighbour already
    LEARN      neighbours from ARP (RFC 826) and ND
    INPUT      what is for the router itself: ARP, ND, echo, unreachable ports; TTL exceeded
    ROUTE      longest prefix first: next hop, source address, MAC address, port
    RESOLVE    MAC address of the next hop
    MEASURE    packets longer than the MTU of the port that they leave by are answered
    SEND       out, or held while the next hop is asked for
    UNREACHED  where held packets come when nobody answered: their senders are told

Registers: reg0 and xxreg0 hold the next hop, reg1 and xxreg1 the router's address on the way out,
reg9[0] "too long", reg9[1] "a neighbour already". What the router sends of its own accord enters
at ROUTE.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
)

from iovisor_ovn.config.topology import Route, Router, RouterInterface
from iovisor_ovn.modules.emission import (
    BACK,
    FOR_MANY,
    MARTIAN,
    NOT_ANSWERED,
    Emission,
    FlowList,
    Neighbour,
    Speaker,
    answer_arp,
    braces,
)

__all__ = ["RouteEntry", "emit_router", "link_local", "routes_of"]

_ADMIT, _KNOWN, _LEARN, _INPUT, _ROUTE, _RESOLVE, _MEASURE, _SEND, _UNREACHED = range(9)
_ETHERNET_BYTES = 14
#: Priorities of ROUTE: those of prefixes begin here, two for each length.
_FIRST_PREFIX = 10
_NO_MAC = "00:00:00:00:00:00"
_TO_ROUTE = f"next(pipeline=ingress, table={_ROUTE});"

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class _Answers:
    """The addresses with which the router speaks on a port."""

    four: _Address | None
    six: _Address | None


_AnswersByPort = Mapping[str, _Answers]


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """A route as it is in force; ``is_connected`` ones win over static ones of their length."""

    network: _Network
    port: str
    next_hop: _Address | None
    source: _Address | None
    is_connected: bool


def link_local(mac: str) -> IPv6Address:
    """Link-local address of a MAC address (RFC 4291, appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    host = bytes((raw[0] ^ 2, raw[1], raw[2], 0xFF, 0xFE, raw[3], raw[4], raw[5]))
    return IPv6Address(b"\xfe\x80" + bytes(6) + host)


def routes_of(router: Router) -> list[RouteEntry]:
    """All routes, connected and static; of several to one network the first that is written."""
    found: dict[tuple[_Network, bool], RouteEntry] = {}
    ports = {port.name: _with_link_local(port) for port in router.interfaces}
    for name, port in ports.items():
        for address in port.addresses:
            if not address.is_link_local:
                entry = RouteEntry(address.network, name, None, address.ip, is_connected=True)
                found.setdefault((entry.network, True), entry)
    for route in router.static_routes:
        source = _source(ports[route.interface], ports.values(), route)
        entry = RouteEntry(
            route.network, route.interface, route.next_hop, source, is_connected=False
        )
        found.setdefault((entry.network, False), entry)
    return list(found.values())


def emit_router(name: str, router: Router) -> Emission:
    """Flows of the router ``name``."""
    ports = [_with_link_local(port) for port in router.interfaces]
    flows = FlowList(name)
    routes = routes_of(router)
    answers = {port.name: _Answers(_own(port, ports, 4), _own(port, ports, 6)) for port in ports}
    _admit(flows, ports)
    _learn(flows, ports, routes, answers)
    _input_neighbours(flows, ports, answers)
    _input_packets(flows, ports, answers)
    _ttl(flows, answers)
    _route(flows, ports, routes)
    _tell(flows, _ROUTE, ports, answers, ((3, 0), (1, 0)))
    _resolve(flows)
    _measure(flows, ports)
    _send(flows, ports, answers, routes)
    _tell(flows, _UNREACHED, ports, answers, ((3, 1), (1, 3)))
    flows.deliver()
    return flows.emission(
        neighbours=tuple(_neighbours(router, routes)),
        speakers=tuple(_speaker(port, answers[port.name]) for port in ports),
        unreachable=_UNREACHED,
    )


def _speaker(port: RouterInterface, answers: _Answers) -> Speaker:
    """The addresses that ROUTE puts into reg1 and xxreg1."""
    others = [ip_interface(f"{ip}/0") for ip in (answers.four, answers.six) if ip is not None]
    return Speaker(port.name, port.mac, (*port.addresses, *others))


def _with_link_local(port: RouterInterface) -> RouterInterface:
    """Give a port with IPv6 addresses a link-local one, which neighbour discovery needs."""
    six = [address for address in port.addresses if address.version == 6]
    if not six or any(address.is_link_local for address in six):
        return port
    own = ip_interface(f"{link_local(port.mac)}/64")
    return RouterInterface(port.name, (*port.addresses, own), port.mac, port.mtu)


def _own(port: RouterInterface, ports: Iterable[RouterInterface], version: int) -> _Address | None:
    """The address with which the router speaks on a port: of another port if it has none."""
    for candidate in (port, *ports):
        family = [address.ip for address in candidate.addresses if address.version == version]
        for own in sorted(family, key=lambda address: address.is_link_local):
            if candidate is port or not own.is_link_local:
                return own
    return None


def _source(
    port: RouterInterface, ports: Iterable[RouterInterface], route: Route
) -> _Address | None:
    """The router's address towards a static route: that in the next hop's network if there is."""
    for address in port.addresses:
        if route.next_hop is not None and route.next_hop in address.network:
            return address.ip
    return _own(port, ports, route.network.version)


def _admit(flows: FlowList, ports: Sequence[RouterInterface]) -> None:
    flows.add(_ADMIT, 100, "vlan.present || eth.src[40]", "drop;")
    for port in ports:
        here = f"inport == {flows.port(port.name)}"
        flows.add(
            _ADMIT,
            50,
            f"{here} && (eth.mcast || eth.dst == {port.mac})",
            f"xreg0[0..47] = {port.mac}; next;",
        )


def _learn(flows: FlowList, ports: Sequence[RouterInterface], routes: Iterable[RouteEntry],
           answers: _AnswersByPort) -> None:  # fmt: skip
    """Whoever asks or answers the router becomes a neighbour; of others it believes news only."""
    flows.add(_KNOWN, 50, "arp.op == {1, 2}", "reg9[1] = lookup_arp_ip(inport, arp.spa); next;")
    flows.add(_KNOWN, 50, "nd_na", "reg9[1] = lookup_nd_ip(inport, nd.target); next;")
    flows.add(_KNOWN, 0, "1", "next;")
    # RFC 1812, 3.3.2: nobody is behind a group's address.
    for sender in ("arp.sha", "nd.sll"):
        flows.add(_LEARN, 110, f"{sender}[40]", "next;")
    flows.add(_LEARN, 110, f"arp.sha == {_NO_MAC}", "next;")
    flows.add(_LEARN, 110, "nd_na && (nd.tll[40] || eth.src[40])", "next;")
    own4 = {address.ip for port in ports for address in port.addresses if address.version == 4}
    own6 = {address.ip for port in ports for address in port.addresses if address.version == 6}
    # Whoever uses our address is a fault to be seen elsewhere, not a neighbour.
    if own4:
        flows.add(_LEARN, 110, f"arp.spa == {braces(sorted(own4))}", "next;")
    if own6:
        own = braces(sorted(own6))
        flows.add(_LEARN, 110, f"nd_ns && ip6.src == {own}", "next;")
        flows.add(_LEARN, 110, f"nd_na && nd.target == {own}", "next;")
        flows.add(
            _LEARN,
            100,
            f"nd_ns && ip6.src != :: && nd.target == {own} && nd.sll != {_NO_MAC}",
            "put_nd(inport, ip6.src, nd.sll); next;",
        )
        asked = f"nd_na && (reg9[1] == 1 || ip6.dst == {own})"
        flows.add(_LEARN, 90, asked, "put_nd(inport, nd.target, eth.src); next;")
        flows.add(
            _LEARN,
            100,
            f"{asked} && nd.tll != {_NO_MAC}",
            "put_nd(inport, nd.target, nd.tll); next;",
        )
    on_link = {
        (route.port, IPv4Network(route.next_hop or route.network))
        for route in routes
        if route.network.version == 4
    }
    for name, network in sorted(on_link, key=str):
        if answers[name].four is None:
            continue
        known = f"arp.spa == {network}" if network.prefixlen else "arp.spa != 0.0.0.0"
        flows.add(
            _LEARN,
            100,
            f"inport == {flows.port(name)} && arp.op == {{1, 2}} && {known}"
            f" && (reg9[1] == 1 || arp.tpa == {braces(sorted(own4))})",
            "put_arp(inport, arp.spa, arp.sha); next;",
        )
    flows.add(_LEARN, 0, "1", "next;")


def _input_neighbours(
    flows: FlowList, ports: Sequence[RouterInterface], answers: _AnswersByPort
) -> None:
    """ARP and neighbour discovery for the router's own addresses."""
    for port in ports:
        here = f"inport == {flows.port(port.name)}"
        own = {address.ip for address in port.addresses}
        # A port without an address asks with another's, and is asked for it.
        own |= {ip for ip in (answers[port.name].four, answers[port.name].six) if ip is not None}
        for ip in sorted(own, key=str):
            if isinstance(ip, IPv4Address):
                flows.add(
                    _INPUT,
                    120,
                    f"{here} && arp.op == 1 && arp.tpa == {ip}",
                    answer_arp(ip, "xreg0[0..47]"),
                )
            else:
                flows.add(
                    _INPUT,
                    120,
                    f"{here} && nd_ns && ip6.dst == {{{ip}, {_solicited(ip)}}}"
                    f" && nd.target == {ip}",
                    f"nd_na_router {{ eth.src = xreg0[0..47]; ip6.src = {ip}; nd.target = {ip};"
                    f" nd.tll = xreg0[0..47]; {BACK} }};",
                )
    flows.add(_INPUT, 110, "arp || nd || nd_rs || nd_ra", "drop;")


def _solicited(address: IPv6Address) -> IPv6Address:
    """The group that an address is asked for in (RFC 4291, 2.7.1)."""
    return IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(address) & 0xFFFFFF)


def _group_mac(group: IPv6Address) -> str:
    """MAC address of a group (RFC 2464, 7)."""
    return (b"\x33\x33" + group.packed[-4:]).hex(":")


def _input_packets(
    flows: FlowList, ports: Sequence[RouterInterface], answers: _AnswersByPort
) -> None:
    """Packets for the router itself, and such as no router forwards."""
    flows.add(_INPUT, 100, MARTIAN, "drop;")
    flows.add(_INPUT, 95, FOR_MANY, "drop;")
    four: set[IPv4Address] = set()
    six: set[IPv6Address] = set()
    for port in ports:
        here = f"inport == {flows.port(port.name)}"
        for address in port.addresses:
            network, own = address.network, address.ip
            if isinstance(own, IPv4Address):
                four.add(own)
                if network.prefixlen < 31:
                    flows.add(_INPUT, 100, f"ip4.src == {network.broadcast_address}", "drop;")
                    # A router forwards no directed broadcasts (RFC 2644).
                    flows.add(_INPUT, 95, f"ip4.dst == {network.broadcast_address}", "drop;")
            elif own.is_link_local:
                # One of these means something on its own link only.
                flows.add(_INPUT, 100, f"{here} && ip6.src == {own}", "drop;")
                flows.add(_INPUT, 90, f"{here} && ip6.dst == {own} && {_ECHO6}", _ANSWER_ECHO6)
                flows.add(_INPUT, 60, f"{here} && ip6.dst == {own}", "drop;")
                # Groups that the router is in; RFC 4443, 4.2, has members answer.
                flows.add(
                    _INPUT,
                    97,
                    f"{here} && eth.mcastv6 && ip6.dst == {{ff02::1, ff02::2}} && {_ECHO6}",
                    f"ip6.dst = ip6.src; ip6.src = {own}; {_SEND_ECHO6}",
                )
            else:
                six.add(own)
    if four:
        flows.add(_INPUT, 100, f"ip4.src == {braces(sorted(four))}", "drop;")
    if six:
        flows.add(_INPUT, 100, f"ip6.src == {braces(sorted(six))}", "drop;")
    for own4 in sorted(four):
        _own_address(flows, 4, str(own4))
    for own6 in sorted(six):
        _own_address(flows, 6, str(own6))
    flows.add(_INPUT, 57, "ip6.dst == fe80::/10", "drop;")
    # Beyond the scope of the source address (RFC 4007, 9).
    flows.add(_INPUT, 56, f"ip6.src == fe80::/10 && ({NOT_ANSWERED})", "drop;")
    _errors(flows, _INPUT, 55, "ip6.src == fe80::/10", answers, ((3, 0), (1, 2)), versions=(6,))
    flows.add(_INPUT, 0, "ip", "next;")


# A fragment is a part of a question.
_ECHO4 = "icmp4.type == 8 && icmp4.code == 0 && !ip.is_frag"
_ECHO6 = "icmp6.type == 128 && icmp6.code == 0 && !ip.is_frag"
_ANSWER_ECHO4 = (
    f"ip4.dst <-> ip4.src; ip.ttl = 255; icmp4.type = 0; flags.loopback = 1; {_TO_ROUTE}"
)
_SEND_ECHO6 = f"ip.ttl = 255; icmp6.type = 129; flags.loopback = 1; {_TO_ROUTE}"
_ANSWER_ECHO6 = f"ip6.dst <-> ip6.src; {_SEND_ECHO6}"


def _own_address(flows: FlowList, version: int, own: str) -> None:
    """Echo, and what a host says to packets for services that it does not have."""
    to = f"ip{version}.dst == {own}"
    echo, answer = (_ECHO4, _ANSWER_ECHO4) if version == 4 else (_ECHO6, _ANSWER_ECHO6)
    turn = f"eth.dst <-> eth.src; ip{version}.dst <-> ip{version}.src; ip.ttl = 255;"
    icmp = f"icmp{version}"
    kind, port_code, protocol_code = (3, 3, 2) if version == 4 else (1, 4, 3)
    first = "!ip.later_frag && "

    def unreachable(code: int) -> str:
        return f"{icmp} {{ {turn} {icmp}.type = {kind}; {icmp}.code = {code}; {_TO_ROUTE} }};"

    flows.add(_INPUT, 90, f"{to} && {echo}", answer)
    flows.add(_INPUT, 80, f"{to} && {first}udp", unreachable(port_code))
    flows.add(_INPUT, 80, f"{to} && {first}tcp", f"tcp_reset {{ {turn} {_TO_ROUTE} }};")
    # A reset is not answered (RFC 9293, 3.5.2).
    flows.add(_INPUT, 85, f"{to} && {first}tcp && tcp.flags[2] == 1", "drop;")
    flows.add(_INPUT, 75, f"{to} && {icmp}", "drop;")
    flows.add(_INPUT, 70, f"{to} && {first}ip", unreachable(protocol_code))
    flows.add(_INPUT, 60, to, "drop;")


def _errors(flows: FlowList, table: int, priority: int, match: str, answers: _AnswersByPort,
            codes: tuple[tuple[int, int], tuple[int, int]], extra: tuple[str, str] = ("", ""),
            verb: str = "", versions: Sequence[int] = (4, 6)) -> None:  # fmt: skip
    """Answer packets with an ICMP error, from the address of the port that they came by.

    ``codes`` are type and code, ``extra`` what else the error carries, each for ICMP and ICMPv6.
    """
    for port, own in answers.items():
        for version, address in ((4, own.four), (6, own.six)):
            if address is None or version not in versions:
                continue
            kind, code = codes[version == 6]
            icmp = f"icmp{version}"
            flows.add(
                table,
                priority,
                f"inport == {flows.port(port)} && ip{version} && {match}",
                f"{icmp}{verb} {{ eth.dst <-> eth.src; {icmp}.type = {kind}; {icmp}.code = {code};"
                f"{extra[version == 6]} ip{version}.dst = ip{version}.src;"
                f" ip{version}.src = {address}; ip.ttl = 255; {_TO_ROUTE} }};",
            )


def _ttl(flows: FlowList, answers: _AnswersByPort) -> None:
    flows.add(_INPUT, 50, f"ip.ttl == {{0, 1}} && ({NOT_ANSWERED})", "drop;")
    _errors(flows, _INPUT, 40, "ip.ttl == {0, 1}", answers, ((11, 0), (3, 0)))
    flows.add(_INPUT, 30, "ip.ttl == {0, 1}", "drop;")


def _route(flows: FlowList, ports: Sequence[RouterInterface], routes: Iterable[RouteEntry]) -> None:
    macs = {port.name: port.mac for port in ports}
    for route in routes:
        version = route.network.version
        hop, source = ("reg0", "reg1") if version == 4 else ("xxreg0", "xxreg1")
        if route.source is None:
            # Nobody could be asked for the next hop: the router has no address of that family.
            actions = "drop;"
        else:
            actions = (
                f"ip.ttl--; {hop} = {route.next_hop or f'ip{version}.dst'};"
                f" {source} = {route.source}; eth.src = {macs[route.port]};"
                f" outport = {flows.port(route.port)}; flags.loopback = 1; next;"
            )
        flows.add(
            _ROUTE,
            _FIRST_PREFIX + 2 * route.network.prefixlen + route.is_connected,
            f"ip{version}.dst == {route.network}" if route.network.prefixlen else f"ip{version}",
            actions,
        )
    for port in ports:
        # Only what the router answers itself gets here with such a destination.
        for address in port.addresses:
            if isinstance(address, IPv6Interface) and address.is_link_local:
                flows.add(
                    _ROUTE,
                    _FIRST_PREFIX + 2 * 128 + 2,
                    f"inport == {flows.port(port.name)} && ip6.dst == fe80::/10",
                    f"ip.ttl--; xxreg0 = ip6.dst; xxreg1 = {address.ip}; eth.src = {port.mac};"
                    f" outport = inport; flags.loopback = 1; next;",
                )


def _tell(flows: FlowList, table: int, ports: Sequence[RouterInterface], answers: _AnswersByPort,
          codes: tuple[tuple[int, int], tuple[int, int]]) -> None:  # fmt: skip
    """What goes no further: its sender is told, unless that is the router or may not be told."""
    for version, own in _own_texts(ports).items():
        flows.add(table, 5, f"ip{version}.src == {own}", "drop;")
    flows.add(table, 5, NOT_ANSWERED, "drop;")
    _errors(flows, table, 3, "1", answers, codes)
    flows.add(table, 0, "1", "drop;")


def _own_texts(ports: Iterable[RouterInterface]) -> dict[int, str]:
    """Set constants of all of the router's addresses, by the IP version if it has any."""
    found: dict[int, set[str]] = {}
    for port in ports:
        for address in port.addresses:
            found.setdefault(address.version, set()).add(str(address.ip))
    return {version: braces(sorted(own)) for version, own in found.items()}


def _resolve(flows: FlowList) -> None:
    flows.add(_RESOLVE, 0, "ip4", "get_arp(outport, reg0); next;")
    flows.add(_RESOLVE, 0, "ip6", "get_nd(outport, xxreg0); next;")


def _measure(flows: FlowList, ports: Sequence[RouterInterface]) -> None:
    for port in ports:
        if port.mtu is None:
            continue
        there = f"outport == {flows.port(port.name)}"
        longest = port.mtu + _ETHERNET_BYTES
        flows.add(_MEASURE, 50, there, f"reg9[0] = check_pkt_larger({longest}); next;")
    # An error about a packet that was too long has the packet's registers.
    flows.add(_MEASURE, 0, "1", "reg9[0] = 0; next;")


def _send(flows: FlowList, ports: Sequence[RouterInterface], answers: _AnswersByPort,
          routes: Iterable[RouteEntry]) -> None:  # fmt: skip
    for version, own in _own_texts(ports).items():
        flows.add(_SEND, 95, f"reg9[0] && ip{version}.src == {own}", "drop;")
    for mtu in sorted({port.mtu for port in ports if port.mtu is not None}):
        there = braces(flows.port(port.name) for port in ports if port.mtu == mtu)
        match = f"reg9[0] && outport == {there}"
        flows.add(_SEND, 90, f"{match} && ({NOT_ANSWERED})", "drop;")
        extra = (f" icmp4.frag_mtu = {mtu};", f" icmp6.frag_mtu = {mtu};")
        _errors(flows, _SEND, 80, match, answers, ((3, 4), (2, 0)), extra, "_error")
        flows.add(_SEND, 70, match, "drop;")
    flows.add(
        _SEND,
        50,
        f"ip4 && eth.dst == {_NO_MAC}",
        "arp { eth.dst = ff:ff:ff:ff:ff:ff; arp.spa = reg1; arp.tpa = reg0; arp.op = 1; output; };",
    )
    # The verb asks in the group of the packet's destination: right on link only.
    hops = {route.next_hop for route in routes if isinstance(route.next_hop, IPv6Address)}
    for hop in sorted(hops):
        group = _solicited(hop)
        flows.add(
            _SEND,
            60,
            f"ip6 && eth.dst == {_NO_MAC} && xxreg0 == {hop}",
            f"nd_ns {{ eth.dst = {_group_mac(group)}; ip6.dst = {group}; ip6.src = xxreg1;"
            f" nd.target = {hop}; output; }};",
        )
    flows.add(
        _SEND,
        50,
        f"ip6 && eth.dst == {_NO_MAC}",
        "nd_ns { ip6.src = xxreg1; nd.target = xxreg0; output; };",
    )
    flows.add(_SEND, 0, "1", "output;")


def _neighbours(router: Router, routes: Iterable[RouteEntry]) -> Iterator[Neighbour]:
    """Configured neighbours, each behind the port that its address is routed to."""
    ordered = sorted(routes, key=lambda route: (-route.network.prefixlen, not route.is_connected))
    for entry in router.arp_entries:
        for route in ordered:
            if route.network.version == entry.ip.version and entry.ip in route.network:
                yield Neighbour(route.port, entry.ip, entry.mac)
                break

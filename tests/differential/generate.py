# SPDX-License-Identifier: Apache-2.0
"""Random topologies out of what the agent executes.

A feature that the agent learns is added here: a method that draws its elements, called from
:func:`generate`. Not drawn is what is not executed yet: tunnels, localnet ports, DHCP, DNS, router
advertisements, meters, logging, multicast snooping.

Where OVN is free to choose, either choice is the same packet: a load balancer has one backend, and
several next hops are addresses of one machine.
"""

import random

from differential.match import Matches
from differential.plan import Host, Network, Plan, RouterPort
from differential.topology import Element, Topology

__all__ = ["CHASSIS", "PORTS", "acl_element", "generate"]

#: Logical ports that have a device; a topology uses some of them.
PORTS = tuple(f"p{number}" for number in range(10))
#: The hypervisor of both sides.
CHASSIS = "judged"
#: Ports that traffic goes to (see headers.PORTS).
PORTS_SERVED = (80, 443, 5001)
_JOIN = 100
_PRIORITIES = (*range(8), *range(1000, 1100), *range(32700, 32768))


def generate(seed: int, *, joins_gateways: bool = False) -> tuple[Topology, Plan]:
    """Return the topology of a seed, and who is where in it.

    ``joins_gateways``: gateway routers may be joined directly to others (OVN from 25.03 on).
    """
    draw = _Draw(random.Random(seed))
    draw.switches()
    draw.routers()
    draw.hosts()
    draw.sets_and_groups()
    draw.translation(joins_gateways=joins_gateways)
    draw.acls()
    draw.routes()
    draw.policies()
    draw.options()
    return Topology(tuple(draw.elements)), draw.plan


class _Draw:
    """Elements drawn so far."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.elements: list[Element] = []
        self.plan = Plan(is_tracked=bool(chance.randrange(3)))
        self._routers: list[str] = []
        #: Router, prefix and policy of each route: two of the same would be ECMP.
        self._routes: set[tuple[str, str, str]] = set()

    def switches(self) -> None:
        """Draw one to four switches."""
        for number in range(1, self._chance.randint(1, 4) + 1):
            network = Network(number)
            self.plan.networks.append(network)
            self._add(
                network.switch, "switch", f"ls-add {network.switch}", _key(network.switch, number)
            )

    def routers(self) -> None:
        """Draw routers, each with some of the switches, and join them in a row."""
        count = self._chance.choice((0, 1, 1, 1, 2, 2, 3))
        for number in range(1, count + 1):
            name = f"r{number}"
            self._routers.append(name)
            self._add(name, "router", f"lr-add {name}", _key(name, 50 + number, "Logical_Router"))
        if not count:
            return
        for network in list(self.plan.networks):
            for host, router in enumerate(self._chance.sample(self._routers, count), 1):
                if host == 1 or not self._chance.randrange(5):
                    self._attach(router, network, host)
                elif not self._chance.randrange(8):
                    break
        for number, (left, right) in enumerate(zip(self._routers, self._routers[1:], strict=False)):
            if self._chance.randrange(2):
                self._peer(number, left, right)
            else:
                self._join(number, left, right)

    def hosts(self) -> None:
        """Draw machines with all forms of addresses and port security."""
        count = self._chance.randint(3, len(PORTS))
        for number, port in enumerate(PORTS[:count], 11):
            network = self._chance.choice(self.plan.networks)
            also = network.ip4(100 + number), network.ip6(100 + number)
            host = Host(
                port, network.number, network.mac(number), network.ip4(number), network.ip6(number),
                None if self._chance.randrange(4) else also,
            )  # fmt: skip
            self.plan.hosts.append(host)
            addresses = self._addresses(host)
            self._add(
                port,
                f"addresses {_form(host, addresses)}",
                f"lsp-add {network.switch} {port}",
                f"set Logical_Switch_Port {port} options:requested-tnl-key={number}",
                "lsp-set-addresses " + " ".join([port, *(f'"{text}"' for text in addresses)]),
                needs=(network.switch,),
            )
            self._port_security(host)

    def sets_and_groups(self) -> None:
        """Draw address sets of both families and port groups, some of them empty."""
        for version in (4, 6):
            for number in range(self._chance.choice((0, 1, 1, 2))):
                name = f"as{version}_{number}"
                self.plan.sets[name] = version
                self._add(name, "address set", set_line(self._chance, self.plan, name))
            if self._chance.randrange(2):
                name = f"one{version}"
                self.plan.sets[name] = version
                self._add(name, "address set", set_line(self._chance, self.plan, name))
        for number in range(self._chance.choice((0, 1, 1, 2))):
            name = f"pg{number}"
            members = [host.port for host in self.plan.hosts if self._chance.randrange(2)]
            self.plan.groups.append(name)
            self._add(name, "port group", f"pg-add {name}")
            for member in members:
                self._add(
                    f"{name}.{member}", "port group member", _member_line(name, member),
                    needs=(name, member),
                )  # fmt: skip

    def translation(self, *, joins_gateways: bool) -> None:
        """Draw NAT and load balancers of a gateway router, and load balancers of switches.

        Each machine has an external address of its own, so that its ports stay.
        """
        if not self._routers or self._chance.randrange(3):
            return
        router = self._chance.choice(self._routers)
        ports = [port for port in self.plan.router_ports if port.router == router]
        is_joined = any("-r" in port.name for port in ports)
        if not ports or (is_joined and not joins_gateways):
            return
        self.plan.is_tracked = True
        self._add(
            f"{router}.chassis", "gateway router",
            f"set Logical_Router {router} options:chassis={CHASSIS}", needs=(router,),
        )  # fmt: skip
        for number, host in enumerate(self.plan.hosts):
            if self._chance.randrange(2):
                continue
            network = Network(self._chance.choice(ports).network)
            outside = network.ip4(150 + number), network.ip6(150 + number)
            version = self._chance.choice((4, 6))
            inside = host.ip4 if version == 4 else host.ip6
            kind = self._chance.choice(("snat", "dnat", "dnat_and_snat"))
            self.plan.translated.append((network.number, *outside))
            self._add(
                f"{host.port}.nat", f"nat {kind}",
                f"lr-nat-add {router} {kind} {outside[version == 6]} {inside}",
                needs=(f"{router}.chassis", host.port),
            )  # fmt: skip
        for number in range(self._chance.choice((0, 0, 1, 2))):
            self._balancer(number, router, self._chance.choice(ports).network)

    def _balancer(self, number: int, router: str, network: int) -> None:
        host = self._chance.choice(self.plan.hosts)
        outside = Network(network).ip4(200 + number), Network(network).ip6(200 + number)
        protocol = self._chance.choice(("tcp", "udp"))
        port, to = self._chance.choice(PORTS_SERVED), self._chance.choice(PORTS_SERVED)
        version = self._chance.choice((6, 4))
        ends = (
            (f"{outside[0]}:{port}", f"{host.ip4}:{to}")
            if version == 4
            else (f"[{outside[1]}]:{port}", f"[{host.ip6}]:{to}")
        )
        self.plan.translated.append((network, *outside))
        self.plan.served[outside[version == 6]] = (protocol, port)
        name = f"lb{number}"
        switch = self._chance.choice(self.plan.networks).switch
        where, at = self._chance.choice((("lr-lb-add", router), ("ls-lb-add", switch)))
        self._add(
            name, f"load balancer of a {'router' if at == router else 'switch'}",
            f"lb-add {name} {ends[0]} {ends[1]} {protocol}", f"{where} {at} {name}",
            needs=(f"{router}.chassis", host.port, at),
        )  # fmt: skip

    def acls(self) -> None:
        """Draw access lists of switches and port groups, none in some topologies."""
        for number in range(self._chance.choice((0, 0, 1, 2, 3, 4, 6, 9, 12))):
            self.elements.append(acl_element(self._chance, self.plan, f"acl{number}"))

    def routes(self) -> None:
        """Draw routes: mostly a chain that connects all networks, and some of any kind."""
        for number, (left, right) in enumerate(zip(self._routers, self._routers[1:], strict=False)):
            if self._chance.randrange(5):
                self._chain(number, left, right)
        for router in self._routers:
            for number in range(self._chance.choice((0, 1, 2, 3))):
                self._route(router, f"{router}.route{number}")
            if not self._chance.randrange(3):
                self._ecmp(router, f"{router}.ecmp")

    def policies(self) -> None:
        """Draw router policies."""
        for router in self._routers:
            used: set[int] = set()
            for number in range(self._chance.choice((0, 0, 0, 1, 2, 3))):
                priority = self._chance.randrange(1, 2000)
                if priority in used:
                    continue
                used.add(priority)
                self._policy(router, f"{router}.policy{number}", priority)

    def options(self) -> None:
        """Draw options of switches, routers and their ports."""
        for network in self.plan.networks:
            name = network.switch
            if not self._chance.randrange(4):
                self._add(
                    f"{name}.arps", "broadcast-arps-to-all-routers=false",
                    f"set Logical_Switch {name} other_config:broadcast-arps-to-all-routers=false",
                    needs=(name,),
                )  # fmt: skip
            if not self._chance.randrange(4):
                self._add(
                    f"{name}.vlan", "vlan-passthru",
                    f"set Logical_Switch {name} other_config:vlan-passthru=true", needs=(name,),
                )  # fmt: skip
        for router in self._routers:
            for option, value in (
                ("always_learn_from_arp_request", "false"), ("dynamic_neigh_routers", "true"),
            ):  # fmt: skip
                if not self._chance.randrange(4):
                    self._add(
                        f"{router}.{option}", option,
                        f"set Logical_Router {router} options:{option}={value}", needs=(router,),
                    )  # fmt: skip
        for port in self.plan.router_ports:
            # Of two routers with the same proxy either may answer.
            is_first = port == self.plan.gateways(port.network)[0]
            if port.network < _JOIN and is_first and not self._chance.randrange(6):
                self._add(
                    f"{port.name}.proxy", "arp_proxy",
                    f"set Logical_Switch_Port s-{port.name} "
                    f'options:arp_proxy="10.0.{port.network}.200 10.9.0.0/24 fd00:9::9"',
                    needs=(_needed(self.elements, port.name),),
                )  # fmt: skip
            # OVS translates the way behind each for both outcomes: several take it seconds.
            if port == self.plan.router_ports[0] and self._chance.randrange(2):
                mtu = self._chance.choice((500, 1280, 1400))
                self._add(
                    f"{port.name}.mtu", "gateway_mtu",
                    f"set Logical_Router_Port {port.name} options:gateway_mtu={mtu}",
                    needs=(_needed(self.elements, port.name),),
                )  # fmt: skip

    # -- parts ---------------------------------------------------------------------------

    def _add(self, name: str, feature: str, *lines: str, needs: tuple[str, ...] = ()) -> None:
        self.elements.append(Element(name, feature, lines, needs))

    def _attach(self, router: str, network: Network, host: int) -> None:
        name = f"{router}-{network.switch}"
        self._add(
            name, "router port on a switch",
            *_port_lines(name, router, network, host), *_switch_side(name, network.switch),
            needs=(router, network.switch),
        )  # fmt: skip
        self._note(name, router, network, host)

    def _peer(self, number: int, left: str, right: str) -> None:
        network = Network(_JOIN + number)
        names = f"{left}-{right}", f"{right}-{left}"
        lines = []
        for host, (name, router, peer) in enumerate(
            zip(names, (left, right), reversed(names), strict=True), 1
        ):
            lines += [*_port_lines(name, router, network, host)]
            lines += [f"set Logical_Router_Port {name} peer={peer}"]
            self._note(name, router, network, host)
        self._add(f"join{number}", "routers joined directly", *lines, needs=(left, right))

    def _join(self, number: int, left: str, right: str) -> None:
        network = Network(_JOIN + number)
        switch = network.switch
        lines = [f"ls-add {switch}", _key(switch, network.number)]
        for host, router in enumerate((left, right), 1):
            name = f"{router}-{switch}"
            lines += [*_port_lines(name, router, network, host), *_switch_side(name, switch)]
            self._note(name, router, network, host)
        self._add(f"join{number}", "routers joined by a switch", *lines, needs=(left, right))

    def _note(self, name: str, router: str, network: Network, host: int) -> None:
        self.plan.router_ports.append(
            RouterPort(
                name,
                router,
                network.number,
                network.mac(host),
                network.ip4(host),
                network.ip6(host),
            )
        )

    def _addresses(self, host: Host) -> list[str]:
        both = f"{host.mac} {host.ip4} {host.ip6}"
        if host.also is not None:
            return [f"{both} {' '.join(host.also)}"]
        forms = (
            [both], [both], [both], [both], [f"{host.mac} {host.ip4}"], [f"{host.mac} {host.ip6}"],
            [host.mac], ["unknown"], [both, "unknown"],
            [both, f"02:00:00:01:{host.network:02x}:{host.mac[-2:]}"],
        )  # fmt: skip
        return self._chance.choice(forms)

    def _port_security(self, host: Host) -> None:
        other = f"02:00:00:01:{host.network:02x}:{host.mac[-2:]}"
        forms = {
            "MAC": host.mac,
            "MAC and addresses": f"{host.mac} {host.ip4} {host.ip6}",
            "MAC and IPv4": f"{host.mac} {host.ip4}",
            "MAC and IPv6": f"{host.mac} {host.ip6}",
            "MAC and subnets": f"{host.mac} {host.ip4}/24 {host.ip6}/64",
            "two MACs": f'{host.mac} {host.ip4}" "{other}',
            "two addresses": f"{host.mac} {host.ip4} 10.0.{host.network}.250",
        }
        if self._chance.randrange(3):
            return
        form = self._chance.choice(sorted(forms))
        self.plan.secured.add(host.port)
        self._add(
            f"{host.port}.security", f"port security {form}",
            f'lsp-set-port-security {host.port} "{forms[form]}"', needs=(host.port,),
        )  # fmt: skip

    def _chain(self, number: int, left: str, right: str) -> None:
        join = Network(_JOIN + number)
        beyond = self._routers.index(right)
        for router, host, others in (
            (left, 2, self._routers[beyond:]), (right, 1, self._routers[:beyond]),
        ):  # fmt: skip
            numbers = {port.network for port in self.plan.router_ports if port.router in others}
            for target in sorted(numbers - {join.number}):
                for prefix, hop in (
                    (f"10.0.{target}.0/24", join.ip4(host)),
                    (f"fd00:{target}::/64", join.ip6(host)),
                ):  # fmt: skip
                    if not self._is_new_route(router, prefix, ""):
                        continue
                    self._add(
                        f"{router}.{prefix}", "static route",
                        f"--may-exist lr-route-add {router} {prefix} {hop}",
                        needs=(router, f"join{number}"),
                    )  # fmt: skip

    def _is_new_route(self, router: str, prefix: str, policy: str) -> bool:
        route = (router, prefix, policy)
        is_new = route not in self._routes
        self._routes.add(route)
        return is_new

    def _route(self, router: str, name: str) -> None:
        ours = [port for port in self.plan.router_ports if port.router == router]
        if not ours:
            return
        port = self._chance.choice(ours)
        version = self._chance.choice((4, 6))
        hops = [
            (other.ip4, other.ip6)
            for other in self.plan.everybody()
            if other.network == port.network and other != port
        ]
        hops.append((f"10.0.{port.network}.77", f"fd00:{port.network}::77"))
        hop = self._chance.choice(hops)[version == 6]
        prefix = self._prefix(version)
        policy = self._chance.choice(("", "", "", "--policy=src-ip "))
        if prefix.endswith("/0"):
            policy = ""  # by source it would have the priority of northd's own default
        if not self._is_new_route(router, prefix, policy):
            return
        kind = "static route by source" if policy else "static route"
        out = f" {port.name}" if self._chance.randrange(2) else ""
        if not self._chance.randrange(8):
            hop, out, kind = "discard", "", "discarding route"
        self._add(
            name, kind, f"--may-exist {policy}lr-route-add {router} {prefix} {hop}{out}",
            needs=(router, _needed(self.elements, port.name)),
        )  # fmt: skip

    def _prefix(self, version: int) -> str:
        target = self._chance.choice(self.plan.networks).number
        return self._chance.choice(
            ("0.0.0.0/0", f"10.0.{target}.0/24", f"10.0.{target}.11", "10.0.0.0/16", "10.9.0.0/16")
            if version == 4
            else ("::/0", f"fd00:{target}::/64", f"fd00:{target}::b", "fd00::/16", "fd00:9::/32")
        )

    def _ecmp(self, router: str, name: str) -> None:
        hosts = [host for host in self._near(router) if host.also is not None]
        version = self._chance.choice((4, 6))
        prefix = self._prefix(version)
        if not hosts or not self._is_new_route(router, prefix, ""):
            return
        host = self._chance.choice(hosts)
        lines = [
            f"--ecmp lr-route-add {router} {prefix} {hop}" for hop in _addresses(host, version)
        ]
        self._add(name, "ECMP routes", *lines, needs=(router, host.port))

    def _near(self, router: str) -> list[Host]:
        """Machines on networks that a router is on."""
        near = {port.network for port in self.plan.router_ports if port.router == router}
        return [host for host in self.plan.hosts if host.network in near]

    def _policy(self, router: str, name: str, priority: int) -> None:
        match = Matches(self._chance, self.plan).routing()
        action = self._chance.choice(("allow", "drop", "reroute"))
        hop = ""
        if action == "reroute":
            hosts = self._near(router)
            if not hosts:
                return
            hops = _addresses(self._chance.choice(hosts), 6 if "ip6" in match else 4)
            hop = f" {','.join(hops)}"
            action += " to several" if len(hops) > 1 else ""
        self._add(
            name, f"policy {action}",
            f'lr-policy-add {router} {priority} "{match}" {action.split()[0]}{hop}',
            needs=(router,),
        )  # fmt: skip


def acl_element(chance: random.Random, plan: Plan, name: str) -> Element:
    """Return an access list's entry, on a switch or on a port group that exists."""
    entities = [network.switch for network in plan.networks] + plan.groups * 2
    entity = chance.choice(entities)
    direction = chance.choice(("from-lport", "to-lport"))
    verdicts = ["allow", "allow-stateless", "drop", "reject"]
    verdict = chance.choice(verdicts + ["allow-related"] * 2 * plan.is_tracked)
    match = Matches(chance, plan).access(direction, entity if entity in plan.groups else None)
    options = ""
    feature = f"acl {verdict}"
    if direction == "from-lport" and not chance.randrange(4):
        options, feature = "--apply-after-lb ", f"{feature} after load balancing"
    elif verdict == "allow-related" and not chance.randrange(4):
        options, feature = f"--label={chance.randrange(1, 2**32)} ", f"{feature} with a label"
    # Of two rules with one priority OVN lets either win.
    priority = chance.choice([free for free in _PRIORITIES if free not in plan.priorities])
    plan.priorities.add(priority)
    line = f'--may-exist {options}acl-add {entity} {direction} {priority} "{match}" {verdict}'
    return Element(name, feature, (line,), (entity,))


def set_line(chance: random.Random, plan: Plan, name: str) -> str:
    """Return the command that makes a set with random members."""
    members = set_members(chance, plan, name)
    words = " ".join(f'addresses="\\"{member}\\""' for member in members)
    return f"create Address_Set name={name} {words}"


def set_members(chance: random.Random, plan: Plan, name: str) -> list[str]:
    """Return members of a set: hosts and prefixes, a single one for "one4" and "one6"."""
    version = plan.sets[name]
    hosts = [host.ip4 if version == 4 else host.ip6 for host in plan.hosts]
    prefixes = [
        f"10.0.{network.number}.{chance.choice(('0/24', '8/29', '12/30'))}"
        if version == 4
        else f"fd00:{network.number}::{chance.choice(('/64', '8/125', 'c/126'))}"
        for network in plan.networks
    ]
    return chance.sample(
        hosts + prefixes, chance.randint(1, 1 if name.startswith("one") else min(4, len(hosts)))
    )


def _addresses(host: Host, version: int) -> list[str]:
    """All addresses of a machine's port."""
    first, at = (host.ip4, 0) if version == 4 else (host.ip6, 1)
    return [first, host.also[at]] if host.also is not None else [first]


def _member_line(group: str, port: str) -> str:
    row = f"@{group}_{port}"
    return f"--id={row} get Logical_Switch_Port {port} -- add Port_Group {group} ports {row}"


def _key(name: str, key: int, table: str = "Logical_Switch") -> str:
    column = "other_config" if table == "Logical_Switch" else "options"
    return f"set {table} {name} {column}:requested-tnl-key={key}"


def _port_lines(name: str, router: str, network: Network, host: int) -> list[str]:
    return [
        f"lrp-add {router} {name} {network.mac(host)} {network.ip4(host)}/24 {network.ip6(host)}/64"
    ]


def _switch_side(name: str, switch: str) -> list[str]:
    return [
        f"lsp-add {switch} s-{name}",
        f"lsp-set-type s-{name} router",
        f"lsp-set-addresses s-{name} router",
        f"lsp-set-options s-{name} router-port={name}",
    ]


def _form(host: Host, addresses: list[str]) -> str:
    text = ", ".join(addresses)
    for value, word in ((host.mac, "MAC"), (host.ip4, "IPv4"), (host.ip6, "IPv6")):
        text = text.replace(value, word)
    return "MAC IPv4 IPv6, MAC" if "02:" in text else text


def _needed(elements: list[Element], port: str) -> str:
    return next(
        element.name
        for element in elements
        if any(line.split()[2:3] == [port] for line in element.lines if line.startswith("lrp-add"))
    )

# SPDX-License-Identifier: Apache-2.0
"""``type: router``: interfaces, routes, neighbours."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Annotated

from iovisor_ovn.config.interface_address import Interface, Mtu, interface_address, says_none
from iovisor_ovn.config.scalars import Cidr, Ip, ListOrOne, Mac, Netmask, NextHop, Text, number
from iovisor_ovn.config.section import Key, Section
from iovisor_ovn.config.shape import ModuleShape, Ports, Shape
from iovisor_ovn.config.topology import ArpEntry, Route, Router, RouterInterface

__all__ = ["RouterShape"]

_Network = IPv4Network | IPv6Network
_YEAR_S = 86400 * 365
_IPV6_LEAST_MTU = 1280


class _InterfaceShape(Shape):
    name: Text
    ip: ListOrOne[Cidr] = ()
    ips: ListOrOne[Cidr] = ()
    netmask: Netmask | None = None
    mac: Mac
    mtu: Mtu | None = None

    def addresses(self, here: Section) -> Iterator[tuple[tuple[Key, ...], Interface]]:
        """Yield the addresses with the keys that lead to them."""
        written: list[tuple[tuple[Key, ...], Cidr]] = [
            *((("ip", index), address) for index, address in enumerate(self.ip)),
            *((("ips", index), address) for index, address in enumerate(self.ips)),
        ]
        if len(written) == 1 and says_none(written[0][1], self.netmask):
            return
        if self.netmask is not None and (len(written) != 1 or written[0][1].length is not None):
            here.problem("goes with one ip without a length (/24) only", "netmask", is_key=True)
        for keys, address in written:
            found = interface_address(here, address, self.netmask, *keys)
            if found is not None:
                yield keys, found


class _RouteShape(Shape):
    network: Cidr
    netmask: Netmask | None = None
    interface: Text
    next_hop: NextHop = None

    def destination(self, here: Section) -> _Network | None:
        """Return the network. With a netmask, an address within the network may stand for it."""
        written, length = self.network, self.network.length
        if self.netmask is not None:
            if length is not None or isinstance(written.ip, IPv6Address):
                message = "goes with an IPv4 network without a length (/24) only"
                here.problem(message, "netmask", is_key=True)
                return None
            return written.network(self.netmask)
        if length is None:
            here.problem(f"{written.ip} needs a length (/24) or a netmask", "network")
            return None
        network = written.network(length)
        if network.network_address != written.ip:
            message = f"{written.ip}/{length} is an address within a network; that is {network}"
            here.problem(message, "network")
        return network


class _ArpShape(Shape):
    ip: Ip
    mac: Mac


class RouterShape(ModuleShape):
    """A router."""

    interfaces: tuple[_InterfaceShape, ...] = ()
    static_routes: tuple[_RouteShape, ...] = ()
    arp_entries: tuple[_ArpShape, ...] = ()
    neighbour_age: Annotated[int, number(1, _YEAR_S, "number of seconds")] = 300

    def value(self, here: Section, ports: Ports) -> Router:
        """Return the settings."""
        self._check_names(here, ports)
        interfaces = self._interfaces(here)
        routes = self._routes(here, {interface.name: interface for interface in interfaces})
        own = {address.ip for interface in interfaces for address in interface.addresses}
        seen: dict[object, int] = {}
        for index, entry in enumerate(self.arp_entries):
            at = here.at("arp_entries", index)
            if at.once(seen, entry.ip, "ip") and entry.ip in own:
                at.problem(f"{entry.ip} is the router itself", "ip")
        neighbours = tuple(ArpEntry(entry.ip, entry.mac) for entry in self.arp_entries)
        return Router(interfaces, tuple(routes), neighbours, self.neighbour_age)

    def _check_names(self, here: Section, ports: Ports) -> None:
        """Ports and interfaces are the same."""
        names: dict[object, int] = {}
        for index, shape in enumerate(self.interfaces):
            at = here.at("interfaces", index)
            if at.once(names, shape.name, "name") and ports is not None and shape.name not in ports:
                message = f"no link or device is {shape.name!r}; there are {', '.join(ports)}"
                at.problem(message, "name", near=ports, word=shape.name)
        for port in ports or ():
            if port not in names:
                here.problem(f"port {port!r} is connected, but is no interface here", "interfaces")

    def _interfaces(self, here: Section) -> tuple[RouterInterface, ...]:
        found = []
        addresses: dict[object, int] = {}
        networks: dict[_Network, str] = {}
        for index, shape in enumerate(self.interfaces):
            at = here.at("interfaces", index)
            own = list(shape.addresses(at))
            for keys, address in own:
                if address.is_link_local or not at.once(addresses, address.ip, *keys):
                    continue
                other = networks.setdefault(address.network, shape.name)
                if other != shape.name:
                    at.problem(f"{address.network} is the network of interface {other}", *keys)
                if address.version == 6 and shape.mtu and shape.mtu < _IPV6_LEAST_MTU:
                    at.problem(f"must be {_IPV6_LEAST_MTU} or more where there is IPv6", "mtu")
            values = tuple(address for _, address in own)
            found.append(RouterInterface(shape.name, values, shape.mac, shape.mtu))
        return tuple(found)

    def _routes(self, here: Section, interfaces: Mapping[str, RouterInterface]) -> list[Route]:
        connected = {
            address.network: interface
            for interface in interfaces.values()
            for address in interface.addresses
        }
        own = {address.ip for interface in interfaces.values() for address in interface.addresses}
        seen: dict[object, int] = {}
        routes = []
        for index, shape in enumerate(self.static_routes):
            at = here.at("static_routes", index)
            interface = interfaces.get(shape.interface)
            if interface is None:
                names = ", ".join(interfaces) or "none"
                message = f"the router has no interface {shape.interface!r}; it has {names}"
                at.problem(message, "interface", near=interfaces, word=shape.interface)
            network = shape.destination(at)
            if network is None or interface is None or not at.once(seen, network, "network"):
                continue
            if shape.next_hop in own:
                at.problem(f"{shape.next_hop} is the router itself", "next_hop")
            elif network in connected and (
                shape.next_hop is not None or connected[network] is not interface
            ):
                other = connected[network].name
                at.problem(f"{network} is the network of interface {other} itself", "network")
            else:
                _check_next_hop(at, shape, network, interface)
            routes.append(Route(network, shape.interface, shape.next_hop))
        return routes


def _check_next_hop(
    here: Section, shape: _RouteShape, network: _Network, interface: RouterInterface
) -> None:
    """A next hop must be on the interface's link; one without address has any on its link."""
    hop = shape.next_hop
    if hop is None:
        return
    if hop.version != network.version:
        here.problem(f"{hop} is no next hop for the IPv{network.version} network {network}",
                     "next_hop")  # fmt: skip
        return
    own = [address.network for address in interface.addresses]
    is_on_link = hop.is_link_local or any(
        hop.version == known.version and hop in known for known in own
    )
    if own and not is_on_link:
        names = ", ".join(map(str, own))
        here.problem(f"{hop} is in no network of interface {interface.name}, which has {names}",
                     "next_hop")  # fmt: skip

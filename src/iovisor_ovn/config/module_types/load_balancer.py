# SPDX-License-Identifier: Apache-2.0
"""``type: loadbalancer``."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from iovisor_ovn.config.interface_address import Interface, interface_address
from iovisor_ovn.config.ports import two_sides
from iovisor_ovn.config.scalars import Cidr, Ip, Mac, Netmask, Text, number, read_bool, wrong
from iovisor_ovn.config.section import Section
from iovisor_ovn.config.shape import ModuleShape, Ports, Shape
from iovisor_ovn.config.topology import Backend, HealthCheck, LoadBalancer, Vip

__all__ = ["LoadBalancerShape"]

_HOUR_S = 3600
_MOST_WEIGHT = 100
_BACKEND = re.compile(r"(?:\[(?P<six>[^]]*)\]|(?P<four>[^:]*)):(?P<port>[^:]*)")

_L4Port = Annotated[int, number(1, 65535, "port number")]
_Times = Annotated[int, number(1, 100, "number of times")]
_Seconds = Annotated[int, number(1, _HOUR_S, "number of seconds")]


def _backend_keys(value: Any) -> Any:
    """Return the keys that ``10.0.0.1:80``, ``[fd00::1]:80`` or an address alone stand for."""
    if not isinstance(value, str):
        return value
    parts = _BACKEND.fullmatch(value)
    if parts is None:
        return {"ip": value}
    return {"ip": parts["six"] or parts["four"] or value, "port": parts["port"]}


def _check_keys(value: Any) -> Any:
    """Return the keys that ``true`` stands for: none, all have defaults."""
    if not isinstance(value, str):
        return value
    try:
        return {} if read_bool(value) else None
    except ValueError:
        raise wrong("must be true, false, or a mapping (KEY: VALUE)") from None


class _BackendShape(Shape):
    ip: Ip
    port: _L4Port | None = None
    weight: Annotated[int, number(1, _MOST_WEIGHT, "weight")] = 1


class _HealthCheckShape(Shape):
    interval: _Seconds = 5
    timeout: _Seconds = 3
    success_count: _Times = 2
    failure_count: _Times = 3

    def value(self) -> HealthCheck:
        return HealthCheck(self.interval, self.timeout, self.success_count, self.failure_count)


class _VipShape(Shape):
    ip: Ip
    port: _L4Port | None = None
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    backends: tuple[Annotated[_BackendShape, BeforeValidator(_backend_keys)], ...]
    affinity: Annotated[int, number(0, 65535, "number of seconds")] = 0
    health_check: Annotated[_HealthCheckShape | None, BeforeValidator(_check_keys)] = None

    def value(self, here: Section) -> Vip:
        """Return the VIP. A backend without a port has that of the VIP."""
        if not self.backends:
            here.problem("is empty", "backends")
        seen: dict[object, int] = {}
        backends = []
        for index, shape in enumerate(self.backends):
            backend = Backend(shape.ip, shape.port or self.port, shape.weight)
            here.once(seen, _endpoint(backend.ip, backend.port), "backends", index)
            if backend.ip.version != self.ip.version:
                message = f"{backend.ip} cannot serve an IPv{self.ip.version} address"
                here.problem(message, "backends", index, "ip")
            if self.port is None and shape.port is not None:
                message = "a backend of a VIP without a port has none"
                here.problem(message, "backends", index, "port", is_key=True)
            backends.append(backend)
        if self.affinity and self.port is None:
            here.problem("needs a port of the VIP", "affinity", is_key=True)
        check = self.health_check.value() if self.health_check else None
        return Vip(self.ip, self.port, self.protocol, tuple(backends), self.affinity, check)

    def check_health(self, here: Section, address: Interface | None) -> None:
        """Say what stands in the way of health checks."""
        if self.health_check is None:
            return
        if self.port is None:
            here.problem("needs a port of the VIP", "health_check", is_key=True)
        if self.protocol == "sctp":
            here.problem("is for tcp and udp", "health_check", is_key=True)
        if address is None:
            message = "needs ip and mac of the load balancer, from which it asks"
            here.problem(message, "health_check", is_key=True)
        elif address.version != self.ip.version:
            message = f"needs an IPv{self.ip.version} address of the load balancer"
            here.problem(message, "health_check", is_key=True)
        else:
            for index, backend in enumerate(self.backends):
                if backend.ip.version == address.version and backend.ip not in address.network:
                    message = f"is not in {address.network}, where its health could be checked"
                    here.problem(message, "backends", index, "ip")


def _endpoint(ip: IPv4Address | IPv6Address, port: int | None) -> str:
    if port is None:
        return str(ip)
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


class LoadBalancerShape(ModuleShape):
    """VIPs between clients and servers."""

    fewest_ports: ClassVar = 2
    most_ports: ClassVar = 2

    vips: tuple[_VipShape, ...]
    ip: Cidr | None = None
    netmask: Netmask | None = None
    mac: Mac | None = None
    clients: Text | None = None
    servers: Text | None = None

    def value(self, here: Section, ports: Ports) -> LoadBalancer | None:
        """Return the settings."""
        if not self.vips:
            here.problem("is empty", "vips")
        address = self._address(here)
        seen: dict[object, int] = {}
        vips = []
        for index, shape in enumerate(self.vips):
            at = here.at("vips", index)
            at.once(seen, f"{_endpoint(shape.ip, shape.port)} ({shape.protocol})", "ip")
            vips.append(shape.value(at))
            shape.check_health(at, address)
        sides = two_sides(here, ports, ("clients", self.clients), ("servers", self.servers))
        if sides is None:
            return None
        return LoadBalancer(tuple(vips), *sides, address, self.mac or "")

    def _address(self, here: Section) -> Interface | None:
        """Return the module's own address; it comes with a MAC address."""
        if self.ip is None:
            for key in ("mac", "netmask"):
                if getattr(self, key) is not None:
                    here.problem("goes with an ip only", key, is_key=True)
            return None
        if self.mac is None:
            here.problem("is missing: an ip needs one", "mac")
        if self.netmask is not None and self.ip.length is not None:
            here.problem("goes with an ip without a length (/24) only", "netmask", is_key=True)
        return interface_address(here, self.ip, self.netmask, "ip")

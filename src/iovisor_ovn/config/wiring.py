# SPDX-License-Identifier: Apache-2.0
"""Links and external interfaces of a file, and the ports that they give to modules."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from iovisor_ovn.config.scalars import Bool, Name, Text, is_name
from iovisor_ovn.config.section import Section, shown
from iovisor_ovn.config.shape import Shape, validated
from iovisor_ovn.config.topology import Endpoint, ExternalInterface, Link

__all__ = ["Wiring"]

#: Of a network device, without the zero at the end (IFNAMSIZ).
_LONGEST_DEVICE_NAME = 15


class _LinkShape(Shape):
    from_: Text = Field(alias="from")
    to: Text


class _InterfaceShape(Shape):
    module: Text
    iface: Text
    port: Name | None = None
    host: Bool = False


@dataclass(slots=True)
class Wiring:
    """What is connected to what; ``ports`` are each module's, in the order of the file.

    ``modules`` are the types of all modules by name.
    """

    modules: Mapping[str, str]
    links: list[Link] = field(default_factory=list)
    interfaces: list[ExternalInterface] = field(default_factory=list)
    ports: dict[str, list[str]] = field(default_factory=dict)
    _lines: dict[Endpoint, int] = field(default_factory=dict)
    _devices: dict[object, int] = field(default_factory=dict)
    _faults: int = 0

    @property
    def has_faults(self) -> bool:
        """Whether a link or an interface was left out, so that ports are not known."""
        return self._faults > 0

    def read_link(self, here: Section) -> None:
        """Take up an item of ``links``."""
        shape = validated(_LinkShape, here)
        if shape is None or not self._link(here, shape):
            self._faults += 1

    def _link(self, here: Section, shape: _LinkShape) -> bool:
        sides = (("from", *_module_and_port(shape.from_)), ("to", *_module_and_port(shape.to)))
        (_, one, own), (_, other, others) = sides
        known = [self._is_module(here, key, module) for key, module, _ in sides]
        for key, _, port in sides:
            if port is not None and not is_name(port):
                here.problem(f"{shown(port)} is no name of a port", key)
                known.append(False)
        if not all(known):
            return False
        if one == other:
            here.problem(f"leads from {one} to itself", "to")
            return False
        ends = (Endpoint(one, own or other), Endpoint(other, others or one))
        free = [self._take(here, end, key) for end, key in zip(ends, ("from", "to"), strict=True)]
        self.links.append(Link(ends, here.place()))
        return all(free)

    def read_interface(self, here: Section) -> None:
        """Take up an item of ``external_interfaces``; links come before, as ports count."""
        shape = validated(_InterfaceShape, here)
        if shape is None or not self._interface(here, shape):
            self._faults += 1

    def _interface(self, here: Section, shape: _InterfaceShape) -> bool:
        device = shape.iface
        is_known = self._is_module(here, "module", shape.module)
        if not _is_device_name(device):
            what = f"up to {_LONGEST_DEVICE_NAME} bytes, no space, / or :"
            here.problem(f"{shown(device)} can be no device: {what}", "iface")
            return False
        if not here.once(self._devices, device, "iface") or not is_known:
            return False
        if shape.host and self.modules[shape.module] != "switch":
            here.problem(f"is for switches; {shape.module} is none", "host")
            return False
        end = Endpoint(shape.module, shape.port or device)
        self.interfaces.append(
            ExternalInterface(end.module, end.port, device, shape.host, here.place("iface"))
        )
        return self._take(here, end, "port" if shape.port else "iface")

    def _is_module(self, here: Section, key: str, name: str) -> bool:
        if name in self.modules:
            return True
        here.problem(f"there is no module {shown(name)}", key, near=self.modules, word=name)
        return False

    def _take(self, here: Section, end: Endpoint, key: str) -> bool:
        """Give a port to a module; each has one thing behind it."""
        if end not in self._lines:
            self._lines[end] = here.place(key).line
            self.ports.setdefault(end.module, []).append(end.port)
            return True
        other = f"{key}: {end.module}:NAME" if key in {"from", "to"} else "port: NAME"
        message = f"port {end.port} of {end.module} is taken in line {self._lines[end]}"
        here.problem(f"{message}; another is named by `{other}`", key)
        return False


def _module_and_port(text: str) -> tuple[str, str | None]:
    module, colon, port = text.partition(":")
    return module, port if colon else None


def _is_device_name(name: str) -> bool:
    """Tell whether the kernel takes it, and a table can show it."""
    if name in {".", ".."} or not name.isprintable() or set(name) & set("/: "):
        return False
    return len(name.encode()) <= _LONGEST_DEVICE_NAME

# SPDX-License-Identifier: Apache-2.0
"""Port security rules in the image: private stages that ``check_*_port_sec()`` visits."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from uuid import UUID

from iovisor_ovn.abi import Limit, Op, Temp
from iovisor_ovn.compiler.image import Image
from iovisor_ovn.compiler.insn import Insn, encode
from iovisor_ovn.compiler.patterns import Pattern, compile_conjunction
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.compiler.tuples import entry_of
from iovisor_ovn.errors import MapFullError
from iovisor_ovn.language import SymbolTable, normalize, parse_match
from iovisor_ovn.mainlogic.port_security import Outcome, Rule, Where, port_rules
from iovisor_ovn.mainlogic.set_use import SetUse
from iovisor_ovn.mainlogic.southbound import PortBinding
from iovisor_ovn.mainlogic.world import World

__all__ = ["SecurityFlows"]

_STAGES = {
    Where.IN: Limit.PORTSEC_IN,
    Where.IN_ND: Limit.PORTSEC_IN_ND,
    Where.OUT: Limit.PORTSEC_OUT,
}


def _verdict(result: int) -> bytes:
    return encode((Insn(Op.LOAD, Temp.RESULT, x=0xFFFFFFFF, y=result), Insn(Op.END)))


_PROGRAMS = {
    Outcome.ALLOWED: _verdict(0),
    Outcome.FORBIDDEN: _verdict(1),
    Outcome.CHECK_ND: encode([Insn(Op.NEXT, Limit.PORTSEC_IN_ND)]),
}


@dataclass(frozen=True, slots=True)
class _OnePort:
    """Names for port security: the only one is the port's own."""

    name: str
    key: int

    def port_key(self, name: str) -> int | None:
        return self.key if name == self.name else None

    def port_group(self, name: str) -> int:
        raise KeyError(name)

    def address_set(self, name: str) -> str:
        raise KeyError(name)

    def is_resident(self, port: str) -> bool:
        raise KeyError(port)


class SecurityFlows:
    """Rules of the ports that have an interface here: no others' packets are checked here."""

    def __init__(self, world: World, image: Image, sets: SetTable, use: SetUse) -> None:
        """Put rules into ``image``."""
        self._world = world
        self._image = image
        self._sets = sets
        self._use = use
        self._symbols = SymbolTable.default()
        self._dirty: set[str] = set()
        self._where: dict[str, UUID] = {}

    def changed(self, ports: Iterable[str]) -> None:
        """Work these ports, and those nested in them, out again at the next :meth:`compile`."""
        for name in ports:
            self._dirty.add(name)
            self._dirty.update(child.name for child in self._world.children_of(name))

    def datapath_is_local(self, datapath: UUID) -> None:
        """Add what applies to ports without rules: all is allowed.

        The stages must hold something, or the machine would pass them over.
        """
        index = self._world.local[datapath]
        for stage in _STAGES.values():
            self._image.add_flow(
                ("security", datapath), (index, stage), 0, (Pattern(),), (Insn(Op.END),)
            )

    def datapath_is_gone(self, datapath: UUID) -> None:
        """Take out everything of a datapath."""
        self._image.remove_flow(("security", datapath))
        for name in [name for name, where in self._where.items() if where == datapath]:
            self._remove(name)

    def compile(self, interfaces: Container[str]) -> None:
        """Bring the rules of changed ports up to date.

        ``interfaces``: logical ports that have an interface. Raises :class:`MapFullError`; the
        next call does what is left.
        """
        while self._dirty:
            name = self._dirty.pop()
            try:
                self._compile(name, interfaces)
            except MapFullError:
                self._dirty.add(name)
                raise

    def _compile(self, name: str, interfaces: Container[str]) -> None:
        self._remove(name)
        port = self._world.ports.get(name)
        if (
            port is None
            or port.datapath not in self._world.local
            or (port.parent or name) not in interfaces
        ):
            return
        self._where[name] = port.datapath
        for rule in port_rules(name, port.port_security):
            self._add(port, rule)

    def _remove(self, name: str) -> None:
        datapath = self._where.pop(name, None)
        if datapath is not None:
            self._image.remove_flow(("security", datapath, name))
            self._use.drop(("security", datapath, name))

    def _add(self, port: PortBinding, rule: Rule) -> None:
        tree = parse_match(rule.match, self._symbols)
        names = _OnePort(port.name, port.key)
        entries = [
            entry_of(pattern)
            for conjunction in normalize(tree, self._symbols)
            for pattern in compile_conjunction(conjunction, names, self._sets)
        ]
        where = (self._world.local[port.datapath], _STAGES[rule.where])
        flow = ("security", port.datapath, port.name)
        self._use.note(flow, entries)
        self._image.add_entries(flow, where, rule.priority, entries, _PROGRAMS[rule.outcome])

# SPDX-License-Identifier: Apache-2.0
"""What the Southbound database says about datapaths and ports, and which of it is local.

A datapath is local when a port of it has an interface here, or when it is reached from a local
one through patch ports. Local datapaths get a small *index*, by which the machine knows them.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from iovisor_ovn.errors import MapFullError
from iovisor_ovn.mainlogic.southbound import Datapath, Group, PortBinding, PortGroup

__all__ = ["World"]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(slots=True)
class World:
    """Rows by name and by datapath. Whoever changes it says what to compile again."""

    chassis: str = ""
    max_datapaths: int = 0
    datapaths: dict[UUID, Datapath] = field(default_factory=dict)
    ports: dict[str, PortBinding] = field(default_factory=dict)
    ports_of: dict[UUID, dict[str, PortBinding]] = field(default_factory=dict)
    port_rows: dict[UUID, PortBinding] = field(default_factory=dict)
    groups: dict[UUID, Group] = field(default_factory=dict)
    groups_of: dict[UUID, dict[str, Group]] = field(default_factory=dict)
    port_groups: dict[str, PortGroup] = field(default_factory=dict)
    groups_with: dict[str, set[str]] = field(default_factory=dict)
    local: dict[UUID, int] = field(default_factory=dict)
    _keys: dict[int, UUID] = field(default_factory=dict)
    _by_key: dict[tuple[UUID, int], PortBinding] = field(default_factory=dict)
    _children: dict[str, set[UUID]] = field(default_factory=dict)
    _pointing: dict[str, set[UUID]] = field(default_factory=dict)
    _holding: dict[UUID, set[UUID]] = field(default_factory=dict)
    _free: deque[int] = field(default_factory=deque)
    _next: int = 1

    def put_datapath(self, datapath: Datapath) -> None:
        """Add or replace a datapath."""
        self.drop_datapath(datapath.uuid)
        self.datapaths[datapath.uuid] = datapath
        self._keys[datapath.key] = datapath.uuid

    def drop_datapath(self, row: UUID) -> None:
        """Forget a datapath by its row."""
        old = self.datapaths.pop(row, None)
        if old is not None and self._keys.get(old.key) == row:
            del self._keys[old.key]

    def index_of_key(self, key: int) -> int | None:
        """Index of the local datapath with a tunnel key."""
        uuid = self._keys.get(key)
        return None if uuid is None else self.local.get(uuid)

    def put_port(self, port: PortBinding) -> PortBinding | None:
        """Add or replace a port; returns what was known of the row before."""
        old = self.drop_port(port.uuid)
        self.port_rows[port.uuid] = port
        self.ports[port.name] = port
        self.ports_of.setdefault(port.datapath, {})[port.name] = port
        self._by_key[port.datapath, port.key] = port
        if port.parent:
            self._children.setdefault(port.parent, set()).add(port.uuid)
        if port.peer:
            self._pointing.setdefault(port.peer, set()).add(port.uuid)
        return old

    def drop_port(self, row: UUID) -> PortBinding | None:
        """Forget a port by its row."""
        old = self.port_rows.pop(row, None)
        if old is not None:
            # A row of the same name or key may have come before this one went.
            _drop_if(self.ports, old.name, old)
            _drop_if(self._by_key, (old.datapath, old.key), old)
            _drop_of(self.ports_of, old.datapath, old.name, old)
            _discard(self._children, old.parent, row)
            _discard(self._pointing, old.peer, row)
        return old

    def put_group(self, group: Group) -> Group | None:
        """Add or replace a multicast group; returns what was known of the row before."""
        old = self.drop_group(group.uuid)
        self.groups[group.uuid] = group
        self.groups_of.setdefault(group.datapath, {})[group.name] = group
        for port in group.ports:
            self._holding.setdefault(port, set()).add(group.uuid)
        return old

    def drop_group(self, row: UUID) -> Group | None:
        """Forget a multicast group by its row."""
        old = self.groups.pop(row, None)
        if old is not None:
            _drop_of(self.groups_of, old.datapath, old.name, old)
            for port in old.ports:
                _discard(self._holding, port, row)
        return old

    def put_port_group(self, name: str, ports: frozenset[str]) -> frozenset[str]:
        """Set the members of a port group; returns the ports whose groups changed."""
        old = self.port_groups.get(name)
        before = old.ports if old else frozenset()
        self.port_groups[name] = PortGroup(name, ports)
        for port in before - ports:
            _discard(self.groups_with, port, name)
        for port in ports - before:
            self.groups_with.setdefault(port, set()).add(name)
        return before ^ ports

    def drop_port_group(self, name: str) -> frozenset[str]:
        """Forget a port group; returns the ports that were in it."""
        changed = self.put_port_group(name, frozenset())
        self.port_groups.pop(name, None)
        return changed

    def key_of(self, datapath: UUID, name: str) -> int | None:
        """Tunnel key of a port or multicast group of a datapath."""
        port = self.ports_of.get(datapath, {}).get(name)
        if port is not None:
            return port.key
        group = self.groups_of.get(datapath, {}).get(name)
        return group.key if group is not None else None

    def port_at(self, datapath: UUID, key: int) -> PortBinding | None:
        """The port of a datapath that has a tunnel key."""
        return self._by_key.get((datapath, key))

    def children_of(self, parent: str) -> list[PortBinding]:
        """Ports nested in a port, by its name."""
        return [self.port_rows[row] for row in self._children.get(parent, ())]

    def pointing_at(self, name: str) -> list[PortBinding]:
        """Ports that name this one as their peer; almost always that peer alone."""
        return [self.port_rows[row] for row in self._pointing.get(name, ())]

    def groups_holding(self, port: UUID) -> frozenset[UUID]:
        """Multicast groups that a port's row is in."""
        return frozenset(self._holding.get(port, ()))

    def peer_of(self, port: PortBinding) -> PortBinding | None:
        """The other end of a patch port.

        Those of a gateway router lead anywhere on the chassis only that it is bound to (OVN
        controller/physical.c, consider_port_binding).
        """
        if port.type == "l3gateway":
            if not port.chassis or port.chassis != self.chassis:
                return None
        elif port.type != "patch":
            return None
        return self.ports.get(port.peer)

    def relocate(self, bound: Iterable[str]) -> tuple[set[UUID], dict[UUID, int]]:
        """Work out again which datapaths are local, from the ports with an interface here.

        Returns (new ones, for :meth:`settle`; those no longer local with the index they had, for
        :meth:`release`).
        """
        wanted: set[UUID] = set()
        todo = [port.datapath for name in bound if (port := self.ports.get(name)) is not None]
        while todo:
            datapath = todo.pop()
            if datapath in wanted or datapath not in self.datapaths:
                continue
            wanted.add(datapath)
            for port in self.ports_of.get(datapath, {}).values():
                peer = self.peer_of(port)
                if peer is not None and peer.datapath not in wanted:
                    todo.append(peer.datapath)
        gone = {uuid: self.local.pop(uuid) for uuid in list(self.local) if uuid not in wanted}
        return {uuid for uuid in wanted if uuid not in self.local}, gone

    def settle(self, datapath: UUID) -> None:
        """Give a datapath its index: it is local now. Raises :class:`MapFullError`."""
        self.local[datapath] = self._take_index()

    def release(self, index: int) -> None:
        """Nothing refers to the index any more; the one given back first is used again first."""
        self._free.append(index)

    def _take_index(self) -> int:
        if self._free:
            return self._free.popleft()
        if self._next >= self.max_datapaths:
            raise MapFullError("dps", self.max_datapaths)
        self._next += 1
        return self._next - 1


def _drop_if(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if known.get(key) is value:
        del known[key]


def _drop_of(known: dict[UUID, dict[str, _Value]], of: UUID, name: str, value: _Value) -> None:
    names = known.get(of, {})
    _drop_if(names, name, value)
    if not names:
        known.pop(of, None)


def _discard(known: dict[_Key, set[_Value]], key: _Key, value: _Value) -> None:
    values = known.get(key)
    if values is not None:
        values.discard(value)
        if not values:
            del known[key]

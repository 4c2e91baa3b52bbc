# SPDX-License-Identifier: Apache-2.0
"""What the Southbound database says about datapaths and ports, and which of it is local.

A datapath is local when a port of it has an interface here, or when it is reached from a local
one through patch ports. Local datapaths get a small *index*, by which the machine knows them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from iovisor_ovn.errors import MapFullError
from iovisor_ovn.mainlogic.southbound import Datapath, Group, PortBinding, PortGroup

__all__ = ["World"]

_PATCH_TYPES = ("patch", "l3gateway")


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
    _free: list[int] = field(default_factory=list)
    _next: int = 1

    def put_port(self, port: PortBinding) -> PortBinding | None:
        """Add or replace a port; returns what was known of the row before."""
        old = self.drop_port(port.uuid)
        self.port_rows[port.uuid] = port
        self.ports[port.name] = port
        self.ports_of.setdefault(port.datapath, {})[port.name] = port
        return old

    def drop_port(self, row: UUID) -> PortBinding | None:
        """Forget a port by its row."""
        old = self.port_rows.pop(row, None)
        if old is not None:
            # A row of the same name may have come before this one went.
            if self.ports.get(old.name) is old:
                del self.ports[old.name]
            names = self.ports_of.get(old.datapath, {})
            if names.get(old.name) is old:
                del names[old.name]
        return old

    def put_group(self, group: Group) -> Group | None:
        """Add or replace a multicast group; returns what was known of the row before."""
        old = self.drop_group(group.uuid)
        self.groups[group.uuid] = group
        self.groups_of.setdefault(group.datapath, {})[group.name] = group
        return old

    def drop_group(self, row: UUID) -> Group | None:
        """Forget a multicast group by its row."""
        old = self.groups.pop(row, None)
        if old is not None:
            names = self.groups_of.get(old.datapath, {})
            if names.get(old.name) is old:
                del names[old.name]
        return old

    def put_port_group(self, name: str, ports: frozenset[str]) -> frozenset[str]:
        """Set the members of a port group; returns the ports whose groups changed."""
        old = self.port_groups.get(name)
        before = old.ports if old else frozenset()
        self.port_groups[name] = PortGroup(name, ports)
        for port in before - ports:
            self.groups_with[port].discard(name)
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

    def peer_of(self, port: PortBinding) -> PortBinding | None:
        """The other end of a patch port."""
        if port.type not in _PATCH_TYPES:
            return None
        return self.ports.get(port.options.get("peer", ""))

    def relocate(self, bound: Iterable[str]) -> tuple[set[UUID], dict[UUID, int]]:
        """Work out again which datapaths are local, from the ports with an interface here.

        Returns (new ones, those no longer local with the index they had). Indexes that were
        given back by :meth:`release` may be used again. Raises :class:`MapFullError`.
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
        new = {uuid for uuid in wanted if uuid not in self.local}
        for uuid in sorted(new, key=str):
            self.local[uuid] = self._take_index()
        return new, gone

    def release(self, index: int) -> None:
        """Nothing refers to the index any more."""
        self._free.append(index)

    def _take_index(self) -> int:
        if self._free:
            return self._free.pop()
        if self._next >= self.max_datapaths:
            raise MapFullError("dps", self.max_datapaths)
        self._next += 1
        return self._next - 1

# SPDX-License-Identifier: Apache-2.0
"""A switch with a plugged port on a fake machine, and short ways to change and to look."""

from uuid import UUID

from iovisor_ovn.abi import STRUCTS, PortKind
from unit.mainlogic.contents import Contents, Rule, read
from unit.mainlogic.fakes import Database, FakeInterface, FakeMachine, FakeRow, make_pipeline

__all__ = ["Rig"]


class Rig:
    """Datapath ``sw`` (tunnel key 5) with port ``p0`` (key 1) on device 10, chassis hv1."""

    def __init__(
        self, machine: FakeMachine | None = None, /, ifindex: int = 10, **sizes: int
    ) -> None:
        """Make it, on a fake machine unless told, and let the pipeline follow."""
        self.db = Database()
        self.pipeline, self.machine = make_pipeline(machine or FakeMachine(**sizes))
        self.chassis = "hv1"
        self.interfaces: dict[str, FakeInterface] = {}
        self.zones: dict[str, int] = {}
        self.hosts = {name: self.db.insert("Chassis", name=name) for name in ("hv1", "hv2")}
        self.sw = self.datapath("sw", 5)
        self.p0 = self.port("p0", 1)
        self.plug("p0", ifindex)
        self.update()

    # Rows

    def datapath(self, name: str, key: int, kind: str = "logical-switch") -> FakeRow:
        """A switch or router."""
        return self.db.insert("Datapath_Binding", tunnel_key=key,
                              external_ids={"name": name, kind: name})  # fmt: skip

    def port(self, name: str, key: int, datapath: FakeRow | None = None, kind: str = "",
             peer: str = "", **columns: object) -> FakeRow:  # fmt: skip
        """A port of the switch or of another datapath."""
        options = {"peer": peer} if peer else {}
        return self.db.insert("Port_Binding", logical_port=name, type=kind, options=options,
                              datapath=datapath or self.sw, tunnel_key=key, **columns)  # fmt: skip

    def flow(
        self, match: str = "1", actions: str = "next;", datapath: FakeRow | None = None,
        table: int = 0, priority: int = 100, pipeline: str = "ingress",
    ) -> FakeRow:  # fmt: skip
        """A flow of the switch or of another datapath or datapath group."""
        where = datapath or self.sw
        is_group = where.table == "Logical_DP_Group"
        return self.db.insert(
            "Logical_Flow", logical_datapath=[] if is_group else [where],
            logical_dp_group=[where] if is_group else [], pipeline=pipeline, table_id=table,
            priority=priority, match=match, actions=actions,
        )  # fmt: skip

    def plug(self, port: str, ifindex: int) -> None:
        """Give a port a device."""
        self.interfaces[port] = FakeInterface(ifindex)

    def update(self) -> None:
        """One pass."""
        self.pipeline.update(self.db.take(), self.interfaces, self.zones, self.chassis)

    # What came of it

    @property
    def contents(self) -> Contents:
        """All that the maps say."""
        return read(self.pipeline, self.machine)

    def rules(self, stage: int = 0, datapath: FakeRow | None = None, kind: int = 1) -> set[Rule]:
        """Rules of a stage for a kind of packet (IPv4 unless told)."""
        where = (datapath or self.sw).uuid
        return set(self.contents.stages.get((where, stage, kind), frozenset()))

    def record(self, key: int, datapath: FakeRow | None = None) -> dict[str, object] | None:
        """Record of a port or multicast group, without what is 0 or empty."""
        found = self.contents.ports.get(((datapath or self.sw).uuid, key))
        if found is None:
            return None
        shown = {name: value for name, value in found.items() if value and name != "pad"}
        shown["kind"] = PortKind(STRUCTS["port"].unpack(self._raw(key, datapath))["kind"])  # type: ignore[arg-type]
        return shown

    def _raw(self, key: int, datapath: FakeRow | None) -> bytes:
        index = self.pipeline.world.local[UUID(str((datapath or self.sw).uuid))]
        packed = STRUCTS["port_key"].pack(dp=index, port=key)
        return self.machine.maps["ports"].contents[packed]

# SPDX-License-Identifier: Apache-2.0
"""What ``iovisor-ovn standalone show`` shows: the chain's state as plain values, ready for JSON."""

import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, TypedDict

from iovisor_ovn.abi import DROP_TEXT, STRUCTS, DhcpState
from iovisor_ovn.config.topology import Link, Switch
from iovisor_ovn.mainlogic.counters import Count
from iovisor_ovn.mainlogic.neighbours import mac_text
from iovisor_ovn.mainlogic.program_report import ProgramReport, program_reports
from iovisor_ovn.modules.emission import link_counter, port_name
from iovisor_ovn.standalone.rows import datapath_uuid

if TYPE_CHECKING:
    from iovisor_ovn.standalone.chain import Chain

__all__ = ["ChainReport", "report"]

_FDB_KEY, _FDB = STRUCTS["fdb_key"], STRUCTS["fdb"]
_NEIGHBOUR_KEY, _NEIGHBOUR = STRUCTS["neigh_key"], STRUCTS["neigh"]
_IPV4_MAX = 0xFFFFFFFF
_SECOND_NS = 1_000_000_000
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp"}


class ModuleReport(TypedDict):
    """A module; ``ports`` are its ports' names."""

    module: str
    type: str
    ports: str
    flows: int


class LinkReport(TypedDict):
    """Two ports, ``MODULE:PORT``, that are joined; what went from one to the other and back.

    Bytes are those of frames as they came in at a device.
    """

    one: str
    other: str
    forth_packets: int
    forth_bytes: int
    back_packets: int
    back_bytes: int


class DeviceReport(TypedDict):
    """A device; ``state`` is up, down or missing, the counters are the kernel's.

    What a veth has sent is what its other end has received, where that is in another namespace.
    """

    device: str
    port: str
    state: str
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int


class SwitchReport(TypedDict):
    """What a switch has learned, the most that it may, packets whose address found no room."""

    module: str
    learned: int
    limit: int
    refused: int


class MacReport(TypedDict):
    """A MAC address that a switch has learned; ``idle_s`` since its last packet."""

    module: str
    mac: str
    port: str
    idle_s: int


class NeighbourReport(TypedDict):
    """A neighbour of a router; ``kind`` is learned or configured."""

    module: str
    port: str
    ip: str
    mac: str
    kind: str
    idle_s: int


class LeaseReport(TypedDict):
    """An address that a DHCP server gave away; ``client_id`` in hexadecimal digits, or empty."""

    module: str
    ip: str
    mac: str
    client_id: str
    state: str
    expires_s: int


class ConnectionReport(TypedDict):
    """A live connection, as its originator sees it.

    ``translated`` is what NAT makes of its ends (of the source, or of the destination), or empty.
    """

    module: str
    protocol: str
    source: str
    destination: str
    translated: str
    state: str
    expires_s: int


class BackendReport(TypedDict):
    """A backend whose health is checked."""

    module: str
    backend: str
    protocol: str
    state: str


class CounterReport(TypedDict):
    """What a module has counted."""

    module: str
    what: str
    packets: int
    bytes: int


class DropReport(TypedDict):
    """Packets that ended without delivery."""

    reason: str
    packets: int
    text: str


class ChainReport(TypedDict):
    """Everything. ``behind``: why the machine is not what it should be yet, empty if it is."""

    source: str
    behind: str
    modules: list[ModuleReport]
    links: list[LinkReport]
    devices: list[DeviceReport]
    switches: list[SwitchReport]
    macs: list[MacReport]
    neighbours: list[NeighbourReport]
    leases: list[LeaseReport]
    connections: list[ConnectionReport]
    backends: list[BackendReport]
    programs: list[ProgramReport]
    counters: list[CounterReport]
    drops: list[DropReport]


def report(chain: "Chain") -> ChainReport:
    """The state of a chain now. Cost: linear in what its tables hold."""
    topology = chain.topology
    assert topology is not None
    counts = chain.pipeline.counters.read()
    return ChainReport(
        source=topology.source,
        behind=chain.behind,
        modules=[
            ModuleReport(
                module=module.name,
                type=type(module.config).__name__.lower(),
                ports=", ".join(module.ports),
                flows=chain.flow_count(module.name),
            )
            for module in topology.modules
        ],
        links=[_link(link, counts) for link in topology.links],
        devices=_devices(chain),
        switches=_switches(chain),
        macs=_macs(chain),
        neighbours=_neighbours(chain),
        leases=_leases(chain),
        connections=_connections(chain),
        backends=[
            BackendReport(
                module=backend.module,
                backend=_end(backend.ip, backend.port),
                protocol=backend.protocol,
                state="alive" if backend.is_alive else "dead",
            )
            for backend in chain.health.backends()
        ],
        programs=program_reports(chain.pipeline.modules),
        counters=_counters(topology.links, counts),
        drops=[
            DropReport(reason=reason.name.lower(), packets=packets, text=DROP_TEXT[reason])
            for reason, packets in sorted(chain.pipeline.machine.drops().items())
        ],
    )


def _devices(chain: "Chain") -> list[DeviceReport]:
    assert chain.topology is not None
    statistics = chain.devices.statistics()
    found = []
    for interface in chain.topology.interfaces:
        link = chain.devices.get(interface.device)
        counters = None if link is None else statistics.get(link.ifindex)
        if link is not None and counters is not None:
            counters = counters.with_peer(chain.devices.peer_statistics(link))
        found.append(
            DeviceReport(
                device=interface.device,
                port=port_name(interface.module, interface.port),
                state="missing" if link is None else "up" if link.has_carrier else "down",
                rx_packets=counters.rx_packets if counters else 0,
                tx_packets=counters.tx_packets if counters else 0,
                rx_bytes=counters.rx_bytes if counters else 0,
                tx_bytes=counters.tx_bytes if counters else 0,
            )
        )
    return found


def _connections(chain: "Chain") -> list[ConnectionReport]:
    modules = chain.zone_modules()
    found = []
    for connection in chain.conntrack.dump():
        binding = connection.binding
        if connection.states is not None:
            state = " ".join(dict.fromkeys(connection.states)).lower()
        else:
            state = "both ways" if connection.answered else "one way"
        translated = ""
        if binding is not None:
            ends = binding.translated
            at_source = binding.kind == "snat"
            translated = _end(
                ends.source if at_source else ends.destination,
                ends.ports[0 if at_source else 1] or ends.icmp_id,
            )
        found.append(
            ConnectionReport(
                module=modules.get(connection.zone, ""),
                protocol=_PROTOCOLS.get(connection.protocol, str(connection.protocol)),
                source=_end(connection.source, connection.ports[0] or connection.icmp_id),
                destination=_end(connection.destination, connection.ports[1]),
                translated=translated,
                state=state,
                expires_s=int(connection.timeout_s),
            )
        )
    return sorted(found, key=lambda row: (row["module"], row["protocol"], row["source"]))


def _end(address: object, port: int | None) -> str:
    """An address with a port or ICMP identifier, if there is one."""
    if not port:
        return str(address)
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def _link(link: Link, counts: Mapping[str, Count]) -> LinkReport:
    one, other = link.ends
    nothing = Count(0, 0)
    forth = counts.get(link_counter(one.module, one.port), nothing)
    back = counts.get(link_counter(other.module, other.port), nothing)
    return LinkReport(
        one=port_name(one.module, one.port),
        other=port_name(other.module, other.port),
        forth_packets=forth.packets,
        forth_bytes=forth.bytes,
        back_packets=back.packets,
        back_bytes=back.bytes,
    )


def _counters(links: Iterable[Link], counts: Mapping[str, Count]) -> list[CounterReport]:
    of_links = {link_counter(end.module, end.port) for link in links for end in link.ends}
    found = []
    for name, count in counts.items():
        if name in of_links:
            continue
        module, _colon, what = name.partition(":")
        found.append(
            CounterReport(module=module, what=what, packets=count.packets, bytes=count.bytes)
        )
    return found


def _leases(chain: "Chain") -> list[LeaseReport]:
    """Leases in force; what has ended is left out."""
    found = [
        LeaseReport(
            module=module,
            ip=str(lease.ip),
            mac="" if lease.state is DhcpState.DECLINED else lease.mac,
            client_id=(lease.client_id or b"").hex(),
            state=lease.state.name.lower(),
            expires_s=int(lease.expires_s),
        )
        for module, lease in chain.pools.leases()
        if lease.expires_s > 0
    ]
    return sorted(found, key=lambda row: (row["module"], IPv4Address(row["ip"])))


class _Names:
    """Modules by datapath index, ports by key."""

    def __init__(self, chain: "Chain") -> None:
        world = chain.pipeline.world
        self._ports = {
            index: {port.key: port.name for port in world.ports_of.get(uuid, {}).values()}
            for uuid, index in world.local.items()
        }
        self._modules = {index: world.datapaths[uuid].name for uuid, index in world.local.items()}

    def module(self, index: int) -> str:
        """Name of a module."""
        return self._modules.get(index, "")

    def port(self, index: int, key: int) -> str:
        """Name of a port within its module."""
        return self._ports.get(index, {}).get(key, "").partition(":")[2]


def _switches(chain: "Chain") -> list[SwitchReport]:
    assert chain.topology is not None
    assert chain.pipeline.fdb is not None
    found = []
    for module in chain.topology.modules:
        index = chain.pipeline.world.local.get(datapath_uuid(module.name))
        if isinstance(module.config, Switch) and index is not None:
            room = chain.pipeline.fdb.room(index)
            found.append(
                SwitchReport(
                    module=module.name,
                    learned=room.learned,
                    limit=room.limit,
                    refused=room.refused,
                )
            )
    return found


def _macs(chain: "Chain") -> list[MacReport]:
    names, now_ns = _Names(chain), time.monotonic_ns()
    found = []
    for raw_key, raw_value in chain.pipeline.machine.maps["fdb_entries"].items():
        key, value = _FDB_KEY.numbers(raw_key), _FDB.numbers(raw_value)
        found.append(
            MacReport(
                module=names.module(key["dp"]),
                mac=mac_text(key["mac_hi"] << 32 | key["mac_lo"]),
                port=names.port(key["dp"], value["port"]),
                idle_s=max(0, now_ns - value["used_ns"]) // _SECOND_NS,
            )
        )
    return sorted(found, key=lambda row: (row["module"], row["port"], row["mac"]))


def _neighbours(chain: "Chain") -> list[NeighbourReport]:
    names, now_ns = _Names(chain), time.monotonic_ns()
    found = []
    for raw_key, raw_value in chain.pipeline.machine.maps["neighbours"].items():
        key, value = _NEIGHBOUR_KEY.unpack(raw_key), _NEIGHBOUR.numbers(raw_value)
        index, port, words = key["dp"], key["port"], key["ip"]
        assert isinstance(index, int)
        assert isinstance(port, int)
        assert isinstance(words, tuple)
        number = 0
        for word in words:
            number = number << 32 | word
        ip = IPv4Address(number) if number <= _IPV4_MAX else IPv6Address(number)
        learned = value["mac_hi"] << 32 | value["mac_lo"]
        configured = value["static_hi"] << 32 | value["static_lo"]
        found.append(
            NeighbourReport(
                module=names.module(index),
                port=names.port(index, port),
                ip=str(ip),
                mac=mac_text(configured or learned),
                kind="configured" if configured else "learned",
                idle_s=max(0, now_ns - value["used_ns"]) // _SECOND_NS if value["used_ns"] else 0,
            )
        )
    return sorted(found, key=lambda row: (row["module"], row["port"], row["ip"]))

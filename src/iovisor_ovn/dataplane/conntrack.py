# SPDX-License-Identifier: Apache-2.0
"""The connections that the machine tracks, seen from the agent.

The kernel needs none of this to go on: expired entries count as absent there. The agent takes
them away, empties zones, and shows what there is::

    connections = Conntrack(machine.maps)
    connections.flush(zone)              # a zone before its first use
    connections.collect(budget_s=0.005)  # every few seconds, from the main loop
    for connection in connections.dump(zone):
        print(connection.source, connection.states, connection.timeout_s)
    for binding in connections.bindings(zone):
        print(binding.original.source, binding.translated.source, binding.expires_s)

A connection with NAT has a second entry, by which its answers find it (the alias). The two die
together; only the first is shown.
"""

import ctypes
import errno
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from iovisor_ovn.abi import ConnFlag
from iovisor_ovn.abi.structs import STRUCTS
from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.dataplane.maps import Map

__all__ = ["COLLECT_GRACE_S", "Binding", "Connection", "Conntrack", "Ends"]

#: How long an expired entry stays: a CPU that saw it alive may still be writing to it.
COLLECT_GRACE_S = 1.0

_BATCH_ENTRIES = 4096
_KEY = STRUCTS["conn_key"]
_CONN = STRUCTS["conn"]
_ZONE = STRUCTS["ct_zone"]
_INDEX = struct.Struct("=I")
# What tells dead from alive: the zone in a key, the end and the epoch in a value.
_KEY_ZONE = struct.Struct(f"=H{_KEY.size - 2}x")
_CONN_LIFE = struct.Struct(f"=Q20xI{_CONN.size - 32}x")
_NAT = ConnFlag.SNAT | ConnFlag.DNAT
_FAMILY = 0xF  # conn_key.family: the rest tells who sends
_FLAGS_AT = _CONN.offset_of("flags")
_TCP, _ICMP, _ICMPV6 = 6, 1, 58
# Peers' states under the names that `dpctl/dump-conntrack` of OVS gives them.
_TCP_STATES = (
    "CLOSED", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1",
    "CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ends:
    """From where to where; ``ports`` are (0, 0) for protocols without, ICMP has an ``icmp_id``."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    ports: tuple[int, int]
    icmp_id: int | None


@dataclass(frozen=True, slots=True)
class Binding:
    """A live connection with NAT: its ends as the originator sends, and as they are sent on.

    ``kind`` is ``snat`` or ``dnat``. ``state`` is that of TCP, of both ends if they differ, else
    ``one way`` or ``both ways``.
    """

    zone: int
    protocol: int
    kind: str
    original: Ends
    translated: Ends
    state: str
    expires_s: float


@dataclass(frozen=True, slots=True)
class Connection:
    """A live connection as its originator sees it.

    ``ports`` are those of originator and responder, (0, 0) for protocols without. ICMP has an
    ``icmp_id`` and the type of the requests instead. ``states`` are TCP's, of originator and
    responder; ``answered`` says whether packets went both ways. ``packets`` counts from
    originator and from responder. ``label`` has 128 bits. ``binding`` is what NAT makes of it.
    """

    zone: int
    protocol: int
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    ports: tuple[int, int]
    icmp_id: int | None
    icmp_type: int | None
    mark: int
    label: int
    timeout_s: float
    answered: bool
    states: tuple[str, str] | None
    packets: tuple[int, int]
    binding: Binding | None = None


class Conntrack:
    """Maps ``ct_conns``, ``ct_fresh`` and ``ct_zones`` of a loaded machine.

    ``clock`` gives nanoseconds of the kernel's monotonic clock.
    """

    def __init__(
        self, maps: Mapping[str, Map], clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._conns = maps["ct_conns"]
        self._fresh = maps["ct_fresh"]
        self._zones = maps["ct_zones"]
        self._clock = clock
        self._cursor: ctypes.Array[ctypes.c_char] | None = None
        self._batch = min(_BATCH_ENTRIES, self._conns.max_entries)

    def flush(self, zone: int) -> None:
        """Empty a zone: one write, whatever it holds; :meth:`collect` frees the memory later."""
        epoch = self._read_epoch(zone)
        self._zones.update(_INDEX.pack(zone), _ZONE.pack(epoch=(epoch + 1) & 0xFFFFFFFF))

    def collect(self, budget_s: float = 0.005) -> int:
        """Remove dead entries for about ``budget_s`` seconds; how many were removed.

        Goes on where the last call stopped. At least one batch (4,096 entries) is looked at,
        so the time may be exceeded by a few milliseconds. New connections need no collector:
        their map makes room by itself.
        """
        until_ns = time.monotonic_ns() + int(budget_s * 1e9)
        epochs: dict[int, int] = {}
        removed = 0
        while True:
            keys, values = self._next_batch()
            dead = self._dead(keys, values, epochs)
            self._conns.delete_many(b"".join(dead))
            removed += len(dead)
            if self._cursor is None or time.monotonic_ns() >= until_ns:
                return removed

    def dump(self, zone: int | None = None) -> Iterator[Connection]:
        """Give the live connections of a zone, or of all; with NAT, each once."""
        now_ns = self._clock()
        epochs: dict[int, int] = {}
        seen: set[bytes] = set()
        # A connection on its way from one map to the other is in both for a moment, or found
        # in neither if the new place is read first.
        for table in (self._fresh, self._conns):
            for key, value in table.items():
                if key in seen or not self._is_alive(key, value, now_ns, epochs):
                    continue
                seen.add(key)
                if value[_FLAGS_AT] & ConnFlag.ALIAS:
                    continue
                if zone is None or _KEY_ZONE.unpack(key)[0] == zone:
                    yield _connection(key, value, now_ns)

    def bindings(self, zone: int | None = None) -> Iterator[Binding]:
        """Give the live connections with NAT of a zone, or of all."""
        for connection in self.dump(zone):
            if connection.binding is not None:
                yield connection.binding

    def count(self, zone: int | None = None) -> int:
        """Count the live connections of a zone, or of all."""
        return sum(1 for _connection in self.dump(zone))

    def _read_epoch(self, zone: int) -> int:
        value = self._zones.lookup(_INDEX.pack(zone))
        assert value is not None, "an array has every zone"
        epoch = _ZONE.unpack(value)["epoch"]
        assert isinstance(epoch, int)
        return epoch

    def _epoch(self, zone: int, known: dict[int, int]) -> int:
        if zone not in known:
            known[zone] = self._read_epoch(zone)
        return known[zone]

    def _is_alive(self, key: bytes, value: bytes, now_ns: int, epochs: dict[int, int]) -> bool:
        expires_ns, epoch = _CONN_LIFE.unpack(value)
        (zone,) = _KEY_ZONE.unpack(key)
        return bool(expires_ns > now_ns and epoch == self._epoch(zone, epochs))

    def _dead(self, keys: bytes, values: bytes, epochs: dict[int, int]) -> list[bytes]:
        oldest_ns = self._clock() - int(COLLECT_GRACE_S * 1e9)
        dead = []
        for at, ((zone,), (expires_ns, epoch)) in enumerate(
            zip(_KEY_ZONE.iter_unpack(keys), _CONN_LIFE.iter_unpack(values), strict=True)
        ):
            if expires_ns <= oldest_ns or epoch != self._epoch(zone, epochs):
                dead.append(keys[at * _KEY.size : (at + 1) * _KEY.size])
        return dead

    def _next_batch(self) -> tuple[bytes, bytes]:
        # One bucket of the hash must fit into a batch, hence ENOSPC doubles it.
        while True:
            keys = ctypes.create_string_buffer(_KEY.size * self._batch)
            values = ctypes.create_string_buffer(_CONN.size * self._batch)
            following = ctypes.create_string_buffer(max(_KEY.size, 4))
            count = ctypes.c_uint32(self._batch)
            result = libbpf.call(
                "bpf_map_lookup_batch", self._conns.fd, self._cursor, following, keys, values,
                ctypes.byref(count), None,
            )  # fmt: skip
            if result != -errno.ENOSPC:
                break
            self._batch *= 2
        if result != -errno.ENOENT:
            libbpf.check(result, f"read map {self._conns.name}")
        self._cursor = None if result == -errno.ENOENT else following
        return (
            ctypes.string_at(keys, _KEY.size * count.value),
            ctypes.string_at(values, _CONN.size * count.value),
        )


def _connection(key: bytes, value: bytes, now_ns: int) -> Connection:
    zone, proto, family, first_port, second_port = struct.unpack_from("=HBBHH", key)
    family &= _FAMILY
    words = struct.unpack_from("=8I", key, 8)
    entry = _CONN.unpack(value)
    flags, states, packets = entry["flags"], entry["state"], entry["packets"]
    mark, label, expires_ns = entry["mark"], entry["label"], entry["expires_ns"]
    assert isinstance(flags, int)
    assert isinstance(mark, int)
    assert isinstance(expires_ns, int)
    assert isinstance(states, tuple)
    assert isinstance(label, tuple)
    assert isinstance(packets, tuple)
    is_icmp = proto == (_ICMP if family == 4 else _ICMPV6)
    addresses = [_address(family, words[:4]), _address(family, words[4:])]
    ports = [first_port, second_port]
    if flags & ConnFlag.FROM_1:
        addresses.reverse()
        ports.reverse()
    ends = _ends(addresses, ports, is_icmp=is_icmp)
    connection = Connection(
        zone=zone,
        protocol=proto,
        source=ends.source,
        destination=ends.destination,
        ports=ends.ports,
        icmp_id=ends.icmp_id,
        icmp_type=second_port if is_icmp else None,
        mark=mark,
        label=sum(word << 96 - 32 * at for at, word in enumerate(label)),
        timeout_s=(expires_ns - now_ns) / 1e9,
        answered=packets[1] > 0,
        states=(_TCP_STATES[states[0]], _TCP_STATES[states[1]]) if proto == _TCP else None,
        packets=(packets[0], packets[1]),
    )
    if not flags & _NAT:
        return connection
    nat_ip, nat_port = entry["nat_ip"], entry["nat_port"]
    assert isinstance(nat_ip, tuple)
    assert isinstance(nat_port, tuple)
    kind = "snat" if flags & ConnFlag.SNAT else "dnat"
    addresses[0 if kind == "snat" else 1] = _address(family, nat_ip)
    translated = _ends(addresses, list(nat_port), is_icmp=is_icmp)
    binding = Binding(zone, proto, kind, ends, translated, _state(connection), connection.timeout_s)
    return replace(connection, binding=binding)


def _ends(
    addresses: Sequence[IPv4Address | IPv6Address], ports: Sequence[int], *, is_icmp: bool
) -> Ends:
    """Ends from both addresses and ports; of ICMP the first port is the identifier."""
    if is_icmp:
        return Ends(addresses[0], addresses[1], (0, 0), ports[0])
    return Ends(addresses[0], addresses[1], (ports[0], ports[1]), None)


def _state(connection: Connection) -> str:
    if connection.states is None:
        return "both ways" if connection.answered else "one way"
    originator, responder = connection.states
    return originator if originator == responder else f"{originator}/{responder}"


def _address(family: int, words: tuple[int, ...]) -> IPv4Address | IPv6Address:
    if family == 4:
        return IPv4Address(words[3])
    return IPv6Address(b"".join(word.to_bytes(4) for word in words))

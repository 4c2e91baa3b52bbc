# SPDX-License-Identifier: Apache-2.0
"""The machine's DHCP servers, seen from the agent: settings in, leases out.

The kernel answers by itself (``bpf/iomodules/dhcp``); leases are in its maps, which outlive the
agent. What the agent adds is their life beyond a reboot, and an operator's view::

    servers = DhcpServers(machine.maps)
    servers.put(3, DhcpSettings(server=IPv4Interface("10.0.0.1/24"), ...))
    saved = servers.leases()          # before the machine goes down
    servers.restore(saved)            # after it is up again, before devices are attached

A server is known by its number, which its leases carry: it must be the same after a restart.
"""

import struct
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from iovisor_ovn.abi import ABI_VERSION, STRUCTS, DhcpState, Limit
from iovisor_ovn.dataplane.maps import Map
from iovisor_ovn.dataplane.program import map_pins
from iovisor_ovn.errors import MapFullError

__all__ = ["GRACE_S", "DhcpServers", "DhcpSettings", "Lease", "leases_pinned"]

#: How long an entry stays that nothing needs: a CPU may still be looking at it.
GRACE_S = 1.0

_POOL, _HOST, _ADDR = STRUCTS["dhcp_pool"], STRUCTS["dhcp_host"], STRUCTS["dhcp_addr"]
_CLIENT, _LEASE = STRUCTS["dhcp_client"], STRUCTS["dhcp_lease"]
_U32 = struct.Struct("=I")
# There may be many leases, so they are read in one go: a key; a value, whose lease lies behind a
# spin lock of eight bytes and begins with its end and the client, as it is in dhcp_clients.
_ADDR_CODEC = struct.Struct("=II")
_SLOT_CODEC = struct.Struct(f"=8xQ{_CLIENT.size}sIII4x")
_CLIENT_CODEC = struct.Struct(f"=IB{Limit.DHCP_ID}s")
_CLIENT_AT, _SIZE_AT = 16, 4  # of the client in a value, of the identifier's size in a client
_EXPIRES = struct.Struct("=8xQ")
assert _SLOT_CODEC.size == 8 + _LEASE.size
_STATES = {int(state): state for state in DhcpState}
_ID_FOLDED = 255
_OPTION_SIZE_MAX = 255
_NETMASK, _ROUTER, _DNS, _DOMAIN, _MTU, _BROADCAST = 1, 3, 6, 15, 26, 28


@dataclass(frozen=True, slots=True)
class DhcpSettings:
    """A server and its pool, ``first`` to ``last``, both included.

    ``server`` is its address in the clients' network. ``reservations`` maps MAC addresses
    (``02:00:00:00:00:01``) to the address that this host gets and no other, in the pool or not.
    An offered address is kept for ``offer_s``, a declined one not given away for ``rest_s``.
    Raises ValueError if the options do not fit into a reply.
    """

    server: IPv4Interface
    server_mac: str
    first: IPv4Address
    last: IPv4Address
    lease_s: int = 3600
    router: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    domain_name: str = ""
    mtu: int | None = None
    reservations: Mapping[str, IPv4Address] = field(default_factory=dict)
    offer_s: int = 30
    rest_s: int = 600

    def __post_init__(self) -> None:
        """Refuse what no reply could carry."""
        self.options()

    def options(self) -> bytes:
        """The options as replies carry them, those first that a client can least do without."""
        network = self.server.network
        found = [(_NETMASK, network.netmask.packed)]
        if self.router is not None:
            found.append((_ROUTER, self.router.packed))
        if self.dns:
            found.append((_DNS, b"".join(server.packed for server in self.dns)))
        if self.domain_name:
            found.append((_DOMAIN, self.domain_name.encode("ascii")))
        if self.mtu is not None:
            found.append((_MTU, self.mtu.to_bytes(2)))
        found.append((_BROADCAST, network.broadcast_address.packed))
        for code, value in found:
            if len(value) > _OPTION_SIZE_MAX:
                raise ValueError(f"DHCP option {code} takes {_OPTION_SIZE_MAX} bytes at most")
        options = b"".join(bytes((code, len(value))) + value for code, value in found)
        if len(options) > Limit.DHCP_OPTIONS:
            raise ValueError(f"the DHCP options take more than {Limit.DHCP_OPTIONS} bytes")
        return options


@dataclass(frozen=True, slots=True)
class Lease:
    """An address and its client.

    ``client_id`` is that of option 61, ``None`` for a client that is known by its MAC address. Of
    an identifier of more than 59 bytes it holds the first 51 and a hash (``is_folded``). What has
    ``expires_s`` of 0 or less is free and only remembered. A DECLINED address has no client.
    """

    pool: int
    ip: IPv4Address
    mac: str
    client_id: bytes | None
    state: DhcpState
    expires_s: float
    is_folded: bool = False


def _boot_time_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class DhcpServers:
    """The ``dhcp_`` maps of a loaded machine.

    ``clock`` gives nanoseconds since boot, suspended time included, as the kernel counts leases.
    """

    def __init__(self, maps: Mapping[str, Map], clock: Callable[[], int] = _boot_time_ns) -> None:
        """Know of no server yet, and of the leases of those before."""
        self._pools = maps["dhcp_pools"]
        self._hosts = maps["dhcp_hosts"]
        self._fixed = maps["dhcp_fixed"]
        self._leases = maps["dhcp_leases"]
        self._clients = maps["dhcp_clients"]
        self._groups = maps["dhcp_groups"]
        self._clock = clock
        self._settings: dict[int, DhcpSettings] = {}
        self._off_since: dict[int, int] = {}
        self._started = clock()

    # -- settings ------------------------------------------------------------------------

    def put(self, pool: int, settings: DhcpSettings) -> None:
        """Let server number ``pool`` (below ``Limit.DHCP_POOLS``) answer with these settings.

        Leases stay, also those that the settings do not allow any more: their clients hear so when
        they renew. Raises MapFullError: too many reservations; then all is as before.
        """
        before = self._settings.get(pool)
        _change(self._fixed, _fixed_of(pool, before), _fixed_of(pool, settings))
        try:
            _change(self._hosts, _hosts_of(pool, before), _hosts_of(pool, settings))
        except MapFullError:
            _change(self._fixed, _fixed_of(pool, settings), _fixed_of(pool, before))
            raise
        self._settings[pool] = settings
        self._off_since.pop(pool, None)
        self._write(pool, settings)

    def remove(self, pool: int) -> None:
        """Let a server answer no more; :meth:`sweep` forgets its leases later."""
        settings = self._settings.pop(pool, None)
        self._pools.update(_U32.pack(pool), bytes(_POOL.size))
        _change(self._hosts, _hosts_of(pool, settings), {})
        _change(self._fixed, _fixed_of(pool, settings), {})
        self._off_since[pool] = self._clock()

    def _write(self, pool: int, settings: DhcpSettings) -> None:
        key = _U32.pack(pool)
        written = self._pools.lookup(key)
        assert written is not None, "an array has every pool"
        epoch = _POOL.numbers(written)["epoch"]
        mac_hi, mac_lo = _mac_words(settings.server_mac)
        options = settings.options()
        value = _POOL.pack(
            is_on=1, epoch=(epoch + 1) & 0xFFFFFFFF, server_ip=int(settings.server.ip),
            netmask=int(settings.server.netmask), first=int(settings.first),
            last=int(settings.last), mac_hi=mac_hi, mac_lo=mac_lo, lease_s=settings.lease_s,
            offer_s=settings.offer_s, rest_s=settings.rest_s, options_size=len(options),
            options=tuple(options),
        )  # fmt: skip
        self._pools.update(key, value)

    # -- leases --------------------------------------------------------------------------

    def leases(self, pool: int | None = None) -> list[Lease]:
        """What is known of addresses, of one pool or of all, those that are free again included."""
        known = _known(self._leases, self._clock())
        return [lease for lease in known if pool is None or lease.pool == pool]

    def restore(self, leases: Iterable[Lease]) -> int:
        """Put leases back that are not known any more; the number of those that were.

        What the kernel knows of an address is newer and stays. Raises MapFullError.
        """
        now_ns = self._clock()
        count = 0
        pools = set()
        for lease in leases:
            client = _client_of(lease)
            ip = int(lease.ip)
            value = _write_lease(lease, client, now_ns)
            if not self._leases.add(_ADDR.pack(pool=lease.pool, ip=ip), value):
                continue
            count += 1
            pools.add(lease.pool)
            if any(client):
                self._clients.add(client, _U32.pack(ip))
        self._forget_hints(pools)
        return count

    def delete(self, pool: int, ip: IPv4Address) -> bool:
        """Make an address free at once, and forget whose it was; whether it was anybody's.

        Its client does not know and goes on using it until it renews.
        """
        key = _ADDR.pack(pool=pool, ip=int(ip))
        value = self._leases.lookup_locked(key)
        if value is None or not any(value):
            return False
        done = self._leases.replace_locked(key, bytes(len(value)))
        self._forget_clients({key: value})
        self._forget_hints({pool})
        return done

    def sweep(self) -> int:
        """Forget leases that nothing can come back to; the number of them.

        Those of pools that are off, and expired ones that the settings do not allow any more. To be
        called once in a while: its cost is linear in the leases.
        """
        oldest_ns = self._clock() - int(GRACE_S * 1e9)
        dead = {}
        for key, value in self._leases.items():
            pool, ip = _ADDR_CODEC.unpack(key)
            (expires_ns,) = _EXPIRES.unpack_from(value)
            if self._is_dead(pool, ip, expires_ns, oldest_ns):
                dead[key] = value
        self._leases.delete_many(b"".join(dead))
        self._forget_clients(dead)
        if dead:
            hints = self._groups.keys()
            gone = [key for key in hints if _pool_of(key) not in self._settings]
            self._groups.delete_many(b"".join(gone))
        return len(dead)

    def _is_dead(self, pool: int, ip: int, expires_ns: int, oldest_ns: int) -> bool:
        settings = self._settings.get(pool)
        if settings is None:
            return self._off_since.get(pool, self._started) <= oldest_ns
        return expires_ns <= oldest_ns and not _allows(settings, IPv4Address(ip))

    def pools_with_leases(self) -> set[int]:
        """Pools that anything is known of, of servers that are gone too."""
        return set(map(_pool_of, self._leases.keys()))

    def _forget_clients(self, slots: Mapping[bytes, bytes]) -> None:
        """Forget what leads from clients to these addresses; some have another by now."""
        for key, slot in slots.items():
            client = slot[_CLIENT_AT : _CLIENT_AT + _CLIENT.size]
            if self._clients.lookup(client) == key[-_U32.size :]:
                self._clients.delete(client, missing_ok=True)

    def _forget_hints(self, pools: Iterable[int]) -> None:
        """Let the search for free addresses look at all of them again."""
        for pool in pools:
            if pool in self._settings:
                self._write(pool, self._settings[pool])


def leases_pinned(pin_dir: Path) -> list[Lease]:
    """What a machine that nobody serves knows of addresses, of all pools."""
    pin = map_pins(pin_dir, ABI_VERSION) / "dhcp_leases"
    if not pin.exists():
        return []
    with closing(Map.open_pin(pin)) as table:
        return _known(table, _boot_time_ns())


def _known(table: Map, now_ns: int) -> list[Lease]:
    return [_read_lease(*item, now_ns) for item in table.items(locked=True) if any(item[1])]


def _change(table: Map, before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> None:
    """Bring a map from one set of entries to another; on MapFullError it is as before."""
    added = []
    try:
        for key, value in after.items():
            if before.get(key) != value:
                table.update(key, value)
                added.append(key)
    except MapFullError:
        for key in added:
            if key in before:
                table.update(key, before[key])
            else:
                table.delete(key, missing_ok=True)
        raise
    table.delete_many(b"".join(before.keys() - after.keys()))


def _fixed_of(pool: int, settings: DhcpSettings | None) -> dict[bytes, bytes]:
    """Addresses that only one host may have, or none."""
    if settings is None:
        return {}
    network = settings.server.network
    nobodys = {network.network_address, network.broadcast_address, settings.server.ip}
    if settings.router is not None:
        nobodys.add(settings.router)
    entries = {_addr(pool, ip): bytes(_HOST.size) for ip in nobodys}
    for mac, ip in settings.reservations.items():
        entries[_addr(pool, ip)] = _host(pool, mac)
    return entries


def _hosts_of(pool: int, settings: DhcpSettings | None) -> dict[bytes, bytes]:
    if settings is None:
        return {}
    return {_host(pool, mac): _U32.pack(int(ip)) for mac, ip in settings.reservations.items()}


def _allows(settings: DhcpSettings, ip: IPv4Address) -> bool:
    return settings.first <= ip <= settings.last or ip in settings.reservations.values()


def _addr(pool: int, ip: IPv4Address) -> bytes:
    return _ADDR.pack(pool=pool, ip=int(ip))


def _host(pool: int, mac: str) -> bytes:
    mac_hi, mac_lo = _mac_words(mac)
    return _HOST.pack(pool=pool, mac_hi=mac_hi, mac_lo=mac_lo)


def _mac_words(mac: str) -> tuple[int, int]:
    value = int(mac.replace(":", ""), 16)
    return value >> 32, value & 0xFFFFFFFF


def _pool_of(key: bytes) -> int:
    (pool,) = _U32.unpack_from(key)
    return int(pool)


def _client_of(lease: Lease) -> bytes:
    """Key of the client map; zeros for nobody."""
    if lease.state is DhcpState.DECLINED:
        return bytes(_CLIENT.size)
    if lease.client_id is None:
        size, identity = 0, bytes.fromhex(lease.mac.replace(":", ""))
    else:
        size = _ID_FOLDED if lease.is_folded else len(lease.client_id)
        identity = lease.client_id
    return _CLIENT_CODEC.pack(lease.pool, size, identity)


def _write_lease(lease: Lease, client: bytes, now_ns: int) -> bytes:
    return _SLOT_CODEC.pack(
        max(0, now_ns + int(lease.expires_s * 1e9)), client, lease.state, *_mac_words(lease.mac)
    )


def _read_lease(key: bytes, value: bytes, now_ns: int) -> Lease:
    pool, ip = _ADDR_CODEC.unpack(key)
    expires_ns, client, state, mac_hi, mac_lo = _SLOT_CODEC.unpack(value)
    size = client[_SIZE_AT]
    identity = client[_SIZE_AT + 1 :][: min(size, Limit.DHCP_ID)]
    return Lease(
        pool=pool,
        ip=IPv4Address(ip),
        mac=(mac_hi << 32 | mac_lo).to_bytes(6).hex(":"),
        client_id=identity if size else None,
        state=_STATES[state],
        expires_s=(expires_ns - now_ns) / 1e9,
        is_folded=size == _ID_FOLDED,
    )

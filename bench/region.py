# SPDX-License-Identifier: Apache-2.0
"""A region that is large for one hypervisor: what Neutron would write for it.

`Size.switches` networks of `Size.ports` ports each behind one router, all of which are local to a
hypervisor with one VM on each network. Every port has port security for both families, is in a
security group, and each group has its rules by remote address, remote group and port. The members
of one address set are `Size.big_set`. A real ovn-northd makes the flows; both database files are
kept, so that a later run begins with them.
"""

import hashlib
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

from enclose import PLACE

from iovisor_ovn.demo.central import Central

__all__ = ["BIG_SET", "LARGE", "Size", "Vm", "open_central", "vms"]

_KEPT = Path(__file__).parent.parent / "build" / "bench"
_DROP = "neutron_pg_drop"
#: Name of the address set with many members.
BIG_SET = "as_big"
_NORTHD_S = 600.0
_REPLY_SIZE = 1 << 16
# Of a group: what its members may be reached by, with the group's own number.
_RULES = (
    "ip4 && ip4.src == $pg_{n}_ip4",
    "ip6 && ip6.src == $pg_{n}_ip6",
    "ip4 && ip4.src == 0.0.0.0/0 && icmp4",
    "ip6 && ip6.src == ::/0 && icmp6",
    "ip4 && ip4.src == 192.0.{byte}.0/24 && tcp && tcp.dst == 22",
    "ip4 && ip4.src == 0.0.0.0/0 && tcp && tcp.dst == {port}",
    "ip6 && ip6.src == ::/0 && tcp && tcp.dst == {port}",
    "ip4 && ip4.src == $pg_{next}_ip4 && udp && udp.dst == {port}",
    "ip4 && ip4.src == 198.51.100.0/24 && tcp && tcp.dst >= {port} && tcp.dst <= 65000",
    "ip4 && ip4.src == 10.{byte}.0.0/16 && udp && udp.dst == {{53, 123, {port}}}",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    switches: int
    ports: int  # of each switch
    groups: int  # security groups, of ten rules each
    big_set: int = 10_000


#: More than 50,000 logical flows on 21 datapaths.
LARGE = Size(switches=20, ports=300, groups=300)


@dataclass(frozen=True, slots=True)
class Vm:
    """A port that has a device on the hypervisor; ``address`` with its prefix length."""

    name: str
    mac: str
    address: str
    gateway: str

    @property
    def ip(self) -> str:
        """The address alone."""
        return self.address.partition("/")[0]


def vms(size: Size) -> list[Vm]:
    """The first port of each switch."""
    return [
        Vm(_port(switch, 0), _mac(switch, 0), f"{_ip(switch, 0)}/16", f"10.{switch}.0.1")
        for switch in range(size.switches)
    ]


def open_central(place: Path, size: Size) -> Central:
    """Start a central that holds the region; built once and kept in ``build/bench``."""
    written = hashlib.sha256(Path(__file__).read_bytes() + repr(astuple(size)).encode())
    kept = _KEPT / f"region-{written.hexdigest()[:12]}"
    if not kept.exists():
        _build(kept, size)
    return Central(place, databases=kept)


def _build(kept: Path, size: Size) -> None:
    place = PLACE / "region"
    central = Central(place)
    try:
        _transact(place / "nb.sock", list(_operations(size)))
        central.nbctl("--timeout=600", "--wait=sb", "sync", timeout_s=_NORTHD_S)
        whole = kept.with_suffix(".part")
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir(parents=True)
        for name in ("nb", "sb"):
            central.compact(name)
            shutil.copy(place / f"{name}.db", whole)
        whole.rename(kept)
    finally:
        central.stop()


def _transact(server: Path, operations: list[dict[str, object]]) -> None:
    """One transaction, sent by hand: ovn-nbctl would take a minute for its words."""
    request = {"id": 0, "method": "transact", "params": ["OVN_Northbound", *operations]}
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.connect(str(server))
        connection.sendall(json.dumps(request).encode())
        text = ""
        while True:
            text += connection.recv(_REPLY_SIZE).decode()
            try:
                reply = json.loads(text)
                break
            except ValueError:
                continue
    refused = [item for item in reply["result"] if item is None or "error" in item]
    if reply["error"] or refused:
        raise RuntimeError(f"the Northbound database refused: {reply['error'] or refused}")


def _operations(size: Size) -> Iterator[dict[str, object]]:
    members: dict[int, list[str]] = {group: [] for group in range(size.groups)}
    router_ports = []
    for switch in range(size.switches):
        names = [f"p{switch}_{number}" for number in range(size.ports)]
        for number, name in enumerate(names):
            # Networks share groups with their neighbours, as projects' tiers do.
            place = (switch + number % 2) % size.switches + size.switches * (number // 2)
            members[place % size.groups].append(name)
            yield _insert("Logical_Switch_Port", name, **_port_columns(switch, number))
        yield _insert(
            "Logical_Switch_Port", f"r{switch}", name=f"net{switch}-router", type="router",
            addresses="router", options=_map({"router-port": f"router-net{switch}"}),
        )  # fmt: skip
        yield _insert("Logical_Switch", f"s{switch}", name=f"net{switch}",
                      ports=_names([*names, f"r{switch}"]))  # fmt: skip
        yield _insert(
            "Logical_Router_Port", f"l{switch}", name=f"router-net{switch}",
            mac=f"02:00:00:ff:00:{switch:02x}",
            networks=_set([f"10.{switch}.0.1/16", f"fd00:{switch:x}::1/64"]),
        )  # fmt: skip
        router_ports.append(f"l{switch}")
    yield _insert("Logical_Router", "router", name="router", ports=_names(router_ports))
    yield from _security(members)
    addresses = [f"172.16.{n >> 8}.{n & 255}" for n in range(size.big_set)]
    yield _insert("Address_Set", "big", name=BIG_SET, addresses=_set(addresses))


def _security(members: dict[int, list[str]]) -> Iterator[dict[str, object]]:
    everyone = [name for names in members.values() for name in names]
    yield from _group(_DROP, everyone, 1001, [
        ("from-lport", "ip", "drop"), ("to-lport", "ip", "drop"),
    ])  # fmt: skip
    for group, names in members.items():
        numbers = {"n": group, "byte": group & 255, "next": (group + 1) % len(members),
                   "port": 1024 + 7 * group}  # fmt: skip
        rules = [("from-lport", family, "allow-related") for family in ("ip4", "ip6")]
        rules += [("to-lport", rule.format(**numbers), "allow-related") for rule in _RULES]
        if group == 0:
            rules.append(("to-lport", f"ip4 && ip4.src == ${BIG_SET} && tcp", "allow-related"))
        yield from _group(f"pg_{group}", names, 1002, rules)


def _group(
    name: str, members: list[str], priority: int, rules: list[tuple[str, str, str]]
) -> Iterator[dict[str, object]]:
    acls = []
    for number, (direction, match, action) in enumerate(rules):
        acls.append(f"a_{name}_{number}")
        side = "inport" if direction == "from-lport" else "outport"
        yield _insert("ACL", acls[-1], direction=direction, priority=priority, action=action,
                      match=f"{side} == @{name} && {match}")  # fmt: skip
    yield _insert("Port_Group", f"g_{name}", name=name, ports=_names(members), acls=_names(acls))


def _port(switch: int, number: int) -> str:
    return f"net{switch}-vm{number}"


def _mac(switch: int, number: int) -> str:
    return f"02:00:{switch:02x}:00:{number >> 8:02x}:{number & 255:02x}"


def _ip(switch: int, number: int) -> str:
    host = number + 10
    return f"10.{switch}.{host >> 8}.{host & 255}"


def _port_columns(switch: int, number: int) -> dict[str, object]:
    addresses = f"{_mac(switch, number)} {_ip(switch, number)} fd00:{switch:x}::{number + 10:x}"
    return {
        "name": _port(switch, number),
        "addresses": addresses,
        "port_security": addresses,
    }


def _insert(table: str, key: str, **columns: object) -> dict[str, object]:
    return {"op": "insert", "table": table, "uuid-name": key, "row": columns}


def _names(names: list[str]) -> list[object]:
    return _set([["named-uuid", name] for name in names])


def _set(items: list[object] | list[str]) -> list[object]:
    return ["set", items]


def _map(items: dict[str, str]) -> list[object]:
    return ["map", [[key, value] for key, value in items.items()]]

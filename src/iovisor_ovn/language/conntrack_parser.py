# SPDX-License-Identifier: Apache-2.0
"""Readers for the verbs of connection tracking and of load balancing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from iovisor_ovn.language.action_reader import ActionReader, Target
from iovisor_ovn.language.actions import (
    Action,
    Backend,
    CtCommit,
    CtCommitNat,
    CtCommitToZone,
    CtLb,
    CtNat,
    CtNext,
    Load,
    Move,
    Select,
    SelectMember,
)
from iovisor_ovn.language.fields import FieldRef
from iovisor_ovn.language.match import Format

__all__ = ["CONNTRACK", "Rule", "read_select"]

_MAX_PORT = 0xFFFF
_DEFAULT_WEIGHT = 100
_ADDRESSES = (Format.IPV4, Format.IPV6)

Body = tuple[Action, ...] | None


@dataclass(frozen=True, slots=True)
class Rule:
    """How a verb is read; one that ``resumes`` goes on in the next table."""

    read: Callable[[ActionReader, str, Body], Action]
    resumes: bool


def _zone(reader: ActionReader) -> str:
    """Read ``(dnat)`` or ``(snat)``."""
    reader.expect("(")
    zone = reader.word(("dnat", "snat"), "dnat or snat")
    reader.expect(")")
    return zone


def _read_next(reader: ActionReader, _: str, __: Body) -> Action:
    reader.demand("ip")
    return CtNext(_zone(reader) if reader.token.kind == "(" else None)


def _read_commit_nat(reader: ActionReader, _: str, __: Body) -> Action:
    reader.demand("ip")
    return CtCommitNat(_zone(reader) if reader.token.kind == "(" else None)


def _read_commit_to_zone(reader: ActionReader, _: str, __: Body) -> Action:
    reader.demand("ip")
    return CtCommitToZone(_zone(reader))


def _read_commit(reader: ActionReader, _: str, body: Body) -> Action:
    reader.demand("ip")
    if body is not None:
        loads = tuple(action for action in body if isinstance(action, (Load, Move)))
        if len(loads) != len(body):
            raise reader.error("ct_commit can only set bits of ct_mark and ct_label")
        return CtCommit(loads, "v2" if loads else "plain")
    if not reader.accept("("):
        return CtCommit((), "plain")
    assigned: list[Load | Move] = []
    while not reader.accept(")"):
        assigned.append(_commit_argument(reader))
        reader.accept(",")
    return CtCommit(tuple(assigned), "v1")


def _commit_argument(reader: ActionReader) -> Load:
    """Read ``ct_mark=value`` or ``ct_label=value``, which OVN wrote until 24.09."""
    at = reader.token
    symbol = reader.symbols.lookup(at.text)
    if at.text not in ("ct_mark", "ct_label") or symbol is None or symbol.ref is None:
        raise reader.unexpected("ct_mark or ct_label")
    reader.advance()
    reader.expect("=")
    constant = reader.constant(Target(symbol, symbol.ref, at))
    return Load(symbol.ref, constant)


def _read_nat(reader: ActionReader, verb: str, _: Body) -> Action:
    reader.demand("ip")
    if not reader.accept("("):
        return CtNat(verb, None, None)
    ip = reader.address("an IPv4 or IPv6 address", *_ADDRESSES)
    ports = None
    if reader.accept(","):
        ports = _port_range(reader)
    reader.expect(")")
    return CtNat(verb, ip, ports)


def _port_range(reader: ActionReader) -> tuple[int, int]:
    at = reader.token
    low = reader.small_integer("a port number", _MAX_PORT)
    if low == 0:
        raise reader.error("a port must not be 0", at)
    if not reader.accept("-"):
        return low, low
    at = reader.token
    high = reader.small_integer("a port number", _MAX_PORT)
    if high <= low:
        raise reader.error("the range of ports must end above its start", at)
    return low, high


def _read_lb(reader: ActionReader, verb: str, _: Body) -> Action:
    reader.demand("ip")
    if not reader.accept("(") or reader.accept(")"):
        return CtLb(verb, (), (), None)
    if not reader.accept_id("backends"):
        raise reader.unexpected("backends")
    reader.expect("=")
    backends: list[Backend] = []
    while reader.token.kind not in (";", ")"):
        backends.append(_backend(reader, named=verb == "ct_lb_mark_local"))
        reader.accept(",")
    hash_fields: tuple[str, ...] = ()
    flag = None
    if reader.accept(";"):
        has_hash = reader.token.text == "hash_fields"
        if has_hash:
            hash_fields = _hash_fields(reader)
        if not has_hash or reader.accept(";"):
            flag = _flag(reader)
    reader.expect(")")
    return CtLb(verb, tuple(backends), hash_fields, flag)


def _flag(reader: ActionReader) -> str:
    return reader.word(("skip_snat", "force_snat"), "skip_snat or force_snat")


def _backend(reader: ActionReader, *, named: bool) -> Backend:
    """Read ``ip``, ``ip4:port`` or ``[ip6]:port``, behind ``"port":`` if it has a name."""
    lport = None
    if named:
        lport = reader.string("a logical port")
        reader.expect(":")
    if reader.accept("["):
        ip = reader.address("an IPv6 address", Format.IPV6)
        reader.expect("]")
        port = _port(reader) if reader.accept(":") else 0
        return Backend(ip, port, lport)
    ip = reader.address("an IP address", *_ADDRESSES)
    if not reader.accept(":"):
        return Backend(ip, 0, lport)
    if ip.form is Format.IPV6:
        raise reader.error("an IPv6 address with a port needs square brackets")
    return Backend(ip, _port(reader), lport)


def _port(reader: ActionReader) -> int:
    return reader.small_integer("a port number", _MAX_PORT)


def _hash_fields(reader: ActionReader) -> tuple[str, ...]:
    """Read ``hash_fields="a,b"``; the names are those of ovs-fields(7)."""
    reader.advance()
    reader.expect("=")
    text = reader.string("a string with field names")
    return tuple(name.strip() for name in text.split(",") if name.strip())


def read_select(reader: ActionReader, result: FieldRef) -> Select:
    """Read what stands behind ``select``."""
    reader.expect("(")
    has_hash = reader.accept_id("values")
    if has_hash:
        reader.expect("=")
        reader.expect("(")
    members: list[SelectMember] = []
    while not reader.accept(")"):
        members.append(_member(reader))
        reader.accept(",")
    if len(members) < 2:
        raise reader.error("select needs two members or more")
    hash_fields: tuple[str, ...] = ()
    if has_hash:
        reader.expect(";")
        if reader.token.text != "hash_fields":
            raise reader.unexpected("hash_fields")
        hash_fields = _hash_fields(reader)
        reader.expect(")")
    return Select(result, tuple(members), hash_fields)


def _member(reader: ActionReader) -> SelectMember:
    number = reader.small_integer("a member below 65536", _MAX_PORT)
    if not reader.accept("="):
        return SelectMember(number, _DEFAULT_WEIGHT)
    at = reader.token
    weight = reader.small_integer("a weight below 65536", _MAX_PORT)
    if weight == 0:
        raise reader.error("a weight must not be 0", at)
    return SelectMember(number, weight)


#: Verb name to how it is read.
CONNTRACK: Mapping[str, Rule] = MappingProxyType(
    {
        "ct_next": Rule(_read_next, resumes=True),
        "ct_commit": Rule(_read_commit, resumes=False),
        "ct_commit_to_zone": Rule(_read_commit_to_zone, resumes=True),
        "ct_commit_nat": Rule(_read_commit_nat, resumes=True),
        **{
            verb: Rule(_read_nat, resumes=True)
            for verb in ("ct_dnat", "ct_snat", "ct_dnat_in_czone", "ct_snat_in_czone")
        },
        **{
            verb: Rule(_read_lb, resumes=True)
            for verb in ("ct_lb", "ct_lb_mark", "ct_lb_mark_local")
        },
    }
)

# SPDX-License-Identifier: Apache-2.0
"""Action lists: text to tree, as strict as OVN's own parser.

A statement is an assignment or begins with its verb; each verb has one small reader here, and
services that only take arguments are read as :mod:`iovisor_ovn.language.verbs` describes them.
Behaviour follows OVN's ``lib/actions.c``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from iovisor_ovn.language.action_reader import ActionReader, Target
from iovisor_ovn.language.actions import (
    Action,
    ActionList,
    ArgValue,
    CheckPktLarger,
    CheckPortSec,
    Clone,
    CtClear,
    CtSnatToVip,
    DecTtl,
    Exchange,
    GetFdb,
    GetNeighbor,
    Load,
    LookupFdb,
    LookupNeighbor,
    Move,
    Nested,
    Next,
    Output,
    OvnFieldLoad,
    Pop,
    Push,
    PutFdb,
    PutNeighbor,
)
from iovisor_ovn.language.conntrack_parser import CONNTRACK, read_select
from iovisor_ovn.language.fields import FieldRef, SymbolKind
from iovisor_ovn.language.lexer import expand_templates
from iovisor_ovn.language.match import Constant
from iovisor_ovn.language.record_parser import RECORDS
from iovisor_ovn.language.service_parser import read_arguments, read_service
from iovisor_ovn.language.symbol_table import SymbolTable
from iovisor_ovn.language.verbs import EXTENSIONS, NESTED_PREREQS, SERVICES, Service

__all__ = ["parse_actions"]

_MAX_DEPTH = 32
_MAX_PACKET = 0xFFFF
_WITH_EXTENSIONS: Mapping[str, Service] = {**SERVICES, **EXTENSIONS}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the flow is: its pipeline, its table, and how many tables each pipeline has."""

    pipeline: str
    table: int
    n_tables: tuple[int, int]

    def limit(self, pipeline: str) -> int:
        return self.n_tables[0 if pipeline == "ingress" else 1]

    @property
    def is_last(self) -> bool:
        return self.table + 1 >= self.limit(self.pipeline)


def parse_actions(
    text: str,
    symbols: SymbolTable,
    *,
    pipeline: str,
    table: int,
    n_tables: tuple[int, int],
    templates: Mapping[str, str] | None = None,
    dictionaries: Mapping[str, Mapping[str, str]] | None = None,
    extensions: bool = False,
) -> ActionList:
    """The tree of a flow's actions.

    ``pipeline`` is ``ingress`` or ``egress``, ``n_tables`` how many tables these two have.
    ``templates`` are the chassis template variables, name to text; columns then count in the
    expanded text. ``dictionaries`` say which options a verb takes, verb to option name to type,
    where the database knows others than :data:`iovisor_ovn.language.verbs.SERVICES`: the tables
    DHCP_Options for ``put_dhcp_opts`` and DHCPv6_Options for ``put_dhcpv6_opts``. With
    ``extensions`` the verbs of :data:`iovisor_ovn.language.verbs.EXTENSIONS` are read too: never
    for flows of a Southbound database. Raises :class:`iovisor_ovn.errors.LanguageError`.
    """
    if templates is not None:
        text = expand_templates(text, templates)
    services = _WITH_EXTENSIONS if extensions else SERVICES
    reader = ActionReader(text, symbols, dictionaries or {}, services)
    actions = _Parser(reader, _Place(pipeline, table, n_tables)).actions("end")
    return ActionList(actions, tuple(dict.fromkeys(reader.prereqs)), pipeline, table)


class _Parser:
    """Recursive descent over a reader."""

    __slots__ = ("_place", "_reader")

    def __init__(self, reader: ActionReader, place: _Place) -> None:
        self._reader = reader
        self._place = place

    def actions(self, closing: str) -> tuple[Action, ...]:
        """Statements up to and including the token ``closing``."""
        reader = self._reader
        if reader.token.text == "drop" and reader.ahead.kind == ";" and reader.accept_id("drop"):
            reader.advance()
            if reader.token.kind != closing:
                raise reader.error("drop must stand alone")
            reader.advance()
            return ()
        found: list[Action] = []
        while reader.token.kind != closing:
            found.append(self._statement())
            reader.expect(";")
        reader.advance()
        return tuple(found)

    def _statement(self) -> Action:
        reader = self._reader
        token = reader.token
        if token.kind == "template":
            raise reader.error(f"template variable {token.text} has no value here")
        if token.kind != "id":
            raise reader.unexpected("an action")
        if reader.ahead.kind in ("=", "<->", "["):
            return self._assignment()
        verb = token.text
        if verb in NESTED_PREREQS or verb == "clone":
            reader.advance()
            return self._nested(verb)
        if verb in CONNTRACK:
            reader.advance()
            return self._conntrack(verb)
        service = reader.services.get(verb)
        if service is not None and not service.result_bits:
            reader.advance()
            return self._service(service)
        read = _STATEMENTS.get(verb)
        if read is None:
            raise reader.unexpected("an action")
        reader.advance()
        return read(self)

    def _service(self, service: Service) -> Action:
        if not service.has_body:
            return read_service(self._reader, service, None)
        args = read_arguments(self._reader, service)
        return self._maker(service.name, service.prereqs, args)

    def _conntrack(self, verb: str) -> Action:
        rule = CONNTRACK[verb]
        reader = self._reader
        if rule.resumes and self._place.is_last:
            raise reader.error(f"{verb} goes on in the next table, and this is the last one")
        if verb == "ct_commit" and reader.token.kind == "{":
            return rule.read(reader, verb, self._body(in_commit=True, keep_prereqs=False))
        return rule.read(reader, verb, None)

    def _nested(self, verb: str) -> Action:
        if verb == "clone":
            return Clone(self._body(in_commit=False, keep_prereqs=True))
        return self._maker(verb, NESTED_PREREQS[verb], ())

    def _maker(self, verb: str, prereqs: str, args: tuple[tuple[str, ArgValue], ...]) -> Action:
        """Read the body of a verb that makes another packet."""
        body = self._body(in_commit=self._reader.in_commit, keep_prereqs=not prereqs)
        self._reader.demand(prereqs)
        return Nested(verb, body, args)

    def _body(self, *, in_commit: bool, keep_prereqs: bool) -> tuple[Action, ...]:
        """Read ``{ ... }``."""
        reader = self._reader
        reader.expect("{")
        if reader.depth + 1 >= _MAX_DEPTH:
            raise reader.error("actions are nested too deeply")
        outer = reader.in_commit, reader.prereqs
        reader.in_commit = in_commit
        reader.prereqs = list(reader.prereqs) if keep_prereqs else []
        reader.depth += 1
        body = self.actions("}")
        reader.depth -= 1
        kept = reader.prereqs
        reader.in_commit, reader.prereqs = outer
        # A packet that the body makes anew answers to the body's prerequisites by itself.
        if keep_prereqs:
            reader.prereqs = kept
        return body

    def next(self) -> Action:
        """Read ``next;``, ``next(table);``, ``next(pipeline=..., table=...);``."""
        reader, place = self._reader, self._place
        pipeline, table = place.pipeline, place.table + 1
        at = reader.token
        if reader.accept("("):
            at = reader.token
            if at.is_decimal:
                table = reader.small_integer()
            else:
                pipeline, table = self._next_arguments(pipeline, table)
            reader.expect(")")
        limit = place.limit(pipeline)
        if table >= limit:
            raise reader.error(f"the {pipeline} pipeline has {limit} tables, none {table}", at)
        return Next(pipeline, table)

    def _next_arguments(self, pipeline: str, table: int) -> tuple[str, int]:
        reader = self._reader
        while True:
            if reader.accept_id("pipeline"):
                reader.expect("=")
                pipeline = reader.word(("ingress", "egress"), "ingress or egress")
            elif reader.accept_id("table"):
                reader.expect("=")
                table = reader.small_integer()
            else:
                raise reader.unexpected("pipeline or table")
            if not reader.accept(","):
                return pipeline, table

    def push(self) -> Action:
        """Read ``push(field);``."""
        return Push(self._parenthesized_field(writable=False))

    def pop(self) -> Action:
        """Read ``pop(field);``."""
        return Pop(self._parenthesized_field(writable=True))

    def _parenthesized_field(self, *, writable: bool) -> FieldRef:
        reader = self._reader
        reader.expect("(")
        target = reader.packet_field()
        ref = reader.check(target, target.bits, writable=writable)
        reader.expect(")")
        return ref

    def dec_ttl(self) -> Action:
        """Read ``ip.ttl--;``."""
        self._reader.expect("--")
        self._reader.demand("ip")
        return DecTtl()

    def neighbor(self, verb: str, bits: int) -> Action:
        """Read ``get_arp(port, ip);`` or ``put_arp(port, ip, mac);``, and those for ND."""
        reader = self._reader
        reader.expect("(")
        port = reader.field(0)
        reader.expect(",")
        ip = reader.field(bits)
        if verb.startswith("get"):
            reader.expect(")")
            return GetNeighbor(verb, port, ip)
        reader.expect(",")
        mac = reader.field(48)
        reader.expect(")")
        return PutNeighbor(verb, port, ip, mac)

    def put_fdb(self) -> Action:
        """Read ``put_fdb(port, mac);``."""
        reader = self._reader
        reader.expect("(")
        port = reader.field(0)
        reader.expect(",")
        mac = reader.field(48)
        reader.expect(")")
        return PutFdb(port, mac)

    def _assignment(self) -> Action:
        reader = self._reader
        target = reader.target()
        if reader.accept("<->"):
            return self._move(target, exchange=True)
        if not reader.accept("="):
            raise reader.unexpected("`=' or `<->'")
        if reader.token.kind != "id":
            return self._load(target)
        verb = reader.token.text
        if reader.ahead.kind != "(":
            return self._move(target, exchange=False)
        service = reader.services.get(verb)
        if service is not None and service.result_bits:
            reader.advance()
            return read_service(reader, service, target)
        read = _RESULTS.get(verb)
        if read is None:
            return self._move(target, exchange=False)
        reader.advance()
        return read(self, verb, target)

    def _load(self, target: Target) -> Action:
        reader = self._reader
        reader.check_writable(target)
        constant = reader.constant(target)
        if target.symbol.kind is SymbolKind.OVN_FIELD and isinstance(constant, Constant):
            return OvnFieldLoad(target.symbol.name, constant)
        return Load(target.ref, constant)

    def _move(self, target: Target, *, exchange: bool) -> Action:
        reader = self._reader
        source = reader.packet_field()
        if target.symbol.kind is SymbolKind.OVN_FIELD:
            raise reader.error(f"{target.symbol.name} can only be set to a constant", target.at)
        if target.bits != source.bits:
            what = _type_name(source), _type_name(target)
            raise reader.error(f"{what[0]} cannot go into {what[1]}", source.at)
        reader.check_writable(target)
        if exchange:
            reader.check_writable(source)
            return Exchange(target.ref, source.ref)
        return Move(target.ref, source.ref)

    def select(self, _: str, target: Target) -> Action:
        """Read ``select`` with its members, whose choice goes into ``target``."""
        reader = self._reader
        reader.check_writable(target)
        if target.bits < 16:
            raise reader.error(f"select needs 16 bits, {target.ref} has {target.bits}", target.at)
        if self._place.is_last:
            raise reader.error("select goes on in the next table, and this is the last one")
        return read_select(reader, target.ref)

    def lookup_neighbor(self, verb: str, target: Target) -> Action:
        """Read ``bit = lookup_arp(port, ip, mac);`` or its kin."""
        reader = self._reader
        result = reader.check(target, 1, writable=True)
        reader.expect("(")
        port = reader.field(0)
        reader.expect(",")
        ip = reader.field(32 if verb.startswith("lookup_arp") else 128)
        mac = None
        if not verb.endswith("_ip"):
            reader.expect(",")
            mac = reader.field(48)
        reader.expect(")")
        return LookupNeighbor(verb, result, port, ip, mac)

    def get_fdb(self, verb: str, target: Target) -> Action:
        """Read ``get_fdb`` or ``get_remote_fdb``, into a port or a number of 32 bits."""
        reader = self._reader
        result = reader.check(target, 32 if target.bits else 0, writable=True)
        reader.expect("(")
        mac = reader.field(48)
        reader.expect(")")
        return GetFdb(verb, result, mac)

    def lookup_fdb(self, _: str, target: Target) -> Action:
        """Read ``lookup_fdb``: whether the address is known behind the port."""
        reader = self._reader
        result = reader.check(target, 1, writable=True)
        reader.expect("(")
        port = reader.field(0)
        reader.expect(",")
        mac = reader.field(48)
        reader.expect(")")
        return LookupFdb(result, port, mac)

    def port_security(self, verb: str, target: Target) -> Action:
        """Read ``bit = check_in_port_sec();`` or the one for ``out``."""
        reader = self._reader
        reader.expect("(")
        reader.expect(")")
        result = reader.check(target, 1, writable=True)
        return CheckPortSec("in" if verb == "check_in_port_sec" else "out", result)

    def packet_size(self, _: str, target: Target) -> Action:
        """Read ``bit = check_pkt_larger(bytes);``."""
        reader = self._reader
        result = reader.check(target, 1, writable=True)
        reader.expect("(")
        size = reader.small_integer("a number of bytes", _MAX_PACKET)
        reader.expect(")")
        return CheckPktLarger(result, size)

    def record(self, verb: str) -> Action:
        """Read a verb that writes records or shapes traffic."""
        return RECORDS[verb](self._reader)


def _type_name(target: Target) -> str:
    if target.bits == 0:
        return f"string field {target.symbol.name}"
    return f"{target.ref} of {target.bits} bits"


_STATEMENTS: Mapping[str, Callable[[_Parser], Action]] = {
    "output": lambda _: Output(),
    "next": _Parser.next,
    "push": _Parser.push,
    "pop": _Parser.pop,
    "ip.ttl": _Parser.dec_ttl,
    "ct_clear": lambda _: CtClear(),
    "ct_snat_to_vip": lambda _: CtSnatToVip(),
    "get_arp": lambda parser: parser.neighbor("get_arp", 32),
    "put_arp": lambda parser: parser.neighbor("put_arp", 32),
    "get_nd": lambda parser: parser.neighbor("get_nd", 128),
    "put_nd": lambda parser: parser.neighbor("put_nd", 128),
    "put_fdb": _Parser.put_fdb,
    "set_queue": lambda parser: parser.record("set_queue"),
    "set_meter": lambda parser: parser.record("set_meter"),
    "log": lambda parser: parser.record("log"),
    "sample": lambda parser: parser.record("sample"),
    "fwd_group": lambda parser: parser.record("fwd_group"),
}

_RESULTS: Mapping[str, Callable[[_Parser, str, Target], Action]] = {
    "select": _Parser.select,
    "lookup_arp": _Parser.lookup_neighbor,
    "lookup_nd": _Parser.lookup_neighbor,
    "lookup_arp_ip": _Parser.lookup_neighbor,
    "lookup_nd_ip": _Parser.lookup_neighbor,
    "get_fdb": _Parser.get_fdb,
    "get_remote_fdb": _Parser.get_fdb,
    "lookup_fdb": _Parser.lookup_fdb,
    "check_in_port_sec": _Parser.port_security,
    "check_out_port_sec": _Parser.port_security,
    "check_pkt_larger": _Parser.packet_size,
}

# SPDX-License-Identifier: Apache-2.0
"""Action lists to action programs.

::

    reg0[0] = 1; next;                    LOAD  reg0 mask 0x1 value 0x1
                                          NEXT  stage + 1

    clone { outport = "a"; output; };     FORK  -> 3 behind
    next;                                 LOAD  outport 5
                                          OUTPUT
                                          NEXT  stage + 1

Jumps are relative, so that equal texts give equal programs wherever they lie. A verb that the
machine does not execute makes the whole list one counted drop: half a list would be wrong.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter

from iovisor_ovn.abi import CtFlag, Drop, LbField, Limit, Op, Program, Temp, Word
from iovisor_ovn.compiler import packet
from iovisor_ovn.compiler.insn import Insn, ProgramText
from iovisor_ovn.compiler.packet import Piece, Segment, pieces, segments, slice_pieces
from iovisor_ovn.compiler.patterns import Names, Unexecutable
from iovisor_ovn.language import (
    Action,
    ActionList,
    Backend,
    CheckPktLarger,
    CheckPortSec,
    Clone,
    Constant,
    CtClear,
    CtCommit,
    CtCommitNat,
    CtCommitToZone,
    CtLb,
    CtNat,
    CtNext,
    CtSnatToVip,
    DecTtl,
    Exchange,
    FieldRef,
    Format,
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
    Select,
    SelectMember,
    Verb,
)

__all__ = ["Compiled", "ProgramCompiler"]

_GENERATORS = {
    "arp": Op.GEN_ARP,
    "nd_ns": Op.GEN_ND_NS,
    "nd_na": Op.GEN_ND_NA,
    "nd_na_router": Op.GEN_ND_NA_ROUTER,
    "icmp4": Op.GEN_ICMP4,
    "icmp4_error": Op.GEN_ICMP4_ERROR,
    "icmp6": Op.GEN_ICMP6,
    "icmp6_error": Op.GEN_ICMP6_ERROR,
    "tcp_reset": Op.GEN_TCP_RESET,
    "sctp_abort": Op.GEN_SCTP_ABORT,
    "reject": Op.GEN_REJECT,
    "dhcp_server": Op.GEN_DHCP_SERVER,
}
#: Where a verb of ours finds an argument.
_ARGUMENTS = {"pool": Temp.POOL}
#: Verbs without arguments that yield a bit.
_CHECKS = {"chk_lb_hairpin": Op.LB_HAIRPIN, "chk_lb_hairpin_reply": Op.LB_HAIRPIN_REPLY}
#: Bits of ct_mark or ct_label that a load balancer sets (OVN, logical-fields.h).
_LB_NATTED = 2
_LB_FLAGS = {None: 0, "skip_snat": 4, "force_snat": 8}
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
#: What a choice may depend on, by the ends of the fields' names in ovs-fields(7).
_LB_FIELDS = {
    "eth_src": LbField.ETH_SRC, "dl_src": LbField.ETH_SRC,
    "eth_dst": LbField.ETH_DST, "dl_dst": LbField.ETH_DST,
    "ip_src": LbField.IP_SRC, "nw_src": LbField.IP_SRC, "ipv6_src": LbField.IP_SRC,
    "ip_dst": LbField.IP_DST, "nw_dst": LbField.IP_DST, "ipv6_dst": LbField.IP_DST,
    **{f"{name}_src": LbField.L4_SRC for name in ("tp", "tcp", "udp", "sctp")},
    **{f"{name}_dst": LbField.L4_DST for name in ("tp", "tcp", "udp", "sctp")},
    "ip_proto": LbField.PROTO, "nw_proto": LbField.PROTO,
}  # fmt: skip
_FIVE_TUPLE = LbField.IP_SRC | LbField.IP_DST | LbField.L4_SRC | LbField.L4_DST | LbField.PROTO
#: Verbs behind which the packet goes on in the next table.
_RESUMING = CtNext | CtCommitNat | CtCommitToZone | CtNat | CtLb | Select
#: Verbs that no packet shows: `mac_cache_use` is a count for the aging of neighbours.
_SILENT = frozenset({"mac_cache_use"})
_ALL = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Compiled:
    """A program, and the name of the verb that made it a counted drop, if one did."""

    program: Program | ProgramText
    unsupported: str = ""


@dataclass(slots=True)
class ProgramCompiler:
    """Compiles the action lists of one stage of one datapath.

    ``egress`` and ``table`` say which stage; ``verb_number`` numbers verbs that are not executed.
    ``explicit_output``: northd writes behind `arp` and `nd_ns` what the packet that is held does
    when its neighbour is known (SB_Global.options:arp_ns_explicit_output, since 23.09); before,
    that was `output;` unwritten. ``counter_number`` and ``module_number`` number the counters and
    users' modules of our own flows. ``common_zone``: the zone of `ct_snat_in_czone` and
    `ct_dnat_in_czone`.
    ``register_consolidation``: `chk_lb_aff` uses the registers that northd does since 25.03.
    """

    names: Names
    egress: bool
    table: int
    is_router: bool
    verb_number: Callable[[str], int]
    explicit_output: bool = False
    counter_number: Callable[[str], int] = lambda _name: 0
    common_zone: Word = Word.DNAT_ZONE
    module_number: Callable[[str], int] = lambda _name: 0
    register_consolidation: bool = False
    _code: list[Insn] = field(default_factory=list)

    @property
    def settings(self) -> tuple[object, ...]:
        """All that a program depends on besides its actions and the names in them."""
        return _SETTINGS(self)

    def compile(self, actions: ActionList) -> Compiled:
        """The program of a list."""
        body = actions.actions
        if not body:
            return Compiled(Program.DROP)
        if len(body) == 1 and isinstance(body[0], Next) and self._is_following(body[0]):
            return Compiled(Program.NEXT)
        self._code = []
        try:
            # What an answer is made of is used up by it, not dropped.
            self._sequence(body, Drop.NONE if isinstance(body[-1], Nested) else Drop.POLICY)
        except Unexecutable as error:
            return self.refuse(str(error))
        return Compiled(tuple(self._code))

    def refuse(self, verb: str) -> Compiled:
        """The counted drop that stands for a list with a verb, or a match, not executed."""
        return Compiled((Insn(Op.UNSUPPORTED, x=self.verb_number(verb)),), verb)

    def _is_following(self, action: Next) -> bool:
        return (action.pipeline == "egress") == self.egress and action.table == self.table + 1

    def _emit(self, op: Op, a: int = 0, b: int = 0, c: int = 0, x: int = 0, y: int = 0) -> int:
        self._code.append(Insn(op, a, b, c, x, y))
        return len(self._code) - 1

    def _patch_jump(self, at: int) -> None:
        """Let the jump at ``at`` lead to what is emitted next."""
        self._code[at] = self._code[at]._replace(x=len(self._code) - at)

    def _sequence(self, body: Sequence[Action], at_end: Drop = Drop.NONE) -> None:
        """Emit actions one after the other; what ends a strand is forked unless it is last.

        `next;` before the end is a visit: what it changes is there for the actions behind it.
        """
        for position, action in enumerate(body):
            last = position == len(body) - 1
            if self.explicit_output and _holds(action):
                # The machine puts a held packet back at the output stage, nowhere else.
                if body[position + 1 :] != (Output(),):
                    raise Unexecutable(f"{_verb_name(action)} before other actions than output")
                self._action(action)
                self._emit(Op.END, x=Drop.NONE)
                return
            if isinstance(action, Next) and not last:
                self._emit(Op.CALL, _stage(action.pipeline == "egress", action.table))
            elif self._ends_strand(action):
                fork = None if last else self._emit(Op.FORK)
                self._action(action)
                if fork is None:
                    return
                self._patch_jump(fork)
            else:
                self._action(action)
        self._emit(Op.END, x=at_end)

    @staticmethod
    def _ends_strand(action: Action) -> bool:
        return isinstance(action, Output | Next | _RESUMING)

    def _action(self, action: Action) -> None:
        handler = _HANDLERS.get(type(action))
        if handler is None:
            raise Unexecutable(_verb_name(action))
        getattr(self, handler)(action)

    # -- moving bits ---------------------------------------------------------------------

    def _load(self, place: tuple[Piece, ...], value: int, mask: int = -1) -> None:
        words = packet.masked_words(place, value, mask & ((1 << 128) - 1))
        for word, (word_mask, word_value) in words.items():
            self._emit(Op.LOAD, word, x=word_mask, y=word_value)

    def _copy(self, dst: tuple[Piece, ...], src: tuple[Piece, ...]) -> None:
        moves = tuple(segments(dst, src))
        if _overwrites_source(moves):
            self._copy(packet.SCRATCH, src)
            moves = tuple(segments(dst, packet.SCRATCH))
        for item in moves:
            self._emit(Op.MOVE, item.dst, item.src, item.rotate, item.mask)

    def _place(self, ref: FieldRef) -> tuple[Piece, ...]:
        place = pieces(ref.field.name)
        if place is None:
            raise Unexecutable(f"field {ref.field.name}")
        return slice_pieces(place, ref.offset, ref.width)

    def _argument(self, dst: tuple[Piece, ...], ref: FieldRef) -> None:
        """Copy a field into a temporary, zeros above."""
        place = self._place(ref)
        width = sum(piece.width for piece in place)
        for piece in dst:
            if piece.lsb + piece.width > width:
                self._emit(Op.LOAD, piece.word, x=_ALL, y=0)
        self._copy(dst, place)

    def _result(self, ref: FieldRef) -> None:
        self._copy(self._place(ref), packet.RESULT)

    def _zone(self, explicit: str | None = None) -> int:
        if not self.is_router:
            return Word.CT_ZONE
        return Word.SNAT_ZONE if explicit == "snat" else Word.DNAT_ZONE

    # -- verbs ---------------------------------------------------------------------------

    def _output(self, _action: Output) -> None:
        self._emit(Op.DELIVER if self.egress else Op.OUTPUT)

    def _next(self, action: Next) -> None:
        self._emit(Op.NEXT, _stage(action.pipeline == "egress", action.table))

    def _following(self) -> None:
        self._emit(Op.NEXT, _stage(self.egress, self.table + 1))

    def _do_load(self, action: Load) -> None:
        place = self._place(action.ref)
        constant = action.constant
        if isinstance(constant, Constant):
            mask = -1 if constant.mask is None else constant.mask
            self._load(place, constant.value, mask)
        else:
            self._load(place, (None if constant == "none" else self.names.port_key(constant)) or 0)

    def _move(self, action: Move) -> None:
        self._copy(self._place(action.dst), self._place(action.src))

    def _exchange(self, action: Exchange) -> None:
        one, other = self._place(action.a), self._place(action.b)
        # Not into SCRATCH, through which a copy goes whose ends overlap.
        self._copy(packet.EXCHANGED, one)
        self._copy(one, other)
        self._copy(other, packet.EXCHANGED)

    def _push(self, action: Push) -> None:
        self._argument(packet.SCRATCH, action.ref)
        self._emit(Op.PUSH)

    def _pop(self, action: Pop) -> None:
        self._emit(Op.POP)
        self._copy(self._place(action.ref), packet.SCRATCH)

    def _dec_ttl(self, _action: DecTtl) -> None:
        self._emit(Op.DEC_TTL)

    def _clone(self, action: Clone) -> None:
        _require_balance("clone", action.body)
        fork = self._emit(Op.FORK)
        self._sequence(action.body)
        self._patch_jump(fork)

    def _nested(self, action: Nested) -> None:
        _require_balance(action.verb, action.body)
        generator = _GENERATORS.get(action.verb)
        if generator is None:
            raise Unexecutable(action.verb)
        for name, value in action.args:
            assert isinstance(value, int)
            self._emit(Op.LOAD, _ARGUMENTS[name], x=_ALL, y=value)
        generate = self._emit(Op.GENERATE, generator)
        self._sequence(action.body)
        self._patch_jump(generate)

    def _ovn_field(self, action: OvnFieldLoad) -> None:
        if action.name == "icmp4.frag_mtu":
            self._load(_required("icmp4.frag_mtu"), action.value.value)
            self._load(_required("icmp4.code"), 4)
        elif action.name == "icmp6.frag_mtu":
            self._load(_required("icmp6.frag_mtu"), action.value.value)
            self._load(_required("icmp6.type"), 2)
            self._load(_required("icmp6.code"), 0)
        else:
            raise Unexecutable(f"field {action.name}")

    def _ct_next(self, action: CtNext) -> None:
        self._emit(Op.CT_NEXT, self._zone(action.zone))
        self._following()

    def _ct_commit(self, action: CtCommit) -> None:
        flags = 0
        for temp in range(Temp.CT_MARK, Temp.CT_LABEL_MASK3 + 1):
            self._emit(Op.LOAD, temp, x=_ALL, y=0)
        for item in action.loads:
            ref = item.ref if isinstance(item, Load) else item.dst
            is_mark = ref.field.name == "ct_mark"
            flags |= CtFlag.MARK if is_mark else CtFlag.LABEL
            value = packet.CT_MARK if is_mark else packet.CT_LABEL
            mask = packet.CT_MARK_MASK if is_mark else packet.CT_LABEL_MASK
            place = slice_pieces(value, ref.offset, ref.width)
            mask_place = slice_pieces(mask, ref.offset, ref.width)
            if isinstance(item, Move):
                self._copy(place, self._place(item.src))
                self._load(mask_place, -1)
            elif isinstance(item.constant, Constant):
                bits = -1 if item.constant.mask is None else item.constant.mask
                self._load(place, item.constant.value, bits)
                self._load(mask_place, bits, bits)
        self._emit(Op.CT_COMMIT, self._zone(), flags)

    def _ct_commit_to_zone(self, action: CtCommitToZone) -> None:
        self._emit(Op.CT_NEXT, self._zone(action.zone))
        self._emit(Op.CT_COMMIT, self._zone(action.zone), CtFlag.KEEP)
        self._following()

    def _ct_commit_nat(self, action: CtCommitNat) -> None:
        self._emit(Op.CT_NAT, self._zone(action.zone), CtFlag.COMMIT)
        self._following()

    def _ct_nat(self, action: CtNat) -> None:
        zone = Word.SNAT_ZONE if action.verb == "ct_snat" else Word.DNAT_ZONE
        if action.verb.endswith("_in_czone"):
            zone = self.common_zone
        flags = CtFlag(0)
        if action.ip is not None:
            ports = action.ports or (0, 0)
            self._load(packet.NAT_IP, action.ip.value)
            self._load(packet.NAT_PORTS, ports[0] << 16 | ports[1])
            flags = CtFlag.COMMIT
            flags |= CtFlag.SNAT if action.verb.startswith("ct_snat") else CtFlag.DNAT
        self._emit(Op.CT_NAT, zone, flags)
        self._following()

    def _ct_lb(self, action: CtLb) -> None:
        if action.verb not in ("ct_lb", "ct_lb_mark"):
            raise Unexecutable(action.verb)
        if not action.backends:
            self._emit(Op.CT_NAT, self._zone())
            self._following()
            return
        versions = {backend.ip.form for backend in action.backends}
        if len(versions) > 1:
            raise Unexecutable(f"{action.verb} with backends of both IP versions")
        is_mark = action.verb == "ct_lb_mark"
        bits = _LB_NATTED | _LB_FLAGS[action.flag]
        self._load(packet.CT_MARK if is_mark else packet.CT_LABEL, bits)
        self._load(packet.CT_MARK_MASK if is_mark else packet.CT_LABEL_MASK, bits)
        flags = CtFlag.COMMIT | CtFlag.DNAT | (CtFlag.MARK if is_mark else CtFlag.LABEL)
        is_ip6 = versions == {Format.IPV6}
        fields = _hash_fields(action.verb, action.hash_fields)
        self._emit(Op.CT_LB, self._zone(), flags, fields, len(action.backends), int(is_ip6))
        for backend in action.backends:
            words = _address_words(backend.ip) if is_ip6 else (backend.ip.value, 0)
            for at in range(0, len(words), 2):
                self._emit(
                    Op.BACKEND, 0, backend.port >> 8, backend.port & 0xFF, words[at], words[at + 1]
                )
        self._following()

    def _select(self, action: Select) -> None:
        shares = _shares(action.members)
        fields = _hash_fields("select", action.hash_fields)
        self._emit(Op.SELECT, c=fields, x=len(shares))
        for chosen, others, part in shares:
            self._emit(Op.SHARE, x=part, y=chosen << 16 | others)
        self._result(action.result)
        self._following()

    def _ct_snat_to_vip(self, _action: CtSnatToVip) -> None:
        self._emit(Op.CT_SNAT_TO_VIP)

    def _get_affinity(self, action: Verb) -> None:
        """Registers are those of lib/logical-fields.h, MFF_LOG_LB_AFF_MATCH_*."""
        old = not self.register_consolidation
        ip6 = Word.REG0 if old and not self.is_router else Word.REG4
        self._emit(Op.AFFINITY_GET, Word.REG4, ip6, Word.REG8 if old else Word.REG2)
        assert action.result is not None, "the parser wants one"
        self._result(action.result)

    def _put_affinity(self, action: Verb) -> None:
        vip, backend, proto = action.arg("vip"), action.arg("backend"), action.arg("proto")
        timeout = action.arg("timeout")
        assert isinstance(vip, Backend)
        assert isinstance(backend, Backend)
        assert isinstance(timeout, int)
        self._load(packet.IP, vip.ip.value)
        self._load(packet.NAT_IP, backend.ip.value)
        self._load(packet.NAT_PORTS, vip.port << 16 | backend.port)
        number = _PROTOCOLS[str(proto)] if proto else 0
        self._emit(Op.AFFINITY_PUT, c=number, x=timeout)

    def _ct_clear(self, _action: CtClear) -> None:
        self._emit(Op.CT_CLEAR)

    def _get_neighbor(self, action: GetNeighbor) -> None:
        self._argument(packet.PORT, action.port)
        self._argument(packet.IP, action.ip)
        self._emit(Op.NEIGH_GET)

    def _put_neighbor(self, action: PutNeighbor) -> None:
        self._argument(packet.PORT, action.port)
        self._argument(packet.IP, action.ip)
        self._argument(packet.MAC, action.mac)
        self._emit(Op.NEIGH_PUT)

    def _lookup_neighbor(self, action: LookupNeighbor) -> None:
        self._argument(packet.PORT, action.port)
        self._argument(packet.IP, action.ip)
        if action.mac is not None:
            self._argument(packet.MAC, action.mac)
        self._emit(Op.NEIGH_LOOKUP, int(action.mac is not None))
        self._result(action.result)

    def _get_fdb(self, action: GetFdb) -> None:
        if action.verb != "get_fdb":
            raise Unexecutable(action.verb)
        self._argument(packet.MAC, action.mac)
        self._emit(Op.FDB_GET)
        self._result(action.result)

    def _put_fdb(self, action: PutFdb) -> None:
        self._argument(packet.PORT, action.port)
        self._argument(packet.MAC, action.mac)
        self._emit(Op.FDB_PUT)

    def _lookup_fdb(self, action: LookupFdb) -> None:
        self._argument(packet.PORT, action.port)
        self._argument(packet.MAC, action.mac)
        self._emit(Op.FDB_LOOKUP)
        self._result(action.result)

    def _check_port_sec(self, action: CheckPortSec) -> None:
        stage = Limit.PORTSEC_IN if action.direction == "in" else Limit.PORTSEC_OUT
        self._emit(Op.LOAD, Temp.RESULT, x=_ALL, y=0)
        self._emit(Op.CALL, stage)
        self._result(action.result)

    def _verb(self, action: Verb) -> None:
        if action.name == "count":
            self._emit(Op.COUNT, x=self.counter_number(str(dict(action.args)["counter"])))
        elif action.name == "punt":
            self._emit(Op.PUNT)
        elif action.name == "iomodule":
            self._iomodule(action)
        elif action.name in _CHECKS:
            self._emit(_CHECKS[action.name])
            assert action.result is not None, "the parser wants one"
            self._result(action.result)
        elif action.name == "chk_lb_aff":
            self._get_affinity(action)
        elif action.name == "commit_lb_aff":
            self._put_affinity(action)
        elif action.name not in _SILENT:
            raise Unexecutable(action.name)

    def _iomodule(self, action: Verb) -> None:
        args = dict(action.args)
        port, ports = args["port"], args["ports"]
        assert isinstance(port, int)
        assert isinstance(ports, int)
        if ports > Limit.MODULE_PORTS or port >= ports:
            raise Unexecutable(f"iomodule at port {port} of {ports}")
        self._emit(Op.MODULE, port, ports, x=self.module_number(str(args["module"])))
        if action.result is not None:
            self._result(action.result)

    def _check_larger(self, action: CheckPktLarger) -> None:
        self._emit(Op.CHECK_LARGER, x=action.size)
        self._result(action.result)


_SETTINGS = attrgetter(
    *(item.name for item in fields(ProgramCompiler) if item.name not in ("names", "_code"))
)


def _holds(action: Action) -> bool:
    return isinstance(action, Nested) and action.verb in ("arp", "nd_ns")


def _hash_fields(verb: str, names: Iterable[str]) -> LbField:
    """What the choice of a verb depends on; raises Unexecutable for what we do not know."""
    fields = LbField(0)
    for name in names:
        if name not in _LB_FIELDS:
            raise Unexecutable(f"{verb} with hash field {name}")
        fields |= _LB_FIELDS[name]
    return fields or _FIVE_TUPLE


def _shares(members: Iterable[SelectMember]) -> list[tuple[int, int, int]]:
    """As many equal shares as members, each of two values: (one, other, part of one in 2**32).

    Walker's alias method: whatever the weights, one look at one share chooses.
    """
    left = [[member.weight, member.id] for member in members]
    size = sum(weight for weight, _value in left)  # of a share, in units of len(left) to a weight
    left = [[weight * len(left), value] for weight, value in left]
    shares = []
    while left:
        left.sort()
        units, value = left.pop(0)
        if units == size:
            shares.append((value, value, _ALL))
        else:
            shares.append((value, left[-1][1], (units << 32) // size))
            left[-1][0] -= size - units
    return shares


def _address_words(ip: Constant) -> tuple[int, ...]:
    return tuple(ip.value >> shift & _ALL for shift in (96, 64, 32, 0))


def _stage(egress: bool, table: int) -> int:
    return (Limit.EGRESS if egress else 0) + table


def _required(name: str) -> tuple[Piece, ...]:
    place = pieces(name)
    assert place is not None, name
    return place


def _overwrites_source(moves: Iterable[Segment]) -> bool:
    """Some move reads bits that one before it wrote: source and destination overlap."""
    written: dict[int, int] = {}
    for item in moves:
        read = item.mask >> item.rotate | item.mask << 32 - item.rotate & _ALL
        if written.get(item.src, 0) & read:
            return True
        written[item.dst] = written.get(item.dst, 0) | item.mask
    return False


def _require_balance(verb: str, body: Iterable[Action]) -> None:
    """Refuse a body that pops what was pushed outside or leaves something: the stack is shared."""
    depth = 0
    for action in body:
        depth += isinstance(action, Push) - isinstance(action, Pop)
        if depth < 0:
            break
    if depth:
        raise Unexecutable(f"{verb} that does not leave the stack as it was")


def _verb_name(action: Action) -> str:
    if isinstance(action, Verb):
        return action.name
    verb = getattr(action, "verb", None)
    if isinstance(verb, str):
        return verb
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(action).__name__).lower()


# One method for each executed node of the action tree.
_HANDLERS: dict[type, str] = {
    Output: "_output",
    Next: "_next",
    Load: "_do_load",
    Move: "_move",
    Exchange: "_exchange",
    Push: "_push",
    Pop: "_pop",
    DecTtl: "_dec_ttl",
    Clone: "_clone",
    Nested: "_nested",
    OvnFieldLoad: "_ovn_field",
    CtNext: "_ct_next",
    CtCommit: "_ct_commit",
    CtCommitNat: "_ct_commit_nat",
    CtNat: "_ct_nat",
    CtLb: "_ct_lb",
    Select: "_select",
    CtSnatToVip: "_ct_snat_to_vip",
    CtCommitToZone: "_ct_commit_to_zone",
    CtClear: "_ct_clear",
    GetNeighbor: "_get_neighbor",
    PutNeighbor: "_put_neighbor",
    LookupNeighbor: "_lookup_neighbor",
    GetFdb: "_get_fdb",
    PutFdb: "_put_fdb",
    LookupFdb: "_lookup_fdb",
    CheckPortSec: "_check_port_sec",
    CheckPktLarger: "_check_larger",
    Verb: "_verb",
}

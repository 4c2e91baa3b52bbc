# SPDX-License-Identifier: Apache-2.0
"""The tree of an action list: one small value for each verb.

Verbs with a shape of their own have a class; services that only differ in their arguments
share :class:`Verb`, whose arguments :mod:`iovisor_ovn.language.verbs` describes. The meaning of
each is in ovn-sb(5), Logical_Flow, actions::

    reg0[0] = 1; ct_lb_mark(backends=10.0.0.2:80);

    (Load(reg0[0], 1), CtLb("ct_lb_mark", (Backend(10.0.0.2, 80),)))
"""

from dataclasses import dataclass

from iovisor_ovn.language.fields import FieldRef
from iovisor_ovn.language.match import Constant, Expr

__all__ = [
    "Action",
    "ActionList",
    "ArgValue",
    "Backend",
    "CheckPktLarger",
    "CheckPortSec",
    "Clone",
    "CtClear",
    "CtCommit",
    "CtCommitNat",
    "CtCommitToZone",
    "CtLb",
    "CtNat",
    "CtNext",
    "CtSnatToVip",
    "DecTtl",
    "Exchange",
    "FwdGroup",
    "GetFdb",
    "GetNeighbor",
    "Load",
    "Log",
    "LookupFdb",
    "LookupNeighbor",
    "Move",
    "Nested",
    "Next",
    "Output",
    "OvnFieldLoad",
    "Pop",
    "Push",
    "PutFdb",
    "PutNeighbor",
    "Sample",
    "Select",
    "SelectMember",
    "SetMeter",
    "SetQueue",
    "Verb",
]


@dataclass(frozen=True, slots=True)
class Output:
    """``output;``."""


@dataclass(frozen=True, slots=True)
class Next:
    """``next;`` in all its spellings; ``pipeline`` is ``ingress`` or ``egress``."""

    pipeline: str
    table: int


@dataclass(frozen=True, slots=True)
class Load:
    """``ref = constant;``; a string is the name of a port."""

    ref: FieldRef
    constant: Constant | str


@dataclass(frozen=True, slots=True)
class OvnFieldLoad:
    """Store into something that is no packet field, such as ``icmp4.frag_mtu``."""

    name: str
    value: Constant


@dataclass(frozen=True, slots=True)
class Move:
    """``dst = src;``."""

    dst: FieldRef
    src: FieldRef


@dataclass(frozen=True, slots=True)
class Exchange:
    """``a <-> b;``."""

    a: FieldRef
    b: FieldRef


@dataclass(frozen=True, slots=True)
class Push:
    """``push(ref);``."""

    ref: FieldRef


@dataclass(frozen=True, slots=True)
class Pop:
    """``pop(ref);``."""

    ref: FieldRef


@dataclass(frozen=True, slots=True)
class DecTtl:
    """``ip.ttl--;``."""


@dataclass(frozen=True, slots=True)
class CtNext:
    """``ct_next;``; ``zone`` is ``dnat``, ``snat`` or, if not written, ``None``."""

    zone: str | None


@dataclass(frozen=True, slots=True)
class CtCommit:
    """``ct_commit``: ``plain``, ``v1`` with arguments in parentheses, ``v2`` with actions.

    ``loads`` set bits of ``ct_mark`` and ``ct_label`` of the connection, in order.
    """

    loads: tuple["Load | Move", ...]
    form: str


@dataclass(frozen=True, slots=True)
class CtCommitToZone:
    """``ct_commit_to_zone(zone);``, ``dnat`` or ``snat``."""

    zone: str


@dataclass(frozen=True, slots=True)
class CtCommitNat:
    """``ct_commit_nat;``; ``zone`` as for :class:`CtNext`."""

    zone: str | None


@dataclass(frozen=True, slots=True)
class CtNat:
    """``ct_dnat``, ``ct_snat`` and their ``_in_czone`` forms.

    Without ``ip`` an existing translation is applied; with it one is made. ``ports`` is
    (lowest, highest), both the same for a single port.
    """

    verb: str
    ip: Constant | None
    ports: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class CtSnatToVip:
    """``ct_snat_to_vip;``."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a load balancer sends: ``port`` 0 keeps the port, ``lport`` is a logical port."""

    ip: Constant
    port: int = 0
    lport: str | None = None


@dataclass(frozen=True, slots=True)
class CtLb:
    """``ct_lb``, ``ct_lb_mark``, ``ct_lb_mark_local``.

    ``hash_fields`` is empty for the five-tuple; ``flag`` is ``skip_snat``, ``force_snat`` or
    ``None``.
    """

    verb: str
    backends: tuple[Backend, ...]
    hash_fields: tuple[str, ...]
    flag: str | None


@dataclass(frozen=True, slots=True)
class SelectMember:
    """A value that ``select`` may choose, and how often relative to the others."""

    id: int
    weight: int


@dataclass(frozen=True, slots=True)
class Select:
    """``result = select(...);``; ``hash_fields`` as for :class:`CtLb`."""

    result: FieldRef
    members: tuple[SelectMember, ...]
    hash_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CtClear:
    """``ct_clear;``."""


@dataclass(frozen=True, slots=True)
class Clone:
    """``clone { ... };``."""

    body: tuple["Action", ...]


@dataclass(frozen=True, slots=True)
class Nested:
    """A verb that makes another packet out of this one and runs ``body`` on it.

    ``args`` as for :class:`Verb`; OVN's own verbs of this kind take none.
    """

    verb: str
    body: tuple["Action", ...]
    args: tuple[tuple[str, "ArgValue"], ...] = ()


@dataclass(frozen=True, slots=True)
class GetNeighbor:
    """``get_arp(port, ip);`` or ``get_nd(port, ip);``."""

    verb: str
    port: FieldRef
    ip: FieldRef


@dataclass(frozen=True, slots=True)
class PutNeighbor:
    """``put_arp(port, ip, mac);`` or ``put_nd(port, ip, mac);``."""

    verb: str
    port: FieldRef
    ip: FieldRef
    mac: FieldRef


@dataclass(frozen=True, slots=True)
class LookupNeighbor:
    """``result = lookup_arp(port, ip, mac);`` and its kin; ``mac`` is ``None`` for ``_ip``."""

    verb: str
    result: FieldRef
    port: FieldRef
    ip: FieldRef
    mac: FieldRef | None


@dataclass(frozen=True, slots=True)
class GetFdb:
    """``result = get_fdb(mac);`` or ``get_remote_fdb``."""

    verb: str
    result: FieldRef
    mac: FieldRef


@dataclass(frozen=True, slots=True)
class PutFdb:
    """``put_fdb(port, mac);``."""

    port: FieldRef
    mac: FieldRef


@dataclass(frozen=True, slots=True)
class LookupFdb:
    """``result = lookup_fdb(port, mac);``."""

    result: FieldRef
    port: FieldRef
    mac: FieldRef


@dataclass(frozen=True, slots=True)
class CheckPortSec:
    """``result = check_in_port_sec();`` or ``check_out_port_sec``; ``in`` or ``out``."""

    direction: str
    result: FieldRef


@dataclass(frozen=True, slots=True)
class FwdGroup:
    """``fwd_group(liveness=..., childports=...);``."""

    liveness: bool
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetQueue:
    """``set_queue(n);``."""

    queue: int


@dataclass(frozen=True, slots=True)
class SetMeter:
    """``set_meter(rate, burst);`` in kbit/s and kbit; ``burst`` 0 if not written."""

    rate: int
    burst: int


@dataclass(frozen=True, slots=True)
class Log:
    """``log(...);`` with OVN's defaults filled in; ``name`` and ``meter`` may be empty."""

    verdict: str
    severity: str
    name: str
    meter: str


@dataclass(frozen=True, slots=True)
class CheckPktLarger:
    """``result = check_pkt_larger(size);`` in bytes."""

    result: FieldRef
    size: int


@dataclass(frozen=True, slots=True)
class Sample:
    """``sample(...);``; ``obs_point`` is a number, the text ``$cookie`` or a field."""

    probability: int
    collector_set: int
    obs_domain: int
    obs_point: int | str | FieldRef


Literal = Constant | str
ArgValue = int | Literal | FieldRef | Backend | tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Verb:
    """A service that takes options: its name, where its answer goes, its arguments in order.

    Numbers are plain integers; addresses and DHCP or RA options are constants; ``vip`` and
    ``backend`` are :class:`Backend`.
    """

    name: str
    result: FieldRef | None
    args: tuple[tuple[str, ArgValue], ...] = ()

    def arg(self, name: str) -> ArgValue | None:
        """The first argument of that name, or ``None``."""
        return next((value for key, value in self.args if key == name), None)


Action = (
    Output
    | Next
    | Load
    | OvnFieldLoad
    | Move
    | Exchange
    | Push
    | Pop
    | DecTtl
    | CtNext
    | CtCommit
    | CtCommitToZone
    | CtCommitNat
    | CtNat
    | CtSnatToVip
    | CtLb
    | Select
    | CtClear
    | Clone
    | Nested
    | GetNeighbor
    | PutNeighbor
    | LookupNeighbor
    | GetFdb
    | PutFdb
    | LookupFdb
    | CheckPortSec
    | FwdGroup
    | SetQueue
    | SetMeter
    | Log
    | CheckPktLarger
    | Sample
    | Verb
)


@dataclass(frozen=True, slots=True)
class ActionList:
    """What a flow does, and what its match must demand besides its own text.

    No action means ``drop;``. ``pipeline`` and ``table`` are those of the flow.
    """

    actions: tuple[Action, ...]
    prereqs: tuple[Expr, ...] = ()
    pipeline: str = "ingress"
    table: int = 0

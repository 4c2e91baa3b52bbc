# SPDX-License-Identifier: Apache-2.0
"""Action trees to text, in OVN's spelling; the text parses back to an equal tree."""

from collections.abc import Iterable

from iovisor_ovn.language.actions import (
    Action,
    ActionList,
    ArgValue,
    Backend,
    CheckPktLarger,
    CheckPortSec,
    Clone,
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
    FwdGroup,
    GetFdb,
    GetNeighbor,
    Load,
    Log,
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
    Sample,
    Select,
    SetMeter,
    SetQueue,
    Verb,
)
from iovisor_ovn.language.fields import FieldRef
from iovisor_ovn.language.match import Constant, Format
from iovisor_ovn.language.printer import print_constant, quote
from iovisor_ovn.language.verbs import EXTENSIONS, SERVICES, Shape

__all__ = ["print_actions"]


def print_actions(actions: ActionList) -> str:
    """The text of an action list."""
    return _print_body(actions.actions, actions)


def _print_body(body: Iterable[Action], flow: ActionList) -> str:
    return " ".join(f"{_print(action, flow)};" for action in body) or "drop;"


def _print(action: Action, flow: ActionList) -> str:
    """One action, without its semicolon."""
    match action:
        case Output():
            return "output"
        case Next(pipeline, table):
            return _print_next(pipeline, table, flow)
        case Clone(body):
            return f"clone {{ {_print_body(body, flow)} }}"
        case Nested(verb, body, args):
            given = _print_arguments(EXTENSIONS[verb].shape, args) if args else ""
            return f"{verb}{given} {{ {_print_body(body, flow)} }}"
        case Verb():
            return _print_verb(action)
        case Load() | OvnFieldLoad() | Move() | Exchange() | Push() | Pop() | DecTtl():
            return _print_store(action)
        case GetNeighbor() | PutNeighbor() | LookupNeighbor() | GetFdb() | PutFdb() | LookupFdb():
            return _print_lookup(action)
        case CheckPortSec(direction, result):
            return f"{result} = check_{direction}_port_sec()"
        case CheckPktLarger(result, size):
            return f"{result} = check_pkt_larger({size})"
        case SetQueue() | SetMeter() | Log() | Sample() | FwdGroup():
            return _print_record(action)
        case _:
            return _print_conntrack(action, flow)


def _print_store(
    action: Load | OvnFieldLoad | Move | Exchange | Push | Pop | DecTtl,
) -> str:
    match action:
        case Load(ref, constant):
            return f"{ref} = {_print_value(constant)}"
        case OvnFieldLoad(name, value):
            return f"{name} = {print_constant(value)}"
        case Move(dst, src):
            return f"{dst} = {src}"
        case Exchange(a, b):
            return f"{a} <-> {b}"
        case Push(ref):
            return f"push({ref})"
        case Pop(ref):
            return f"pop({ref})"
        case DecTtl():
            return "ip.ttl--"


def _print_lookup(
    action: GetNeighbor | PutNeighbor | LookupNeighbor | GetFdb | PutFdb | LookupFdb,
) -> str:
    match action:
        case GetNeighbor(verb, port, ip):
            return f"{verb}({port}, {ip})"
        case PutNeighbor(verb, port, ip, mac):
            return f"{verb}({port}, {ip}, {mac})"
        case LookupNeighbor(verb, result, port, ip, known):
            return f"{result} = {verb}({port}, {ip}{'' if known is None else f', {known}'})"
        case GetFdb(verb, result, mac):
            return f"{result} = {verb}({mac})"
        case PutFdb(port, mac):
            return f"put_fdb({port}, {mac})"
        case LookupFdb(result, port, mac):
            return f"{result} = lookup_fdb({port}, {mac})"


def _print_next(pipeline: str, table: int, flow: ActionList) -> str:
    if pipeline != flow.pipeline:
        return f"next(pipeline={pipeline}, table={table})"
    return "next" if table == flow.table + 1 else f"next({table})"


def _print_conntrack(action: Action, flow: ActionList) -> str:
    match action:
        case CtNext(zone):
            return f"ct_next({zone})" if zone else "ct_next"
        case CtCommit(loads, "v1"):
            args = ", ".join(_print(load, flow).replace(" = ", "=") for load in loads)
            return f"ct_commit({args})"
        case CtCommit(loads, _):
            return f"ct_commit {{ {_print_body(loads, flow)} }}" if loads else "ct_commit"
        case CtCommitToZone(zone):
            return f"ct_commit_to_zone({zone})"
        case CtCommitNat(zone):
            return f"ct_commit_nat({zone})" if zone else "ct_commit_nat"
        case CtNat(verb, ip, ports):
            return _print_nat(verb, ip, ports)
        case CtSnatToVip():
            return "ct_snat_to_vip"
        case CtLb():
            return _print_lb(action)
        case Select():
            return _print_select(action)
        case CtClear():
            return "ct_clear"
        case _:
            raise TypeError(f"{type(action).__name__} is no action")


def _print_nat(verb: str, ip: Constant | None, ports: tuple[int, int] | None) -> str:
    if ip is None:
        return verb
    if ports is None:
        return f"{verb}({print_constant(ip)})"
    low, high = ports
    return f"{verb}({print_constant(ip)},{low}{f'-{high}' if high != low else ''})"


def _print_lb(action: CtLb) -> str:
    if not action.backends and not action.hash_fields and not action.flag:
        return action.verb
    parts = ["backends=" + ",".join(_print_backend(backend) for backend in action.backends)]
    if action.hash_fields:
        parts.append(f"hash_fields={quote(','.join(action.hash_fields))}")
    if action.flag:
        parts.append(action.flag)
    return f"{action.verb}({'; '.join(parts)})"


def _print_backend(backend: Backend) -> str:
    lport = "" if backend.lport is None else f"{quote(backend.lport)}:"
    return lport + _print_endpoint(backend)


def _print_endpoint(backend: Backend) -> str:
    address = print_constant(backend.ip)
    if not backend.port:
        return address
    return f"{f'[{address}]' if backend.ip.form is Format.IPV6 else address}:{backend.port}"


def _print_select(action: Select) -> str:
    members = ", ".join(f"{member.id}={member.weight}" for member in action.members)
    if not action.hash_fields:
        return f"{action.result} = select({members})"
    fields = quote(",".join(action.hash_fields))
    return f"{action.result} = select(values=({members}); hash_fields={fields})"


def _print_record(action: SetQueue | SetMeter | Log | Sample | FwdGroup) -> str:
    match action:
        case SetQueue(queue):
            return f"set_queue({queue})"
        case SetMeter(rate, burst):
            return f"set_meter({rate}, {burst})" if burst else f"set_meter({rate})"
        case Log(verdict, severity, name, meter):
            parts = [f"name={quote(name)}"] if name else []
            parts += [f"verdict={verdict}", f"severity={severity}"]
            parts += [f"meter={quote(meter)}"] if meter else []
            return f"log({', '.join(parts)})"
        case Sample(probability, collector_set, obs_domain, obs_point):
            return (
                f"sample(probability={probability},collector_set={collector_set},"
                f"obs_domain={obs_domain},obs_point={obs_point})"
            )
        case FwdGroup(liveness, ports):
            parts = ['liveness="true"'] if liveness else []
            parts.append(f"childports={', '.join(quote(port) for port in ports)}")
            return f"fwd_group({', '.join(parts)})"


def _print_verb(action: Verb) -> str:
    service = SERVICES.get(action.name) or EXTENSIONS[action.name]
    left = "" if action.result is None else f"{action.result} = "
    return left + action.name + _print_arguments(service.shape, action.args)


def _print_arguments(shape: Shape, args: Iterable[tuple[str, ArgValue]]) -> str:
    """What stands behind the verb's name."""
    if shape is Shape.BARE:
        return ""
    if shape is Shape.POSITIONAL:
        given = ", ".join(_print_value(value) for _, value in args)
    elif shape is Shape.NAMED:
        given = ", ".join(_print_named_word(name, value) for name, value in args)
    else:
        given = ", ".join(f"{name} = {_print_named(value)}" for name, value in args)
    return f"({given})"


def _print_named_word(name: str, value: ArgValue) -> str:
    """In verbs of fixed arguments words stand without quotes."""
    return f"{name} = {value if isinstance(value, str) else _print_named(value)}"


def _print_named(value: ArgValue) -> str:
    if isinstance(value, Backend):
        return quote(_print_endpoint(value))
    return _print_value(value)


def _print_value(value: ArgValue) -> str:
    match value:
        case str():
            return quote(value)
        case Constant():
            return print_constant(value)
        case FieldRef() | int():
            return str(value)
        case tuple():
            return f"{{{', '.join(_print_value(item) for item in value)}}}"
        case Backend():
            return _print_endpoint(value)

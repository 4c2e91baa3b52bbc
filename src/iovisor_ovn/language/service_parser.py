# SPDX-License-Identifier: Apache-2.0
"""Readers for the services: arguments as :mod:`iovisor_ovn.language.verbs` describes them."""

import re
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType

from iovisor_ovn.language.action_reader import ActionReader, Target
from iovisor_ovn.language.actions import ArgValue, Backend, Verb
from iovisor_ovn.language.lexer import Token, tokenize
from iovisor_ovn.language.match import Constant, Format
from iovisor_ovn.language.record_parser import read_boolean
from iovisor_ovn.language.verbs import EVENTS, Argument, Kind, Service, Shape

__all__ = ["read_arguments", "read_service"]

Args = list[tuple[str, ArgValue]]

_ENDPOINT = re.compile(
    r"\[(?P<ip6>[^\]]+)\](?::(?P<port6>[0-9]+))?|(?P<ip4>[0-9.]+)(?::(?P<port4>[0-9]+))?|(?P<bare>.+)"
)
_MAX_PORT = 0xFFFF
_FREE_BITS = {Format.DECIMAL: 64, Format.HEXADECIMAL: 128, Format.IPV4: 32, Format.IPV6: 128}
_TEXT_TYPES = ("str", "domain", "domains")


def read_service(reader: ActionReader, service: Service, target: Target | None) -> Verb:
    """Read what stands behind the verb's name; ``target`` is where its answer goes."""
    result = None
    if target is not None:
        result = reader.check(target, service.result_bits, writable=True)
    args = read_arguments(reader, service)
    reader.demand(service.prereqs)
    return Verb(service.name, result, args)


def read_arguments(reader: ActionReader, service: Service) -> tuple[tuple[str, ArgValue], ...]:
    """Read the arguments alone, as the verb's shape says."""
    args: Args = []
    match service.shape:
        case Shape.BARE:
            pass
        case Shape.POSITIONAL:
            args = _positional(reader, service)
        case Shape.NAMED:
            args = _named(reader, service)
        case Shape.OPTIONS:
            args = _options(reader, service)
        case Shape.EVENT:
            args = _event(reader)
    return tuple(args)


def _positional(reader: ActionReader, service: Service) -> Args:
    reader.expect("(")
    args: Args = []
    for number, argument in enumerate(service.args):
        if number:
            reader.expect(",")
        args.append((argument.name, _value(reader, argument.kind)))
    reader.expect(")")
    return args


def _named(reader: ActionReader, service: Service) -> Args:
    reader.expect("(")
    args: Args = []
    for argument in service.args:
        if argument.needs_port and not _has_port(args):
            continue
        if args:
            reader.expect(",")
        args.append((argument.name, _named_value(reader, argument, args)))
    reader.expect(")")
    return args


def _has_port(args: Args) -> bool:
    return any(isinstance(value, Backend) and value.port for _, value in args[:1])


def _named_value(reader: ActionReader, argument: Argument, before: Args) -> ArgValue:
    if not reader.accept_id(argument.name):
        raise reader.unexpected(argument.name)
    reader.expect("=")
    at = reader.token
    value = _value(reader, argument.kind)
    families = {v.ip.form for _, v in (*before, ("", value)) if isinstance(v, Backend)}
    if len(families) > 1:
        raise reader.error("the two addresses are of different families", at)
    return value


def _value(reader: ActionReader, kind: Kind) -> ArgValue:
    return _VALUES[kind](reader)


def _address_field(reader: ActionReader) -> ArgValue:
    target = reader.packet_field()
    if target.bits not in (32, 128):
        raise reader.error(f"{target.ref} has neither 32 nor 128 bits", target.at)
    return target.ref


def _protocol(reader: ActionReader) -> ArgValue:
    return reader.word(("tcp", "udp", "sctp"), Kind.PROTOCOL.value)


def _endpoint(reader: ActionReader) -> ArgValue:
    at = reader.token
    found = parse_endpoint(reader.string("an address in quotes"))
    if found is None:
        raise reader.error(f"{at.text} is neither an address nor an address with a port", at)
    return found


def parse_endpoint(text: str) -> Backend | None:
    """``10.0.0.1``, ``10.0.0.1:80``, ``fd00::1``, ``[fd00::1]:80``; ``None`` for other texts."""
    found = _ENDPOINT.fullmatch(text)
    if found is None:
        return None
    address = found["ip6"] or found["ip4"] or found["bare"]
    port = int(found["port6"] or found["port4"] or "0")
    token = tokenize(address)[0]
    wanted = Format.IPV4 if found["ip4"] else Format.IPV6
    whole = token.kind == "integer" and token.start == 0 and token.end == len(address)
    if not whole or token.form is not wanted or port > _MAX_PORT:
        return None
    return Backend(Constant(token.value, None, _FREE_BITS[wanted], wanted), port)


_VALUES: Mapping[Kind, Callable[[ActionReader], ArgValue]] = MappingProxyType(
    {
        Kind.PORT_FIELD: lambda reader: reader.field(0),
        Kind.ADDRESS_FIELD: _address_field,
        Kind.STRING: lambda reader: reader.string(Kind.STRING.value),
        Kind.IPV4: lambda reader: reader.address(Kind.IPV4.value, Format.IPV4),
        Kind.BOOLEAN: lambda reader: "true" if read_boolean(reader) else "false",
        Kind.PROTOCOL: _protocol,
        Kind.ENDPOINT: _endpoint,
        Kind.SECONDS: lambda reader: reader.small_integer(Kind.SECONDS.value, 0xFFFF),
        Kind.INDEX: lambda reader: reader.small_integer(Kind.INDEX.value, 0xFFFF),
    }
)


def _options(reader: ActionReader, service: Service) -> Args:
    at = reader.token
    reader.expect("(")
    args: Args = []
    known = reader.dictionaries.get(service.name, service.options)
    while not reader.accept(")"):
        args.append(_option(reader, known, service.name))
        reader.accept(",")
    if service.required and all(name != service.required for name, _ in args):
        raise reader.error(f"{service.name} needs the option {service.required}", at)
    if service.name == "put_nd_ra_opts":
        _check_prefix(reader, args, at)
    return args


def _option(reader: ActionReader, known: Mapping[str, str], owner: str) -> tuple[str, ArgValue]:
    """Read ``name = value`` or ``name = {value, ...}``."""
    name = reader.token.text
    if reader.token.kind != "id" or name not in known:
        raise reader.unexpected(f"an option of {owner}")
    reader.advance()
    reader.expect("=")
    at = reader.token
    values = _option_values(reader)
    first = values[0]
    if known[name] != "host_id" and isinstance(first, str) != (known[name] in _TEXT_TYPES):
        wants = "a string" if known[name] in _TEXT_TYPES else "a number or an address"
        raise reader.error(f"option {name} takes {wants}", at)
    if owner == "put_nd_ra_opts" and (len(values) > 1 or not _RA_CHECKS[name](first)):
        raise reader.error(f"the value of option {name} is not valid", at)
    return name, values if at.kind == "{" else first


def _option_values(reader: ActionReader) -> tuple[Constant | str, ...]:
    if not reader.accept("{"):
        return (_literal(reader),)
    values = [_literal(reader)]
    reader.accept(",")
    while not reader.accept("}"):
        at = reader.token
        values.append(_literal(reader))
        if isinstance(values[-1], str) != isinstance(values[0], str):
            raise reader.error("strings and numbers do not mix in a set", at)
        reader.accept(",")
    return tuple(values)


def _literal(reader: ActionReader) -> Constant | str:
    token = reader.token
    if token.kind == "string":
        return reader.advance().text
    if not token.is_integer:
        raise reader.unexpected("a constant")
    reader.advance()
    return Constant(token.value, token.mask, _FREE_BITS.get(token.form, 48), token.form)


def _is_one_of(*words: str) -> Callable[[Constant | str], bool]:
    return lambda value: value in words


def _is_written(form: Format) -> Callable[[Constant | str], bool]:
    return lambda value: isinstance(value, Constant) and value.form is form


def _is_prefix(value: Constant | str) -> bool:
    return (
        _is_written(Format.IPV6)(value) and isinstance(value, Constant) and (value.mask is not None)
    )


_RA_CHECKS: Mapping[str, Callable[[Constant | str], bool]] = MappingProxyType(
    {
        "addr_mode": _is_one_of("slaac", "dhcpv6_stateful", "dhcpv6_stateless"),
        "router_preference": _is_one_of("MEDIUM", "HIGH", "LOW"),
        "slla": _is_written(Format.ETHERNET),
        "prefix": _is_prefix,
        "mtu": _is_written(Format.DECIMAL),
        "rdnss": _is_written(Format.IPV6),
        "dnssl": lambda value: isinstance(value, str),
        "route_info": lambda value: isinstance(value, str),
    }
)


def _check_prefix(reader: ActionReader, args: Args, at: Token) -> None:
    """Without a DHCP server that hands out addresses, hosts need a prefix."""
    stateful = ("addr_mode", "dhcpv6_stateful") in args
    if not stateful and all(name != "prefix" for name, _ in args):
        raise reader.error("put_nd_ra_opts needs a prefix unless addr_mode is dhcpv6_stateful", at)


def _event(reader: ActionReader) -> Args:
    reader.expect("(")
    if not reader.accept_id("event"):
        raise reader.unexpected("event")
    reader.expect("=")
    at = reader.token
    event = reader.string("the name of an event")
    if event not in EVENTS:
        raise reader.error(f"there is no event {event}", at)
    reader.accept(",")
    args: Args = [("event", event)]
    while not reader.accept(")"):
        at = reader.token
        name, value = _option(reader, EVENTS[event], event)
        args.append((name, _event_value(reader, name, value, at)))
        reader.accept(",")
    return args


def _event_value(reader: ActionReader, name: str, value: ArgValue, at: Token) -> ArgValue:
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise reader.error(f"option {name} takes one string", at)
    is_valid, what = _EVENT_CHECKS[name]
    if not is_valid(value):
        raise reader.error(f"{value} is not {what}", at)
    return value


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


_EVENT_CHECKS: Mapping[str, tuple[Callable[[str], bool], str]] = MappingProxyType(
    {
        "vip": (lambda text: parse_endpoint(text) is not None, "an address with or without a port"),
        "protocol": (lambda text: text in ("tcp", "udp", "sctp"), "one of tcp, udp and sctp"),
        "load_balancer": (_is_uuid, "a UUID"),
    }
)

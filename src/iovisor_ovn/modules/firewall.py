# SPDX-License-Identifier: Apache-2.0
"""A firewall between two ports: ordered rules in OVN's match language, stateful where they say so.

::

    DIRECT   in by one port, out by the other
    TRACK    ct_next for what a stateful rule may be about
    RULES    answers and what is related to allowed connections; then rule by rule
    PASS     commit new connections, out
    REFUSE   an answer to what a rule rejects, where one may be given

What rules do follows OVN's ACLs (ovn-nb(5)): `allow-related` lets a whole connection pass, `allow`
the packet alone, `reject` answers with a reset or an ICMP error. Packets of the side that opened
a connection are judged anew each time: one that is refused blocks the connection both ways, so a
rule that is taken away lets nothing go on that only it had allowed.

Frames other than IP (ARP above all) pass unless a rule takes them; IPv6 neighbour discovery always
does, as with OVN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from iovisor_ovn.config.topology import Firewall, FirewallAction
from iovisor_ovn.errors import LanguageError
from iovisor_ovn.language import (
    And,
    Expr,
    GroupMember,
    Not,
    Or,
    PortIs,
    Resident,
    SetMember,
    SymbolTable,
    normalize,
    parse_match,
    print_match,
)
from iovisor_ovn.modules.emission import (
    FOR_MANY,
    MARTIAN,
    NOT_ANSWERED,
    REJECT,
    Emission,
    FlowList,
    port_name,
)

__all__ = ["emit_firewall", "rule_match"]

_DIRECT, _TRACK, _RULES, _PASS, _REFUSE = range(5)
_FIRST_RULE = 30_000
_DEFAULT = 5
_NEIGHBOURS = "nd || nd_rs || nd_ra"
_TO_REFUSE = f"next(pipeline=ingress, table={_REFUSE});"
_BLOCK = "ct_commit { ct_mark.blocked = 1; };"
_COMMIT = "reg0[1]"
#: Packets of a connection that was let in, from the side that opened it.
_GOES_ON = "!ct.new && ct.est && !ct.rpl && ct_mark.blocked == 0"
_BEGINS = "(ct.new || (!ct.new && ct.est && !ct.rpl && ct_mark.blocked == 1))"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule as flows need it; ``count`` is the action that counts its packets."""

    priority: int
    match: str
    action: FirewallAction
    count: str


def rule_match(text: str, ports: Mapping[str, str]) -> str:
    """A rule's match with the firewall's own port names replaced by those of ``ports``.

    Raises LanguageError for what is not a match, or names what a chain does not have.
    """
    symbols = SymbolTable.default()
    tree = _renamed(parse_match(text, symbols), ports, text)
    normalize(tree, symbols, ())  # it knows more that cannot be
    return print_match(tree)


def _renamed(expr: Expr, ports: Mapping[str, str], text: str) -> Expr:
    match expr:
        case And(args) | Or(args):
            return cast("Expr", replace(expr, args=tuple(_renamed(a, ports, text) for a in args)))
        case Not(arg):
            return Not(_renamed(arg, ports, text))
        case PortIs(_, name) if name in ports:
            return replace(expr, name=ports[name])
        case PortIs(_, name):
            raise LanguageError(f"there is no port {name}", max(text.find(name), 0), text)
        case SetMember(_, name) | GroupMember(_, name):
            raise LanguageError(f"there is no set {name}", max(text.find(name), 0), text)
        case Resident():
            raise LanguageError("there is no chassis", 0, text)
        case _:
            return expr


def emit_firewall(name: str, firewall: Firewall) -> Emission:
    """Flows of the firewall ``name``; its matches have been checked by :func:`rule_match`."""
    flows = FlowList(name)
    ports = {port: port_name(name, port) for port in (firewall.inside, firewall.outside)}
    rules = [
        _Rule(
            _FIRST_RULE - position,
            rule_match(rule.match, ports),
            rule.action,
            flows.count(f"rule {position + 1} {rule.name or rule.match}"),
        )
        for position, rule in enumerate(firewall.rules)
    ]
    # Where others are tracked, what the default allows is, too: its answers would look invalid.
    allow: FirewallAction = "allow-related" if firewall.default == "allow" else firewall.default
    default = _Rule(_DEFAULT, "ip", allow, flows.count("default"))
    is_stateful = any(rule.action == "allow-related" for rule in rules)
    for here, there in (
        (firewall.inside, firewall.outside),
        (firewall.outside, firewall.inside),
    ):
        flows.add(
            _DIRECT, 50, f"inport == {flows.port(here)}", f"outport = {flows.port(there)}; next;"
        )
    if is_stateful:
        _track(flows, rules)
    else:
        flows.add(_TRACK, 0, "1", "next;")
    for rule in (*rules, default):
        _judge(flows, rule, is_stateful=is_stateful)
    flows.add(_RULES, 0, "1", "next;")
    flows.add(_RULES, 60_003, _NEIGHBOURS, "next;")
    if is_stateful:
        flows.add(_PASS, 50, f"{_COMMIT} == 1", "ct_commit { ct_mark.blocked = 0; }; output;")
    flows.add(_PASS, 0, "1", "output;")
    flows.add(_REFUSE, 50, f"{FOR_MANY} || {MARTIAN} || {NOT_ANSWERED}", "drop;")
    flows.add(_REFUSE, 0, "1", REJECT)
    flows.deliver()
    return flows.emission(has_zones=is_stateful)


def _track(flows: FlowList, rules: Sequence[_Rule]) -> None:
    """What a rule allows by itself is not tracked: the other direction might not be seen here."""
    flows.add(_TRACK, 60_000, _NEIGHBOURS, "next;")
    if any(rule.action == "allow" for rule in rules):
        for rule in rules:
            track = "next;" if rule.action == "allow" else "ct_next;"
            flows.add(_TRACK, rule.priority, rule.match, track)
    flows.add(_TRACK, _DEFAULT, "ip", "ct_next;")
    flows.add(_TRACK, 0, "1", "next;")
    flows.add(_RULES, 60_002, "ct.inv || (ct.est && ct.rpl && ct_mark.blocked == 1)", "drop;")
    flows.add(
        _RULES, 60_001,
        "ct.est && !ct.rel && !ct.new && !ct.inv && ct.rpl && ct_mark.blocked == 0", "next;",
    )  # fmt: skip
    flows.add(
        _RULES, 60_000, "!ct.est && ct.rel && !ct.new && !ct.inv && ct_mark.blocked == 0", "next;"
    )


def _judge(flows: FlowList, rule: _Rule, *, is_stateful: bool) -> None:
    priority, match, count = rule.priority, rule.match, rule.count
    if rule.action == "allow" or (rule.action == "allow-related" and not is_stateful):
        flows.add(_RULES, priority, match, f"{count} next;")
    elif rule.action == "allow-related":
        flows.add(_RULES, priority, f"{_BEGINS} && ({match})", f"{count} {_COMMIT} = 1; next;")
        flows.add(_RULES, priority, f"{_GOES_ON} && ({match})", f"{count} next;")
        flows.add(_RULES, priority, f"!ct.trk && ({match})", f"{count} next;")
    else:
        refuse = f"{count} {_TO_REFUSE if rule.action == 'reject' else ''}"
        if not is_stateful:
            flows.add(_RULES, priority, match, refuse)
            return
        flows.add(_RULES, priority, f"!({_GOES_ON}) && ({match})", refuse)
        flows.add(_RULES, priority, f"{_GOES_ON} && ({match})", f"{_BLOCK} {refuse}")

# SPDX-License-Identifier: Apache-2.0
"""The symbols of OVN, as data.

One row of :data:`_ROWS` a symbol, in the order of OVN's ``ovn_init_symtab``: a row may use the
names above it. The row's class says what kind of symbol it is.
"""

import re
from dataclasses import dataclass

from iovisor_ovn.language.fields import (
    RELEASES,
    Access,
    Field,
    FieldKind,
    FieldRef,
    Level,
    Symbol,
    SymbolKind,
)

__all__ = ["define_symbols"]

_RW, _RO, _CT = Access.RW, Access.RO, Access.CT_COMMIT_ONLY
_O, _N = Level.ORDINAL, Level.NOMINAL


@dataclass(frozen=True, slots=True)
class _F:
    """A field: name, width in bits, level, access, prerequisite."""

    name: str
    width: int
    level: Level = _O
    access: Access = _RW
    prereqs: str = ""
    since: str = "23.03"
    until: str = ""


@dataclass(frozen=True, slots=True)
class _Text:
    """A string field."""

    name: str
    since: str = "23.03"
    until: str = ""


@dataclass(frozen=True, slots=True)
class _S:
    """A subfield: name, parent, lowest and highest bit, prerequisite."""

    name: str
    parent: str
    low: int
    high: int
    prereqs: str = ""
    since: str = "23.03"
    until: str = ""


@dataclass(frozen=True, slots=True)
class _P:
    """A predicate: name and what it stands for."""

    name: str
    expansion: str
    since: str = "23.03"
    until: str = ""


@dataclass(frozen=True, slots=True)
class _Ovn:
    """A parameter of the agent that is no packet field: name and width."""

    name: str
    width: int
    since: str = "23.03"
    until: str = ""


_Row = _F | _Text | _S | _P | _Ovn


def _registers() -> tuple[_Row, ...]:
    """``xxreg0`` to ``reg9``; a register lies in the widest one that contains it."""
    rows: list[_Row] = [_F("xxreg0", 128), _F("xxreg1", 128)]
    for number in range(4):
        low = 64 * (1 - number % 2)
        rows.append(_S(f"xreg{number}", f"xxreg{number // 2}", low, low + 63))
    rows.append(_F("xreg4", 64))
    for number in range(8):
        low = 32 * (3 - number % 4)
        rows.append(_S(f"reg{number}", f"xxreg{number // 4}", low, low + 31))
    rows += [_S("reg8", "xreg4", 32, 63), _S("reg9", "xreg4", 0, 31)]
    return tuple(rows)


_MULTICAST_RESERVED = ", ".join(f"ff0{digit:x}::0" for digit in range(16))

_ROWS: tuple[_Row, ...] = (
    _Text("inport"),
    _Text("outport"),
    _F("__inport", 32, since="main"),
    _F("__outport", 32, since="main"),
    _P("from_evpn_vtep", "__inport[31]", since="main"),
    _P("to_evpn_vtep", "__outport[31]", since="main"),
    _Text("remote_outport", since="25.09"),
    *_registers(),
    _F("flags", 32),
    _S("flags.loopback", "flags", 0, 0),
    _S("flags.force_snat_for_dnat", "flags", 2, 2),
    _S("flags.force_snat_for_lb", "flags", 3, 3),
    _S("flags.skip_snat_for_lb", "flags", 9, 9),
    _S("flags.use_snat_zone", "flags", 11, 11),
    _S("flags.localnet", "flags", 15, 15, since="24.03"),
    _S("flags.tunnel_rx", "flags", 16, 16, since="24.03"),
    _S("flags.icmp_snat", "flags", 17, 17, since="24.03"),
    _S("flags.from_ctrl", "flags", 19, 19, since="25.03"),
    _S("flags.unsnat_new", "flags", 20, 20, since="25.03"),
    _S("flags.unsnat_not_tracked", "flags", 21, 21, since="25.03"),
    _S("flags.igmp_loopback", "flags", 22, 22, since="25.09"),
    _S("flags.pkt_sampled", "flags", 23, 23, since="26.03"),
    _S("flags.network_id", "flags", 28, 31, since="25.09"),
    _F("ct_mark", 32, access=_CT),
    _S("ct_mark.blocked", "ct_mark", 0, 0),
    _S("ct_mark.natted", "ct_mark", 1, 1),
    _S("ct_mark.skip_snat", "ct_mark", 2, 2),
    _S("ct_mark.force_snat", "ct_mark", 3, 3),
    _S("ct_mark.obs_stage", "ct_mark", 4, 5, since="24.09"),
    _S("ct_mark.allow_established", "ct_mark", 6, 6, since="25.03"),
    _S("ct_mark.obs_collector_id", "ct_mark", 16, 23, since="24.09"),
    _S("ct_mark.ecmp_reply_port", "ct_mark", 16, 31),
    _F("ct_label", 128, access=_CT),
    _S("ct_label.ecmp_reply_eth", "ct_label", 32, 79),
    _S("ct_label.label", "ct_label", 96, 127),
    _S("ct_label.obs_point_id", "ct_label", 96, 127, since="24.09"),
    _S("ct_label.obs_unused", "ct_label", 0, 95, since="24.09"),
    _S("ct_label.acl_id", "ct_label", 80, 95, since="25.03"),
    _S("ct_label.nf", "ct_label", 7, 7, since="26.03"),
    _S("ct_label.nf_id", "ct_label", 17, 24, since="26.03"),
    _S("ct_label.tun_if", "ct_label", 8, 8, since="26.03"),
    _S("ct_label.tun_if_id", "ct_label", 80, 95, since="26.03"),
    _S("ct_label.blocked", "ct_label", 0, 0, until="24.09"),
    _S("ct_label.natted", "ct_label", 1, 1, until="24.09"),
    _S("ct_label.skip_snat", "ct_label", 2, 2, until="24.09"),
    _S("ct_label.force_snat", "ct_label", 3, 3, until="24.09"),
    _S("ct_label.ecmp_reply_port", "ct_label", 80, 95, until="24.09"),
    _F("ct_state", 32, access=_RO),
    _S("ct.trk", "ct_state", 5, 5),
    _S("ct.new", "ct_state", 0, 0, "ct.trk"),
    _S("ct.est", "ct_state", 1, 1, "ct.trk"),
    _S("ct.rel", "ct_state", 2, 2, "ct.trk"),
    _S("ct.rpl", "ct_state", 3, 3, "ct.trk"),
    _S("ct.inv", "ct_state", 4, 4, "ct.trk"),
    _S("ct.snat", "ct_state", 6, 6, "ct.trk"),
    _S("ct.dnat", "ct_state", 7, 7, "ct.trk"),
    _F("eth.src", 48),
    _F("eth.dst", 48),
    _F("eth.type", 16, _N, _RO),
    _P("eth.bcast", "eth.dst == ff:ff:ff:ff:ff:ff"),
    _S("eth.mcast", "eth.dst", 40, 40),
    _P("eth.mcastv6", "eth.dst[32..47] == 0x3333"),
    _F("vlan.tci", 16),
    _P("vlan.present", "vlan.tci[12]"),
    _S("vlan.pcp", "vlan.tci", 13, 15, "vlan.present"),
    _S("vlan.vid", "vlan.tci", 0, 11, "vlan.present"),
    _P("ip4", "eth.type == 0x800"),
    _P("ip6", "eth.type == 0x86dd"),
    _P("ip", "ip4 || ip6"),
    _F("ip.proto", 8, _N, _RO, "ip"),
    _F("ip.dscp", 6, _N, prereqs="ip"),
    _F("ip.ecn", 2, _N, prereqs="ip"),
    _F("ip.ttl", 8, _N, prereqs="ip"),
    _F("ip4.src", 32, prereqs="ip4"),
    _F("ip4.dst", 32, prereqs="ip4"),
    _P("ip4.src_mcast", "ip4.src[28..31] == 0xe"),
    # Unlike the manual, the code asks for the multicast bit of the MAC address as well.
    _P("ip4.mcast", "eth.mcast && ip4.dst[28..31] == 0xe"),
    _P("icmp4", "ip4 && ip.proto == 1"),
    _F("icmp4.type", 8, _N, prereqs="icmp4"),
    _F("icmp4.code", 8, _N, prereqs="icmp4"),
    _P("igmp", "ip4 && ip.proto == 2", until="24.03"),
    _P("igmp", "ip4.mcast && ip.proto == 2", since="24.03"),
    _F("ip6.src", 128, prereqs="ip6"),
    _F("ip6.dst", 128, prereqs="ip6"),
    _F("ip6.label", 20, prereqs="ip6"),
    _P("ip6.mcast_rsvd", f"ip6.dst == {{{_MULTICAST_RESERVED}}}"),
    _P("ip6.mcast_all_nodes", "ip6.dst == {ff01::1, ff02::1}"),
    _P("ip6.mcast_all_rtrs", "ip6.dst == {ff01::2, ff02::2, ff05::2}"),
    _P("ip6.mcast_sol_node", "ip6.dst == ff02::1:ff00:0/104"),
    _P(
        "ip6.mcast_flood",
        "eth.mcastv6 && (ip6.mcast_rsvd || ip6.mcast_all_nodes || ip6.mcast_all_rtrs"
        " || ip6.mcast_sol_node)",
    ),
    _P("ip6.mcast", "eth.mcastv6 && ip6.dst[120..127] == 0xff"),
    _P("icmp6", "ip6 && ip.proto == 58"),
    _F("icmp6.type", 8, _N, prereqs="icmp6"),
    _F("icmp6.code", 8, _N, prereqs="icmp6"),
    _P("icmp", "icmp4 || icmp6"),
    _F("ip.frag", 2, access=_RO, prereqs="ip"),
    _P("ip.is_frag", "ip.frag[0]"),
    _P("ip.later_frag", "ip.frag[1]"),
    _P("ip.first_frag", "ip.is_frag && !ip.later_frag"),
    _P("arp", "eth.type == 0x806"),
    _F("arp.op", 16, _N, prereqs="arp"),
    _F("arp.spa", 32, prereqs="arp"),
    _F("arp.sha", 48, prereqs="arp"),
    _F("arp.tpa", 32, prereqs="arp"),
    _F("arp.tha", 48, prereqs="arp"),
    _P("rarp", "eth.type == 0x8035"),
    _F("rarp.op", 16, _N, prereqs="rarp"),
    _F("rarp.spa", 32, prereqs="rarp"),
    _F("rarp.sha", 48, prereqs="rarp"),
    _F("rarp.tpa", 32, prereqs="rarp"),
    _F("rarp.tha", 48, prereqs="rarp"),
    _P("nd", "icmp6.type == {135, 136} && icmp6.code == 0 && ip.ttl == 255"),
    _P("nd_ns", "icmp6.type == 135 && icmp6.code == 0 && ip.ttl == 255"),
    _P(
        "nd_ns_mcast",
        "ip6.mcast && icmp6.type == 135 && icmp6.code == 0 && ip.ttl == 255",
        since="24.09",
    ),
    _P("nd_na", "icmp6.type == 136 && icmp6.code == 0 && ip.ttl == 255"),
    _P("nd_rs", "icmp6.type == 133 && icmp6.code == 0 && ip.ttl == 255"),
    _P("nd_ra", "icmp6.type == 134 && icmp6.code == 0 && ip.ttl == 255"),
    _F("nd.target", 128, prereqs="nd"),
    _F("nd.sll", 48, prereqs="nd_ns"),
    _F("nd.tll", 48, prereqs="nd_na"),
    _P("mldv1", "ip6.src == fe80::/10 && icmp6.type == {130, 131, 132}", until="24.03"),
    _P(
        "mldv1",
        "eth.mcastv6 && ip6.src == fe80::/10 && icmp6.type == {130, 131, 132}",
        since="24.03",
    ),
    _P("mldv2", "ip6.dst == ff02::16 && icmp6.type == 143", until="24.03"),
    _P("mldv2", "eth.mcastv6 && ip6.dst == ff02::16 && icmp6.type == 143", since="24.03"),
    _P("tcp", "ip.proto == 6"),
    _F("tcp.src", 16, prereqs="tcp"),
    _F("tcp.dst", 16, prereqs="tcp"),
    _F("tcp.flags", 12, access=_RO, prereqs="tcp"),
    _P("udp", "ip.proto == 17"),
    _F("udp.src", 16, prereqs="udp"),
    _F("udp.dst", 16, prereqs="udp"),
    _P("sctp", "ip.proto == 132"),
    _F("sctp.src", 16, prereqs="sctp"),
    _F("sctp.dst", 16, prereqs="sctp"),
    _F("pkt.mark", 32),
    _Ovn("icmp4.frag_mtu", 16),
    _Ovn("icmp6.frag_mtu", 32),
    _Ovn("icmp4.inner_ip4.src", 32, since="main"),
)


def define_symbols(position: int, of_connections: bool) -> dict[str, Symbol]:
    """Mapping of name to symbol for the release at that position of ``RELEASES``."""
    symbols: dict[str, Symbol] = {}
    for row in _ROWS:
        # A later row of the same name supersedes, which is how meanings change.
        if RELEASES.index(row.since) <= position:
            symbols[row.name] = _define(row, symbols)
    if of_connections:
        _speak_of_connections(symbols)
    return symbols


def _define(row: _Row, symbols: dict[str, Symbol]) -> Symbol:
    match row:
        case _P():
            return _predicate(row, symbols)
        case _S():
            parent = symbols[row.parent]
            assert parent.ref is not None, "a subfield has a field for a parent"
            ref = FieldRef(parent.ref.field, row.low, row.high - row.low + 1, row.name)
            return Symbol(
                row.name, SymbolKind.SUBFIELD, ref.width, parent.level, parent.writable,
                row.prereqs, ref, "", row.since, row.until,
            )  # fmt: skip
        case _F():
            field = Field(
                row.name, row.width, FieldKind.INTEGER, row.level, row.access, row.prereqs,
                row.since, row.until,
            )  # fmt: skip
            return _field_symbol(field, SymbolKind.FIELD, row.width)
        case _Ovn():
            field = Field(
                row.name, row.width, FieldKind.INTEGER, _N, Access.WRITE_ONLY, "",
                row.since, row.until,
            )  # fmt: skip
            return _field_symbol(field, SymbolKind.OVN_FIELD, row.width)
        case _Text():
            field = Field(row.name, 32, FieldKind.STRING, _N, _RW, "", row.since, row.until)
            return _field_symbol(field, SymbolKind.FIELD, 0)


def _field_symbol(field: Field, kind: SymbolKind, width: int) -> Symbol:
    ref = FieldRef(field, 0, field.width, field.name)
    return Symbol(
        field.name, kind, width, field.level, field.writable, field.prereqs, ref, "",
        field.since, field.until,
    )  # fmt: skip


def _predicate(row: _P, symbols: dict[str, Symbol]) -> Symbol:
    """A predicate is nominal as soon as something in its expansion is."""
    names = re.findall(r"[A-Za-z_][A-Za-z0-9_.]*", row.expansion)
    used = [symbols[name] for name in names if name in symbols]
    nominal = any(symbol.level is _N for symbol in used)
    return Symbol(
        row.name, SymbolKind.PREDICATE, 1, _N if nominal else Level.BOOLEAN, _RO, "", None,
        row.expansion, row.since, row.until,
    )  # fmt: skip


def _speak_of_connections(symbols: dict[str, Symbol]) -> None:
    """Replace the L4 protocols and ports by those of the connection (see ``conntrack``)."""
    proto = Field("ct_proto", 8, FieldKind.INTEGER, _N, _RO, "ct.trk", "26.03")
    symbols["ct_proto"] = _field_symbol(proto, SymbolKind.FIELD, proto.width)
    for name, number in (("tcp", 6), ("udp", 17), ("sctp", 132)):
        row = _P(name, f"ct.trk && !ct.inv && ct_proto == {number}", "26.03")
        symbols[name] = _predicate(row, symbols)
        for side in ("src", "dst"):
            field = Field(f"ct_tp.{side}", 16, FieldKind.INTEGER, _O, _RO, "", "26.03")
            ref = FieldRef(field, 0, field.width, f"{name}.{side}")
            symbols[ref.symbol] = Symbol(
                ref.symbol, SymbolKind.FIELD, 16, _O, _RO, name, ref, "", "26.03"
            )

# SPDX-License-Identifier: Apache-2.0
"""Random matches and action lists over every symbol of the language.

Values are drawn from small pools, so that relations overlap, contain and exclude each other and
packets meet them. ``!`` is counted, because nominal symbols may be tested one way only.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iovisor_ovn.language import Access, Level, Symbol, SymbolKind
from judges.world import GROUPS, PORTS, SETS, SYMBOLS

__all__ = ["Writer", "draw_focus", "draw_value", "format_value", "match_text"]

_ETHERTYPES = (0x0800, 0x0800, 0x86DD, 0x86DD, 0x0806, 0x8035, 0x88CC)
_PROTOCOLS = (1, 2, 6, 17, 58, 132)
_L4_PORTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 80, 443, 1024, 0xFFFF)
_RELOPS = ("==", "==", "==", "==", "!=", "!=", "<", "<=", ">", ">=")
_TURNED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}

_PREDICATES = tuple(s for s in SYMBOLS if s.kind is SymbolKind.PREDICATE)
_NUMBERS = tuple(
    s for s in SYMBOLS if s.kind in (SymbolKind.FIELD, SymbolKind.SUBFIELD) and s.width
)
_STRINGS = tuple(s for s in SYMBOLS if s.kind is SymbolKind.FIELD and not s.width)

_ADDRESSES: dict[int, Callable[[random.Random], int]] = {
    32: lambda rng: rng.choice([0x0A000000, 0x0A000100, 0xE0000000]) + rng.randrange(8),
    48: lambda rng: rng.choice([0x020000000000, 0x333300000000, 0x01005E000000]) + rng.randrange(6),
    128: lambda rng: (
        rng.choice([0xFD00 << 112, 0xFE80 << 112, 0xFF02 << 112, 0xFF020001FF << 88])
        + rng.randrange(8)
    ),
}
_POOLS: dict[str, Sequence[int]] = {
    "eth.type": _ETHERTYPES,
    "ip.proto": _PROTOCOLS,
    "ip.ttl": (0, 1, 2, 64, 254, 255),
    "ip.frag": (0, 0, 0, 1, 3),
    "icmp4.type": (0, 3, 8),
    "icmp4.code": (0, 0, 1),
    "icmp6.type": (1, 128, 130, 133, 134, 135, 136, 143),
    "icmp6.code": (0, 0, 0, 1),
    "arp.op": (1, 2, 3),
    "rarp.op": (3, 4),
    "ct_state": (0, 0x20, 0x21, 0x22, 0x2A, 0x31, 0xA2),
}
_ADDRESS_FIELDS = ("eth.", "ip4.", "ip6.", "arp.", "rarp.", "nd.")
_SET_FIELDS = tuple(s for s in _NUMBERS if s.width in _ADDRESSES and s.level is Level.ORDINAL
                    and s.name.startswith((*_ADDRESS_FIELDS, "reg", "xxreg")))  # fmt: skip


def draw_value(rng: random.Random, name: str, width: int) -> int:
    """A value of a base field or of one of its symbols."""
    if name in _POOLS:
        return rng.choice(_POOLS[name])
    if name.startswith(_ADDRESS_FIELDS) and width in _ADDRESSES:
        return (1 << width) - 1 if rng.random() < 0.05 else _ADDRESSES[width](rng)
    if name.startswith(("tcp.", "udp.", "sctp.")):
        return rng.choice(_L4_PORTS) & (1 << width) - 1
    if name == "vlan.tci":
        return rng.choice([0, 0x1000, 0x1005, 0x1006, 0x3005, 0xF001])
    kind = rng.random()
    if kind < 0.6:
        return rng.randrange(8) & (1 << width) - 1
    return rng.getrandbits(width) if kind < 0.9 else (1 << width) - 1


def format_value(rng: random.Random, value: int, width: int) -> str:
    """The number in one of the forms that a value of this width has."""
    if width == 48 and rng.random() < 0.8:
        return value.to_bytes(6, "big").hex(":")
    if width == 32 and rng.random() < 0.5:
        return ".".join(map(str, value.to_bytes(4, "big")))
    if width == 128 and rng.random() < 0.7:
        groups = value.to_bytes(16, "big").hex(":", 2)
        return ":".join(f"{int(group, 16):x}" for group in groups.split(":"))
    return str(value) if value < 1 << 63 and rng.random() < 0.6 else hex(value)


def draw_focus(rng: random.Random) -> tuple[Symbol, ...]:
    """A few symbols; texts that are mostly about them have to do with each other."""
    addresses = [s for s in _NUMBERS if s.name.startswith(_ADDRESS_FIELDS) and s.width > 16]
    return (*rng.sample(addresses, rng.choice([0, 1, 2])), *rng.sample(_NUMBERS, 3))


def match_text(rng: random.Random, focus: Sequence[Symbol] = (), depth: int = 3) -> str:
    """A match that the parser accepts, nearly always."""
    return _Matches(rng, focus).expression(rng.randrange(depth + 1), negated=False)


@dataclass(frozen=True, slots=True)
class _Matches:
    rng: random.Random
    focus: Sequence[Symbol]

    def expression(self, depth: int, *, negated: bool) -> str:
        rng = self.rng
        if not depth or rng.random() < 0.15:
            return self._atom(negated=negated)
        if rng.random() < 0.2:
            return f"!({self.expression(depth - 1, negated=not negated)})"
        parts = [
            self.expression(depth - 1, negated=negated) for _ in range(rng.choice([2, 2, 2, 3]))
        ]
        return rng.choice([" && ", " && ", " || "]).join(f"({part})" for part in parts)

    def _atom(self, *, negated: bool) -> str:
        kind = self.rng.random()
        if kind < 0.03:
            return self.rng.choice(["0", "1", "!0"])
        if kind < 0.07:
            name = self.rng.choice(["p1", "p3", "unknown"])
            return f'{self.rng.choice(["", "!"])}is_chassis_resident("{name}")'
        if kind < 0.2:
            return self._port(negated=negated)
        if kind < 0.45:
            return self._predicate(self.rng.choice(_PREDICATES), negated=negated)
        if kind < 0.57:
            return self._set()
        known = self.focus if self.focus and self.rng.random() < 0.6 else _NUMBERS
        return self._number(self.rng.choice(known), negated=negated)

    def _port(self, *, negated: bool) -> str:
        name = self.rng.choice(_STRINGS).name
        relation = "!=" if negated else "=="
        members = [f'"{port}"' for port in (*PORTS, "unknown", "none")]
        if name != "remote_outport":
            members += [f"@{group}" for group in GROUPS]
        if self.rng.random() < 0.7:
            return f"{name} {relation} {self.rng.choice(members)}"
        some = self.rng.sample(members, self.rng.choice([1, 2, 3]))
        return f"{name} {relation} {{{', '.join(some)}}}"

    def _set(self) -> str:
        """An address set, with any field that has room for its members."""
        near = [symbol for symbol in self.focus if symbol in _SET_FIELDS]
        symbol = self.rng.choice(near if near and self.rng.random() < 0.7 else _SET_FIELDS)
        return f"{symbol.name} {self.rng.choice(['==', '==', '!='])} {self._set_name(symbol)}"

    def _set_name(self, symbol: Symbol) -> str:
        ends = {32: "4", 48: "e", 128: "6"}[symbol.width]
        return f"${self.rng.choice([name for name in SETS if name.endswith(ends)])}"

    def _predicate(self, symbol: Symbol, *, negated: bool) -> str:
        free = symbol.level is not Level.NOMINAL
        form = self.rng.choice(["plain", "plain", "bang", "relation"])
        if form == "plain" and (free or not negated):
            return symbol.name
        if form == "bang" and (free or negated):
            return f"!{symbol.name}"
        value = self.rng.randrange(2) if free else int(not negated)
        if self.rng.random() < 0.5:
            return f"{symbol.name} != {1 - value}"
        return f"{symbol.name} == {value}"

    def _number(self, symbol: Symbol, *, negated: bool) -> str:
        rng = self.rng
        if symbol.level is Level.NOMINAL:
            values = self._values(symbol, 0, symbol.width - 1)
            return f"{symbol.name} {'!=' if negated else '=='} {values}"
        low, high = self._bits(symbol)
        name = symbol.name if high - low + 1 == symbol.width else f"{symbol.name}[{low}..{high}]"
        width = high - low + 1
        if width == 1 and rng.random() < 0.6:
            bare = f"{symbol.name}[{low}]" if symbol.width > 1 else symbol.name
            return bare if rng.random() < 0.6 else f"!{bare}"
        relop = rng.choice(_RELOPS)
        if relop in ("==", "!="):
            return f"{name} {relop} {self._values(symbol, low, high)}"
        first = self._value(symbol, low, high)
        if rng.random() < 0.4:
            second = self._value(symbol, low, high)
            return f"{first} {relop} {name} {rng.choice([relop, _TURNED[relop]])} {second}"
        return f"{name} {relop} {first}" if rng.random() < 0.7 else f"{first} {relop} {name}"

    def _bits(self, symbol: Symbol) -> tuple[int, int]:
        if symbol.width == 1 or self.rng.random() < 0.7:
            return 0, symbol.width - 1
        low = self.rng.randrange(symbol.width)
        return low, min(low + self.rng.choice([0, 0, 2, 3, 7, 20]), symbol.width - 1)

    def _value(self, symbol: Symbol, low: int, high: int) -> str:
        width = high - low + 1
        base = draw_value(self.rng, symbol.name, symbol.width)
        value = base >> low & (1 << width) - 1
        return format_value(self.rng, value, width)

    def _values(self, symbol: Symbol, low: int, high: int) -> str:
        """What `==` may be followed by: a value, a masked value, a set of them."""
        rng = self.rng
        whole = high - low + 1 == symbol.width
        count = rng.choice([1, 1, 1, 1, 2, 3, 5, 20])
        if count == 1:
            return self._member(symbol, low, high, whole=whole)
        # Masks that are no prefixes make a tuple each: a few of them are enough.
        draw = self._member if count <= 3 else self._plain_member
        members = {draw(symbol, low, high, whole=whole) for _ in range(count)}
        return f"{{{', '.join(sorted(members))}}}"

    def _member(self, symbol: Symbol, low: int, high: int, *, whole: bool) -> str:
        rng = self.rng
        is_address = symbol.name.startswith(_ADDRESS_FIELDS) and symbol.width in _ADDRESSES
        if is_address and whole and rng.random() < 0.3:
            return self._set_name(symbol)
        if symbol.level is Level.NOMINAL or rng.random() < 0.75:
            return self._value(symbol, low, high)
        return self._masked(symbol, low, high, whole=is_address and whole)

    def _plain_member(self, symbol: Symbol, low: int, high: int, *, whole: bool) -> str:
        is_address = whole and symbol.name.startswith(_ADDRESS_FIELDS) and symbol.width in (32, 128)
        if is_address and self.rng.random() < 0.2:
            return self._masked(symbol, low, high, whole=True)
        return self._value(symbol, low, high)

    def _masked(self, symbol: Symbol, low: int, high: int, *, whole: bool) -> str:
        """A value with a prefix length, if it is an address, or with any mask."""
        rng = self.rng
        width = high - low + 1
        value = draw_value(rng, symbol.name, symbol.width) >> low & (1 << width) - 1
        if whole and symbol.width != 48:
            prefix = rng.choice([0, 1, 8, 24, 29, 30, symbol.width - 2, symbol.width])
            return f"{_dotted(value, symbol.width)}/{prefix}"
        return f"{value:#x}/{rng.getrandbits(width):#x}"


def _dotted(value: int, width: int) -> str:
    if width == 32:
        return ".".join(map(str, value.to_bytes(4, "big")))
    return value.to_bytes(16, "big").hex(":", 2)


# -- actions -----------------------------------------------------------------------------

_THEMES: dict[str, tuple[str, ...]] = {
    "": ("eth.src", "eth.dst", "vlan.tci"),
    "ip4": ("ip4.", "ip.ttl", "ip.dscp", "ip.ecn"),
    "ip6": ("ip6.", "ip.ttl", "ip.dscp", "ip.ecn"),
    "tcp": ("tcp.", "ip.ttl", "ip.dscp"),
    "udp": ("udp.", "ip4."),
    "sctp": ("sctp.", "ip.ecn"),
    "icmp4": ("icmp4.", "ip4."),
    "icmp6": ("icmp6.", "ip6."),
    "nd": ("nd.target", "ip6."),
    "nd_ns": ("nd.sll", "nd.target"),
    "nd_na": ("nd.tll", "nd.target"),
    "arp": ("arp.",),
    "rarp": ("rarp.",),
    "vlan.present": ("vlan.",),
}
#: A state's fields may be read and written whatever the packet is.
_ALWAYS = ("reg", "xreg", "xxreg", "flags", "pkt.mark", "eth.")
_READ_ONLY = ("ct_state", "ct_mark", "ct_label", "ct.", "ct_mark.", "ct_label.")


@dataclass(slots=True)
class Writer:
    """Draws action lists of one stage.

    ``table`` of ``n_tables`` in the pipeline. A list's fields go together: those of one kind of
    packet, and the state's. ``with_types``: lists write icmp6.type and code rather than ND
    fields, which Open vSwitch ignores once the type is another.
    """

    rng: random.Random
    egress: bool
    table: int
    n_tables: tuple[int, int]
    with_types: bool = False
    focus: Sequence[Symbol] = ()
    _theme: str = ""

    def actions(self) -> str:
        """A list."""
        rng = self.rng
        if rng.random() < 0.04:
            return "drop;"
        themes = [theme for theme, prefixes in _THEMES.items()
                  if any(symbol.name.startswith(prefixes) for symbol in self.focus)]  # fmt: skip
        self._theme = rng.choice(themes if themes and rng.random() < 0.5 else list(_THEMES))
        if self.with_types and self._theme.startswith("nd"):
            self._theme = "icmp6"
        statements = self._body(rng.choice([0, 0, 1, 1, 2, 3, 5]), depth=0)
        return " ".join((*statements, *self._end()))

    def _body(self, length: int, depth: int) -> list[str]:
        found: list[str] = []
        for _ in range(length):
            found += self._statement(depth)
        return found

    def _end(self) -> list[str]:
        rng = self.rng
        kind = rng.random()
        if kind < 0.03:
            return []
        last = self.table + 1 >= self.n_tables[self.egress]
        if kind < 0.2 or last:
            return [f'outport = "{rng.choice(list(PORTS))}";'] * (not self.egress) + ["output;"]
        return [self._next()]

    def _next(self) -> str:
        rng = self.rng
        kind = rng.random()
        if kind < 0.75:
            return "next;"
        if kind < 0.9 or self.egress:
            return f"next({rng.randrange(self.table + 1, self.n_tables[self.egress])});"
        return f"next(pipeline=egress, table={rng.randrange(self.n_tables[1])});"

    def _statement(self, depth: int) -> list[str]:
        rng = self.rng
        kind = rng.random()
        if kind < 0.33:
            return [self._load()]
        if kind < 0.5:
            return [self._transfer("=")]
        if kind < 0.6:
            return [self._transfer("<->")]
        if kind < 0.7:
            inner = self._body(rng.randrange(3), depth)
            return [f"push({self._readable()});", *inner, f"pop({self._writable()});"]
        if kind < 0.8:
            return self._port_statement()
        if kind < 0.84:
            return ["ip.ttl--;"] if self._theme in ("", "ip4", "ip6", "tcp", "udp") else []
        if kind < 0.88:
            return [f"{self._bit()} = check_pkt_larger({rng.choice([60, 74, 78, 90, 100, 130])});"]
        if kind < 0.9:
            return ["ct_clear;"]
        if kind < 0.96:
            return self._learned()
        if depth < 2:
            return self._nested(depth)
        return []

    def _nested(self, depth: int) -> list[str]:
        rng = self.rng
        inner = self._body(rng.randrange(3), depth + 1)
        last = self.table + 1 >= self.n_tables[self.egress]
        where = ["output;"] if last or rng.random() < 0.5 else [self._next()]
        if rng.random() < 0.7:
            return [f"clone {{ {' '.join((*inner, *where))} }};"]
        return where

    def _port_statement(self) -> list[str]:
        rng = self.rng
        name, other = rng.sample(["inport", "outport"], 2)
        return [
            rng.choice([
                f'outport = "{rng.choice([*PORTS, "unknown", "none", ""])}";', f"{name} = {other};",
                f"{name} <-> {other};", "flags.loopback = 1;", f"push({name}); pop({other});",
            ])
        ]  # fmt: skip

    def _learned(self) -> list[str]:
        rng = self.rng
        port, mac = rng.choice(["inport", "outport"]), rng.choice(["eth.src", "eth.dst"])
        family, ip = rng.choice([
            ("arp", "reg0"), ("arp", "reg1"), ("nd", "xxreg0"), ("nd", "xxreg1"),
        ])  # fmt: skip
        bit = self._bit()
        return [
            rng.choice([
                f"put_{family}({port}, {ip}, {mac});", f"get_{family}({port}, {ip});",
                f"{bit} = lookup_{family}({port}, {ip}, {mac});",
                f"{bit} = lookup_{family}_ip({port}, {ip});", f"put_fdb({port}, {mac});",
                f"outport = get_fdb({mac});", f"{bit} = lookup_fdb({port}, {mac});",
            ])
        ]  # fmt: skip

    def _bit(self) -> str:
        register = self.rng.choice(["reg0", "reg9", "flags", "xxreg1", "reg1"])
        return f"{register}[{self.rng.randrange(32)}]"

    # -- fields --------------------------------------------------------------------------

    def _symbols(self, *, writable: bool) -> list[Symbol]:
        prefixes = _ALWAYS + _THEMES[self._theme] + (() if writable else _READ_ONLY)
        found = [s for s in _NUMBERS if s.name.startswith(prefixes)]
        if writable:
            found = [s for s in found if s.writable is Access.RW]
        if self._theme.startswith("nd") or (self._theme == "icmp6" and not self.with_types):
            found = [s for s in found if not (writable and s.name.startswith("icmp6."))]
        near = [symbol for symbol in found if symbol in self.focus]
        return near if near and self.rng.random() < 0.5 else found

    def _ranged(self, symbol: Symbol, width: int) -> str:
        """Bits of a symbol, ``width`` of them."""
        if width == symbol.width:
            return symbol.name
        low = self.rng.randrange(symbol.width - width + 1)
        return f"{symbol.name}[{low}..{low + width - 1}]" if width > 1 else f"{symbol.name}[{low}]"

    def _writable(self) -> str:
        symbol = self.rng.choice(self._symbols(writable=True))
        return self._ranged(symbol, self._width(symbol))

    def _readable(self) -> str:
        symbol = self.rng.choice(self._symbols(writable=False))
        return self._ranged(symbol, self._width(symbol))

    def _width(self, symbol: Symbol) -> int:
        if symbol.level is Level.NOMINAL or self.rng.random() < 0.6:
            return symbol.width
        return self.rng.randrange(1, symbol.width + 1)

    def _load(self) -> str:
        rng = self.rng
        symbol = rng.choice(self._symbols(writable=True))
        width = self._width(symbol)
        target = self._ranged(symbol, width)
        value = draw_value(rng, symbol.name, symbol.width) & (1 << width) - 1
        if symbol.level is Level.ORDINAL and rng.random() < 0.15:
            return f"{target} = {value:#x}/{rng.getrandbits(width):#x};"
        return f"{target} = {format_value(rng, value, width)};"

    def _transfer(self, operator: str) -> str:
        """A move or an exchange of equally many bits; both may lie in one register."""
        rng = self.rng
        to = rng.choice(self._symbols(writable=True))
        of = rng.choice(self._symbols(writable=operator == "<->"))
        for _attempt in range(20):
            widths = [
                width for width in range(1, min(to.width, of.width) + 1)
                if all(s.level is not Level.NOMINAL or s.width == width for s in (to, of))
            ]  # fmt: skip
            if widths:
                break
            of = rng.choice(self._symbols(writable=operator == "<->"))
        else:
            return "reg0 = reg1;"
        width = rng.choice([widths[-1], rng.choice(widths)])
        return f"{self._ranged(to, width)} {operator} {self._ranged(of, width)};"

# SPDX-License-Identifier: Apache-2.0
"""Layouts of the values that C and Python exchange through BPF maps.

Each :class:`Struct` lists members as ``(name, C type, count, comment)`` in memory order with
explicit padding (names that start with ``pad``), so that the size is the sum of the members.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from iovisor_ovn.abi.layout import Limit

__all__ = ["STRUCTS", "Member", "Struct"]

_CODES = {"__u8": "B", "__u16": "H", "__u32": "I", "__u64": "Q", "__s64": "q"}


@dataclass(frozen=True, slots=True)
class Member:
    """One member: ``count`` values of C type ``ctype`` (1 = a plain member)."""

    name: str
    ctype: str
    count: int
    comment: str

    @property
    def size(self) -> int:
        """Bytes."""
        return struct.calcsize(_CODES[self.ctype]) * self.count


@dataclass(frozen=True, slots=True)
class Struct:
    """A C struct without holes, in native byte order."""

    name: str
    comment: str
    members: tuple[Member, ...]
    _codec: struct.Struct = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the codec and refuse layouts that a C compiler would pad."""
        offset = 0
        for member in self.members:
            width = struct.calcsize(_CODES[member.ctype])
            if offset % width:
                raise ValueError(f"{self.name}.{member.name} is not aligned")
            offset += member.size
        widest = max(struct.calcsize(_CODES[member.ctype]) for member in self.members)
        if offset % widest:
            raise ValueError(f"{self.name} needs padding at its end")
        codes = "".join(f"{member.count}{_CODES[member.ctype]}" for member in self.members)
        object.__setattr__(self, "_codec", struct.Struct("=" + codes))

    @property
    def size(self) -> int:
        """Bytes."""
        return self._codec.size

    def offset_of(self, name: str) -> int:
        """Byte offset of member ``name``."""
        offset = 0
        for member in self.members:
            if member.name == name:
                return offset
            offset += member.size
        raise KeyError(name)

    def pack(self, **values: int | tuple[int, ...]) -> bytes:
        """Bytes of the struct; members left out are 0, arrays may be given short."""
        flat: list[int] = []
        for member in self.members:
            value = values.pop(member.name, 0)
            if isinstance(value, tuple):
                flat.extend(value)
                flat.extend([0] * (member.count - len(value)))
            else:
                flat.append(value)
                flat.extend([0] * (member.count - 1))
        if values:
            raise KeyError(f"{self.name} has no member {', '.join(values)}")
        return self._codec.pack(*flat)

    def pack_flat(self, *values: int) -> bytes:
        """Bytes of the struct from every value of every member, in order: the fast way."""
        return self._codec.pack(*values)

    def packer(self, count: int) -> Callable[..., bytes]:
        """As :meth:`pack_flat`, of ``count`` structs in a row."""
        return struct.Struct("=" + count * self._codec.format.removeprefix("=")).pack

    def iter_unpack(self, data: bytes) -> Iterator[tuple[int, ...]]:
        """Every value of every member, in order, of each of the structs in ``data``."""
        return self._codec.iter_unpack(data)

    def unpack(self, data: bytes | memoryview) -> dict[str, int | tuple[int, ...]]:
        """Members by name: an int each, arrays as tuples. Reads the first ``size`` bytes."""
        flat = self._codec.unpack(bytes(data[: self.size]))
        result: dict[str, int | tuple[int, ...]] = {}
        position = 0
        for member in self.members:
            values = flat[position : position + member.count]
            result[member.name] = values if member.count > 1 else values[0]
            position += member.count
        return result

    def numbers(self, data: bytes | memoryview) -> dict[str, int]:
        """As :meth:`unpack`, without the arrays."""
        return {k: v for k, v in self.unpack(data).items() if isinstance(v, int)}


def _struct(name: str, comment: str, *members: tuple[str, str, int, str]) -> Struct:
    return Struct(name, comment, tuple(Member(*member) for member in members))


#: Every shared struct, in the order in which C must declare them.
STRUCTS: dict[str, Struct] = {
    item.name: item
    for item in (
        _struct(
            "insn",
            "One instruction of an action program.",
            ("op", "__u8", 1, "enum op"),
            ("a", "__u8", 1, "operand"),
            ("b", "__u8", 1, "operand"),
            ("c", "__u8", 1, "operand"),
            ("x", "__u32", 1, "operand"),
            ("y", "__u32", 1, "operand"),
        ),
        _struct(
            "guard",
            "A test that a slot makes before its lookup.",
            ("kind", "__u8", 1, "enum guard_kind"),
            ("word", "__u8", 1, "packet word, or dimension for sets"),
            ("n", "__u16", 1, "guards in a NOT_ALL_EQUAL group, this one included"),
            ("mask", "__u32", 1, "bits of the word that count"),
            ("value", "__u32", 1, "what they are compared with, or a set id"),
        ),
        _struct(
            "slot",
            "One tuple of a stage: which entries it holds and when to look at them.",
            ("uid", "__u32", 1, "first word of its entries' keys; shape 0: the program"),
            ("classes", "__u32", 1, "class bits that a packet must have"),
            ("bloom", "__u64", 1, "bits of the values that the key's first word has"),
            ("max_priority", "__u16", 1, "highest priority among its entries"),
            ("shape", "__u16", 1, "index of its shape; 0 = one entry, guards tell all"),
            ("n_guards", "__u8", 1, "guards in guards[]"),
            ("n_more", "__u8", 1, "guards in the guard map from more on"),
            ("n_dims", "__u8", 1, "set ids behind the masked words of the key"),
            ("pad", "__u8", 1, ""),
            ("dims", "__u8", Limit.SLOT_DIMS, "their dimensions"),
            ("more", "__u32", 1, "first further guard"),
            ("guard_kind", "__u8", 4, "kinds of the guards that the slot itself holds"),
            ("guard_word", "__u8", 4, "their words or dimensions"),
            ("guard_mask", "__u32", Limit.SLOT_GUARDS, "their masks"),
            ("guard_value", "__u32", Limit.SLOT_GUARDS, "their values"),
        ),
        _struct(
            "shape",
            "The masked words of a tuple: many slots share one shape.",
            ("n_words", "__u8", 1, "length of words and masks"),
            ("key_class", "__u8", 1, "which entry map: 0, 1, 2, 3 for keys of 4, 8, 16, 40 words"),
            ("pad", "__u8", 2, ""),
            ("words", "__u8", 40, "indexes of the words"),
            ("masks", "__u32", 40, "and the bits of each that count"),
        ),
        _struct(
            "entry",
            "What a lookup finds.",
            ("program", "__u32", 1, "enum program or index of the first instruction"),
            ("priority", "__u32", 1, "of the logical flow"),
        ),
        _struct(
            "dp",
            "A datapath with a local port.",
            ("bank", "__u32", 1, "0 or 1: which half of its stages is in force"),
            ("key", "__u32", 1, "tunnel key"),
            ("flags", "__u32", 1, "enum dp_flag"),
            ("dnat_zone", "__u32", 1, "conntrack zone, routers"),
            ("snat_zone", "__u32", 1, "conntrack zone, routers"),
            ("pad", "__u32", 1, ""),
        ),
        _struct(
            "port_key",
            "Key of the port map.",
            ("dp", "__u32", 1, "datapath index"),
            ("port", "__u32", 1, "tunnel key of the port or multicast group"),
        ),
        _struct(
            "port",
            "Where a logical port or multicast group leads to here.",
            ("kind", "__u8", 1, "enum port_kind"),
            ("pad", "__u8", 1, ""),
            ("flags", "__u16", 1, "enum port_flag"),
            ("ifindex", "__u32", 1, "VIF, NESTED: device"),
            ("zone", "__u32", 1, "conntrack zone"),
            ("peer_dp", "__u32", 1, "PATCH: datapath index of the peer"),
            ("peer_port", "__u32", 1, "PATCH: key of the peer port"),
            ("list", "__u32", 1, "MULTICAST: index into the list map"),
            ("groups", "__u32", 1, "index into the list map: ids of its port groups"),
            ("tag", "__u32", 1, "NESTED: VLAN id"),
            ("module", "__u32", 1, "VIF, NESTED: 1 + number of the user's module before it, or 0"),
        ),
        _struct(
            "device",
            "What a hooked device stands for.",
            ("dp", "__u32", 1, "datapath index"),
            ("port", "__u32", 1, "logical port key"),
            ("zone", "__u32", 1, "conntrack zone of the port"),
            ("flags", "__u32", 1, "enum port_flag"),
            ("module", "__u32", 1, "1 + number of the user's module behind it, or 0"),
        ),
        _struct(
            "device_key",
            "Key of the device map.",
            ("ifindex", "__u32", 1, "device"),
            ("tag", "__u32", 1, "VLAN id of a nested port, MAX_HOST_TAG, else 0"),
        ),
        _struct(
            "dim",
            "A dimension: which bits of a packet sets are looked up by.",
            ("n_words", "__u8", 1, "words of the value; 0 = not in use"),
            ("space", "__u8", 1, "enum space"),
            ("prefixes", "__u8", 1, "the space has members in the prefix map"),
            ("pad", "__u8", 1, ""),
            ("word", "__u8", 4, "packet words, most significant first"),
            ("shift", "__u8", 4, "each is shifted right"),
            ("mask", "__u32", 4, "and masked"),
        ),
        _struct(
            "member_key",
            "A value of a space; unused leading words are 0.",
            ("space", "__u32", 1, "enum space"),
            ("value", "__u32", 4, "most significant first, host order"),
        ),
        _struct(
            "prefix_key",
            "Key of the prefix map (LPM): all behind the length in network byte order.",
            (
                "prefixlen",
                "__u32",
                1,
                "32 (space) + unused leading bits + significant bits",
            ),
            ("space", "__u32", 1, "enum space"),
            ("value", "__u32", 4, "as in member_key; the significant bits end at prefixlen"),
        ),
        _struct(
            "neigh_key",
            "A neighbour as one router port sees it.",
            ("dp", "__u32", 1, "datapath index"),
            ("port", "__u32", 1, "logical port key"),
            ("ip", "__u32", 4, "IPv4 in ip[3], host order"),
        ),
        _struct(
            "neigh",
            "Its MAC addresses: learned (MAC_Binding) and configured (Static_MAC_Binding).",
            ("mac_hi", "__u32", 1, "learned: bits 47-32; 0 with mac_lo 0 = not learned"),
            ("mac_lo", "__u32", 1, "learned: bits 31-0"),
            ("static_hi", "__u32", 1, "configured: bits 47-32; 0 with static_lo 0 = none"),
            ("static_lo", "__u32", 1, "configured: bits 31-0"),
            ("overrides", "__u32", 1, "1 = the configured address counts before a learned one"),
            ("untold", "__u32", 1, "1 = the event about the learned address was lost"),
            ("used_ns", "__u64", 1, "monotonic time of the last use"),
            ("confirmed_ns", "__u64", 1, "monotonic time of the neighbour's own last word"),
        ),
        _struct(
            "fdb_key",
            "A MAC address on a switch.",
            ("dp", "__u32", 1, "datapath index"),
            ("mac_hi", "__u32", 1, "bits 47-32"),
            ("mac_lo", "__u32", 1, "bits 31-0"),
        ),
        _struct(
            "fdb",
            "The port that it was learned on.",
            ("port", "__u32", 1, "logical port key"),
            ("untold", "__u32", 1, "1 = the event about the port was lost"),
            ("used_ns", "__u64", 1, "monotonic time of the last use"),
        ),
        _struct(
            "fdb_room",
            "How many addresses a switch may learn, and has.",
            ("limit", "__u32", 1, "at most so many; 0 = as many as the map holds"),
            ("added", "__u32", 1, "entries that packets have added"),
            ("removed", "__u32", 1, "entries of these that the agent has taken away"),
            ("refused", "__u32", 1, "packets whose address found no room"),
        ),
        _struct(
            "event",
            "Record of the ring buffer; len bytes of packet follow a HOLD.",
            ("kind", "__u32", 1, "enum event_kind"),
            ("len", "__u32", 1, "bytes of packet behind the words"),
            ("dp", "__u32", 1, "datapath index"),
            ("port", "__u32", 1, "logical port key"),
            ("ip", "__u32", 4, "NEIGHBOUR, HOLD: address, IPv4 in ip[3]"),
            ("mac_hi", "__u32", 1, "NEIGHBOUR, FDB: bits 47-32"),
            ("mac_lo", "__u32", 1, "bits 31-0"),
            ("gso_size", "__u32", 1, "HOLD: segment size of a GSO packet or 0"),
            ("partial", "__u32", 1, "HOLD: 1 = the L4 checksum covers the pseudo header only"),
            ("words", "__u32", Limit.WORDS, "HOLD: state of the packet"),
        ),
        _struct(
            "counter",
            "What an instruction of action programs has counted on one CPU.",
            ("packets", "__u64", 1, "frames; one for all segments of a GSO packet"),
            ("bytes", "__u64", 1, "of these, as they came in"),
        ),
        _struct(
            "injection",
            "How the next packet of an inject run enters.",
            ("kind", "__u32", 1, "enum inject_kind"),
            ("stage", "__u32", 1, "STAGE: its number"),
            ("mac_hi", "__u32", 1, "OUTPUT: eth.dst to set, bits 47-32; 0 with lo: none"),
            ("mac_lo", "__u32", 1, "bits 31-0"),
            ("words", "__u32", 24, "words 0-23: pipeline state"),
        ),
        _struct(
            "module_count",
            "Packets that a user's module was called for, by what became of them.",
            ("passed", "__u64", 1, "IOM_PASS"),
            ("sent", "__u64", 1, "IOM_PORT"),
            ("dropped", "__u64", 1, "IOM_DROP"),
            ("invalid", "__u64", 1, "no verdict"),
            ("missing", "__u64", 1, "no program was loaded"),
        ),
        _struct(
            "conn_key",
            "A connection: lesser endpoint (address, then port) first; ICMP: who asks first.",
            ("zone", "__u16", 1, "conntrack zone"),
            ("proto", "__u8", 1, "IP protocol"),
            ("family", "__u8", 1, "4 or 6; with NAT plus 64, plus 128 if the second end sends"),
            ("port", "__u16", 2, "ports, host order; ICMP: identifier, type of the request"),
            ("addr0", "__u32", 4, "address of the first endpoint, host order, IPv4 in [3]"),
            ("addr1", "__u32", 4, "address of the second"),
        ),
        _struct(
            "conn",
            "State of a connection.",
            ("expires_ns", "__u64", 1, "monotonic time at which it is gone"),
            ("mark", "__u32", 1, "ct_mark"),
            ("label", "__u32", 4, "ct_label, most significant first"),
            ("epoch", "__u32", 1, "flushes of the zone before it began"),
            ("seqlo", "__u32", 2, "TCP: end of what originator, responder sent"),
            ("seqhi", "__u32", 2, "TCP: end of what each may send"),
            ("max_win", "__u16", 2, "TCP: largest window announced by each, unscaled"),
            ("state", "__u8", 2, "TCP: state of originator, responder; others: progress in [0]"),
            ("wscale", "__u8", 2, "TCP: shift; 0x80 it was announced, 0x40 it is unknown"),
            ("flags", "__u8", 1, "enum conn_flag"),
            ("pad", "__u8", 3, ""),
            ("nat_port", "__u16", 2, "NAT: as nat_ip, of originator, responder; ICMP: as in a key"),
            ("packets", "__u64", 2, "from originator, responder"),
            ("nat_ip", "__u32", 4, "NAT: the other address, translated or (alias) original"),
        ),
        _struct(
            "ct_zone",
            "What is known of a conntrack zone.",
            ("epoch", "__u32", 1, "how often it was flushed"),
            ("natted", "__u32", 1, "1 = connections with NAT were opened since the last flush"),
        ),
        _struct(
            "affinity_key",
            "A client of a load balancer.",
            ("dp", "__u32", 1, "tunnel key of the datapath"),
            ("proto", "__u16", 1, "IP protocol, 0 with port 0: any"),
            ("port", "__u16", 1, "of the VIP, host order"),
            ("client", "__u32", 4, "address, IPv4 in [3]"),
            ("vip", "__u32", 4, "address, IPv4 in [3]"),
        ),
        _struct(
            "affinity",
            "The backend that served it last.",
            ("used_ns", "__u64", 1, "monotonic time"),
            ("ip", "__u32", 4, "address, IPv4 in [3]"),
            ("port", "__u32", 1, "0: as the VIP's"),
            ("timeout_s", "__u32", 1, "after so long a silence it counts for nothing"),
        ),
        _struct(
            "frag_key",
            "A datagram in fragments.",
            ("zone", "__u32", 1, "conntrack zone"),
            ("id", "__u32", 1, "identification"),
            ("proto", "__u32", 1, "IPv4: protocol, plus 4 << 8; IPv6: 6 << 8"),
            ("src", "__u32", 4, "IPv4 in [3]"),
            ("dst", "__u32", 4, "IPv4 in [3]"),
        ),
        _struct(
            "frag",
            "What its first fragment said.",
            ("l4", "__u32", 1, "as Word.L4; ICMP: with the identifier in bits 31-24 and 15-8"),
            ("tcp_flags", "__u32", 1, "as Word.TCP_FLAGS"),
            ("proto", "__u32", 1, "IP protocol"),
            ("class_bits", "__u32", 1, "as Word.CLASS"),
            ("end", "__u32", 1, "bytes of the datagram in the first fragment"),
            ("pad", "__u32", 1, ""),
            ("expires_ns", "__u64", 1, "monotonic time"),
        ),
        _struct(
            "dhcp_pool",
            "Settings of a DHCP server.",
            ("is_on", "__u32", 1, "0 = no such server"),
            ("epoch", "__u32", 1, "another one after each change by the agent: no hint holds"),
            ("server_ip", "__u32", 1, "its address and identifier"),
            ("netmask", "__u32", 1, "of its network"),
            ("first", "__u32", 1, "addresses that any client may get, both included"),
            ("last", "__u32", 1, ""),
            ("mac_hi", "__u32", 1, "the server's, bits 47-32"),
            ("mac_lo", "__u32", 1, "bits 31-0"),
            ("lease_s", "__u32", 1, "0xffffffff = for ever"),
            ("offer_s", "__u32", 1, "how long an offered address is kept"),
            ("rest_s", "__u32", 1, "how long a declined address is not given away"),
            ("options_size", "__u32", 1, "bytes in options"),
            ("options", "__u8", Limit.DHCP_OPTIONS, "as replies carry them, most needed first"),
        ),
        _struct(
            "dhcp_host",
            "A MAC address in a pool's network.",
            ("pool", "__u32", 1, "number of the pool"),
            ("mac_hi", "__u32", 1, "bits 47-32"),
            ("mac_lo", "__u32", 1, "bits 31-0"),
        ),
        _struct(
            "dhcp_addr",
            "An address of a pool, or 64 addresses.",
            ("pool", "__u32", 1, "number of the pool"),
            ("ip", "__u32", 1, "host order; 64 of them: divided by 64"),
        ),
        _struct(
            "dhcp_client",
            "Whom an address is leased to.",
            ("pool", "__u32", 1, "number of the pool"),
            (
                "size",
                "__u8",
                1,
                "bytes of its identifier; 0 = id is a MAC address; 255 = id is 51 bytes and a hash",
            ),
            ("id", "__u8", Limit.DHCP_ID, "zeros behind"),
        ),
        _struct(
            "dhcp_lease",
            "What is known of an address.",
            ("expires_ns", "__u64", 1, "boot time from which on it is free"),
            ("pool", "__u32", 1, "the client, as in dhcp_client; all 0: nobody"),
            ("size", "__u8", 1, ""),
            ("id", "__u8", Limit.DHCP_ID, ""),
            ("state", "__u32", 1, "enum dhcp_state"),
            ("mac_hi", "__u32", 1, "of the client, bits 47-32"),
            ("mac_lo", "__u32", 1, "bits 31-0"),
            ("pad", "__u32", 1, ""),
        ),
        _struct(
            "dhcp_group",
            "What is known of 64 addresses.",
            ("until_ns", "__u64", 1, "boot time before which none of them expires; 0 = unknown"),
            ("epoch", "__u32", 1, "of the pool when that was found"),
            ("freed", "__u32", 1, "addresses given back so far"),
        ),
        _struct(
            "dhcp_hunt",
            "Where a pool's search for free addresses stands.",
            ("until_ns", "__u64", 1, "boot time before which no address becomes free; 0 = unknown"),
            ("epoch", "__u32", 1, "of the pool when that was found"),
            ("full_freed", "__u32", 1, "and freed"),
            ("freed", "__u32", 1, "addresses given back so far"),
            ("next", "__u32", 1, "address to look at first"),
        ),
    )
}

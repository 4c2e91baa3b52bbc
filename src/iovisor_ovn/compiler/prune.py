# SPDX-License-Identifier: Apache-2.0
"""What need not be looked at: slots that cannot match or that change nothing.

northd writes every stage for the general case; on one datapath much of it is dead. ::

    table=6  reg0[2] == 1  ->  ct_lb_mark;     no flow of the datapath ever sets reg0[2]
             reg0[0] == 1  ->  ct_next;        nor reg0[0], without ACLs
             1             ->  next;           so the stage passes packets on, and is skipped

Registers are 0 when a packet enters a datapath (OVN clears them at every patch port and between
the pipelines), so a bit that no program of the datapath writes is 0. The same holds for
the conntrack words where no program looks a connection up.
"""

from collections.abc import Iterable, Mapping, Sequence

from iovisor_ovn.abi import STRUCTS, Op, PacketClass, PacketKind, Word

__all__ = [
    "FOREIGN_CLASSES",
    "IMPLIED_CLASSES",
    "TRACKED_WORDS",
    "is_impossible",
    "packet_kind",
    "written_bits",
]

_ALL = 0xFFFFFFFF
_INSN = STRUCTS["insn"]
_LOAD, _MOVE = int(Op.LOAD), int(Op.MOVE)
_REGISTERS = range(Word.REG0, Word.REG9 + 1)
_CT_WORDS = range(Word.CT_STATE, Word.CT_LABEL3 + 1)
_CT_OPS = (Op.CT_NEXT, Op.CT_NAT, Op.CT_LB)

#: Words of which it is known which bits can be set.
TRACKED_WORDS = frozenset((*_REGISTERS, *_CT_WORDS))

_IP = PacketClass.IP
_FAMILY4 = PacketClass.IP4 | PacketClass.ICMP4
_FAMILY6 = PacketClass.IP6 | PacketClass.ICMP6
_ARP = PacketClass.ARP | PacketClass.RARP
_PORTS = PacketClass.TCP | PacketClass.UDP | PacketClass.SCTP

#: By kind of packet, the classes that it never has.
FOREIGN_CLASSES: tuple[int, ...] = tuple(
    int(classes)
    for _kind, classes in sorted(
        {
            PacketKind.OTHER: _IP | _FAMILY4 | _FAMILY6 | _PORTS,
            PacketKind.IP4: _FAMILY6 | _ARP | PacketClass.ICMP4,
            PacketKind.ICMP4: _FAMILY6 | _ARP | _PORTS,
            PacketKind.IP6: _FAMILY4 | _ARP | PacketClass.ICMP6,
            PacketKind.ICMP6: _FAMILY4 | _ARP | _PORTS,
        }.items()
    )
)

#: By kind of packet, the classes that it always has.
IMPLIED_CLASSES: tuple[int, ...] = tuple(
    int(classes)
    for _kind, classes in sorted(
        {
            PacketKind.OTHER: PacketClass(0),
            PacketKind.IP4: _IP | PacketClass.IP4,
            PacketKind.ICMP4: _IP | _FAMILY4,
            PacketKind.IP6: _IP | PacketClass.IP6,
            PacketKind.ICMP6: _IP | _FAMILY6,
        }.items()
    )
)


def packet_kind(class_bits: int) -> PacketKind:
    """Kind of a packet of these classes."""
    if class_bits & PacketClass.IP4:
        return PacketKind.ICMP4 if class_bits & PacketClass.ICMP4 else PacketKind.IP4
    if class_bits & PacketClass.IP6:
        return PacketKind.ICMP6 if class_bits & PacketClass.ICMP6 else PacketKind.IP6
    return PacketKind.OTHER


def written_bits(code: bytes) -> dict[int, int]:
    """Bits of tracked words that a program may set to 1, by word."""
    found: dict[int, int] = {}
    for op, a, b, c, x, y in _INSN.iter_unpack(code):
        if op in (_LOAD, _MOVE):
            if a in _REGISTERS:
                found[a] = found.get(a, 0) | (y if op == _LOAD else x)
        elif op == Op.AFFINITY_GET:
            for word in (a, *range(b, b + 4), c):
                found[word] = _ALL
        elif op in _CT_OPS:
            found.update(dict.fromkeys(_CT_WORDS, _ALL))
    return {word: bits for word, bits in found.items() if bits}


def is_impossible(
    words: Sequence[tuple[int, int]], entries: Iterable[Sequence[int]], possible: Mapping[int, int]
) -> bool:
    """Every entry of a tuple wants a bit that is never set.

    ``words`` are (word, mask) of the tuple, an entry its values in that order; ``possible`` maps
    tracked words to the bits that some program writes.
    """
    tracked = [(i, word) for i, (word, _mask) in enumerate(words) if word in TRACKED_WORDS]
    if not tracked:
        return False
    return all(any(values[i] & ~possible.get(word, 0) for i, word in tracked) for values in entries)

# SPDX-License-Identifier: Apache-2.0
"""What C and Python share: packet words, opcodes, drop reasons, struct layouts.

:mod:`.layout` is the single source; ``tools/gen_abi.py`` writes ``bpf/abi/generated.h`` from it.
A unit test holds the header to the source, a BPF test holds the loaded object's BTF to it.
"""

from iovisor_ovn.abi.layout import (
    ABI_VERSION,
    DROP_TEXT,
    EVENT_DATA_SIZE,
    ConnFlag,
    CtFlag,
    DhcpState,
    DpFlag,
    Drop,
    EventKind,
    GuardKind,
    InjectKind,
    LbField,
    Limit,
    ModuleReach,
    NatBit,
    Op,
    PacketClass,
    PacketKind,
    PortFlag,
    PortKind,
    Program,
    Replay,
    Space,
    Temp,
    Word,
)
from iovisor_ovn.abi.structs import STRUCTS, Struct

__all__ = [
    "ABI_VERSION",
    "DROP_TEXT",
    "EVENT_DATA_SIZE",
    "STRUCTS",
    "ConnFlag",
    "CtFlag",
    "DhcpState",
    "DpFlag",
    "Drop",
    "EventKind",
    "GuardKind",
    "InjectKind",
    "LbField",
    "Limit",
    "ModuleReach",
    "NatBit",
    "Op",
    "PacketClass",
    "PacketKind",
    "PortFlag",
    "PortKind",
    "Program",
    "Replay",
    "Space",
    "Struct",
    "Temp",
    "Word",
]

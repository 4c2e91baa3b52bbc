#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write ``bpf/abi/generated.h`` from ``iovisor_ovn.abi``; ``--check`` only compares."""

import sys
from enum import IntEnum, IntFlag
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from iovisor_ovn.abi import layout  # noqa: E402  (needs the path above)
from iovisor_ovn.abi.structs import STRUCTS, Struct  # noqa: E402  (needs the path above)

HEADER = ROOT / "bpf" / "abi" / "generated.h"

# enum in Python, enum in C, prefix of its constants
ENUMS: tuple[tuple[type[IntEnum | IntFlag], str, str], ...] = (
    (layout.Limit, "limit", "MAX_"),
    (layout.Word, "word", "W_"),
    (layout.Temp, "temp", "T_"),
    (layout.PacketClass, "packet_class", "CLASS_"),
    (layout.PacketKind, "packet_kind", "KIND_"),
    (layout.Op, "op", "OP_"),
    (layout.Program, "program", "PROGRAM_"),
    (layout.CtFlag, "ct_flag", "CT_F_"),
    (layout.LbField, "lb_field", "LB_F_"),
    (layout.NatBit, "nat_bit", "NAT_"),
    (layout.ConnFlag, "conn_flag", "CONN_"),
    (layout.GuardKind, "guard_kind", "GUARD_"),
    (layout.Space, "space", "SPACE_"),
    (layout.InjectKind, "inject_kind", "INJECT_"),
    (layout.PortKind, "port_kind", "PORT_"),
    (layout.PortFlag, "port_flag", "PORT_F_"),
    (layout.DpFlag, "dp_flag", "DP_F_"),
    (layout.EventKind, "event_kind", "EVENT_"),
    (layout.DhcpState, "dhcp_state", "DHCP_"),
    (layout.ModuleReach, "module_reach", "REACH_"),
    (layout.Replay, "replay", "REPLAY_"),
    (layout.Drop, "drop", "DROP_"),
)


def enum_text(members: type[IntEnum | IntFlag], name: str, prefix: str) -> str:
    """C text of one enum."""
    lines = [f"\t{prefix}{key} = {int(value)}," for key, value in members.__members__.items()]
    if members in {layout.Drop, layout.Replay}:
        lines.append(f"\t{prefix}COUNT = {len(members)},")
    return "\n".join([f"enum {name} {{", *lines, "};", ""])


def struct_text(item: Struct) -> str:
    """C text of one struct and the assertion on its size."""
    lines = [f"/* {item.comment} */", f"struct {item.name} {{"]
    for member in item.members:
        count = f"[{member.count}]" if member.count > 1 else ""
        note = f" /* {member.comment} */" if member.comment else ""
        lines.append(f"\t{member.ctype} {member.name}{count};{note}")
    lines += [
        "};",
        f'_Static_assert(sizeof(struct {item.name}) == {item.size}, "{item.name}");',
        "",
    ]
    return "\n".join(lines)


def header_text() -> str:
    """The whole header."""
    parts = [
        "/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */",
        "/* Written by tools/gen_abi.py from src/iovisor_ovn/abi: edit those. */",
        "/* clang-format off */",
        "#pragma once",
        "",
        "#include <linux/types.h>",
        "",
        f"#define ABI_VERSION {layout.ABI_VERSION}",
        f"#define EVENT_DATA_SIZE {layout.EVENT_DATA_SIZE}",
        "",
        *(enum_text(*item) for item in ENUMS),
        *(struct_text(item) for item in STRUCTS.values()),
    ]
    return "\n".join(parts)


def main() -> int:
    """Write or check the header; 1 means that the one in the tree is stale."""
    text = header_text()
    if "--check" in sys.argv[1:]:
        if HEADER.read_text() != text:
            print("bpf/abi/generated.h is stale: run tools/gen_abi.py", file=sys.stderr)
            return 1
        return 0
    HEADER.parent.mkdir(parents=True, exist_ok=True)
    HEADER.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Rig for tests of the IOModules that answer and learn: packet and words in, packet and words out.

``tests/bpf/icmp/entry.bpf.c`` stands for the machine. A test names an opcode, the pipeline's
words and a frame; :meth:`Rig.run` gives back what the function left behind::

    out = rig.answer(Op.GEN_ARP, frame, {Word.REG0: 0x0a000001})
    assert out.frame == bytes(expected)
"""

import ctypes
import os
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iovisor_ovn.abi.layout import Drop, Op, Temp, Word
from iovisor_ovn.abi.structs import STRUCTS
from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.dataplane.maps import Map
from iovisor_ovn.dataplane.program import Object
from iovisor_ovn.dataplane.ringbuf import RingReader

__all__ = ["Outcome", "Rig", "build", "key"]

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "tests/bpf/icmp/entry.bpf.c",
    "bpf/machine/parse.bpf.c",
    "bpf/machine/deparse.bpf.c",
    "bpf/iomodules/dhcp/dhcp.bpf.c",
    "bpf/iomodules/dhcp/leases.bpf.c",
    "bpf/iomodules/dhcp/message.bpf.c",
    "bpf/iomodules/dhcp/reply.bpf.c",
    "bpf/machine/quote.bpf.c",
    "bpf/iomodules/icmp/errors.bpf.c",
    "bpf/iomodules/icmp/generate.bpf.c",
    "bpf/iomodules/icmp/hold.bpf.c",
    "bpf/iomodules/icmp/neighbours.bpf.c",
    "bpf/iomodules/icmp/resets.bpf.c",
    "bpf/iomodules/icmp/sctp.bpf.c",
    "bpf/iomodules/neighbour/neighbour.bpf.c",
    "bpf/iomodules/fdb/fdb.bpf.c",
)
CLANG = (
    "clang-19", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
    "-I", "bpf", "-I", f"/usr/include/{os.uname().machine}-linux-gnu", "-c",
)  # fmt: skip

_ORDER = struct.Struct("=8I128I128I")
_OUTCOME = struct.Struct("=iIIIII128I64I")
_ZERO = bytes(4)
_DATA_MAX = 1 << 16
_TEST_SKB_CHECKSUM_COMPLETE = 1 << 2
# struct __sk_buff up to gso_size, whose place is the only one used here besides mark.
_CTX_SIZE = 192
_GSO_SEGS_AT = 164
_GSO_SIZE_AT = 176


@dataclass(frozen=True, slots=True)
class Outcome:
    """State after one run. ``words``: 128 values; ``tci``: tag in the skb, bit 12 if present."""

    result: int
    queued: int
    runs: int
    tci: int
    protocol: int
    words: tuple[int, ...]
    wire: tuple[int, ...]
    frame: bytes


def key(*words: int) -> bytes:
    """Bytes of a map key made of 32-bit words."""
    return struct.pack(f"={len(words)}I", *words)


def build(directory: Path) -> Path:
    """Compile the modules with the test's entry program; the linked object's path."""
    objects = []
    for source in SOURCES:
        target = directory / (Path(source).name.removesuffix(".bpf.c") + ".o")
        subprocess.run([*CLANG, source, "-o", str(target)], cwd=ROOT, check=True)
        objects.append(str(target))
    linked = directory / "rig.bpf.o"
    subprocess.run(
        ["/usr/sbin/bpftool", "gen", "object", str(linked), *objects],
        check=True, capture_output=True,
    )  # fmt: skip
    return linked


class Rig:
    """The loaded program and its maps."""

    def __init__(self, path: Path) -> None:
        """Load the object that :func:`build` made."""
        self.object = Object.open(path)
        self.object.set_max_entries({"neighbours": 16, "fdb_entries": 16, "events": 1 << 16})
        self.object.load()
        self.program = self.object.programs["entry"]
        self.events = RingReader(self.maps["events"])

    @property
    def maps(self) -> dict[str, Map]:
        """Maps by name."""
        return self.object.maps

    def close(self) -> None:
        """Unload."""
        self.events.close()
        self.program.close()
        for item in self.maps.values():
            item.close()
        self.object.close()

    def order(
        self,
        op: int,
        words: Mapping[int, int],
        *,
        verb: int = 0,
        argument: int = 0,
        repeat: int = 1,
        ifindex: int = 0,
        xor_ports: int = 0,
        mtu: int = 0,
        peer: bool = False,
    ) -> None:
        """Write what the next runs do."""
        given = [int(index in words) for index in range(128)]
        values = [words.get(index, 0) for index in range(128)]
        self.maps["orders"].update(
            _ZERO,
            _ORDER.pack(op, verb, argument, repeat, ifindex, xor_ports, mtu, peer, *given, *values),
        )

    def outcome(self, frame: bytes = b"") -> Outcome:
        """Read what the last run left."""
        raw = self.maps["outcomes"].lookup(_ZERO)
        assert raw is not None
        result, queued, runs, tci, protocol, _pad, *words = _OUTCOME.unpack(raw)
        return Outcome(
            result, queued, runs, tci, protocol, tuple(words[:128]), tuple(words[128:]), frame
        )

    def feed(self, frame: bytes, gso_size: int = 0, *, complete: bool = False) -> Outcome:
        """Run the program once on a frame.

        ``complete``: with a device's sum over the whole packet (CHECKSUM_COMPLETE), and the
        kernel fails the run (DataplaneError) if that sum is not right any more afterwards.
        """
        ctx = bytearray(_CTX_SIZE)
        if gso_size:
            struct.pack_into("=I", ctx, _GSO_SEGS_AT, -(-len(frame) // gso_size))
            struct.pack_into("=I", ctx, _GSO_SIZE_AT, gso_size)
        given = ctypes.create_string_buffer(bytes(ctx), _CTX_SIZE)
        source = ctypes.create_string_buffer(frame, len(frame))
        target = ctypes.create_string_buffer(_DATA_MAX)
        opts = libbpf.TestRunOpts(
            sz=ctypes.sizeof(libbpf.TestRunOpts), repeat=1,
            data_in=ctypes.addressof(source), data_size_in=len(frame),
            data_out=ctypes.addressof(target), data_size_out=_DATA_MAX,
            ctx_in=ctypes.addressof(given) if gso_size else None,
            ctx_size_in=_CTX_SIZE if gso_size else 0,
            flags=_TEST_SKB_CHECKSUM_COMPLETE if complete else 0,
        )  # fmt: skip
        result = libbpf.call("bpf_prog_test_run_opts", self.program.fd, ctypes.byref(opts))
        libbpf.check(result, "run the rig")
        return self.outcome(target.raw[: int(opts.data_size_out)])

    def answer(
        self,
        verb: Op,
        frame: bytes,
        words: Mapping[int, int] | None = None,
        *,
        repeat: int = 1,
        mtu: int = 0,
        gso_size: int = 0,
        complete: bool = False,
    ) -> Outcome:
        """Let the verb make its answer to the frame; all answers are run one after another."""
        self.order(0, words or {}, verb=verb, argument=77, repeat=repeat, mtu=mtu)
        return self.feed(frame, gso_size, complete=complete)

    def call(self, op: Op, words: Mapping[int, int], argument: int = 0) -> Outcome:
        """Call a neighbour or FDB function with these words."""
        self.order(op, words, argument=argument)
        return self.feed(bytes(60))

    def drops(self, reason: Drop) -> int:
        """Packets counted under a drop reason so far."""
        values = self.maps["drops"].lookup_per_cpu(key(reason))
        assert values is not None
        return sum(int.from_bytes(value, "little") for value in values)

    def take_events(self) -> list[tuple[dict[str, int | tuple[int, ...]], bytes]]:
        """Events since the last call, each with the packet bytes behind it."""
        size = STRUCTS["event"].size
        return [
            (STRUCTS["event"].unpack(record), record[size:]) for record in self.events.consume()
        ]


def neighbour_words(
    port: int, address: tuple[int, int, int, int], mac: tuple[int, int] = (0, 0), dp: int = 3
) -> dict[int, int]:
    """Words for a call of the neighbour functions."""
    return {
        Word.DATAPATH: dp, Temp.PORT: port, Temp.IP0: address[0], Temp.IP1: address[1],
        Temp.IP2: address[2], Temp.IP3: address[3], Temp.MAC_HI: mac[0], Temp.MAC_LO: mac[1],
    }  # fmt: skip

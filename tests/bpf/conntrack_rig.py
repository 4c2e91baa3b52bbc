# SPDX-License-Identifier: Apache-2.0
"""Rig for the tests of connection tracking: frames and ct verbs in, ct words out.

``tests/bpf/conntrack/entry.bpf.c`` stands for the machine. A test sends frames through
the verbs that OVN's pipeline would run; :class:`Seen` says what the packet's words held::

    tracker.send(syn, next_in(1), commit_in(1))[0].state == "new|trk"
"""

import ctypes
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from iovisor_ovn.abi.layout import CtFlag, Drop, Op, Word
from iovisor_ovn.abi.structs import STRUCTS
from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.dataplane.maps import Map
from iovisor_ovn.dataplane.program import Object

__all__ = [
    "Outcome",
    "Seen",
    "Tracker",
    "Verb",
    "build",
    "clear",
    "commit_in",
    "commit_nat_in",
    "dnat_in",
    "next_in",
    "snat_in",
    "state_text",
    "unnat_in",
]

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "tests/bpf/conntrack/entry.bpf.c",
    "bpf/machine/parse.bpf.c",
    "bpf/machine/deparse.bpf.c",
    "bpf/iomodules/icmp/sctp.bpf.c",
    "bpf/iomodules/conntrack/conntrack.bpf.c",
    "bpf/iomodules/conntrack/fragment.bpf.c",
    "bpf/iomodules/conntrack/nat.bpf.c",
    "bpf/iomodules/conntrack/related.bpf.c",
    "bpf/iomodules/conntrack/translate.bpf.c",
    "bpf/machine/quote.bpf.c",
)
CLANG = (
    "clang-19", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
    "-Wshadow", "-Wimplicit-fallthrough", "-I", "bpf", "-I/usr/include/x86_64-linux-gnu", "-c",
)  # fmt: skip

_MAX_VERBS = 6
_VERB = struct.Struct("=3I10II4I")
_OUTCOME = struct.Struct("=6ii36I64I64I")
_ZERO = bytes(4)
_DATA_MAX = 1 << 17
# struct __sk_buff up to gso_size, whose place is the only one used here.
_CTX_SIZE = 192
_GSO_SEGS_AT = 164
_GSO_SIZE_AT = 176
_BITS = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")


@dataclass(frozen=True, slots=True)
class Verb:
    """One ct action; mark and label are (value, mask), the label 128 bits.

    ``ip`` and ``ports`` (lowest, highest) are those of NAT.
    """

    op: Op
    zone: int = 0
    mark: tuple[int, int] | None = None
    label: tuple[int, int] | None = None
    flags: CtFlag = CtFlag(0)  # noqa: RUF009  (immutable)
    ip: str = "0.0.0.0"
    ports: tuple[int, int] = (0, 0)

    def pack(self) -> bytes:
        """As ``struct verb`` of the entry program."""
        flags = self.flags | (CtFlag.MARK if self.mark else 0) | (CtFlag.LABEL if self.label else 0)
        mark, label = self.mark or (0, 0), self.label or (0, 0)
        return _VERB.pack(
            self.op, self.zone, flags, *mark, *_words(label[0]), *_words(label[1]),
            self.ports[0] << 16 | self.ports[1], *_words(int(ip_address(self.ip))),
        )  # fmt: skip


def next_in(zone: int) -> Verb:
    """``ct_next`` in a zone."""
    return Verb(Op.CT_NEXT, zone)


def commit_in(
    zone: int, mark: tuple[int, int] | None = None, label: tuple[int, int] | None = None
) -> Verb:
    """``ct_commit`` in a zone, writing (value, mask) pairs."""
    return Verb(Op.CT_COMMIT, zone, mark, label)


def commit_nat_in(zone: int) -> Verb:
    """``ct_commit_nat`` in a zone."""
    return Verb(Op.CT_NAT, zone, flags=CtFlag.COMMIT)


def unnat_in(zone: int) -> Verb:
    """``ct_snat;`` or ``ct_dnat;`` in a zone: translate what has a binding."""
    return Verb(Op.CT_NAT, zone)


def snat_in(zone: int, ip: str, ports: tuple[int, int] = (0, 0)) -> Verb:
    """``ct_snat(ip, ports);`` in a zone."""
    return Verb(Op.CT_NAT, zone, flags=CtFlag.COMMIT | CtFlag.SNAT, ip=ip, ports=ports)


def dnat_in(zone: int, ip: str, ports: tuple[int, int] = (0, 0)) -> Verb:
    """``ct_dnat(ip, ports);`` in a zone."""
    return Verb(Op.CT_NAT, zone, flags=CtFlag.COMMIT | CtFlag.DNAT, ip=ip, ports=ports)


def clear() -> Verb:
    """``ct_clear``."""
    return Verb(Op.CT_CLEAR)


def state_text(bits: int) -> str:
    """Names of ct_state bits as ``new|trk``, in the order of the bits."""
    return "|".join(name for at, name in enumerate(_BITS) if bits & 1 << at)


@dataclass(frozen=True, slots=True)
class Seen:
    """The ct words after one verb."""

    state: str
    mark: int
    label: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a frame: per verb a drop reason and the ct words; then words and bytes."""

    drops: tuple[Drop, ...]
    seen: tuple[Seen, ...]
    words: tuple[int, ...]
    wire: tuple[int, ...]
    frame: bytes

    def __getitem__(self, at: int) -> Seen:
        """Words after verb ``at``; an error if the verb dropped the packet."""
        assert self.drops[at] == Drop.NONE, self.drops[at]
        return self.seen[at]


def build(directory: Path) -> Path:
    """Compile the module with the test's entry program; the linked object's path."""
    objects = []
    for source in SOURCES:
        target = directory / (Path(source).name.removesuffix(".bpf.c") + ".o")
        subprocess.run([*CLANG, source, "-o", str(target)], cwd=ROOT, check=True)
        objects.append(str(target))
    linked = directory / "conntrack_rig.bpf.o"
    subprocess.run(
        ["/usr/sbin/bpftool", "gen", "object", str(linked), *objects],
        check=True, capture_output=True,
    )  # fmt: skip
    return linked


class Tracker:
    """The loaded program and its maps."""

    def __init__(self, path: Path, conns: int = 1024, fresh: int = 1024) -> None:
        """Load the object that :func:`build` made, with maps of the given sizes."""
        self.object = Object.open(path)
        self.object.set_max_entries({"ct_conns": conns, "ct_fresh": fresh, "ct_frags": 1024})
        self.object.load()
        self.program = self.object.programs["entry"]

    @property
    def maps(self) -> dict[str, Map]:
        """Maps by name."""
        return self.object.maps

    def close(self) -> None:
        """Unload."""
        self.program.close()
        for item in self.maps.values():
            item.close()
        self.object.close()

    def order(self, verbs: Iterable[Verb]) -> int:
        """Say what the next frames go through; the number of verbs."""
        packed = [verb.pack() for verb in verbs]
        empty = bytes(_VERB.size) * (_MAX_VERBS - len(packed))
        self.maps["orders"].update(_ZERO, b"".join(packed) + empty)
        return len(packed)

    def send(self, frame: bytes, *verbs: Verb, gso_size: int = 0) -> Outcome:
        """Run the verbs on a frame."""
        count = self.order(verbs)
        data = self._run(bytes(frame), gso_size)
        value = self.maps["outcomes"].lookup(_ZERO)
        assert value is not None
        fields = _OUTCOME.unpack(value)
        assert fields[6] == 0, f"deparse: {fields[6]}"
        return Outcome(
            tuple(Drop(-result) for result in fields[:count]),
            tuple(_seen(fields[7 + 6 * at : 13 + 6 * at]) for at in range(count)),
            fields[43:107],
            fields[107:171],
            data,
        )

    def state_of(self, frame: bytes) -> str:
        """Run what was ordered on a frame; ct_state after the first verb. Threads may share it."""
        return state_text(self.program.test_run(frame).retval)

    def nanoseconds(self, frame: bytes, *verbs: Verb, repeat: int = 100_000) -> int:
        """Time of one run, averaged by the kernel over ``repeat`` of them."""
        self.order(verbs)
        return self.program.test_run(bytes(frame), repeat=repeat).duration_ns

    def forget(self) -> None:
        """Empty the maps."""
        for name in ("ct_conns", "ct_fresh", "ct_frags"):
            self.maps[name].clear()

    def rewind(self, seconds: float) -> None:
        """Let time pass for all entries: their ends come nearer by so much."""
        if not seconds:
            return
        for name in ("ct_conns", "ct_fresh", "ct_frags"):
            at = 24 if name == "ct_frags" else 0
            for key, value in self.maps[name].items():
                (expires_ns,) = struct.unpack_from("=Q", value, at)
                changed = bytearray(value)
                struct.pack_into("=Q", changed, at, max(expires_ns - int(seconds * 1e9), 0))
                self.maps[name].update(key, bytes(changed))

    def entries(self, name: str) -> list[dict[str, int | tuple[int, ...]]]:
        """Raw values of a map of connections, with the members of their keys."""
        return [
            STRUCTS["conn_key"].unpack(key) | STRUCTS["conn"].unpack(value)
            for key, value in self.maps[name].items()
        ]

    def _run(self, frame: bytes, gso_size: int) -> bytes:
        if not gso_size:
            return self.program.test_run(frame).data_out
        context = bytearray(_CTX_SIZE)
        struct.pack_into("=I", context, _GSO_SEGS_AT, 1)
        struct.pack_into("=I", context, _GSO_SIZE_AT, gso_size)
        out = ctypes.create_string_buffer(_DATA_MAX)
        data = ctypes.create_string_buffer(frame, len(frame))
        ctx = ctypes.create_string_buffer(bytes(context), _CTX_SIZE)
        opts = libbpf.TestRunOpts(
            sz=ctypes.sizeof(libbpf.TestRunOpts), repeat=1,
            data_in=ctypes.addressof(data), data_size_in=len(frame),
            data_out=ctypes.addressof(out), data_size_out=_DATA_MAX,
            ctx_in=ctypes.addressof(ctx), ctx_size_in=_CTX_SIZE,
        )  # fmt: skip
        libbpf.check(
            libbpf.call("bpf_prog_test_run_opts", self.program.fd, ctypes.byref(opts)), "run"
        )
        return ctypes.string_at(out, int(opts.data_size_out))


def _seen(words: tuple[int, ...]) -> Seen:
    state, mark, *label = words
    return Seen(state_text(state), mark, sum(word << 96 - 32 * at for at, word in enumerate(label)))


def _words(value: int) -> tuple[int, int, int, int]:
    return (value >> 96, value >> 64 & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF, value & 0xFFFFFFFF)


assert Word.CT_LABEL3 - Word.CT_STATE == 5, "the entry program copies six words"

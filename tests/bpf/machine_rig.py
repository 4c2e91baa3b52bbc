# SPDX-License-Identifier: Apache-2.0
"""Rig for tests of the machine: the loaded object, real wires, and datapaths made of instructions.

::

    dp = rig.datapath()
    dp.bind(1, rig.wires[0])
    dp.bind(2, rig.wires[1])
    dp.flow(0, (load(Word.OUTPORT, 2), Insn(Op.OUTPUT)))
    dp.flow(EGRESS, (Insn(Op.DELIVER),))
    out = rig.run(frame, rig.wires[0])
    assert out.sent_to == rig.wires[1].ifindex

The last frame that a run emits is what ``run`` returns; copies of it really leave through the
wires, whose far ends listen. A datapath index is used once, so tests do not see each other.
"""

import contextlib
import ctypes
import itertools
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from iovisor_ovn.abi import STRUCTS, Drop, InjectKind, Limit, Op, PortKind, Program, Word
from iovisor_ovn.compiler.image import Capacity, Image
from iovisor_ovn.compiler.insn import Insn
from iovisor_ovn.compiler.patterns import Pattern
from iovisor_ovn.compiler.reference import Reference
from iovisor_ovn.compiler.sets import Dimension, Member, space_width
from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.dataplane.machine import OBJECT_PATH, Machine
from iovisor_ovn.demo import until

__all__ = [
    "EGRESS",
    "REDIRECT",
    "SHOT",
    "Datapath",
    "Rig",
    "Run",
    "Wire",
    "build",
    "inside",
    "load",
    "run_ip",
]

EGRESS = int(Limit.EGRESS)
SHOT, REDIRECT = 2, 7  # TC_ACT_*

_ROOT = Path(__file__).parents[2]
_EVERYTHING = Pattern()
_CTX_SIZE = 192
_IFINDEX_AT, _MARK_AT = 40, 8
_GSO_SEGS_AT, _GSO_SIZE_AT = 164, 176
_CHECKSUM_COMPLETE = 1 << 2  # BPF_F_TEST_SKB_CHECKSUM_COMPLETE
_DATA_MAX = 1 << 17
_CLONE_NEWNET = 0x40000000
_PACKET_AUXDATA, _PACKET_VNET_HDR, _SOL_PACKET = 8, 15, 263
_PACKET_OUTGOING = 4
_VNET_HDR_SIZE = 10
_TP_STATUS_VLAN_VALID = 1 << 4
_AUXDATA = struct.Struct("=IIIHHHH")
_SENTINEL = b"\xff" * 6 + b"\x02sentry"[:6] + b"\x88\xb5" + b"end of what was sent".ljust(46, b".")
_MACHINE_WORDS = int(Limit.WORDS + Limit.TEMPS)


@dataclass(frozen=True, slots=True)
class Run:
    """``verdict`` of the program, the frame as it left, all words, drops counted meanwhile."""

    verdict: int
    frame: bytes
    words: tuple[int, ...]
    drops: dict[Drop, int]
    mark: int


class Wire:
    """A veth pair in the rig's namespace; the far end listens."""

    def __init__(self, name: str) -> None:
        """Make the pair ``name`` and ``name``p; the namespace must be entered."""
        self.name = name
        run_ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
        for end in (name, f"{name}p"):
            run_ip("link", "set", end, "mtu", "65000", "up")
        # Before the kernel has noticed the carrier, what is sent is dropped.
        until(lambda: " UP " in run_ip("-br", "link", "show", name), f"{name} is up")
        self.ifindex = socket.if_nametoindex(name)
        self._listener = _packet_socket(f"{name}p")
        self._sender = _packet_socket(name, listen=False)
        self._far = _packet_socket(f"{name}p", listen=False)
        self._far.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        self._tap = _packet_socket(name)

    def put(self, frame: bytes, header: bytes | None = None) -> None:
        """Send a frame from the far end; it has been worked on when this returns.

        ``header`` is a virtio_net_hdr. The caller runs on one CPU: it sees the frame come in on
        the near end only when that CPU is done with it.
        """
        with contextlib.suppress(BlockingIOError):
            while True:
                self._tap.recv(1)
        self._far.send((header or bytes(_VNET_HDR_SIZE)) + frame)
        while True:
            arrived, _, _ = select.select([self._tap], [], [], 5)
            assert arrived, f"nothing comes in through {self.name}"
            if self._tap.recvfrom(1)[1][2] != _PACKET_OUTGOING:
                return

    def received(self) -> list[bytes]:
        """Frames that came out since the last call, VLAN tags put back where they were."""
        self._sender.send(_SENTINEL)
        frames: list[bytes] = []
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            select.select([self._listener], [], [], 1)
            try:
                data, ancillary, _flags, address = self._listener.recvmsg(1 << 17, 256)
            except BlockingIOError:
                continue
            if address[2] == _PACKET_OUTGOING:
                continue
            if data == _SENTINEL:
                return frames
            frames.append(_with_tag(data, ancillary))
        raise AssertionError(f"nothing comes through {self.name}")

    def close(self) -> None:
        """Close the sockets; the namespace takes the devices along."""
        for item in (self._listener, self._sender, self._far, self._tap):
            item.close()


class Datapath:
    """One datapath of a test."""

    def __init__(self, rig: "Rig", index: int) -> None:
        """Use :meth:`Rig.datapath`."""
        self._rig = rig
        self.index = index
        self._flows = itertools.count()

    def flow(
        self, stage: int, program: Program | Sequence[Insn], pattern: Pattern = _EVERYTHING,
        priority: int = 0,
    ) -> object:  # fmt: skip
        """Add a flow to a stage; it is in force after :meth:`Rig.apply` (or the next run)."""
        name = (self.index, next(self._flows))
        where = (self.index, stage)
        text = program if isinstance(program, Program) else tuple(program)
        self._rig.image.add_flow(name, where, priority, [pattern], text)
        return name

    def bind(self, key: int, wire: Wire, **device: int) -> None:
        """A port whose device is ``wire``; what comes in there enters the datapath as ``key``."""
        self.port(key, kind=PortKind.VIF, ifindex=wire.ifindex)
        maps = self._rig.machine.maps
        tag = device.pop("tag", 0)
        maps["devices"].update(
            STRUCTS["device_key"].pack(ifindex=wire.ifindex, tag=tag),
            STRUCTS["device"].pack(dp=self.index, port=key, **device),
        )

    def port(self, key: int, **values: int) -> None:
        """What a port key leads to."""
        self._rig.machine.maps["ports"].update(
            STRUCTS["port_key"].pack(dp=self.index, port=key), STRUCTS["port"].pack(**values)
        )
        self._rig.machine.renew()

    def groups(self, key: int, ids: Iterable[int]) -> None:
        """Set ids of the groups that a port is in."""
        numbers = tuple(ids)
        self.port(key, kind=PortKind.NONE, groups=self._rig.write_list(numbers))
        self._rig.reference.groups[self.index, key] = numbers


class Rig:
    """The machine in a network namespace of its own."""

    def __init__(
        self, path: Path, pin_dir: Path, namespace: str, n_wires: int = 4, *, fast_path: bool = True
    ) -> None:
        """Load the object and make wires."""
        self.namespace = namespace
        self.mode = "replay" if fast_path else "walk"
        self.machine = Machine.load(pin_dir, path=path, fast_path=fast_path, sharing=True)
        sizes = self.machine.sizes
        self.image = Image(
            Capacity(sizes.slots, sizes.insns, sizes.shapes, sizes.guards, sizes.lists)
        )
        self.reference = Reference()
        self._indexes = itertools.count(1)
        self.last: Datapath  # the latest one made
        with inside(namespace):
            # Neighbour discovery of the wires themselves would come between.
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            run_ip("link", "set", "lo", "up")
            self.wires = [Wire(f"wire{number}") for number in range(n_wires)]

    def close(self) -> None:
        """Unload."""
        for wire in self.wires:
            wire.close()
        self.machine.close()

    def datapath(self, **zones: int) -> Datapath:
        """A datapath with no flows and no ports."""
        index = next(self._indexes)
        values = {"key": index, "flags": 0, "dnat_zone": 0, "snat_zone": 0} | zones
        self.machine.put_datapath(index, **values)
        self.last = Datapath(self, index)
        return self.last

    # -- contents ------------------------------------------------------------------------

    def apply(self) -> None:
        """Bring maps and reference to what the image says."""
        delta = self.image.drain()
        self.reference.apply(delta)
        for name in ("insns", "guards", "shapes", "lists", "slots"):
            for index, data in getattr(delta, name):
                self.machine.write_array(name, index, data)
        for key_class, entries in enumerate(delta.entries):
            self.machine.put_entries(key_class, entries)
        self.machine.switch_rows(delta.rows)
        if delta:
            self.machine.renew()
        for key_class, keys in enumerate(delta.gone):
            self.machine.delete_entries(key_class, keys)
        self.image.settle()

    def write_list(self, numbers: tuple[int, ...]) -> int:
        """Index of a list in the machine."""
        index = self.image.take_list(numbers)
        for at, data in self.image.drain_lists().lists:
            self.machine.write_array("lists", at, data)
        return index

    def change_members(self, changes: Mapping[Member, tuple[int, ...]]) -> None:
        """Write what a set table drained, as the main logic does."""
        self.reference.change_members(changes)
        for member, ids in changes.items():
            name, key = _member_key(member)
            if ids:
                value = self.write_list(ids).to_bytes(4, "little")
                self.machine.maps[name].update(key, value)
            else:
                self.machine.maps[name].delete(key, missing_ok=True)
        self.machine.renew()

    def define(self, dimension: Dimension, *, prefixes: bool) -> None:
        """Define a dimension in machine and reference."""
        self.reference.define(dimension, prefixes=prefixes)
        self.machine.put_dimension(
            dimension.index, dimension.space, prefixes=prefixes,
            pieces=tuple((p.word, p.at, (1 << p.width) - 1) for p in dimension.pieces),
        )  # fmt: skip
        self.machine.renew()

    # -- packets -------------------------------------------------------------------------

    def run(
        self, frame: bytes, wire: Wire, *, mark: int = 0, gso_size: int = 0, complete: bool = False,
        program: str = "ingress",
    ) -> Run:  # fmt: skip
        """Let a frame come in from a wire; or, to ``egress``, leave by it.

        ``complete``: with a device's sum over the whole packet (CHECKSUM_COMPLETE); the kernel
        fails the run (DataplaneError) if that sum is not the frame's any more afterwards.
        """
        context = bytearray(_CTX_SIZE)
        struct.pack_into("=I", context, _MARK_AT, mark)
        struct.pack_into("=I", context, _IFINDEX_AT, wire.ifindex)
        if gso_size:
            struct.pack_into("=I", context, _GSO_SEGS_AT, -(-len(frame) // gso_size))
            struct.pack_into("=I", context, _GSO_SIZE_AT, gso_size)
        self.apply()
        before = self.machine.drops()
        flags = _CHECKSUM_COMPLETE if complete else 0
        verdict, out, mark = self._test_run(program, frame, bytes(context), flags)
        return Run(verdict, out, self.words(), self._drops_since(before), mark)

    def inject(
        self, frame: bytes, words: Mapping[int, int], kind: InjectKind = InjectKind.STAGE,
        stage: int = 0, mac: int = 0,
    ) -> dict[Drop, int]:  # fmt: skip
        """Put a frame in as the agent does; the drops counted meanwhile."""
        self.apply()
        before = self.machine.drops()
        values = tuple(words.get(number, 0) for number in range(24))
        self.machine.inject(frame, values, kind=kind, stage=stage, mac=mac)
        return self._drops_since(before)

    def words(self) -> tuple[int, ...]:
        """Words and temporaries that the last run on this CPU left."""
        values = self.machine.maps["machines"].lookup_per_cpu(bytes(4))
        assert values is not None
        (cpu,) = os.sched_getaffinity(0)
        return struct.unpack_from(f"={_MACHINE_WORDS}I", values[cpu])

    def unsupported(self) -> dict[int, int]:
        """Packets by verb that is not executed."""
        return self.machine.unsupported()

    def _drops_since(self, before: Mapping[Drop, int]) -> dict[Drop, int]:
        after = self.machine.drops()
        return {
            reason: count - before.get(reason, 0)
            for reason, count in after.items()
            if count != before.get(reason, 0)
        }

    def _test_run(
        self, program: str, frame: bytes, context: bytes, flags: int
    ) -> tuple[int, bytes, int]:
        source = ctypes.create_string_buffer(frame, len(frame))
        given = ctypes.create_string_buffer(context, len(context))
        target = ctypes.create_string_buffer(_DATA_MAX)
        after = ctypes.create_string_buffer(len(context))
        opts = libbpf.TestRunOpts(
            sz=ctypes.sizeof(libbpf.TestRunOpts), repeat=1, flags=flags,
            data_in=ctypes.addressof(source), data_size_in=len(frame),
            data_out=ctypes.addressof(target), data_size_out=_DATA_MAX,
            ctx_in=ctypes.addressof(given), ctx_size_in=len(context),
            ctx_out=ctypes.addressof(after), ctx_size_out=len(context),
        )  # fmt: skip
        fd = self.machine._programs[program].fd
        result = libbpf.call("bpf_prog_test_run_opts", fd, ctypes.byref(opts))
        libbpf.check(result, f"run {program}")
        (mark,) = struct.unpack_from("=I", after, _MARK_AT)
        return int(opts.retval), target.raw[: int(opts.data_size_out)], mark


def build() -> Path:
    """Bring the object up to date; its path."""
    done = subprocess.run(
        ["make", "-s", "bpf"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return OBJECT_PATH


def load(word: int, value: int, mask: int = 0xFFFFFFFF) -> Insn:
    """Instruction that sets bits of a word."""
    return Insn(Op.LOAD, word, x=mask, y=value)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Be in a network namespace for the length of the block."""
    with (
        Path("/proc/thread-self/ns/net").open() as before,
        Path("/run/netns", namespace).open() as there,
    ):
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(before.fileno())


def _enter(fd: int) -> None:
    # os.setns came with Python 3.12.
    result = ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET)
    assert result == 0, os.strerror(ctypes.get_errno())


def run_ip(*arguments: str) -> str:
    """Call the tool of iproute2; what it says."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def _packet_socket(device: str, *, listen: bool = True) -> socket.socket:
    protocol = socket.htons(3) if listen else 0  # ETH_P_ALL
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, protocol)
    made.bind((device, 3 if listen else 0))
    if listen:
        made.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        made.setblocking(False)
    return made


def _with_tag(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """The frame with the tag that the kernel keeps beside it."""
    for level, kind, content in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, _len, _snap, _mac, _net, tci, tpid = _AUXDATA.unpack_from(content)
            if status & _TP_STATUS_VLAN_VALID:
                return data[:12] + struct.pack("!HH", tpid or 0x8100, tci) + data[12:]
    return data


def _member_key(member: Member) -> tuple[str, bytes]:
    words = tuple(member.value >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0))
    if member.is_host:
        return "members", STRUCTS["member_key"].pack(space=member.space, value=words)
    length = 32 + 128 - space_width(member.space) + member.length
    return "prefixes", STRUCTS["prefix_key"].pack(
        prefixlen=length, space=_network_order(member.space),
        value=tuple(_network_order(word) for word in words),
    )  # fmt: skip


def _network_order(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, "big"), "little")


assert Word.DATAPATH < 24, "an injection carries the words up to there"

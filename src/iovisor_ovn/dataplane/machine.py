# SPDX-License-Identifier: Apache-2.0
"""The loaded machine with its maps under typed names; knows layouts, not OVN.

Connections are pinned and
adopted by the next agent. All other maps belong to one load: a restarted agent builds its
pipeline beside the running one and then exchanges the program on each device, so that every
packet meets one whole pipeline.
"""

import array
import os
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from iovisor_ovn.abi import ABI_VERSION, STRUCTS, Drop, InjectKind, Limit, Replay
from iovisor_ovn.dataplane.attach import (
    Direction,
    attach_egress,
    attach_ingress,
    attached,
    detach,
    restored_on_failure,
)
from iovisor_ovn.dataplane.maps import Map
from iovisor_ovn.dataplane.program import Object, Program, remove_other_versions
from iovisor_ovn.errors import DataplaneError

__all__ = ["LASTING_MAPS", "OBJECT_PATH", "ArraySizes", "Machine"]

#: Built by ``make build``.
OBJECT_PATH = Path(__file__).parent / "programs" / "machine.bpf.o"

#: Maps whose contents outlive the agent.
LASTING_MAPS = frozenset(
    {"ct_conns", "ct_fresh", "ct_zones", "ct_frags", "lb_affinity", "dhcp_leases", "dhcp_clients"}
)

#: Maps of programs that packets enter by tail calls.
_PROGRAM_TABLES = ("entries", "modules")

_BANKS = 2
_ROW_LENGTH_MAX = 0xFFFF
#: Stages that packets come to only by name: walking on from another stage skips them.
_PRIVATE_STAGES = (Limit.PORTSEC_IN, Limit.PORTSEC_IN_ND, Limit.PORTSEC_OUT)
_ENTRY_MAPS = ("entries4", "entries8", "entries16", "entries40")
_ARRAYS = ("insns", "guards", "shapes", "lists", "slots")
_DP = STRUCTS["dp"]
_COUNTER = STRUCTS["counter"]
_SKB_SIZE = 192
_SKB_IFINDEX_AT = 40  # offset of ifindex in struct __sk_buff


@dataclass(frozen=True, slots=True)
class ArraySizes:
    """Elements of the arrays that the compiler fills."""

    slots: int
    insns: int
    shapes: int
    guards: int
    lists: int
    datapaths: int


class _Array:
    """A memory-mapped array: element ``i`` starts at ``i * stride``."""

    def __init__(self, bpf_map: Map) -> None:
        self.memory = bpf_map.memory()
        self.stride = bpf_map.element_stride
        self.length = bpf_map.max_entries
        self.value_size = bpf_map.value_size

    def write(self, index: int, data: bytes) -> None:
        """Write consecutive elements."""
        if self.value_size == self.stride:
            at = index * self.stride
            self.memory[at : at + len(data)] = data
            return
        for offset in range(0, len(data), self.value_size):
            at = (index + offset // self.value_size) * self.stride
            self.memory[at : at + self.value_size] = data[offset : offset + self.value_size]


class Machine:
    """One load of the machine. Close it when done; what is attached goes on."""

    def __init__(self, maps: Mapping[str, Map], programs: Mapping[str, Program],
                 pin_dir: str | os.PathLike[str], adopted: frozenset[str]) -> None:  # fmt: skip
        """Use :meth:`load`."""
        self.maps = dict(maps)
        self.adopted = adopted
        self._programs = dict(programs)
        self._pin_dir = pin_dir
        self._arrays = {name: _Array(self.maps[name]) for name in _ARRAYS}
        self._stages = self.maps["stages"].memory().cast("Q")
        self._dps = _Array(self.maps["dps"])
        self._dp_words = self._dps.memory.cast("I")
        self._dims = _Array(self.maps["dims"])
        self._generation = self.maps["generation"].memory().cast("I")
        self._module_device = 0
        self._has_attached = False
        self._rows: dict[int, dict[int, Sequence[tuple[int, int, bool]]]] = {}

    @classmethod
    def load(
        cls, pin_dir: str | os.PathLike[str], max_entries: Mapping[str, int] | None = None,
        path: Path = OBJECT_PATH, *, fast_path: bool = True, sharing: bool = False,
        ask_every_s: int = 0,
    ) -> Self:  # fmt: skip
        """Load the object; adopt lasting maps pinned under ``pin_dir``, make the others.

        Without ``fast_path`` every packet walks over all stages. ``sharing``: devices may be
        attached as shared. ``ask_every_s``: packets for an unknown neighbour ask for it so seldom.

        Raises ProgramLoadError, DataplaneError (object missing: ``make build``).
        """
        if not path.exists():
            raise DataplaneError(f"{path} is missing: run `make build`")
        with Object.open(path) as machine:
            machine.set_max_entries(max_entries or {})
            machine.set_rodata(
                {"fast_path": int(fast_path), "ask_every_ns": ask_every_s * 1_000_000_000}
            )
            if sharing:
                machine.want("egress")
            adoption = machine.adopt_or_create(pin_dir, ABI_VERSION, LASTING_MAPS)
            _pin_tables(machine.maps, Path(pin_dir))
            return cls(machine.maps, machine.programs, pin_dir, adoption.adopted)

    def close(self) -> None:
        """Let go of maps and programs."""
        for item in (*self._arrays.values(), self._dps, self._dims):
            item.memory.release()
        self._generation.release()
        for bpf_map in self.maps.values():
            bpf_map.close()
        for program in self._programs.values():
            program.close()

    @property
    def pin_dir(self) -> Path:
        """Where its links and lasting maps are pinned."""
        return Path(self._pin_dir)

    @property
    def sizes(self) -> ArraySizes:
        """What fits."""
        lengths = {name: array.length for name, array in self._arrays.items()}
        return ArraySizes(datapaths=self._dps.length, **lengths)

    # -- pipeline ------------------------------------------------------------------------

    def write_array(self, name: str, index: int, data: bytes) -> None:
        """Write elements of insns, guards, shapes, lists or slots from ``index`` on."""
        self._arrays[name].write(index, data)

    def put_entries(self, key_class: int, entries: Mapping[bytes, bytes]) -> None:
        """Add or replace entries of one key length."""
        if entries:
            table = self.maps[_ENTRY_MAPS[key_class]]
            table.update_many(b"".join(entries), b"".join(entries.values()))

    def delete_entries(self, key_class: int, keys: Iterable[bytes]) -> None:
        """Delete entries of one key length; all must be there."""
        joined = b"".join(keys)
        if joined:
            self.maps[_ENTRY_MAPS[key_class]].delete_many(joined)

    def renew(self) -> None:
        """Let no packet be treated as one before: what walks over the stages read has changed.

        To be called after each change of the pipeline's maps, and before anything is deleted that
        only earlier packets could lead to.
        """
        self._generation[0] = self._generation[0] + 1 & 0xFFFFFFFF

    def put_datapath(self, index: int, *, key: int, flags: int, dnat_zone: int,
                     snat_zone: int) -> None:  # fmt: skip
        """Set what a datapath is; its stages stay."""
        at = index * self._dps.stride // 4
        for member, value in (("key", key), ("flags", flags), ("dnat_zone", dnat_zone),
                              ("snat_zone", snat_zone)):  # fmt: skip
            self._dp_words[at + _DP.offset_of(member) // 4] = value

    def switch_rows(
        self, rows: Mapping[tuple[int, int], Sequence[tuple[int, int, bool]]],
        paused: Collection[int] = (),
    ) -> None:  # fmt: skip
        """Put stage rows into force: all of a datapath at once; ``paused`` ones go on, too.

        ``rows`` maps (datapath index, stage) to a row for each ``PacketKind``: (first slot, slots,
        does more than pass packets on). Raises ValueError for a row that is too long.
        """
        for (index, stage), kinds in rows.items():
            if any(length > _ROW_LENGTH_MAX for _first, length, _works in kinds):
                raise ValueError(f"stage {stage} has more than {_ROW_LENGTH_MAX} tuples")
            self._rows.setdefault(index, {})[stage] = kinds
        for index in {index for index, _stage in rows} | set(paused):
            self._switch_bank(index, self._rows.get(index, {}))

    def pause(self, index: int) -> None:
        """Drop a datapath's packets (``no_flow``) until :meth:`switch_rows` names it."""
        self._switch_bank(index, {})

    def _switch_bank(self, index: int, rows: Mapping[int, Sequence[tuple[int, int, bool]]]) -> None:
        bank_at = index * self._dps.stride // 4 + _DP.offset_of("bank") // 4
        bank = 1 - self._dp_words[bank_at]
        base = (index * _BANKS + bank) * Limit.KINDS * Limit.STAGES
        values = array.array("Q")
        for kind in range(Limit.KINDS):
            values.extend(_rows_of_kind(rows, kind))
        self._stages[base : base + len(values)] = memoryview(values)
        self._dp_words[bank_at] = bank

    def put_dimension(self, index: int, space: int, *, prefixes: bool,
                      pieces: tuple[tuple[int, int, int], ...]) -> None:  # fmt: skip
        """Define a dimension: pieces are (word, shift, mask), most significant first."""
        data = STRUCTS["dim"].pack(
            n_words=len(pieces), space=space, prefixes=int(prefixes),
            word=tuple(word for word, _shift, _mask in pieces),
            shift=tuple(shift for _word, shift, _mask in pieces),
            mask=tuple(mask for _word, _shift, mask in pieces),
        )  # fmt: skip
        self._dims.write(index, data)

    # -- devices -------------------------------------------------------------------------

    def attach(self, ifindex: int, *, shared: bool = False) -> None:
        """Let this load's program work on what the device receives.

        ``shared``: and on what the host sends by it; no more, if it did.
        """
        if not self._has_attached:
            self._has_attached = True
            self._attach_again()
        attach_ingress(self._programs["ingress"], ifindex, self._pin_dir)
        if shared:
            attach_egress(self._programs["egress"], ifindex, self._pin_dir)
        else:
            detach(ifindex, self._pin_dir, [Direction.EGRESS])

    def use_module_device(self, ensure: Callable[[], int]) -> None:
        """Let copies for users' modules come back through a device, made the first time.

        Its program is exchanged when those of the other devices are: until then it works for
        the load before.
        """
        if self._module_device:
            return
        self._module_device = ensure()
        self.maps["module_device"].update(
            struct.pack("=I", 0), struct.pack("=I", self._module_device)
        )
        if self._has_attached or not attached(self._again_pins):
            self._attach_again()

    def _attach_again(self) -> None:
        if self._module_device:
            attach_ingress(self._programs["again"], self._module_device, self._again_pins)

    @property
    def _again_pins(self) -> Path:
        return self.pin_dir / "again"

    def detach(self, ifindex: int) -> None:
        """Take the programs off a device; one that is gone is fine."""
        detach(ifindex, self._pin_dir)

    def attached(self) -> frozenset[int]:
        """Devices that run a program of ours, of this load or an earlier one."""
        found = frozenset(item.ifindex for item in attached(self._pin_dir))
        return found - {self._module_device}

    @contextmanager
    def takeover(self) -> Iterator[None]:
        """Attach within; if that raises, all devices run again what they ran before.

        Else all run this load, see `settle`.
        """
        try:
            with restored_on_failure(self._pin_dir, self._again_pins):
                yield
        except BaseException:
            for name in _PROGRAM_TABLES:
                _fresh_pin(self.pin_dir, name).unlink(missing_ok=True)
            raise
        self.settle()

    def settle(self) -> None:
        """All devices run this load: forget what earlier ones pinned."""
        remove_other_versions(self._pin_dir, ABI_VERSION)
        for name in _PROGRAM_TABLES:
            if (fresh := _fresh_pin(self.pin_dir, name)).exists():
                fresh.replace(self.pin_dir / name)

    # -- packets and counters ------------------------------------------------------------

    def inject(
        self, frame: bytes, words: tuple[int, ...], *, kind: InjectKind = InjectKind.OUTPUT,
        stage: int = 0, mac: int = 0,
    ) -> None:  # fmt: skip
        """Put a frame into the pipeline with pipeline state ``words`` (24 words).

        ``mac`` (48 bits, 0 = none) becomes eth.dst. Raises DataplaneError if the kernel
        refuses the frame (longer than about a page on kernels before 6.12).
        """
        data = STRUCTS["injection"].pack(
            kind=kind, stage=stage, mac_hi=mac >> 32, mac_lo=mac & 0xFFFFFFFF, words=words
        )
        self.maps["injections"].update(struct.pack("=I", 0), data)
        self._programs["inject"].test_run(frame)

    def test(self, frame: bytes, ifindex: int, repeat: int = 1) -> tuple[int, bytes, int]:
        """Run the ingress program on a frame as if it came from ``ifindex`` (tests, benchmarks).

        Returns (verdict, frame after, nanoseconds per run).
        """
        context = bytearray(_SKB_SIZE)
        struct.pack_into("=I", context, _SKB_IFINDEX_AT, ifindex)
        result = self._programs["ingress"].test_run(frame, bytes(context), repeat)
        return result.retval, result.data_out, result.duration_ns

    def drops(self) -> dict[Drop, int]:
        """Packets by drop reason since this load, without zeros."""
        counts = {reason: _total(self.maps["drops"], reason) for reason in Drop}
        return {reason: total for reason, total in counts.items() if total}

    def replays(self) -> dict[Replay, int]:
        """What the fast path found where a segment may begin, since this load."""
        table = self.maps["replays"]
        return {kind: _total(table, kind) for kind in Replay}

    def counter(self, number: int) -> tuple[int, int]:
        """Packets and bytes of a counter, on all CPUs."""
        values = self.maps["counters"].lookup_per_cpu(struct.pack("=I", number)) or []
        counts = [_COUNTER.numbers(value) for value in values]
        return sum(c["packets"] for c in counts), sum(c["bytes"] for c in counts)

    def clear_counter(self, number: int) -> None:
        """Let a counter start at zero."""
        table = self.maps["counters"]
        table.update(struct.pack("=I", number), bytes(table.slot_size))

    def unsupported(self) -> dict[int, int]:
        """Packets by number of the verb that is not executed, without zeros."""
        counts = {}
        for key, joined in self.maps["unsupported"].items():
            values = self.maps["unsupported"].split_per_cpu(joined)
            total = sum(int.from_bytes(value[:8], "little") for value in values)
            if total:
                counts[int.from_bytes(key, "little")] = total
        return counts


def _pin_tables(maps: Mapping[str, Map], pin_dir: Path) -> None:
    """Pin a load's tables of programs, which the kernel empties when nobody has them open."""
    for name in _PROGRAM_TABLES:
        pin = _fresh_pin(pin_dir, name)
        pin.unlink(missing_ok=True)
        maps[name].pin(pin)


def _fresh_pin(pin_dir: Path, name: str) -> Path:
    """Where a table is pinned until its load is in force: that of the one before is in use."""
    return pin_dir / f"{name}-fresh"


def _total(table: Map, index: int) -> int:
    """Sum of a per-CPU counter."""
    values = table.lookup_per_cpu(struct.pack("=I", index)) or []
    return sum(int.from_bytes(value[:8], "little") for value in values)


def _rows_of_kind(rows: Mapping[int, Sequence[tuple[int, int, bool]]], kind: int) -> list[int]:
    """What the machine finds at each stage: the row of the next stage that does something.

    A stage without flows drops, so that counts as doing something.
    """
    values = [0] * Limit.STAGES
    nothing = ((0, 0, True),) * Limit.KINDS
    for end in (Limit.STAGES, Limit.EGRESS):
        ahead = (end - 1) << 48
        for stage in range(end - 1, end - 1 - Limit.EGRESS, -1):
            first, length, works = rows.get(stage, nothing)[kind]
            here = first | length << 32 | stage << 48
            if stage in _PRIVATE_STAGES:
                values[stage] = here
                continue
            ahead = here if works else ahead
            values[stage] = ahead
    return values

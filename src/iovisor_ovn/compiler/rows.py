# SPDX-License-Identifier: Apache-2.0
"""Rows: the slots of a stage that a kind of packet looks at, in order of falling priority.

Left out is what cannot make a difference: what no packet of the kind can match, what stands
below a match on everything, and what does the same as the default right above it. What
matches everything is not only ``1``: ``ip`` does for IPv4 packets, and ``reg8[0..15] == 0`` where
nothing sets these bits. Likewise ``reg7 = 0; next;`` is but ``next;`` where nothing sets reg7.
"""

from collections.abc import Callable, Mapping, Sequence

from iovisor_ovn.abi import Op, PacketKind, Program
from iovisor_ovn.compiler.insn import Insn, decode, encode
from iovisor_ovn.compiler.prune import FOREIGN_CLASSES, IMPLIED_CLASSES, TRACKED_WORDS
from iovisor_ovn.compiler.tuples import EntryTuple, best_of

__all__ = ["RowBuilder"]


class RowBuilder:
    """Builds the rows of one stage.

    ``possible`` maps tracked words to the bits that some program of the datapath writes, ``code``
    gives the program of an index.
    """

    def __init__(
        self,
        stage: int,
        possible: Mapping[int, int],
        code: Callable[[int], Program | bytes],
    ) -> None:
        """Build for ``stage``."""
        self._next = encode([Insn(Op.NEXT, stage + 1)])
        self._possible = possible
        self._code = code
        self._effects: dict[int, int] = {}

    def row(self, ordered: Sequence[EntryTuple], kind: PacketKind) -> tuple[bytes, bool]:
        """Slots of the row as bytes, and whether it does more than pass packets on."""
        kept: list[EntryTuple] = []
        default: int | None = None
        for item in ordered:
            if item.identity[0] & FOREIGN_CLASSES[kind]:
                continue
            kept.append(item)
            default = self._default(item, kind)
            if default is not None:
                self._drop_like_default(kept, default)
                break  # nothing below is ever looked at
        works = not (len(kept) == 1 and default == Program.NEXT)
        return b"".join(item.slot for item in kept), works

    def _default(self, item: EntryTuple, kind: PacketKind) -> int | None:
        """What a tuple does that matches every packet of the kind; ``None`` if it does not."""
        class_bits, words, guards, dims = item.identity
        if class_bits & ~IMPLIED_CLASSES[kind] or guards or dims:
            return None
        if any(w not in TRACKED_WORDS or mask & self._possible.get(w, 0) for w, mask in words):
            return None
        candidates = item.entries.get((0,) * len(words))
        if candidates is None:
            return None
        priority, _flow, program = best_of(candidates)
        # The tuple stands where its highest entry belongs: that must be the one that matches.
        return self._effect(program) if priority == item.max_priority else None

    def _effect(self, index: int) -> int:
        """The program index, or ``NEXT`` for a program that only writes zeros where zeros are."""
        known = self._effects.get(index)
        if known is None:
            code = self._code(index)
            known = self._effects[index] = index
            if (
                not isinstance(code, Program)
                and code.endswith(self._next)
                and all(self._is_idle(insn) for insn in decode(code)[:-1])
            ):
                known = self._effects[index] = int(Program.NEXT)
        return known

    def _is_idle(self, insn: Insn) -> bool:
        return (
            insn.op == Op.LOAD
            and insn.y == 0
            and insn.a in TRACKED_WORDS
            and not insn.x & self._possible.get(insn.a, 0)
        )

    def _drop_like_default(self, ordered: list[EntryTuple], default: int) -> None:
        """Take out what stands right before the default and does the same.

        Not if an entry of lower priority, in a tuple that stands before it for another entry's
        sake, could then take its packets.
        """
        lowest = [1 << 16]
        for item in ordered:
            lowest.append(min(lowest[-1], *item.priorities))
        while (
            len(ordered) > 1
            and {self._effect(index) for index in ordered[-2].programs} == {default}
            and ordered[-2].max_priority <= lowest[len(ordered) - 2]
        ):
            del ordered[-2]

# SPDX-License-Identifier: Apache-2.0
"""Inputs to start from, made by code. ``python -m fuzz.corpus KIND DIRECTORY`` writes them.

``packets``: eight bytes of circumstances (``struct setting`` of ``parse_host.c``) and a frame.
``texts``: matches and action lists, right ones and ones with mistakes, and the golden cases.
"""

import random
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from judges.cases import random_packet
from judges.mutate import mutated
from judges.texts import Writer, match_text

__all__ = ["packets", "texts"]

_CASES = Path(__file__).parents[1] / "cases" / "language"
_SETTING = struct.Struct("=BBHI")


def packets(rng: random.Random, count: int) -> list[bytes]:
    """Packets of every kind with a setting in front."""
    found = []
    for _ in range(count):
        packet = random_packet(rng, (), {}, any_state=True, whole=False)
        flags = rng.choice([0, 0, 0, 1, 2])
        setting = _SETTING.pack(flags, rng.getrandbits(8), rng.getrandbits(16), rng.getrandbits(32))
        found.append(setting + packet.frame)
    return found


def texts(rng: random.Random, count: int) -> list[str]:
    """The golden cases, and ``count`` random texts of each kind."""
    golden = [
        line.split("  =>  ")[0]
        for name in ("match", "actions", "extensions")
        for line in (_CASES / f"{name}.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    drawn = [match_text(rng) for _ in range(count)]
    drawn += [
        Writer(rng, egress=False, table=10, n_tables=(35, 35)).actions() for _ in range(count)
    ]
    wrong = [mutated(rng, rng.choice(golden + drawn), golden + drawn) for _ in range(2 * count)]
    return [*golden, *drawn, *wrong]


def _write(directory: Path, inputs: Iterable[bytes]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs):
        (directory / f"{number:04}").write_bytes(data)


if __name__ == "__main__":
    kind, place = sys.argv[1:]
    seeded = random.Random(1)
    _write(
        Path(place),
        packets(seeded, 300) if kind == "packets" else [t.encode() for t in texts(seeded, 200)],
    )

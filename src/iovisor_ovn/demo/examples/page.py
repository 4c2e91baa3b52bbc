# SPDX-License-Identifier: Apache-2.0
"""What an example's README says: its hosts, its commands, what they print.

Hosts are the rows of the table whose first column is ``host``; a cell may be empty::

    | host  | device | MAC               | address     | gateway    | serves         |
    | ----- | ------ | ----------------- | ----------- | ---------- | -------------- |
    | alice | veth1  | 02:00:00:00:00:01 | 10.0.1.1/24 | 10.0.1.254 |                |
    | web   | veth2  | 02:00:00:00:00:02 | 10.0.2.1/24 | 10.0.2.254 | tcp/80, udp/53 |

Commands stand in blocks marked ``console`` behind ``# ``, a root's prompt; what follows is their
output. The first block deploys the chain.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Host", "Page", "Step", "read_page", "write_outputs"]

_PROMPT = "# "
_FENCE = "```"


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace at the far end of ``device``; addresses are with prefix."""

    name: str
    device: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    serves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A command and what it prints, ``line`` where it stands; trailing newlines are stripped."""

    command: str
    expected: str
    line: int


@dataclass(frozen=True, slots=True)
class Page:
    """A README: ``deploy`` are the steps of its first block, ``trials`` all others."""

    hosts: tuple[Host, ...]
    deploy: tuple[Step, ...]
    trials: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them."""
        return self.deploy + self.trials


def read_page(path: Path) -> Page:
    """Read a README; raises ValueError when it has no hosts or no commands."""
    lines = path.read_text().splitlines()
    hosts = tuple(_hosts(lines))
    blocks = [tuple(_steps(block)) for block in _blocks(lines, "console")]
    if not hosts or not blocks:
        raise ValueError(f"{path}: needs a table of hosts and a block of commands")
    return Page(hosts, blocks[0], tuple(step for block in blocks[1:] for step in block))


def write_outputs(path: Path, seen: Mapping[Step, str]) -> None:
    """Replace in a README what commands print, for the steps that are given."""
    lines = path.read_text().splitlines()
    for step, text in sorted(seen.items(), key=lambda item: -item[0].line):
        start = step.line + step.command.count("\n")
        end = start
        while not lines[end].startswith((_PROMPT, _FENCE)):
            end += 1
        lines[start:end] = [line.rstrip() for line in text.splitlines()]
    path.write_text("\n".join(lines) + "\n")


def _blocks(lines: Iterable[str], kind: str) -> Iterator[list[tuple[int, str]]]:
    """Fenced blocks of a kind: numbered lines, counted from 1."""
    block: list[tuple[int, str]] | None = None
    fenced = False
    for number, line in enumerate(lines, 1):
        if line.startswith(_FENCE):
            if block is not None:
                yield block
            fenced = not fenced
            block = [] if fenced and line == _FENCE + kind else None
        elif block is not None:
            block.append((number, line))


def _steps(block: list[tuple[int, str]]) -> Iterator[Step]:
    command: list[str] = []
    output: list[str] = []
    start = 0
    for number, line in [*block, (0, _PROMPT)]:
        if command and command[-1].endswith("\\"):
            command.append(line)
        elif line.startswith(_PROMPT):
            if command:
                yield Step("\n".join(command), "\n".join(output).rstrip("\n"), start)
            command, output, start = [line.removeprefix(_PROMPT)], [], number
        elif command:
            output.append(line)
        else:
            raise ValueError(f"line {number}: output before the first command")


def _hosts(lines: Iterable[str]) -> Iterator[Host]:
    columns: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            columns = []
        elif cells[0] == "host":
            columns = cells
        elif columns and not re.fullmatch(r":?-+:?", cells[0]):
            row = dict(zip(columns, cells, strict=True))
            yield Host(
                row["host"],
                row["device"],
                row["MAC"],
                *(_several(row.get(column, "")) for column in ("address", "gateway", "serves")),
            )


def _several(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(",") if part.strip())

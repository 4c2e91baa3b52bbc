# SPDX-License-Identifier: Apache-2.0
"""``iovisor-ovn show``: what the running agent holds."""

import json
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import ovs.daemon
import ovs.dirs
import ovs.unixctl
import typer
from rich.console import Console
from rich.table import Table

from iovisor_ovn.control import transact
from iovisor_ovn.errors import ConfigError

__all__ = ["show"]

# Keys of the answer that hold rows, and the titles of their tables.
_TABLES = {
    "problems": "problems",
    "ports": "ports",
    "datapaths": "datapaths",
    "unsupported": "verbs that are not executed (their packets are dropped)",
    "held": "datapaths that keep their last complete pipeline: flows beyond this agent",
    "errors": "logical flows that could not be read",
    "modules": "modules before ports",
    "drops": "dropped packets",
    "maps": "map use",
}


def show(
    target: Annotated[
        str, typer.Option("-t", "--target", help="control socket (a path), or the agent's name")
    ] = "iovisor-ovn",
    as_json: Annotated[bool, typer.Option("--json", help="print the agent's own answer")] = False,
) -> None:
    """Show ports, datapaths, what is not executed, drops and map use."""
    ovs.dirs.RUNDIR = os.environ.get("OVN_RUNDIR", "/var/run/ovn")
    answer = _ask(target)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    console = Console()
    _print_head(console, answer)
    for key, title in _TABLES.items():
        _print_rows(console, title, answer[key])


def _ask(target: str) -> Any:
    path = str(Path(target).resolve()) if "/" in target else target
    error, name = ovs.unixctl.socket_name_from_target(path)
    if error:
        _fail(f"{name} ({os.strerror(error)})")
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(name)
            return json.loads(transact(line, "iovisor/show"))
    except (ConfigError, OSError) as error:
        _fail(f"{name}: {getattr(error, 'strerror', None) or error}")


def _fail(reason: str) -> NoReturn:
    typer.echo(f"iovisor-ovn: {reason}", err=True)
    raise typer.Exit(1)


def _print_head(console: Console, answer: Any) -> None:
    southbound = answer["southbound"]
    console.print(
        f"chassis {answer['chassis'] or '(none)'}, southbound {southbound['remote'] or '(none)'} "
        f"{southbound['status']}, nb_cfg {answer['nb_cfg']}\n"
        f"{answer['flows']} logical flows, {answer['entries']} entries, "
        f"{answer['programs']} action programs, {answer['connections']} connections\n"
        f"fast path: {answer['fast_path']['hit']} segments replayed, "
        f"{answer['fast_path']['miss']} walked, {answer['fast_path']['none']} not kept"
    )


def _print_rows(console: Console, title: str, rows: Iterable[Mapping[str, object]]) -> None:
    rows = list(rows)
    table = Table(title=title, title_justify="left")
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table if rows else f"{title}: none")

# SPDX-License-Identifier: Apache-2.0
"""``iovisor-ovn standalone``: service chains from a file, with no OVN at all."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from iovisor_ovn.errors import IovisorOvnError

__all__ = ["run_archived", "standalone"]

standalone = typer.Typer(
    name="standalone",
    help="Deploy a chain of modules (switch, router, nat ...) from a YAML file, without OVN.",
    no_args_is_help=True,
)

_DEFAULT_RUN_DIRECTORY = "/run/iovisor-ovn"
_ROWS_SHOWN = 100
_PIPE_WIDTH = 160
# Keys of the answer that hold rows, and the titles of their tables.
_TABLES = {
    "modules": "modules",
    "links": "links",
    "devices": "devices",
    "switches": "switches",
    "macs": "learned MAC addresses",
    "neighbours": "neighbours",
    "leases": "DHCP leases",
    "connections": "connections",
    "backends": "backends",
    "programs": "programs",
    "counters": "counters",
    "drops": "dropped packets",
}

_File = Annotated[Path, typer.Argument(help="the chain's YAML file", metavar="FILE")]
_RunDir = Annotated[
    Path,
    typer.Option(
        "--run-dir",
        envvar="IOVISOR_OVN_RUNDIR",
        help="where the chain's pid file, socket and pins lie; one chain in each",
    ),
]
_DEFAULT = Path(_DEFAULT_RUN_DIRECTORY)
_StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        envvar="IOVISOR_OVN_STATEDIR",
        help="where leases outlive the chain; else in the run directory, for one below /run"
        " at the same place below /var/lib",
    ),
]


@standalone.command()
def up(
    file: _File,
    detach: Annotated[
        bool, typer.Option("--detach", help="return once the chain works; it ends with `down`")
    ] = False,
    run_dir: _RunDir = _DEFAULT,
    state_dir: _StateDir = None,
    no_fast_path: Annotated[
        bool, typer.Option("--no-fast-path", help="let every packet walk over all flows")
    ] = False,
) -> None:
    """Deploy a chain. In the foreground, Ctrl-C takes it away again."""
    from iovisor_ovn.standalone.process import RunDirectory, run_chain  # noqa: PLC0415 - takes half a second

    with _said():
        if not detach:
            typer.echo(f"deploying {file}; Ctrl-C ends it")
        where = RunDirectory(run_dir, state_dir)
        run_chain(where, file, detach_process=detach, fast_path=not no_fast_path)


@standalone.command()
def apply(file: _File, run_dir: _RunDir = _DEFAULT) -> None:
    """Change the running chain to what the file says; only what differs is touched."""
    from iovisor_ovn.standalone.process import RunDirectory, apply_file  # noqa: PLC0415

    with _said():
        apply_file(RunDirectory(run_dir), file)


@standalone.command()
def down(run_dir: _RunDir = _DEFAULT, state_dir: _StateDir = None) -> None:
    """Take the chain away: programs, maps, pins. DHCP leases stay in their file."""
    from iovisor_ovn.standalone.process import RunDirectory, take_down  # noqa: PLC0415

    with _said():
        if not take_down(RunDirectory(run_dir, state_dir)):
            typer.echo(f"nothing runs in {run_dir}")


@standalone.command()
def validate(file: _File) -> None:
    """Check a file; exit status 1 and a line for each problem if there are any."""
    from iovisor_ovn.standalone.process import check_file  # noqa: PLC0415

    with _said():
        check_file(file)
        typer.echo(f"{file}: ok")


@standalone.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="print all of it as JSON")] = False,
    run_dir: _RunDir = _DEFAULT,
) -> None:
    """Show modules, links, devices, what was learned, connections, counters."""
    from iovisor_ovn.standalone.process import RunDirectory, ask  # noqa: PLC0415

    with _said():
        answer = json.loads(ask(RunDirectory(run_dir), "standalone/show"))
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    # What goes into a file or a pipe is not to be folded.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(highlight=False, width=width)
    console.print(f"chain {answer['source']}")
    if answer["behind"]:
        console.print(f"not in force yet, tried again each second: {answer['behind']}")
    for key, title in _TABLES.items():
        _print_rows(console, title, answer[key])


@contextmanager
def _said() -> Iterator[None]:
    """Print what went wrong, as people are used to, and exit with 1."""
    try:
        yield
    except IovisorOvnError as error:
        _fail(str(error))


def _fail(reason: str) -> NoReturn:
    typer.echo(f"iovisor-ovn: {reason}", err=True)
    raise typer.Exit(1)


def _print_rows(console: Console, title: str, rows: Sequence[Mapping[str, object]]) -> None:
    console.print()
    if not rows:
        console.print(f"{title}: none")
        return
    # Tight enough for 80 columns; what is too long goes on in the next line, never away.
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  pad_edge=False, show_edge=False)  # fmt: skip
    for column, value in rows[0].items():
        justify: JustifyMethod = "right" if isinstance(value, int) else "left"
        table.add_column(column, justify=justify, overflow="fold")
    for row in rows[:_ROWS_SHOWN]:
        table.add_row(*(escape(str(value)) for value in row.values()))
    console.print(table)
    if len(rows) > _ROWS_SHOWN:
        console.print(f"... and {len(rows) - _ROWS_SHOWN} more: --json has all")


def run_archived() -> None:
    """``iovisorovnd -file FILE``: the archived project's command line, its options in Go's manner.

    ``-hover`` and the other options named daemons that are not needed any more.
    """
    file = None
    words = iter(sys.argv[1:])
    for word in words:
        name, has_value, value = word.lstrip("-").partition("=")
        if name == "file":
            file = value if has_value else next(words, None)
        elif name in ("h", "help"):
            typer.echo("usage: iovisorovnd -file FILE (as: iovisor-ovn standalone up FILE)")
            return
        elif word.startswith("-"):
            typer.echo(f"iovisorovnd: {word} is of no effect here", err=True)
            if not has_value and name in _ARCHIVED_WITH_VALUE:
                next(words, None)
    if not file:
        typer.echo("usage: iovisorovnd -file FILE", err=True)
        sys.exit(2)
    run_dir = os.environ.get("IOVISOR_OVN_RUNDIR", _DEFAULT_RUN_DIRECTORY)
    try:
        up(Path(file), run_dir=Path(run_dir))
    except typer.Exit as end:
        sys.exit(end.exit_code)


_ARCHIVED_WITH_VALUE = frozenset({"nb", "sb", "ovs", "nbsock", "sbsock", "ovssock", "hover"})

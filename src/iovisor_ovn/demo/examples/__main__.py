# SPDX-License-Identifier: Apache-2.0
"""``python -m iovisor_ovn.demo.examples run|up|down``: the code of `make example` and its kin.

`run` works in a world of its own: new namespaces for the network, mounts and processes, an empty
``/run``. So the names and paths of a README are taken as they stand, whatever else is on the
machine, and nothing can stay behind: the kernel takes it all away with the first process, however
that ends.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from iovisor_ovn.demo.examples.compare import agrees
from iovisor_ovn.demo.examples.hosts import in_use, make_host, remove_devices
from iovisor_ovn.demo.examples.page import Page, Step, read_page, write_outputs
from iovisor_ovn.demo.examples.shell import Shell
from iovisor_ovn.demo.places import sweep
from iovisor_ovn.demo.processes import CommandFailed, NotInTime
from iovisor_ovn.demo.processes import run as run_program

__all__ = ["KEPT", "app"]

#: What `up` made, for `down` to find; also in the world of `run`.
KEPT = Path("/run/iovisor-ovn-example")
_WORLD = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

app = typer.Typer(add_completion=False, no_args_is_help=True)
_Directory = Annotated[Path, typer.Argument(help="an example's directory", metavar="DIRECTORY")]
_Write = Annotated[
    bool, typer.Option("--write", help="put what was seen into README.md where it differs")
]


def _refuse(reason: str) -> typer.Exit:
    print(reason, file=sys.stderr)
    return typer.Exit(2)


def _page(directory: Path) -> Page:
    if os.geteuid() != 0:
        raise _refuse("examples need root: they make network namespaces")
    path = directory / "README.md"
    if not path.exists():
        raise _refuse(f"there is no {path}")
    return read_page(path)


def _make_hosts(page: Page) -> None:
    KEPT.mkdir(parents=True)
    for host in page.hosts:
        addresses = ", ".join(host.addresses) or "no address yet"
        print(f"host {host.name} at {host.device}: {addresses}", flush=True)
        make_host(host, KEPT)


def _type(shell: Shell, steps: Iterable[Step]) -> dict[Step, str]:
    """Run commands, print them with what they say; return what is not as it should be."""
    faults = {}
    for step in steps:
        print(f"\n# {step.command}", flush=True)
        seen = shell.run(step.command)
        _print_lines("expected", step.expected)
        _print_lines("seen", seen)
        if agrees(step.expected, seen):
            print("as described", flush=True)
        else:
            faults[step] = seen
            print(f"DIFFERS from line {step.line} of README.md", flush=True)
    return faults


def _print_lines(label: str, text: str) -> None:
    for line in text.splitlines() or ["(nothing)"]:
        print(f"{label:>8} | {line}")


@app.command()
def run(directory: _Directory, write: _Write = False) -> None:
    """Make the hosts, type all commands, compare, leave nothing."""
    _page(directory)

    def leave(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    words = [*_WORLD, sys.executable, "-m", "iovisor_ovn.demo.examples", "within", str(directory)]
    if write:
        words.append("--write")
    world = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        status = world.wait()
    finally:
        world.kill()
        world.wait()
    raise typer.Exit(status)


@app.command(hidden=True)
def within(directory: _Directory, write: _Write = False) -> None:
    """Do the work of `run`, as the first process of its world."""
    # The one outside hears them and takes this world away.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run_program("mount", "-t", "tmpfs", "none", "/run")
    os.environ["IOVISOR_OVN_STATEDIR"] = "/run"
    page = _page(directory)
    try:
        _make_hosts(page)
        with Shell(directory) as shell:
            faults = _type(shell, page.steps)
    except (CommandFailed, NotInTime) as failed:
        print(f"the example failed: {failed}", file=sys.stderr)
        raise typer.Exit(1) from failed
    count = len(page.steps)
    verdict = f"{len(faults)} DIFFER" if faults else "all as described"
    print(f"\n{count} commands, {verdict}")
    if write:
        write_outputs(directory / "README.md", faults)
    raise typer.Exit(1 if faults else 0)


@app.command()
def up(directory: _Directory) -> None:
    """Make the hosts, deploy, keep it: the README's other commands are for you to type."""
    page = _page(directory)
    if KEPT.exists():
        raise _refuse(f"{KEPT} exists: an example is up already; `make example-down` removes it")
    if taken := in_use(page.hosts):
        raise _refuse(f"these names are in use on this machine: {', '.join(taken)}")
    os.environ["IOVISOR_OVN_STATEDIR"] = str(KEPT)
    try:
        _make_hosts(page)
        with Shell(directory) as shell:
            faults = _type(shell, page.deploy)
    except (CommandFailed, NotInTime) as failed:
        _remove()
        print(f"the example failed: {failed}", file=sys.stderr)
        raise typer.Exit(1) from failed
    except BaseException:
        _remove()
        raise
    if faults:
        _remove()
        raise typer.Exit(1)
    print(_WHAT_TO_TRY.format(directory=directory, programs=Path(sys.executable).parent), end="")
    for step in page.trials:
        print(f"  {step.command}")


@app.command()
def down() -> None:
    """Take away what `up` made; fine when there is nothing."""
    if os.geteuid() != 0:
        raise _refuse("examples need root")
    _remove()
    print("removed")


def _remove() -> None:
    # A second signal must not leave half of it behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if KEPT.exists():
        program = Path(sys.executable).parent / "iovisor-ovn"
        try:
            run_program(str(program), "standalone", "down")
        except CommandFailed as failed:
            print(failed, file=sys.stderr)
        remove_devices(path.name for path in _namespaces())
        sweep(KEPT)


def _namespaces() -> list[Path]:
    """Those of hosts that are up."""
    listings = (listing.read_text().split() for listing in KEPT.rglob("namespaces"))
    paths = (Path("/run/netns", name) for names in listings for name in names)
    return [path for path in paths if path.exists()]


_WHAT_TO_TRY = """
Up until `make example-down`. To try, as root:

  cd {directory}
  export PATH={programs}:$PATH
"""

if __name__ == "__main__":
    app()

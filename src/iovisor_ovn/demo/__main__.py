# SPDX-License-Identifier: Apache-2.0
"""``python -m iovisor_ovn.demo run|up|down``: the code of `make demo`, `demo-up`, `demo-down`."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from iovisor_ovn.demo import report
from iovisor_ovn.demo.hypervisor import Flavor
from iovisor_ovn.demo.lab import Lab
from iovisor_ovn.demo.places import sweep
from iovisor_ovn.demo.processes import CommandFailed, NotInTime
from iovisor_ovn.demo.releases import INSTALLED, RELEASES, Release, ReleaseMissing, find_release
from iovisor_ovn.demo.topology import MACHINES, expected
from iovisor_ovn.demo.traffic import is_spoof_heard, look

__all__ = ["app"]

#: Where `up` keeps its cloud, for `down` to find.
KEPT = Path("/run/iovisor-ovn-demo")
_FALSE_ADDRESS = "10.0.1.99"
_LOG_LINES = 15

app = typer.Typer(add_completion=False, no_args_is_help=True)
_FlavorOption = Annotated[
    Flavor, typer.Option(help="What runs on the hypervisor: our agent or ordinary OVN.")
]


_ReleaseOption = Annotated[
    str, typer.Option("--ovn", help=f"Which release of OVN: {', '.join(RELEASES)}.")
]


def _refuse(reason: str) -> typer.Exit:
    print(reason, file=sys.stderr)
    return typer.Exit(2)


def _release(name: str) -> Release:
    if name not in RELEASES:
        raise _refuse(f"no OVN {name} here, only {', '.join(RELEASES)}")
    try:
        return find_release(name)
    except ReleaseMissing as missing:
        raise _refuse(str(missing)) from missing


def _need_root() -> None:
    if os.geteuid() != 0:
        raise _refuse("the demo needs root: it makes network namespaces")


def _clean_up_on_signals() -> None:
    """Let SIGTERM and Ctrl-C end the demo through its cleaning, even in a shell's background."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)


def _show_traffic(lab: Lab, screen: Console) -> bool:
    """Run the traffic and print it; return whether all was as the rules say."""
    screen.print("\ntraffic: ping and TCP between every two machines …")
    seen = look(lab.hypervisor)
    screen.print(report.reachability(seen))
    faults = report.differences(seen, expected())
    first, second = MACHINES[:2]
    heard = is_spoof_heard(lab.hypervisor.vms[first.name], _FALSE_ADDRESS, second.ip4)
    screen.print(
        f"port security: {first.name} as {_FALSE_ADDRESS} → {second.name}: "
        f"expected no, seen {'yes' if heard else 'no'}"
    )
    if heard:
        faults.append(f"{first.name} was heard under an address that is not its own")
    for fault in faults:
        screen.print(f"DIFFERS  {fault}", style="bold red")
    return not faults


def _remove(directory: Path) -> None:
    # A second signal must not leave half of it behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sweep(directory)


@contextmanager
def _removed_on_failure(directory: Path) -> Iterator[None]:
    """Take all away when the block fails or is interrupted; show the end of the logs first."""
    try:
        yield
    except (CommandFailed, NotInTime) as failed:
        for log in sorted(directory.rglob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            print(f"--- {log}", *lines, sep="\n", file=sys.stderr)
        _remove(directory)
        print(f"the demo failed: {failed}", file=sys.stderr)
        raise typer.Exit(1) from failed
    except BaseException:
        _remove(directory)
        raise


@app.command()
def run(flavor: _FlavorOption = "iovisor", ovn: _ReleaseOption = INSTALLED.name) -> None:
    """Build the cloud, show the traffic, take the cloud away."""
    _need_root()
    release = _release(ovn)
    _clean_up_on_signals()
    screen = report.console()
    screen.print(report.cloud())
    directory = Path(tempfile.mkdtemp(prefix="iovisor-ovn-demo-"))
    with _removed_on_failure(directory):
        lab = Lab(directory, f"demo{os.getpid()}", flavor, release, screen.print)
        good = _show_traffic(lab, screen)
        lab.hypervisor.close()
        _remove(directory)
    screen.print("removed; " + ("all as expected" if good else "NOT as expected"))
    raise typer.Exit(0 if good else 1)


@app.command()
def up(flavor: _FlavorOption = "iovisor", ovn: _ReleaseOption = INSTALLED.name) -> None:
    """Build the cloud, keep it, say what to try."""
    _need_root()
    release = _release(ovn)
    _clean_up_on_signals()
    if KEPT.exists():
        raise _refuse(f"{KEPT} exists: the demo is up already, or `down` was not run")
    screen = report.console()
    screen.print(report.cloud())
    with _removed_on_failure(KEPT):
        lab = Lab(KEPT, "demo", flavor, release, screen.print)
        good = _show_traffic(lab, screen)
    screen.print(_what_to_try(lab), soft_wrap=True)
    raise typer.Exit(0 if good else 1)


@app.command()
def down() -> None:
    """Take away what `up` built; fine when there is nothing."""
    _need_root()
    sweep(KEPT)
    report.console().print("removed")


def _what_to_try(lab: Lab) -> str:
    nbctl = f"ovn-nbctl --db={lab.central.nb}"
    program = shutil.which("iovisor-ovn", path=str(Path(sys.executable).parent)) or "iovisor-ovn"
    web1, web2, db1, ops1 = (machine.name for machine in MACHINES)
    addresses = {machine.name: machine.ip4 for machine in MACHINES}
    return f"""
Up until `make demo-down`. To try:

  {nbctl} show
  {program} show -t {lab.hypervisor.control}
  ip netns exec {lab.prefix}-{web1} ping {addresses[web2]}
  ip netns exec {lab.prefix}-{ops1} ping {addresses[db1]}     # ops may ping db
  ip netns exec {lab.prefix}-{web1} ping {addresses[db1]}     # web may not: let it, while it runs:
  {nbctl} acl-add pg_db to-lport 1002 'outport == @pg_db && icmp4' allow-related
  {nbctl} acl-del pg_db to-lport 1002 'outport == @pg_db && icmp4'
  ip netns exec {lab.prefix}-{web1} traceroute -n {addresses[db1]}
  tail -f {lab.hypervisor.log}
"""


if __name__ == "__main__":
    app()

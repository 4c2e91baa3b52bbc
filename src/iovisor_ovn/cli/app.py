# SPDX-License-Identifier: Apache-2.0
"""The verbs that typer reads."""

import typer

from iovisor_ovn import __version__
from iovisor_ovn.cli.show import show
from iovisor_ovn.cli.standalone import standalone

__all__ = ["app"]

app = typer.Typer(
    name="iovisor-ovn",
    help="OVN's hypervisor side in eBPF.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(show)
app.add_typer(standalone)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def agent() -> None:
    """Run the agent (options: iovisor-ovn agent --help)."""
    raise AssertionError("main() takes this verb itself")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"iovisor-ovn {__version__}")

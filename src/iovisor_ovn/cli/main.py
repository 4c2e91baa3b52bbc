# SPDX-License-Identifier: Apache-2.0
"""Entry point: ``iovisor-ovn VERB``."""

import sys

import typer

from iovisor_ovn import __version__
from iovisor_ovn.cli.show import show
from iovisor_ovn.cli.standalone import standalone

__all__ = ["app", "main"]

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


def main() -> None:
    """Run the verb in the arguments.

    ``agent`` takes options in the manner of getopt_long(3), which typer would read otherwise, so
    it gets its words untouched.
    """
    if sys.argv[1:2] == ["agent"]:
        # Loading it costs half a second and root's libraries, of no use to the other verbs.
        from iovisor_ovn.agent import run_agent  # noqa: PLC0415

        sys.exit(run_agent(sys.argv[2:]))
    app()

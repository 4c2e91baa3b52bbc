# SPDX-License-Identifier: Apache-2.0
"""Entry point: ``iovisor-ovn VERB``."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the verb in the arguments.

    ``agent`` takes options in the manner of getopt_long(3), which typer would read otherwise, so
    it gets its words untouched.
    """
    # Each half costs time and memory that the other has no use for.
    if sys.argv[1:2] == ["agent"]:
        from iovisor_ovn.agent import run_agent  # noqa: PLC0415

        sys.exit(run_agent(sys.argv[2:]))
    from iovisor_ovn.cli.app import app  # noqa: PLC0415

    app()

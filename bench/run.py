# SPDX-License-Identifier: Apache-2.0
"""``make bench``: measure; ``make bench ARGS='packet --rounds 50'`` for one question.

Figures go to standard output and, as data, to ``build/bench/``.
"""

import argparse
import sys

from enclose import enclose

__all__: list[str] = []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    parser.add_argument(
        "question",
        nargs="?",
        choices=("all", "packet", "throughput", "standalone", "control", "hotspots"),
        default="all",
        help="packet: time per packet; throughput: TCP between namespaces beside a raw pair and a "
        "bridge; standalone: service chains beside the kernel's own; "
        "control: start and changes with 50,000 logical flows beside ovn-controller; "
        "hotspots: where a packet's time goes (needs perf); all: all but hotspots",
    )
    parser.add_argument("--rounds", type=int, help="how often each thing is measured")
    parser.add_argument("--case", default="", help="hotspots: part of the name of a case")
    return parser.parse_args()


def main() -> int:
    """Answer the question asked."""
    arguments = _arguments()
    rounds = {} if arguments.rounds is None else {"rounds": arguments.rounds}
    enclose()
    # Only inside, for outside the program is about to be replaced.
    import control  # noqa: PLC0415
    import hotspots  # noqa: PLC0415
    import packet  # noqa: PLC0415
    import size  # noqa: PLC0415
    import standalone  # noqa: PLC0415
    import throughput  # noqa: PLC0415

    if arguments.question == "hotspots":
        hotspots.main(arguments.case)
    if arguments.question in {"all", "packet"}:
        packet.main(**rounds)
    if arguments.question in {"all", "throughput"}:
        throughput.main(**rounds)
    if arguments.question in {"all", "standalone"}:
        standalone.main(**rounds)
        size.main()
    if arguments.question in {"all", "control"}:
        control.main(**rounds)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

# SPDX-License-Identifier: Apache-2.0
"""Which release of OVN runs: Debian 12's, which is installed, or another in a tree of its own.

A program of another release runs in a mount namespace in which ``/usr`` is that tree's: it finds
its own libraries and schemas there, and every other path (sockets, databases, logs, network
namespaces) is the machine's.  The mount ends with the program, however that ends, so releases do
not meet on a machine and nothing needs to be taken away.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["INSTALLED", "RELEASES", "Release", "ReleaseMissing", "find_release"]

#: Trees of other releases; ``tools/ovn-root.sh`` builds them.
_TREES = Path("/var/cache/iovisor-ovn")
_ENTER = 'mount --bind "$0/usr" /usr && exec "$@"'


class ReleaseMissing(Exception):
    """The tree of a release has not been built, or not whole."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release by its name; ``command`` is put before each of its programs."""

    name: str
    command: tuple[str, ...] = ()


#: Debian 12's packages.
INSTALLED = Release("23.03")

#: Releases that tests and demo know.
RELEASES = (INSTALLED.name, "25.03")


def find_release(name: str) -> Release:
    """Return one of RELEASES; raises ReleaseMissing when its tree is not there."""
    if name == INSTALLED.name:
        return INSTALLED
    tree = _TREES / f"ovn-{name}"
    if not (tree / "complete").exists():
        raise ReleaseMissing(f"no OVN {name} in {tree}: run tools/ovn-root.sh {name}")
    return Release(name, ("unshare", "--mount", "--", "sh", "-c", _ENTER, str(tree)))

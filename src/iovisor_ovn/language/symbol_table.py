# SPDX-License-Identifier: Apache-2.0
"""The names that a release of OVN knows.

Names, widths, levels and prerequisites are those of ovn-sb(5), OVN's ``lib/logical-fields.c``.
"""

from collections.abc import Iterator
from functools import cache

from iovisor_ovn.language._symbols import define_symbols
from iovisor_ovn.language.fields import RELEASES, Symbol

__all__ = ["SymbolTable"]


class SymbolTable:
    """The names that one release of OVN knows. Immutable."""

    __slots__ = ("_symbols", "release")

    def __init__(self, release: str, symbols: dict[str, Symbol]) -> None:
        """Keep ``symbols``, mapping of name to symbol."""
        self.release = release
        self._symbols = symbols

    @staticmethod
    def default(release: str = "main") -> "SymbolTable":
        """Names of ``release`` (such as ``23.03``); between two, of the older one.

        Names that a release dropped stay readable in later ones: OVN upgrades hypervisors
        before northd, so the flows may be older than the agent. Raises :class:`ValueError`
        for a text that is no release.
        """
        return _build(_known_release(release), False)

    @staticmethod
    def knows(release: str) -> bool:
        """Whether no release with names of its own can lie between ``main`` and this one."""
        return release in RELEASES or _version(release) <= _version(RELEASES[-2])

    @staticmethod
    def conntrack(release: str = "main") -> "SymbolTable":
        """As :meth:`default`, but for flows tagged ``acl_ct_translation``.

        There ``tcp``, ``udp``, ``sctp`` and their ports speak of the connection's original
        direction, base fields ``ct_proto``, ``ct_tp.src`` and ``ct_tp.dst``, and not of the
        packet, so that fragments without an L4 header match too.
        """
        return _build(_known_release(release), True)

    def lookup(self, name: str) -> Symbol | None:
        """The symbol of that name, or ``None``."""
        return self._symbols.get(name)

    def __iter__(self) -> Iterator[Symbol]:
        """Every symbol, in order of definition."""
        return iter(self._symbols.values())

    def __len__(self) -> int:
        """Number of symbols."""
        return len(self._symbols)


def _known_release(release: str) -> int:
    """Position in :data:`RELEASES` of what a release speaks."""
    if release in RELEASES:
        return RELEASES.index(release)
    wanted = _version(release)
    if wanted > _version(RELEASES[-2]):
        return len(RELEASES) - 1
    older = [n for n, known in enumerate(RELEASES[:-1]) if _version(known) <= wanted]
    # Before 23.03 nothing is described; reading such a release as 23.03 is the best guess.
    return older[-1] if older else 0


def _version(release: str) -> tuple[int, int]:
    year, _, month = release.partition(".")
    return int(year), int(month.partition(".")[0])


@cache
def _build(position: int, of_connections: bool) -> SymbolTable:
    return SymbolTable(RELEASES[position], define_symbols(position, of_connections))

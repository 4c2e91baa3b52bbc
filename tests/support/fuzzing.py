# SPDX-License-Identifier: Apache-2.0
"""Random tests: how much to try, from which seed, and a line about each at the end.

``--fuzz-count`` and ``--fuzz-seed`` (what ``make fuzz-language N=… SEED=…`` gives) reach the
tests through the fixture ``fuzz``. Without a seed each run has a new one; it is always printed.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

__all__ = ["Fuzz"]

_LINES = pytest.StashKey[list[str]]()


@dataclass(slots=True)
class Fuzz:
    """``seed`` of the first case, the next ones count up; ``asked`` is 0 for the usual number."""

    seed: int
    asked: int
    summary: str = ""

    def count(self, usual: int) -> int:
        """How many cases to try."""
        return self.asked or usual

    def seeds(self, usual: int) -> range:
        """A seed for each case."""
        return range(self.seed, self.seed + self.count(usual))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("random tests")
    group.addoption("--fuzz-count", type=int, default=0, help="cases of each random test")
    group.addoption("--fuzz-seed", type=int, default=None, help="seed of the first case")


def pytest_configure(config: pytest.Config) -> None:
    """Start without lines."""
    config.stash[_LINES] = []


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Iterator[Fuzz]:
    """Give seed and count; what the test puts into ``summary`` is printed at the end."""
    config = request.config
    seed = config.getoption("--fuzz-seed")
    made = Fuzz(secrets.randbelow(1 << 31) if seed is None else seed,
                config.getoption("--fuzz-count"))  # fmt: skip
    try:
        yield made
    finally:
        config.stash[_LINES].append(f"{request.node.name}: seed {made.seed}: {made.summary}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give a worker's lines to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["fuzz"] = session.config.stash[_LINES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the lines of a worker that has ended."""
    node.config.stash[_LINES] += getattr(node, "workeroutput", {}).get("fuzz", [])


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print a line for each random test."""
    for line in config.stash[_LINES]:
        terminalreporter.write_line(line)

# SPDX-License-Identifier: Apache-2.0
"""What every tier shares: what a test needs, the order of the tiers, and no tier of skips only."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from support.central import RELEASES
from support.chains import StandaloneRig
from support.hypervisor import Hypervisor

pytest_plugins = ["support.fixtures", "support.fuzzing"]

#: The cheap ones first, so that a plain fault shows soon.
TIERS = ("unit", "bpf", "functional", "system", "differential")
_TESTS = Path(__file__).parent
_COUNTS = pytest.StashKey[Counter[tuple[str, bool]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--flavor`` and ``--ovn``."""
    parser.addoption(
        "--flavor",
        choices=("iovisor", "ovn"),
        default="iovisor",
        help="what runs on the hypervisors of the system tests: our agent, or ordinary OVN "
        "(ovn-controller and ovs-vswitchd with the user space data path)",
    )
    parser.addoption(
        "--ovn",
        choices=RELEASES,
        default=RELEASES[0],
        help="the release of OVN that functional, system and differential tests run with; "
        "tools/ovn-root.sh builds the tree of one that is not installed",
    )
    parser.addoption(
        "--no-fast-path",
        action="store_true",
        help="let every packet walk over all flows in the system and differential tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start counting; say how agents run."""
    if config.getoption("--no-fast-path"):
        Hypervisor.agent_options = StandaloneRig.options = ("--no-fast-path",)
    config.stash[_COUNTS] = Counter()
    config.pluginmanager.register(_TierCount(config.stash[_COUNTS]), "tier-count")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which OVN runs."""
    return f"OVN: {config.getoption('--ovn')}"


def _tier(path: Path) -> str:
    return path.relative_to(_TESTS).parts[0] if path.is_relative_to(_TESTS) else ""


def _reason_to_skip(item: pytest.Item) -> str | None:
    needs_root = any(item.get_closest_marker(name) for name in ("needs_bpf", "needs_netns"))
    if needs_root and os.geteuid() != 0:
        return "needs root: network namespaces or BPF"
    if item.get_closest_marker("needs_ovs") and shutil.which("ovsdb-server") is None:
        return "needs ovsdb-server: run tools/setup.sh all"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tiers in order; skip, with a reason, what cannot run here."""
    order = {name: position for position, name in enumerate(TIERS)}
    items.sort(key=lambda item: order.get(_tier(item.path), len(order)))
    for item in items:
        if (reason := _reason_to_skip(item)) is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


class _TierCount:
    """Counts, per tier, the tests that ran and those that were skipped."""

    def __init__(self, counts: Counter[tuple[str, bool]]) -> None:
        """Count into ``counts``: keys are tier and whether the test was skipped."""
        self._counts = counts

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: at its call, or at the set-up that kept it from being called."""
        if report.when == "call" or (report.when == "setup" and not report.passed):
            parts = Path(report.location[0]).parts
            if len(parts) > 1 and parts[0] == _TESTS.name:
                self._counts[parts[1], report.skipped] += 1


def _empty_tiers(config: pytest.Config) -> list[str]:
    counts = config.stash[_COUNTS]
    return sorted({tier for tier, skipped in counts if skipped and not counts[tier, False]})


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail when all tests of a tier were skipped: nothing was shown there."""
    if session.exitstatus == pytest.ExitCode.OK and _empty_tiers(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Name the tiers in which nothing ran."""
    for tier in _empty_tiers(config):
        terminalreporter.write_line(f"FAILED tier {tier}: every test in it was skipped", red=True)

# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tiers: directories, a central, hypervisors; each removes what it made.

Names hold the process id and a number, so that several runs share a machine.  Unix sockets
have short paths (108 bytes), therefore the directories are not pytest's.
"""

import itertools
import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType

import pytest

from iovisor_ovn.demo.places import sweep
from support.central import Central, Release, find_release
from support.hypervisor import Flavor, Hypervisor

__all__ = [
    "HypervisorMaker",
    "central",
    "flavor",
    "make_hypervisor",
    "module_directory",
    "release",
    "run_name",
]

HypervisorMaker = Callable[[str], Hypervisor]
_numbers = itertools.count()
_LOG_LINES = 40
#: Hypervisors that tests use at the moment: a failure shows the ends of their logs.
running: list[Hypervisor] = []


def run_name(name: str) -> str:
    """Return a name that no other run and no other call gets."""
    return f"{name}-{os.getpid()}-{next(_numbers)}"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End as by Ctrl-C, so that fixtures clean up for SIGTERM too."""
    raise KeyboardInterrupt


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of the agents' logs with a failure."""
    report = yield
    if report.failed:
        for hypervisor in running:
            if hypervisor.log.exists():
                lines = hypervisor.log.read_text(errors="replace").splitlines()
                ends = "\n".join(lines[-_LOG_LINES:])
                report.sections.append((f"{hypervisor.log}", ends))
    return report


def pytest_sessionstart() -> None:
    """Clean up on SIGTERM as on Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)


@pytest.fixture(scope="session")
def flavor(request: pytest.FixtureRequest) -> Flavor:
    """Return what runs on hypervisors: ``--flavor``."""
    chosen: Flavor = request.config.getoption("--flavor")
    return chosen


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest) -> Release:
    """Return the OVN that runs: ``--ovn``."""
    return find_release(request.config.getoption("--ovn"))


@pytest.fixture(scope="module")
def module_directory() -> Iterator[Path]:
    """Return a directory; what it still holds at the end of the module is ended and removed."""
    directory = Path(tempfile.mkdtemp(prefix="ivt-"))
    yield directory
    sweep(directory)


@pytest.fixture(scope="module")
def central(module_directory: Path, release: Release) -> Central:
    """Return a running, empty OVN central, one for the module."""
    return Central(module_directory / "central", release)


@pytest.fixture(scope="module")
def make_hypervisor(
    module_directory: Path, central: Central, flavor: Flavor
) -> Iterator[HypervisorMaker]:
    """Return a function that makes and starts a hypervisor of the module's central by name."""
    made: list[Hypervisor] = []

    def make(name: str) -> Hypervisor:
        directory = module_directory / name
        hypervisor = Hypervisor(
            directory, name, central.sb, flavor, run_name(name), central.release
        )
        made.append(hypervisor)
        running.append(hypervisor)
        hypervisor.start()
        return hypervisor

    yield make
    for hypervisor in made:
        hypervisor.close()
        running.remove(hypervisor)

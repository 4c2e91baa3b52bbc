# SPDX-License-Identifier: Apache-2.0
"""The machine, loaded once for all its tests, on one CPU in a network namespace of its own."""

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iovisor_ovn.dataplane import mount, unmount
from machine_rig import Rig, build, inside

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def object_path() -> Path:
    """Give the object, brought up to date: a test of an old one would prove nothing."""
    return build()


@pytest.fixture(scope="session", params=[True, False], ids=["replay", "walk"])
def loaded_rig(object_path: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Load the machine, with and without the fast path; its namespace is entered by each test."""
    with _load(object_path, fast_path=request.param) as rig:
        yield rig


@pytest.fixture(scope="session")
def loaded_pair(object_path: Path) -> Iterator[tuple[Rig, Rig]]:
    """Load two machines: one with the fast path, one without."""
    with _load(object_path, fast_path=True) as fast, _load(object_path, fast_path=False) as slow:
        yield fast, slow


@contextmanager
def _load(object_path: Path, *, fast_path: bool) -> Iterator[Rig]:
    name = f"iomach{os.getpid()}{next(_NUMBERS)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    with tempfile.TemporaryDirectory(prefix="iomach-") as directory:
        pins = Path(directory) / "bpffs"
        try:
            with mount(pins) as mounted:
                rig = Rig(object_path, mounted.path, name, fast_path=fast_path)
                yield rig
                rig.close()
        finally:
            unmount(pins)
            subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def rig(loaded_rig: Rig) -> Iterator[Rig]:
    """Give the machine, inside its namespace and on one CPU (its state is per CPU)."""
    with _on_one_cpu(), inside(loaded_rig.namespace):
        for wire in loaded_rig.wires:
            wire.received()
        yield loaded_rig


@pytest.fixture
def pair(loaded_pair: tuple[Rig, Rig]) -> Iterator[tuple[Rig, Rig]]:
    """Give the machines with and without the fast path, on one CPU; enter their namespaces."""
    with _on_one_cpu():
        yield loaded_pair


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)

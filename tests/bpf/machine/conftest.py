# SPDX-License-Identifier: Apache-2.0
"""The machine, loaded once for all its tests, on one CPU in a network namespace of its own."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from iovisor_ovn.dataplane import mount, unmount
from machine_rig import Rig, build, inside


@pytest.fixture(scope="session")
def object_path() -> Path:
    """Give the object, brought up to date: a test of an old one would prove nothing."""
    return build()


@pytest.fixture(scope="session")
def loaded_rig(object_path: Path) -> Iterator[Rig]:
    """Load the machine; its namespace is entered by each test."""
    name = f"iomach{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    with tempfile.TemporaryDirectory(prefix="iomach-") as directory:
        pins = Path(directory) / "bpffs"
        try:
            with mount(pins) as mounted:
                rig = Rig(object_path, mounted.path, name)
                yield rig
                rig.close()
        finally:
            unmount(pins)
            subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def rig(loaded_rig: Rig) -> Iterator[Rig]:
    """Give the machine, inside its namespace and on one CPU (its state is per CPU)."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        with inside(loaded_rig.namespace):
            for wire in loaded_rig.wires:
                wire.received()
            yield loaded_rig
    finally:
        os.sched_setaffinity(0, cpus)

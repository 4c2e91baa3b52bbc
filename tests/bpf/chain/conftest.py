# SPDX-License-Identifier: Apache-2.0
"""A chain on a machine that is loaded once for all tests, with and without the fast path."""

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain_rig import ChainRig
from iovisor_ovn.dataplane import mount, unmount
from machine_rig import build, inside

_NUMBERS = itertools.count()


@pytest.fixture(scope="session", params=[True, False], ids=["replay", "walk"])
def loaded_chain(request: pytest.FixtureRequest) -> Iterator[ChainRig]:
    """Load the machine; its namespace is entered by each test."""
    name = f"iochain{os.getpid()}x{next(_NUMBERS)}"
    path = build()
    subprocess.run(["ip", "netns", "add", name], check=True)
    with tempfile.TemporaryDirectory(prefix="iochain-") as directory:
        pins = Path(directory) / "bpffs"
        try:
            with mount(pins) as mounted:
                rig = ChainRig(path, mounted.path, name, fast_path=request.param)
                yield rig
                rig.close()
        finally:
            unmount(pins)
            subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def rig(loaded_chain: ChainRig) -> Iterator[ChainRig]:
    """Give the chain, inside its namespace and on one CPU (see :meth:`machine_rig.Wire.put`)."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        with inside(loaded_chain.namespace):
            yield loaded_chain
    finally:
        os.sched_setaffinity(0, cpus)

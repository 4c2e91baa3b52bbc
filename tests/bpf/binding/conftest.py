# SPDX-License-Identifier: Apache-2.0
"""Compiled objects, mounted bpffs and network namespaces for the tests of the dataplane room."""

import ctypes
import itertools
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from iovisor_ovn.dataplane import BpfFs, Object, mount, unmount

_SOURCES = Path(__file__).parent.parent / "fixtures"
_INCLUDE = f"/usr/include/{os.uname().machine}-linux-gnu"
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Wire:
    """A veth pair: ``ifindex`` and ``address`` of the near end, in namespace ``near``."""

    near: str
    far: str
    ifindex: int
    address: str


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compile ``tests/bpf/fixtures/<name>.bpf.c`` and give the object's path."""
    folder = tmp_path_factory.mktemp("objects")

    def compile_one(name: str) -> Path:
        target = folder / f"{name}.bpf.o"
        if not target.exists():
            subprocess.run(
                [os.environ.get("CLANG", "clang-19"), "-target", "bpf", "-mcpu=v3", "-O2", "-g",
                 "-Wall", "-Werror", f"-I{_INCLUDE}", "-c", _SOURCES / f"{name}.bpf.c",
                 "-o", target],
                check=True,
            )  # fmt: skip
        return target

    return compile_one


@pytest.fixture(scope="session")
def binding_path(compiled: Callable[[str], Path]) -> Path:
    """Give the path of the compiled ``binding.bpf.c``."""
    return compiled("binding")


@pytest.fixture
def loaded(binding_path: Path) -> Iterator[Object]:
    """Load ``binding.bpf.c`` with its own maps."""
    with Object.open(binding_path) as binding:
        yield binding.load()


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[BpfFs]:
    """Mount a bpffs in a run directory of the test."""
    with mount(tmp_path / "bpffs") as mounted:
        yield mounted
    unmount(tmp_path / "bpffs")


@pytest.fixture
def namespace() -> Iterator[Callable[[], str]]:
    """Make network namespaces with names of this test run's own."""
    made: list[str] = []

    def make() -> str:
        name = f"iob{os.getpid()}-{next(_numbers)}"
        run("ip", "netns", "add", name)
        made.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        return name

    yield make
    for name in made:
        run("ip", "netns", "del", name)


@pytest.fixture
def wire(namespace: Callable[[], str]) -> Wire:
    """Join two new namespaces by a veth pair with IPv4 addresses."""
    near, far = namespace(), namespace()
    run("ip", "-n", near, "link", "add", "near", "type", "veth",
        "peer", "name", "far", "netns", far)  # fmt: skip
    run("ip", "-n", near, "addr", "add", "192.0.2.1/24", "dev", "near")
    run("ip", "-n", far, "addr", "add", "192.0.2.2/24", "dev", "far")
    for name, device in ((near, "near"), (far, "far")):
        run("ip", "-n", name, "link", "set", device, "up")
    with inside(near):
        ifindex = socket.if_nametoindex("near")
    return Wire(near, far, ifindex, "192.0.2.1")


@pytest.fixture
def enter() -> Callable[[str], AbstractContextManager[None]]:
    """Give the context manager that is in a network namespace for the length of its block."""
    return inside


@pytest.fixture
def shell() -> Callable[..., str]:
    """Give the function that runs a command (in the caller's namespace) to its end."""
    return run


def run(*command: str) -> str:
    """Run a command to its end; its output, or an error that shows what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Be in a network namespace for the length of the block."""
    with (
        Path("/proc/thread-self/ns/net").open() as before,
        Path("/run/netns", name).open() as there,
    ):
        _set_network_namespace(there.fileno())
        try:
            yield
        finally:
            _set_network_namespace(before.fileno())


def _set_network_namespace(fd: int) -> None:
    # os.setns came with Python 3.12.
    result = ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET)
    assert result == 0, os.strerror(ctypes.get_errno())

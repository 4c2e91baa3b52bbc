# SPDX-License-Identifier: Apache-2.0
"""Leases that outlive the kernel's maps."""

import json
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from iovisor_ovn.abi import DhcpState
from iovisor_ovn.dataplane.dhcp import Lease
from iovisor_ovn.standalone.lease_file import LeaseFile

LEASE = Lease(3, IPv4Address("10.0.0.9"), "02:00:00:00:00:09", None, DhcpState.BOUND, 100.0)
BY_ID = replace(LEASE, ip=IPv4Address("10.0.0.10"), client_id=b"\0\1", is_folded=True)
DECLINED = replace(LEASE, ip=IPv4Address("10.0.0.11"), state=DhcpState.DECLINED)
FREE = replace(LEASE, ip=IPv4Address("10.0.0.12"), expires_s=-50.0)


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        """Return seconds."""
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where no file is yet, in a directory that does not exist either."""
    return tmp_path / "state" / "standalone.leases"


def test_what_is_saved_is_read_again(path: Path) -> None:
    """With what is left of its time when the clock has gone on; offers are not kept."""
    clock = Clock()
    offered = replace(LEASE, ip=IPv4Address("10.0.0.99"), state=DhcpState.OFFERED)
    LeaseFile(path, clock).save({"m": [FREE, DECLINED, BY_ID, LEASE, offered]})
    clock.now += 30
    found = LeaseFile(path, clock).of("m", 3)
    assert found == [replace(x, expires_s=x.expires_s - 30) for x in (LEASE, BY_ID, DECLINED, FREE)]


def test_nothing_is_written_when_nothing_changed(path: Path) -> None:
    """Though a second has passed, and the clocks drift."""
    clock = Clock()
    file = LeaseFile(path, clock)
    file.save({"m": [LEASE]})
    path.unlink()
    clock.now += 7
    file.save({"m": [replace(LEASE, expires_s=93.4)]})
    assert not path.exists()
    file.save({"m": [replace(LEASE, expires_s=100.0)]})
    assert LeaseFile(path, clock).of("m", 3) == [LEASE]


def test_leases_of_other_modules_stay_while_they_last(path: Path) -> None:
    """A module may be taken out of the chain and come back."""
    clock = Clock()
    LeaseFile(path, clock).save({"gone": [LEASE], "here": []})
    file = LeaseFile(path, clock)
    file.save({"here": [BY_ID]})
    assert (len(file.of("gone", 1)), len(file.of("here", 1))) == (1, 1)
    clock.now += 101
    file.save({"here": []})
    assert (len(file.of("gone", 1)), len(file.of("here", 1))) == (0, 0)


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '{"leases": []}', '{"leases": {"m": [{}]}}', '{"leases": {"m": 7}}',
        json.dumps({"leases": {"m": [{"ip": "10.0.0.1", "mac": "02:00", "client_id": None,
                                      "is_folded": False, "state": "bound", "expires": 1}]}}),
    ],
)  # fmt: skip
def test_unreadable_file_is_put_aside(path: Path, text: str) -> None:
    """The server starts without it; nothing is lost for whoever can mend it."""
    path.parent.mkdir()
    path.write_text(text)
    file = LeaseFile(path)
    assert file.of("m", 1) == []
    assert path.with_suffix(".unreadable").read_text() == text
    file.save({"m": [LEASE]})
    assert len(LeaseFile(path).of("m", 1)) == 1


def test_file_that_cannot_be_written_ends_nothing(path: Path) -> None:
    """It is tried again with the next change, or the next time."""
    path.parent.write_text("in the way")
    file = LeaseFile(path)
    file.save({"m": [LEASE]})
    path.parent.unlink()
    file.save({"m": [LEASE]})
    assert len(LeaseFile(path).of("m", 1)) == 1

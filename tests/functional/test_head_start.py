# SPDX-License-Identifier: Apache-2.0
"""What is asked of the databases while something else is loading."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from functional.agent_rig import Servers, run_until
from iovisor_ovn.agent.head_start import HeadStart
from iovisor_ovn.mainlogic.controller import LOCAL_COLUMNS, LOCAL_LOCK, SOUTHBOUND_COLUMNS
from iovisor_ovn.ovsdb import Database
from support.central import Release

pytestmark = pytest.mark.needs_ovs

_LIMIT_S = 20.0


@pytest.fixture
def servers(tmp_path: Path, release: Release) -> Iterator[Servers]:
    """A local and a Southbound database."""
    found = Servers(tmp_path, release)
    yield found
    found.close()


class _Bench:
    """A head start that tells which databases it opened."""

    def __init__(self, servers: Servers) -> None:
        self.opened: list[Database] = []
        self.has_rows = threading.Event()
        self.local = Database(servers.remote("ovs"), "Open_vSwitch", LOCAL_COLUMNS, lock=LOCAL_LOCK)
        self.head_start = HeadStart(self.local, self._open, None)

    def _open(self, remote: str, probe_interval_ms: int) -> Database:
        database = _Watched(remote, probe_interval_ms, self.has_rows)
        self.opened.append(database)
        return database

    def close(self) -> None:
        for database in (self.local, *self.opened):
            database.close()


class _Watched(Database):
    """Tells when its first contents have come."""

    def __init__(self, remote: str, probe_interval_ms: int, has_rows: threading.Event) -> None:
        super().__init__(remote, "OVN_Southbound", SOUTHBOUND_COLUMNS, probe_interval_ms)
        self._has_rows = has_rows

    def run(self) -> bool:
        changed = super().run()
        if self.ever_connected:
            self._has_rows.set()
        return changed


@pytest.fixture
def bench(servers: Servers) -> Iterator[_Bench]:
    """A head start on the servers."""
    found = _Bench(servers)
    yield found
    found.close()


def test_rows_come_meanwhile(bench: _Bench, servers: Servers) -> None:
    """Who opens the database afterwards has them."""
    assert bench.head_start.during(lambda: bench.has_rows.wait(_LIMIT_S))
    southbound = bench.head_start.open_southbound(servers.remote("sb"), 5000)
    assert [southbound] == bench.opened
    assert southbound.tables["SB_Global"].rows
    assert southbound.changes()


def test_settings_that_changed_meanwhile_count(bench: _Bench, servers: Servers) -> None:
    """The database goes on at the other server."""
    assert bench.head_start.during(lambda: bench.has_rows.wait(_LIMIT_S))
    southbound = bench.head_start.open_southbound("unix:/elsewhere", 5000)
    assert southbound.remote == "unix:/elsewhere"
    assert not southbound.connected
    assert bench.head_start.open_southbound(servers.remote("sb"), 5000) is not southbound


def test_what_is_raised_is_raised(bench: _Bench) -> None:
    """Loading that fails ends the head start."""
    with pytest.raises(ZeroDivisionError):
        bench.head_start.during(lambda: 1 // 0)


def test_nothing_is_asked_for_another_agents_bridge(bench: _Bench, servers: Servers) -> None:
    """Whose local database another agent serves has no business with the Southbound one."""
    other = Database(servers.remote("ovs"), "Open_vSwitch", LOCAL_COLUMNS, lock=LOCAL_LOCK)
    run_until(other, lambda: other.ever_connected and other.is_ours)
    is_told = threading.Event()
    run = bench.local.run

    def run_and_tell() -> bool:
        changed = run()
        if bench.local.is_anothers:
            is_told.set()
        return changed

    bench.local.run = run_and_tell  # type: ignore[method-assign]
    assert bench.head_start.during(lambda: is_told.wait(_LIMIT_S))
    assert bench.opened == []
    other.close()

# SPDX-License-Identifier: Apache-2.0
"""`Database` on real servers: what changed, what was lost, what was refused."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from functional.agent_rig import Servers, run_until
from iovisor_ovn.ovsdb import Database, RowChange
from support.central import Release

pytestmark = pytest.mark.needs_ovs

Connect = Callable[[str], Database]
_COLUMNS = {"Address_Set": ("name", "addresses", "options"), "No_Such_Table": ("name",)}


@pytest.fixture
def servers(tmp_path: Path, release: Release) -> Iterator[Servers]:
    """Start the servers, with nobody else writing."""
    found = _quiet(tmp_path, release)
    yield found
    found.close()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Give what opens the Southbound database at a remote; all are closed at the end."""
    opened: list[Database] = []

    def open_remote(remote: str) -> Database:
        opened.append(Database(remote, "OVN_Southbound", _COLUMNS))
        return opened[-1]

    yield open_remote
    for database in opened:
        database.close()


def _quiet(directory: Path, release: Release) -> Servers:
    servers = Servers(directory, release)
    servers.nb("--wait=sb", "sync")
    servers.stop("northd")
    servers.sb("--all", "destroy", "address_set")
    return servers


def _names(database: Database) -> set[str]:
    return {row.name for row in database.tables["Address_Set"].rows.values()}


def _told(changes: list[RowChange]) -> list[tuple[str, str, frozenset[str]]]:
    return sorted((change.kind, change.row.name, change.columns) for change in changes)


def _add(servers: Servers, *names: str) -> None:
    for name in names:
        servers.sb("create", "address_set", f"name={name}", "addresses=10.0.0.1")


def test_changes_name_kind_and_columns(connect: Connect, servers: Servers) -> None:
    """Insert, update and delete are told once, an update with its columns."""
    _add(servers, "a", "b")
    database = connect(servers.remote("sb"))
    first = run_until(database, lambda: database.ever_connected)
    assert _told(first) == [("insert", "a", frozenset()), ("insert", "b", frozenset())]
    servers.sb("set", "address_set", "a", "addresses=10.0.0.2")
    servers.sb("destroy", "address_set", "b")
    then = run_until(database, lambda: _names(database) == {"a"})
    assert _told(then) == [("delete", "b", frozenset()), ("update", "a", frozenset({"addresses"}))]


def test_what_the_schema_lacks_is_absent(connect: Connect, servers: Servers) -> None:
    """Tables and columns of later releases are no error."""
    database = connect(servers.remote("sb"))
    run_until(database, lambda: database.ever_connected)
    assert set(database.tables) == {"Address_Set"}
    assert set(database.tables["Address_Set"].columns) == {"name", "addresses"}


def test_reload_tells_differences_only(connect: Connect, servers: Servers) -> None:
    """After the server was away only what became different meanwhile is a change."""
    _add(servers, "same", "gone", "other")
    database = connect(servers.remote("sb"))
    run_until(database, lambda: database.connected)
    servers.stop("sb")
    run_until(database, lambda: not database.connected)
    assert _names(database) == {"same", "gone", "other"}
    servers.start("sb")
    servers.sb("destroy", "address_set", "gone", "--", "set", "address_set", "other",
               "addresses=10.0.0.9", "--", "create", "address_set", "name=new")  # fmt: skip
    told = run_until(database, lambda: database.connected and "new" in _names(database))
    assert _told(told) == [
        ("delete", "gone", frozenset()),
        ("insert", "new", frozenset()),
        ("update", "other", frozenset({"addresses"})),
    ]


def test_condition_limits_the_rows(connect: Connect, servers: Servers) -> None:
    """Rows that match no clause are not in memory; widening brings them."""
    _add(servers, "a", "b")
    database = connect(servers.remote("sb"))
    database.set_condition("Address_Set", [["name", "==", "a"]])
    run_until(database, lambda: database.connected and _names(database) == {"a"})
    database.set_condition("Address_Set", [True])
    run_until(database, lambda: _names(database) == {"a", "b"})


def test_lean_rows_are_followed(servers: Servers) -> None:
    """They come, change, lose a reference and go; over a reconnection only differences are told."""
    columns = {"Logical_Flow": ("logical_datapath", "pipeline", "priority", "match", "actions")}
    database = Database(servers.remote("sb"), "OVN_Southbound", columns, lean=("Logical_Flow",))
    try:
        flow = servers.sb(
            "--id=@d", "create", "datapath_binding", "tunnel_key=7", "--",
            "create", "logical_flow", "logical_datapath=@d", "pipeline=egress", "table_id=0",
            "priority=5", "match=a", "actions=b",
        ).split()[1]  # fmt: skip
        (came,) = run_until(database, lambda: database.ever_connected)
        (datapath,) = came.row.logical_datapath
        assert (came.kind, came.row.match, came.row.pipeline) == ("insert", "a", "egress")
        assert str(datapath) in servers.sb("--columns=_uuid", "list", "datapath_binding")

        servers.sb("set", "logical_flow", flow, "priority=6", "--",
                   "clear", "logical_flow", flow, "logical_datapath")  # fmt: skip
        rows = database.tables["Logical_Flow"].rows
        (changed,) = run_until(database, lambda: any(row.priority == 6 for row in rows.values()))
        assert changed.columns == {"priority", "logical_datapath"}
        assert changed.row.logical_datapath == []
        assert (came.row.priority, changed.row.match) == (5, "a")

        servers.stop("sb")
        run_until(database, lambda: not database.connected)
        servers.start("sb")
        servers.sb("set", "logical_flow", flow, "match=c", f"logical_datapath={datapath}")
        (told,) = run_until(
            database,
            lambda: database.connected and any(row.match == "c" for row in rows.values()),
        )
        assert (told.kind, told.row.match, told.row.actions) == ("update", "c", "b")

        servers.sb("destroy", "logical_flow", flow)
        (gone,) = run_until(database, lambda: not rows)
        assert (gone.kind, gone.row.match) == ("delete", "c")
    finally:
        database.close()


def test_transaction_is_not_waited_for(connect: Connect, servers: Servers) -> None:
    """`busy` lasts until the answer has come; then the row is there."""
    database = connect(servers.remote("sb"))
    assert database.busy
    run_until(database, lambda: not database.busy)
    with database.transaction() as transaction:
        transaction.insert(database.tables["Address_Set"]).name = "mine"
    assert database.busy
    run_until(database, lambda: not database.busy)
    assert _names(database) == {"mine"}


def test_refusal_is_named_and_pauses(connect: Connect, servers: Servers) -> None:
    """A refused transaction leaves its reason, and no other begins for a while."""
    _add(servers, "a")
    database = connect(servers.remote("sb"))
    run_until(database, lambda: not database.busy)
    with database.transaction() as transaction:
        transaction.insert(database.tables["Address_Set"]).name = "a"
    run_until(database, lambda: database.last_error is not None)
    assert "constraint violation" in str(database.last_error)
    assert not database.read_only
    assert database.busy
    run_until(database, lambda: not database.busy)


def test_read_only_server_is_told_apart(connect: Connect, servers: Servers) -> None:
    """A server that takes no writes is followed all the same."""
    _add(servers, "a")
    control = f"{servers.directory}/sb.ctl"
    subprocess.run(
        ["ovs-appctl", "-t", control, "ovsdb-server/add-remote",
         "db:OVN_Southbound,SB_Global,connections"],
        check=True,
    )  # fmt: skip
    remote = f"unix:{servers.directory}/ro.sock"
    operations = [
        "OVN_Southbound",
        {"op": "insert", "table": "Connection", "uuid-name": "c",
         "row": {"target": f"p{remote}", "read_only": True}},
        {"op": "update", "table": "SB_Global", "where": [],
         "row": {"connections": ["named-uuid", "c"]}},
    ]  # fmt: skip
    subprocess.run(
        ["ovsdb-client", "transact", servers.remote("sb"), json.dumps(operations)], check=True
    )
    database = connect(remote)
    run_until(database, lambda: not database.busy)
    assert _names(database) == {"a"}
    with database.transaction() as transaction:
        transaction.insert(database.tables["Address_Set"]).name = "b"
    run_until(database, lambda: database.last_error is not None)
    assert database.read_only
    _add(servers, "c")
    run_until(database, lambda: _names(database) == {"a", "c"})


def test_another_remote_is_followed(
    connect: Connect, servers: Servers, tmp_path: Path, release: Release
) -> None:
    """A changed remote leads to another server; its rows replace the old ones as differences."""
    _add(servers, "a")
    second_directory = tmp_path / "second"
    second_directory.mkdir()
    second = _quiet(second_directory, release)
    try:
        _add(second, "b")
        database = connect(servers.remote("sb"))
        run_until(database, lambda: database.connected)
        database.set_remote(second.remote("sb"))
        told = run_until(database, lambda: database.connected and _names(database) == {"b"})
        assert [one[:2] for one in _told(told)] == [("delete", "a"), ("insert", "b")]
    finally:
        second.close()

# SPDX-License-Identifier: Apache-2.0
"""Databases that go away, come back empty or as another release, and agents that share one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from functional.agent_rig import Rig, Servers, stop_process
from functional.test_agent_process import Host
from iovisor_ovn.dataplane.machine import OBJECT_PATH
from iovisor_ovn.demo.processes import until
from iovisor_ovn.mainlogic.controller import REQUIRED_TABLES, SOUTHBOUND_COLUMNS
from iovisor_ovn.ovsdb import Database
from support.central import Release

pytestmark = pytest.mark.needs_ovs

_SCHEMA = Path("/usr/share/ovn/ovn-sb.ovsschema")


def _replace(servers: Servers, schema: object, name: str = "sb") -> None:
    """Stop a server and start it with an empty database of another schema."""
    servers.stop(name)
    file = servers.directory / "other.ovsschema"
    file.write_text(json.dumps(schema))
    (servers.directory / f"{name}.db").unlink()
    servers._run("ovsdb-tool", "create", f"{servers.directory}/{name}.db", str(file))
    servers.start(name)


def _schema() -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    return cast("dict[str, dict[str, dict[str, dict[str, object]]]]",
                json.loads(_SCHEMA.read_text()))  # fmt: skip


def _bind(rig: Rig) -> None:
    rig.until(lambda: "br-int" in rig.servers.vs("list-br"))
    rig.plug("p1")
    rig.until(lambda: rig.servers.port("p1", "up") == "true")


@pytest.fixture
def servers(tmp_path: Path, release: Release) -> Iterator[Servers]:
    """Start a central with one switch and one port."""
    found = Servers(tmp_path, release)
    try:
        found.nb("--wait=sb", "ls-add", "sw", "--", "lsp-add", "sw", "p1")
        yield found
    finally:
        found.close()


@pytest.fixture
def rig(servers: Servers) -> Iterator[Rig]:
    """Start a controller that has bound the port."""
    found = Rig(servers)
    try:
        _bind(found)
        yield found
    finally:
        found.close()


def test_empty_database_takes_nothing_away(rig: Rig) -> None:
    """What runs goes on until northd has filled the new database; then that counts."""
    servers = rig.servers
    servers.stop("northd")
    rig.pipeline.changes.clear()
    _replace(servers, _schema())
    # Not by ovn-sbctl, which makes a row of SB_Global.
    dump = ("ovsdb-client", "dump", servers.remote("sb"), "OVN_Southbound", "Chassis", "name")
    rig.until(lambda: "hv1" in servers._run(*dump))
    assert [problem["what"] for problem in rig.controller.problems()] == ["southbound_empty"]
    assert not [c for c in rig.pipeline.changes if c.kind == "delete"]
    servers.sb("init")
    rig.until(lambda: any(c.kind == "delete" for c in rig.pipeline.changes))
    assert not rig.controller.problems()


def test_other_schema_is_followed(rig: Rig) -> None:
    """A database that comes back as another release, with fewer and more columns, is followed."""
    servers = rig.servers
    servers.stop("northd")
    schema = _schema()
    tables = schema["tables"]
    del tables["Port_Binding"]["columns"]["additional_chassis"]
    del tables["Chassis"]["columns"]["transport_zones"]
    del tables["Chassis_Private"]["columns"]["nb_cfg_timestamp"]
    del tables["Port_Binding"]["columns"]["encap"]
    del tables["Port_Binding"]["columns"]["up"]
    del tables["FDB"]
    tables["Chassis"]["columns"]["of_next_year"] = {"type": "string"}
    _replace(servers, schema)
    servers.sb("init")
    rig.until(lambda: servers.sb("--bare", "--columns=name", "list", "chassis").strip() == "hv1")
    southbound = rig.controller.southbound
    assert southbound is not None
    assert "additional_chassis" not in southbound.tables["Port_Binding"].columns
    _replace(servers, _schema())
    servers.sb("init")
    rig.until(lambda: servers.sb("--bare", "--columns=name", "list", "chassis").strip() == "hv1")
    assert "additional_chassis" in southbound.tables["Port_Binding"].columns


def test_schema_without_a_table_is_refused_by_name(rig: Rig) -> None:
    """A database that lacks what OVN stands on is named, its rows are not believed."""
    schema = _schema()
    del schema["tables"]["SB_Global"]
    rig.pipeline.changes.clear()
    rig.servers.stop("northd")
    southbound = Database(
        rig.servers.remote("sb"), "OVN_Southbound", SOUTHBOUND_COLUMNS, required=REQUIRED_TABLES
    )
    assert rig.controller.southbound is not None
    rig.controller.southbound.close()
    rig.controller.southbound = southbound
    rig.until(lambda: southbound.connected)
    rig.pipeline.changes.clear()
    _replace(rig.servers, schema)
    rig.until(lambda: bool(rig.controller.problems()))
    assert "SB_Global" in rig.controller.problems()[0]["reason"]
    assert not southbound.connected
    assert not [c for c in rig.pipeline.changes if c.kind == "delete"]
    _replace(rig.servers, _schema())
    rig.servers.sb("init")
    rig.until(lambda: not rig.controller.problems())


def test_next_server_of_the_list_is_taken(servers: Servers, tmp_path: Path) -> None:
    """Of several remotes one that answers is used, and another when it goes away."""
    second = f"unix:{tmp_path}/second.sock"
    servers._run("ovs-appctl", "-t", f"{tmp_path}/sb.ctl", "ovsdb-server/add-remote", f"p{second}")
    nobody = f"unix:{tmp_path}/nobody.sock"
    servers.vs("--no-wait", "set", "open", ".",
               f'external_ids:ovn-remote="{nobody},{second},{servers.remote("sb")}"')  # fmt: skip
    found = Rig(servers)
    try:
        _bind(found)
        servers._run("ovs-appctl", "-t", f"{tmp_path}/sb.ctl", "ovsdb-server/remove-remote",
                     f"p{second}")  # fmt: skip
        servers.nb("lsp-add", "sw", "p2")
        found.plug("p2")
        found.until(lambda: servers.port("p2", "up") == "true")
    finally:
        found.close()


def test_local_database_that_goes_away_stops_nothing(rig: Rig) -> None:
    """Bound ports stay bound; what was written meanwhile in the Southbound database is followed."""
    servers = rig.servers
    local = rig.controller._parts.local
    servers.stop("ovs")
    rig.until(lambda: not local.connected)
    rig.pipeline.changes.clear()
    servers.nb("--wait=sb", "lsp-add", "sw", "p2")
    rig.until(lambda: any(c.table == "Port_Binding" for c in rig.pipeline.changes))
    servers.start("ovs")
    rig.until(lambda: local.connected)
    assert servers.chassis_of("p1") == "hv1"


def test_rows_without_room_are_a_problem(rig: Rig) -> None:
    """By the name of the full map, until there is room."""
    rig.pipeline.without_room = {"neighbours": 7}
    (problem,) = rig.controller.problems()
    assert problem["what"] == "neighbour_not_stored"
    assert "neighbours" in problem["reason"]
    rig.pipeline.without_room = {}
    assert not rig.controller.problems()


def test_chassis_that_another_writes_is_contended_calmly(rig: Rig) -> None:
    """Two agents with one system-id undo each other: that is named, not the first time."""
    servers = rig.servers
    mine = servers.sb("get", "chassis", "hv1", "hostname")
    rounds = 0
    while not (problems := rig.controller.problems()):
        assert rounds < 10
        servers.sb("set", "chassis", "hv1", "hostname=another")
        rig.until(lambda: servers.sb("get", "chassis", "hv1", "hostname") == mine)
        rounds += 1
    assert problems[0]["what"] == "chassis_contended"
    assert rounds >= 3


@pytest.mark.needs_bpf
@pytest.mark.needs_netns
@pytest.mark.skipif(not OBJECT_PATH.exists(), reason="needs the BPF object: run make bpf")
def test_second_agent_on_a_database_is_refused(tmp_path: Path, release: Release) -> None:
    """It ends with a reason before it touches a device; when the first is gone it starts."""
    host = Host(tmp_path, release)
    other = tmp_path / "other"
    other.mkdir()
    more = (f"--pidfile={other}/agent.pid", f"--unixctl={other}/agent.ctl")
    try:
        assert host.start().returncode == 0
        first = host.pid
        refused = host.start(*more)
        assert refused.returncode == 1
        assert "another switch" in refused.stderr
        assert not (other / "agent.pid").exists()
        stop_process(first)
        assert host.start().returncode == 0
        until(lambda: host.appctl("connection-status") == "connected", "the connection")
    finally:
        host.close()

# SPDX-License-Identifier: Apache-2.0
"""Settings in Open_vSwitch.external_ids that are missing or make no sense."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from functional.agent_rig import Rig, Servers
from support.central import Release

pytestmark = pytest.mark.needs_ovs


@pytest.fixture
def rig(tmp_path: Path, release: Release) -> Iterator[Rig]:
    """Start a central with one switch and one port, and a controller that has not run yet."""
    servers = Servers(tmp_path, release)
    servers.nb("--wait=sb", "ls-add", "sw", "--", "lsp-add", "sw", "p1")
    found = Rig(servers)
    try:
        yield found
    finally:
        found.close()
        servers.close()


def _set(rig: Rig, **values: str) -> None:
    rig.servers.vs("--no-wait", "set", "open", ".",
                   *(f'external_ids:{key.replace("_", "-")}="{value}"'
                     for key, value in values.items()))  # fmt: skip


def _remove(rig: Rig, key: str) -> None:
    rig.servers.vs("--no-wait", "remove", "open", ".", "external_ids", key)


def _problems(rig: Rig) -> list[str]:
    return [problem["what"] for problem in rig.controller.problems()]


def _bound(rig: Rig) -> None:
    """Wait until the agent works: the port is bound and up."""
    rig.until(lambda: "br-int" in rig.servers.vs("list-br"))
    rig.plug("p1")
    rig.until(lambda: rig.servers.port("p1", "up") == "true")


@pytest.mark.parametrize(
    ("key", "problem"),
    [("system-id", "no_chassis"), ("ovn-remote", "no_remote"), ("ovn-encap-type", "no_encap"),
     ("ovn-encap-ip", "no_encap")],
)  # fmt: skip
def test_missing_setting_is_named_until_it_is_there(rig: Rig, key: str, problem: str) -> None:
    """The agent waits for it and then works without a restart."""
    value = rig.servers.vs("get", "open", ".", f"external_ids:{key}").strip()
    _remove(rig, key)
    rig.until(lambda: rig.controller.is_working)
    assert _problems(rig) == [problem]
    assert rig.servers.sb("--bare", "--columns=name", "list", "chassis").strip() == ""
    rig.servers.vs("--no-wait", "set", "open", ".", f"external_ids:{key}={value}")
    _bound(rig)
    assert _problems(rig) == []


def test_setting_that_goes_takes_nothing_away(rig: Rig) -> None:
    """Without a remote or an encapsulation the chassis stays as it was registered."""
    _bound(rig)
    for key, problem in (("ovn-encap-ip", "no_encap"), ("ovn-remote", "no_remote")):
        _remove(rig, key)
        rig.until(lambda p=problem: _problems(rig) == [p])  # type: ignore[misc]
    assert rig.servers.chassis_of("p1") == "hv1"


def test_tunnel_type_that_is_none_does_not_stop_the_others(rig: Rig) -> None:
    """It is left out and named: the server would refuse the whole registration."""
    _set(rig, ovn_encap_type="geneve,gre")
    _bound(rig)
    assert rig.servers.sb("--bare", "--columns=type", "list", "encap").split() == ["geneve"]
    (problem,) = rig.controller.problems()
    assert problem["what"] == "setting_ignored"
    assert "'gre'" in problem["reason"]
    _set(rig, ovn_encap_type="gre")
    rig.until(lambda: _problems(rig) == ["no_encap", "setting_ignored"])
    _set(rig, ovn_encap_type="geneve")
    rig.until(lambda: _problems(rig) == [])


def test_malformed_settings_are_named_and_the_rest_counts(rig: Rig) -> None:
    """A mapping that is no pair and an interval that is no number."""
    _set(rig, ovn_bridge_mappings="physnet:br-phys,garbage,:x", ovn_remote_probe_interval="soon",
         ovn_monitor_all="perhaps", ovn_encap_csum="often", ovn_transport_zones=",,a,")  # fmt: skip
    _bound(rig)
    assert _problems(rig) == ["setting_ignored"] * 3
    assert rig.controller.options.bridge_mappings == {"physnet": "br-phys"}
    assert rig.controller.options.probe_interval_ms == 5000
    assert rig.servers.sb("--bare", "--columns=transport_zones", "list", "chassis").strip() == "a"


@pytest.mark.parametrize("remote", ["garbage", "tcp:", "tcp:nowhere:x", "unix:", "tcp:[::1"])
def test_remote_that_is_none_is_survived(rig: Rig, remote: str) -> None:
    """The agent goes on, and works as soon as there is a good one."""
    good = rig.servers.remote("sb")
    _set(rig, ovn_remote=remote)
    rig.until(lambda: rig.controller.options.remote == remote)
    assert rig.controller.southbound is not None
    assert not rig.controller.southbound.connected
    _set(rig, ovn_remote=good)
    _bound(rig)

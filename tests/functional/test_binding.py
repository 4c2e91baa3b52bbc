# SPDX-License-Identifier: Apache-2.0
"""A controller on a real central: rows written, in which order, and when not."""

import time
from collections.abc import Iterator
from pathlib import Path

import ovs.poller
import pytest

from functional.agent_rig import Rig, Servers
from support.central import Release

pytestmark = pytest.mark.needs_ovs


@pytest.fixture
def servers(tmp_path: Path, release: Release) -> Iterator[Servers]:
    """Start a central and a local database."""
    found = Servers(tmp_path, release)
    try:
        found.nb("ls-add", "sw")
        yield found
    finally:
        found.close()


@pytest.fixture
def rig(servers: Servers) -> Iterator[Rig]:
    """Start a controller whose chassis is registered."""
    found = Rig(servers)
    found.until(lambda: "hv1" in servers.sb("--bare", "--columns=name", "list", "chassis_private"))
    yield found
    found.close()


def _add_port(servers: Servers, name: str, *more: str) -> None:
    servers.nb("--wait=sb", "lsp-add", "sw", name, *more)


def test_chassis_is_registered(rig: Rig) -> None:
    """Chassis, Chassis_Private and Encap say what the settings say, and br-int is made."""
    servers = rig.servers
    assert (
        servers.sb("get", "chassis", "hv1", "other_config:ct-no-masked-label").strip() == '"true"'
    )
    encap = servers.sb("--bare", "--columns=type,ip,chassis_name", "list", "encap").split()
    assert encap == ["geneve", "127.0.0.1", "hv1"]
    assert servers.vs("get", "bridge", "br-int", "fail_mode").strip() == "secure"
    rig.until(lambda: "ovn-startup-ts" in servers.vs("get", "bridge", "br-int", "external_ids"))


def test_settings_are_followed(rig: Rig) -> None:
    """A changed setting reaches the Chassis row, keys of others stay."""
    servers = rig.servers
    servers.sb("set", "chassis", "hv1", "other_config:is-remote=false")
    servers.vs("--no-wait", "set", "open", ".", "external_ids:ovn-bridge-mappings=p:br-ex",
               "external_ids:ovn-encap-ip-hv1=127.0.0.2")  # fmt: skip
    rig.until(lambda: "p:br-ex" in servers.sb("get", "chassis", "hv1", "other_config"))
    rig.until(lambda: "127.0.0.2" in servers.sb("--bare", "--columns=ip", "list", "encap"))
    assert "is-remote" in servers.sb("get", "chassis", "hv1", "other_config")


def test_deleted_chassis_comes_back(rig: Rig) -> None:
    """Rows that somebody deletes are made again, and ports bound again."""
    _add_port(rig.servers, "p1")
    rig.plug("p1")
    rig.until(lambda: rig.servers.chassis_of("p1") == "hv1")
    rig.servers.sb("chassis-del", "hv1")
    rig.until(lambda: rig.servers.chassis_of("p1") == "hv1")
    rig.sync()


def test_promises_wait_for_the_data_plane(rig: Rig) -> None:
    """While the pipeline fails, a port is claimed but not up or installed; nb_cfg stays behind."""
    servers = rig.servers
    rig.settle()
    rig.pipeline.is_broken = True
    _add_port(servers, "p1")
    servers.nb("set", "nb_global", ".", "nb_cfg=77")
    rig.plug("p1")
    rig.until(lambda: servers.chassis_of("p1") == "hv1")
    broken_at = rig.pipeline.updates
    rig.until(lambda: rig.pipeline.updates > broken_at)
    assert servers.port("p1", "up") == "false"
    assert "ovn-installed" not in servers.vs("get", "interface", "if-p1", "external_ids")
    assert "77" not in servers.sb("--bare", "--columns=nb_cfg", "list", "chassis_private").split()
    rig.pipeline.is_broken = False
    rig.until(lambda: servers.port("p1", "up") == "true")
    rig.until(lambda: "ovn-installed" in servers.vs("get", "interface", "if-p1", "external_ids"))
    rig.until(
        lambda: "77" in servers.sb("--bare", "--columns=nb_cfg", "list", "chassis_private").split()
    )
    rig.until(lambda: 'ovn-nb-cfg="77"' in servers.vs("get", "bridge", "br-int", "external_ids"))


def test_what_comes_in_the_midst_of_work_is_not_promised(rig: Rig) -> None:
    """Rows that arrive while the data plane works count from the next pass on, and do count."""
    controller, pipeline = rig.controller, rig.pipeline
    rig.settle()
    southbound = controller.southbound
    assert southbound is not None
    answers: list[str] = []
    controller.on_breath = lambda: answers.append("breathed")

    def number() -> int:
        return int(next(iter(southbound.tables["SB_Global"].rows.values())).nb_cfg)

    before = number()
    promised: list[int | None] = []

    def work() -> None:
        pipeline.on_update = lambda: promised.append(controller.live_nb_cfg)
        rig.servers.nb("set", "nb_global", ".", f"nb_cfg={before + 7}")
        deadline = time.monotonic() + 20
        while number() == before:
            assert time.monotonic() < deadline, "the rows never came"
            poller = ovs.poller.Poller()
            southbound.wait(poller)
            poller.timer_wait(50)
            poller.block()
            controller.breathe()

    pipeline.on_update = work
    controller.recompute()
    rig.until(lambda: controller.live_nb_cfg == before + 7)
    assert answers
    assert promised[0] == before


def test_sync_returns(rig: Rig) -> None:
    """``ovn-nbctl --wait=hv sync`` returns, twice."""
    rig.sync()
    rig.sync()


def test_port_is_released_with_its_interface(rig: Rig) -> None:
    """When the interface goes the port is given back, its zone too, and its switch's."""
    _add_port(rig.servers, "p1")
    rig.plug("p1")
    rig.until(lambda: rig.servers.port("p1", "up") == "true")
    zones = rig.controller.zones.current.values()
    assert len(zones) == 3
    taken = sorted(zones)
    rig.flushed.clear()
    rig.unplug("p1")
    rig.until(lambda: rig.servers.chassis_of("p1") == "")
    assert rig.servers.port("p1", "up") == "false"
    assert rig.flushed == taken
    assert "p1" not in rig.pipeline.interfaces
    rig.until(lambda: "ct-zone-p1" not in rig.servers.vs("get", "bridge", "br-int", "external_ids"))


def test_port_meant_for_another_chassis_is_left_alone(rig: Rig) -> None:
    """requested-chassis decides: a port of another is not claimed, and given up if it was ours."""
    _add_port(rig.servers, "p1", "--", "lsp-set-options", "p1", "requested-chassis=elsewhere")
    _add_port(rig.servers, "p2", "--", "lsp-set-options", "p2", "requested-chassis=hv1")
    rig.plug("p1")
    rig.plug("p2")
    rig.until(lambda: rig.servers.port("p2", "up") == "true")
    assert rig.servers.chassis_of("p1") == ""
    assert set(rig.pipeline.interfaces) == {"p2"}
    rig.servers.nb("lsp-set-options", "p2", "requested-chassis=elsewhere")
    rig.until(lambda: rig.servers.chassis_of("p2") == "")
    rig.until(
        lambda: "ovn-installed" not in rig.servers.vs("get", "interface", "if-p2", "external_ids")
    )


def test_interface_of_another_version_is_not_taken(rig: Rig) -> None:
    """iface-id-ver must match where the port names one."""
    _add_port(rig.servers, "p1", "--", "lsp-set-options", "p1", "iface-id-ver=2")
    _add_port(rig.servers, "p2", "--", "lsp-set-options", "p2", "iface-id-ver=2")
    rig.plug("p1", version="1")
    rig.plug("p2", version="2")
    rig.until(lambda: rig.servers.port("p2", "up") == "true")
    assert rig.servers.chassis_of("p1") == ""


def test_nested_port_goes_with_its_parent(rig: Rig) -> None:
    """A port inside another is bound and given back with it."""
    _add_port(rig.servers, "p1")
    _add_port(rig.servers, "inner", "p1", "42")
    rig.plug("p1")
    rig.until(lambda: rig.servers.port("inner", "up") == "true")
    assert "inner" in rig.pipeline.zones
    rig.unplug("p1")
    rig.until(lambda: rig.servers.chassis_of("inner") == "")


def test_localport_is_held_but_not_claimed(rig: Rig) -> None:
    """A localport is on every chassis, so nobody's."""
    _add_port(rig.servers, "lp", "--", "lsp-set-type", "lp", "localport")
    rig.plug("lp")
    rig.until(lambda: "lp" in rig.pipeline.interfaces)
    rig.settle()
    assert rig.servers.chassis_of("lp") == ""
    assert "lp" in rig.pipeline.zones


def test_gateway_port_is_claimed_by_option(rig: Rig) -> None:
    """An l2gateway port is bound where its option says, without an interface."""
    _add_port(rig.servers, "gw", "--", "lsp-set-type", "gw", "l2gateway", "--",
              "lsp-set-options", "gw", "network_name=n", "l2gateway-chassis=hv1")  # fmt: skip
    rig.until(lambda: rig.servers.port("gw", "up") == "true")
    assert rig.servers.chassis_of("gw") == "hv1"


def test_fight_over_a_port_is_slow(rig: Rig) -> None:
    """A port taken over by another chassis is claimed again, but not at once."""
    servers = rig.servers
    _add_port(servers, "p1")
    servers.sb("chassis-add", "hv2", "geneve", "127.0.0.9")
    other = servers.sb("--bare", "get", "chassis", "hv2", "_uuid").strip()
    rig.plug("p1")
    rig.until(lambda: servers.port("p1", "up") == "true")
    servers.sb("set", "port_binding", "p1", f"chassis={other}")
    rig.until(lambda: servers.chassis_of("p1") == "hv1")
    begun = time.monotonic()
    servers.sb("set", "port_binding", "p1", f"chassis={other}")
    rig.until(lambda: servers.chassis_of("p1") == "hv1")
    assert time.monotonic() - begun >= 0.3  # 0.5 s less what the tools took before


def test_datapaths_get_two_zones(rig: Rig) -> None:
    """Routers and switches have zones for DNAT and SNAT; snat-ct-zone fixes one of them."""
    servers = rig.servers
    servers.nb("lr-add", "r", "--", "set", "logical_router", "r", "options:snat-ct-zone=4000")
    servers.nb("lrp-add", "r", "r-sw", "02:00:00:00:00:fe", "10.0.0.254/24")
    _add_port(servers, "sw-r", "--", "lsp-set-type", "sw-r", "router", "--",
              "lsp-set-options", "sw-r", "router-port=r-sw")  # fmt: skip
    _add_port(servers, "p1")
    rig.plug("p1")
    # Two of the switch, two of the router, one of the port.
    rig.until(lambda: len(rig.pipeline.zones) == 5)
    zones = rig.pipeline.zones
    (fixed,) = [user for user, zone in zones.items() if zone == 4000]
    assert fixed.endswith("_snat")
    assert len(set(zones.values())) == 5


def test_restart_disturbs_nothing(rig: Rig) -> None:
    """A second controller takes over: no row of a port changes, and zones keep their numbers."""
    servers = rig.servers
    for name in ("p1", "p2", "p3"):
        _add_port(servers, name)
        rig.plug(name)
    rig.until(lambda: all(servers.port(n, "up") == "true" for n in ("p1", "p2", "p3")))
    rig.unplug("p1")
    rig.until(lambda: servers.chassis_of("p1") == "")
    rig.settle()
    zones = dict(rig.pipeline.zones)
    rig.controller.close(keep=True)
    again = Rig(servers)
    again.switch.present = dict(rig.switch.present)
    again.settle()
    assert again.pipeline.zones == zones
    assert again.flushed == []
    ports = [one for one in again.pipeline.changes if one.table == "Port_Binding"]
    assert {change.kind for change in ports} == {"insert"}
    again.close()


def test_southbound_outage_is_survived(rig: Rig) -> None:
    """While the server is away the data plane follows devices; afterwards the rows catch up."""
    servers = rig.servers
    for name in ("p1", "p2"):
        _add_port(servers, name)
    rig.plug("p1")
    rig.until(lambda: servers.port("p1", "up") == "true")
    rig.settle()
    seen = len(rig.pipeline.changes)
    southbound = rig.controller.southbound
    assert southbound is not None
    servers.stop("sb")
    rig.until(lambda: not southbound.connected)
    rig.plug("p2")
    rig.until(lambda: set(rig.pipeline.interfaces) == {"p1", "p2"})
    servers.start("sb")
    rig.until(lambda: servers.port("p2", "up") == "true")
    tables = {change.table for change in rig.pipeline.changes[seen:]}
    assert "Datapath_Binding" not in tables  # what did not change is not announced again
    rig.sync()


def test_exit_leaves_nothing(rig: Rig) -> None:
    """Ports are given back, then Chassis and Chassis_Private go."""
    servers = rig.servers
    _add_port(servers, "p1")
    rig.plug("p1")
    rig.until(lambda: servers.port("p1", "up") == "true")
    done: list[bool] = []
    rig.until(lambda: done[-1], lambda: done.append(rig.controller.remove()))
    assert servers.sb("--bare", "list", "chassis").strip() == ""
    assert servers.sb("--bare", "list", "chassis_private").strip() == ""
    assert servers.chassis_of("p1") == ""
    assert "ovn-installed" not in servers.vs("get", "interface", "if-p1", "external_ids")

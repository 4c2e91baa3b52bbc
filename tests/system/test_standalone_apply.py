# SPDX-License-Identifier: Apache-2.0
"""`apply` changes what differs, loses no packet of the rest, and changes nothing when it fails."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iovisor_ovn.demo.processes import until
from support.chains import StandaloneRig
from support.fixtures import run_name
from support.flows import Connection, PingStream, connects, reaches, serve

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_bpf]

#: What traffic changes in rows that stay.
_MOVING = frozenset({"idle_s", "forth_packets", "forth_bytes", "back_packets", "back_bytes"})
#: a and b talk all the time, through a switch, a router and a stateful firewall.
_MODULES = """
modules:
  - name: lan
    type: switch
  - name: gate
    type: router
    config:
      interfaces:
        - {name: lan, ip: 10.0.1.1/24, mac: 02:00:00:00:01:01}
        - {name: wall, ip: 10.0.2.1/24, mac: 02:00:00:00:01:02}
  - name: wall
    type: firewall
    config:
      rules:
        - {match: 'inport == "gate" && ip', action: allow-related}
"""
_LINKS = """
links:
  - {from: lan, to: gate}
  - {from: gate, to: wall}
"""
_INTERFACES = """
external_interfaces:
  - {module: lan, iface: {a}}
  - {module: wall, iface: {b}}
"""
_BASE = _MODULES + _LINKS + _INTERFACES
_RULES = "      rules:\n"
_INTERFACES_OF_GATE = "        - {name: wall, ip"


@pytest.fixture(scope="module")
def rig(module_directory: Path) -> Iterator[StandaloneRig]:
    """Return a, b and c; c is not connected in the chain that runs first."""
    made = StandaloneRig(module_directory / "apply", run_name("apply"))
    try:
        made.add_host("a", 1, ["10.0.1.2/24"], ["10.0.1.1"])
        made.add_host("b", 2, ["10.0.2.2/24"], ["10.0.2.1"])
        made.add_host("c", 3, ["10.0.1.3/24"], ["10.0.1.1"])
        serve(made.hosts["b"], 80)
        serve(made.hosts["c"], 80)
        made.up(_BASE)
        yield made
    finally:
        made.close()


@pytest.fixture
def alive(rig: StandaloneRig) -> Iterator[Callable[[], None]]:
    """Let a ping every 10 ms and a connection live through the test; call to see that they do."""
    rig.apply(_BASE)
    a = rig.hosts["a"]
    with PingStream(a, "10.0.2.2", 0.01) as stream, Connection(a, "10.0.2.2", 80) as connection:

        def look() -> None:
            stream.wait_answers(5)
            assert connection.echoes()

        yield look
        look()
        assert stream.stop() == 0, "pings were lost"


def test_a_device_comes_and_goes(rig: StandaloneRig, alive: Callable[[], None]) -> None:
    """A host that is connected talks, one that is taken off is silent, others notice nothing."""
    with_c = _BASE + "  - {module: lan, iface: {c}}\n"
    for _ in range(3):
        rig.apply(with_c)
        assert rig.hosts["c"].ping("10.0.1.2").received == 1
        alive()
        rig.apply(_BASE)
        assert rig.hosts["c"].ping("10.0.1.2", wait_s=0.2).received == 0


def test_a_module_comes_between_and_goes(rig: StandaloneRig, alive: Callable[[], None]) -> None:
    """C gets a second switch on an interface of the router's that is new, and loses it again."""
    bigger = (
        _MODULES.replace(
            _INTERFACES_OF_GATE,
            "        - {name: annex, ip: 10.0.3.1/24, mac: 02:00:00:00:01:03}\n"
            + _INTERFACES_OF_GATE,
        )
        + "  - {name: annex, type: switch}\n"
        + _LINKS
        + "  - {from: annex, to: gate}\n"
        + _INTERFACES
        + "  - {module: annex, iface: {c}}\n"
    )
    c = rig.hosts["c"]
    rig.apply(bigger)
    move = "address replace 10.0.{0}.3/24 dev eth0", "route replace default via 10.0.{0}.1"
    c.namespace.ip("address flush dev eth0", *(line.format(3) for line in move))
    try:
        assert rig.hosts["a"].ping("10.0.3.3").received == 1
        alive()
        rig.apply(_BASE)
        assert rig.hosts["a"].ping("10.0.3.3", wait_s=0.2).received == 0
    finally:
        c.namespace.ip("address flush dev eth0", *(line.format(1) for line in move))


def test_rules_come_change_and_go(rig: StandaloneRig, alive: Callable[[], None]) -> None:
    """What begins is judged by the new rules from the moment `apply` returns."""
    a, b = rig.hosts["a"], rig.hosts["b"]
    web = "        - {match: 'inport == \"gate\" && tcp.dst == 80', action: %s}\n"
    assert reaches(a, "10.0.2.2", 80)
    assert not connects(b, "10.0.1.2", 22, 0.3)
    rig.apply(_BASE.replace(_RULES, _RULES + "        - {match: tcp.dst == 81, action: reject}\n"))
    alive()
    rig.apply(_BASE.replace(_RULES, _RULES + "        - {match: tcp.dst == 81, action: drop}\n"))
    alive()
    for action in ("allow-related", "allow"):
        rig.apply(_BASE.replace(_RULES, _RULES + web.replace("inport", "ip4 && inport") % action))
        if action == "allow-related":
            alive()
    rig.apply(_BASE)
    assert reaches(a, "10.0.2.2", 80)


def test_a_route_comes_and_goes(rig: StandaloneRig, alive: Callable[[], None]) -> None:
    """Packets take the new way at once; with the route they lose it."""
    far = _BASE.replace(
        "  - name: wall\n",
        "      static_routes:\n"
        "        - {network: 198.51.100.0/24, interface: wall, next_hop: 10.0.2.2}\n"
        "  - name: wall\n",
    )
    b = rig.hosts["b"]
    b.namespace.ip("address add 198.51.100.1/32 dev lo")
    for _ in range(2):
        rig.apply(far)
        assert rig.hosts["a"].ping("198.51.100.1").received == 1
        alive()
        rig.apply(_BASE)
        assert "Destination Net Unreachable" in rig.hosts["a"].ping("198.51.100.1").output


def test_what_was_learned_survives(rig: StandaloneRig, alive: Callable[[], None]) -> None:
    """MAC addresses, neighbours, connections, counters are there after a change elsewhere."""
    alive()
    before = rig.show()
    rig.apply(_BASE + "  - {module: lan, iface: {c}}\n")
    after = rig.show()

    def known(answer: object, table: str, *columns: str) -> set[tuple[object, ...]]:
        assert isinstance(answer, dict)
        return {tuple(row[column] for column in columns) for row in answer[table]}

    for table, columns in (
        ("macs", ("module", "mac", "port")),
        ("neighbours", ("module", "port", "ip", "mac")),
    ):
        assert known(before, table, *columns)
        assert known(before, table, *columns) <= known(after, table, *columns)
    packets = {row["what"]: row["packets"] for row in before["counters"]}
    for row in after["counters"]:
        assert row["packets"] >= packets[row["what"]] > 0 or row["what"] == "default"
    alive()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            _BASE + "  - {module: lan, iface: nowhere}\n",
            "external_interfaces[2].iface: there is no device nowhere here",
        ),
        (_BASE.replace("type: switch", "type: swatch"), "did you mean switch?"),
        (_BASE + "modules: []\n", "modules"),
        (_BASE.replace("10.0.1.1/24", "10.0.1.1/33"), "modules[1].config.interfaces[0].ip"),
        (_BASE.replace('"gate" &&', '"game" &&'), "there is no port game"),
    ],
    ids=["device", "type", "twice", "address", "rule"],
)
def test_a_refused_file_changes_nothing(
    rig: StandaloneRig, alive: Callable[[], None], text: str, complaint: str
) -> None:
    """The answer names what is wrong, and the chain is as it was."""
    before = rig.show()
    refused = rig.attempt("apply", rig.write(text))
    assert refused.returncode == 1
    assert complaint in refused.stderr
    after = rig.show()
    for table in ("modules", "links", "macs", "neighbours"):
        for row in (*before[table], *after[table]):
            for moving in _MOVING & row.keys():
                del row[moving]
    for table in ("source", "modules", "links", "macs", "neighbours"):
        assert after[table] == before[table]
    alive()


def test_a_device_that_is_made_again_is_taken_up(
    rig: StandaloneRig, alive: Callable[[], None]
) -> None:
    """Its name is what counts; meanwhile `show` says that it is missing."""
    rig.apply(_BASE + "  - {module: lan, iface: {c}}\n")
    c = rig.hosts["c"]
    for _ in range(2):
        assert c.ping("10.0.1.2").received == 1
        rig.namespace.ip(f"link del {c.port}")
        until(
            lambda: (
                [d["state"] for d in rig.show()["devices"] if d["device"] == c.port] == ["missing"]
            ),
            "the device's end to be noticed",
        )
        alive()
        c.plug_in(rig.namespace, rig.directory)
        c.configure(["10.0.1.1"], checksums_by_device=True)
        until(lambda: c.ping("10.0.1.2", wait_s=0.2).received == 1, "the new device's traffic")


def test_nothing_to_change_is_no_change(rig: StandaloneRig, alive: Callable[[], None]) -> None:
    """The same file again, its comments and order of keys apart, touches nothing."""
    rig.apply(
        "# The same\n"
        + _BASE.replace("{name: lan, ip: 10.0.1.1/24,", "{ip: 10.0.1.1/24, name: lan,")
    )
    alive()


def test_without_a_chain_there_is_nothing_to_apply_to(rig: StandaloneRig) -> None:
    """The message names the run directory."""
    other = rig.directory / "other"
    refused = rig.attempt("apply", rig.write(_BASE), run_dir=other)
    assert refused.returncode == 1
    assert refused.stderr == f"iovisor-ovn: no chain runs in {other}\n"

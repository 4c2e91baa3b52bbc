# SPDX-License-Identifier: Apache-2.0
"""Whole files: what the archived project's looked like, places of errors, any text at all."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from iovisor_ovn.config.module_types import MODULE_TYPES
from iovisor_ovn.config.topology import (
    Dhcp,
    Ebpf,
    Endpoint,
    Firewall,
    Nat,
    Null,
    Place,
    Router,
    Switch,
    Topology,
)
from iovisor_ovn.config.topology_file import read_topology
from iovisor_ovn.errors import ConfigError, TopologyError

#: Every shape that the archived project's six examples have, in one chain.
ARCHIVED = """
    modules:
      - name: Lan1
        type: switch
        config:

      - name: Lan2
        type: switch

      - name: server
        type: dhcp
        config:
          netmask: 255.255.255.0
          addr_low: 10.1.1.100 # the first
          addr_high: 10.1.1.150
          dns: 9.9.9.9
          router: 10.1.1.254
          lease_time: 3600
          server_ip: 10.1.1.250
          server_mac: "b6:87:f8:00:00:01"

      - name: Masquerade
        type: nat
        config:
          public_ip: 203.0.113.100
          public_port_ip: 203.0.113.100
          public_port_mac: "7e:ee:c2:00:00:09"

      - name: Pairs
        type: onetoonenat
        config:
          nat_entries:
          - internal_ip: 10.1.1.1
            external_ip: 198.51.100.1

          - internal_ip: 10.1.1.2
            external_ip: 198.51.100.2

      - name: Gate
        type: router
        config:
          interfaces:
            - name: Lan1
              ip: 10.1.1.254
              netmask: 255.255.255.0
              mac: "7e:ee:c2:00:00:01"

            - name: Lan2
              ip: 10.1.2.254
              netmask: 255.255.255.0
              mac: "7e:ee:c2:00:00:02"

            - name: Masquerade
              ip: 203.0.113.100
              netmask: 255.255.255.0
              mac: "7e:ee:c2:00:00:03"

            - name: Pairs
              ip: 0.0.0.0
              netmask: 0.0.0.0
              mac: "7e:ee:c2:00:00:04"

          static_routes:
            - network: 0.0.0.0
              netmask: 0.0.0.0
              interface: Masquerade
              #next_hop: "0"

            - network: 10.9.0.0
              netmask: 255.255.0.0
              interface: Lan2
              next_hop: 10.1.2.9

      - name: sink
        type: null_node

    links:
      - from: Lan1
        to: Gate
      - from: Lan2
        to: Gate
      - from: Gate
        to: Masquerade
      - from: Gate
        to: Pairs
      - from: Lan1
        to: server

    external_interfaces:
      - module: Lan1
        iface: veth1
      - module: Lan2
        iface: veth2
      - module: Masquerade
        iface: veth3
      - module: Pairs
        iface: veth4
      - module: sink
        iface: veth5
"""


def read(text: str, directory: Path = Path()) -> Topology:
    """Read an indented text."""
    return read_topology(dedent(text), "chain.yaml", directory)


def problems(text: str) -> list[str]:
    """Return the lines that say what is wrong, without the file."""
    with pytest.raises(TopologyError) as caught:
        read(text)
    return [line.removeprefix("chain.yaml:") for line in str(caught.value).splitlines()]


def test_the_archived_format_is_accepted() -> None:
    """All module types and options of the archived project's files mean what they meant."""
    chain = read(ARCHIVED)
    modules = {module.name: module for module in chain.modules}
    assert list(modules) == ["Lan1", "Lan2", "server", "Masquerade", "Pairs", "Gate", "sink"]
    assert modules["Lan1"].config == modules["Lan2"].config == Switch()
    assert modules["sink"].config == Null()
    gate, nat, server = (modules[name].config for name in ("Gate", "Masquerade", "server"))
    assert isinstance(gate, Router)
    assert [interface.addresses for interface in gate.interfaces][3] == ()
    assert [str(route.network) for route in gate.static_routes] == ["0.0.0.0/0", "10.9.0.0/16"]
    assert [route.next_hop is None for route in gate.static_routes] == [True, False]
    assert isinstance(nat, Nat)
    assert (nat.inside, nat.outside) == ("Gate", "veth3")
    assert isinstance(server, Dhcp)
    assert str(server.server) == "10.1.1.250/24"


def test_ports_are_named_after_what_they_lead_to() -> None:
    """A port has the name of the peer module or of the device; links come before devices."""
    chain = read(ARCHIVED)
    ports = {module.name: module.ports for module in chain.modules}
    assert ports["Lan1"] == ("Gate", "server", "veth1")
    assert ports["Gate"] == ("Lan1", "Lan2", "Masquerade", "Pairs")
    assert chain.links[0].ends == (Endpoint("Lan1", "Gate"), Endpoint("Gate", "Lan1"))
    assert [end.device for end in chain.interfaces] == [f"veth{n}" for n in range(1, 6)]


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Each problem has a line with file, place, key and the nearest name that would do."""

    def meant(name: str) -> str:
        return f" (did you mean {name}?)"

    types = ", ".join(MODULE_TYPES)
    netmask = "255.255.0.255 is no netmask: it must be ones, then zeros"
    keys = "is no key here; possible are interfaces, static_routes, arp_entries, neighbour_age"
    assert problems("""
        modules:
          - name: lan
            type: swtch
          - name: gate
            type: router
            config:
              interfaces:
                - name: lan
                  ip: 10.0.0.1
                  netmask: 255.255.0.255
                  mac: "7e:ee:c2:01:01:01"
              static_route: []
        links:
          - from: lan
            to: gaet
    """) == [
        f"4:11: modules[0].type: 'swtch' is no type of module; there are {types}{meant('switch')}",
        f"11:20: modules[1].config.interfaces[0].netmask: {netmask}",
        f"13:7: modules[1].config.static_route: {keys}{meant('static_routes')}",
        f"16:9: links[0].to: there is no module 'gaet'{meant('gate')}",
    ]


def test_what_is_wrong_of_a_chain_is_told_beside_what_is_wrong_of_a_key() -> None:
    """An unknown key does not hide what its neighbours say."""
    assert [line.split(": ")[1] for line in problems("""
        modules:
          - name: gate
            type: router
            config:
              interfaces: [{name: v1, ip: 10.0.0.1/24, mac: 02:00:00:00:00:01, mtuu: 1400}]
              static_routes: [{network: 10.8.0.0/16, interface: v1, next_hop: 10.0.1.1}]
        external_interfaces: [{module: gate, iface: v1}, {module: gate, iface: v2}]
    """)] == [
        "modules[0].config.interfaces",
        "modules[0].config.interfaces[0].mtuu",
        "modules[0].config.static_routes[0].next_hop",
    ]  # fmt: skip


def test_an_error_is_a_config_error_with_its_parts() -> None:
    """Who shows problems otherwise than as text finds file, place and key."""
    with pytest.raises(ConfigError) as caught:
        read("modules: []")
    error = caught.value
    assert isinstance(error, TopologyError)
    assert error.source == "chain.yaml"
    assert [(found.line, found.column, found.key) for found in error.problems] == [
        (1, 10, "modules")
    ]


def test_places_are_told_and_make_no_difference() -> None:
    """Whoever checks more than the file finds the lines; a chain moved within its file is equal."""
    text = """
        modules:
          - name: wall
            type: firewall
            config:
              rules:
                - match: ip4
                  action: allow
        external_interfaces: [{module: wall, iface: v1}, {module: wall, iface: v2}]
    """
    chain, moved = read(text), read(f"\n\n{text}")
    assert chain == moved
    wall = chain.modules[0].config
    assert isinstance(wall, Firewall)
    assert wall.rules[0].place == Place(7, 18, "modules[0].config.rules[0].match")
    assert chain.modules[0].place == Place(3, 5, "modules[0]")
    assert moved.modules[0].place == Place(5, 5, "modules[0]")
    assert chain.interfaces[1].place == Place(9, 72, "external_interfaces[1].iface")


def test_programs_lie_beside_the_file(tmp_path: Path) -> None:
    """A chain and its programs move together."""
    (tmp_path / "count.c").touch()
    chain = read(
        """
        modules: [{name: m, type: ebpf, config: {program: count.c, settings: {limit: 3}}}]
        external_interfaces: [{module: m, iface: v1}]
        """,
        tmp_path,
    )
    program = chain.modules[0].config
    assert isinstance(program, Ebpf)
    assert program.program == tmp_path / "count.c"
    assert program.setting_places == {"limit": Place(2, 78, "modules[0].config.settings.limit")}


def test_ten_thousand_routes_are_read() -> None:
    """A table of any length is taken, in any order."""
    routes = "".join(
        f"      - {{network: 10.{number >> 8}.{number & 255}.0/24, interface: v1}}\n"
        for number in range(10_000)
    )
    chain = read_topology(
        "modules:\n  - name: r\n    type: router\n    config:\n"
        "      interfaces: [{name: v1, mac: 02:00:00:00:00:01}]\n"
        f"      static_routes:\n{routes}external_interfaces: [{{module: r, iface: v1}}]\n",
        "chain.yaml",
        Path(),
    )
    router = chain.modules[0].config
    assert isinstance(router, Router)
    assert len(router.static_routes) == 10_000


def test_a_thousand_problems_are_enough() -> None:
    """A file of nothing but mistakes is answered in a readable time."""
    lines = problems(f"modules: [{{name: m, type: {{}}, config: {{}}, {_many_keys(3000)}}}]")
    assert len(lines) == 1001
    assert any(line.endswith("modules[0]: has 2001 more problems") for line in lines)


def _many_keys(number: int) -> str:
    return ", ".join(f"key{index}: 1" for index in range(number))


# -- any text ----------------------------------------------------------------------------

_WORDS = st.sampled_from(
    ["modules", "name", "type", "config", "links", "from", "to", "router", "10.0.0.1/24", "0", "~"]
) | st.text(max_size=8)  # fmt: skip
_JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=6,
)


def _well_behaved(text: str) -> None:
    """Read, or raise the one error, whose lines each begin with the file's name."""
    lines = ["chain.yaml: is right"]
    try:
        read_topology(text, "chain.yaml", Path("/nowhere"))
    except TopologyError as error:
        lines = str(error).split("\n")
    for line in lines:
        assert re.match(r"chain\.yaml(:[1-9]\d*:[1-9]\d*)?: .", line)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text brings another exception than TopologyError."""
    _well_behaved(text)


@given(st.text(alphabet="ab:-[]{},&*!|>'\"#%@ \n\t?<~0", max_size=60))
def test_any_mixture_of_marks_is_read_or_refused(text: str) -> None:
    """Nor does one of what means something in YAML."""
    _well_behaved(text)


@given(_JUNK)
def test_any_structure_is_read_or_refused(value: Any) -> None:
    """Nor does any value."""
    _well_behaved(yaml.safe_dump(value, allow_unicode=True))


@given(st.data())
def test_a_chain_with_a_part_replaced_is_read_or_refused(data: st.DataObject) -> None:
    """Nor does a chain that was right until somebody put something else into it."""
    chain = yaml.safe_load(dedent(ARCHIVED))
    chain["modules"] += [{"name": kind, "type": kind, "config": {}} for kind in MODULE_TYPES]
    place = chain
    while True:
        key = data.draw(st.sampled_from(_keys(place)))
        if not _keys(place[key]) or data.draw(st.integers(0, 3)) == 0:
            break
        place = place[key]
    place[key] = data.draw(_JUNK)
    _well_behaved(yaml.safe_dump(chain, allow_unicode=True))


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []

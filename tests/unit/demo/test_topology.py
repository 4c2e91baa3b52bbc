# SPDX-License-Identifier: Apache-2.0
"""The demo's rules, as data: what they let through and how they are written."""

import shlex

from iovisor_ovn.demo.report import differences
from iovisor_ovn.demo.topology import MACHINES, SERVICES, expected, northbound
from iovisor_ovn.demo.traffic import Seen


def test_every_pair_has_an_expectation_for_every_service() -> None:
    """No case is left out: twelve ordered pairs, seven services."""
    assert len(expected()) == 12 * len(SERVICES) == 84


def test_expectations_are_what_the_groups_say() -> None:
    """Named by hand, independently of the rules: all that may pass, by source and target."""
    passes: dict[tuple[str, str], set[str]] = {}
    for (source, target, service), may in expected().items():
        if may:
            passes.setdefault((source, target), set()).add(f"{service.name}{service.version}")
    web = {"ping4", "ping6", "http4", "http6"}
    assert passes == {
        ("web1", "web2"): web,
        ("web2", "web1"): web,
        ("db1", "web1"): web,
        ("db1", "web2"): web,
        ("ops1", "web1"): web | {"ssh4"},
        ("ops1", "web2"): web | {"ssh4"},
        ("ops1", "db1"): {"ping4", "ping6"},
        ("web1", "db1"): {"sql4", "sql6"},
        ("web2", "db1"): {"sql4", "sql6"},
    }


def test_rules_are_written_as_neutron_writes_them() -> None:
    """Drop at 1001 in one group, allow at 1002 in the others, remote groups as address sets."""
    acls = [shlex.split(line) for line in northbound().splitlines() if line.startswith("acl-add")]
    drops = [words for words in acls if words[-1] == "drop"]
    allows = [words for words in acls if words[-1] == "allow-related"]
    assert len(drops) + len(allows) == len(acls)
    assert {(words[1], words[3]) for words in drops} == {("neutron_pg_drop", "1001")}
    assert {words[3] for words in allows} == {"1002"}
    assert [
        "acl-add",
        "pg_db",
        "to-lport",
        "1002",
        "outport == @pg_db && ip4 && tcp && tcp.dst == 5432 && ip4.src == $pg_web_ip4",
        "allow-related",
    ] in allows


def test_every_machine_has_port_security() -> None:
    """Each port may use its own addresses only."""
    lines = northbound().splitlines()
    for machine in MACHINES:
        own = f'"{machine.mac} {machine.ip4} {machine.ip6}"'
        assert f"lsp-set-port-security {machine.name} {own}" in lines


def test_differences_are_told_both_ways() -> None:
    """What passed but must not, and what must pass but did not, is a sentence each."""
    ping, http = SERVICES[0], SERVICES[2]
    seen = [Seen("web1", "db1", ping, 0.1), Seen("web1", "web2", http, None)]
    may = {("web1", "db1", ping): False, ("web1", "web2", http): True}
    assert differences(seen, may) == [
        "web1 → db1: ping over IPv4 must not pass but did",
        "web1 → web2: http over IPv4 must pass but did not",
    ]
    assert differences([Seen("web1", "web2", http, 0.2)], may) == []

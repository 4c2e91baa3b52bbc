# SPDX-License-Identifier: Apache-2.0
"""Which constants are taken out of a flow's texts."""

import pytest

from iovisor_ovn.language import constants_of, join_constants, split_constants


def taken(match: str, actions: str = "") -> list[str]:
    """Return the constants of both texts."""
    return constants_of(split_constants(match, actions))


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param('inport == "a" && ip4.src == 10.0.0.1', ['"a"', "10.0.0.1"], id="port"),
        pytest.param("outport == @pg && ip4", ["@pg"], id="port group"),
        pytest.param("(ip6.src == $a_ip6)", ["$a_ip6"], id="address set"),
        pytest.param("ip6.dst == {fe80::1, ff02::1:ff00:1}", ["fe80::1", "ff02::1:ff00:1"],
                     id="braces"),
        pytest.param("eth.dst == 02:00:00:00:00:01", ["02:00:00:00:00:01"], id="Ethernet"),
        pytest.param("eth.src != {02:00:00:00:00:01}", ["02:00:00:00:00:01"], id="exclusion"),
        pytest.param("ip4.src == 10.0.0.0/8 && ip6.dst == {fd00::/64, fd00::1}",
                     ["10.0.0.0/8", "fd00::/64", "fd00::1"], id="prefixes"),
        pytest.param("ip4.src == 10.0.0.0/255.0.0.0 && ip6.dst == fd00::/ffff::", [],
                     id="masks stay"),
        pytest.param("ip4.src == 0.0.0.0/0 && ip6.src == ::/0", [], id="all addresses stay"),
        pytest.param("tcp.dst == 80 && (tcp && udp.src == 53)", ["80", "53"], id="TCP and UDP"),
        pytest.param("tcp.dst == 0x50 && tcp.src == 80/0xff && udp.dst == {1, 2} && reg0 == 1", [],
                     id="other numbers stay"),
        pytest.param("ip4.src < 10.0.0.1 && ip4.dst >= 10.0.0.9", [], id="order stays"),
        pytest.param('is_chassis_resident("a") && inport == {"a", "b"}', [], id="other names stay"),
        pytest.param(r'inport == "a\"b"', [], id="escaped quote"),
    ],
)  # fmt: skip
def test_constants_of_matches(match: str, expected: list[str]) -> None:
    """Addresses, prefixes and names, where they stand alone."""
    assert expected == taken(match)


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        pytest.param('outport = "a"; eth.dst = 02:00:00:00:00:01; next;',
                     ['"a"', "02:00:00:00:00:01"], id="assignments"),
        pytest.param("nd_na { ip6.src = fe80::1; output; };", ["fe80::1"], id="nested"),
        pytest.param("ct_dnat(10.0.0.1);", ["10.0.0.1"], id="NAT"),
        pytest.param("ct_snat(10.0.0.1,1-3);", [], id="NAT with ports"),
        pytest.param("reg0[1] = put_dhcp_opts(offerip = 10.0.0.1, router = 10.0.0.2); next;", [],
                     id="arguments stay"),
        pytest.param('log(name="a", verdict=drop);', [], id="other names stay"),
        pytest.param("reg0 = 1; reg1 = 10.0.0.0/0x1;", [], id="numbers and masks stay"),
    ],
)  # fmt: skip
def test_constants_of_actions(actions: str, expected: list[str]) -> None:
    """What is assigned, and the address of NAT."""
    assert expected == taken("1", actions)


def test_other_constants_are_put_in_their_places() -> None:
    """First those of the match, then those of the actions."""
    parts = split_constants('outport == "a" && reg0 == 10.0.0.1', "eth.dst = 02:00:00:00:00:01;")
    assert join_constants(parts, ['"b"', "10.0.0.2", "02:00:00:00:00:02"]) == (
        'outport == "b" && reg0 == 10.0.0.2',
        "eth.dst = 02:00:00:00:00:02;",
    )

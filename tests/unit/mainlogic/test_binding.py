# SPDX-License-Identifier: Apache-2.0
"""Whose port is it."""

from uuid import UUID

import pytest

from iovisor_ovn.mainlogic.binding import Place, by_logical_port, may_hold
from iovisor_ovn.mainlogic.ports import Port
from iovisor_ovn.vswitch import LocalInterface

_HERE = Place("hv1", "host1")


def _port(kind: str = "", requested: str = "", parent: str = "", **options: str) -> Port:
    return Port(
        uuid=UUID(int=1), name="p", type=kind, datapath=UUID(int=2), parent=parent, chassis="",
        options={name.replace("_", "-"): value for name, value in options.items()},
        requested=requested, additional=frozenset(), encap=None, is_up=False,
    )  # fmt: skip


def _interface(name: str = "tap", port: str = "p", version: str | None = None) -> LocalInterface:
    return LocalInterface(name, port, version, 5, 1, 1500, "", "tun", False, None)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (_port(), True),
        (_port(requested_chassis="hv1"), True),
        (_port(requested_chassis="host1"), True),
        (_port(requested_chassis="hv2"), False),
        (_port(requested_chassis="hv1,hv2"), True),
        (_port(requested_chassis="hv2,hv1"), False),
        (_port(requested="hv1", requested_chassis="alias"), True),
        (_port(iface_id_ver="1"), True),
        (_port(iface_id_ver="2"), False),
        (_port(iface_id_ver="2", parent="q"), True),
        (_port("localport"), True),
        (_port("localport", requested_chassis="hv2"), True),
        (_port("virtual"), False),
        (_port("router"), False),
        (_port("l2gateway", l2gateway_chassis="hv1"), True),
        (_port("l3gateway", l3gateway_chassis="hv2"), False),
    ],
)
def test_port_with_an_interface(port: Port, expected: bool) -> None:
    """Type, version and requested chassis decide."""
    assert may_hold(port, _interface(version="1"), _HERE) is expected


@pytest.mark.parametrize("kind", ["", "localport"])
def test_port_without_an_interface(kind: str) -> None:
    """Without an interface no port of a machine is here."""
    assert not may_hold(_port(kind), None, _HERE)


def test_first_interface_of_two_keeps_the_port() -> None:
    """Of two interfaces with one iface-id the holder keeps the port, at first the first by name."""
    a, b = _interface("a"), _interface("b")
    assert by_logical_port({"a": a, "b": b}, {})["p"] == a
    assert by_logical_port({"a": a, "b": b}, {"p": b})["p"] == b
    assert by_logical_port({"a": a}, {"p": b})["p"] == a

# SPDX-License-Identifier: Apache-2.0
"""How switches share the table of learned addresses."""

from iovisor_ovn.standalone.ageing import fair_limits


def test_everyone_gets_what_fits() -> None:
    """As configured."""
    assert fair_limits({"a": 10, "b": 90}, 100) == {"a": 10, "b": 90}


def test_what_does_not_fit_is_shared() -> None:
    """By the same factor, so that all together fit and nobody is left without."""
    shares = fair_limits({"a": 100, "b": 300, "c": 1}, 200)
    assert shares == {"a": 49, "b": 149, "c": 1}
    assert sum(shares.values()) <= 200

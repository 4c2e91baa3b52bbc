# SPDX-License-Identifier: Apache-2.0
"""Small parts of a connection."""

import pytest

from iovisor_ovn.ovsdb import split_remotes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:/run/db.sock", ["unix:/run/db.sock"]),
        ("tcp:10.0.0.1:6642,tcp:10.0.0.2:6642", ["tcp:10.0.0.1:6642", "tcp:10.0.0.2:6642"]),
        ("unix:/a,b,ssl:[::1]:6642", ["unix:/a,b", "ssl:[::1]:6642"]),
    ],
)
def test_remotes_are_split(text: str, expected: list[str]) -> None:
    """Commas separate servers, but also occur in paths."""
    assert split_remotes(text) == expected

# SPDX-License-Identifier: Apache-2.0
"""The sign by which living agents know each other."""

import uuid

from iovisor_ovn.vswitch.presence import Presence, is_present


def test_an_owner_is_present_while_held() -> None:
    """Asking does not itself make the owner present."""
    owner = str(uuid.uuid4())
    assert not is_present(owner)
    presence = Presence(owner)
    assert is_present(owner)
    presence.end()
    assert not is_present(owner)


def test_a_second_agent_of_an_owner_is_no_error() -> None:
    """Two connections to one database are told apart elsewhere (by the pid file)."""
    owner = str(uuid.uuid4())
    first, second = Presence(owner), Presence(owner)
    assert is_present(owner)
    second.end()
    assert is_present(owner)
    first.end()


def test_an_overlong_owner_is_merely_absent() -> None:
    """A device's alias may hold 255 characters of anything."""
    assert not is_present("x" * 255)

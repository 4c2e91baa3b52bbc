# SPDX-License-Identifier: Apache-2.0
"""Work that is done every so many seconds."""

from types import SimpleNamespace

import pytest

from iovisor_ovn.mainlogic.regularly import Regularly


def test_work_is_done_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before, once each time, and the poller wakes for it."""
    clock = 100.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    done: list[float] = []
    timers: list[int] = []
    work = Regularly(5.0, lambda: done.append(clock))
    work.wait(SimpleNamespace(timer_wait=timers.append))
    for clock in (104.9, 105.0, 105.1, 110.0):  # noqa: B007 - the clock that is looked at
        work.run()
    assert done == [105.0, 110.0]
    clock = 120.0
    work.wait(SimpleNamespace(timer_wait=timers.append))
    assert timers == [5001, 0]

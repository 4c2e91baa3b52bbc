# SPDX-License-Identifier: Apache-2.0
"""Programs are waited for, named when they fail, and ended by their own directory only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iovisor_ovn.demo.processes import (
    CommandFailed,
    NotInTime,
    end_all,
    is_running,
    read_pid,
    run,
    until,
)

# Waits for a signal; its arguments are what matters.
_WAITING = "import signal; print('ready', flush=True); signal.pause()"


def _waiting(*words: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", _WAITING, *words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def test_a_failing_program_is_named_with_its_output() -> None:
    """The error holds command, status and what was printed on both streams."""
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    with pytest.raises(CommandFailed) as caught:
        run(sys.executable, "-c", script)
    assert caught.value.status == 3
    assert caught.value.output == "out\nerr\n"


def test_a_program_that_hangs_is_not_waited_for_longer_than_said() -> None:
    """After the deadline it is killed and the error says how long it had."""
    with pytest.raises(NotInTime, match=r"not done within 0\.3 s"):
        run(sys.executable, "-c", _WAITING, timeout_s=0.3)


def test_until_returns_the_first_true_answer_and_names_what_it_waited_for() -> None:
    """Asked again and again; a deadline ends it."""
    answers = iter([None, 0, "yes"])
    assert until(lambda: next(answers), "an answer", every_s=0) == "yes"
    with pytest.raises(NotInTime, match="an answer"):
        until(lambda: None, "an answer", timeout_s=0.05)


def test_a_directory_ends_its_own_processes_only(tmp_path: Path) -> None:
    """A process with a pid file there is ended, one that reads there is not."""
    own = _waiting(f"--pidfile={tmp_path}/a.pid")
    other = _waiting(f"{tmp_path}/a.log", "--pidfile=/nowhere/a.pid")
    try:
        end_all(tmp_path)
        assert own.wait(5) != 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_process_that_only_waits_to_be_reaped_has_ended(tmp_path: Path) -> None:
    """A pid file counts while its process runs."""
    pid_file = tmp_path / "a.pid"
    assert read_pid(pid_file) is None
    pid_file.write_text(f"{os.getpid()}\n")
    assert read_pid(pid_file) == os.getpid()
    process = _waiting()
    process.kill()
    until(lambda: not is_running(process.pid), "the end of the process")
    pid_file.write_text(f"{process.pid}\n")
    assert read_pid(pid_file) is None
    process.wait()

# SPDX-License-Identifier: Apache-2.0
"""Options as getopt_long(3) reads them."""

from pathlib import Path

import pytest

from iovisor_ovn.agent.command_line import read_command_line, read_directories
from iovisor_ovn.errors import ConfigError

_HERE = read_directories({"OVN_RUNDIR": "/run/o", "OVS_RUNDIR": "/run/v"})
_PLAIN = read_directories({})


def test_database_is_in_the_run_directory_of_ovs() -> None:
    """Without an argument the database is where OVS keeps it."""
    assert read_command_line([], _HERE).database == "unix:/run/v/db.sock"


@pytest.mark.parametrize("option", ["--pidfile", "--log-file", "-v", "--verbose"])
def test_optional_value_does_not_take_the_next_word(option: str) -> None:
    """The word after an option with an optional value is the database."""
    assert read_command_line([option, "unix:/d"], _HERE).database == "unix:/d"


def test_attached_values_are_read() -> None:
    """Values may be attached in each of the ways that start scripts use."""
    found = read_command_line(
        ["-vconsole:off", "--verbose=file:dbg", "-v", "--pidfile=/p", "--log-file=/l",
         "--unixctl=/u", "-n", "hv7", "--detach", "--no-chdir", "--monitor",
         "--overwrite-pidfile", "unix:/d"],
        _HERE,
    )  # fmt: skip
    assert found.verbose == ("console:off", "file:dbg", "")
    assert (found.pidfile, found.log_file, found.unixctl) == ("/p", "/l", "/u")
    assert (found.chassis, found.database) == ("hv7", "unix:/d")
    assert found.detach
    assert found.no_chdir
    assert found.monitor
    assert found.overwrite_pidfile


def test_the_fast_path_is_on_unless_turned_off() -> None:
    """A start script of ovn-controller's gets it."""
    assert read_command_line([], _HERE).fast_path
    assert not read_command_line(["--no-fast-path"], _HERE).fast_path


def test_absent_differs_from_the_usual_place() -> None:
    """No pid file at all and one at the usual place are told apart."""
    assert read_command_line([], _HERE).pidfile is None
    assert read_command_line(["--pidfile"], _HERE).pidfile == ""


@pytest.mark.parametrize("words", [["--unheard-of"], ["a", "b"], ["--pidf"]])
def test_unknown_words_are_refused(words: list[str]) -> None:
    """What is no option is an error that names it, abbreviations included."""
    with pytest.raises(ConfigError, match=words[-1]):
        read_command_line(words, _HERE)


def test_missing_key_is_refused(tmp_path: Path) -> None:
    """A key file that cannot be read is named before anything starts."""
    absent = str(tmp_path / "key")
    with pytest.raises(ConfigError, match="--private-key"):
        read_command_line(["-p", absent], _HERE)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "/var/run/ovn"),
        (["--pidfile"], "/var/run/ovn"),
        (["--pidfile=/x/agent.pid"], "/x"),
    ],
)
def test_state_lies_beside_the_pid_file(words: list[str], expected: str) -> None:
    """Agents that only differ in their pid files' directories do not share state."""
    assert read_command_line(words, _PLAIN).state_directory(_PLAIN) == Path(expected)


def test_run_directory_beats_the_pid_file() -> None:
    """OVN_RUNDIR, where given, says where state lies."""
    found = read_command_line(["--pidfile=/x/agent.pid"], _HERE)
    assert found.state_directory(_HERE) == Path("/run/o")

# SPDX-License-Identifier: Apache-2.0
"""The options of ovn-controller(8), read as it reads them.

They follow getopt_long(3): an option whose value is optional takes it attached only (``-vdbg``,
``--pidfile=F``), so that in ``--pidfile unix:/run/db.sock`` the second word is the database.
``argparse`` would swallow it; `_attach` therefore gives each such option an explicit, empty value.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iovisor_ovn.errors import ConfigError

__all__ = ["CommandLine", "Directories", "read_command_line", "read_directories"]

_OPTIONAL_VALUE = ("--pidfile", "--log-file", "--verbose")


@dataclass(frozen=True, slots=True)
class Directories:
    """Where the files of OVS and OVN programs lie; each has an environment variable."""

    ovs_run: Path
    ovn_run: Path
    ovn_log: Path
    ovn_etc: Path
    is_run_given: bool


@dataclass(frozen=True, slots=True)
class CommandLine:
    """All options. In ``pidfile`` and ``log_file`` None is absent and "" means the usual place."""

    database: str
    pidfile: str | None = None
    overwrite_pidfile: bool = False
    detach: bool = False
    no_chdir: bool = False
    monitor: bool = False
    log_file: str | None = None
    unixctl: str | None = None
    fast_path: bool = True
    verbose: tuple[str, ...] = ()
    chassis: str | None = None
    private_key: str | None = None
    certificate: str | None = None
    ca_cert: str | None = None

    def state_directory(self, directories: Directories) -> Path:
        """Return where the agent keeps what outlives it; agents on one machine must not share it.

        It is OVN_RUNDIR if that is set, else where the pid file is put, else the usual place.
        """
        if not directories.is_run_given and self.pidfile and self.pidfile.startswith("/"):
            return Path(self.pidfile).parent
        return directories.ovn_run


def read_directories(environment: Mapping[str, str]) -> Directories:
    """Return the directories, by default those of the distributions' packages."""
    ovn_run = environment.get("OVN_RUNDIR")
    return Directories(
        ovs_run=Path(environment.get("OVS_RUNDIR", "/var/run/openvswitch")),
        ovn_run=Path(ovn_run or "/var/run/ovn"),
        ovn_log=Path(environment.get("OVN_LOGDIR", "/var/log/ovn")),
        ovn_etc=Path(environment.get("OVN_SYSCONFDIR", "/etc")) / "ovn",
        is_run_given=bool(ovn_run),
    )


def read_command_line(arguments: Sequence[str], directories: Directories) -> CommandLine:
    """Return the options; ConfigError names what cannot be used.

    ``--help`` and ``--version`` print and end the process, as everywhere.
    """
    found = _parser().parse_args(_attach(arguments))
    database = found.database or f"unix:{directories.ovs_run}/db.sock"
    for name in ("private_key", "certificate", "ca_cert"):
        path = getattr(found, name)
        if path is not None and not os.access(path, os.R_OK):
            raise ConfigError(f"--{name.replace('_', '-')}: {path} cannot be read")
    return CommandLine(
        database=database,
        pidfile=found.pidfile,
        overwrite_pidfile=found.overwrite_pidfile,
        detach=found.detach,
        no_chdir=found.no_chdir,
        monitor=found.monitor,
        log_file=found.log_file,
        unixctl=found.unixctl,
        fast_path=not found.no_fast_path,
        verbose=tuple(found.verbose),
        chassis=found.chassis,
        private_key=found.private_key,
        certificate=found.certificate,
        ca_cert=found.ca_cert,
    )


def _attach(arguments: Sequence[str]) -> list[str]:
    attached: list[str] = []
    for word in arguments:
        if word.startswith("-v") and not word.startswith("--"):
            attached.append(f"--verbose={word[2:]}")
        elif word in _OPTIONAL_VALUE:
            attached.append(f"{word}=")
        else:
            attached.append(word)
    return attached


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise ConfigError(f"{message} (try: iovisor-ovn agent --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="iovisor-ovn agent",
        description="Run OVN's logical flows for this hypervisor in eBPF.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("database", nargs="?", help="Open_vSwitch database (unix:PATH, tcp:IP:P)")
    parser.add_argument("-n", "--chassis", metavar="NAME", help="name of this chassis")
    daemon = parser.add_argument_group("daemon")
    daemon.add_argument("--pidfile", metavar="[=FILE]", help="write and lock a pid file")
    daemon.add_argument("--overwrite-pidfile", action="store_true", help="even if one is locked")
    daemon.add_argument("--detach", action="store_true", help="return once the agent works")
    daemon.add_argument("--no-chdir", action="store_true", help="do not change directory to /")
    daemon.add_argument("--monitor", action="store_true", help="start again after a crash")
    daemon.add_argument("--unixctl", metavar="SOCKET", help="control socket")
    parser.add_argument("--no-fast-path", action="store_true",
                        help="let every packet walk over all flows")  # fmt: skip
    for accepted in ("--no-self-confinement", "--enable-dummy-vif-plug"):
        # Of use to ovn-controller only; start scripts pass them.
        daemon.add_argument(accepted, action="store_true", help=argparse.SUPPRESS)
    log = parser.add_argument_group("log")
    log.add_argument("-v", "--verbose", metavar="[=SPEC]", action="append", default=[],
                     help="levels, as in ovs-appctl(8) vlog/set")  # fmt: skip
    log.add_argument("--log-file", metavar="[=FILE]", help="write a log file")
    keys = parser.add_argument_group("TLS")
    keys.add_argument("-p", "--private-key", metavar="FILE")
    keys.add_argument("-c", "--certificate", metavar="FILE")
    keys.add_argument("-C", "--ca-cert", metavar="FILE")
    parser.add_argument("-h", "--help", action="help", help="show this text")
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="show the version")
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_rest: object) -> None:
        # Read when asked: the package's root is the one place that has the number.
        from iovisor_ovn import __version__  # noqa: PLC0415

        sys.stdout.write(f"iovisor-ovn {__version__}\n")
        parser.exit()

# SPDX-License-Identifier: Apache-2.0
"""The agent's life: start, loop, end.

With ``--detach`` the process that the user started lives on until its child reports that the agent
works, and passes on the child's exit status and words if it does not.  SIGTERM and SIGINT end the
process at once: rows and data plane stay, as with ovn-controller; ``exit`` takes both away.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import ovs.daemon
import ovs.dirs
import ovs.fatal_signal
import ovs.poller
import ovs.timeval
import ovs.util
import ovs.vlog

from iovisor_ovn.agent.command_line import (
    CommandLine,
    Directories,
    read_command_line,
    read_directories,
)
from iovisor_ovn.agent.control import Control, open_control
from iovisor_ovn.agent.parts import OpenParts, open_parts
from iovisor_ovn.cycles import look_seldom, undisturbed
from iovisor_ovn.errors import ConfigError, IovisorOvnError
from iovisor_ovn.mainlogic.controller import Controller
from iovisor_ovn.mainlogic.options import override_from_file
from iovisor_ovn.ovsdb import TlsFiles, give_tls_files

__all__ = ["run_agent"]

_log = ovs.vlog.Vlog("agent")

PROGRAM = "iovisor-ovn"
_STAND_IN = "ovn-controller"
_START_LIMIT_MS = 30_000
_END_LIMIT_MS = 10_000


def run_agent(arguments: Sequence[str]) -> int:
    """Run until told to end; return the exit status."""
    directories = read_directories(os.environ)
    ovs.util.PROGRAM_NAME = PROGRAM
    ovs.dirs.RUNDIR = str(directories.ovn_run)
    ovs.dirs.LOGDIR = str(directories.ovn_log)
    try:
        command_line = read_command_line(arguments, directories)
        override = command_line.chassis or override_from_file(
            directories.ovn_etc / "system-id-override"
        )
        _set_up(command_line, directories)
        ovs.daemon.daemonize_start()
        return _live(command_line, directories, override)
    except IovisorOvnError as error:
        _log.emer(f"agent_failed error={str(error)!r}")
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 1
    except Exception:
        # A bug of ours ends the agent; detached, the log is the only place that can tell.
        _log.exception("agent_crashed")
        raise


def _set_up(command_line: CommandLine, directories: Directories) -> None:
    if command_line.detach:
        ovs.daemon.set_detach()
    if command_line.no_chdir:
        ovs.daemon.set_no_chdir()
    if command_line.monitor:
        ovs.daemon.set_monitor()
    if command_line.overwrite_pidfile:
        ovs.daemon.ignore_existing_pidfile()
    if command_line.pidfile is not None:
        ovs.daemon.set_pidfile(command_line.pidfile)
        _make_directory(Path(ovs.daemon.make_pidfile_name(command_line.pidfile)).parent)
    _open_log(command_line, directories)
    give_tls_files(
        TlsFiles(command_line.private_key, command_line.certificate, command_line.ca_cert)
    )


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"run directory {path}: {error}") from error


def _open_log(command_line: CommandLine, directories: Directories) -> None:
    for spec in command_line.verbose:
        refused = ovs.vlog.Vlog.set_levels_from_string(spec or "any:any:dbg")
        if refused:
            raise ConfigError(f"--verbose={spec}: {refused}")
    path: Path | None = None
    if command_line.log_file is not None:
        path = directories.ovn_log / (command_line.log_file or f"{PROGRAM}.log")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("a").close()
        except OSError as error:
            raise ConfigError(f"--log-file: {error}") from error
    ovs.vlog.Vlog.init(None if path is None else str(path))
    # Of a logger without a handler, as vlog's for no file is, Python prints warnings to stderr.
    logging.lastResort = None


def _live(command_line: CommandLine, directories: Directories, override: str | None) -> int:
    look_seldom()
    state_directory = command_line.state_directory(directories)
    with undisturbed():
        opened = open_parts(
            command_line.database, state_directory, override, fast_path=command_line.fast_path
        )
    controller = Controller(opened.parts, override)
    _make_directory(directories.ovn_run)
    control = open_control(command_line.unixctl, controller, opened.describe)
    controller.on_breath = control.server.run
    _log.info(f"agent_started pid={os.getpid()} database={command_line.database}")
    _start(command_line, directories, controller, control)
    while not control.is_exiting:
        _pass(controller, control)
    _end(controller, control, opened)
    return 0


def _start(
    command_line: CommandLine, directories: Directories, controller: Controller, control: Control
) -> None:
    """Loop until the agent works, then let go of the process that the user started."""
    limit_ms = ovs.timeval.msec() + _START_LIMIT_MS if command_line.detach else None
    while not controller.is_working and not control.is_exiting:
        _pass(controller, control, limit_ms)
        if controller.is_rival:
            raise ConfigError(
                f"{command_line.database}: another switch (ovs-vswitchd or iovisor-ovn) serves "
                "this database"
            )
        if limit_ms is not None and ovs.timeval.msec() >= limit_ms:
            raise ConfigError(
                f"{command_line.database}: no Open_vSwitch database there within "
                f"{_START_LIMIT_MS // 1000} s"
            )
    if command_line.pidfile is not None:
        _stand_in(command_line, directories)
    ovs.daemon.daemonize_complete()
    _log.info("agent_works")


def _pass(controller: Controller, control: Control, limit_ms: int | None = None) -> None:
    with undisturbed():
        control.server.run()  # first: what it asks for (recompute) is done in this pass
        controller.run()
    if control.is_exiting or (limit_ms is not None and controller.is_working):
        return
    poller = ovs.poller.Poller()
    controller.wait(poller)
    control.server.wait(poller)
    if limit_ms is not None:
        poller.timer_wait_until(limit_ms)
    poller.block()


def _end(controller: Controller, control: Control, opened: OpenParts) -> None:
    limit_ms = ovs.timeval.msec() + _END_LIMIT_MS
    while not control.keep and not controller.remove():
        if ovs.timeval.msec() >= limit_ms:
            _log.warn(f"rows_left_behind seconds={_END_LIMIT_MS // 1000}")
            break
        control.server.run()
        poller = ovs.poller.Poller()
        controller.wait(poller)
        control.server.wait(poller)
        poller.timer_wait_until(limit_ms)
        poller.block()
    controller.close(keep=control.keep)
    if not control.keep:
        opened.forget()
    _log.info(f"agent_ended keep={control.keep}")
    control.finish()


def _stand_in(command_line: CommandLine, directories: Directories) -> None:
    """Let ``ovn-appctl -t ovn-controller`` find us: it goes by NAME.pid and NAME.PID.ctl.

    Only an agent whose pid file is in the run directory does so: others are not found by name.
    A pid file of that name that is not a link of ours belongs to somebody else and stays.
    """
    pidfile = Path(ovs.daemon.make_pidfile_name(command_line.pidfile))
    run = directories.ovn_run
    if pidfile.parent.resolve() != run.resolve():
        return
    link = run / f"{_STAND_IN}.pid"
    if link.exists() and not link.is_symlink():
        _log.warn(f"name_taken file={link}")
        return
    pid = os.getpid()
    usual = run / f"{PROGRAM}.{pid}.ctl"
    socket = run / command_line.unixctl if command_line.unixctl else usual
    links = {link: pidfile, run / f"{_STAND_IN}.{pid}.ctl": socket}
    if pidfile.name == f"{PROGRAM}.pid" and socket != usual:
        links[usual] = socket
    for name, target in links.items():
        name.unlink(missing_ok=True)
        name.symlink_to(target)
        ovs.fatal_signal.add_file_to_unlink(str(name))

# SPDX-License-Identifier: Apache-2.0
"""The process behind ``iovisor-ovn standalone up``: start, loop, end.

Everything of one chain lies in its run directory: the pid file, the control socket, the pins, the
numbers of conntrack zones. Its one process has the directory locked, from before it deploys until
its end. Two chains need two run directories and share no device.

In the foreground, the end of the process is the end of the chain. Detached, SIGTERM and a crash
leave the packets flowing; `up` takes the chain over, `down` takes it away.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ovs.daemon
import ovs.dirs
import ovs.poller
import ovs.unixctl
import ovs.unixctl.server
import ovs.util
import ovs.vlog
from ovs.unixctl.server import UnixctlConnection

from iovisor_ovn.config.topology import Topology
from iovisor_ovn.config.topology_file import read_topology
from iovisor_ovn.control import transact
from iovisor_ovn.cycles import look_seldom
from iovisor_ovn.dataplane import check_kernel, mount, unmount
from iovisor_ovn.dataplane.attach import attached, detach
from iovisor_ovn.dataplane.dhcp import leases_pinned
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.dataplane.module_device import device_name, remove_device
from iovisor_ovn.errors import ConfigError, IovisorOvnError
from iovisor_ovn.modules import emit
from iovisor_ovn.standalone.asking import ASK_EVERY_S
from iovisor_ovn.standalone.chain import Chain
from iovisor_ovn.standalone.lease_file import LeaseFile
from iovisor_ovn.standalone.pools import by_module
from iovisor_ovn.standalone.promiscuity import Promiscuity
from iovisor_ovn.standalone.report import report
from iovisor_ovn.standalone.store import Store
from iovisor_ovn.vswitch import NetDevices

__all__ = ["RunDirectory", "apply_file", "ask", "check_file", "run_chain", "take_down"]

_log = ovs.vlog.Vlog("standalone")
_RUN, _LIB = Path("/run"), Path("/var/lib")
#: A process that has taken its chain away is as good as gone.
_END_MS = 10_000
#: A process that has the lock listens a few milliseconds later.
_LISTEN_S = 5.0
_LISTEN_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of a chain; ``kept`` is where those are that outlive it, if anywhere else."""

    directory: Path
    kept: Path | None = None

    @property
    def pidfile(self) -> Path:
        """Whose chain it is."""
        return self.directory / "standalone.pid"

    @property
    def socket(self) -> Path:
        """Where the process listens to `ask`."""
        return self.directory / "standalone.ctl"

    @property
    def pins(self) -> Path:
        """Mount point of the bpffs with programs' links and lasting maps."""
        return self.directory / "standalone.bpffs"

    @property
    def state(self) -> Path:
        """What the next process has to know."""
        return self.directory / "standalone.json"

    @property
    def leases(self) -> Path:
        """Leases of DHCP servers: beside the rest, but for /run, which a reboot empties."""
        place = self.kept or self.directory
        if self.kept is None and place.is_relative_to(_RUN):
            place = _LIB / place.relative_to(_RUN)
        return place / "standalone.leases"

    @property
    def log(self) -> Path:
        """Log of a detached process."""
        return self.directory / "standalone.log"

    @contextlib.contextmanager
    def hold(self) -> Iterator[bool]:
        """Have the directory for oneself and one's children; False within: somebody has it.

        Raises ConfigError: there is no such directory.
        """
        try:
            place = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ConfigError(f"run directory {self.directory}: {error}") from error
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(place)


def ask(where: RunDirectory, command: str, *arguments: str) -> str:
    """Let the chain's process do something; returns its answer.

    Raises ConfigError with its words when it refuses.
    """
    with _connect(where) as line:
        try:
            return transact(line, command, *arguments)
        except OSError as error:
            raise ConfigError(f"the chain in {where.directory} does not answer") from error


def _connect(where: RunDirectory) -> socket.socket:
    """Connect to the process; one that is deploying answers when it is done."""
    until = time.monotonic() + _LISTEN_S
    while True:
        line = socket.socket(socket.AF_UNIX)
        if not line.connect_ex(str(where.socket)):
            return line
        line.close()
        if not where.directory.exists() or time.monotonic() > until:
            raise ConfigError(f"no chain runs in {where.directory}")
        with where.hold() as is_free:
            if is_free:
                raise ConfigError(f"no chain runs in {where.directory}")
        time.sleep(_LISTEN_POLL_S)


def check_file(file: Path) -> Topology:
    """Read a chain's file and work out its flows. Raises TopologyError, ConfigError."""
    topology = read_topology(_text_of(file), str(file), file.parent.resolve())
    emit(topology)
    return topology


def apply_file(where: RunDirectory, file: Path) -> None:
    """Change the running chain to a file. Raises ConfigError with all that is wrong."""
    text = _text_of(file)  # once: it may be a pipe
    if not where.directory.is_dir():
        raise ConfigError(f"no chain runs in {where.directory}")
    # Not in the request, whose reader takes a second for 100 KB.
    copy = where.directory / f"apply-{os.getpid()}.yaml"
    try:
        copy.write_text(text)
        ask(where, "standalone/apply", str(file), str(file.parent.resolve()), str(copy))
    except OSError as error:
        raise ConfigError(f"{copy}: {error}") from error
    finally:
        copy.unlink(missing_ok=True)


def take_down(where: RunDirectory) -> bool:
    """End the chain and remove all of it; False when there was nothing.

    Returns when its process has ended, so that `up` may follow at once. Raises ConfigError: it does
    not end.
    """
    had_process = False
    while where.directory.exists():
        with where.hold() as is_ours:
            if is_ours:
                return _remove_rest(where) or had_process
        had_process = True
        _let_end(where)
    return had_process


def _let_end(where: RunDirectory) -> None:
    with _end_of(where.pidfile) as ends:
        try:
            ask(where, "standalone/down")
        except ConfigError:
            # It may have failed to deploy meanwhile.
            if not ends():
                raise
        else:
            ends()


def _remove_rest(where: RunDirectory) -> bool:
    """Remove what a dead process left; False when there was nothing."""
    _save_leases(where)
    found = unmount_all(where)
    devices = NetDevices()
    Promiscuity(devices, Store(where.state).promiscuous).follow(())
    devices.close()
    where.state.unlink(missing_ok=True)
    where.socket.unlink(missing_ok=True)
    return found


@contextlib.contextmanager
def _end_of(pidfile: Path) -> Iterator[Callable[[], object]]:
    """Give a function that waits for the end of the process running now; whether it came."""
    try:
        process = os.pidfd_open(int(pidfile.read_text()))
    except (OSError, ValueError):
        yield lambda: False
        return
    poll = select.poll()
    poll.register(process, select.POLLIN)
    try:
        yield lambda: poll.poll(_END_MS)
    finally:
        os.close(process)


def unmount_all(where: RunDirectory) -> bool:
    """Remove programs, links and maps that a dead process left; False when there were none."""
    if not where.pins.exists():
        return False
    with mount(where.pins) as bpffs:
        for attachment in attached(bpffs.path):
            detach(attachment.ifindex, bpffs.path)
        remove_device(device_name(bpffs.path))
    found = unmount(where.pins)
    with contextlib.suppress(OSError):
        where.pins.rmdir()
    return found


def _save_leases(where: RunDirectory) -> None:
    """Write what clients and the kernel have agreed on since the process died."""
    if not where.pins.exists():
        return
    with mount(where.pins) as bpffs:
        known = leases_pinned(bpffs.path)
    if known:
        LeaseFile(where.leases).save(by_module(known, Store(where.state).pools))


def run_chain(
    where: RunDirectory, file: Path, *, detach_process: bool, fast_path: bool = True
) -> None:
    """Deploy the chain of a file and keep it until told to end.

    With ``detach_process`` it returns in the process that called it once the chain works. Raises
    TopologyError, ConfigError (a chain runs there already), DataplaneError; what ran before then
    goes on.
    """
    topology = check_file(file)
    check_kernel()
    try:
        where.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"run directory {where.directory}: {error}") from error
    with where.hold() as is_ours:
        if not is_ours:
            raise ConfigError(
                f"a chain runs in {where.directory} already: use `apply`, or another --run-dir"
            )
        _prepare(where, detach_process=detach_process)
        ovs.daemon.daemonize_start()
        process = _Process(where, keep_at_end=detach_process, fast_path=fast_path)
        try:
            process.start(topology)
        except BaseException:
            process.abandon()
            raise
        process.loop()


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error


def _prepare(where: RunDirectory, *, detach_process: bool) -> None:
    ovs.util.PROGRAM_NAME = "iovisor-ovn-standalone"
    ovs.dirs.RUNDIR = str(where.directory)
    ovs.daemon.set_pidfile(str(where.pidfile))
    if detach_process:
        ovs.daemon.set_detach()
        ovs.daemon.set_no_chdir()
        ovs.vlog.Vlog.init(str(where.log))
        ovs.vlog.Vlog.set_level("any", "console", "off")
    else:
        ovs.vlog.Vlog.init(None)


class _Process:
    """One chain, its control socket, its end."""

    def __init__(self, where: RunDirectory, *, keep_at_end: bool, fast_path: bool) -> None:
        self._where = where
        self._keep_at_end = keep_at_end
        self._fast_path = fast_path
        self._signalled = False
        self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ending: list[UnixctlConnection] = []
        self._chain: Chain | None = None
        self._server: ovs.unixctl.server.UnixctlServer | None = None
        # Its links may be in another namespace, its devices gone: connections and leases are there.
        self._was_there = where.pins.exists()

    def start(self, topology: Topology) -> None:
        """Listen, load the machine, put the chain into force, tell who waits for it."""
        look_seldom()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._wake[1])  # Python goes on waiting after a signal
        # Who asks before the chain works is answered when it does.
        self._where.socket.unlink(missing_ok=True)
        self._server = _listen(self._where.socket)
        bpffs = mount(self._where.pins)
        machine = Machine.load(
            bpffs.path, fast_path=self._fast_path, sharing=True, ask_every_s=ASK_EVERY_S
        )
        self._chain = Chain(
            machine, NetDevices(), Store(self._where.state), LeaseFile(self._where.leases)
        )
        self._chain.apply(topology, self._confirm)
        ovs.unixctl.command_register("standalone/apply", "SOURCE DIRECTORY FILE", 3, 3,
                                     self._on_apply, None)  # fmt: skip
        ovs.unixctl.command_register("standalone/show", "", 0, 0, self._on_show, None)
        ovs.unixctl.command_register("standalone/down", "", 0, 0, self._on_down, None)

    def _confirm(self) -> None:
        if self._signalled:
            raise ConfigError("ended by a signal before the chain worked")
        ovs.daemon.daemonize_complete()  # exits when nobody waits any more

    def loop(self) -> None:
        """Work until told to end; a bug of ours ends the chain as a signal does."""
        try:
            self._work()
        finally:
            self._end(keep=self._keep_at_end and not self._ending)

    def _work(self) -> None:
        assert self._chain is not None
        assert self._server is not None
        while not self._signalled and not self._ending:
            self._server.run()
            self._chain.run()
            poller = ovs.poller.Poller()
            self._chain.wait(poller)
            self._server.wait(poller)
            poller.fd_wait(self._wake[0], ovs.poller.POLLIN)
            if not self._ending and not self._signalled:
                poller.block()

    def abandon(self) -> None:
        """The start failed: what an earlier process left goes on, anything else goes."""
        if self._server is not None:
            self._server.close()
        self._where.socket.unlink(missing_ok=True)
        if self._chain is not None:
            self._chain.close(keep=self._was_there)
        if not self._was_there:
            self._forget()

    def _end(self, *, keep: bool) -> None:
        assert self._chain is not None
        assert self._server is not None
        self._chain.close(keep=keep)
        if not keep:
            self._forget()
        for connection in self._ending:
            connection.reply(None)
        self._server.run()
        self._server.close()
        self._where.socket.unlink(missing_ok=True)
        _log.info(f"chain_ended keep={keep}")

    def _forget(self) -> None:
        unmount_all(self._where)
        self._where.state.unlink(missing_ok=True)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._signalled = True

    def _on_apply(self, connection: UnixctlConnection, arguments: list[str], _aux: object) -> None:
        assert self._chain is not None
        source, directory, copy = arguments
        try:
            text = Path(copy).read_text()
            self._chain.apply(read_topology(text, source, Path(directory)))
        except (IovisorOvnError, OSError) as error:
            connection.reply_error(str(error))
        else:
            connection.reply(None)

    def _on_show(self, connection: UnixctlConnection, _arguments: list[str], _aux: object) -> None:
        assert self._chain is not None
        try:
            connection.reply(json.dumps(report(self._chain)))
        except (IovisorOvnError, OSError) as error:
            connection.reply_error(str(error))

    def _on_down(self, connection: UnixctlConnection, _arguments: list[str], _aux: object) -> None:
        self._ending.append(connection)


def _listen(path: Path) -> ovs.unixctl.server.UnixctlServer:
    error, server = ovs.unixctl.server.UnixctlServer.create(str(path))
    if error:
        raise ConfigError(f"control socket {path}: {os.strerror(error)}")
    return server

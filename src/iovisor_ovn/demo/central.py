# SPDX-License-Identifier: Apache-2.0
"""A private OVN central: both databases and ovn-northd in a directory."""

import shlex
import shutil
from pathlib import Path

from iovisor_ovn.demo.places import sweep
from iovisor_ovn.demo.processes import end, read_pid, run, until
from iovisor_ovn.demo.releases import INSTALLED, Release

__all__ = ["Central"]

_SCHEMAS = "/usr/share/ovn"


class Central:
    """Runs from construction until :meth:`stop`, which leaves no process."""

    def __init__(
        self,
        directory: Path,
        release: Release = INSTALLED,
        *,
        with_tcp: bool = False,
        databases: Path | None = None,
    ) -> None:
        """Start the servers; files, sockets and logs are in ``directory``, which is made.

        ``with_tcp`` also listens on free ports of 127.0.0.1 (see ``sb_tcp``).  The contents begin
        as copies of ``nb.db`` and ``sb.db`` in ``databases``, else empty.
        """
        self.directory = directory
        self.release = release
        self.nb = f"unix:{directory}/nb.sock"
        self.sb = f"unix:{directory}/sb.sock"
        self._with_tcp = with_tcp
        directory.mkdir(parents=True)
        try:
            for kind in ("nb", "sb"):
                if databases is None:
                    self.create_database(kind)
                else:
                    shutil.copy(databases / f"{kind}.db", self.database(kind))
                self.start_server(kind)
            self.start_northd()
            self.nbctl("init")
            self.sbctl("init")
        except BaseException:
            self.stop()
            raise

    def nbctl(self, *words: str, timeout_s: float = 30.0) -> str:
        """Run ovn-nbctl; return what it prints, without the last newline."""
        return self._ctl("ovn-nbctl", self.nb, words, timeout_s)

    def sbctl(self, *words: str, timeout_s: float = 30.0) -> str:
        """Run ovn-sbctl; return what it prints, without the last newline."""
        return self._ctl("ovn-sbctl", self.sb, words, timeout_s)

    def nb_lines(self, lines: str) -> str:
        """Run lines of ovn-nbctl commands, quoted as in a shell, in one transaction."""
        words: list[str] = []
        for line in lines.splitlines():
            if line.strip():
                words += [*(["--"] if words else []), *shlex.split(line)]
        return self.nbctl(*words)

    def sync(self, timeout_s: float = 30.0) -> None:
        """Wait until all hypervisors have done what the Northbound database says now."""
        self.nbctl(f"--timeout={int(timeout_s)}", "--wait=hv", "sync", timeout_s=timeout_s + 5)

    @property
    def sb_tcp(self) -> str:
        """The Southbound database's address on 127.0.0.1; needs ``with_tcp``."""
        return self._tcp("sb")

    def start_northd(self) -> None:
        """Start ovn-northd."""
        self._daemon(
            "ovn-northd", "northd", f"--ovnnb-db={self.nb}", f"--ovnsb-db={self.sb}"
        )  # fmt: skip

    def compact(self, kind: str) -> None:
        """Bring the database file (``nb`` or ``sb``) to its shortest form, up to date."""
        control = f"{self.directory}/{kind}.ctl"
        run("ovs-appctl", "-t", control, "ovsdb-server/compact", timeout_s=120)

    def stop_northd(self) -> None:
        """End ovn-northd; the databases stay."""
        self._end("northd")

    def database(self, kind: str) -> Path:
        """Return the file of a database (``nb`` or ``sb``)."""
        return self.directory / f"{kind}.db"

    def create_database(self, kind: str) -> None:
        """Make the file of a database, with no rows; there must be none."""
        schema = f"{_SCHEMAS}/ovn-{kind}.ovsschema"
        run(*self.release.command, "ovsdb-tool", "create", str(self.database(kind)), schema)

    def start_server(self, kind: str) -> None:
        """Start the server of a database; it answers when this returns."""
        tcp = ["--remote=ptcp:0:127.0.0.1"] if self._with_tcp else []
        socket = f"--remote=punix:{self.directory}/{kind}.sock"
        self._daemon("ovsdb-server", kind, socket, *tcp, str(self.database(kind)))

    def stop_server(self, kind: str) -> None:
        """End the server of a database; its file stays."""
        self._end(kind)

    def stop(self) -> None:
        """End all processes and remove the directory."""
        sweep(self.directory)

    def _ctl(self, program: str, remote: str, words: tuple[str, ...], timeout_s: float) -> str:
        command = (*self.release.command, program, f"--db={remote}", *words)
        return run(*command, timeout_s=timeout_s).removesuffix("\n")

    def _daemon(self, program: str, name: str, *options: str) -> None:
        where = self.directory / name
        run(
            *self.release.command,
            program,
            "--detach",
            "--no-chdir",
            f"--pidfile={where}.pid",
            f"--unixctl={where}.ctl",
            f"--log-file={where}.log",
            *options,
        )

    def _end(self, name: str) -> None:
        pid = read_pid(self.directory / f"{name}.pid")
        if pid is not None:
            end(pid)

    def _tcp(self, kind: str) -> str:
        log = self.directory / f"{kind}.log"

        def port() -> str | None:
            # ovsdb-server chose the port; its log is where it says which.
            return next(
                (
                    line.rsplit(" ", 1)[1]
                    for line in log.read_text().splitlines()
                    if "0:127.0.0.1: listening on port " in line
                ),
                None,
            )

        return f"tcp:127.0.0.1:{until(port, f'port of {kind}')}"

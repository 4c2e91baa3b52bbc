# SPDX-License-Identifier: Apache-2.0
"""A connection to one OVSDB database: rows in memory, changes since last time, transactions.

`Database` never waits: `run` does what is possible now, `wait` says when to call it again.  The
schema is asked from the server, so that columns which an older release lacks are merely absent
from ``tables[name].columns``.  A connection that is lost keeps its rows; once it is back, only what
became different meanwhile is a change.
"""

import enum
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import loads
from typing import Any

import ovs.db.error
import ovs.db.idl
import ovs.db.schema
import ovs.jsonrpc
import ovs.ovsuuid
import ovs.poller
import ovs.timeval
import ovs.vlog
from ovs.db.idl import Transaction

from iovisor_ovn.cycles import look_again_at_all
from iovisor_ovn.errors import OvsdbConnectionError, OvsdbError, OvsdbTransactionError
from iovisor_ovn.ovsdb.changes import ChangeLog, RowChange, Table
from iovisor_ovn.ovsdb.datums import Datums
from iovisor_ovn.ovsdb.lean import LeanTable
from iovisor_ovn.ovsdb.session import FastSession, open_session

__all__ = ["Database", "Transaction", "split_remotes"]

_log = ovs.vlog.Vlog("ovsdb")

_PROBE_INTERVAL_MS = 5000
_BACK_OFF_MS = (1000, 30_000)  # first and longest pause after a refusal
_REFUSALS = ("permission error", "not allowed")  # a read-only server, or RBAC


class _Schema(enum.Enum):
    WANTED = enum.auto()
    ASKED = enum.auto()


class Database:
    """One database, replicated as far as its caller asks.

    ``columns`` maps each table to the columns wanted.  Conditions of tables that are not given by
    `set_condition` are "all rows".  Any member of a cluster will do, not only its leader.
    """

    def __init__(
        self,
        remote: str,
        name: str,
        columns: Mapping[str, Sequence[str]],
        probe_interval_ms: int = _PROBE_INTERVAL_MS,
        *,
        required: Collection[str] = (),
        lean: Collection[str] = (),
        lock: str | None = None,
    ) -> None:
        """Begin to connect to database ``name`` at ``remote`` (several: separated by commas).

        A schema without the ``required`` tables is refused. Of ``lean`` tables rows are `LeanRow`
        (see :mod:`iovisor_ovn.ovsdb.lean`). ``lock`` is what only one client at a
        time may have (RFC 7047 section 4.1.8); without it nothing is written.
        """
        self.name = name
        self.remote = remote
        self._columns = columns
        self._probe_interval_ms = probe_interval_ms
        self._session = open_session(split_remotes(remote), probe_interval_ms)
        self._schema: _Schema | int = _Schema.WANTED
        self._schema_seqno = -1
        self._schema_read: object = None
        self._schema_text = ""
        self._is_reopening = False
        self._required = required
        self._lean = lean
        self._lock = lock
        self._idl: ovs.db.idl.Idl | None = None
        self._log = ChangeLog()
        self._conditions: dict[str, list[object]] = {}
        self._was_monitoring = False
        self._pending: list[Transaction] = []
        self._pause_ms = 0
        self._paused_until_ms = 0
        self._named_errors: set[str] = set()
        self.last_error: OvsdbError | None = None

    # State ----------------------------------------------------------------------------------

    @property
    def tables(self) -> Mapping[str, Table]:
        """Registered tables that the schema has, by name; empty before the schema has come."""
        return {} if self._idl is None else self._idl.tables

    @property
    def connected(self) -> bool:
        """Whether the rows in memory follow the server now."""
        return (
            self._idl is not None
            and not self._is_reopening
            and self._session.is_connected()
            and self._idl.state == ovs.db.idl.Idl.IDL_S_MONITORING
        )

    @property
    def ever_connected(self) -> bool:
        """Whether the first contents have come."""
        return self._was_monitoring

    @property
    def busy(self) -> bool:
        """Whether no transaction should begin: one is on its way, refused just now, or no server.

        While one is on its way the rows still show what was there before it.
        """
        paused = bool(self._paused_until_ms)
        return bool(self._pending) or paused or not self.connected or not self.is_ours

    @property
    def is_ours(self) -> bool:
        """Whether the lock is held, or none was asked for."""
        return self._lock is None or (self._idl is not None and bool(self._idl.has_lock))

    @property
    def is_anothers(self) -> bool:
        """Whether another client has the lock."""
        return self._idl is not None and not self.is_ours and bool(self._idl.is_lock_contended)

    @property
    def read_only(self) -> bool:
        """Whether the server's last answer to a transaction was that this client may not write."""
        return self.last_error is not None and any(
            word in str(self.last_error) for word in _REFUSALS
        )

    @property
    def change_seqno(self) -> int:
        """A number that grows with every change."""
        return 0 if self._idl is None else int(self._idl.change_seqno)

    # Loop -----------------------------------------------------------------------------------

    def run(self) -> bool:
        """Read what has come, send what can go; return whether rows changed."""
        if ovs.timeval.msec() >= self._paused_until_ms:
            self._paused_until_ms = 0  # here alone: `busy` is the same until `wait`
        if self._idl is None or self._is_reopening:
            self._run_without_schema()
            if self._idl is None or self._is_reopening:
                return False
        changed = bool(self._idl.run())
        if self._has_other_schema(self._idl):
            self._reopen()
            return changed
        monitoring = self._idl.state == ovs.db.idl.Idl.IDL_S_MONITORING
        if monitoring and self._log.is_reloading:
            self._log.end_reload(self._idl.tables)
            self._was_monitoring = True
        elif not monitoring:
            self._log.begin_reload()
        self._settle()
        return changed

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when `run` has something to do."""
        if self._idl is not None and not self._is_reopening:
            self._idl.wait(poller)
            for transaction in self._pending:
                transaction.wait(poller)
        else:
            self._session.wait(poller)
            self._session.recv_wait(poller)
        if self._paused_until_ms:
            poller.timer_wait_until(self._paused_until_ms)

    def changes(self) -> list[RowChange]:
        """Return what changed since the last call, oldest first."""
        return self._log.take()

    def close(self) -> None:
        """End the connection; the rows stay as they are."""
        self._session.close()

    # Requests -------------------------------------------------------------------------------

    def set_condition(self, table: str, clauses: Sequence[object]) -> None:
        """Ask only for rows that match one of ``clauses``.

        A clause is ``[column, function, value]`` as on the wire (RFC 7047 section 5.1), or a
        boolean.  Tables that the schema lacks are passed over.
        """
        self._conditions[table] = list(clauses)
        if self._idl is not None and table in self._idl.tables:
            self._idl.cond_change(table, self._conditions[table])

    def set_remote(self, remote: str, probe_interval_ms: int | None = None) -> None:
        """Go on at another server; nothing is done where neither argument is new."""
        if probe_interval_ms is not None and probe_interval_ms != self._probe_interval_ms:
            self._probe_interval_ms = probe_interval_ms
            self._session.set_probe_interval(probe_interval_ms)
        if remote == self.remote:
            return
        _log.info(f"remote_changed database={self.name} remote={remote}")
        self.remote = remote
        self._reopen()

    def reset_cluster_state(self) -> None:
        """Accept a member that is behind what was seen: the cluster was made anew."""
        if self._idl is not None:
            self._idl._min_index = 0  # noqa: SLF001 - the package has no public way

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Set, insert and delete inside; sent at the end, the answer is not waited for.

        Whoever needs the change compares again after the answer: until then `busy` is true, and
        afterwards the rows tell whether the server accepted.
        """
        assert self._idl is not None, "no schema yet"
        transaction = Transaction(self._idl)
        try:
            yield transaction
        except BaseException:
            transaction.abort()
            raise
        transaction.commit()
        self._pending.append(transaction)
        self._settle()

    def _reopen(self) -> None:
        """Connect anew and ask for the schema; the rows stay until those of the server come."""
        self._session.close()
        self._session = open_session(split_remotes(self.remote), self._probe_interval_ms)
        self._schema = _Schema.WANTED
        self._schema_seqno = -1
        self._is_reopening = self._idl is not None
        self._log.begin_reload()
        self._pending.clear()  # their answers went with the connection

    # Inside ---------------------------------------------------------------------------------

    def _run_without_schema(self) -> None:
        self._session.run()
        if not self._session.is_connected():
            return
        if self._session.get_seqno() != self._schema_seqno:
            self._schema_seqno = self._session.get_seqno()
            request = ovs.jsonrpc.Message.create_request("get_schema", [self.name])
            self._schema = request.id
            self._session.send(request)
        message = self._session.recv()
        if message is None or message.id != self._schema:
            return
        if message.type != ovs.jsonrpc.Message.T_REPLY:
            _log.warn(
                f"schema_refused database={self.name} remote={self.remote} error={message.error!r}"
            )
            self._session.force_reconnect()
            return
        self._open(message.result)

    def _has_other_schema(self, idl: ovs.db.idl.Idl) -> bool:
        """Whether the server says that the schema is another: it was converted or replaced."""
        tables = getattr(idl, "server_tables", None) or {}
        for row in tables["Database"].rows.values() if "Database" in tables else ():
            text = next(iter(row.schema), "") if row.name == self.name else ""
            if text and text != self._schema_text:
                self._schema_text = text
                if loads(text) != self._schema_read:
                    _log.warn(f"schema_changed database={self.name}")
                    return True
        return False

    def _open(self, schema: object) -> None:
        helper = ovs.db.idl.SchemaHelper(schema_json=schema)
        try:
            present = ovs.db.schema.DbSchema.from_json(schema).tables
        except ovs.db.error.Error as error:
            _log.err(f"schema_unusable database={self.name} error={str(error)!r}")
            self._session.force_reconnect()
            return
        missing: list[str] = []
        for table, wanted in self._columns.items():
            if table not in present:
                missing.append(table)
                continue
            known = [column for column in wanted if column in present[table].columns]
            missing += [f"{table}.{column}" for column in wanted if column not in known]
            helper.register_columns(table, known)
        lacking = sorted(set(self._required) - present.keys())
        if lacking:
            reason = f"{self.name}: the schema lacks {', '.join(lacking)}"
            self.last_error = OvsdbConnectionError(reason)
            _log.err(f"schema_unusable database={self.name} lacking={','.join(lacking)}")
            self._session.force_reconnect()
            return
        _log.info(
            f"schema_read database={self.name} remote={self._session.get_name()} "
            f"missing={','.join(missing) or 'none'}"
        )
        self._schema_read = schema
        self._is_reopening = False
        look_again_at_all()
        self._idl = _ReplicatingIdl(self._session, helper, self._log, self._lean)
        self._idl.lock_name = self._lock
        if isinstance(self.last_error, OvsdbConnectionError):
            self.last_error = None
        for table, clauses in self._conditions.items():
            if table in self._idl.tables:
                self._idl.cond_change(table, clauses)

    def _settle(self) -> None:
        """Look at the transactions under way; note how those ended that are no longer."""
        waiting: list[Transaction] = []
        for transaction in self._pending:
            status = transaction.commit()
            if status == Transaction.INCOMPLETE:
                waiting.append(transaction)
            elif status == Transaction.ERROR:
                self._refused(transaction.get_error())
            elif status in (Transaction.SUCCESS, Transaction.UNCHANGED):
                self._pause_ms = 0
                self.last_error = None
        self._pending = waiting

    def _refused(self, reason: str) -> None:
        self.last_error = OvsdbTransactionError(f"{self.name}: {reason}")
        if reason not in self._named_errors:
            self._named_errors.add(reason)
            _log.err(f"transaction_refused database={self.name} reason={reason!r}")
        first, longest = _BACK_OFF_MS
        self._pause_ms = min(max(first, 2 * self._pause_ms), longest)
        self._paused_until_ms = ovs.timeval.msec() + self._pause_ms


class _ReplicatingIdl(ovs.db.idl.Idl):  # type: ignore[misc]  # no types in ovs
    """The IDL on a session that is connected already, writing down what changes."""

    def __init__(
        self,
        session: FastSession,
        helper: ovs.db.idl.SchemaHelper,
        log: ChangeLog,
        lean: Collection[str],
    ) -> None:
        super().__init__(session.get_name(), helper, leader_only=False)
        self._log = log
        self._lean = {name: LeanTable(table) for name, table in self.tables.items() if name in lean}
        self._datums = Datums()
        self._session.close()
        self._session: FastSession = session

    # The package's own would make every value anew (see :mod:`iovisor_ovn.ovsdb.datums`).
    def _Idl__row_update(  # noqa: N802  a private method of the package
        self, table: ovs.db.schema.TableSchema, row: ovs.db.idl.Row, values: Mapping[str, object]
    ) -> bool:
        changed = False
        stored = row._data  # noqa: SLF001 - no public way
        for name, json in values.items():
            column = table.columns.get(name)
            if column is None:
                continue
            try:
                datum = self._datums.from_json(column.type, json)
            except ovs.db.error.Error as error:
                _log.warn(f"value_ignored table={table.name} column={name} error={str(error)!r}")
                continue
            if datum != stored.get(name):
                stored[name] = datum
                changed |= column.alert
        return changed

    # Lean tables are none of the package's business.
    def _Idl__do_parse_update(  # noqa: N802  a private method of the package
        self, updates: Any, version: str, tables: Mapping[str, ovs.db.idl.IdlTable]
    ) -> None:
        if tables is self.tables and isinstance(updates, dict):
            for name, lean in self._lean.items():
                self._update_lean(lean, updates.pop(name, {}), version)
        super()._Idl__do_parse_update(updates, version, tables)

    def _update_lean(self, lean: LeanTable, update: Mapping[str, Any], version: str) -> None:
        take = lean.update if version == ovs.db.idl.OVSDB_UPDATE else lean.update2
        for text, change in update.items():
            notice = take(ovs.ovsuuid.from_string(text), change)
            if notice is not None:
                self.change_seqno += 1
                self._log.note(notice.event, notice.row, frozenset())

    def notify(
        self, event: str, row: ovs.db.idl.Row, updates: ovs.db.idl.Row | None = None
    ) -> None:
        """Write down one change; ``updates`` holds the former values of an updated row."""
        values = {} if updates is None else updates._data  # noqa: SLF001 - no public way
        columns = frozenset(values)
        self._log.note(event, row, columns)


def split_remotes(remote: str) -> list[str]:
    """Return the servers of a comma separated list; a part without a colon belongs to a path."""
    remotes: list[str] = []
    for part in remote.split(","):
        if remotes and ":" not in part:
            remotes[-1] += "," + part
        else:
            remotes.append(part.strip())
    return remotes

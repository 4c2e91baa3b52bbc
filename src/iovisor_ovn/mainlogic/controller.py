# SPDX-License-Identifier: Apache-2.0
"""The agent's work, one pass at a time: databases in, data plane, databases out.

The order within `Controller.run` carries the promises that OVN makes to its users:

1. rows and devices are read;
2. it is worked out which ports are here and which conntrack zones they have;
3. the data plane gets all of it, and holds it when ``Pipeline.update`` returns;
4. only then ``up``, ``ovn-installed`` and ``nb_cfg`` are written.

Nothing is worked out before the local database, the devices and the Southbound database have been
read once: an agent that starts again would otherwise let go of ports that are still here.  A
database that is away stops neither the data plane nor the rest; what is to be written is worked
out from the rows on every pass, so writes that were lost come again by themselves.
"""

import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ovs.db.idl
import ovs.poller
import ovs.timeval
import ovs.vlog

from iovisor_ovn.errors import DataplaneError
from iovisor_ovn.mainlogic import chassis as chassis_rows
from iovisor_ovn.mainlogic import local as local_rows
from iovisor_ovn.mainlogic import ports as port_rows
from iovisor_ovn.mainlogic.binding import Bindings, Place
from iovisor_ovn.mainlogic.chassis import Write, find_row, plan_chassis, plan_removal, put
from iovisor_ovn.mainlogic.clock import now_ms
from iovisor_ovn.mainlogic.contention import Restraint
from iovisor_ovn.mainlogic.interfaces import Chore, Events, Pipeline, Vswitch
from iovisor_ovn.mainlogic.local import LocalRows
from iovisor_ovn.mainlogic.options import AgentOptions, read_options
from iovisor_ovn.mainlogic.zones import Zones
from iovisor_ovn.ovsdb import Database, RowChange, offer_tls_files

if TYPE_CHECKING:
    from uuid import UUID

__all__ = [
    "LOCAL_COLUMNS",
    "LOCAL_LOCK",
    "REQUIRED_TABLES",
    "SOUTHBOUND_COLUMNS",
    "Controller",
    "Parts",
    "merge_columns",
]

_log = ovs.vlog.Vlog("controller")

_RETRY_MS = 1000
_BREATH_MS = 100

Columns = Mapping[str, Sequence[str]]


def merge_columns(*parts: Columns) -> dict[str, tuple[str, ...]]:
    """Return all tables and columns that any of the parts asks for."""
    merged: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for table, columns in part.items():
            merged[table] = tuple(dict.fromkeys((*merged.get(table, ()), *columns)))
    return merged


LOCAL_COLUMNS: Columns = local_rows.COLUMNS
#: That of ovs-vswitchd, in whose place the agent stands: one of either serves a database.
LOCAL_LOCK = "ovs_vswitchd"
#: Without these a database is no Southbound database.
REQUIRED_TABLES = ("Chassis", "Datapath_Binding", "Encap", "Logical_Flow", "Port_Binding",
                   "SB_Global")  # fmt: skip
SOUTHBOUND_COLUMNS: Columns = merge_columns(chassis_rows.COLUMNS, port_rows.COLUMNS)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a controller joins.

    ``open_southbound`` is called with the remote once it is known, ``open_events`` when the
    Southbound database is open; ``flush_zone`` makes a conntrack zone forget its connections.
    """

    local: Database
    vswitch: Vswitch
    pipeline: Pipeline
    open_southbound: Callable[[str, int], Database]
    open_events: Callable[[Database], Events]
    flush_zone: Callable[[int], None]
    chores: Sequence[Chore] = ()


class Controller:
    """One chassis. Call `run`, then `wait`, again and again."""

    def __init__(self, parts: Parts, override: str | None = None) -> None:
        """Join the parts; ``override`` is a chassis name that beats the database's."""
        self._parts = parts
        self._override = override
        self._hostname = socket.gethostname()
        self._rows = LocalRows(parts.local)
        self.options = AgentOptions("", self._hostname)
        self.southbound: Database | None = None
        self.bindings = Bindings()
        self.zones = Zones(parts.flush_zone)
        self._events: Events | None = None
        self._changes: list[RowChange] = []
        self._local_changes: list[RowChange] = []
        self._notes: dict[str, str] = {}
        self._restraint = Restraint()
        self.statistics: Counter[tuple[str, str]] = Counter()
        self._zones_restored = False
        self._is_stale = True
        self._retry_at_ms = 0
        self.live_nb_cfg: int | None = None
        self._started_at_ms = now_ms()
        self._has_switched = False
        self._updated: Mapping[str, object] | None = None
        self._owes_bridge = True
        self._owes_chassis = True
        self._owes_local = True
        self._own_rows: dict[str, UUID] = {}
        self.on_breath: Callable[[], None] = lambda: None
        self._breath_due_ms = 0
        self._has_breathed = False
        parts.pipeline.breathe_by(self.breathe)

    @property
    def is_working(self) -> bool:
        """Whether the local database and the devices have been read, and passes are made."""
        return self._has_switched

    @property
    def is_rival(self) -> bool:
        """Whether another switch serves the local database."""
        return self._parts.local.is_anothers

    # One pass -------------------------------------------------------------------------------

    def run(self) -> None:
        """Do all that is possible now."""
        for chore in self._parts.chores:
            chore.run()
        self._read()
        if not self._has_switched or not self._parts.local.is_ours:
            return
        self._write_bridge()
        southbound = self.southbound
        if southbound is None or not southbound.ever_connected or not self.options.chassis:
            return
        if not southbound.tables["SB_Global"].rows:
            # Nobody has filled it: what runs goes on, what it says is taken up when it is.
            self._note("southbound_empty", "the Southbound database has no row in SB_Global")
            self._write_southbound(southbound)
            return
        self._notes.pop("southbound_empty", None)
        self._locate()
        self._update()
        if self._events is not None:
            self._events.run()
        self._write_southbound(southbound)
        self._write_local()
        self.bindings.settle(self._rows.installed)

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Wake the poller when `run` has something to do."""
        if self._has_breathed:
            poller.immediate_wake()  # what was read then is not at the sockets any more
        for chore in self._parts.chores:
            chore.wait(poller)
        self._parts.local.wait(poller)
        self._parts.vswitch.wait(poller)
        if self.southbound is not None:
            self.southbound.wait(poller)
        if self._events is not None:
            self._events.wait(poller)
        if self._restraint.due_ms is not None:
            poller.timer_wait_until(self._restraint.due_ms)
        if self._retry_at_ms:
            poller.timer_wait_until(self._retry_at_ms)
        if self.bindings.next_due_ms is not None:
            poller.timer_wait_until(self.bindings.next_due_ms)

    def breathe(self) -> None:
        """Answer whoever asks and keep connections alive; for the midst of long work.

        The rows that come are replicated, and taken up by the next pass.
        """
        if ovs.timeval.msec() < self._breath_due_ms:
            return
        self.on_breath()
        self._parts.local.run()
        if self.southbound is not None:
            self.southbound.run()
        self._has_breathed = True
        self._breath_due_ms = ovs.timeval.msec() + _BREATH_MS

    def recompute(self) -> None:
        """Work everything out again on the next pass."""
        self._parts.pipeline.recompute()
        self.statistics["pipeline", "recompute"] += 1
        self._is_stale = True

    def problems(self) -> list[dict[str, str]]:
        """Return what does not work now: ``what`` (the log's name for it) and ``reason``."""
        found = [
            {"what": "database_refused", "reason": str(database.last_error)}
            for database in (self._parts.local, self.southbound)
            if database is not None and database.last_error is not None
        ]
        if not self.options.chassis:
            found.append({"what": "no_chassis", "reason": "external_ids:system-id is not set"})
        elif not self.options.remote:
            found.append({"what": "no_remote", "reason": "external_ids:ovn-remote is not set"})
        elif not self.options.is_complete:
            found.append({"what": "no_encap", "reason": "ovn-encap-type or ovn-encap-ip missing"})
        found += [{"what": "setting_ignored", "reason": why} for why in self.options.ignored]
        found += [{"what": what, "reason": reason} for what, reason in self._notes.items()]
        found += [
            {"what": "neighbour_not_stored", "reason": f"map {name} is full, {count} rows wait"}
            for name, count in self._parts.pipeline.waiting().items()
        ]
        refused = self._parts.pipeline.refused_modules()
        found += [
            {"what": "module_refused", "reason": f"port {port}: {why}"}
            for port, why in refused.items()
        ]
        if self._restraint.is_contended(ovs.timeval.msec()):
            found.append({"what": "chassis_contended", "reason": self._chassis_contended})
        contended = self.bindings.contention.reasons()
        found += [{"what": "port_contended", "reason": reason} for reason in contended.values()]
        return found

    def _note(self, what: str, reason: str) -> None:
        """Show a problem until it is taken out of the notes; log it once."""
        if what not in self._notes:
            _log.err(f"{what} reason={reason!r}")
        self._notes[what] = reason

    # Ending ---------------------------------------------------------------------------------

    def remove(self) -> bool:
        """Give back ports and take our rows away; return whether that is done.

        Call again, with `wait` between, until it is.  A database that is away is not waited for.
        """
        self._parts.local.run()
        self._rows.take(self._parts.local.changes())
        unmark = {name: False for name, marked in self._rows.installed.items() if marked}
        unmarked = _write(self._parts.local, self._rows.plan_installed(unmark, 0))
        southbound = self.southbound
        if southbound is None or not southbound.ever_connected:
            return unmarked
        southbound.run()
        self.bindings.ports.take(southbound.changes())
        if not southbound.connected:
            _log.warn(f"rows_left_behind chassis={self.options.chassis}")
            return True
        releases = self.bindings.plan_release(southbound.tables["Port_Binding"].rows)
        removed = _write(southbound, releases or plan_removal(southbound, self.options.chassis))
        return removed and unmarked

    def close(self, *, keep: bool) -> None:
        """Let go of everything; ``keep`` leaves the packets flowing."""
        if self._events is not None:
            self._events.close()
        self._parts.pipeline.close(keep=keep)
        if self.southbound is not None:
            self.southbound.close()
        self._parts.local.close()

    # Reading --------------------------------------------------------------------------------

    def _read(self) -> None:
        self._has_breathed = False
        local = self._parts.local
        local.run()
        self._local_changes += local.changes()
        if local.is_anothers:
            self._note("database_taken", "another switch serves the local database")
        if not local.is_ours:
            return
        self._notes.pop("database_taken", None)
        changes, self._local_changes = self._local_changes, []
        self._rows.take(changes)
        self._parts.vswitch.run(changes)
        if not local.ever_connected:
            return
        self._has_switched = True
        if any(change.table in ("Open_vSwitch", "SSL") for change in changes):
            offer_tls_files(self._rows.tls_files)
            self._read_options()
        if self._rows.has_news:
            self._rows.has_news = False
            self._owes_bridge = self._owes_chassis = self._owes_local = True
        if self.southbound is not None:
            self.southbound.run()
            new = self.southbound.changes()
            self._owes_chassis |= any(change.table in chassis_rows.COLUMNS for change in new)
            self._changes += new

    def _read_options(self) -> None:
        options = read_options(self._rows.external_ids, self._hostname, self._override)
        if options == self.options:
            return
        was, self.options = self.options, options
        _log.info(
            f"options_read chassis={options.chassis or 'none'} bridge={options.bridge} "
            f"remote={options.remote or 'none'}"
        )
        for reason in options.ignored:
            _log.warn(f"setting_ignored reason={reason!r}")
        if was.chassis and was.chassis != options.chassis:
            _log.warn(f"chassis_renamed from={was.chassis} to={options.chassis or 'none'}")
        if not options.remote:
            return
        if self.southbound is None:
            self.southbound = self._parts.open_southbound(options.remote, options.probe_interval_ms)
            self._events = self._parts.open_events(self.southbound)
        else:
            self.southbound.set_remote(options.remote, options.probe_interval_ms)

    # Working out ----------------------------------------------------------------------------

    def _locate(self) -> None:
        place = Place(self.options.chassis, self.options.hostname)
        interfaces = self._parts.vswitch.interfaces(self.options.bridge)
        self.bindings.take(self._changes, interfaces, place)
        if not self._zones_restored:
            self.zones.restore(self._rows.bridge_ids(self.options.bridge) or {})
            self._zones_restored = True
        elif self.bindings.held == self._updated and not any(
            change.table in port_rows.COLUMNS for change in self._changes
        ):
            return
        users, requested = self._zone_users()
        if self.zones.assign(users, requested):
            self._is_stale = self._owes_local = True

    def _zone_users(self) -> tuple[set[str], dict[str, int]]:
        ports = self.bindings.ports
        users = set(self.bindings.held) | self.bindings.claimed
        requested: dict[str, int] = {}
        for datapath in ports.local_datapaths(users):
            links = ports.links_of(datapath)
            users |= {port.name for port in links if port.type in port_rows.NETWORK_TYPES}
            # Switches, too: that of a load balancer's connections to the client itself.
            users |= {f"{datapath}_dnat", f"{datapath}_snat"}
            zone = ports.requested_snat_zone(datapath)
            if zone is not None:
                requested[f"{datapath}_snat"] = zone
        return users, requested

    def _update(self) -> None:
        """Bring the data plane up to date; on failure it goes on as it was, and we try again."""
        held = dict(self.bindings.held)
        changed = bool(self._changes) or self._is_stale or held != self._updated
        if not changed or ovs.timeval.msec() < self._retry_at_ms:
            return
        changes, self._changes = self._changes, []
        nb_cfg = self._read_nb_cfg()  # of these changes; breathing may bring later ones
        self._is_stale = True
        self.statistics["pipeline", "compute"] += 1
        try:
            self._parts.pipeline.update(
                changes, held, dict(self.zones.current), self.options.chassis
            )
        except DataplaneError as error:
            _log.err(f"update_failed error={str(error)!r} retry_ms={_RETRY_MS}")
            self._retry_at_ms = ovs.timeval.msec() + _RETRY_MS
            self._notes["update_failed"] = str(error)
            self.statistics["pipeline", "cancel"] += 1
            return
        self._updated = held
        self._notes.pop("update_failed", None)
        self._is_stale = False
        self._retry_at_ms = 0
        self.bindings.is_live()
        if nb_cfg != self.live_nb_cfg:
            self.live_nb_cfg = nb_cfg
            self._owes_chassis = self._owes_local = True

    def _read_nb_cfg(self) -> int | None:
        assert self.southbound is not None
        rows = self.southbound.tables["SB_Global"].rows.values()
        return next((int(row.nb_cfg) for row in rows), None)

    # Writing --------------------------------------------------------------------------------

    def _write_bridge(self) -> None:
        local = self._parts.local
        if self._owes_bridge and self.options.chassis and not local.busy:
            self._owes_bridge = not _write(local, self._rows.plan_bridge(self.options))

    def _write_southbound(self, southbound: Database) -> None:
        self._restraint.due_ms = None
        if southbound.busy or not self.options.is_complete:
            return
        writes: list[Write] = []
        if self._owes_chassis:
            writes = self._calmly(self._plan_chassis(southbound)) + self._plan_nb_cfg(southbound)
            self._owes_chassis = bool(writes) or self._restraint.due_ms is not None
        rows = southbound.tables["Port_Binding"].rows
        chassis = self._own_row(southbound, "Chassis")
        writes += self.bindings.plan(rows, chassis, ovs.timeval.msec())
        _write(southbound, writes)

    def _calmly(self, writes: list[Write]) -> list[Write]:
        """Put off what was written just now and has become wrong again: somebody else writes it."""
        now = ovs.timeval.msec()
        was_contended = self._restraint.is_contended(now)
        if not writes or not self._restraint.may_write(now):
            return []
        if self._restraint.is_contended(now) and not was_contended:
            _log.err(f"chassis_contended reason={self._chassis_contended!r}")
        return writes

    @property
    def _chassis_contended(self) -> str:
        return (
            f"something else writes chassis {self.options.chassis}: is there another agent with "
            "this system-id?"
        )

    def _plan_chassis(self, southbound: Database) -> list[Write]:
        bridge = self._rows.bridge(self.options.bridge)
        root = self._rows.root
        return plan_chassis(
            southbound,
            self.options,
            () if root is None else root.iface_types,
            "" if bridge is None else bridge.datapath_type,
        )

    def _own_row(self, southbound: Database, table: str) -> ovs.db.idl.Row | None:
        """Return our row of Chassis or Chassis_Private; found once, then known by its UUID."""
        name = self.options.chassis
        rows = southbound.tables[table].rows if table in southbound.tables else {}
        known = self._own_rows.get(table)
        row = None if known is None else rows.get(known)
        if row is None or row.name != name:
            row = find_row(southbound.tables.get(table), "name", name)
            if row is not None:
                self._own_rows[table] = row.uuid
        return row

    def _plan_nb_cfg(self, southbound: Database) -> list[Write]:
        private = self._own_row(southbound, "Chassis_Private")
        nb_cfg = self.live_nb_cfg
        if private is None or nb_cfg is None or private.nb_cfg == nb_cfg:
            return []
        sb_global = next(iter(southbound.tables["SB_Global"].rows.values()), None)
        options = {} if sb_global is None else sb_global.options
        if options.get("enable_chassis_nb_cfg_update", "true") == "false":
            return []

        def write(_: object) -> None:
            private.nb_cfg = nb_cfg
            put(private, "nb_cfg_timestamp", now_ms())

        return [write]

    def _write_local(self) -> None:
        local = self._parts.local
        if local.busy:
            return
        writes: list[Write] = []
        bridge = self._rows.bridge(self.options.bridge) if self._owes_local else None
        if bridge is not None:
            writes = self._rows.plan_keys(bridge, self._bridge_keys())
            self._owes_local = bool(writes)
        marks = self.bindings.plan_installed(self._rows.installed)
        writes += self._rows.plan_module_errors(self._module_errors())
        _write(local, writes + self._rows.plan_installed(marks, now_ms()))

    def _module_errors(self) -> dict[str, str]:
        """What is wrong with users' modules, by device."""
        refused = self._parts.pipeline.refused_modules()
        held = self.bindings.held
        return {held[port].name: why for port, why in refused.items() if port in held}

    def _bridge_keys(self) -> dict[str, str | None]:
        """Return the keys of the bridge's external_ids that must change."""
        present = self._rows.bridge_ids(self.options.bridge) or {}
        keys = self.zones.differences(present)
        if present.get("ovn-startup-ts") != str(self._started_at_ms):
            keys["ovn-startup-ts"] = str(self._started_at_ms)
        nb_cfg = self.live_nb_cfg
        if nb_cfg is not None and present.get("ovn-nb-cfg", "0") != str(nb_cfg):
            keys["ovn-nb-cfg"] = str(nb_cfg)
            keys["ovn-nb-cfg-ts"] = str(now_ms())
        return keys


def _write(database: Database, writes: Sequence[Write]) -> bool:
    """Send the writes in one transaction if the database can take one; return whether none is left.

    "None is left" also means that no answer is outstanding.
    """
    if not writes:
        return not database.busy
    if not database.busy:
        with database.transaction() as transaction:
            for write in writes:
                write(transaction)
    return False

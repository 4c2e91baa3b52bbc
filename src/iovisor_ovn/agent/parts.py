# SPDX-License-Identifier: Apache-2.0
"""Put the real parts together: databases, switch, machine, pipeline.

Loading this module registers the log modules of all rooms, which must be done before the log is
opened.  What touches the kernel happens in `open_parts`, after the process has forked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ovs.vlog

from iovisor_ovn.agent.head_start import HeadStart
from iovisor_ovn.dataplane import BpfFs, check_kernel, mount, unmount
from iovisor_ovn.dataplane.conntrack import Conntrack
from iovisor_ovn.dataplane.machine import Machine
from iovisor_ovn.errors import DataplaneError
from iovisor_ovn.mainlogic import southbound as southbound_rows
from iovisor_ovn.mainlogic.controller import (
    LOCAL_COLUMNS,
    LOCAL_LOCK,
    REQUIRED_TABLES,
    SOUTHBOUND_COLUMNS,
    Parts,
    merge_columns,
)
from iovisor_ovn.mainlogic.events import EventPump
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.mainlogic.regularly import COLLECT_EVERY_S, Regularly
from iovisor_ovn.mainlogic.report import report
from iovisor_ovn.ovsdb import Database
from iovisor_ovn.vswitch import COLUMNS as SWITCH_COLUMNS
from iovisor_ovn.vswitch import NetDevices, Vswitch

__all__ = ["OpenParts", "open_parts"]

_log = ovs.vlog.Vlog("parts")

_PINS = "iovisor-ovn.bpffs"


@dataclass(frozen=True, slots=True)
class OpenParts:
    """The parts, how to show what they hold, and how to clear up after them."""

    parts: Parts
    describe: Callable[[], Mapping[str, object]]
    forget: Callable[[], None]


def open_parts(
    database: str, state_directory: Path, override: str | None, *, fast_path: bool
) -> OpenParts:
    """Load the data plane and connect to the databases.

    ``override`` is a chassis name that beats the database's. Pins lie in a bpffs mounted within
    ``state_directory``. DataplaneError, with its kinds, when the kernel cannot do it.
    """
    check_kernel()
    try:
        state_directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataplaneError(f"{state_directory}: {error}") from error
    pins = state_directory / _PINS
    bpffs = mount(pins)
    local = Database(
        database, "Open_vSwitch", merge_columns(LOCAL_COLUMNS, SWITCH_COLUMNS), lock=LOCAL_LOCK
    )
    head_start = HeadStart(local, _open_southbound, override)
    machine = head_start.during(lambda: Machine.load(bpffs.path, fast_path=fast_path))
    _log.info(f"machine_loaded pins={pins} adopted={','.join(sorted(machine.adopted)) or 'none'}")
    pipeline = Pipeline(machine)
    conntrack = Conntrack(machine.maps)
    parts = Parts(
        local=local,
        vswitch=Vswitch(local, NetDevices()),
        pipeline=pipeline,
        open_southbound=head_start.open_southbound,
        open_events=lambda southbound: EventPump(pipeline, southbound),
        flush_zone=conntrack.flush,
        chores=(Regularly(COLLECT_EVERY_S, conntrack.collect),),
    )
    return OpenParts(parts, lambda: _describe(pipeline, conntrack), lambda: _forget(bpffs, pins))


def _open_southbound(remote: str, probe_interval_ms: int) -> Database:
    columns = merge_columns(SOUTHBOUND_COLUMNS, southbound_rows.COLUMNS)
    return Database(
        remote, "OVN_Southbound", columns, probe_interval_ms, required=REQUIRED_TABLES,
        lean=southbound_rows.LEAN_TABLES,
    )  # fmt: skip


def _forget(bpffs: BpfFs, pins: Path) -> None:
    bpffs.close()
    unmount(pins)
    try:
        pins.rmdir()
    except OSError as error:
        # A copy of the mount in another mount namespace holds it; the next agent uses it again.
        _log.info(f"pin_directory_stays path={pins} reason={error.strerror}")


def _describe(pipeline: Pipeline, conntrack: Conntrack) -> Mapping[str, object]:
    """Return what the data plane holds, as plain values for JSON."""
    return {**report(pipeline), "connections": conntrack.count()}

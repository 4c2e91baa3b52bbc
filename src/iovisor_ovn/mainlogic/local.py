# SPDX-License-Identifier: Apache-2.0
"""What ovn-controller reads and writes in the Open_vSwitch database, and so do we.

Settings in Open_vSwitch.external_ids, the integration bridge and its external_ids (conntrack zones,
nb_cfg), the mark ``ovn-installed`` on interfaces.  ``plan_*`` return what must be written.
"""

from collections.abc import Iterable, Mapping
from secrets import token_bytes
from typing import TYPE_CHECKING

import ovs.db.idl
import ovs.vlog

from iovisor_ovn.mainlogic.chassis import Write, find_row
from iovisor_ovn.mainlogic.options import AgentOptions
from iovisor_ovn.ovsdb import Database, RowChange, TlsFiles, Transaction

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["COLUMNS", "INSTALLED", "MODULE_ERROR", "LocalRows"]

_log = ovs.vlog.Vlog("local")

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Open_vSwitch": ("bridges", "external_ids", "iface_types", "ssl"),
    "SSL": ("private_key", "certificate", "ca_cert"),
    "Bridge": ("name", "ports", "fail_mode", "datapath_type", "external_ids", "other_config"),
    "Port": ("name", "interfaces"),
    "Interface": ("name", "type", "external_ids"),
}

INSTALLED = "ovn-installed"
MODULE_ERROR = "iovisor-module-error"
_INSTALLED_AT = "ovn-installed-ts"


class LocalRows:
    """The rows of the local database, each read again only when it changed."""

    def __init__(self, database: Database) -> None:
        """Take the connection; its columns are `COLUMNS` and more."""
        self._database = database
        self._interfaces: dict[UUID, tuple[str, bool]] = {}
        self._module_errors: dict[UUID, str] = {}
        self._external_ids: Mapping[str, str] | None = None
        self._bridge_ids: dict[str, Mapping[str, str]] = {}
        self.installed: dict[str, bool] = {}
        self.has_news = True

    def take(self, changes: Iterable[RowChange]) -> None:
        """Follow the rows; `installed` is right then: by device, whether the mark is there.

        `has_news` is set when a row of another table than Interface changed; the reader clears it.
        """
        for change in changes:
            if change.table == "Open_vSwitch":
                self._external_ids = None
                self.has_news = True
            elif change.table == "Bridge":
                self._bridge_ids.clear()
                self.has_news = True
            elif change.table == "Interface":
                self._take_interface(change)

    @property
    def root(self) -> ovs.db.idl.Row | None:
        """The only row of table Open_vSwitch."""
        return next(iter(self._database.tables["Open_vSwitch"].rows.values()), None)

    @property
    def external_ids(self) -> Mapping[str, str]:
        """The settings; empty while there is no row."""
        if self._external_ids is None:
            root = self.root
            self._external_ids = {} if root is None else root.external_ids
        return self._external_ids

    @property
    def tls_files(self) -> TlsFiles:
        """The files that table SSL names."""
        root = self.root
        row = next(iter(getattr(root, "ssl", [])), None)
        if row is None:
            return TlsFiles()
        return TlsFiles(row.private_key or None, row.certificate or None, row.ca_cert or None)

    def bridge(self, name: str) -> ovs.db.idl.Row | None:
        """Return the row of a bridge."""
        return find_row(self._database.tables["Bridge"], "name", name)

    def bridge_ids(self, name: str) -> Mapping[str, str] | None:
        """Return a bridge's external_ids; None where there is no such bridge."""
        if name not in self._bridge_ids:
            row = self.bridge(name)
            if row is None:
                return None
            self._bridge_ids[name] = row.external_ids
        return self._bridge_ids[name]

    def plan_bridge(self, options: AgentOptions) -> list[Write]:
        """Return what makes the integration bridge, where it is missing or of the wrong kind."""
        root = self.root
        if root is None:
            return []
        bridge = self.bridge(options.bridge)
        if bridge is None:
            return [lambda transaction: self._make_bridge(transaction, root, options)]
        wanted = options.bridge_datapath_type
        if wanted and bridge.datapath_type != wanted:
            return [lambda _: setattr(bridge, "datapath_type", wanted)]
        return []

    def plan_keys(
        self, bridge: ovs.db.idl.Row, differences: Mapping[str, str | None]
    ) -> list[Write]:
        """Return what sets keys of the bridge's external_ids, or deletes them (None)."""
        if not differences:
            return []

        def write(_: Transaction) -> None:
            for key, value in differences.items():
                if value is None:
                    bridge.delkey("external_ids", key)
                else:
                    bridge.setkey("external_ids", key, value)

        return [write]

    def plan_installed(self, wanted: Mapping[str, bool], now_ms: int) -> list[Write]:
        """Return what sets or takes away the marks of these devices."""
        if not wanted:
            return []
        rows = self._database.tables["Interface"].rows
        uuids = {name: uuid for uuid, (name, _installed) in self._interfaces.items()}

        def write(_: Transaction) -> None:
            for name, installed in wanted.items():
                row = rows[uuids[name]]
                if installed:
                    row.setkey("external_ids", INSTALLED, "true")
                    row.setkey("external_ids", _INSTALLED_AT, str(now_ms))
                else:
                    row.delkey("external_ids", INSTALLED)
                    row.delkey("external_ids", _INSTALLED_AT)

        return [write]

    def plan_module_errors(self, wanted: Mapping[str, str]) -> list[Write]:
        """Return what makes interfaces say what is wrong with their modules, by device."""
        if not wanted and not self._module_errors:
            return []
        differing = {
            uuid: wanted.get(name, "")
            for uuid, (name, _installed) in self._interfaces.items()
            if self._module_errors.get(uuid, "") != wanted.get(name, "")
        }
        rows = self._database.tables["Interface"].rows

        def write(_: Transaction) -> None:
            for uuid, why in differing.items():
                if why:
                    rows[uuid].setkey("external_ids", MODULE_ERROR, why)
                else:
                    rows[uuid].delkey("external_ids", MODULE_ERROR)

        return [write] if differing else []

    def _take_interface(self, change: RowChange) -> None:
        uuid = change.row.uuid
        old = self._interfaces.pop(uuid, None)
        self._module_errors.pop(uuid, None)
        if old is not None and old[0] not in (name for name, _ in self._interfaces.values()):
            self.installed.pop(old[0], None)
        if change.kind != "delete":
            name = str(change.row.name)
            installed = change.row.external_ids.get(INSTALLED) == "true"
            self._interfaces[uuid] = (name, installed)
            if MODULE_ERROR in change.row.external_ids:
                self._module_errors[uuid] = str(change.row.external_ids[MODULE_ERROR])
            self.installed[name] = installed

    def _make_bridge(
        self, transaction: Transaction, root: ovs.db.idl.Row, options: AgentOptions
    ) -> None:
        tables = self._database.tables
        interface = transaction.insert(tables["Interface"])
        interface.name = options.bridge
        interface.type = "internal"
        port = transaction.insert(tables["Port"])
        port.name = options.bridge
        port.interfaces = [interface]
        bridge = transaction.insert(tables["Bridge"])
        bridge.name = options.bridge
        bridge.fail_mode = ["secure"]
        bridge.datapath_type = options.bridge_datapath_type
        # An address of its own, so that the bridge's identity does not hang on its ports.
        bridge.other_config = {"hwaddr": _local_mac(), "disable-in-band": "true"}
        bridge.ports = [port]
        root.verify("bridges")
        root.bridges = [*root.bridges, bridge]
        _log.info(f"bridge_creating bridge={options.bridge}")


def _local_mac() -> str:
    """Return a random unicast address from the locally administered range."""
    octets = bytearray(token_bytes(6))
    octets[0] = octets[0] & 0xFC | 0x02
    return ":".join(f"{octet:02x}" for octet in octets)

# SPDX-License-Identifier: Apache-2.0
"""Connections to OVSDB databases.

`Database` keeps the wanted rows in memory and lists what changed:

    southbound = Database("tcp:10.0.0.1:6642,tcp:10.0.0.2:6642", "OVN_Southbound",
                          {"Chassis": ("name", "hostname"), "FDB": ("mac", "timestamp")})
    while True:
        southbound.run()
        for change in southbound.changes():
            print(change.table, change.kind, change.row.uuid, change.columns)
        if southbound.ever_connected and not southbound.busy:
            with southbound.transaction() as transaction:
                row = transaction.insert(southbound.tables["Chassis"])
                row.name = "hv1"
        southbound.wait(poller); poller.block()
"""

from iovisor_ovn.ovsdb.changes import RowChange, Table
from iovisor_ovn.ovsdb.database import Database, Transaction, split_remotes
from iovisor_ovn.ovsdb.lean import LeanRow
from iovisor_ovn.ovsdb.tls import TlsFiles, give_tls_files, offer_tls_files

__all__ = ["Database", "LeanRow", "RowChange", "Table", "TlsFiles", "Transaction", "give_tls_files",
       "offer_tls_files", "split_remotes"]  # fmt: skip

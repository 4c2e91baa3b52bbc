# SPDX-License-Identifier: Apache-2.0
"""Run a Vswitch on a database until killed: ``python vswitch_runner.py unix:DB``.

Prints ``interfaces {...}`` (JSON by name) for each change of the working interfaces.  The
connection is the plainest one that offers what a Vswitch needs, so that these tests depend on no
other room.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ovs.db.idl
import ovs.poller

from iovisor_ovn.vswitch import COLUMNS, NetDevices, Vswitch

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


@dataclasses.dataclass(frozen=True)
class Change:
    """A changed row."""

    table: str
    kind: str
    row: object
    columns: frozenset[str]


class NotifyingIdl(ovs.db.idl.Idl):  # type: ignore[misc]  # the ovs package has no types
    """Collects what the server tells."""

    def __init__(self, remote: str, schema: Any) -> None:
        """Connect."""
        super().__init__(remote, schema)
        self.collected: list[Change] = []

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        """Note one changed row; ``updates`` holds the former values of an update."""
        kind = "insert" if event == ovs.db.idl.ROW_CREATE else event
        columns = frozenset(updates._data) if updates is not None else frozenset()
        self.collected.append(Change(row._table.name, kind, row, columns))


class Database:
    """A connection with at most one transaction on its way."""

    def __init__(self, remote: str) -> None:
        """Connect and register the switch's columns."""
        helper = ovs.db.idl.SchemaHelper(SCHEMA)
        for table, columns in COLUMNS.items():
            helper.register_columns(table, list(columns))
        self._idl = NotifyingIdl(remote, helper)
        self._transaction: Any = None
        self.tables = self._idl.tables

    @property
    def ever_connected(self) -> bool:
        """Whether the first contents have come."""
        return bool(self._idl.has_ever_connected())

    @property
    def busy(self) -> bool:
        """Whether a transaction has no answer yet."""
        return self._transaction is not None

    def run(self) -> None:
        """Read what has come, answers included."""
        self._idl.run()
        if self._transaction is not None:
            self._commit()

    def wait(self, poller: Any) -> None:
        """Wake the poller when something comes."""
        self._idl.wait(poller)
        if self._transaction is not None:
            self._transaction.wait(poller)

    def changes(self) -> Sequence[Change]:
        """Return the changes since the last call."""
        changes, self._idl.collected = self._idl.collected, []
        return changes

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Send what is set meanwhile."""
        self._transaction = ovs.db.idl.Transaction(self._idl)
        yield
        self._commit()

    def _commit(self) -> None:
        status = self._transaction.commit()
        if status != ovs.db.idl.Transaction.INCOMPLETE:
            report("transaction", f"{status} {self._transaction.get_error()}")
            self._transaction = None


def report(what: str, text: str) -> None:
    """Write a line for the test to read."""
    sys.stdout.write(f"{what} {text}\n")
    sys.stdout.flush()


def main() -> None:
    """Loop as the agent does."""
    database = Database(sys.argv[1])
    switch = Vswitch(database, NetDevices())
    while True:
        database.run()
        if switch.run():
            found = {n: dataclasses.asdict(i) for n, i in switch.interfaces().items()}
            report("interfaces", json.dumps(found))
        poller = ovs.poller.Poller()
        switch.wait(poller)
        database.wait(poller)
        poller.block()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Run a Vswitch on a database until killed: ``python vswitch_runner.py unix:DB``.

Prints ``interfaces {...}`` (JSON by name) for each change of the working interfaces.
"""

import dataclasses
import json
import sys

import ovs.poller

from iovisor_ovn.ovsdb import Database
from iovisor_ovn.vswitch import COLUMNS, NetDevices, Vswitch


def main() -> None:
    """Loop as the agent does."""
    database = Database(sys.argv[1], "Open_vSwitch", COLUMNS)
    switch = Vswitch(database, NetDevices())
    while True:
        database.run()
        if switch.run():
            found = {n: dataclasses.asdict(i) for n, i in switch.interfaces().items()}
            sys.stdout.write(f"interfaces {json.dumps(found)}\n")
            sys.stdout.flush()
        poller = ovs.poller.Poller()
        switch.wait(poller)
        database.wait(poller)
        poller.block()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The switch that the other clients of the Open_vSwitch database see, and the kernel's devices.

`Vswitch` keeps the database and the devices in step and says which interfaces work:

    devices = NetDevices()
    switch = Vswitch(database, devices)   # database opened with COLUMNS
    while True:
        database.run()
        if switch.run():
            use(switch.interfaces())      # {"tap0": LocalInterface(ifindex=7, ofport=1, ...)}
        switch.wait(poller); database.wait(poller); poller.block()
"""

from iovisor_ovn.vswitch.devices import NetDevices
from iovisor_ovn.vswitch.interfaces import LocalInterface
from iovisor_ovn.vswitch.rows import COLUMNS
from iovisor_ovn.vswitch.rtnl import Link
from iovisor_ovn.vswitch.vswitch import Vswitch

__all__ = ["COLUMNS", "Link", "LocalInterface", "NetDevices", "Vswitch"]

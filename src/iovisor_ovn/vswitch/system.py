# SPDX-License-Identifier: Apache-2.0
"""What the one row of table Open_vSwitch says of the switch and the machine."""

import platform
from collections.abc import Mapping

from iovisor_ovn.vswitch.ports import ColumnValue
from iovisor_ovn.vswitch.rows import RootRow

__all__ = ["DB_VERSION", "IFACE_TYPES", "OVS_VERSION", "root_columns"]

# The release whose behaviour towards other clients is followed, and the schema that belongs to it:
# clients choose by these what they may ask for.
OVS_VERSION = "3.1.0"
DB_VERSION = "8.3.1"

# Geneve and VXLAN as encapsulations between chassis; the others as types of Interface rows.
IFACE_TYPES = ("geneve", "internal", "patch", "system", "tap", "vxlan")
_DATAPATH_TYPES = ("system",)


def root_columns(root: RootRow) -> Mapping[str, ColumnValue]:
    """Return what the row should hold once ``next_cfg`` has been dealt with.

    The operating system is filled in only if nobody has: on a machine with ``ovs-ctl`` that has
    done it.
    """
    columns: dict[str, ColumnValue] = {
        "cur_cfg": root.next_cfg,
        "ovs_version": [OVS_VERSION],
        "db_version": [DB_VERSION],
        "datapath_types": list(_DATAPATH_TYPES),
        "iface_types": list(IFACE_TYPES),
        "dpdk_initialized": False,
    }
    if root.system_type is None:
        name, version = _operating_system()
        columns["system_type"] = [name]
        columns["system_version"] = [version]
    return columns


def _operating_system() -> tuple[str, str]:
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        return "unknown", "unknown"
    return found.get("ID", "unknown"), found.get("VERSION_ID", "unknown")

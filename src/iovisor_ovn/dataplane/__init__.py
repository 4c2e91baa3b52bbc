# SPDX-License-Identifier: Apache-2.0
"""Everything that speaks bpf(2), bpffs or tc; it knows nothing of OVN.

A start of the agent reads like this::

    check_kernel()
    bpffs = mount(run_directory / "bpffs")
    with Object.open("machine.bpf.o") as machine:
        machine.set_rodata({"fast_path_on": 1})
        adoption = machine.adopt_or_create(bpffs.path, ABI_VERSION)
    machine.maps["entries"].update_many(keys, values)
    attach_ingress(machine.programs["vif"], ifindex, bpffs.path)
    reader = RingReader(machine.maps["events"])
"""

from iovisor_ovn.dataplane.attach import (
    Attachment,
    Direction,
    Hook,
    attach_egress,
    attach_ingress,
    attached,
    detach,
    has_tcx,
    restored_on_failure,
)
from iovisor_ovn.dataplane.bpffs import BpfFs, mount, unmount
from iovisor_ovn.dataplane.maps import (
    BPF_F_MMAPABLE,
    BPF_F_NO_PREALLOC,
    Map,
    MapLayout,
    MapType,
    Update,
)
from iovisor_ovn.dataplane.program import (
    Adoption,
    Object,
    Program,
    ProgramInfo,
    TestRun,
    remove_other_versions,
)
from iovisor_ovn.dataplane.ringbuf import RingReader
from iovisor_ovn.dataplane.support import check_kernel

__all__ = [
    "BPF_F_MMAPABLE",
    "BPF_F_NO_PREALLOC",
    "Adoption",
    "Attachment",
    "BpfFs",
    "Direction",
    "Hook",
    "Map",
    "MapLayout",
    "MapType",
    "Object",
    "Program",
    "ProgramInfo",
    "RingReader",
    "TestRun",
    "Update",
    "attach_egress",
    "attach_ingress",
    "attached",
    "check_kernel",
    "detach",
    "has_tcx",
    "mount",
    "remove_other_versions",
    "restored_on_failure",
    "unmount",
]

# SPDX-License-Identifier: Apache-2.0
"""Play an agent for ``test_binding_survival.py``: take over or begin, say so, die at once.

Usage: survivor.py RUN_DIRECTORY OBJECT. Prints one line of JSON.
"""

import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path

from iovisor_ovn.dataplane import Object, attach_ingress, attached, mount

_VERSION = 1


def main(directory: Path, binding_path: Path) -> None:
    """Do all that an agent does with the kernel at its start."""
    bpffs = mount(directory / "bpffs")
    with Object.open(binding_path) as binding:
        adoption = binding.adopt_or_create(bpffs.path, _VERSION)
    before = attached(bpffs.path)
    attach_ingress(binding.programs["count"], socket.if_nametoindex("lo"), bpffs.path)
    value = binding.maps["shared"].lookup(struct.pack("=I", 0)) or bytes(4)
    found = {
        "lasting": bpffs.lasting,
        "namespace": str(Path("/proc/self/ns/mnt").readlink()),
        "hides_sys_fs_bpf": not any(Path("/sys/fs/bpf").glob("*")),
        "adopted": sorted(adoption.adopted),
        "attached": len(before),
        "counted": struct.unpack("=I", value)[0],
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

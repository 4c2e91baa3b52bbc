# SPDX-License-Identifier: Apache-2.0
"""Find out before anything else whether this machine can run the data plane, and say what lacks.

Everything is tried rather than guessed from versions, except the kernel release itself: 6.1 is
the oldest on which the programs are tested.
"""

import errno
import os
import re
from pathlib import Path

from iovisor_ovn.dataplane import libbpf
from iovisor_ovn.dataplane.maps import MapType
from iovisor_ovn.errors import KernelSupportError

__all__ = ["KERNEL_FLOOR", "capabilities", "check_kernel", "kernel_release"]

KERNEL_FLOOR = (6, 1)

# linux/capability.h. CAP_SYS_ADMIN stands for the narrower ones, and mounting needs it.
_NEEDED = {12: "CAP_NET_ADMIN", 39: "CAP_BPF", 21: "CAP_SYS_ADMIN"}
_SYS_ADMIN = 21
_BPF = 39
_BTF = Path("/sys/kernel/btf/vmlinux")
_JIT = Path("/proc/sys/net/core/bpf_jit_enable")
_STATUS = Path("/proc/self/status")


def kernel_release(release: str) -> tuple[int, int]:
    """Read major and minor out of a release such as ``6.1.0-28-amd64``."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers is None:
        raise KernelSupportError(f"kernel release {release!r} has no major.minor")
    return int(numbers[1]), int(numbers[2])


def capabilities(status: str) -> frozenset[int]:
    """Read the effective capabilities (their numbers) out of the text of ``/proc/PID/status``."""
    line = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    mask = int(line[1], 16) if line else 0
    return frozenset(number for number in range(mask.bit_length()) if mask >> number & 1)


def check_kernel() -> None:
    """Raise KernelSupportError naming everything that is missing; return when nothing is."""
    missing = [*_missing_release(), *_missing_privileges()]
    if not missing:
        missing = [*_missing_bpf(), *_missing_btf(), *_missing_jit()]
    if missing:
        raise KernelSupportError("this machine cannot run the data plane: " + "; ".join(missing))


def _missing_release() -> list[str]:
    release = os.uname().release
    if kernel_release(release) >= KERNEL_FLOOR:
        return []
    return [f"kernel {KERNEL_FLOOR[0]}.{KERNEL_FLOOR[1]} or later is needed, this is {release}"]


def _missing_privileges() -> list[str]:
    held = capabilities(_STATUS.read_text())
    if _SYS_ADMIN in held:
        held |= {_BPF}
    lacking = [name for number, name in _NEEDED.items() if number not in held]
    return [f"the process lacks {', '.join(lacking)} (run it as root)"] if lacking else []


def _missing_bpf() -> list[str]:
    # The smallest map tells at once: no bpf(2), refused by a security policy, memory limit.
    fd = libbpf.call("bpf_map_create", MapType.ARRAY, b"iovisor_probe", 4, 4, 1, None)
    if fd >= 0:
        os.close(fd)
        return []
    if fd == -errno.ENOSYS:
        return ["the kernel was built without bpf(2) (CONFIG_BPF_SYSCALL)"]
    if fd == -errno.EPERM:
        return ["bpf(2) is refused (a container's seccomp filter or the locked-memory limit)"]
    return [f"bpf(2) does not work: {libbpf.error_text(fd)}"]


def _missing_btf() -> list[str]:
    if _BTF.exists():
        return []
    return [f"{_BTF} is not there (CONFIG_DEBUG_INFO_BTF, or /sys is not mounted)"]


def _missing_jit() -> list[str]:
    # Only the first network namespace shows it; the verifier refuses callbacks without the JIT.
    if not _JIT.exists() or _JIT.read_text().strip() != "0":
        return []
    return ["the BPF JIT is off, and the programs need it (sysctl net.core.bpf_jit_enable=1)"]

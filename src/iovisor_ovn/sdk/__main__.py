# SPDX-License-Identifier: Apache-2.0
"""``python3 -m iovisor_ovn.sdk``: where ``<iovisor_ovn/module.h>`` is, for ``clang -I``."""

import sys

from iovisor_ovn.dataplane.module_source import INCLUDE

sys.stdout.write(f"{INCLUDE}\n")

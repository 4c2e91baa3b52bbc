# SPDX-License-Identifier: Apache-2.0
"""The time as rows of OVN's databases have it."""

import time

__all__ = ["now_ms"]


def now_ms() -> int:
    """Return the time of day in whole ms since 1970 (ovs.timeval counts from boot, in floats)."""
    return int(time.time() * 1000)

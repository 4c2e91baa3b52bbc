# SPDX-License-Identifier: Apache-2.0
"""A private OVN central for tests: the demo's own."""

from iovisor_ovn.demo.central import Central
from iovisor_ovn.demo.releases import INSTALLED, RELEASES, Release, find_release

__all__ = ["INSTALLED", "RELEASES", "Central", "Release", "find_release"]

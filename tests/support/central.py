# SPDX-License-Identifier: Apache-2.0
"""A private OVN central for tests: the demo's own."""

from iovisor_ovn.demo.central import INSTALLED, Central, Release

__all__ = ["INSTALLED", "Central", "Release"]

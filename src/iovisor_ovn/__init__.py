# SPDX-License-Identifier: Apache-2.0
"""OVN's hypervisor side in eBPF: one agent in place of ovn-controller and ovs-vswitchd."""

__version__ = "0.1.0"

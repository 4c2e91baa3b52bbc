# SPDX-License-Identifier: Apache-2.0
"""The command ``iovisor-ovn``: one file per verb, prints only."""

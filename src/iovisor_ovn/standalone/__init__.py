# SPDX-License-Identifier: Apache-2.0
"""The second composition root: a chain of modules from a file, with no OVN at all."""

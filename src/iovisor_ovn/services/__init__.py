# SPDX-License-Identifier: Apache-2.0
"""What needs a clock or a database besides the packet path: held packets, learned addresses."""

# SPDX-License-Identifier: Apache-2.0
"""What people write into files, as typed values."""

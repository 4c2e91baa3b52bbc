# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tiers."""

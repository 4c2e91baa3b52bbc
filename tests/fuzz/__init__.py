# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets: what is fed to the parsers, and what must hold whatever it is.

``make fuzz-parser TIME=60`` lets coverage guide the inputs; a few are part of ``make test``.
"""

# SPDX-License-Identifier: Apache-2.0
"""From the language's clauses and actions to the machine's image: values in, values out.

::

    clauses ── patterns ──┐
    actions ── programs ──┼── image ── Delta
    address sets ── sets ─┘
"""

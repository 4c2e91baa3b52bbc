# SPDX-License-Identifier: Apache-2.0
"""Judges of the language: random flows and packets, and what becomes of them by three ways.

``texts`` draws matches and action lists (``mutate`` puts mistakes into them), ``packets`` builds
packets from fields, ``cases`` draws histories of flows in the ``world`` of one datapath, and
packets near what they match. ``direct`` executes the trees as they are read, ``court`` brings the
same flows into an image and compares; ``trial`` goes on until judges disagree, and ``shrink`` makes
that small. ``exhaustive`` lists every small match.
"""

# SPDX-License-Identifier: Apache-2.0
"""Judges of the language: random flows and packets, and what becomes of them by three ways.

``texts`` draws matches and action lists, ``packets`` draws packets near them and builds their
bytes, ``direct`` executes the trees as they are read, ``court`` brings the same flows into an image
and compares, ``shrink`` makes a disagreement small.
"""

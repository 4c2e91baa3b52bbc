# SPDX-License-Identifier: Apache-2.0
"""The examples of standalone mode: each is a README that runs.

`make example NAME=switch` makes the hosts of ``examples/switch/README.md``, types its commands, and
compares what they print with what stands there. Nothing says the same thing twice: the page that
people read is the declaration, the demonstration and the test.
"""

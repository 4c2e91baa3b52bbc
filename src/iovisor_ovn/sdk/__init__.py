# SPDX-License-Identifier: Apache-2.0
"""For who writes a module: the header (``include/``) and a way to test it (:mod:`.testing`)."""

# SPDX-License-Identifier: Apache-2.0
"""OVN mode: joins the databases, the language, the compiler and the data plane."""

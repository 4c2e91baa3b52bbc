# SPDX-License-Identifier: Apache-2.0
"""Symbol tables for the tests of the language."""

import pytest

from iovisor_ovn.language import SymbolTable


@pytest.fixture(scope="session")
def symbols() -> SymbolTable:
    """Return the names of the newest release."""
    return SymbolTable.default()

# SPDX-License-Identifier: Apache-2.0
"""Releases of OVN are found by name."""

from pathlib import Path

import pytest

from iovisor_ovn.demo import releases
from iovisor_ovn.demo.releases import INSTALLED, ReleaseMissing, find_release


def test_installed_release_needs_nothing() -> None:
    """Its programs are called as they are."""
    assert find_release("23.03") is INSTALLED
    assert INSTALLED.command == ()


def test_release_in_a_tree_is_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree is the last word before the program's."""
    monkeypatch.setattr(releases, "_TREES", tmp_path)
    tree = tmp_path / "ovn-25.03"
    tree.mkdir()
    (tree / "complete").touch()
    assert find_release("25.03").command[-1] == str(tree)


def test_tree_that_is_not_whole_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what builds it."""
    monkeypatch.setattr(releases, "_TREES", tmp_path)
    (tmp_path / "ovn-25.03").mkdir()
    with pytest.raises(ReleaseMissing, match=r"tools/ovn-root\.sh 25\.03"):
        find_release("25.03")

# SPDX-License-Identifier: Apache-2.0
"""The release that was asked for runs, beside the installed one, and leaves nothing mounted."""

from pathlib import Path

import pytest

from iovisor_ovn.demo.places import sweep
from iovisor_ovn.demo.processes import run
from support.central import INSTALLED, Central, Release

pytestmark = pytest.mark.needs_ovs


def _version(central: Central) -> str:
    """Return the release that the running northd says it is, as 23.03."""
    options = "options:northd_internal_version"
    return central.sbctl("get", "SB_Global", ".", options).strip('"')[:5]


def test_releases_run_side_by_side(module_directory: Path, release: Release) -> None:
    """Each central is of its own release, also while the other is there."""
    centrals = [
        Central(module_directory / str(number), which)
        for number, which in enumerate((release, INSTALLED, release))
    ]
    for central in centrals:
        central.nbctl("--wait=sb", "ls-add", "sw")
    assert [_version(central) for central in centrals] == [release.name, "23.03", release.name]
    assert f"ovn-{release.name}/usr" not in Path("/proc/self/mountinfo").read_text()
    sweep(module_directory / "1")
    assert _version(centrals[0]) == release.name


def test_both_halves_of_the_tree_are_of_the_release(release: Release) -> None:
    """ovn-controller, too."""
    shown = run(*release.command, "ovn-controller", "--version")
    assert shown.startswith(f"ovn-controller {release.name}")

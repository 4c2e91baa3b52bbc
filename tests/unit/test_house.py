# SPDX-License-Identifier: Apache-2.0
"""The promises of the build: two commands, a help that is true, licences that are there."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = """
    help build bpf demo demo-up demo-down example example-up example-down lint fmt type test
    test-unit test-bpf test-functional test-system test-differential differential mutations
    bench docs clean
"""


@pytest.mark.parametrize("target", TARGETS.split())
def test_every_target_is_in_the_help(target: str) -> None:
    """`make help` names each target with what it does."""
    done = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.search(rf"^{target} +\S", done.stdout, re.MULTILINE)


def test_the_readme_opens_with_the_two_commands() -> None:
    """The first block of code is what a newcomer types."""
    first_block = (ROOT / "README.md").read_text().split("```")[1]
    assert [line.split("#")[0].strip() for line in first_block.splitlines()[1:] if line] == [
        "make demo",
        "make test",
    ]


def test_each_ruff_exception_has_a_reason() -> None:
    """No rule is switched off without a word why."""
    text = (ROOT / "pyproject.toml").read_text()
    ruff = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.mccabe]")]
    rules = [line for line in ruff.splitlines() if re.match(r'\s+"[A-Z]+[0-9]+",', line)]
    assert rules
    assert [line for line in rules if "#" not in line] == []


def test_the_object_travels_with_the_package() -> None:
    """The built object lies where package data is taken from, and where the loader looks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    data = project["tool"]["setuptools"]["package-data"]["iovisor_ovn.dataplane"]
    assert data == ["programs/*.bpf.o"]
    assert "BPF_OBJECT := src/iovisor_ovn/dataplane/programs/machine.bpf.o" in _MAKEFILE


@pytest.mark.parametrize("name", ["Apache-2.0", "BSD-2-Clause", "GPL-2.0-only"])
def test_licence_texts_are_there(name: str) -> None:
    """Every licence that a file names can be read here."""
    assert (ROOT / "LICENSES" / f"{name}.txt").stat().st_size > 1000


def test_scripts_can_be_run() -> None:
    """What the Makefile calls has its executable bit."""
    for script in ("tools/setup.sh", "tools/as-root.sh", "tools/check_files.py", ".ci/run"):
        assert (ROOT / script).stat().st_mode & 0o111 == 0o111

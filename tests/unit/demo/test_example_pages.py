# SPDX-License-Identifier: Apache-2.0
"""An example's README: hosts, commands, and what counts as the output that it promises."""

from pathlib import Path

import pytest

from iovisor_ovn.config.topology_file import read_topology
from iovisor_ovn.demo.examples.compare import agrees
from iovisor_ovn.demo.examples.page import Host, Step, read_page, write_outputs

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))

_PAGE = """\
| host | device | MAC | address | gateway | serves |
| --- | --- | --- | --- | --- | --- |
| web | veth1 | 02:00:00:00:00:01 | 10.0.0.1/24, fd00::1/64 | | tcp/80, udp/53 |

```console
# deploy
```

```
# not a command
```

```console
# first \\
  still first
one
# second

two

# third
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Return a README."""
    path = tmp_path / "README.md"
    path.write_text(_PAGE)
    return path


def test_hosts_and_commands_are_read(page: Path) -> None:
    """The table gives hosts; the first block deploys, the others are to try."""
    read = read_page(page)
    assert read.hosts == (
        Host(
            "web", "veth1", "02:00:00:00:00:01", ("10.0.0.1/24", "fd00::1/64"), (),
            ("tcp/80", "udp/53"),
        ),
    )  # fmt: skip
    assert read.deploy == (Step("deploy", "", 6),)
    assert read.trials == (
        Step("first \\\n  still first", "one", 14),
        Step("second", "\ntwo", 17),
        Step("third", "", 21),
    )


def test_outputs_are_written_where_they_belong(page: Path) -> None:
    """Replaced are the outputs that are given, and nothing else."""
    first, _second, third = read_page(page).trials
    write_outputs(page, {first: "1\n2", third: "3"})
    read = read_page(page)
    assert [step.expected for step in read.trials] == ["1\n2", "\ntwo", "3"]
    assert [step.command for step in read.trials] == [first.command, "second", "third"]
    assert "# not a command" in page.read_text()


def test_a_page_without_commands_is_refused(tmp_path: Path) -> None:
    """A README that would test nothing is an error."""
    path = tmp_path / "README.md"
    path.write_text(_PAGE.partition("```")[0])
    with pytest.raises(ValueError, match="needs a table of hosts and a block of commands"):
        read_page(path)


@pytest.mark.parametrize(
    ("expected", "seen", "verdict"),
    [
        ("a b", "a b  ", True),
        ("a b", "a c", False),
        ("", "", True),
        ("", "anything", False),
        ("anything", "", False),
        ("a ... c", "a b b c", True),
        ("a ... c", "a b b", False),
        ("a\n...\nz", "a\nz", True),
        ("a\n...\nz", "a\nb\nc\nz", True),
        ("a\n...\nz", "a\nb\nc", False),
        ("a.c", "abc", False),
        ("time=0.05 ms", "time=12 ms", True),
        ("time 3ms, min/max = 1/2 ms", "time 4004ms, min/max = 0.1/2.5 ms", True),
        ("3 packets, 0% loss, time 3ms", "2 packets, 0% loss, time 3ms", False),
    ],
)
def test_what_agrees(expected: str, seen: str, verdict: bool) -> None:
    """Dots stand for anything, times are not compared, all else is."""
    assert agrees(expected, seen) is verdict


@pytest.mark.parametrize("name", NAMES)
def test_a_page_and_its_chain_belong_together(name: str) -> None:
    """The README shows the file but for its licence; each host's device is in both."""
    directory = EXAMPLES / name
    (file,) = directory.glob("*.yaml")
    text = (directory / "README.md").read_text()
    assert f"[{file.name}]({file.name})" in text
    _licence, _newline, shown = file.read_text().partition("\n")
    assert f"```yaml\n{shown}```" in text
    topology = read_topology(file.read_text(), file.name, directory)
    page = read_page(directory / "README.md")
    devices = {interface.device for interface in topology.interfaces}
    assert {host.device for host in page.hosts} == devices
    picture = text.partition("```\n")[2].partition("```")[0]
    named = [*devices, *(host.name for host in page.hosts), *(m.name for m in topology.modules)]
    assert [word for word in named if word not in picture] == []


def test_the_index_has_every_example() -> None:
    """Each folder with a README is in the table of examples/README.md."""
    index = (EXAMPLES / "README.md").read_text()
    assert [name for name in NAMES if f"| [{name}]({name}/README.md) |" not in index] == []
    assert NAMES

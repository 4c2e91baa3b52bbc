# SPDX-License-Identifier: Apache-2.0
"""A case: a topology and what happens in it, as a value and as a file.

Frames are stored as bytes, not as how they were drawn, so a case stays the same when the
generator changes, and any part of it can be left out.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from differential.topology import Element, Topology

__all__ = ["Bind", "Case", "Change", "Send", "Step", "load", "save"]


@dataclass(frozen=True, slots=True)
class Send:
    """A machine sends frames, one after the other; ``what`` says which kind they are."""

    port: str
    frames: tuple[bytes, ...]
    what: str


@dataclass(frozen=True, slots=True)
class Change:
    """The Northbound database changes; ``lines`` are ovn-nbctl commands."""

    lines: tuple[str, ...]
    what: str


@dataclass(frozen=True, slots=True)
class Bind:
    """A port is plugged in or pulled out."""

    port: str
    plugged: bool

    @property
    def what(self) -> str:
        """The feature that it counts as."""
        return "port bound" if self.plugged else "port unbound"


Step = Send | Change | Bind


@dataclass(frozen=True, slots=True)
class Case:
    """What is done on both sides; ``title`` says what it shows.

    ``difference`` names the known difference that it meets, if it does.
    """

    title: str
    topology: Topology
    steps: tuple[Step, ...]
    difference: str = ""

    def without_steps(self, first: int, end: int) -> "Case":
        """Return the case without some steps."""
        return replace(self, steps=self.steps[:first] + self.steps[end:])

    def packets(self) -> int:
        """Count the frames sent."""
        return sum(len(step.frames) for step in self.steps if isinstance(step, Send))


def save(case: Case, path: Path) -> None:
    """Write the case's file."""
    document = {
        "title": case.title,
        "difference": case.difference,
        "elements": [asdict(element) for element in case.topology.elements],
        "steps": [_step_to_json(step) for step in case.steps],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def load(path: Path) -> Case:
    """Read a case's file."""
    document = json.loads(path.read_text())
    elements = tuple(
        Element(one["name"], one["feature"], tuple(one["lines"]), tuple(one["needs"]))
        for one in document["elements"]
    )
    steps = tuple(_step_from_json(step) for step in document["steps"])
    return Case(document["title"], Topology(elements), steps, document.get("difference", ""))


def _step_to_json(step: Step) -> dict[str, Any]:
    match step:
        case Send(port, frames, what):
            return {"send": port, "frames": [frame.hex() for frame in frames], "what": what}
        case Change(lines, what):
            return {"change": list(lines), "what": what}
        case Bind(port, plugged):
            return {"bind": port, "plugged": plugged}


def _step_from_json(step: dict[str, Any]) -> Step:
    if "send" in step:
        frames = tuple(bytes.fromhex(frame) for frame in step["frames"])
        return Send(step["send"], frames, step["what"])
    if "change" in step:
        return Change(tuple(step["change"]), step["what"])
    return Bind(step["bind"], step["plugged"])

# SPDX-License-Identifier: Apache-2.0
"""Flows beyond this agent, and the datapaths that wait because of them.

A newer northd may write a flow that this agent cannot read. Half a pipeline would be wrong, so a
datapath that had a complete one keeps it: it is *held*, and the changes of its flows wait until
every flow can be read again. A datapath that never had a complete pipeline has nothing to keep and
is not held.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import ovs.vlog

from iovisor_ovn.errors import LanguageError

__all__ = ["Diagnostic", "Unit", "UnknownFlows"]

_log = ovs.vlog.Vlog("unknown")
_WORD = re.compile(r"[\w.]+")

Unit = tuple[UUID, UUID]  # flow, datapath


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Why a flow is not executed as it is written."""

    flow: UUID
    source: str
    column: int
    message: str

    @staticmethod
    def of(flow: UUID, error: LanguageError) -> "Diagnostic":
        """What the language says against a flow."""
        return Diagnostic(flow, error.source, error.column, error.message)

    @property
    def missing(self) -> str:
        """The word that is not understood, such as a verb; the message where there is none."""
        word = _WORD.match(self.source, self.column)
        return word[0] if word else self.message


class UnknownFlows:
    """By datapath: flows that cannot be read, and units that wait."""

    def __init__(self) -> None:
        """Know of none."""
        self.flows: dict[UUID, dict[UUID, Diagnostic]] = {}
        self.waiting: dict[UUID, set[Unit]] = {}
        self._complete: set[UUID] = set()
        self._logged: set[tuple[UUID, str]] = set()

    def note(self, unit: Unit, why: Diagnostic | None) -> None:
        """Say of a flow on a datapath that it cannot be read, or that it is gone or can be."""
        flow, datapath = unit
        if why is not None:
            self.flows.setdefault(datapath, {})[flow] = why
        elif datapath in self.flows:
            self.flows[datapath].pop(flow, None)
            if not self.flows[datapath]:
                del self.flows[datapath]

    def why(self, unit: Unit) -> Diagnostic | None:
        """Why a flow cannot be read, if that is so."""
        return self.flows.get(unit[1], {}).get(unit[0])

    @property
    def has_complete(self) -> bool:
        """Whether any datapath has a complete pipeline to keep."""
        return bool(self._complete)

    def was_complete(self, datapath: UUID) -> bool:
        """Whether the datapath has a complete pipeline to keep."""
        return datapath in self._complete

    def is_held(self, datapath: UUID) -> bool:
        """Whether the datapath keeps its last complete pipeline."""
        return datapath in self.flows and datapath in self._complete

    def sift(self, dirty: set[Unit], names: dict[UUID, str]) -> set[Unit]:
        """Return what of ``dirty`` is to be compiled, with what has waited long enough.

        ``names``: of datapaths, for the log. Call when each dirty unit has been noted.
        """
        if not self.flows and not self.waiting:
            return dirty
        ready = {unit for unit in dirty if not self.is_held(unit[1])}
        for unit in dirty - ready:
            self.waiting.setdefault(unit[1], set()).add(unit)
        for datapath in [uuid for uuid in self.waiting if not self.is_held(uuid)]:
            ready |= self.waiting.pop(datapath)
            self._logged = {known for known in self._logged if known[0] != datapath}
            _log.info(f"datapath_caught_up datapath={names.get(datapath, datapath)}")
        for datapath in self.waiting:
            self._log_held(datapath, names.get(datapath, ""))
        return ready

    def all_compiled(self, datapaths: Iterable[UUID]) -> None:
        """What is in force on these datapaths now is all that their flows say."""
        self._complete.update(uuid for uuid in datapaths if uuid not in self.flows)

    def incomplete(self, datapaths: Iterable[UUID]) -> None:
        """Compiling stopped half way on these datapaths: there is nothing whole to keep."""
        self._complete.difference_update(datapaths)

    def forget(self, datapath: UUID) -> None:
        """The datapath is not here any more."""
        self.flows.pop(datapath, None)
        self.waiting.pop(datapath, None)
        self._complete.discard(datapath)

    def _log_held(self, datapath: UUID, name: str) -> None:
        for why in self.flows[datapath].values():
            if (datapath, why.missing) not in self._logged:
                self._logged.add((datapath, why.missing))
                _log.warn(
                    f"datapath_held datapath={name or datapath} missing={why.missing!r} "
                    f"flow={why.flow} error={why.message!r} text={why.source!r} "
                    "effect=last_complete_pipeline"
                )

# SPDX-License-Identifier: Apache-2.0
"""What `iovisor-ovn show` shows: the pipeline's state as plain values, ready for JSON."""

from collections import Counter
from typing import TypedDict

from iovisor_ovn.abi import DROP_TEXT
from iovisor_ovn.mainlogic.pipeline import Pipeline
from iovisor_ovn.mainlogic.program_report import ProgramReport, program_reports

__all__ = ["DatapathReport", "DropReport", "FlowError", "HeldDatapath", "MapUse", "PipelineReport",
       "UnsupportedVerb", "report"]  # fmt: skip


#: Maps that packets fill, too: their entries are counted in the kernel.
_FILLED_BY_PACKETS = ("neighbours", "fdb_entries", "ct_conns", "ct_fresh", "ct_frags")


class DatapathReport(TypedDict):
    """A local datapath; ``key`` is its tunnel key, ``ports`` counts its logical ports."""

    name: str
    kind: str
    key: int
    ports: int


class UnsupportedVerb(TypedDict):
    """A verb that flows of local datapaths use and that drops their packets."""

    verb: str
    flows: int
    packets: int


class HeldDatapath(TypedDict):
    """What keeps a datapath at its last complete pipeline.

    ``missing`` is a word that is not understood, ``flows`` counts the flows with it, ``waiting``
    all flows of the datapath that changed since.
    """

    datapath: str
    missing: str
    flows: int
    waiting: int


class FlowError(TypedDict):
    """A logical flow that could not be read."""

    flow: str
    column: int
    message: str
    source: str


class DropReport(TypedDict):
    """Packets that ended without delivery."""

    reason: str
    packets: int
    text: str


class MapUse(TypedDict):
    """Elements in use of a map of fixed size."""

    map: str
    used: int
    capacity: int


class PipelineReport(TypedDict):
    """Everything."""

    flows: int
    entries: int
    programs: int
    datapaths: list[DatapathReport]
    unsupported: list[UnsupportedVerb]
    held: list[HeldDatapath]
    errors: list[FlowError]
    drops: list[DropReport]
    fast_path: dict[str, int]
    cached: dict[str, int]
    maps: list[MapUse]
    modules: list[ProgramReport]


def report(pipeline: Pipeline) -> PipelineReport:
    """The state of a pipeline now. Cost: linear in local ports and map sizes in use."""
    return PipelineReport(
        flows=len(pipeline.flows.flows),
        entries=pipeline.image.entry_count,
        programs=pipeline.image.program_count,
        datapaths=_datapaths(pipeline),
        unsupported=_unsupported(pipeline),
        held=_held(pipeline),
        errors=[
            FlowError(flow=str(d.flow), column=d.column, message=d.message, source=d.source)
            for d in pipeline.flows.diagnostics.values()
        ],
        drops=[
            DropReport(reason=reason.name.lower(), packets=packets, text=DROP_TEXT[reason])
            for reason, packets in sorted(pipeline.machine.drops().items())
        ],
        fast_path={kind.name.lower(): count for kind, count in pipeline.machine.replays().items()},
        cached=pipeline.flows.cached,
        maps=_maps(pipeline),
        modules=program_reports(pipeline.modules),
    )


def _datapaths(pipeline: Pipeline) -> list[DatapathReport]:
    world = pipeline.world
    found = []
    for uuid in world.local:
        datapath = world.datapaths[uuid]
        found.append(
            DatapathReport(
                name=datapath.name or str(uuid),
                kind="router" if datapath.is_router else "switch",
                key=datapath.key,
                ports=len(world.ports_of.get(uuid, {})),
            )
        )
    return sorted(found, key=lambda item: item["name"])


def _unsupported(pipeline: Pipeline) -> list[UnsupportedVerb]:
    packets = pipeline.machine.unsupported()
    numbers = {verb: number for number, verb in enumerate(pipeline.flows.verb_names)}
    return [
        UnsupportedVerb(
            verb=verb,
            flows=len(units),
            packets=packets.get(numbers[verb], 0) if verb in numbers else 0,
        )
        for verb, units in sorted(pipeline.flows.unsupported.items())
    ]


def _held(pipeline: Pipeline) -> list[HeldDatapath]:
    unknown = pipeline.flows.unknown
    found = []
    for uuid, waiting in unknown.waiting.items():
        name = pipeline.world.datapaths[uuid].name or str(uuid)
        missing = Counter(why.missing for why in unknown.flows[uuid].values())
        found += [
            HeldDatapath(datapath=name, missing=word, flows=flows, waiting=len(waiting))
            for word, flows in sorted(missing.items())
        ]
    return sorted(found, key=lambda item: item["datapath"])


def _maps(pipeline: Pipeline) -> list[MapUse]:
    maps = pipeline.machine.maps
    use = pipeline.use() | {name: maps[name].count() for name in _FILLED_BY_PACKETS}
    return [
        MapUse(map=name, used=used, capacity=maps[name].max_entries) for name, used in use.items()
    ]

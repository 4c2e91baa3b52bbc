# SPDX-License-Identifier: Apache-2.0
"""Logical flows of local datapaths, compiled when something that they mention changes.

A unit of work is a flow on a datapath: a row may stand for many datapaths, and names mean
something else on each. Every unit remembers what it asked for (ports, sets, residence), so
that a change of a row leads to the units that depend on it and to no others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar
from uuid import UUID

import ovs.vlog

from iovisor_ovn.abi import Limit, Program, Word
from iovisor_ovn.compiler.image import Image
from iovisor_ovn.compiler.insn import encode
from iovisor_ovn.compiler.patterns import Names, Pattern, Unexecutable, compile_conjunction
from iovisor_ovn.compiler.programs import Compiled, ProgramCompiler
from iovisor_ovn.compiler.sets import SetTable
from iovisor_ovn.compiler.tuples import entry_of
from iovisor_ovn.errors import LanguageError, MapFullError
from iovisor_ovn.language import (
    ActionList,
    Conjunction,
    Expr,
    SymbolTable,
    annotate,
    normalize,
    parse_actions,
    parse_match,
)
from iovisor_ovn.mainlogic.kinds import Kinds, Translation, Translator
from iovisor_ovn.mainlogic.set_use import SetUse
from iovisor_ovn.mainlogic.southbound import Flow
from iovisor_ovn.mainlogic.unknown import Diagnostic, Unit, UnknownFlows
from iovisor_ovn.mainlogic.world import World

__all__ = ["Dependency", "Diagnostic", "FlowTable"]

_log = ovs.vlog.Vlog("lflows")

#: What a unit asked for: kind (port, set, group, resident), datapath or None, name.
Dependency = tuple[str, UUID | None, str]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

#: Stages behind these are the agent's own.
_TABLES = (Limit.PORTSEC_IN, Limit.PORTSEC_OUT - Limit.EGRESS)
_PRIORITY_MAX = 0xFFFF
#: Texts whose trees are kept: those of many flows are few, the others would never be asked again.
_CACHE_LIMIT = 4096
_UNITS_A_BREATH = 16
#: What people write reaches actions by these: template variables and the options of DHCP and RA.
#: With a northd whose language is known, an error there is theirs.
_PEOPLES = ("^", "put_dhcp_opts", "put_dhcpv6_opts", "put_nd_ra_opts")


class _Missing(Exception):
    """A name that the flow needs stands for nothing yet."""


@dataclass(slots=True)
class _DatapathNames:
    """Names as one datapath sees them; notes each question as a dependency."""

    world: World
    sets: SetTable
    address_sets: Mapping[str, object]
    datapath: UUID
    asked: set[Dependency] = field(default_factory=set)

    def port_key(self, name: str) -> int | None:
        self.asked.add(("port", self.datapath, name))
        return self.world.key_of(self.datapath, name)

    def port_group(self, name: str) -> int:
        row_name = f"{self.world.datapaths[self.datapath].key}_{name}"
        self.asked.add(("group", None, row_name))
        if row_name not in self.world.port_groups:
            raise _Missing(f"port group {name}")
        return self.sets.set_id(f"@{row_name}")

    def address_set(self, name: str) -> str:
        self.asked.add(("set", None, name))
        if name not in self.address_sets:
            raise _Missing(f"address set {name}")
        return f"${name}"

    def is_resident(self, port: str) -> bool:
        self.asked.add(("resident", None, port))
        binding = self.world.ports.get(port)
        return (
            binding is not None
            and bool(binding.chassis)
            and (binding.chassis == self.world.chassis)
        )


class _Stage(NamedTuple):
    """What compiles the flows of a table of a datapath during a pass, and where they go."""

    names: _DatapathNames
    compiler: ProgramCompiler
    translator: Translator
    where: tuple[int, int]


class FlowTable:
    """All logical flows; those of local datapaths are in the image."""

    def __init__(
        self,
        world: World,
        image: Image,
        sets: SetTable,
        use: SetUse,
        address_sets: Mapping[str, object],
        *,
        extensions: bool = False,
        counter_number: Callable[[str], int] = lambda _name: 0,
        module_number: Callable[[str], int] = lambda _name: 0,
    ) -> None:
        """Flows go into ``image``; ``address_sets`` are the names that exist.

        ``extensions``: the flows are our own and may use verbs that OVN does not know;
        ``counter_number`` and ``module_number`` number the counters and users' modules that they
        name.
        """
        self._world = world
        self._image = image
        self._sets = sets
        self._use = use
        self._address_sets = address_sets
        self._extensions = extensions
        self._counter_number = counter_number
        self._module_number = module_number
        self.symbols = SymbolTable.default()
        self.northd_is_newer = False  # than any release whose language is known
        self.explicit_output = False  # see ProgramCompiler
        self.register_consolidation = False
        self.templates: Mapping[str, str] = {}
        #: Called every few milliseconds while flows are compiled.
        self.breathe: Callable[[], None] = lambda: None
        self.flows: dict[UUID, Flow] = {}
        self.diagnostics: dict[UUID, Diagnostic] = {}
        self.unknown = UnknownFlows()
        self.unsupported: dict[str, set[Unit]] = {}
        self.verb_names: list[str] = []
        self._verb_of: dict[Unit, str] = {}
        self._named: set[str] = set()  # verbs that the log has named
        self._broken: dict[UUID, set[Unit]] = {}
        self._dp_groups: dict[UUID, frozenset[UUID]] = {}
        self._groups_of: dict[UUID, set[UUID]] = {}
        self._of_datapath: dict[UUID, set[UUID]] = {}
        self._of_group: dict[UUID, set[UUID]] = {}
        self._users: dict[Dependency, set[Unit]] = {}
        self._asked: dict[Unit, tuple[Dependency, ...]] = {}
        self._units_of: dict[UUID, set[Unit]] = {}  # compiled ones, by datapath
        self._dirty: set[Unit] = set()
        self._matches: dict[str, tuple[Conjunction, ...]] = {}
        self._actions: dict[tuple[str, bool, int], ActionList] = {}
        self._begin_pass()

    @property
    def cached(self) -> dict[str, int]:
        """Texts that need no parsing again: matches (``expr``) and actions."""
        return {"expr": len(self._matches), "actions": len(self._actions)}

    # -- rows ----------------------------------------------------------------------------

    def put(self, flow: Flow) -> None:
        """Add or replace a flow."""
        self.drop(flow.uuid)
        self.flows[flow.uuid] = flow
        if flow.datapath is not None:
            self._of_datapath.setdefault(flow.datapath, set()).add(flow.uuid)
        elif flow.group is not None:
            self._of_group.setdefault(flow.group, set()).add(flow.uuid)
        self._dirty.update((flow.uuid, datapath) for datapath in self._datapaths_of(flow))

    def drop(self, uuid: UUID) -> None:
        """Forget a flow."""
        flow = self.flows.pop(uuid, None)
        if flow is None:
            return
        if flow.datapath is not None:
            _discard(self._of_datapath, flow.datapath, uuid)
        elif flow.group is not None:
            _discard(self._of_group, flow.group, uuid)
        self._dirty.update((uuid, datapath) for datapath in self._datapaths_of(flow))

    def put_group(self, group: UUID, datapaths: Iterable[UUID]) -> None:
        """Set the datapaths of a datapath group."""
        before, now = self._dp_groups.get(group, frozenset()), frozenset(datapaths)
        self._dp_groups[group] = now
        for datapath in before - now:
            _discard(self._groups_of, datapath, group)
        for datapath in now - before:
            self._groups_of.setdefault(datapath, set()).add(group)
        local = self._world.local.keys()
        for uuid in self._of_group.get(group, ()):
            self._dirty.update((uuid, datapath) for datapath in (before ^ now) & local)

    def drop_group(self, group: UUID) -> None:
        """Forget a datapath group."""
        self.put_group(group, ())
        del self._dp_groups[group]

    def datapath_is_local(self, datapath: UUID) -> None:
        """Compile all flows of a datapath."""
        for uuid in self._flows_of(datapath):
            self._dirty.add((uuid, datapath))

    def datapath_is_gone(self, datapath: UUID) -> None:
        """Take all flows of a datapath out of the image."""
        for unit in list(self._units_of.get(datapath, ())):
            self._dirty.discard(unit)  # what is not to be there is not to be compiled either
            self._remove(unit)
        self.unknown.forget(datapath)

    def changed(self, *names: Dependency) -> None:
        """Rows behind these names changed: compile again what asked for them."""
        for name in names:
            self._dirty.update(self._users.get(name, ()))

    def recompile(self) -> None:
        """Compile everything again (the meaning of the texts changed)."""
        self._matches.clear()
        self._actions.clear()
        for datapath in self._world.local:
            self.datapath_is_local(datapath)

    # -- compiling -----------------------------------------------------------------------

    def compile(self) -> int:
        """Bring the image up to date; returns the number of units compiled.

        Raises :class:`MapFullError`; the next call does what is left.
        """
        self._hold_back()
        for unit in [unit for unit in self._dirty if not self._is_wanted(unit)]:
            self._dirty.discard(unit)
            self._remove(unit)
            self.unknown.note(unit, None)
        count = 0
        self._begin_pass()
        while self._dirty:
            unit = self._dirty.pop()
            try:
                self._compile(unit, self.flows[unit[0]])
            except MapFullError:
                # Half a flow could do harm: rather none, until there is room.
                self._remove(unit)
                self._dirty.add(unit)
                self.unknown.incomplete(datapath for _flow, datapath in self._dirty)
                raise
            count += 1
            if not count % _UNITS_A_BREATH:
                self.breathe()
        self._dirty = set()  # one that was large stays slow to walk over
        self._begin_pass()  # forget this one
        self.unknown.all_compiled(self._units_of)
        return count

    def _begin_pass(self) -> None:
        """Forget what may mean something else by now."""
        self._kinds = Kinds(self._sets, self._translate, self._conditions_of)
        self._stages: dict[tuple[UUID, bool, int], _Stage] = {}

    def _stage(self, datapath: UUID, egress: bool, table: int) -> _Stage:
        stage = self._stages.get((datapath, egress, table))
        if stage is None:
            stage = self._stages[datapath, egress, table] = self._new_stage(datapath, egress, table)
        return stage

    def _new_stage(self, datapath: UUID, egress: bool, table: int) -> _Stage:
        row = self._world.datapaths[datapath]
        names = _DatapathNames(self._world, self._sets, self._address_sets, datapath)
        compiler = ProgramCompiler(
            names, egress, table, row.is_router, self._verb_number,
            self.explicit_output, self._counter_number, module_number=self._module_number,
            # As ovn-controller has it (controller/lflow.c, get_common_nat_zone).
            common_zone=Word.SNAT_ZONE if row.has_snat_zone else Word.DNAT_ZONE,
            register_consolidation=self.register_consolidation,
        )  # fmt: skip
        where = (self._world.local[datapath], table + (Limit.EGRESS if egress else 0))
        return _Stage(names, compiler, Translator(self._kinds, names, compiler), where)

    def _is_wanted(self, unit: Unit) -> bool:
        """Whether the flow is still there, and for that datapath."""
        flow = self.flows.get(unit[0])
        if flow is None or unit[1] not in self._world.local:
            return False
        if flow.datapath is not None:
            return flow.datapath == unit[1]
        return flow.group is not None and unit[1] in self._dp_groups.get(flow.group, ())

    def _hold_back(self) -> None:
        """Leave out what belongs to datapaths that keep their last complete pipeline.

        Flows of datapaths without one are read when they are compiled, and only then.
        """
        for unit in self._dirty if self.unknown.has_complete else ():
            if self.unknown.was_complete(unit[1]):
                is_wanted = self._is_wanted(unit)
                why = self._why_unknown(self.flows[unit[0]]) if is_wanted else None
                self.unknown.note(unit, why)
        datapaths = self._world.datapaths
        names = {uuid: datapaths[uuid].name for uuid in self._world.local if uuid in datapaths}
        self._dirty = self.unknown.sift(self._dirty, names)

    def _why_unknown(self, flow: Flow) -> Diagnostic | None:
        """Why a flow is beyond this agent; None when it is not, though it may be wrong.

        Matches hold what people wrote into ACLs and policies, actions are northd's own: what does
        not parse in a match is theirs as long as northd's language is known.
        """
        actions = None
        try:
            actions = self._actions_of(flow)
            self._match_of(flow, actions)
        except LanguageError as error:
            northds = actions is None and not any(text in flow.actions for text in _PEOPLES)
            if northds or self.northd_is_newer:
                return Diagnostic.of(flow.uuid, error)
        return None

    def _compile(self, unit: Unit, flow: Flow) -> None:
        self._remove(unit)
        names, compiler, translator, where = self._stage(unit[1], flow.egress, flow.table)
        names.asked = set()
        why = None
        try:
            try:
                _check_priority(flow)
                entries, code, unsupported = translator.translate(flow)
            except LanguageError as error:
                why = self._why_unknown(flow)
                if why is None:
                    self._note_broken(unit, error)
                    return
                refused = compiler.refuse(why.missing)
                entries, code, unsupported = _stored(self._widest(flow, names), refused)
        except _Missing:
            return
        finally:
            self.unknown.note(unit, why)
            self._remember(unit, tuple(names.asked))
        self._use.note(unit, entries)
        if unsupported:
            self._note_unsupported(unit, unsupported)
        self._image.add_entries(unit, where, flow.priority, entries, code)

    def _widest(self, flow: Flow, names: _DatapathNames) -> list[Pattern]:
        """Patterns of all that a flow beyond this agent might match; none without its table."""
        if flow.table >= _TABLES[flow.egress]:
            return []
        try:
            conjunctions = self._conjunctions(flow.match, flow.match, ())
        except LanguageError:
            return [Pattern()]
        return self._patterns(conjunctions, names, self._sets)[0]

    def _translate(
        self, flow: Flow, names: Names, compiler: ProgramCompiler, sets: SetTable
    ) -> Translation:
        """What a flow becomes; raises LanguageError, or what ``names`` raises."""
        actions = self._actions_of(flow)
        patterns, unexecutable = self._patterns(self._match_of(flow, actions), names, sets)
        if unexecutable:
            return _stored(patterns, compiler.refuse(unexecutable))
        return _stored(patterns, compiler.compile(actions))

    def _conditions_of(self, flow: Flow) -> list[Expr]:
        """What must hold for a flow to match; raises LanguageError."""
        match = parse_match(flow.match, self.symbols, templates=self.templates)
        exprs = (match, *self._actions_of(flow).prereqs)
        return [annotate(expr, self.symbols) for expr in exprs]

    @staticmethod
    def _patterns(
        conjunctions: Iterable[Conjunction], names: Names, sets: SetTable
    ) -> tuple[list[Pattern], str]:
        """Patterns of a match, and what of it the machine cannot test, if anything.

        Such a test is left out, so that the patterns match more than the text says: the flow then
        drops what it would have matched, and nothing of lower priority gets it.
        """
        patterns: list[Pattern] = []
        unexecutable = ""
        for conjunction in conjunctions:
            try:
                patterns += compile_conjunction(conjunction, names, sets)
            except Unexecutable as error:
                unexecutable = str(error)
                patterns += _without_unexecutable(conjunction, names, sets)
        return patterns, unexecutable

    def _actions_of(self, flow: Flow) -> ActionList:
        """Parsed actions of a flow; raises LanguageError."""
        if flow.table >= _TABLES[flow.egress]:
            raise LanguageError(f"there is no table {flow.table}", 0, flow.match)
        if max(len(self._matches), len(self._actions)) > _CACHE_LIMIT:
            self._matches.clear()
            self._actions.clear()
        key = (flow.actions, flow.egress, flow.table)
        actions = self._actions.get(key)
        if actions is None:
            actions = self._actions[key] = parse_actions(
                flow.actions, self.symbols, pipeline="egress" if flow.egress else "ingress",
                table=flow.table, n_tables=_TABLES, templates=self.templates,
                extensions=self._extensions,
            )  # fmt: skip
        return actions

    def _match_of(self, flow: Flow, actions: ActionList) -> tuple[Conjunction, ...]:
        """Parsed match of a flow with what its actions demand; raises LanguageError."""
        _check_priority(flow)
        # Prerequisites of actions are part of the match; flows without any share the text.
        key = f"{flow.match}\0{flow.actions}" if actions.prereqs else flow.match
        return self._conjunctions(key, flow.match, actions.prereqs)

    def _conjunctions(
        self, key: str, match: str, prereqs: tuple[Expr, ...]
    ) -> tuple[Conjunction, ...]:
        conjunctions = self._matches.get(key)
        if conjunctions is None:
            tree = parse_match(match, self.symbols, templates=self.templates)
            conjunctions = self._matches[key] = normalize(tree, self.symbols, prereqs)
        return conjunctions

    # -- book-keeping --------------------------------------------------------------------

    def _verb_number(self, verb: str) -> int:
        if verb not in self.verb_names:
            self.verb_names.append(verb)
        return min(self.verb_names.index(verb), Limit.UNSUPPORTED - 1)

    def _note_broken(self, unit: Unit, error: LanguageError) -> None:
        flow = unit[0]
        if flow not in self.diagnostics:
            _log.warn(
                f"flow_ignored flow={flow} column={error.column} "
                f"error={error.message!r} text={error.source!r}"
            )
        self.diagnostics[flow] = Diagnostic.of(flow, error)
        self._broken.setdefault(flow, set()).add(unit)

    def _note_unsupported(self, unit: Unit, verb: str) -> None:
        if verb not in self._named:
            self._named.add(verb)
            _log.warn(f"verb_not_executed verb={verb} flow={unit[0]} effect=drop")
        self.unsupported.setdefault(verb, set()).add(unit)
        self._verb_of[unit] = verb

    def _datapaths_of(self, flow: Flow) -> Iterable[UUID]:
        """Local datapaths that a flow is for; there are no units of others."""
        local = self._world.local
        if flow.datapath is not None:
            return (flow.datapath,) if flow.datapath in local else ()
        if flow.group is not None:
            return [uuid for uuid in self._dp_groups.get(flow.group, ()) if uuid in local]
        return ()

    def _flows_of(self, datapath: UUID) -> list[UUID]:
        flows = list(self._of_datapath.get(datapath, ()))
        for group in self._groups_of.get(datapath, ()):
            flows.extend(self._of_group.get(group, ()))
        return flows

    def _remember(self, unit: Unit, asked: tuple[Dependency, ...]) -> None:
        self._asked[unit] = asked
        self._units_of.setdefault(unit[1], set()).add(unit)
        for name in asked:
            self._users.setdefault(name, set()).add(unit)

    def _remove(self, unit: Unit) -> None:
        asked = self._asked.pop(unit, None)
        if asked is None:
            return  # it has not been compiled
        self._image.remove_flow(unit)
        self._use.drop(unit)
        _discard(self._units_of, unit[1], unit)
        for name in asked:
            _discard(self._users, name, unit)
        verb = self._verb_of.pop(unit, None)
        if verb is not None:
            _discard(self.unsupported, verb, unit)
        if unit[0] in self._broken:
            _discard(self._broken, unit[0], unit)
            if unit[0] not in self._broken:
                del self.diagnostics[unit[0]]


def _stored(patterns: Iterable[Pattern], compiled: Compiled) -> Translation:
    code = compiled.program
    return Translation(
        [entry_of(pattern) for pattern in patterns],
        code if isinstance(code, Program) else encode(code),
        compiled.unsupported,
    )


def _check_priority(flow: Flow) -> None:
    if not 0 <= flow.priority <= _PRIORITY_MAX:
        raise LanguageError(f"there is no priority {flow.priority}", 0, flow.match)


def _without_unexecutable(
    conjunction: Conjunction, names: Names, sets: SetTable
) -> tuple[Pattern, ...]:
    kept: Conjunction = ()
    patterns: tuple[Pattern, ...] = (Pattern(),)
    for clause in conjunction:
        try:
            patterns = compile_conjunction((*kept, clause), names, sets)
        except Unexecutable:
            continue
        kept = (*kept, clause)
    return patterns


def _discard(known: dict[_Key, set[_Value]], key: _Key, value: _Value) -> None:
    values = known.get(key)
    if values is not None:
        values.discard(value)
        if not values:
            del known[key]

# SPDX-License-Identifier: Apache-2.0
"""OVN's match and action languages: texts become trees, trees become clauses or texts again.

::

    text ── lexer ──┬── match_parser ─── match ─── normalize ─── clauses
                    └── action_parser ── actions

A flow is read like this::

    symbols = SymbolTable.default("23.03")
    actions = parse_actions(row.actions, symbols, pipeline="ingress", table=3, n_tables=(35, 16))
    match = parse_match(row.match, symbols)
    conjunctions = normalize(match, symbols, actions.prereqs)

Nothing here knows of eBPF or OVSDB. Errors are :class:`iovisor_ovn.errors.LanguageError`.
"""

from iovisor_ovn.errors import LanguageError
from iovisor_ovn.language.action_parser import parse_actions
from iovisor_ovn.language.action_printer import print_actions
from iovisor_ovn.language.actions import (
    Action,
    ActionList,
    ArgValue,
    Backend,
    CheckPktLarger,
    CheckPortSec,
    Clone,
    CtClear,
    CtCommit,
    CtCommitNat,
    CtCommitToZone,
    CtLb,
    CtNat,
    CtNext,
    CtSnatToVip,
    DecTtl,
    Exchange,
    FwdGroup,
    GetFdb,
    GetNeighbor,
    Load,
    Log,
    LookupFdb,
    LookupNeighbor,
    Move,
    Nested,
    Next,
    Output,
    OvnFieldLoad,
    Pop,
    Push,
    PutFdb,
    PutNeighbor,
    Sample,
    Select,
    SelectMember,
    SetMeter,
    SetQueue,
    Verb,
)
from iovisor_ovn.language.annotate import annotate
from iovisor_ovn.language.clauses import (
    Clause,
    Conjunction,
    FieldClause,
    PortClause,
    ResidentClause,
    SetClause,
    Term,
)
from iovisor_ovn.language.constants import constants_of, join_constants, split_constants
from iovisor_ovn.language.evaluate import Context, Packet, evaluate, evaluate_conjunctions
from iovisor_ovn.language.fields import (
    RELEASES,
    Access,
    Field,
    FieldKind,
    FieldRef,
    Level,
    Symbol,
    SymbolKind,
)
from iovisor_ovn.language.lexer import read_address
from iovisor_ovn.language.match import (
    And,
    BoolConst,
    Compare,
    Constant,
    Expr,
    Format,
    GroupMember,
    Not,
    Or,
    PortIs,
    Predicate,
    References,
    Relop,
    Resident,
    SetMember,
    references,
)
from iovisor_ovn.language.match_parser import parse_match
from iovisor_ovn.language.normalize import normalize
from iovisor_ovn.language.printer import print_constant, print_match
from iovisor_ovn.language.symbol_table import SymbolTable

__all__ = [
    "RELEASES",
    "Access",
    "Action",
    "ActionList",
    "And",
    "ArgValue",
    "Backend",
    "BoolConst",
    "CheckPktLarger",
    "CheckPortSec",
    "Clause",
    "Clone",
    "Compare",
    "Conjunction",
    "Constant",
    "Context",
    "CtClear",
    "CtCommit",
    "CtCommitNat",
    "CtCommitToZone",
    "CtLb",
    "CtNat",
    "CtNext",
    "CtSnatToVip",
    "DecTtl",
    "Exchange",
    "Expr",
    "Field",
    "FieldClause",
    "FieldKind",
    "FieldRef",
    "Format",
    "FwdGroup",
    "GetFdb",
    "GetNeighbor",
    "GroupMember",
    "LanguageError",
    "Level",
    "Load",
    "Log",
    "LookupFdb",
    "LookupNeighbor",
    "Move",
    "Nested",
    "Next",
    "Not",
    "Or",
    "Output",
    "OvnFieldLoad",
    "Packet",
    "Pop",
    "PortClause",
    "PortIs",
    "Predicate",
    "Push",
    "PutFdb",
    "PutNeighbor",
    "References",
    "Relop",
    "Resident",
    "ResidentClause",
    "Sample",
    "Select",
    "SelectMember",
    "SetClause",
    "SetMember",
    "SetMeter",
    "SetQueue",
    "Symbol",
    "SymbolKind",
    "SymbolTable",
    "Term",
    "Verb",
    "annotate",
    "constants_of",
    "evaluate",
    "evaluate_conjunctions",
    "join_constants",
    "normalize",
    "parse_actions",
    "parse_match",
    "print_actions",
    "print_constant",
    "print_match",
    "read_address",
    "references",
    "split_constants",
]

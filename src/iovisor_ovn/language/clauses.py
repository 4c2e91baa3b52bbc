# SPDX-License-Identifier: Apache-2.0
"""What a normalised match consists of: an OR of conjunctions of clauses.

At most one :class:`FieldClause` of a conjunction speaks about one base field; what several
fields have in common (``a == 1 || b == 2``) takes several conjunctions::

    tcp && ip4.src == {10.0.0.0/8, 192.168.0.0/16} && ip4.src != 10.0.0.1

    eth.type == 0x800, ip.proto == 6, ip4.src any of (10/8, 192.168/16) and none of (10.0.0.1)
"""

from dataclasses import dataclass

from iovisor_ovn.language.fields import Field, FieldRef

__all__ = [
    "Clause",
    "Conjunction",
    "FieldClause",
    "PortClause",
    "ResidentClause",
    "SetClause",
    "Term",
]


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """``field & mask == value``; every 1-bit of ``value`` is one of ``mask``."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class FieldClause:
    """``field`` matches some term of ``any_of`` (if there are any) and none of ``none_of``.

    Terms are over all bits of the base field. Both tuples are sorted and free of repetition.
    """

    field: Field
    any_of: tuple[Term, ...]
    none_of: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class SetClause:
    """The bits of ``ref`` are a member of an address set; negated, they are not."""

    ref: FieldRef
    set_name: str
    negated: bool


@dataclass(frozen=True, slots=True)
class PortClause:
    """The port is one of ``names`` or a member of one of ``groups``; negated, neither."""

    field: Field
    names: frozenset[str]
    groups: frozenset[str]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ResidentClause:
    """The port lives on this chassis; negated, it does not."""

    port: str
    negated: bool


Clause = FieldClause | SetClause | PortClause | ResidentClause
Conjunction = tuple[Clause, ...]

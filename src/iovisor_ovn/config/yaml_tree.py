# SPDX-License-Identifier: Apache-2.0
"""YAML as a tree that knows where everything stands and guesses nothing.

YAML 1.1 reads ``01:02:03:04:05:06`` as a number to the base 60, ``no`` as false and ``null`` as
nothing. Here a scalar is the text that was written; whoever reads it knows what it should be.

Anchors, aliases and merge keys (``<<``) work. What an alias stands for counts as if it were
written out, so that a few lines cannot grow into more than :data:`MOST_NODES` nodes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import yaml

from iovisor_ovn.config.topology import Place
from iovisor_ovn.errors import Problem

__all__ = ["MOST_BYTES", "MOST_LEVELS", "MOST_NODES", "Entry", "Listing", "Mapping", "Node",
       "Scalar", "read_tree"]  # fmt: skip

MOST_BYTES = 32 << 20
MOST_NODES = 1_000_000
MOST_LEVELS = 24
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TEXT_TAGS = frozenset({None, "!", "tag:yaml.org,2002:str"})
# libyaml's parser takes a twentieth of the time; a PyYAML built without it has the other one.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. ``is_plain``: written without quotes, not as a block."""

    place: Place
    text: str
    is_plain: bool
    size: int = 1
    levels: int = 1

    @property
    def is_null(self) -> bool:
        """Whether it says that there is nothing."""
        return self.is_plain and self.text in _NULLS


@dataclass(frozen=True, slots=True)
class Listing:
    """A list."""

    place: Place
    items: Sequence["Node"]
    size: int
    levels: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A value with its key's place."""

    place: Place
    value: "Node"


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values, in the file's order."""

    place: Place
    entries: dict[str, Entry]
    size: int
    levels: int


Node = Scalar | Listing | Mapping


class _Unreadable(Exception):
    """The tree ends here."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.problem = place.problem(message)


def read_tree(text: str, problems: list[Problem]) -> Node | None:
    """Return the tree of the one document in ``text``, or ``None`` where there is none.

    What is wrong is added to ``problems``; there may be a tree all the same. Linear in the size
    of the text.
    """
    try:
        return _Reader(text, problems).document()
    except _Unreadable as error:
        problems.append(error.problem)
    except UnicodeEncodeError:
        problems.append(Problem("has a character that UTF-8 has not"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        parts = [part for part in (error.problem, error.context) if part]
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(0, 0)
        problems.append(place.problem(f"is not YAML: {', '.join(parts)}"))
    except yaml.reader.ReaderError as error:
        place = _place_of_offset(text, error.position)
        problems.append(place.problem("has a character that YAML does not allow"))
    return None


def _place_of_offset(text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(before.count("\n") + 1, offset - before.rfind("\n"))


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    assert mark is not None
    return Place(mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class _Reader:
    """Takes the parser's events one by one."""

    text: str
    problems: list[Problem]
    anchors: dict[str, Node | None] = field(default_factory=dict)
    events: Iterator[yaml.Event] = field(init=False)

    def document(self) -> Node | None:
        if len(self.text.encode()) > MOST_BYTES:
            raise _Unreadable(f"is larger than {MOST_BYTES >> 20} MiB", Place(0, 0))
        self.events = iter(yaml.parse(self.text, Loader=_LOADER))
        root: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _Unreadable("a second document begins; one file is one chain",
                                      _place(event))  # fmt: skip
                root = self._node(next(self.events), MOST_LEVELS)
        return root

    def _node(self, event: yaml.Event, levels_left: int) -> Node:
        place = _place(event)
        if not levels_left:
            raise _Unreadable(f"is nested deeper than {MOST_LEVELS} levels", place)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", place, levels_left)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self._check_tag(event, place)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(place, event.value, not event.style and event.tag is None)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._listing(place, levels_left - 1)
        else:
            node = self._mapping(place, levels_left - 1)
        if node.size > MOST_NODES:
            raise _Unreadable(f"has more than {MOST_NODES:,} values, aliases written out", place)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _alias(self, name: str, place: Place, levels_left: int) -> Node:
        if name not in self.anchors:
            raise _Unreadable(f"alias *{name} has no anchor &{name} before it", place)
        node = self.anchors[name]
        if node is None:
            raise _Unreadable(f"alias *{name} is within what it stands for", place)
        if node.levels > levels_left:
            raise _Unreadable(f"is nested deeper than {MOST_LEVELS} levels", place)
        return node

    def _check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, place: Place) -> None:
        known = _TEXT_TAGS if isinstance(event, yaml.ScalarEvent) else (None,)
        if event.tag not in known:
            self._say(f"tag {event.tag!r} means nothing here", place)

    def _listing(self, place: Place, levels_left: int) -> Listing:
        items = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, levels_left))
        return Listing(place, items, *_extent(items))

    def _mapping(self, place: Place, levels_left: int) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: list[Mapping] = []
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._node(event, levels_left)
            value = self._node(next(self.events), levels_left)
            where = _place(event)
            if not isinstance(key, Scalar):
                self._say("a key must be a single value", where)
            elif key.text == "<<" and key.is_plain:
                merged += self._merged(value, where)
            elif key.text in entries:
                first = entries[key.text].place.line
                self._say(f"key {key.text!r} is there already, in line {first}", where)
            else:
                entries[key.text] = Entry(where, value)
        for mapping in merged:
            for name, entry in mapping.entries.items():
                entries.setdefault(name, entry)
        return Mapping(place, entries, *_extent([entry.value for entry in entries.values()]))

    def _merged(self, value: Node, place: Place) -> list[Mapping]:
        """Return the mappings that a merge key brings; of one key, the first counts."""
        found = value.items if isinstance(value, Listing) else [value]
        mappings = [node for node in found if isinstance(node, Mapping)]
        if len(mappings) < len(found):
            self._say("<< takes a mapping or a list of mappings", place)
        return mappings

    def _say(self, message: str, place: Place) -> None:
        self.problems.append(place.problem(message))


def _extent(children: Sequence[Node]) -> tuple[int, int]:
    """Size and levels of what holds ``children``."""
    size = 1 + sum(child.size for child in children)
    return size, 1 + max((child.levels for child in children), default=0)

# SPDX-License-Identifier: Apache-2.0
"""A part of a file, with the place of everything in it and what is wrong with it.

::

    here = section.at("static_routes", 3)
    here.problem("is no key here", "netmsk", near=["network", "netmask"])
    # FILE:12:9: modules[1].config.static_routes[3].netmsk: is no key here (did you mean netmask?)
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from iovisor_ovn.config.topology import Place
from iovisor_ovn.config.yaml_tree import Listing, Mapping, Node, Scalar
from iovisor_ovn.errors import Problem

__all__ = ["Key", "Section", "shown"]

Key = str | int
_LONGEST_SHOWN = 60


def shown(text: str) -> str:
    """Return a text from the file as a message quotes it: in one line, not too long."""
    cut = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    return repr(cut)


def _nearest(word: str, known: Iterable[str]) -> str:
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return f" (did you mean {by_folded[near[0]]}?)" if near else ""


@dataclass(frozen=True, slots=True)
class Section:
    """``node`` stands at ``path`` of the file, which lies in ``directory``.

    All sections of a file share ``problems``.
    """

    node: Node
    path: tuple[Key, ...]
    directory: Path
    problems: list[Problem] = field(repr=False)

    def at(self, *keys: Key) -> "Section":
        """Return the part that ``keys`` lead to, which must be there."""
        node = self._follow(keys)
        assert node is not None
        return replace(self, node=node, path=(*self.path, *keys))

    def empty(self, key: Key) -> "Section":
        """Return what stands for a mapping that is not there."""
        return replace(self, node=Mapping(self.place(), {}, 1, 1), path=(*self.path, key))

    def items(self, *keys: Key) -> list["Section"]:
        """Return the items of the list that ``keys`` lead to; none if there is no list."""
        node = self._follow(keys)
        length = len(node.items) if isinstance(node, Listing) else 0
        return [self.at(*keys, index) for index in range(length)]

    def text(self, *keys: Key) -> str:
        """Return the single value that ``keys`` lead to; nothing if there is none."""
        node = self._follow(keys)
        return node.text if isinstance(node, Scalar) else ""

    def place(self, *keys: Key) -> Place:
        """Where the value is that ``keys`` lead to, or what it is missing in."""
        place, path = self._find(keys, is_key=False)
        return replace(place, key=_path_text(path))

    def problem(
        self,
        message: str,
        *keys: Key,
        near: Iterable[str] = (),
        word: str = "",
        is_key: bool = False,
    ) -> None:
        """Note what is wrong at ``keys``.

        Of the names ``near`` that which is most like ``word`` is proposed. With ``is_key`` the
        fault is in the last key and not in its value.
        """
        place, path = self._find(keys, is_key=is_key)
        text = message + _nearest(word, near)
        if not text.isprintable():  # a name with a line's end in it, and the like
            text = text.encode("unicode_escape").decode()
        self.problems.append(replace(place, key=_path_text(path)).problem(text))

    def once(self, seen: dict[object, int], value: object, *keys: Key) -> bool:
        """Tell whether ``value``, which stands at ``keys``, is new; say so if it is not.

        ``seen`` maps values to the lines where they were first.
        """
        if value not in seen:
            seen[value] = self.place(*keys).line
            return True
        self.problem(f"{value} is there already, in line {seen[value]}", *keys)
        return False

    def _follow(self, keys: tuple[Key, ...]) -> Node | None:
        node = self.node
        for key in keys:
            found = _child(node, key)
            if found is None:
                return None
            node = found[1]
        return node

    def _find(self, keys: tuple[Key, ...], *, is_key: bool) -> tuple[Place, tuple[Key, ...]]:
        """Return place and path of ``keys``, as far as the file has them.

        A single value may stand for a list of one, or for a mapping: then what leads into it is
        left out.
        """
        node, place = self.node, self.node.place
        path = list(self.path)
        for number, key in enumerate(keys):
            is_last = number == len(keys) - 1
            found = _child(node, key)
            if found is not None:
                key_place, node = found
                is_empty = isinstance(node, Scalar) and not node.text and node.is_plain
                place = key_place if is_empty or (is_key and is_last) else node.place
                path.append(key)
            elif isinstance(node, Mapping) and isinstance(key, str):
                path.append(key)
        return place, tuple(path)


def _child(node: Node, key: Key) -> tuple[Place, Node] | None:
    if isinstance(node, Mapping) and isinstance(key, str):
        entry = node.entries.get(key)
        return None if entry is None else (entry.place, entry.value)
    if isinstance(node, Listing) and isinstance(key, int) and key < len(node.items):
        return node.items[key].place, node.items[key]
    return None


def _path_text(path: Iterable[Key]) -> str:
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            name = key if key.replace("-", "_").isidentifier() else shown(key)
            text += f".{name}" if text else name
    return text

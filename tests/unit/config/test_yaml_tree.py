# SPDX-License-Identifier: Apache-2.0
"""YAML as a tree; what is refused is in ``tests/cases/topology/yaml.txt`` as well."""

import pytest
import yaml

from iovisor_ovn.config import yaml_tree
from iovisor_ovn.config.topology import Place
from iovisor_ovn.config.yaml_tree import Listing, Mapping, Node, Scalar, read_tree
from iovisor_ovn.errors import Problem

_SAMPLE = """\
# first
a: &x [1, 'two', "t\\x68ree", null, ~, ]
b:
  - *x
  - <<: {c: yes, d: 01:02:03:04:05:06}
    d: |
      text
    é: !!str 3
"""


def tree(text: str) -> Node:
    """Return the tree of a text that is right."""
    problems: list[Problem] = []
    node = read_tree(text, problems)
    assert problems == []
    assert node is not None
    return node


def texts(node: Node) -> object:
    """Return what is written, as dictionaries, lists, and texts."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Listing):
        return [texts(item) for item in node.items]
    return {key: texts(entry.value) for key, entry in node.entries.items()}


def messages(text: str) -> list[str]:
    """Return what is wrong."""
    problems: list[Problem] = []
    read_tree(text, problems)
    return [problem.message for problem in problems]


def test_scalars_are_the_text_that_was_written() -> None:
    """No number, no truth value, no time of day is made of them."""
    assert texts(tree(_SAMPLE)) == {
        "a": ["1", "two", "three", "null", "~"],
        "b": [
            ["1", "two", "three", "null", "~"],
            {"d": "text\n", "é": "3", "c": "yes"},
        ],
    }


def test_a_value_in_quotes_is_never_nothing() -> None:
    """``null`` and ``"null"`` differ."""
    node = tree("[null, 'null', ~, '~', Null, , nULL, \"\", !!str null]".replace(" ,", " '',", 1))
    assert isinstance(node, Listing)
    nulls = [item.is_null for item in node.items if isinstance(item, Scalar)]
    assert nulls == [True, False, True, False, True, False, False, False, False]


def test_places_count_from_one() -> None:
    """Columns count characters, not bytes."""
    node = tree("a: 1\né: [2, 3]\n")
    assert isinstance(node, Mapping)
    listing = node.entries["é"].value
    assert isinstance(listing, Listing)
    assert node.entries["é"].place == Place(2, 1)
    assert [item.place for item in listing.items] == [Place(2, 5), Place(2, 8)]


def test_both_parsers_of_pyyaml_give_the_same_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML has no libyaml its own parser serves."""
    monkeypatch.setattr(yaml_tree, "_LOADER", yaml.CSafeLoader)
    fast = tree(_SAMPLE)
    monkeypatch.setattr(yaml_tree, "_LOADER", yaml.SafeLoader)
    assert tree(_SAMPLE) == fast


def test_aliases_do_not_multiply_without_end() -> None:
    """Nine lines that stand for a thousand million values are refused by their count."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert messages("\n".join(lines)) == ["has more than 1,000,000 values, aliases written out"]


def test_aliases_do_not_nest_without_end() -> None:
    """Depth counts through aliases, so that nothing later runs out of stack."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100)]
    assert messages("\n".join(lines)) == ["is nested deeper than 24 levels"]


def test_merged_mappings_count() -> None:
    """A merge key is an alias as any other."""
    lines = [f"a: &a {{{', '.join(f'k{n}: [x, x, x, x, x, x, x, x, x]' for n in range(1000))}}}"]
    lines += ["b:", *(f"- {{<<: *a, n: {n}}}" for n in range(100))]
    assert messages("\n".join(lines)) == ["has more than 1,000,000 values, aliases written out"]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused(opening: str) -> None:
    """However deep."""
    assert len(messages(opening * 100_000)) == 1


def test_a_large_file_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is in bytes of UTF-8."""
    monkeypatch.setattr(yaml_tree, "MOST_BYTES", 1 << 20)
    text = "# é"
    assert messages(text + "é" * ((1 << 19) - 2)) == []
    assert messages(text + "é" * ((1 << 19) - 1)) == ["is larger than 1 MiB"]


def test_characters_that_are_none() -> None:
    """Half a surrogate pair, and control characters with their place."""
    assert messages("a: \udc80") == ["has a character that UTF-8 has not"]
    problems: list[Problem] = []
    assert read_tree("a: 1\nb: \x01", problems) is None
    assert problems == [Problem("has a character that YAML does not allow", 2, 4)]

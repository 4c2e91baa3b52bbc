# SPDX-License-Identifier: Apache-2.0
"""What keys a part of a file may have, as models of pydantic, and how their errors are told.

A key without a value counts as absent. Keys that a shape does not know are errors.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from iovisor_ovn.config.section import Key, Section, shown
from iovisor_ovn.config.topology import Config
from iovisor_ovn.config.yaml_tree import Listing, Node, Scalar

__all__ = ["ModuleShape", "Ports", "Shape", "annotation_parts", "validated"]

#: A module's ports in the order of the file; ``None`` while faulty links leave them unknown.
Ports = tuple[str, ...] | None


class Shape(BaseModel):
    """The keys of one mapping."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = cls.keys()
        return {k: value for k, value in data.items() if value is not None or k not in known}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Return the keys as they are written."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())


class ModuleShape(Shape):
    """The ``config`` of one type of module, and how many ports may be connected."""

    fewest_ports: ClassVar[int] = 1
    most_ports: ClassVar[int | None] = None

    def value(self, here: Section, ports: Ports) -> Config | None:
        """Return the settings, or ``None`` with what is wrong told to ``here``."""
        raise NotImplementedError


#: Problems of one section that are told. Nobody reads more, and each is a search for near names.
_MOST_TOLD = 1000

_S = TypeVar("_S", bound=Shape)


def validated(shape: type[_S], section: Section) -> _S | None:
    """Read a section; ``None`` if it has not that shape. All that is wrong is told to it.

    Keys too many are told, too, but leave what the others say.
    """
    data = _data(section.node)
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    for fault in faults[:_MOST_TOLD]:
        _tell(section, shape, fault)
    if len(faults) > _MOST_TOLD:
        section.problem(f"has {len(faults) - _MOST_TOLD} more problems")
    if any(fault["type"] != "extra_forbidden" for fault in faults):
        return None
    for fault in faults:
        _remove(data, fault["loc"])
    return shape.model_validate(data)


def _remove(data: Any, keys: tuple[Key, ...]) -> None:
    """Take out what ``keys`` lead to."""
    for key in keys[:-1]:
        data = data[key]
    del data[keys[-1]]


def _data(node: Node, key: str = "") -> Any:
    """Return dictionaries, lists and texts; ``None`` for what says that there is nothing.

    ``type: null`` is a type of module.
    """
    if isinstance(node, Scalar):
        is_type = key == "type" and node.text == "null"
        return None if node.is_null and not is_type else node.text
    if isinstance(node, Listing):
        return [_data(item) for item in node.items]
    return {name: _data(entry.value, name) for name, entry in node.entries.items()}


def _tell(section: Section, shape: type[Shape], details: ErrorDetails) -> None:
    keys: tuple[Key, ...] = details["loc"]
    match details["type"]:
        case "missing":
            section.problem("is missing", *keys)
        case "extra_forbidden":
            unknown = str(keys[-1])
            known = _shape_at(shape, keys[:-1]).keys()
            message = f"is no key here; possible are {', '.join(known)}"
            section.problem(message, *keys, near=known, word=unknown, is_key=True)
        case "literal_error":
            choices = _choices(shape, keys)
            message = f"{shown(str(details['input']))} is not one of {', '.join(choices)}"
            section.problem(message, *keys, near=choices, word=str(details["input"]))
        case "model_type" | "dict_type":
            section.problem("must be a mapping (KEY: VALUE)", *keys)
        case "tuple_type":
            section.problem("must be a list (- VALUE)", *keys)
        case _:
            section.problem(details["msg"], *keys)


def _annotation(shape: type[Shape], key: Key) -> Any:
    for name, field in shape.model_fields.items():
        if key == (field.alias or name):
            return field.annotation
    return None


def annotation_parts(annotation: Any) -> Iterator[Any]:
    """Yield a type and all types that it is made of."""
    yield annotation
    for argument in get_args(annotation):
        yield from annotation_parts(argument)


def _shape_at(shape: type[Shape], keys: Sequence[Key]) -> type[Shape]:
    """Return the shape of what ``keys`` lead to."""
    for key in keys:
        for part in annotation_parts(_annotation(shape, key)):
            if isinstance(part, type) and issubclass(part, Shape):
                shape = part
    return shape


def _choices(shape: type[Shape], keys: Sequence[Key]) -> list[str]:
    names = [key for key in keys if isinstance(key, str)]
    annotation = _annotation(_shape_at(shape, names[:-1]), names[-1])
    return [part for part in annotation_parts(annotation) if isinstance(part, str)]

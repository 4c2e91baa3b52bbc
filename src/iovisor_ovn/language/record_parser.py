# SPDX-License-Identifier: Apache-2.0
"""Readers for the verbs that log, sample, shape and forward."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from iovisor_ovn.language.action_reader import ActionReader
from iovisor_ovn.language.actions import Action, FwdGroup, Log, Sample, SetMeter, SetQueue
from iovisor_ovn.language.fields import FieldRef
from iovisor_ovn.language.verbs import LOG_SEVERITIES, LOG_VERDICTS, MAX_QUEUE

__all__ = ["RECORDS", "read_boolean"]

#: A log record carries its name in 63 bytes.
_MAX_LOG_NAME = 63
_MAX_U8, _MAX_U16, _MAX_U32, _MAX_U64 = (1 << 8) - 1, (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1


def read_boolean(reader: ActionReader) -> bool:
    """Read ``true`` or ``false``, with or without quotes."""
    token = reader.token
    if token.kind not in ("id", "string") or token.text not in ("true", "false"):
        raise reader.unexpected("true or false")
    return reader.advance().text == "true"


def _read_queue(reader: ActionReader) -> Action:
    reader.expect("(")
    at = reader.token
    queue = reader.small_integer("a queue number")
    reader.expect(")")
    if queue > MAX_QUEUE:
        raise reader.error(f"queue {queue} is not one of 0 to {MAX_QUEUE}", at)
    return SetQueue(queue)


def _read_meter(reader: ActionReader) -> Action:
    reader.expect("(")
    at = reader.token
    rate = reader.small_integer("a rate in kbit/s", _MAX_U64)
    burst = reader.small_integer("a burst in kbit", _MAX_U64) if reader.accept(",") else 0
    reader.expect(")")
    if rate == 0:
        raise reader.error("a rate must not be 0", at)
    return SetMeter(rate, burst)


def _read_log(reader: ActionReader) -> Action:
    """Arguments in any order; the last one of a name counts."""
    found = {"verdict": "", "severity": "info", "name": "", "meter": ""}
    if reader.accept("("):
        while not reader.accept(")"):
            key = reader.word(found, "verdict, severity, name or meter")
            reader.expect("=")
            found[key] = _log_value(reader, key)
            reader.accept(",")
    if not found["verdict"]:
        raise reader.error("log needs a verdict")
    return Log(found["verdict"], found["severity"], found["name"], found["meter"])


def _log_value(reader: ActionReader, key: str) -> str:
    match key:
        case "verdict":
            return reader.word(LOG_VERDICTS, "a verdict")
        case "severity":
            return reader.word(LOG_SEVERITIES, "a severity")
        case _:
            at = reader.token
            text = reader.string("a string")
            if key == "name" and len(text.encode()) > _MAX_LOG_NAME:
                raise reader.error(f"a name has at most {_MAX_LOG_NAME} bytes", at)
            return text


def _read_sample(reader: ActionReader) -> Action:
    """Arguments in any order; the last one of a name counts."""
    numbers = {"probability": 0, "collector_set": 0, "obs_domain": 0}
    limits = {"probability": _MAX_U16, "collector_set": _MAX_U32, "obs_domain": _MAX_U8}
    obs_point: int | str | FieldRef = 0
    if reader.accept("("):
        while not reader.accept(")"):
            key = reader.word((*numbers, "obs_point"), "an argument of sample")
            reader.expect("=")
            if key == "obs_point":
                obs_point = _obs_point(reader)
            else:
                numbers[key] = reader.small_integer(
                    f"a number of at most {limits[key]}", limits[key]
                )
            reader.accept(",")
    if not numbers["probability"]:
        raise reader.error("sample needs a probability above 0")
    return Sample(
        numbers["probability"], numbers["collector_set"], numbers["obs_domain"], obs_point
    )


def _obs_point(reader: ActionReader) -> int | str | FieldRef:
    token = reader.token
    if token.kind == "set" and token.text == "cookie":
        reader.advance()
        return "$cookie"
    if token.is_decimal:
        return reader.small_integer("a number of 32 bits", _MAX_U32)
    return reader.field(32)


def _read_fwd_group(reader: ActionReader) -> Action:
    liveness = False
    ports: list[str] = []
    reader.expect("(")
    if reader.accept_id("liveness"):
        reader.expect("=")
        liveness = read_boolean(reader)
        reader.expect(",")
    if not reader.accept_id("childports"):
        raise reader.unexpected("childports")
    reader.expect("=")
    while not reader.accept(")"):
        ports.append(reader.string("a logical port"))
        reader.accept(",")
    return FwdGroup(liveness, tuple(ports))


#: Verb name to its reader, which starts behind the name.
RECORDS: Mapping[str, Callable[[ActionReader], Action]] = MappingProxyType(
    {
        "set_queue": _read_queue,
        "set_meter": _read_meter,
        "log": _read_log,
        "sample": _read_sample,
        "fwd_group": _read_fwd_group,
    }
)

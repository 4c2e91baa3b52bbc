# SPDX-License-Identifier: Apache-2.0
"""Messages cut out of a byte stream."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovisor_ovn.ovsdb.messages import MalformedMessageError, MessageReader

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
_MESSAGES = st.lists(st.dictionaries(st.text(), _VALUES, max_size=4), min_size=1, max_size=5)


def _drain(reader: MessageReader) -> list[object]:
    found = []
    while (message := reader.take()) is not None:
        found.append(message)
    return found


@given(_MESSAGES, st.integers(1, 40), st.booleans())
def test_any_cut_gives_the_same_messages(
    messages: list[dict[str, object]], size: int, ascii_only: bool
) -> None:
    """However the stream is cut, the messages come out whole, in order and none is left."""
    stream = "\n ".join(json.dumps(m, ensure_ascii=ascii_only) for m in messages).encode(
        "utf-8", "surrogatepass"
    )
    if b"\xed\xa0" in stream or b"\xed\xb0" in stream:
        return  # lone surrogates are not UTF-8
    reader = MessageReader()
    found: list[object] = []
    for start in range(0, len(stream), size):
        reader.feed(stream[start : start + size])
        found += _drain(reader)
    assert found == messages
    assert not reader.has_message


def test_message_is_there_with_its_last_byte() -> None:
    """A message does not wait for the next one when nothing follows it."""
    reader = MessageReader()
    reader.feed(b'{"a":"}{\\"')
    assert reader.take() is None
    reader.feed(b'"}')
    assert reader.take() == {"a": '}{"'}


def test_small_message_does_not_wait_for_a_large_one() -> None:
    """A whole message before an unfinished one is taken at once."""
    reader = MessageReader()
    reader.feed(b'{"a":{"id":')
    reader.feed(b'1}}{"id":2}{"id":"')
    assert _drain(reader) == [{"a": {"id": 1}}, {"id": 2}]
    for _ in range(10):
        reader.feed(b"x" * 4096)
    assert reader.take() is None
    reader.feed(b'"}')
    assert reader.take() == {"id": "x" * 40960}


def _read(stream: bytes) -> object:
    reader = MessageReader()
    reader.feed(stream)
    return reader.take()


@pytest.mark.parametrize(
    "stream",
    [
        b"garbage",
        b"}",
        b'{"a":}',
        b'["a"]',
        b'{"a":"\xff"}',
        b"[" * 100_000 + b"{}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_malformed_stream_is_refused(stream: bytes) -> None:
    """What is no sequence of objects ends in the named error, not in endless waiting."""
    with pytest.raises(MalformedMessageError):
        _read(stream)


def test_work_grows_with_the_bytes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """One large message read in small pieces is scanned a bounded number of times."""
    message = {"rows": [{"match": "ip4 && tcp", "n": n} for n in range(20_000)]}
    stream = json.dumps(message).encode()
    scanned = 0
    reader = MessageReader()
    scan = reader._scan

    def counting(text: str, position: int) -> tuple[object, int]:
        nonlocal scanned
        scanned += len(text) - position
        return scan(text, position)

    monkeypatch.setattr(reader, "_scan", counting)
    for start in range(0, len(stream), 512):
        reader.feed(stream[start : start + 512])
    assert reader.take() == message
    assert scanned < 3 * len(stream)

# SPDX-License-Identifier: Apache-2.0
"""How texts fall into tokens; the constants themselves are in the golden cases."""

import pytest

from iovisor_ovn.errors import LanguageError
from iovisor_ovn.language.lexer import expand_templates, tokenize
from iovisor_ovn.language.match import Format


def kinds(text: str) -> list[str]:
    """Return the kinds of the tokens before the end."""
    return [token.kind for token in tokenize(text)[:-1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param(" \t\n\r\v\f", [], id="blanks"),
        pytest.param("a<->b", ["id", "<->", "id"], id="exchange"),
        pytest.param("a<-b", ["id", "<", "-", "id"], id="no exchange"),
        pytest.param("a--", ["id", "--"], id="decrement"),
        pytest.param("[1..2]", ["[", "integer", "..", "integer", "]"], id="range of bits"),
        pytest.param("10.0.0.1:80", ["integer", ":", "integer"], id="address and port"),
        pytest.param("[::1]:80", ["[", "integer", "]", ":", "integer"], id="IPv6 and port"),
        pytest.param("fe80::1", ["integer"], id="address of letters"),
        pytest.param("fe80", ["id"], id="name of hexadecimal letters"),
        pytest.param("ab:c", ["error"], id="half an address"),
        pytest.param("$a @b ^c", ["set", "group", "template"], id="references"),
        pytest.param('"a b"c', ["string", "id"], id="string"),
        pytest.param('"a\0b"', ["error"], id="null character"),
        pytest.param(r'"a\"b"', ["string"], id="escaped quote"),
        pytest.param("a // b\nc", ["id", "id"], id="comment to the end of the line"),
        pytest.param("a /* b */ c", ["id", "id"], id="comment between"),
        pytest.param("a /* b /* c", ["id", "error"], id="comment left open"),
        pytest.param("/* a\n*/", ["error", "error", "error"], id="comment of lines"),
        pytest.param("a&b", ["id", "error", "id"], id="half an operator"),
        pytest.param("\u00e9", ["error"], id="no letter of the language"),
    ],
)
def test_kinds(text: str, expected: list[str]) -> None:
    """Each text falls into these kinds of tokens."""
    assert kinds(text) == expected


def test_tokens_know_where_they_stand() -> None:
    """Start and end are characters of the text, so that errors can point at them."""
    text = "ip4.src == {10.0.0.1, $as}"
    assert [text[t.start : t.end] for t in tokenize(text)[:-1]] == [
        "ip4.src", "==", "{", "10.0.0.1", ",", "$as", "}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value", "mask", "form"),
    [
        pytest.param("0", 0, None, Format.DECIMAL, id="zero"),
        pytest.param("18446744073709551615", 2**64 - 1, None, Format.DECIMAL, id="64 bits"),
        pytest.param("0x" + "f" * 32, 2**128 - 1, None, Format.HEXADECIMAL, id="128 bits"),
        pytest.param("0x" + "0" * 40 + "1", 1, None, Format.HEXADECIMAL, id="leading zeros"),
        pytest.param("192.168.128.0", 0xC0A88000, None, Format.IPV4, id="IPv4"),
        pytest.param("192.168.128.9/20", 0xC0A88000, 0xFFFFF000, Format.IPV4, id="prefix"),
        pytest.param("192.168.0.9/0", 0, 0, Format.IPV4, id="prefix of no bits"),
        pytest.param("::1/128", 1, 2**128 - 1, Format.IPV6, id="IPv6 prefix"),
        pytest.param("ff:00:00:00:00:01", 0xFF0000000001, None, Format.ETHERNET, id="MAC"),
        pytest.param("0/0x10", 0, 0x10, Format.HEXADECIMAL, id="zero of any base"),
        pytest.param("7/2", 2, 2, Format.DECIMAL, id="bits outside the mask are lost"),
    ],
)
def test_constants(text: str, value: int, mask: int | None, form: Format) -> None:
    """A constant has this value, this mask and this form."""
    token = tokenize(text)[0]
    assert (value, mask, form) == (token.value, token.mask, token.form)


def test_a_huge_number_is_refused_at_once() -> None:
    """Digits beyond any width are not converted, which would take time that grows quadratically."""
    token = tokenize("9" * 1_000_000)[0]
    assert token.kind == "error"


def test_escapes_are_those_of_json() -> None:
    """Two escaped surrogates are one character."""
    assert tokenize(r'"\ud83d\ude00\t\u0041"')[0].text == "\U0001f600\tA"


@pytest.mark.parametrize("text", [r'"\ud83d"', r'"\u12"', r'"\x"', r'"\u0000"'])
def test_malformed_escapes_are_errors(text: str) -> None:
    """No string comes out of an escape that JSON does not have."""
    assert kinds(text) == ["error"]


def test_templates_are_replaced_as_text() -> None:
    """A variable may hold several tokens; inside of strings nothing is replaced."""
    expanded = expand_templates('a == ^x && b == "^x"', {"x": "{1, 2}"})
    assert expanded == 'a == {1, 2} && b == "^x"'


def test_a_template_without_value_is_an_error() -> None:
    """A flow with a hole in it is not read."""
    with pytest.raises(LanguageError, match=r"column 5: template variable x has no value"):
        expand_templates("a == ^x", {"y": "1"})

import json
import time
from typing import Any

import pytest

from chalicelib.domain.errors import InvalidRequest
from chalicelib.http.body import MOST_BYTES, BodyTooLarge, MalformedBody, parse_object


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    """Return an object whose deepest value lies at this many levels."""
    return ('{"a":' + opening * (levels - 1) + closing * (levels - 1) + "}").encode()


VALID: list[tuple[bytes, dict[str, Any]]] = [
    (b"{}", {}),
    (b' \r\n\t{"a": 1} \n', {"a": 1}),
    (b'{"a": 1.0}', {"a": 1}),
    (b'{"a": 1e3}', {"a": 1000}),
    (b'{"a": -0.0}', {"a": 0}),
    (b'{"a": 1.5}', {"a": 1.5}),
    (b'{"a": 9223372036854775807}', {"a": 2**63 - 1}),
    (b'{"a": -9223372036854775808}', {"a": -(2**63)}),
    (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    (b'{"a": "\\\\ud800"}', {"a": "\\ud800"}),
    ('{"a": "Union Select \u20ac"}'.encode(), {"a": "Union Select \u20ac"}),
    (b'{"a": {"b": 1}, "c": {"b": 2}}', {"a": {"b": 1}, "c": {"b": 2}}),
    (b'{"a": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}', {"a": "[" * 30}),
    (b'{"a": "\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}', {"a": '"' + "[" * 29}),
    (b'{"a": [' + b"[],{}," * 50 + b"[]]}", {"a": [[], {}] * 50 + [[]]}),
]

MALFORMED: list[bytes] = [
    b"",
    b"   ",
    b"[]",
    b'"text"',
    b"1",
    b"null",
    b"{",
    b'{"a": 1}}',
    b'{"a": 1,}',
    b"{'a': 1}",
    b'{"a": 01}',
    b'{"a": .5}',
    b'{"a": +1}',
    b'{"a": 0x1}',
    b'{"a": "\n"}',
    b'{"a": 1} // comment',
    b"\xef\xbb\xbf{}",
    b'{"a": "\xff"}',
    b'{"a": "\xed\xa0\x80"}',
    '{"a": 1}'.encode("utf-16"),
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": -Infinity}',
    b'{"a": 1e999}',
    b'{"a": -1e999}',
    b'{"a": 9223372036854775808}',
    b'{"a": -9223372036854775809}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": "\\ud800"}',
    b'{"a": "\\udc00\\ud800"}',
    b'{"\\uDFFF": 1}',
    nested(21),
    nested(21, '{"a":', "}").replace(b":}", b":1}"),
    nested(100_000),
    b"[" * 200_000,
    b'{"a":' * 40_000,
]


@pytest.mark.parametrize(("raw", "value"), VALID, ids=lambda case: repr(case)[:40])
def test_valid_json_is_read_as_it_stands(raw: bytes, value: dict[str, Any]) -> None:
    assert parse_object(raw) == value


@pytest.mark.parametrize("raw", MALFORMED, ids=lambda raw: repr(raw[:30]))
def test_anything_else_is_refused_and_breaks_nothing(raw: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse_object(raw)


def test_a_number_without_a_fraction_becomes_an_integer() -> None:
    assert isinstance(parse_object(b'{"a": 2.0}')["a"], int)


def test_a_number_too_large_to_be_exact_stays_a_float() -> None:
    assert isinstance(parse_object(b'{"a": 123456789012345678.0}')["a"], float)


@pytest.mark.parametrize("raw", [b'{"a": 1, "a": 1}', b'{"b": {"a": 1, "\\u0061": 2}}', b'[{"a":1,"a":2}]'])
def test_a_key_that_is_there_twice_is_named(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_object(raw)
    assert [problem.field for problem in caught.value.problems] == ["a"]


def test_twenty_levels_are_read_and_one_more_is_not() -> None:
    assert parse_object(nested(20))
    with pytest.raises(MalformedBody, match="20 levels"):
        parse_object(nested(21))


def test_a_body_of_256_kb_is_read_and_one_byte_more_is_not() -> None:
    frame = len(b'{"a":""}')
    assert parse_object(b'{"a":"' + b"x" * (MOST_BYTES - frame) + b'"}')
    with pytest.raises(BodyTooLarge):
        parse_object(b'{"a":"' + b"x" * (MOST_BYTES - frame + 1) + b'"}')


def test_a_body_that_would_grow_past_the_limit_in_the_record_is_refused() -> None:
    raw = b'{"a":[' + b",".join([b"1e15"] * 40_000) + b"]}"
    assert len(raw) < MOST_BYTES
    with pytest.raises(BodyTooLarge):
        parse_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"' + b'\\"' * 130_000,
        b'"' * 260_000 + b"[" * 21,
        (b'"\\' * 65_000) + b"{" * 21,
        b"[],{}," * 43_000,
        b'{"a":' + b"[" * 262_000,
    ],
    ids=["unterminated", "quotes", "escapes", "shallow", "deep"],
)
def test_hostile_bodies_are_refused_in_linear_time(raw: bytes) -> None:
    started = time.process_time()
    with pytest.raises((MalformedBody, BodyTooLarge)):
        parse_object(raw)
    assert time.process_time() - started < 1.0


def test_what_is_read_can_be_written_anew() -> None:
    for raw, value in VALID:
        assert json.loads(json.dumps(parse_object(raw), allow_nan=False)) == value

"""Strict JSON: what a request's body may be. Anything else is a clear 4xx, whatever it does to a parser.

The standard parser takes NaN, 1e999, duplicate keys, lone surrogates and unbounded depth; this one refuses
them. A number without a fraction is an integer (1.0 is 1), and integers fit in 64 bits.
"""

import json
import re
from collections import Counter
from math import isfinite
from typing import Any, NoReturn

from chalicelib.domain.errors import CallerError, InvalidRequest, Problem
from chalicelib.service.problems import field_of

MOST_BYTES = 256 * 1024
MOST_DEPTH = 20
MOST_DIGITS = 20  # of an integer of 64 bits, its sign included
MOST_EXACT = 2**53
LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**63 - 1
GROWTH = 5  # written anew, no body is longer than this many times itself (1e15 as an integer is four)

# A string is skipped whole, in one linear pass: possessive, so that nothing can make it backtrack.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_OPENING = (b"[", b"{")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class MalformedBody(CallerError):
    """The body is not the JSON that it must be."""

    code = "malformed_body"


class BodyTooLarge(CallerError):
    """The body is larger than 256 KB."""

    code = "body_too_large"


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return a body's JSON object; raises MalformedBody, BodyTooLarge or InvalidRequest (a key twice)."""
    if len(raw) > MOST_BYTES:
        raise BodyTooLarge
    if not raw.strip():
        raise MalformedBody("The body is empty: send a JSON object.")
    _refuse_depth(raw)
    value = _decode(raw)
    if not isinstance(value, dict):
        raise MalformedBody("The body must be a JSON object.")
    if _ESCAPED_SURROGATE.search(raw):
        _refuse_lone_surrogates(value)
    if len(raw) > MOST_BYTES // GROWTH and _written_anew(value) > MOST_BYTES:
        raise BodyTooLarge
    return value


def _refuse_depth(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") <= MOST_DEPTH:
        return
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(raw):
        token = found.group()
        if token in _OPENING:
            depth += 1
            if depth > MOST_DEPTH:
                raise MalformedBody(f"The body is nested more than {MOST_DEPTH} levels deep.")
        elif not token.startswith(b'"'):
            depth -= 1


def _decode(raw: bytes) -> Any:
    try:
        return _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise MalformedBody("The body is not valid UTF-8.") from None
    except json.JSONDecodeError as error:
        message = f"The body is not valid JSON, at line {error.lineno}, column {error.colno}."
        raise MalformedBody(message) from None


def _refuse_lone_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedBody("The body holds half of a surrogate pair, which is no character.") from None


def _written_anew(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise InvalidRequest([Problem(field_of([twice]), "This key is there more than once: send it once.")])
    return value


def _integer(digits: str) -> int:
    if len(digits) <= MOST_DIGITS and LEAST_INTEGER <= (number := int(digits)) <= MOST_INTEGER:
        return number
    raise MalformedBody("The body holds an integer that does not fit in 64 bits.")


def _fraction(text: str) -> int | float:
    number = float(text)
    if not isfinite(number):
        raise MalformedBody("The body holds a number that is too large.")
    # Beyond 2**53 a float no longer says which integer was meant, so it stays what it is.
    return int(number) if number.is_integer() and abs(number) <= MOST_EXACT else number


def _constant(_: str) -> NoReturn:
    raise MalformedBody("The body holds NaN or Infinity, which JSON does not know.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)

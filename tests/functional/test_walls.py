"""The walls of every route: hostile tokens, hostile bodies, hostile headers, counts and tables that are down.

The routes are those that `app.py` serves, so that a new one stands behind the same walls without a word here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from chalice.test import HTTPResponse

from app import app
from chalicelib import wiring
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.http.body import MOST_BYTES
from chalicelib.http.docs import CHAPTERS
from tests.fakes import MemoryStore
from tests.fakes_schedules import MemoryScheduleStore
from tests.fakes_search import MemoryAuditLog, MemoryJobIndex
from tests.front import Front
from tests.functional.test_jobs_api import BODY, PAYMENT
from tests.unit.test_auth import HOSTILE_HEADERS, HOSTILE_TOKENS

ROWS = {row: operation for operations, _ in CHAPTERS for row, operation in operations.items()}
SERVED = sorted(
    (method, path) for path, methods in app.routes.items() for method in methods if method != "OPTIONS"
)
ASKING = [row for row in SERVED if not ROWS[row].public]
WITH_BODY = [row for row in ASKING if ROWS[row].body is not None]
HUGE = b'{"a": "' + b"x" * 300_000 + b'"}'
HOSTILE_BODIES: Mapping[str, bytes] = {
    "a depth bomb": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a depth bomb of objects": b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
    "twenty-one levels": b'{"a": ' + b"[" * 20 + b"]" * 20 + b"}",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a number beyond any float": b'{"a": 1e999}',
    "an integer of 100,000 digits": b'{"a": ' + b"9" * 100_000 + b"}",
    "an integer beyond 64 bits": b'{"a": 9223372036854775808}',
    "a key twice": b'{"a": 1, "a": 2}',
    "a key twice, once escaped": b'{"a": 1, "\\u0061": 2}',
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a lone surrogate as a key": b'{"\\udfff": 1}',
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "300 KB": HUGE,
    "a list": b"[1, 2]",
    "a text": b'"text"',
    "null": b"null",
    "half of it": b'{"a": 1',
    "two of them": b"{}{}",
    "a comment": b'{"a": 1 /* one */}',
    "a NUL": b'{"a": "\x00"}',
}
WRONG_TYPES = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/json",
    "",
)
# Whatever may start an effect waits for the count; what reads, cancels, pauses or stops must work without it.
MOVES_MONEY = {
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/batch"),
    ("POST", "/v1/jobs/bulk"),
    *(("POST", f"/v1/jobs/{{job_id}}/{action}") for action in ("retry", "promote", "resolve", "clone")),
    ("POST", "/v1/queues/{tier}/redrive"),
    ("POST", "/v1/schedules/{schedule_id}/run"),
}
INJECTED = "key-1\r\nSet-Cookie: stolen=1\r\n\r\n<script>"


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def named(row: tuple[str, str]) -> str:
    return " ".join(row)


def filled(path: str) -> str:
    """Return a path with something in each of its places that nobody has."""
    places = {"tier": "money", "key": "stripe"}
    return re.sub(r"\{(\w+)\}", lambda place: places.get(place[1], f"{place[1]}_9"), path)


def ask(front: Front, row: tuple[str, str], body: bytes = b"", **headers: str) -> HTTPResponse:
    """Send a request as an administrator unless the headers say otherwise."""
    method, path = row
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token('admin')}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return front.client.http.request(method, filled(path), headers=sent, body=body)


def holds_shape(answer: HTTPResponse) -> None:
    assert 400 <= answer.status_code < 500, answer.body
    assert {"error", "message"} <= answer.json_body.keys() <= {"error", "message", "details", "retryAfter"}
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("row", ASKING, ids=named)
def test_no_hostile_token_opens_a_route_and_none_breaks_it(front: Front, row: tuple[str, str]) -> None:
    hostile = [f"Bearer {token}" for token in HOSTILE_TOKENS.values()]
    for header in [*hostile, *(header for header in HOSTILE_HEADERS.values() if header is not None)]:
        answer = ask(front, row, b"{}", Authorization=header)
        assert answer.status_code == 401, header
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        holds_shape(answer)


@pytest.mark.parametrize("row", WITH_BODY, ids=named)
def test_no_hostile_body_is_taken_and_none_breaks_a_route(front: Front, row: tuple[str, str]) -> None:
    for name, body in HOSTILE_BODIES.items():
        answer = ask(front, row, body)
        holds_shape(answer)
        assert answer.status_code == (413 if len(body) > MOST_BYTES else 400), name
    for content_type in WRONG_TYPES:
        answer = ask(front, row, b"{}", Content_Type=content_type)
        holds_shape(answer)
        assert answer.status_code == 415, content_type


@pytest.mark.parametrize("row", SERVED, ids=named)
def test_what_is_sent_in_a_header_never_makes_one(front: Front, row: tuple[str, str]) -> None:
    body = json.dumps(BODY).encode()
    for name in ("Idempotency_Key", "X_Batch_Id", "Origin", "X_Forwarded_Host", "If_None_Match", "Accept"):
        answer = ask(front, row, body, **{name: INJECTED})
        assert answer.status_code < 500, answer.body
        for header, value in answer.headers.items():
            assert header.lower() != "set-cookie"
            assert not re.search(r"[\r\n]|stolen|<script>", str(value)), header


@pytest.mark.parametrize("row", ASKING, ids=named)
@pytest.mark.parametrize("failure", [StoreRefused(), StoreUnsure()])
def test_a_count_that_is_down_closes_what_may_move_money_and_nothing_else(
    front: Front, row: tuple[str, str], failure: Exception
) -> None:
    front.quotas.fails = failure  # type: ignore[assignment]  # either is a StoreError
    answer = ask(front, row, b"{}")
    if row in MOVES_MONEY:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json_body["error"] == "unavailable"
    else:
        assert answer.status_code != 503, answer.body


@pytest.mark.parametrize("row", ASKING, ids=named)
def test_above_the_limit_every_route_says_when_to_come_again(row: tuple[str, str]) -> None:
    front = Front(environment={"RATE_LIMIT_MAX_REQUESTS": "1", "RATE_LIMIT_WINDOW_MS": "60000"})
    token = front.token("user", sub="user-1")
    ask(front, row, b"{}", Authorization=f"Bearer {token}")
    answer = ask(front, row, b"{}", Authorization=f"Bearer {token}")
    assert (answer.status_code, answer.json_body["retryAfter"]) == (429, 60)
    assert answer.headers["Retry-After"] == "60"
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    wiring.install(None)


def test_whatever_table_is_down_the_answer_says_when_to_come_again(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = front.post(BODY).json_body["jobId"]

    def down(*_: Any, **__: Any) -> Any:
        raise StoreRefused

    for kind in (MemoryStore, MemoryScheduleStore, MemoryJobIndex, MemoryAuditLog):
        for name, method in vars(kind).items():
            if callable(method) and not name.startswith("_"):
                monkeypatch.setattr(kind, name, down)
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/v1/jobs", BODY),
        ("POST", "/v1/jobs/batch", {"jobs": [BODY], "options": {"stopOnError": True}}),
        ("GET", "/v1/jobs?state=failed", None),
        ("GET", f"/v1/jobs/{job_id}", None),
        ("DELETE", f"/v1/jobs/{job_id}", None),
        *[("POST", f"/v1/jobs/{job_id}/{action}", {}) for action in ("retry", "promote", "clone")],
        ("POST", f"/v1/jobs/{job_id}/resolve", {"resolution": "failed", "reason": "Looked."}),
        ("GET", "/v1/schedules", None),
        ("POST", "/v1/schedules/sch_1/run", {}),
        ("POST", "/v1/queues/money/pause", {"reason": "Calm."}),
        ("GET", "/v1/queues/money/dead-letters", None),
        ("GET", "/v1/audit", None),
    ]
    for method, path, body in asked:
        raw = b"" if body is None else json.dumps(body).encode()
        answer = ask(front, (method, path), raw)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), (path, answer.body)
        assert answer.json_body["error"] == "unavailable"


def test_every_error_of_a_submission_is_told_at_once(front: Front) -> None:
    data = {**PAYMENT, "amount": 0, "currency": "XYZ", "eventId": 7, "extra": 1}
    del data["customerId"]
    wrong = {
        "type": "payment.process",
        "data": data,
        "options": {"priority": 11, "delay": -1, "attempts": 0, "backoff": 1},
        "idempotencyKey": " ",
        "onBehalfOf": {"userId": "", "role": "admin"},
        "callbackUrl": "http://shop.example",
        "unknown": True,
    }
    answer = front.post(wrong, key="\u00fc")
    assert answer.status_code == 400, answer.body
    assert {each["field"] for each in answer.json_body["details"]} >= {
        *("data.amount", "data.currency", "data.customerId", "data.eventId", "data.extra", "unknown"),
        *("options.priority", "options.delay", "options.attempts", "options.backoff", "idempotencyKey"),
        *("onBehalfOf.userId", "onBehalfOf.role", "callbackUrl", "Idempotency-Key"),
    }

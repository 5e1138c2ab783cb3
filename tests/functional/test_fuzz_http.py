"""5,000 requests that nobody would write, in process (QS_FULL=1: 500,000): never a 5xx, always one shape."""

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
from chalice.test import HTTPResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import app
from chalicelib import wiring
from chalicelib.domain.money import EXPONENTS
from chalicelib.jobtypes.at_stripe import NOT_CHARGED
from tests.front import Front

FULL = os.environ.get("QS_FULL") == "1"
REQUESTS = 500_000 if FULL else 5_000


Test = TypeVar("Test", bound=Callable[..., None])


def share(part: float) -> Callable[[Test], Test]:
    """Return the settings of a test that sends this part of all requests; the same ones in every short run."""
    chosen: Callable[[Test], Test] = settings(
        max_examples=int(REQUESTS * part),
        derandomize=not FULL,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return chosen


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    made = Front()
    yield made
    wiring.install(None)


TEXT = st.text(min_size=1, max_size=60)
VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
CURRENCIES = sorted(code for code, digits in EXPONENTS.items() if digits != 3 and code not in NOT_CHARGED)

payments = st.fixed_dictionaries(
    {
        "amount": st.integers(1, 99_999_999),
        "currency": st.sampled_from(CURRENCIES),
        "customerId": TEXT,
        "eventId": TEXT,
        "paymentMethod": TEXT,
    },
    optional={"orderId": TEXT, "description": TEXT},
)
mails = st.fixed_dictionaries(
    {
        "to": st.sampled_from(["ada@example.com", "o'brien+x@mail.example.org"]),
        "template": st.sampled_from(["order_confirmation", "ticket_delivery"]),
        "data": st.dictionaries(
            st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,10}", fullmatch=True),
            st.one_of(st.text(max_size=60), st.integers(-(2**53), 2**53), st.booleans()),
            max_size=8,
        ),
    }
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "options": st.fixed_dictionaries(
            {},
            optional={
                "priority": st.integers(1, 10),
                "delay": st.integers(0, 365 * 86_400_000),
                "attempts": st.integers(1, 10),
            },
        ),
        "idempotencyKey": VISIBLE,
        "onBehalfOf": st.fixed_dictionaries({}, optional={"userId": VISIBLE, "venueId": VISIBLE}),
        "callbackUrl": st.just("https://shop.example/done"),
    },
)
valid_bodies = st.one_of(
    st.builds(lambda data, rest: {"type": "payment.process", "data": data, **rest}, payments, envelopes),
    st.builds(lambda data, rest: {"type": "email.send", "data": data, **rest}, mails, envelopes),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
KNOWN = ("queue", "type", "data", "options", "idempotencyKey", "onBehalfOf", "callbackUrl")
odd_bodies = st.one_of(
    json_values,
    st.dictionaries(st.sampled_from(KNOWN), json_values, max_size=7),
    st.builds(
        lambda rest: {**rest, "type": "payment.process"}, st.dictionaries(st.sampled_from(KNOWN), json_values)
    ),
)


PAGES = ("/docs", "/dashboard")
ROUTES = [re.sub(r"\{\w+\}", "job_1", path) for path in sorted(app.routes) if path not in PAGES]


def job_path(job_id: str) -> str:
    """Return the path of a job of any id; what is not routed never comes to the service."""
    return f"/v1/jobs/{quote(job_id, safe='')}"


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value in a body."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [here, *(path for key, item in inner for path in paths(item, (*here, key)))]


def planted(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a body with another value at one place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = planted(value[path[0]], path[1:], new)
    return copy


@st.composite
def mutated_bodies(draw: st.DrawFn) -> bytes:
    """Return a valid body with one value changed, or with some of its bytes changed, cut or doubled."""
    body = draw(valid_bodies)
    if draw(st.booleans()):
        body = planted(body, draw(st.sampled_from(paths(body))), draw(json_values))
        return json.dumps(body).encode()
    raw = bytearray(json.dumps(body, ensure_ascii=draw(st.booleans())).encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        end = at + draw(st.integers(0, 6))
        raw[at:end] = draw(st.one_of(st.binary(max_size=4), st.just(bytes(raw[at:end]) * 2)))
    return bytes(raw)


def holds_shape(response: HTTPResponse) -> None:
    """Check what every answer must be."""
    assert response.status_code < 500, response.body
    if response.headers["Content-Type"].startswith("text/plain"):
        return  # the metrics; what goes wrong with them is JSON like all else
    body = response.json_body
    assert isinstance(body, dict)
    if response.status_code >= 400:
        assert {"error", "message"} <= body.keys() <= {"error", "message", "details"}
        assert all(problem.keys() == {"field", "message"} for problem in body.get("details", []))


@share(0.3)
@given(body=valid_bodies)
def test_a_valid_body_is_accepted(front: Front, body: dict[str, Any]) -> None:
    response = front.post(body)
    holds_shape(response)
    assert response.status_code in (200, 201, 409), response.body


@share(0.2)
@given(body=odd_bodies)
def test_an_odd_body_is_refused(front: Front, body: Any) -> None:
    response = front.post(body)
    holds_shape(response)
    assert response.status_code == 400


@share(0.1)
@given(raw=st.binary(max_size=200))
def test_bytes_are_refused(front: Front, raw: bytes) -> None:
    response = front.post(raw)
    holds_shape(response)
    assert response.status_code == 400


@share(0.3)
@given(raw=mutated_bodies(), key=st.one_of(st.none(), st.text(max_size=300)))
def test_a_mutated_body_breaks_nothing(front: Front, raw: bytes, key: str | None) -> None:
    response = front.post(raw, key=key)
    holds_shape(response)
    assert response.status_code in (200, 201, 400, 409)


@share(0.1)
@given(
    jobs=st.lists(st.one_of(valid_bodies, valid_bodies, odd_bodies), max_size=4),
    options=st.dictionaries(st.sampled_from(["stopOnError", "validateAll"]), st.booleans()),
)
def test_a_batch_of_anything_accepts_what_is_valid(
    front: Front, jobs: list[Any], options: dict[str, bool]
) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token()}"}
    body = json.dumps({"jobs": jobs, "options": options}).encode()
    response = front.client.http.post("/v1/jobs/batch", headers=headers, body=body)
    told = response.json_body
    assert response.status_code in (201, 207, 400), response.body
    if response.status_code == 400:
        assert {"error", "message"} <= told.keys()
        return
    assert [each["index"] for each in told["jobs"] + told["errors"]] or not jobs
    assert {each["index"] for each in told["jobs"]}.isdisjoint(each["index"] for each in told["errors"])
    assert told["successful"] + told["failed"] == told["total"] == len(jobs)


@share(0.1)
@given(
    path=st.one_of(st.sampled_from(ROUTES), st.text(min_size=1, max_size=80).map(job_path)),
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]),
    headers=st.dictionaries(
        st.sampled_from(["authorization", "content-type", "idempotency-key", "accept", "x-other"]),
        st.text(st.characters(max_codepoint=0xFF), max_size=80),
    ),
    query=st.text(max_size=30),
    body=st.one_of(st.just(b""), json_values.map(lambda value: json.dumps(value).encode())),
)
def test_odd_requests_to_any_route_break_nothing(
    front: Front, path: str, method: str, headers: dict[str, str], query: str, body: bytes
) -> None:
    holds_shape(front.client.http.request(method, f"{path}?queue={quote(query)}", headers=headers))
    token = {"authorization": f"Bearer {front.token('admin')}"}
    holds_shape(front.client.http.request(method, f"{path}?{query}", headers={**headers, **token}, body=body))

"""GET /v1/audit: what operators did, the latest first, day by day or by what was acted on."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from app import app
from chalicelib import wiring
from chalicelib.domain import ids
from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry
from tests.fakes import START
from tests.fakes_search import MemoryAuditLog
from tests.front import OTHER, OWN, Front

DAY = timedelta(days=1)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def noted(front: Front, at: datetime, **fields: Any) -> str:
    told: dict[str, Any] = {
        "actor": "admin-1",
        "action": "cancel",
        "subject": "job_1",
        "venue_id": VenueId(OWN),
        "reason": "the venue asked",
        "before": "queued",
        "after": "cancelled",
    }
    entry = Entry(id=ids.ulid(at, len(front.store.audit)), at=at, **{**told, **fields})
    front.store.audit.append(entry)
    return entry.id


def ask(front: Front, **query: str) -> Any:
    response = front.get(f"/v1/audit?{urlencode(query)}", token=front.token("admin"))
    assert response.status_code == 200, response.body
    return response.json_body


def found(front: Front, **query: str) -> list[str]:
    """Return the ids of all pages."""
    every: list[str] = []
    cursor: str | None = None
    for _ in range(200):
        answer = ask(front, **query, **({} if cursor is None else {"cursor": cursor}))
        every += [entry["id"] for entry in answer["entries"]]
        cursor = answer["cursor"]
        if cursor is None:
            return every
    raise AssertionError("it does not come to an end")


def log_of(front: Front) -> MemoryAuditLog:
    """Return the log with its count, put behind the service."""
    log = MemoryAuditLog(front.store.audit)
    wiring.service().audit._log = log
    return log


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def test_an_entry_says_who_did_what_to_what_why_when_and_what_it_made_of_it(front: Front) -> None:
    entry_id = noted(front, START)
    assert ask(front) == {
        "entries": [
            {
                "id": entry_id,
                "at": "2026-03-01T12:00:00.000Z",
                "actor": "admin-1",
                "action": "cancel",
                "subject": "job_1",
                "venueId": OWN,
                "reason": "the venue asked",
                "before": "queued",
                "after": "cancelled",
            }
        ],
        "cursor": None,
    }


def test_what_is_done_over_http_is_in_the_log(front: Front) -> None:
    front.post({"type": "payment.process", "data": {**EXAMPLE}})
    [job_id] = front.store.jobs
    headers = {"Authorization": f"Bearer {front.token('admin', sub='ada')}", "Content-Type": "application/json"}
    front.client.http.delete(f"/v1/jobs/{job_id}", headers=headers, body=b'{"reason": "a double"}')
    [entry] = ask(front)["entries"]
    assert (entry["actor"], entry["action"], entry["subject"], entry["reason"]) == (
        "ada",
        "cancel",
        job_id,
        "a double",
    )


EXAMPLE = {
    "amount": 4500,
    "currency": "EUR",
    "customerId": "cus_1",
    "eventId": "event-1",
    "paymentMethod": "pm_card_visa",
}


@pytest.mark.parametrize("limit", ["1", "2", "100"])
def test_entries_come_newest_first_over_the_days(front: Front, limit: str) -> None:
    every = [noted(front, START - DAY * back + timedelta(minutes=n)) for back in (5, 3, 0) for n in (-9, -5)]
    assert found(front, limit=limit) == every[::-1]


def test_two_entries_of_one_millisecond_are_both_found_over_pages(front: Front) -> None:
    every = [noted(front, START - timedelta(hours=1)) for _ in range(3)]
    assert found(front, limit="1") == every[::-1]


@pytest.mark.parametrize("query", [{"subject": "job_1"}, {"from": "2026-03-01T00:00:00Z"}], ids=str)
@pytest.mark.parametrize("limit", ["1", "2", "3", "49", "50", "100"])
def test_the_pages_of_a_list_are_the_list_and_the_last_has_no_cursor(
    front: Front, query: dict[str, str], limit: str
) -> None:
    every = [noted(front, START - timedelta(minutes=60 - number)) for number in range(60)]
    assert found(front, limit=limit, **query) == every[::-1]
    assert ask(front, limit="60", **query)["cursor"] is None


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"actor": "admin-2"}, {1}),
        ({"subject": "queue/money"}, {2}),
        ({"venueId": OTHER}, {3}),
        ({"subject": "job_1", "actor": "admin-2"}, {1}),
        ({"subject": "job_1", "venueId": OTHER}, {3}),
        ({"actor": "admin-9"}, set()),
        ({"subject": "job_9"}, set()),
        ({}, {0, 1, 2, 3}),
    ],
    ids=str,
)
def test_each_filter_finds_what_it_names(front: Front, query: dict[str, str], wanted: set[int]) -> None:
    made = [
        noted(front, START - timedelta(minutes=9)),
        noted(front, START - timedelta(minutes=8), actor="admin-2"),
        noted(front, START - timedelta(minutes=7), subject="queue/money", venue_id=None),
        noted(front, START - timedelta(minutes=6), venue_id=VenueId(OTHER)),
    ]
    assert {made.index(entry_id) for entry_id in found(front, **query)} == wanted


@pytest.mark.parametrize("subject", [{}, {"subject": "job_1"}])
@pytest.mark.parametrize(
    ("since", "until", "wanted"),
    [
        (None, None, [3, 2, 1, 0]),
        (-2, None, [3, 2]),
        (None, -2, [1, 0]),
        (-3, -1, [2, 1]),
        (-2, -2, []),
        (-1, -3, []),
    ],
)
def test_a_list_is_bounded_by_time(
    front: Front, subject: dict[str, str], since: int | None, until: int | None, wanted: list[int]
) -> None:
    made = [noted(front, START + DAY * back) for back in (-4, -3, -2, -1)]
    bounds = {"from": since, "to": until}
    query = {name: iso(START + DAY * bound) for name, bound in bounds.items() if bound is not None}
    assert found(front, **subject, **query) == [made[number] for number in wanted]


def test_without_bounds_a_list_goes_back_thirty_days_and_a_subjects_to_the_beginning(front: Front) -> None:
    old = noted(front, START - 400 * DAY)
    recent = noted(front, START - 29 * DAY)
    assert found(front) == [recent]
    assert found(front, subject="job_1") == [recent, old]
    assert found(front, **{"from": iso(START - 500 * DAY)}) == [recent, old]


def test_a_page_makes_a_bounded_number_of_queries(front: Front) -> None:
    log = log_of(front)
    for number in range(3000):
        noted(front, START - timedelta(minutes=number), actor="somebody")
    wanted = noted(front, START - 20 * DAY)
    answer = ask(front, actor="admin-1")
    assert (answer["entries"], log.calls) == ([], 31)
    assert answer["cursor"] is not None
    assert found(front, actor="admin-1") == [wanted]
    log.calls = 0
    ask(front, **{"from": iso(START - 5000 * DAY), "to": iso(START - 10 * DAY)})
    assert log.calls == 31


def test_a_bound_at_the_end_passes_over_what_came_after_it(front: Front) -> None:
    log = log_of(front)
    every = [noted(front, START.replace(hour=0) + timedelta(minutes=number)) for number in range(700)]
    until = START.replace(hour=0) + timedelta(minutes=20)
    assert found(front, **{"from": iso(START.replace(hour=0)), "to": iso(until)}) == every[19::-1]
    assert log.calls == 1


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize("far", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("subject", [{}, {"subject": "job_1"}])
def test_moments_far_away_break_nothing(front: Front, name: str, far: str, subject: dict[str, str]) -> None:
    noted(front, START)
    assert "entries" in ask(front, **{name: far, **subject})


def problems(front: Front, **query: str) -> set[str]:
    response = front.get(f"/v1/audit?{urlencode(query)}", token=front.token("admin"))
    assert response.status_code == 400, response.body
    return {problem["field"] for problem in response.json_body["details"]}


def cursor(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"from": "x", "to": "y", "actor": "", "subject": "a b"}, {"from", "to", "actor", "subject"}),
        ({"limit": "101"}, {"limit"}),
        ({"reason": "x"}, {"reason"}),
        ({"cursor": cursor("{}")}, {"cursor"}),
        ({"cursor": cursor('{"day":"2026-02-30"}')}, {"cursor"}),
        ({"cursor": cursor('{"day":"2026-02-30","id":"x"}')}, {"cursor"}),
        ({"cursor": cursor('{"id":"x"}')}, {"cursor"}),  # of a subject's list
        ({"cursor": cursor('{"day":"2026-02-20"}'), "subject": "job_1"}, {"cursor"}),
        ({"cursor": cursor('{"day":"٢٠٢٦-02-20"}')}, {"cursor"}),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_what_cannot_be_is_refused_by_name(front: Front, query: dict[str, str], fields: set[str]) -> None:
    assert problems(front, **query) == fields


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_a_cursor_that_was_made_up_ends_somewhere(front: Front, day: str) -> None:
    assert "entries" in ask(front, cursor=cursor(f'{{"day":"{day}"}}'))


def test_no_route_changes_or_deletes_an_entry() -> None:
    methods = {method for path, views in app.routes.items() if "audit" in path for method in views}
    assert methods <= {"GET", "OPTIONS"}

"""GET /v1/jobs: which jobs are found by what, in which order, at what cost, and by whom."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import Any
from urllib.parse import urlencode

import pytest

from chalicelib import wiring
from chalicelib.domain import ids, keys
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId, KeyId, Reason, StageId, State, UserId, VenueId
from chalicelib.domain.keys import Key
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import Tier
from tests.factories import a_job
from tests.fakes import START
from tests.front import OTHER, OWN, Front

TIMEOUT = Failure("timeout", "There was no answer.")
DAY = timedelta(days=1)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def put(front: Front, number: int, state: State = State.QUEUED, **fields: Any) -> JobId:
    """Store the job of a minute, as it stands then."""
    at = START + timedelta(minutes=number)
    open_ = state in (State.QUEUED, State.SCHEDULED, State.RUNNING, State.RETRYING)
    looks = {"next_look": at + timedelta(minutes=5)} if open_ else {"next_look": None, "looks": 0}
    job = replace(a_job(ids.job_id(at)), created_at=at, due=at, state=state, user_id=None, **looks)
    job = replace(job, **fields)
    front.store.jobs[job.id] = job
    return job.id


def failed(front: Front, number: int, reason: Reason = Reason.EXHAUSTED, **fields: Any) -> JobId:
    at = START + timedelta(minutes=number + 1)
    return put(front, number, State.FAILED, **{"reason": reason, "error": TIMEOUT, "finished_at": at, **fields})


def ask(
    front: Front, role: str = "admin", *, sub: str = "caller", venue: str | None = OWN, **query: str
) -> Any:
    """Return the answer to a list that must be allowed."""
    token = front.token(role, sub=sub, venue=venue)
    response = front.get(f"/v1/jobs?{urlencode(query)}", token=token)
    assert response.status_code == 200, response.body
    return response.json_body


def found(front: Front, role: str = "admin", **query: Any) -> list[str]:
    """Return the ids of a list that is whole."""
    answer = ask(front, role, **query)
    assert answer["cursor"] is None
    return [job["id"] for job in answer["jobs"]]


def problems(front: Front, role: str = "admin", *, venue: str | None = OWN, **query: str) -> dict[str, str]:
    """Return what is wrong with a list that is refused, by parameter."""
    response = front.get(f"/v1/jobs?{urlencode(query)}", token=front.token(role, venue=venue))
    assert response.status_code == 400, response.body
    return {problem["field"]: problem["message"] for problem in response.json_body["details"]}


def pages(front: Front, role: str = "admin", **query: Any) -> list[list[str]]:
    """Return the ids of every page."""
    every: list[list[str]] = []
    cursor: str | None = None
    while not every or cursor is not None:
        assert len(every) < 100, "it does not come to an end"
        answer = ask(front, role, **query, **({} if cursor is None else {"cursor": cursor}))
        every.append([job["id"] for job in answer["jobs"]])
        cursor = answer["cursor"]
    return every


def flat(made: list[list[str]]) -> list[str]:
    return list(chain.from_iterable(made))


def test_a_venues_jobs_come_newest_first_and_look_like_the_job_without_data_and_history(front: Front) -> None:
    old, new = put(front, 1), put(front, 2)
    put(front, 3, venue_id=VenueId(OTHER))
    assert found(front, "venue_admin") == [new, old]
    [shown, _] = ask(front, "venue_admin")["jobs"]
    whole = front.get(f"/v1/jobs/{new}", token=front.token("venue_admin")).json_body
    assert shown == {name: value for name, value in whole.items() if name not in ("data", "history")}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_the_pages_of_a_list_are_the_list(front: Front, limit: int) -> None:
    every = [put(front, number) for number in range(7)][::-1]
    made = pages(front, "venue_admin", limit=str(limit))
    assert flat(made) == every
    assert [len(page) for page in made] == [limit] * (7 // limit) + [7 % limit] * (7 % limit > 0)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"queue": "communication"}, {2}),
        ({"state": "completed"}, {3}),
        ({"state": "failed"}, {4, 5}),
        ({"state": "parked"}, {6}),
        ({"type": "email.send"}, {2}),
        ({"type": "email"}, {2}),
        ({"batchId": "b-1"}, {7}),
        ({"fingerprint": "payment.process:timeout"}, {4, 6}),
        ({"fingerprint": "payment.process:timeout", "state": "parked"}, {6}),
        ({"fingerprint": "payment.process:timeout", "state": "queued"}, set()),
        ({"state": "failed", "queue": "money"}, {4, 5}),
        ({"state": "failed", "queue": "background"}, set()),
        ({"state": "failed", "batchId": "b-1"}, set()),
        ({}, {1, 2, 3, 4, 5, 6, 7}),
    ],
    ids=str,
)
@pytest.mark.parametrize("role", ["venue_admin", "service", "admin"])
def test_each_filter_finds_what_it_names_in_a_venue(
    front: Front, role: str, query: dict[str, str], wanted: set[int]
) -> None:
    made = {
        1: put(front, 1),
        2: put(front, 2, tier=Tier.COMMUNICATION, type="email.send"),
        3: put(front, 3, State.COMPLETED),
        4: failed(front, 4),
        5: failed(front, 5, Reason.REFUSED),
        6: put(front, 6, State.PARKED, error=TIMEOUT),
        7: put(front, 7, batch_id="b-1", batch_index=0),
    }
    failed(front, 8, venue_id=VenueId(OTHER), batch_id="b-1")
    ids_ = found(front, role, venueId=OWN, **query)
    assert {number for number, job_id in made.items() if job_id in ids_} == wanted
    assert len(ids_) == len(wanted)


def test_an_administrator_looks_over_all_venues_for_what_failed_is_parked_or_open(front: Front) -> None:
    exhausted, refused = failed(front, 1), failed(front, 2, Reason.REFUSED, venue_id=VenueId(OTHER))
    mail = failed(front, 3, Reason.EXPIRED, tier=Tier.COMMUNICATION, type="email.send")
    parked = put(front, 4, State.PARKED, error=TIMEOUT)
    late, soon = put(front, 5, next_look=START + 2 * DAY), put(front, 6, State.RUNNING, venue_id=VenueId(OTHER))
    waits = put(front, 7, next_look=START + DAY)
    put(front, 8, State.COMPLETED)
    assert found(front, state="failed") == [mail, refused, exhausted]
    assert found(front, state="failed", queue="money") == [refused, exhausted]
    assert found(front, state="parked") == [parked]
    assert found(front, state="running") == [soon]
    assert found(front, state="queued") == [waits, late]
    assert found(front, state="queued", queue="background") == []
    assert found(front, fingerprint="payment.process:timeout") == [parked, exhausted]


def test_the_pages_of_open_jobs_are_the_list_of_them(front: Front) -> None:
    looks = [START + timedelta(minutes=number % 4) for number in range(11)]
    made = [put(front, number, next_look=look) for number, look in enumerate(looks)]
    ordered = [job_id for _, job_id in sorted(zip(looks, made, strict=True))]
    assert flat(pages(front, state="queued", limit="3")) == ordered


@pytest.mark.parametrize("query", [{}, {"state": "completed"}, {"state": "cancelled"}, {"type": "email.send"}])
def test_what_no_index_answers_over_all_venues_is_refused_and_says_what_may_be_asked(
    front: Front, query: dict[str, str]
) -> None:
    message = problems(front, **query)["state"]
    assert all(word in message for word in ("venueId", "fingerprint", "queued", "failed", "parked"))
    assert front.index.calls == []


def test_a_user_sees_the_jobs_made_on_its_behalf_whatever_their_venue_and_no_others(front: Front) -> None:
    first = put(front, 1, user_id=UserId("user-7"))
    put(front, 2, user_id=UserId("user-8"))
    put(front, 3, submitted_by="user-7")
    third = put(front, 4, user_id=UserId("user-7"), venue_id=VenueId(OTHER))
    fourth = failed(front, 5, user_id=UserId("user-7"), batch_id="b")
    assert found(front, "user", sub="user-7", venue=None) == [fourth, third, first]
    assert found(front, "user", sub="user-7", venueId=OTHER) == [third]
    assert found(front, "user", sub="user-7", state="failed") == [fourth]
    assert found(front, "user", sub="user-7", venueId=OWN, batchId="b") == [fourth]
    assert found(front, "user", sub="user-7", fingerprint="payment.process:timeout") == [fourth]
    assert found(front, "user", sub="user-9") == []


def test_a_service_names_a_venue_and_a_venue_no_other(front: Front) -> None:
    assert "venueId" in problems(front, "service", venue=OWN)
    response = front.get(f"/v1/jobs?venueId={OTHER}", token=front.token("venue_admin"))
    assert response.status_code == 403
    assert front.get("/v1/jobs", token=front.token("venue_admin", venue=None)).status_code == 403


@pytest.mark.parametrize("name", ["batchId", "key"])
def test_what_venues_name_is_asked_of_one_venue(front: Front, name: str) -> None:
    assert "venueId" in problems(front, **{name: "b-1", "type": "email.send"})


# --- time


@pytest.mark.parametrize(
    ("since", "until", "wanted"),
    [
        (None, None, [4, 3, 2, 1]),
        (2, None, [4, 3, 2]),
        (None, 3, [2, 1]),
        (2, 4, [3, 2]),
        (3, 3, []),
        (4, 2, []),
        (9, None, []),
    ],
)
def test_a_list_is_bounded_by_when_jobs_were_accepted(
    front: Front, since: int | None, until: int | None, wanted: list[int]
) -> None:
    made = {number: put(front, number) for number in range(1, 5)}
    bounds = {"from": since, "to": until}
    query = {
        name: (START + timedelta(minutes=bound)).isoformat().replace("+00:00", "Z")
        for name, bound in bounds.items()
        if bound is not None
    }
    assert found(front, "venue_admin", **query) == [made[number] for number in wanted]


def test_a_list_bounded_by_time_reads_nothing_outside_of_it(front: Front) -> None:
    for number in range(100):
        put(front, number)
    asked = reads(front)
    moments = {"from": "2026-03-01T12:50Z", "to": "2026-03-01T14:00:00+01:00"}
    assert len(found(front, "venue_admin", **moments)) == 10
    assert sum(asked) <= 12  # a job's id is made before its record is: a minute is added at the start


def test_a_job_that_took_a_minute_from_its_id_to_its_record_is_found_by_its_record(front: Front) -> None:
    at = START + timedelta(seconds=60)
    job_id = put(front, 0, created_at=at)
    assert found(front, "venue_admin", **{"from": at.isoformat().replace("+00:00", "Z")}) == [job_id]


@pytest.mark.parametrize("far", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z"])
@pytest.mark.parametrize("name", ["from", "to"])
def test_moments_far_away_break_nothing(front: Front, name: str, far: str) -> None:
    job_id = put(front, 1)
    found_ = found(front, "venue_admin", **{name: far})
    assert found_ == ([job_id] if (name == "from") == (far < "2026") else [])


# --- keys


def keyed(front: Front, number: int, given: str, **fields: Any) -> JobId:
    key_id = keys.key_id(VenueId(OWN), "payment.process", given=given, natural=())
    job_id = put(front, number, key_id=key_id, **fields)
    front.store.keys[KeyId(key_id)] = Key(key_id, job_id, "hash", False, START, DAY)
    return job_id


def test_a_callers_key_finds_its_job_in_its_venue_and_type_alone(front: Front) -> None:
    job_id = keyed(front, 1, "order-1")
    query = {"key": "order-1", "type": "payment"}
    assert found(front, "venue_admin", **query) == [job_id]
    assert found(front, "admin", venueId=OWN, **query) == [job_id]
    assert found(front, "service", venueId=OTHER, **query) == []
    assert found(front, "venue_admin", key="order-1", type="email.send") == []
    assert found(front, "venue_admin", key="order-2", type="payment") == []
    assert found(front, "venue_admin", state="failed", **query) == []
    assert found(front, "user", sub="user-7", venueId=OWN, **query) == []
    assert "type" in problems(front, "venue_admin", key="order-1")


def test_a_key_whose_job_was_never_written_finds_nothing(front: Front) -> None:
    job_id = keyed(front, 1, "order-1")
    del front.store.jobs[job_id]
    assert found(front, "venue_admin", key="order-1", type="payment") == []


# --- what must not show


def test_a_job_whose_batch_is_not_accepted_yet_is_in_no_list(front: Front) -> None:
    keyed(front, 1, "order-1", stage=StageId("s"), next_look=None, looks=0, batch_id="b-1", user_id=UserId("u"))
    assert found(front, "venue_admin") == []
    assert found(front, "venue_admin", batchId="b-1") == []
    assert found(front, "venue_admin", key="order-1", type="payment") == []
    assert found(front, "user", sub="u") == []
    assert found(front, state="queued") == []


def test_an_index_that_lags_behind_shows_no_job_that_is_not_wanted_any_more(front: Front) -> None:
    lagging = failed(front, 1)
    gone = failed(front, 2)
    foreign = failed(front, 3)
    every = [foreign, gone, lagging]
    front.index.newest = lambda *_, **__: every  # type: ignore[method-assign]  # an index as it was
    front.store.jobs[lagging] = replace(front.store.jobs[lagging], state=State.COMPLETED, reason=None)
    front.store.jobs[foreign] = replace(front.store.jobs[foreign], venue_id=VenueId(OTHER))
    del front.store.jobs[gone]
    assert found(front, "venue_admin", state="failed") == []


# --- cost


def reads(front: Front) -> list[int]:
    """Return how many records each read of a batch takes, from now on."""
    asked: list[int] = []
    load = front.store.load_batch

    def counted(job_ids: Any) -> Any:
        asked.append(len(job_ids))
        return load(job_ids)

    front.store.load_batch = counted  # type: ignore[method-assign]  # counts
    return asked


@pytest.mark.parametrize("size", [0, 30, 1000])
@pytest.mark.parametrize(
    ("query", "queries"),
    [
        ({"venueId": OWN}, 1),
        ({"venueId": OWN, "state": "completed"}, 1),
        ({"venueId": OWN, "state": "failed"}, 1),
        ({"state": "failed", "queue": "money"}, 3),
        ({"state": "failed"}, 9),
        ({"state": "queued", "queue": "money"}, 4),
        ({"state": "queued"}, 12),
        ({"fingerprint": "payment.process:timeout"}, 2),
    ],
    ids=str,
)
def test_a_page_asks_as_many_indexes_whatever_the_backlog_and_reads_no_more_than_it_may(
    front: Front, query: dict[str, str], queries: int, size: int
) -> None:
    for number in range(size):
        (failed if number % 3 == 0 else put)(front, number)
    asked = reads(front)
    ask(front, **query)
    assert len(front.index.calls) == queries
    assert len(asked) <= 2
    assert sum(asked) <= 180


@pytest.mark.parametrize(
    ("role", "query"),
    [
        ("venue_admin", {}),
        ("venue_admin", {"state": "failed"}),
        ("venue_admin", {"batchId": "b"}),
        ("user", {}),
        ("admin", {"state": "failed"}),
        ("admin", {"state": "failed", "queue": "money"}),
        ("admin", {"fingerprint": "payment.process:timeout"}),
        ("admin", {"fingerprint": "payment.process:timeout", "state": "failed"}),
    ],
    ids=str,
)
def test_a_page_of_what_an_index_has_reads_what_it_shows(
    front: Front, role: str, query: dict[str, str]
) -> None:
    for number in range(50):
        failed(front, number, user_id=UserId("caller"), batch_id="b")
    asked = reads(front)
    assert len(ask(front, role, limit="5", **query)["jobs"]) == 5
    assert asked == [5]


def test_what_is_rare_is_found_over_short_pages(front: Front) -> None:
    rare = {put(front, number, State.COMPLETED) for number in (3, 399)}
    for number in range(400):
        if number not in (3, 399):
            put(front, number)
    made = pages(front, "venue_admin", state="completed")
    assert set(flat(made)) == rare
    assert len(made) == 3  # 180 records to a page


def test_a_hundred_to_a_page_are_a_hundred(front: Front) -> None:
    every = [put(front, number) for number in range(250)][::-1]
    made = pages(front, "venue_admin", limit="100")
    assert [len(page) for page in made] == [100, 100, 50]
    assert flat(made) == every


# --- what is refused


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"queue": "express"}, "queue"),
        ({"state": "dead"}, "state"),
        ({"type": "payment.unknown"}, "type"),
        ({"venueId": ""}, "venueId"),
        ({"batchId": "a b"}, "batchId"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-03-01T12:00:00"}, "from"),
        ({"to": "2026-02-30T12:00:00Z"}, "to"),
        ({"to": "0001-01-01T00:00:00+23:59"}, "to"),
        ({"fingerprint": "timeout"}, "fingerprint"),
        ({"key": " "}, "key"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "1e1"}, "limit"),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
def test_a_parameter_that_cannot_be_is_refused_by_name(front: Front, query: dict[str, str], field: str) -> None:
    assert field in problems(front, **query)


def test_an_unknown_parameter_is_told_the_known_ones(front: Front) -> None:
    message = problems(front, colour="red")["colour"]
    known = (
        "queue",
        "state",
        "type",
        "venueId",
        "batchId",
        "from",
        "to",
        "fingerprint",
        "key",
        "cursor",
        "limit",
    )
    assert all(name in message for name in known)


def test_every_problem_is_told_at_once(front: Front) -> None:
    assert set(problems(front, queue="x", state="y", type="z", to="t")) == {"queue", "state", "type", "to"}


def cursor(told: object) -> str:
    raw = told if isinstance(told, bytes) else json.dumps(told, separators=(",", ":")).encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "====",
        "é",
        cursor(b""),
        cursor(b"\xff"),
        cursor([]),
        cursor({}),
        cursor({"id": 1}),
        cursor({"id": ""}),
        cursor({"id": "a b"}),
        cursor({"id": "job_1", "more": 1}),
        cursor({"id": "job_1", "look": "1"}),
        cursor({"id": "job_1", "look": -1}),
        cursor({"id": "job_1", "look": 10**18}),
        cursor({"id": "job_1", "look": 1}),  # of the list of open jobs
        cursor(b'{"id": "job_1"}'),  # not as we write it
        cursor({"id": "job_1"}) + "=",
        cursor({"id": "job_1"}) + "\n",
        "A" * 600,
    ],
)
def test_a_cursor_that_is_none_of_ours_is_refused(front: Front, text: str) -> None:
    put(front, 1)
    assert "cursor" in problems(front, "venue_admin", cursor=text)


def test_a_cursor_of_another_list_is_refused_by_that_of_open_jobs(front: Front) -> None:
    put(front, 1)
    assert "cursor" in problems(front, state="queued", cursor=cursor({"id": "job_1"}))


def test_a_cursor_that_was_made_up_shows_nothing_that_is_not_ones_own(front: Front) -> None:
    mine = put(front, 1)
    theirs = put(front, 2, venue_id=VenueId(OTHER))
    highest = cursor({"id": theirs + "Z"})
    assert found(front, "venue_admin", cursor=highest) == [mine]


def test_a_parameter_that_is_sent_twice_is_refused(front: Front) -> None:
    response = front.get("/v1/jobs?state=queued&state=failed", token=front.token("admin"))
    assert response.status_code == 400


def test_a_table_that_does_not_answer_is_a_503(front: Front) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise StoreRefused

    front.index.newest = refuse  # type: ignore[method-assign]  # does not answer
    response = front.get("/v1/jobs", token=front.token("venue_admin"))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")

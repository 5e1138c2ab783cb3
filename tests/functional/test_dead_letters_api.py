"""GET /v1/queues/{tier}/dead-letters: what failed for good, in groups or one by one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from chalicelib import wiring
from chalicelib.domain import ids
from chalicelib.domain.job import JobId, Reason, State
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import Tier
from tests.factories import a_job
from tests.fakes import START
from tests.front import Front

TIMEOUT = Failure("timeout", "There was no answer.", "req_1")
LIMITED = Failure("rate_limit", "Too many requests.")


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def dead(front: Front, number: int, error: Failure = TIMEOUT, **fields: Any) -> JobId:
    """Store a job of a minute that failed for good a minute later."""
    at = START + timedelta(minutes=number)
    told = {"state": State.FAILED, "reason": Reason.EXHAUSTED, "error": error, "next_look": None, "looks": 0}
    told |= {"created_at": at, "finished_at": at + timedelta(minutes=1), **fields}
    job = replace(a_job(ids.job_id(at)), **told)  # type: ignore[arg-type]  # fields of Job
    front.store.jobs[job.id] = job
    return job.id


def ask(front: Front, tier: str = "money", **query: str) -> Any:
    response = front.get(f"/v1/queues/{tier}/dead-letters?{urlencode(query)}", token=front.token("admin"))
    assert response.status_code == 200, response.body
    return response.json_body


def test_dead_letters_are_grouped_by_type_and_error_the_largest_group_first(front: Front) -> None:
    only = dead(front, 1, LIMITED)
    first, second = dead(front, 2), dead(front, 3, reason=Reason.EXPIRED)
    assert ask(front) == {
        "queue": "money",
        "groups": [
            {
                "fingerprint": "payment.process:timeout",
                "type": "payment.process",
                "count": 2,
                "firstSeen": "2026-03-01T12:03:00.000Z",
                "lastSeen": "2026-03-01T12:04:00.000Z",
                "exampleId": second,
                "error": {"code": "timeout", "message": "There was no answer.", "reference": "req_1"},
            },
            {
                "fingerprint": "payment.process:rate_limit",
                "type": "payment.process",
                "count": 1,
                "firstSeen": "2026-03-01T12:02:00.000Z",
                "lastSeen": "2026-03-01T12:02:00.000Z",
                "exampleId": only,
                "error": {"code": "rate_limit", "message": "Too many requests."},
            },
        ],
        "read": 3,
        "more": False,
        "cursor": None,
    }
    jobs = ask(front, fingerprint="payment.process:timeout")
    assert ([job["id"] for job in jobs["jobs"]], jobs["cursor"]) == ([second, first], None)
    assert not jobs["jobs"][0].keys() & {"data", "history"}


def test_what_was_refused_or_is_parked_or_in_another_queue_is_no_dead_letter_of_this_one(front: Front) -> None:
    dead(front, 1, reason=Reason.REFUSED)
    dead(front, 2, state=State.PARKED, reason=None, finished_at=None, doubt=START)
    mail = dead(front, 3, tier=Tier.COMMUNICATION, type="email.send")
    assert ask(front)["groups"] == []
    assert ask(front, fingerprint="payment.process:timeout")["jobs"] == []
    assert [group["exampleId"] for group in ask(front, "communication")["groups"]] == [mail]
    assert ask(front, fingerprint="email.send:timeout")["jobs"] == []
    assert [job["id"] for job in ask(front, "communication", fingerprint="email.send:timeout")["jobs"]] == [
        mail
    ]


def test_a_dead_letter_without_an_error_is_grouped_by_how_it_ended(front: Front) -> None:
    dead(front, 1, error=None)  # type: ignore[arg-type]  # a record that has none
    [group] = ask(front)["groups"]
    assert (group["fingerprint"], group["error"]) == ("payment.process:exhausted", None)


def test_a_dead_letter_that_was_retried_since_is_no_example(front: Front) -> None:
    job_id = dead(front, 1)
    letters = front.index.dead_letters(Tier.MONEY, Reason.EXHAUSTED, below=None, limit=9)
    front.index.dead_letters = lambda *args, **_: letters if Reason.EXHAUSTED in args else []  # type: ignore[method-assign]  # an index as it was
    front.store.jobs[job_id] = replace(front.store.jobs[job_id], state=State.QUEUED, reason=None)
    assert [group["error"] for group in ask(front)["groups"]] == [None]
    assert ask(front, fingerprint="payment.process:timeout")["jobs"] == []


def test_more_than_an_answer_groups_goes_on_behind_its_cursor(front: Front) -> None:
    for number in range(1100):
        dead(front, number, TIMEOUT if number % 2 else LIMITED, reason=[*DEAD][number % 3 == 0])
    front.index.calls.clear()
    asked: list[int] = []
    load = front.store.load_batch
    front.store.load_batch = lambda job_ids: (asked.append(len(job_ids)), load(job_ids))[1]  # type: ignore[method-assign,func-returns-value]  # counts
    first = ask(front)
    assert (first["read"], first["more"]) == (1000, True)
    assert (len(front.index.calls), asked) == (2, [2])
    second = ask(front, cursor=first["cursor"])
    assert (second["read"], second["more"], second["cursor"]) == (100, False, None)
    counts = [group["count"] for answer in (first, second) for group in answer["groups"]]
    assert counts == [500, 500, 50, 50]


DEAD = (Reason.EXHAUSTED, Reason.EXPIRED)


def test_the_pages_of_a_kind_are_all_of_it(front: Front) -> None:
    every = [dead(front, number) for number in range(7)][::-1]
    found: list[str] = []
    query = {"fingerprint": "payment.process:timeout", "limit": "3"}
    for _ in range(3):
        answer = ask(front, **query)
        found += [job["id"] for job in answer["jobs"]]
        if answer["cursor"] is None:
            break
        query["cursor"] = answer["cursor"]
    assert found == every


@pytest.mark.parametrize(
    ("tier", "query", "field"),
    [
        ("express", {}, "tier"),
        ("money", {"fingerprint": "timeout"}, "fingerprint"),
        ("money", {"fingerprint": ""}, "fingerprint"),
        ("money", {"cursor": "x"}, "cursor"),
        ("money", {"limit": "0"}, "limit"),
        ("money", {"state": "failed"}, "state"),
        ("money", {"cursor": "eyJpZCI6ImpvYl8xIiwibG9vayI6MX0"}, "cursor"),  # of the list of open jobs
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_name(front: Front, tier: str, query: dict[str, str], field: str) -> None:
    response = front.get(f"/v1/queues/{tier}/dead-letters?{urlencode(query)}", token=front.token("admin"))
    assert response.status_code == 400
    assert [problem["field"] for problem in response.json_body["details"]] == [field]

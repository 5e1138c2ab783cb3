"""POST /v1/erasures: what may be about a person is taken from every job that has ended."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.domain.job import JobId, State, UserId, VenueId
from chalicelib.domain.ports import Entry
from tests.front import OWN, Front
from tests.functional.test_operations_api import WHY, begin, dead, look, put, send, tick

ANN = UserId("ann")
ADDRESS = "Ann@Example.com"
LARGE = {"to": ADDRESS, "template": "notice", "data": {"text": "x" * 5000}}


@pytest.fixture
def front() -> Iterator[Front]:
    made = Front()
    made.clock.advance(timedelta(days=2))
    yield made
    wiring.install(None)


def finished(front: Front, number: int, **fields: Any) -> JobId:
    told = {"state": State.COMPLETED, "result": {"charge": "ch_1"}, "next_look": None, "looks": 0}
    return put(front, number, **{"callback_url": "https://example.com/ann", **told, **fields})


def erase(front: Front, **body: str) -> dict[str, Any]:
    return begin(front, "/erasures", {"mode": "start", "reason": WHY, **body})


def data_of(front: Front, job_id: JobId) -> Any:
    job = front.store.load(job_id, None)
    assert job is not None
    return job.payload, job.result, job.callback_url, job.erased_at


def blank(front: Front) -> Any:
    return {}, None, None, front.clock.now()


def test_all_jobs_of_a_user_that_have_ended_are_blanked_and_audited(front: Front) -> None:
    theirs = [finished(front, number, user_id=ANN) for number in range(120)]
    theirs.append(dead(front, 200, user_id=ANN))
    other = finished(front, 300, user_id=UserId("bob"))
    before = front.store.jobs[other]
    told = erase(front, userId=ANN)
    assert (told["status"], told["progress"]["done"], told["money"]) == ("completed", 121, {})
    assert all(data_of(front, each) == blank(front) for each in theirs)
    assert front.store.jobs[other] == before
    entries = {each.subject: each for each in front.store.audit if each.subject.startswith("job_")}
    assert set(entries) == set(theirs)
    assert {(each.actor, each.action) for each in entries.values()} == {("ops", "erase")}
    assert [each.action for each in front.store.audit if each.subject.startswith("operation/")] == ["erase"]


def test_a_payload_that_is_kept_apart_is_blanked_too(front: Front) -> None:
    job_id = finished(front, 1, user_id=ANN)
    job = front.store.jobs.pop(job_id)
    front.store.add_free(replace(job, payload=LARGE))
    erase(front, userId=ANN)
    assert data_of(front, job_id) == blank(front)
    assert "x" * 100 not in str(front.store.payloads)


def test_jobs_that_name_an_address_are_found_whatever_its_case_and_depth(front: Front) -> None:
    named = finished(front, 1, payload={"to": ADDRESS.lower()})
    deep = finished(front, 2, payload={"items": [{"replyTo": f" {ADDRESS.upper()} "}]})
    free = finished(front, 3, payload={"to": "other@example.com", "note": f"not {ADDRESS}"})
    elsewhere = finished(front, 4, payload={"to": ADDRESS}, venue_id=VenueId("venue-2"))
    told = erase(front, venueId=OWN, address=ADDRESS)
    assert told["progress"]["done"] == 2
    assert data_of(front, named) == data_of(front, deep) == blank(front)
    assert {front.store.jobs[each].erased_at for each in (free, elsewhere)} == {None}


def test_the_address_is_kept_nowhere(front: Front) -> None:
    finished(front, 1, payload={"to": ADDRESS})
    told = erase(front, venueId=OWN, address=ADDRESS)
    kept = [told, front.operations.operations, front.store.audit, front.journal.events, front.store.jobs]
    assert ADDRESS.casefold() not in str(kept).casefold()


def test_what_is_open_or_parked_keeps_its_data_and_is_counted(front: Front) -> None:
    job_id = put(front, 1, user_id=ANN)
    parked = put(front, 2, user_id=ANN, state=State.PARKED)
    told = erase(front, userId=ANN)
    assert told["progress"]["skipped"] == {"still_open": 2}
    assert {front.store.jobs[each].erased_at for each in (job_id, parked)} == {None}


def test_a_preview_counts_and_erases_nothing(front: Front) -> None:
    finished(front, 1, user_id=ANN)
    before = dict(front.store.jobs)
    told = begin(front, "/erasures", {"mode": "preview", "userId": ANN})
    assert told["progress"]["done"] == 1
    assert front.store.jobs == before


def test_an_erased_job_says_so_and_cannot_run_again(front: Front) -> None:
    job_id = dead(front, 1, user_id=ANN)
    erase(front, userId=ANN)
    shown = send(front, "GET", f"/jobs/{job_id}").json_body
    assert (shown["data"], shown["erasedAt"] is not None) == ({}, True)
    for action in ("retry", "clone"):
        answer = send(front, "POST", f"/jobs/{job_id}/{action}")
        assert (answer.status_code, answer.json_body["error"]) == (409, "erased")
    assert erase(front, userId=ANN)["progress"]["matched"] == 0


def test_an_erasure_goes_on_after_a_crash(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = [finished(front, number, user_id=ANN) for number in range(100)]
    run = wiring.service().run_operations
    with monkeypatch.context() as crash:
        crash.setattr(run._leases, "take", lambda *_, **__: False)
        told = erase(front, userId=ANN)
    tick(front)
    assert look(front, told)["status"] == "completed"
    assert all(data_of(front, each) == blank(front) for each in theirs)
    subjects = [each.subject for each in front.store.audit if _of_job(each)]
    assert sorted(subjects) == sorted(theirs)


@pytest.mark.parametrize(
    "who", [{}, {"venueId": OWN}, {"address": ADDRESS}, {"userId": "a", "venueId": OWN, "address": ADDRESS}]
)
def test_a_person_is_named_one_way_or_the_other(front: Front, who: dict[str, str]) -> None:
    answer = send(front, "POST", "/erasures", {"mode": "start", "reason": WHY, **who})
    assert answer.status_code == 400
    assert front.operations.operations == {}


def _of_job(entry: Entry) -> bool:
    return entry.subject.startswith("job_")

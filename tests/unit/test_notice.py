"""What an end is told by: made of the ended job alone, the same one whoever makes it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.job import TERMINAL, Job, JobId, Reason, State, UserId, erase, rest, restart
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.notice import DELIVERY, EVENTS, Notices, notice, notice_id
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import RETRY, TIMING, EffectClass, Tier
from chalicelib.domain.ports import Change
from tests.factories import PAYMENT, VENUE, a_job, a_policy, a_running_job
from tests.fakes import START

URL = "https://shop.example/done"
SECOND = timedelta(seconds=1)
VIA = JobType(
    name=DELIVERY,
    aliases=(),
    tier=Tier.BACKGROUND,
    provider="internal",
    effect_class=EffectClass.RECEIVER_DEDUPS,
    schema={},
    natural_key=lambda _: (),
    key_period=timedelta(hours=24),
    retention=timedelta(days=30),
    archive="webhook_archive",
    in_flight=10,
    retry=RETRY["webhook"],
    run=lambda _, __: pytest.fail("nothing runs here"),
    run_time=timedelta(seconds=30),
    attempts=5,
)
NOTICES = Notices({DELIVERY: VIA}, TIMING)


def ended(state: State = State.COMPLETED, **fields: Any) -> Job:
    running = a_running_job(callback_url=URL, **fields)
    return rest(running, state, a_policy(), now=START + 3 * SECOND)


def on(before: Job, after: Job) -> Job | None:
    return NOTICES.on(Change(before, after)).follow


def test_completed_job_is_told_with_its_result() -> None:
    job = replace(ended(), result={"paymentIntentId": "pi_1"})

    assert notice(job, VIA, TIMING).payload == {
        "url": URL,
        "event": "job.completed",
        "eventId": "job_1-3",
        "payload": {
            "jobId": "job_1",
            "type": "payment.process",
            "queue": "money",
            "venueId": VENUE,
            "state": "completed",
            "result": {"paymentIntentId": "pi_1"},
            "attempts": 1,
            "finishedAt": "2026-03-01T12:00:03.000Z",
        },
    }


def test_failed_job_is_told_with_its_reason_and_error_and_without_an_earlier_result() -> None:
    failure = Failure("card_declined", "The card was declined.", "req_1")
    job = replace(ended(State.FAILED), reason=Reason.REFUSED, error=failure, result={"nextAction": {}})

    told = notice(job, VIA, TIMING).payload
    assert told is not None
    assert told["event"] == "job.failed"
    assert told["payload"]["reason"] == "refused"
    assert told["payload"]["error"] == {"code": "card_declined", "message": "The card was declined."}
    assert "result" not in told["payload"]


def test_cancelled_job_is_told_without_the_error_of_an_earlier_attempt() -> None:
    job = replace(ended(State.CANCELLED), error=Failure("busy", "Too many requests."))

    told = notice(job, VIA, TIMING).payload
    assert told is not None
    assert (told["event"], told["payload"]["state"]) == ("job.cancelled", "cancelled")
    assert "error" not in told["payload"]


def test_job_of_a_batch_is_told_with_its_place_there() -> None:
    told = notice(replace(ended(), batch_id="batch-1", batch_index=0), VIA, TIMING).payload
    assert told is not None
    assert (told["payload"]["batchId"], told["payload"]["batchIndex"]) == ("batch-1", 0)


def test_notice_says_nothing_of_what_the_job_was_made_of() -> None:
    for state in TERMINAL:
        text = str(notice(ended(state), VIA, TIMING).payload)
        assert not [value for value in PAYMENT.values() if str(value) in text]


def test_endpoint_is_told_by_its_id() -> None:
    job = replace(ended(), callback_url=None, callback_endpoint_id="endpoint-1")

    told = notice(job, VIA, TIMING).payload
    assert told is not None
    assert told["endpointId"] == "endpoint-1"
    assert "url" not in told


def test_notice_is_a_job_of_its_own_type_that_belongs_to_the_same_people_and_has_no_callback() -> None:
    made = notice(ended(), VIA, TIMING)

    assert (made.type, made.tier, made.priority, made.max_attempts) == (DELIVERY, Tier.BACKGROUND, 5, 5)
    assert (made.venue_id, made.user_id, made.submitted_by) == (VENUE, UserId("user-1"), "service-1")
    assert (made.callback_url, made.callback_endpoint_id, made.batch_id) == (None, None, None)
    assert (made.state, made.version, made.created_at, made.due) == (
        State.QUEUED,
        1,
        START + 3 * SECOND,
        START + 3 * SECOND,
    )


def test_notice_is_looked_for_by_dispatch_in_case_its_message_never_goes() -> None:
    made = notice(ended(), VIA, TIMING)
    assert (made.next_look, made.looks) == (START + 3 * SECOND + TIMING.look_after, 1)


def test_same_end_has_the_same_notice_and_another_one_another() -> None:
    first = ended()
    again = rest(restart(first, a_policy(), now=START + 9 * SECOND), State.CANCELLED, a_policy(), now=START)

    assert notice(first, VIA, TIMING) == notice(first, VIA, TIMING)
    one, other = notice(first, VIA, TIMING), notice(again, VIA, TIMING)
    assert one.id != other.id
    assert one.key_id != other.key_id
    assert one.payload is not None
    assert other.payload is not None
    assert one.payload["eventId"] != other.payload["eventId"]


@given(st.integers(0, 10**9), st.integers(1, 10**9), st.text(min_size=1, max_size=30))
def test_notices_sort_by_when_their_jobs_ended(first: int, later: int, name: str) -> None:
    job = replace(ended(), id=JobId(name))
    moments = [START + timedelta(milliseconds=each) for each in (first, first + later)]
    one, other = (notice_id(replace(job, finished_at=each)) for each in moments)
    assert one < other
    assert len(one) == len("job_") + 26


@pytest.mark.parametrize("state", State)
def test_only_what_has_ended_is_told(state: State) -> None:
    before = a_running_job(callback_url=URL)
    finished = START if state in TERMINAL else None
    made = on(before, replace(before, state=state, finished_at=finished))
    assert (made is not None) is (state in EVENTS) is (state in TERMINAL)


def test_end_that_nobody_wants_to_be_told_of_is_not_told() -> None:
    before = a_running_job()
    assert on(before, rest(before, State.COMPLETED, a_policy(), now=START)) is None


def test_what_is_done_to_an_ended_job_is_no_end() -> None:
    job = ended()
    assert on(job, replace(job, version=job.version + 1)) is None
    assert on(job, erase(job, now=START + 9 * SECOND)) is None
    assert on(job, restart(job, a_policy(), now=START + 9 * SECOND)) is None


def test_change_keeps_what_it_was_beside_its_notice() -> None:
    before, after = a_job(), ended()
    made = NOTICES.on(Change(before, after))
    assert (made.before, made.after, made.follow) == (before, after, notice(after, VIA, TIMING))


def test_job_that_has_not_ended_has_no_notice() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        notice(a_running_job(callback_url=URL), VIA, TIMING)

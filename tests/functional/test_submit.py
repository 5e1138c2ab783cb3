"""Accepting: the key, the record, the message; and what each lost reply, crash and race makes of them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import AcceptanceUnknown, KeyConflict, StoreRefused
from chalicelib.domain.job import JobId, Reason, State, VenueId
from chalicelib.domain.keys import Key
from chalicelib.domain.message import decode
from chalicelib.domain.policies import EffectClass, Lane, Tier
from chalicelib.service.submit import Accepted
from tests.functional.house import Fault, House

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MS = timedelta(milliseconds=1)
SAME = {"order": "order-1", "amount": 4500}
OTHER = {"order": "order-1", "amount": 9900}
LOST, MUTE, REFUSED = Fault.LOST, Fault.MUTE, Fault.REFUSED


@pytest.fixture
def house() -> House:
    return House()


def ghost(house: House) -> Key:
    """Leave a key as a crash right after it was written leaves it."""
    house.store.order("add", REFUSED)
    with pytest.raises(StoreRefused):
        house.submit(key="k")
    [key] = house.store.keys.values()
    assert house.store.jobs == {}
    return key


def test_a_job_is_accepted_by_its_key_its_record_and_its_message_in_this_order(house: House) -> None:
    order: list[str] = []
    house.store.order("take_key", lambda: order.append("key"))
    house.store.order("add", lambda: order.append(f"record, {len(house.store.keys)} key"))
    accepted = house.submit()

    job = house.job(accepted.job.id)
    assert order == ["key", "record, 1 key"]
    assert accepted == Accepted(job, deduplicated=False)
    [message] = house.messages()
    assert (decode(message.body).job_id, message.group) == (job.id, "venue-1")
    assert house.journal.events == [
        (
            "accepted",
            {"jobId": job.id, "venueId": "venue-1", "type": "test.charge", "state": State.QUEUED},
        )
    ]


def test_accepting_costs_three_calls(house: House) -> None:
    house.submit()
    assert (dict(house.store.calls), dict(house.queue.calls)) == ({"take_key": 1, "add": 1}, {"send": 1})


def test_a_submission_is_what_the_record_says(house: House) -> None:
    job_id = house.accept(
        EffectClass.BLIND,
        data=SAME,
        priority=8,
        attempts=2,
        delay=timedelta(minutes=3),
        user_id=None,
        submitted_by="admin-7",
        callback_url="https://example.com/done",
    )
    job = house.job(job_id)
    assert (job.type, job.tier, job.lane) == ("test.mail", Tier.COMMUNICATION, Lane.EXPRESS)
    assert (job.payload, job.priority, job.max_attempts) == (SAME, 8, 2)
    assert (job.state, job.due) == (State.SCHEDULED, house.clock.now() + timedelta(minutes=3))
    assert (job.user_id, job.submitted_by) == (None, "admin-7")
    assert job.callback_url == "https://example.com/done"
    assert house.store.keys[job.key_id].job_id == job_id
    assert house.store.keys[job.key_id].payload_hash == job.payload_hash


def test_a_delayed_message_is_delayed_and_an_urgent_one_takes_the_express_lane(house: House) -> None:
    house.accept(priority=9, delay=timedelta(minutes=15))
    assert house.messages() == []
    [message] = house.messages(lane=Lane.EXPRESS)
    assert message.visible_at == house.clock.now() + timedelta(minutes=15)


def test_what_is_due_in_more_than_fifteen_minutes_is_left_to_dispatch(house: House) -> None:
    job = house.submit(delay=timedelta(minutes=15) + MS).job
    assert (house.queue.waiting(), job.looks, job.next_look) == (0, 0, job.due)
    assert house.queue.calls["send"] == 0


# --- keys


@pytest.mark.parametrize("given", [None, "k"], ids=["natural key", "the caller's key"])
def test_the_same_submission_again_is_the_same_job(house: House, given: str | None) -> None:
    first = house.submit(key=given)
    again = house.submit(key=given)
    assert again == Accepted(first.job, deduplicated=True)
    assert (len(house.store.jobs), house.queue.waiting()) == (1, 1)


def test_a_duplicate_is_answered_with_the_first_jobs_result(house: House) -> None:
    job_id = house.accept()
    house.consume()
    again = house.submit()
    assert again.deduplicated
    assert (again.job.id, again.job.state, again.job.result) == (job_id, State.COMPLETED, {"done": True})


def test_the_same_key_with_another_payload_conflicts_and_names_the_first_job(house: House) -> None:
    first = house.accept(key="k")
    with pytest.raises(KeyConflict) as caught:
        house.submit(key="k", data=OTHER)
    assert caught.value.job_id == first
    assert len(house.store.jobs) == 1


def test_the_callers_key_wins_over_the_natural_one(house: House) -> None:
    natural = house.accept()
    assert len({natural, house.accept(key="k1"), house.accept(key="k2")}) == 3


@pytest.mark.parametrize(
    ("what", "changes"),
    [(EffectClass.KEYED, {"venue_id": VenueId("venue-2")}), (EffectClass.BLIND, {})],
    ids=["another venue", "another type"],
)
def test_keys_are_scoped_by_venue_and_type(house: House, what: EffectClass, changes: dict[str, str]) -> None:
    house.accept(key="k")
    assert not house.submit(what, key="k", data=OTHER, **changes).deduplicated


def test_a_duplicate_never_shows_another_venues_job(house: House) -> None:
    house.accept(key="k")
    theirs = house.submit(key="k", venue_id=VenueId("venue-2"))
    assert theirs.job.venue_id == "venue-2"


@pytest.mark.parametrize("natural", [True, False], ids=["natural key", "the caller's key"])
@pytest.mark.parametrize(
    ("state", "reason", "early"),
    [
        (State.FAILED, Reason.REFUSED, True),
        (State.CANCELLED, None, True),
        (State.FAILED, Reason.EXHAUSTED, False),
        (State.COMPLETED, None, False),
    ],
)
def test_a_key_is_released_early_only_if_it_is_natural_and_nothing_came_of_its_job(
    house: House, natural: bool, state: State, reason: Reason | None, early: bool
) -> None:
    key = None if natural else "k"
    first = house.accept(key=key)
    house.change(first, lambda job: replace(job, state=state, reason=reason))
    again = house.submit(key=key)
    assert again.deduplicated is not (natural and early)
    assert (again.job.id == first) is again.deduplicated


def test_a_key_is_free_once_its_period_is_over_and_its_job_is_terminal(house: House) -> None:
    first = house.accept()
    house.consume()
    house.clock.advance(DAY - MS)
    assert house.submit().job.id == first
    house.clock.advance(MS)
    second = house.accept()
    assert second != first
    assert house.submit().job.id == second


def test_a_key_lives_beyond_its_period_while_its_job_is_open(house: House) -> None:
    first = house.accept()
    house.clock.advance(30 * DAY)
    assert house.submit().job.id == first


def test_of_two_that_want_a_released_key_one_gets_it_and_the_other_is_a_duplicate(house: House) -> None:
    house.accept()
    house.consume()
    house.clock.advance(DAY)
    others: list[Accepted] = []
    # The other comes between our reading of the old job and our taking of its key.
    house.store.order("take_key", lambda: None, lambda: others.append(house.submit()))
    ours = house.submit()
    [theirs] = others
    assert not theirs.deduplicated
    assert ours == Accepted(theirs.job, deduplicated=True)
    assert len(house.store.jobs) == 2


def test_a_key_that_is_released_again_and_again_is_given_up_and_nothing_is_accepted(house: House) -> None:
    house.accept()
    house.consume()

    def somebody_else_was_faster() -> None:
        [key_id] = house.store.keys
        other = house.chance.job_id()
        house.store.keys[key_id] = replace(house.store.keys[key_id], job_id=other)
        [job, *_] = house.store.jobs.values()
        house.store.jobs[other] = replace(job, id=other, state=State.CANCELLED)

    house.clock.advance(2 * DAY)
    house.store.order("take_key", *([somebody_else_was_faster] * 3))
    before = house.queue.waiting()
    with pytest.raises(StoreRefused, match="taken by many"):
        house.submit()
    assert house.queue.waiting() == before
    assert house.store.calls["add"] == 1


# --- what a crash or a broken wire leaves


def test_a_crash_between_key_and_record_is_finished_by_whoever_repeats(house: House) -> None:
    key = ghost(house)
    repeated = house.submit(key="k")
    assert not repeated.deduplicated
    assert repeated.job.id == key.job_id
    assert house.submit(key="k") == Accepted(repeated.job, deduplicated=True)
    assert house.queue.waiting() == 1


def test_a_ghost_key_blocks_another_payload_only_while_its_acceptance_may_be_under_way(house: House) -> None:
    key = ghost(house)
    house.clock.advance(timedelta(seconds=60))
    with pytest.raises(KeyConflict) as caught:
        house.submit(key="k", data=OTHER)
    assert caught.value.job_id == key.job_id
    house.clock.advance(MS)
    other = house.submit(key="k", data=OTHER)
    assert (other.deduplicated, other.job.payload) == (False, OTHER)
    assert other.job.id != key.job_id


def test_a_ghost_key_is_finished_for_its_period_and_taken_anew_afterwards(house: House) -> None:
    key = ghost(house)
    house.clock.advance(DAY + MS)
    assert house.submit(key="k").job.id != key.job_id


def test_two_that_finish_the_same_acceptance_make_one_job_and_one_message(house: House) -> None:
    ghost(house)
    others: list[Accepted] = []
    house.store.order("add", lambda: others.append(house.submit(key="k")))
    ours = house.submit(key="k")
    [theirs] = others
    assert not theirs.deduplicated
    assert ours == Accepted(theirs.job, deduplicated=True)
    assert (len(house.store.jobs), house.queue.waiting()) == (1, 1)


def test_a_ghost_that_is_released_to_another_payload_is_not_finished_behind_its_back(house: House) -> None:
    ghost(house)
    house.clock.advance(timedelta(seconds=61))
    others: list[Accepted] = []
    # The other payload takes the key after we have judged it unfinished and before we take it again.
    house.store.order("take_key", lambda: None, lambda: others.append(house.submit(key="k", data=OTHER)))
    with pytest.raises(KeyConflict) as caught:
        house.submit(key="k")
    [theirs] = others
    assert caught.value.job_id == theirs.job.id
    assert list(house.store.jobs) == [theirs.job.id]


@pytest.mark.parametrize("faults", [(LOST,), (MUTE,), (LOST, LOST), (MUTE, MUTE), (MUTE, LOST)], ids=str)
def test_a_key_whose_reply_is_lost_is_asked_for_again(house: House, faults: tuple[Fault, ...]) -> None:
    house.store.order("take_key", *faults)
    accepted = house.submit()
    assert not accepted.deduplicated
    assert list(house.store.jobs) == [accepted.job.id]


@pytest.mark.parametrize("fault", [LOST, MUTE])
def test_a_key_that_nobody_can_tell_of_is_acceptance_unknown(house: House, fault: Fault) -> None:
    house.store.order("take_key", fault, fault, fault)
    with pytest.raises(AcceptanceUnknown):
        house.submit()
    assert (house.store.jobs, house.queue.waiting()) == ({}, 0)
    assert not house.submit().deduplicated


def test_a_refused_key_accepts_nothing(house: House) -> None:
    house.store.order("take_key", REFUSED)
    with pytest.raises(StoreRefused):
        house.submit()
    assert (house.store.keys, house.store.jobs, house.queue.waiting()) == ({}, {}, 0)
    assert house.store.calls["take_key"] == 1


def test_a_refused_record_accepts_nothing_and_may_be_repeated(house: House) -> None:
    ghost(house)
    assert house.queue.waiting() == 0
    assert not house.submit(key="k").deduplicated


@pytest.mark.parametrize(
    ("adding", "loading"),
    [
        ((LOST,), ()),
        ((MUTE,), ()),
        ((MUTE, LOST), ()),
        ((MUTE, MUTE), ()),
        ((MUTE, REFUSED), ()),
        ((LOST,), (REFUSED,)),
        ((LOST,), (REFUSED, REFUSED)),
        ((MUTE, MUTE, MUTE), ()),
    ],
    ids=str,
)
def test_a_record_whose_reply_is_lost_is_read_back_and_sent(
    house: House, adding: tuple[Fault, ...], loading: tuple[Fault, ...]
) -> None:
    house.store.order("add", *adding)
    house.store.order("load", *loading)
    accepted = house.submit()
    assert not accepted.deduplicated
    assert list(house.store.jobs) == [accepted.job.id]
    assert house.queue.waiting() == 1


@pytest.mark.parametrize(
    ("adding", "loading"),
    [((LOST,), (REFUSED,) * 3), ((MUTE,) * 4, ()), ((MUTE,), (REFUSED,) * 3)],
    ids=["written, not readable", "never written", "neither"],
)
def test_a_record_that_can_be_neither_written_nor_read_back_is_acceptance_unknown(
    house: House, adding: tuple[Fault, ...], loading: tuple[Fault, ...]
) -> None:
    house.store.order("add", *adding)
    house.store.order("load", *loading)
    with pytest.raises(AcceptanceUnknown):
        house.submit(key="k")
    assert house.queue.waiting() == 0
    again = house.submit(key="k")
    assert len(house.store.jobs) == 1
    assert again.deduplicated is (adding[0] is LOST)


def test_a_job_whose_message_cannot_be_sent_is_accepted_and_sent_by_dispatch(house: House) -> None:
    house.queue.down = True
    job_id = house.accept()
    assert house.queue.waiting() == 0
    house.queue.down = False
    house.pass_time(timedelta(minutes=6))
    assert house.job(job_id).state is State.COMPLETED
    assert house.job(job_id).attempts == 1


def test_a_payload_above_a_kilobyte_is_kept_apart_and_answered_whole(house: House) -> None:
    data = {"order": "order-1", "note": "x" * 2_000}
    job_id = house.accept(data=data)
    assert (house.job(job_id).payload, house.job(job_id).payload_apart) == (None, True)
    again = house.submit(data=data)
    assert (again.job.id, again.job.payload) == (job_id, data)


def test_every_job_gets_an_identity_of_its_own(house: House) -> None:
    ids = house.accept_many(20)
    assert len(set(ids)) == 20
    assert all(isinstance(each, str) and each.startswith("job_") for each in ids)
    assert JobId("job_") not in ids

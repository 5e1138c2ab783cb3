"""Whatever happens to a job, in whatever order: what holds after every move of its life."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.claim import AtRest, Claimed, Ended, Leave, NotYet, claim, leave, refusal
from chalicelib.domain.job import AT_REST, TERMINAL, ClaimId, Job, Poll, Reason, State, begin, hold
from chalicelib.domain.look import look
from chalicelib.domain.outcome import Completed, Failure, HeldBack, Outcome, Pending, Refused, Retry, Unknown
from chalicelib.domain.policies import RETRY, TIMING, EffectClass, Policy
from chalicelib.domain.settle import settle
from chalicelib.domain.steer import NotAllowed, Resolution, cancel, resolve, retry
from tests.factories import a_job, a_policy
from tests.fakes import START

WHY = Failure("code", "A sentence.")
D = EffectClass.RECEIVER_DEDUPS
POLICIES = {
    EffectClass.KEYED: a_policy(archive="payment_archive"),
    EffectClass.LOOKED_UP: a_policy(EffectClass.LOOKED_UP, retry=RETRY["mint"]),
    EffectClass.BLIND: a_policy(
        EffectClass.BLIND, retry=RETRY["communication"], attempts=3, window=timedelta(days=7)
    ),
    D: a_policy(D, retry=RETRY["webhook"], attempts=5, window=timedelta(hours=24)),
}
OUTCOMES: dict[str, Outcome] = {
    "completed": Completed({"id": 1}, handle="object"),
    "retry": Retry(WHY),
    "retry, sure": Retry(WHY, clears_doubt=True),
    "retry, later": Retry(WHY, after=timedelta(hours=2)),
    "refused": Refused(WHY),
    "refused, sure": Refused(WHY, clears_doubt=True),
    "unknown": Unknown(WHY),
    "pending": Pending({"status": "processing"}),
    "held back": HeldBack("limit", timedelta(seconds=30)),
}
MOVES = (
    "claim",
    "claim",
    "claim",
    "begin",
    *OUTCOMES,
    "hold",
    "look",
    "cancel",
    "retry job",
    *(f"resolve {resolution}" for resolution in Resolution),
)
CLEARING = ("completed", "retry, sure", "refused, sure", "pending")
WAITS = (0, 1, 8, 40, 70, 400, 4_000, 90_000, 700_000)  # seconds
lives = st.lists(st.tuples(st.sampled_from(MOVES), st.sampled_from(WAITS)), max_size=40)


def move(job: Job, name: str, policy: Policy, now: datetime) -> Job:
    """Make one move if the job stands where it can be made, else leave the job as it is."""
    if name == "claim":
        verdict = claim(
            job,
            policy,
            claim_id=ClaimId(f"claim_{job.version}"),
            lease_until=now + timedelta(seconds=65),
            now=now,
        )
        return verdict.job if isinstance(verdict, Claimed | Ended) else job
    if job.state is State.RUNNING and name == "begin":
        return begin(job) if leave(job, policy, now) is Leave.START else job
    if job.state is State.RUNNING and name in OUTCOMES:
        return settle(job, OUTCOMES[name], policy, now=now, jitter=0.5)
    if name == "hold" and refusal(job, now=now, timing=TIMING) is None:
        return hold(job, now + timedelta(minutes=16))
    if name == "look":
        looked = look(job, TIMING, now=now, paused=False)
        return looked.job if looked else job
    acts: dict[str, Callable[[], Job | NotAllowed]] = {
        "cancel": lambda: cancel(job, policy, now=now),
        "retry job": lambda: retry(job, policy, now=now),
        **{f"resolve {each}": lambda each=each: resolve(job, policy, each, now=now) for each in Resolution},  # type: ignore[misc]  # defaults bind
    }
    made = acts[name]() if name in acts else job
    return job if isinstance(made, NotAllowed) else made


def check(before: Job, after: Job, name: str, policy: Policy, now: datetime) -> None:
    """Hold one move to the contract."""
    operator = name in ("cancel", "retry job") or name.startswith("resolve")
    by_hand = name == "retry job" or name.startswith("resolve")
    assert after.attempts <= after.max_attempts
    assert after.fence >= before.fence
    assert (after.fence > before.fence) == (name == "claim" and after.state is State.RUNNING)
    assert after.version == before.version + (0 if name == "look" else 1)
    if before.state in AT_REST:
        assert by_hand, f"{name} moved a job that is {before.state}"
    if before.state is State.COMPLETED:
        raise AssertionError(f"{name} moved a completed job")
    if after.state in TERMINAL:
        assert after.doubt is None, "a terminal job is in doubt"
        assert after.finished_at == now
        assert (after.reason is None) == (after.state is not State.FAILED)
    if after.state is State.PARKED:
        assert after.doubt is not None
        assert not operator
    if after.state in AT_REST:
        assert (after.next_look, after.lease_until, after.overdue, after.poll) == (None, None, False, None)
    else:
        assert after.next_look is not None
        assert after.finished_at is None
    if before.doubt is not None and after.doubt is None:
        assert name in CLEARING or name.startswith("resolve"), f"{name} cleared a doubt"
    if not policy.effect_class.doubts:
        assert after.doubt is None
        assert after.state is not State.PARKED
        assert after.generation == before.generation
    assert after.generation - before.generation == int(
        after.state is State.QUEUED and by_hand and policy.effect_class.doubts
    )
    if name == "held back" and before.state is State.RUNNING:
        assert after.attempts == before.attempts - (before.poll is None)
    elif name != "claim":
        assert after.attempts == before.attempts
    if name == "claim" and after.attempts > before.attempts:
        assert after.attempts == before.attempts + 1
        assert after.poll is None
    assert after.due == (now if after.state is State.QUEUED and by_hand else before.due)
    assert (after.id, after.key_id, after.payload, after.created_at) == (
        before.id,
        before.key_id,
        before.payload,
        before.created_at,
    )


@pytest.mark.parametrize("effect_class", list(EffectClass), ids=lambda each: each.name)
@given(life=lives)
def test_every_move_keeps_the_contract(effect_class: EffectClass, life: list[tuple[str, int]]) -> None:
    policy = POLICIES[effect_class]
    job, now = a_job(attempts=policy.attempts), START
    for name, seconds in life:
        now += timedelta(seconds=seconds)
        after = move(job, name, policy, now)
        if after is not job:
            check(job, after, name, policy, now)
        job = after


@pytest.mark.parametrize("effect_class", list(EffectClass), ids=lambda each: each.name)
@given(
    outcomes=st.lists(st.sampled_from(sorted(set(OUTCOMES) - {"held back"})), min_size=1, max_size=5),
    lapses=st.sets(st.integers(0, 30)),
)
def test_a_job_that_is_claimed_whenever_it_may_be_comes_to_rest(
    effect_class: EffectClass, outcomes: list[str], lapses: set[int]
) -> None:
    policy = POLICIES[effect_class]
    job, now = a_job(attempts=policy.attempts), START
    for step in range(400):
        if job.state in AT_REST:
            break
        now = max(now, job.wakes_at)
        job = move(job, "claim", policy, now)
        if job.state is State.RUNNING and step not in lapses:
            job = move(job, outcomes[step % len(outcomes)], policy, now + timedelta(seconds=1))
    assert job.state in AT_REST
    assert now - START < timedelta(hours=60)


@given(life=lives)
def test_class_d_never_parks_and_never_doubts(life: list[tuple[str, int]]) -> None:
    job, now = a_job(attempts=5), START
    for name, seconds in life:
        now += timedelta(seconds=seconds)
        job = move(job, name, POLICIES[D], now)
        assert job.state is not State.PARKED
        assert job.doubt is None


@pytest.mark.parametrize("give_up", ["claim", "pending", "retry"])
def test_class_d_that_stays_pending_for_a_day_is_exhausted_not_parked(give_up: str) -> None:
    job = move(move(a_job(attempts=5), "claim", POLICIES[D], START), "pending", POLICIES[D], START)
    running = move(job, "claim", POLICIES[D], START + timedelta(minutes=5))
    policy = replace(POLICIES[D], window=None)
    last = move(job if give_up == "claim" else running, give_up, policy, START + timedelta(hours=26))
    assert (last.state, last.reason, last.doubt) == (State.FAILED, Reason.EXHAUSTED, None)


@given(life=lives)
def test_a_mail_in_doubt_never_runs(life: list[tuple[str, int]]) -> None:
    policy = POLICIES[EffectClass.BLIND]
    job, now = a_job(attempts=3), START
    for name, seconds in life:
        now += timedelta(seconds=seconds)
        before, job = job, move(job, name, policy, now)
        if name == "claim" and job is not before and job.state is State.RUNNING:
            assert job.doubt is None
            assert not job.begun


@given(life=lives)
def test_an_old_fence_writes_no_more(life: list[tuple[str, int]]) -> None:
    fences: list[int] = []
    policy = POLICIES[EffectClass.KEYED]
    job, now = a_job(), START
    for name, seconds in life:
        now += timedelta(seconds=seconds)
        before, job = job, move(job, name, policy, now)
        if name == "claim" and job is not before and job.state is State.RUNNING:
            fences.append(job.fence)
    assert fences == sorted(set(fences))


@given(life=lives, seconds=st.sampled_from(WAITS))
def test_a_refusal_always_says_what_a_claim_would(life: list[tuple[str, int]], seconds: int) -> None:
    policy = POLICIES[EffectClass.KEYED]
    job, now = a_job(), START
    for name, wait in life:
        now += timedelta(seconds=wait)
        job = move(job, name, policy, now)
    now += timedelta(seconds=seconds)
    no = refusal(job, now=now, timing=TIMING)
    made = claim(job, policy, claim_id=ClaimId("c"), lease_until=now, now=now)
    assert (made if isinstance(made, NotYet | AtRest) else None) == no
    if isinstance(no, NotYet):
        assert no.until > now
        assert refusal(job, now=no.until, timing=TIMING) is None


def test_a_poll_never_outlives_its_patience() -> None:
    policy = POLICIES[EffectClass.KEYED]
    job, now, polls = a_job(), START, 0
    while job.state not in AT_REST:
        now = max(now, job.wakes_at)
        job = move(move(job, "claim", policy, now), "pending", policy, now)
        polls += job.poll is Poll.PENDING
    assert (job.state, job.attempts) == (State.PARKED, 1)
    assert polls == 24 * 12

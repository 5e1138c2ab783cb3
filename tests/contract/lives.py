"""A job's moves, as the worker and the operators make them, for tests of where the records are kept."""

from datetime import datetime, timedelta

from chalicelib.domain.claim import Claimed, claim
from chalicelib.domain.job import ClaimId, Job, JobId, State, VenueId
from chalicelib.domain.look import look
from chalicelib.domain.outcome import Completed, Outcome
from chalicelib.domain.policies import TIMING, Policy, Tier
from chalicelib.domain.ports import AGENDA_SHARDS, Change, Entry, JobStore, Saved, SaveResult
from chalicelib.domain.settle import settle
from tests.factories import a_policy
from tests.fakes import START

FAR = START + timedelta(days=400)
DONE = Completed({"paymentIntentId": "pi_1", "status": "succeeded"}, handle="pi_1")


def claimed(job: Job, claim_id: str = "claim_1", *, now: datetime = START, policy: Policy | None = None) -> Job:
    """Return a job as a claim leaves it."""
    lease = now + timedelta(seconds=65)
    verdict = claim(job, policy or a_policy(), claim_id=ClaimId(claim_id), lease_until=lease, now=now)
    assert isinstance(verdict, Claimed)
    return verdict.job


def settled(job: Job, outcome: Outcome = DONE, *, now: datetime = START, policy: Policy | None = None) -> Job:
    """Return a running job as its outcome leaves it."""
    return settle(job, outcome, policy or a_policy(), now=now, jitter=0.5)


def looked(job: Job, *, now: datetime) -> Job:
    """Return a job as a look of `dispatch` leaves it."""
    decided = look(job, TIMING, now=now, paused=False)
    assert decided is not None
    return decided.job


def added(store: JobStore, job: Job) -> Job:
    """Store a job and return it as a batch reads it."""
    assert store.add(job)
    return read(store, job.id)


def read(store: JobStore, job_id: JobId) -> Job:
    """Return a job as a batch reads it."""
    return store.load_batch([job_id])[0][job_id]


def save(store: JobStore, before: Job, after: Job) -> SaveResult:
    """Save one change."""
    [result] = store.save_many([Change(before, after)])
    return result


def moved(store: JobStore, before: Job, after: Job) -> Job:
    """Save one change that must stand, and return the record as a batch reads it."""
    assert save(store, before, after) == Saved()
    return read(store, before.id)


def agenda(store: JobStore, tier: Tier = Tier.MONEY, *, until: datetime = FAR, limit: int = 100) -> set[JobId]:
    """Return what is on a tier's agenda, over all shards."""
    return {
        job_id
        for shard in range(AGENDA_SHARDS)
        for job_id in store.agenda(shard, tier, until=until, limit=limit)
    }


def a_control_entry(entry_id: str = "entry_1") -> Entry:
    """Return the audit entry of an operator's pause."""
    return Entry(
        id=entry_id,
        at=START,
        actor="admin-1",
        action="pause",
        subject="queue/money",
        venue_id=None,
        reason="the bank is down",
        before=None,
        after="paused",
    )


def an_entry(job: Job, entry_id: str = "entry_1", *, after: State = State.CANCELLED) -> Entry:
    """Return the audit entry of an operator's action on a job."""
    return Entry(
        id=entry_id,
        at=START,
        actor="admin-1",
        action="cancel",
        subject=job.id,
        venue_id=VenueId(job.venue_id),
        reason="asked for by the venue",
        before=job.state,
        after=after,
    )

"""What is at stake in an alert: the money of the jobs that it is about, and whose they are."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from chalicelib.domain.alert_texts import MOST_PARKED, Stake
from chalicelib.domain.alerting import Firing
from chalicelib.domain.backlog import Backlog
from chalicelib.domain.errors import StoreError
from chalicelib.domain.job import Job, JobId, VenueId
from chalicelib.domain.money import stated
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import JobStore, Journal

MOST_LOOKED_AT = 99  # jobs of a condition; with the controls one read has no more


class Stakes:
    """Looks at the jobs that conditions are about, a hundred at the most of each."""

    def __init__(self, *, store: JobStore, backlog: Backlog, journal: Journal) -> None:
        self._store = store
        self._backlog = backlog
        self._journal = journal

    def of(self, firings: Sequence[Firing]) -> list[tuple[Firing, Stake]]:
        """Return each with what is at stake, and with its venue where all that it is about is one venue's.

        A condition of money that names no jobs is about the oldest. Nothing is read where nothing fires.
        """
        try:
            about = self._about(firings)
            jobs = self._load(sorted({job_id for ids in about for job_id in ids}))
        except StoreError as error:
            self._journal.alarm("stakes_not_seen", error=type(error).__name__)
            return [(firing, Stake(0, {})) for firing in firings]
        found = [[jobs[job_id] for job_id in ids if job_id in jobs] for ids in about]
        return [
            (replace(firing, venue_id=_venue(firing, its)), _stake(its))
            for firing, its in zip(firings, found, strict=True)
        ]

    def _about(self, firings: Sequence[Firing]) -> list[Sequence[JobId]]:
        nameless = [each for each in firings if each.condition.tier is Tier.MONEY and not each.jobs]
        oldest = self._backlog.overdue(Tier.MONEY, limit=MOST_LOOKED_AT) if nameless else []
        return [oldest if each in nameless else each.jobs[:MOST_LOOKED_AT] for each in firings]

    def _load(self, job_ids: Sequence[JobId]) -> Mapping[JobId, Job]:
        found: dict[JobId, Job] = {}
        for start in range(0, len(job_ids), MOST_LOOKED_AT):
            jobs, _ = self._store.load_batch(job_ids[start : start + MOST_LOOKED_AT])
            found |= jobs
        return found


def _venue(firing: Firing, jobs: Iterable[Job]) -> VenueId | None:
    """Return whose all of the jobs are; None if they are several venues', or might be."""
    venues = {job.id: job.venue_id for job in jobs}
    if venues.keys() != set(firing.jobs) or len(firing.jobs) >= MOST_PARKED:
        return None
    owners = set(venues.values())
    return owners.pop() if len(owners) == 1 else None


def _stake(jobs: Iterable[Job]) -> Stake:
    money: Counter[str] = Counter()
    counted = 0
    for job in jobs:
        if (told := stated(job.payload)) is not None:
            currency, amount = told
            money[currency] += amount
            counted += 1
    return Stake(counted, dict(money))

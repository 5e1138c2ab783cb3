"""Looking: what `dispatch` makes of an open job whose look has come."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.domain.job import AT_REST, Job, sleeps
from chalicelib.domain.policies import Timing

AWAKE_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Look:
    """What `dispatch` makes of one open job: the record's new look, and a message if one is to go."""

    job: Job
    send_after: timedelta | None


def look(job: Job, timing: Timing, *, now: datetime, paused: bool, held: bool = False) -> Look | None:
    """Decide what `dispatch` does about an open job; None if it is at rest.

    A look moves neither state nor version: it only says when to look again, and once past due it
    enters the job in the index of the overdue. `held`: something less than its tier is stopped, and its
    message comes and goes in its queue; it is not lost, and a second one would only multiply.
    """
    if job.state in AT_REST or job.next_look is None:
        return None
    job = replace(job, overdue=job.overdue or is_late(job, now))
    if paused:
        return Look(replace(job, next_look=now + timing.look_after), None)
    wake = max(job.wakes_at, now)
    if job.looks == 0:
        return Look(replace(job, looks=1, next_look=wake + timing.look_after), wake - now)
    # What would be missed before the next run is missed now: a look within this run's reach would be found
    # again at once, and a full page of such looks would keep the run from all others.
    if job.wakes_at + timing.look_after > now + timing.look_ahead:
        return Look(replace(job, next_look=job.wakes_at + timing.look_after), None)
    # By 2**20 the cap has long been reached; the bound keeps the product a timedelta after any number of looks.
    again = min(timing.look_after * 2 ** min(job.looks, 20), timing.look_cap)
    if held:
        return Look(replace(job, next_look=now + again), None)
    return Look(replace(job, looks=job.looks + 1, next_look=now + again), timedelta(0))


def seen(job: Job, timing: Timing, *, now: datetime, back_in: timedelta) -> Job | None:
    """Put off the look of a job whose message was just here and comes back; None if it is far enough.

    Without it what a full bucket keeps waiting would be taken for lost and sent again, one message more at
    each look. The job is missed later the longer it has waited, as resends go, so that this is seldom written.
    """
    back = now + back_in
    if job.next_look is None or job.next_look > back + 2 * timing.look_ahead:
        return None
    patience = min(max(now - job.next_attempt_at, timing.look_after), timing.look_cap)
    overdue = job.overdue or is_late(job, now)
    return replace(job, looks=max(job.looks, 1), next_look=back + patience, overdue=overdue)


def is_late(job: Job, now: datetime) -> bool:
    """Whether a job has waited since it was to run.

    Its age goes by its due, which for a text held back by quiet hours is a night ago, as was wanted. So that
    nobody is woken by it, it is late once it has waited for as long as is well after they have ended.
    """
    return now > (job.next_attempt_at + AWAKE_FOR if sleeps(job) else job.due)

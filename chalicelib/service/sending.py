"""Sending the messages of jobs that have just been accepted."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from chalicelib.domain.job import Job
from chalicelib.domain.ports import Change, JobQueue, Journal, Message, Saved, SaveResult

NOW = timedelta(0)


def send_accepted(queue: JobQueue, journal: Journal, jobs: Sequence[Job], *, now: datetime) -> None:
    """Send each job's first message, where its look assumes one, and note that it is accepted."""
    messages = [
        Message(job.id, job.venue_id, job.tier, job.lane, max(job.due - now, NOW)) for job in jobs if job.looks
    ]
    if messages:
        # Not sent, or not surely: accepted all the same. The agenda has the job, `dispatch` sends it.
        queue.send(messages)
    for job in jobs:
        journal.note("accepted", jobId=job.id, venueId=job.venue_id, type=job.type, state=job.state)


def send_follows(
    queue: JobQueue,
    journal: Journal,
    changes: Sequence[Change],
    results: Sequence[SaveResult],
    *,
    now: datetime,
) -> None:
    """Send the messages of the jobs that were written with changes, of those changes that surely stand."""
    made = [
        change.follow
        for change, result in zip(changes, results, strict=True)
        if change.follow is not None and isinstance(result, Saved)
    ]
    if made:
        send_accepted(queue, journal, made, now=now)

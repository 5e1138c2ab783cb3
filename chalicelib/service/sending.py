"""Sending the messages of jobs that have just been accepted."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from chalicelib.domain.job import Job
from chalicelib.domain.ports import JobQueue, Journal, Message

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

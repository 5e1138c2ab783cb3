"""The commands that watch: jobs as they come, one job until it ends, and what operators did."""

from collections.abc import Iterator, Mapping
from itertools import islice
from time import sleep
from typing import Any

from queue_service.client import Client
from queue_service.command import (
    FROM,
    LIST,
    MOST,
    QUEUES,
    STATES,
    TO,
    Arguments,
    Command,
    Stream,
    Table,
    Unusable,
    ago,
    listed,
    option,
)
from queue_service.models import AT_REST

NEWS = {
    "createdAt": 24,
    "id": 30,
    "type": 16,
    "venueId": 12,
    "state": 10,
    "attempts": 8,
    "error=error.code": 20,
}
STEPS = {"at": 24, "state": 10, "attempt": 7, "outcome": 10, "code": 24, "nextAttemptAt": 24}
PAGES = 3  # that one look at a list reads: one that finds little must not read all there is
ENTRIES = ("at", "actor", "action", "subject", "venueId", "before", "after", "reason")


def _tail(client: Client, given: Arguments) -> Stream:
    if given.job is not None:
        return Stream(_life(client, given.job, given.every), STEPS)
    query = {"queue": given.queue, "state": given.state, "type": given.type, "venueId": given.venue}
    if given.venue is None and given.state is None:
        raise Unusable("Name a job, a --venue or a --state to follow.")
    return Stream(_news(client, query, given.lines, given.every), NEWS)


def _life(client: Client, job_id: str, every: float) -> Iterator[Mapping[str, Any]]:
    """Give what each attempt came to and each state that was seen, until the job is at rest."""
    told: set[tuple[str, str]] = set()
    state = None
    while True:
        job = client.get(job_id).raw
        for attempt in job["history"]:  # of many attempts the latest alone are kept, so places in it move
            if (attempt["startedAt"], attempt["endedAt"]) not in told:
                told.add((attempt["startedAt"], attempt["endedAt"]))
                yield {"at": attempt["endedAt"], **attempt}
        if job["state"] != state:
            state = job["state"]
            at = job["finishedAt"] or job["processedAt"] or job["createdAt"]
            code = (job.get("error") or {}).get("code")
            yield {"at": at, "state": state, "code": code, "nextAttemptAt": job.get("nextAttemptAt")}
        if state in AT_REST:
            return
        sleep(every)


def _news(
    client: Client, query: Mapping[str, str | None], lines: int, every: float
) -> Iterator[Mapping[str, Any]]:
    """Give the latest jobs of a list, oldest first, then each job that comes to stand in it."""
    latest = list(_latest(client, query))
    seen = {job["id"] for job in latest}
    yield from reversed(latest[:lines])
    while True:
        sleep(every)
        fresh = [job for job in _latest(client, query) if job["id"] not in seen]
        seen |= {job["id"] for job in fresh}
        yield from reversed(fresh)


def _latest(client: Client, query: Mapping[str, str | None]) -> Iterator[Mapping[str, Any]]:
    cursor = None
    for _ in range(PAGES):
        page = client.call("GET", "/v1/jobs", query={**query, "limit": MOST, "cursor": cursor})
        yield from islice(page["jobs"], MOST)
        cursor = page["cursor"]
        if cursor is None:
            return


def _audit(client: Client, given: Arguments) -> Table:
    return listed(
        client,
        "/v1/audit",
        "entries",
        given,
        ENTRIES,
        **{"from": ago(getattr(given, "from")), "to": ago(given.to)},
        actor=given.actor,
        subject=given.subject,
        venueId=given.venue,
    )


WATCH: tuple[Command, ...] = (
    Command(
        "tail",
        "",
        "follow new jobs of a venue or a state, or one job until it ends; Ctrl-C ends it",
        (
            option("job", "a job's id: its attempts and states", nargs="?"),
            option("--venue", "jobs of this venue"),
            option("--state", "jobs that come to stand in this state", choices=STATES),
            option("--queue", "of this queue", choices=QUEUES),
            option("--type", "of this job type"),
            option("--lines", "begin with so many that are there", type=int, default=10, metavar="N"),
            option("--every", "look again after", type=float, default=2.0, metavar="SECONDS"),
        ),
        _tail,
        ("tail --venue v1", "tail --state parked --every 10 --json", "tail job_01M86YH7Y9QZ8TYAHW9PZY7ZTZ"),
    ),
    Command(
        "audit",
        "",
        "show what operators did, the latest first",
        (
            FROM,
            TO,
            option("--actor", "done by this one"),
            option("--subject", "done to this: a job's id, or queue/money"),
            option("--venue", "concerning this venue"),
            *LIST,
        ),
        _audit,
        ("audit --from 24h", "audit --subject queue/money", "audit --actor u1 --all --json"),
    ),
)

"""What finding costs at a thousand jobs and at ten thousand (QS_FULL=1: a hundred thousand): the same calls."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.aws import records
from chalicelib.domain import ids
from chalicelib.domain.job import Job, Reason, State, VenueId
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import TIMING, Role
from chalicelib.jobtypes import discover
from chalicelib.service.dead_letters import DeadLetters
from chalicelib.service.listing import Listing
from chalicelib.service.principal import Principal
from tests.contract.backends import DynamoRecords, Faults
from tests.factories import VENUE, a_job
from tests.fakes import START

SIZES = (1_000, 10_000, 100_000) if os.environ.get("QS_FULL") == "1" else (1_000, 10_000)
ADMIN = Principal("ada", Role.ADMIN)
OWN = Principal("ada", Role.VENUE_ADMIN, VENUE)
USER = Principal("user-1", Role.USER)
Look = Callable[[Listing, DeadLetters], Any]


def listed(principal: Principal, **asked: str) -> Look:
    """Return what asks for a page of a list."""
    return lambda listing, _: listing.page(asked, principal, after=None, limit=25)


LOOKS: dict[str, tuple[Look, Counter[str]]] = {
    "a venue's": (listed(OWN), Counter(Query=1, BatchGetItem=1)),
    "a venue's failed": (listed(OWN, state="failed"), Counter(Query=1, BatchGetItem=1)),
    "a venue's cancelled, of which there are none": (
        listed(OWN, state="cancelled"),
        Counter(Query=1, BatchGetItem=2),
    ),
    "a user's": (listed(USER), Counter(Query=1, BatchGetItem=1)),
    "all venues' failed": (listed(ADMIN, state="failed", queue="money"), Counter(Query=3, BatchGetItem=1)),
    "all venues' open": (listed(ADMIN, state="queued", queue="money"), Counter(Query=4, BatchGetItem=1)),
    "a kind": (
        listed(ADMIN, fingerprint="payment.process:timeout"),
        Counter(Query=2, BatchGetItem=1),
    ),
    "dead letters": (
        lambda _, dead_letters: dead_letters.groups("money", ADMIN, after=None),
        Counter(Query=2, BatchGetItem=1),
    ),
}


def a_made_job(number: int) -> Job:
    """Return one of many: half failed for good, half wait; a tenth are of another venue."""
    at = START + timedelta(seconds=number)
    venue = VenueId("venue-2") if number % 10 == 0 else VENUE
    job = replace(a_job(ids.job_id(at), venue_id=venue), created_at=at, due=at)
    if number % 2:
        return job
    error = Failure("timeout", "There was no answer.")
    return replace(
        job, state=State.FAILED, reason=Reason.EXHAUSTED, error=error, next_look=None, looks=0, finished_at=at
    )


def fill(dynamo: DynamoRecords, first: int, last: int) -> None:
    table = dynamo.tables.jobs
    puts = [{"PutRequest": {"Item": records.job_item(a_made_job(number))}} for number in range(first, last)]
    for start in range(0, len(puts), 25):
        wanted: Any = {table: puts[start : start + 25]}
        while wanted:
            wanted = dynamo.client.batch_write_item(RequestItems=wanted)["UnprocessedItems"]


def test_a_page_takes_the_same_calls_whatever_the_backlog(on_ministack: DynamoRecords) -> None:
    listing = Listing(store=on_ministack.store, index=on_ministack.index, types=discover(), timing=TIMING)
    dead_letters = DeadLetters(store=on_ministack.store, index=on_ministack.index)
    filled = 0
    for size in SIZES:
        fill(on_ministack, filled, size)
        filled = size
        for name, (look, calls) in LOOKS.items():
            with Faults(on_ministack.client, "dynamodb") as wire:
                look(listing, dead_letters)
                assert Counter(wire.calls) == calls, (name, size)


@pytest.mark.parametrize("name", ["a venue's", "a user's", "all venues' failed", "all venues' open", "a kind"])
def test_a_page_on_tables_is_full(dynamo: DynamoRecords, name: str) -> None:
    fill(dynamo, 0, 200)
    listing = Listing(store=dynamo.store, index=dynamo.index, types=discover(), timing=TIMING)
    jobs, place = LOOKS[name][0](listing, DeadLetters(store=dynamo.store, index=dynamo.index))
    assert len(jobs) == 25
    assert place is not None
    assert len({job.id for job in jobs}) == 25

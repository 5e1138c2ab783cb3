"""Reading dead letters: in groups of one kind, or the jobs of one kind; neither changes anything."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chalicelib.domain.errors import InvalidRequest, Problem
from chalicelib.domain.job import Job, JobId, State
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import JobStore
from chalicelib.domain.search import DEAD, DeadLetter, JobIndex, Place, alike, is_dead_letter
from chalicelib.service.intake import Schema
from chalicelib.service.listing import FILTERS
from chalicelib.service.paging import AT_ONCE, NOT_HERE, Newest, read_page
from chalicelib.service.principal import Principal, only_admin
from chalicelib.service.read import error_of, moment

MOST_GROUPED = 1000  # dead letters that one answer groups, from the index alone


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one kind, among those that an answer has looked at; `example` is the latest accepted."""

    fingerprint: str
    count: int
    first_seen: datetime
    last_seen: datetime
    example: JobId
    job: Job | None = None  # the example's record, if it still is a dead letter


class DeadLetters:
    """The use case behind GET /v1/queues/{tier}/dead-letters, an administrator's alone."""

    def __init__(self, *, store: JobStore, index: JobIndex) -> None:
        self._store = store
        self._index = index
        self._schema = Schema(FILTERS["fingerprint"])

    def groups(
        self, tier: str, principal: Principal, *, after: Place | None
    ) -> tuple[list[Group], int, Place | None]:
        """Return the groups of the next MOST_GROUPED dead letters, how many these are, and where to go on.

        The largest group comes first. Raises Forbidden, InvalidRequest or StoreRefused.
        """
        named = _admit(tier, principal)
        if after is not None and after.next_look is not None:
            raise InvalidRequest([Problem("cursor", NOT_HERE)])
        below = None if after is None else after.id
        every = [
            each
            for reason in DEAD
            for each in self._index.dead_letters(named, reason, below=below, limit=MOST_GROUPED + 1)
        ]
        every.sort(key=lambda each: each.id, reverse=True)
        looked_at = every[:MOST_GROUPED]
        place = Place(looked_at[-1].id) if len(every) > MOST_GROUPED else None
        return self._with_examples(_grouped(looked_at)), len(looked_at), place

    def jobs(
        self, tier: str, kind: str, principal: Principal, *, after: Place | None, limit: int
    ) -> tuple[list[Job], Place | None]:
        """Return a page of the dead letters of a kind, payloads left out, and where to go on.

        Raises as `groups` does.
        """
        named = _admit(tier, principal)
        problems = self._schema.problems(kind, under=("fingerprint",))
        if problems:
            raise InvalidRequest(problems)
        shelf = Newest(self._index, [alike(kind, State.FAILED)])
        return read_page(
            shelf,
            self._store,
            lambda job: is_dead_letter(job) and job.tier is named,
            after=after,
            limit=limit,
            most=limit,
        )

    def _with_examples(self, groups: list[Group]) -> list[Group]:
        found: dict[JobId, Job] = {}
        for start in range(0, len(groups), AT_ONCE):
            jobs, _ = self._store.load_batch([group.example for group in groups[start : start + AT_ONCE]])
            found |= {job.id: job for job in jobs.values() if is_dead_letter(job)}
        return [replace(group, job=found.get(group.example)) for group in groups]


def _admit(tier: str, principal: Principal) -> Tier:
    only_admin(principal, "look at dead letters")
    if tier not in list(Tier):
        raise InvalidRequest([Problem("tier", f"There is no such queue: use one of {', '.join(Tier)}.")])
    return Tier(tier)


def _grouped(letters: list[DeadLetter]) -> list[Group]:
    kinds: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        kinds.setdefault(letter.fingerprint, []).append(letter)
    groups = [
        Group(
            kind,
            count=len(members),
            first_seen=min(each.finished_at for each in members),
            last_seen=max(each.finished_at for each in members),
            example=members[0].id,
        )
        for kind, members in kinds.items()
    ]
    return sorted(groups, key=lambda group: group.count, reverse=True)


def shown(group: Group) -> Mapping[str, Any]:
    """Return a group as callers see it; the error is its example's."""
    return {
        "fingerprint": group.fingerprint,
        "type": group.fingerprint.split(":", 1)[0],
        "count": group.count,
        "firstSeen": moment(group.first_seen),
        "lastSeen": moment(group.last_seen),
        "exampleId": group.example,
        "error": None if group.job is None else error_of(group.job.error),
    }

"""Listing: the jobs that a caller may see and asks for, page by page, the latest accepted first.

A page is read from one index and reads a bounded number of records, whatever the backlog: where few of what
it reads is wanted it is short, or empty, and has a cursor all the same. The index says where to look, the
record whether the job is wanted: an index that lags behind shows nobody a job that is not theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.domain import ids, keys
from chalicelib.domain.errors import Forbidden, InvalidRequest, Problem
from chalicelib.domain.job import Job, Reason, State, UserId, VenueId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.notice import DELIVERY
from chalicelib.domain.policies import Role, Tier, Timing
from chalicelib.domain.ports import AGENDA_SHARDS, JobStore
from chalicelib.domain.search import (
    PARKED,
    JobIndex,
    Partition,
    Place,
    alike,
    ended,
    ended_of_venue,
    fingerprint,
    of_batch,
    of_user,
    of_venue,
)
from chalicelib.service.intake import IDENTITY, KEY_PATTERN, Schema
from chalicelib.service.moments import MOMENT, read_moment
from chalicelib.service.paging import MOST_READ, Agenda, Newest, Shelf, read_page
from chalicelib.service.principal import Principal

FILTERS: Mapping[str, Mapping[str, Any]] = {
    "queue": {"enum": [tier.value for tier in Tier]},
    "state": {"enum": [state.value for state in State]},
    "type": {"type": "string", "minLength": 1, "maxLength": 64},
    "venueId": IDENTITY,
    "batchId": IDENTITY,
    "from": MOMENT,
    "to": MOMENT,
    "fingerprint": {
        "type": "string",
        "pattern": "^[!-~]{1,120}:[!-~]{1,120}$",
        "description": "a job type and an error code, such as payment.process:timeout",
    },
    "key": {
        "type": "string",
        "pattern": KEY_PATTERN,
        "description": "1 to 255 printable ASCII characters, with no space at either end",
    },
}
SEARCHED = (State.FAILED, State.PARKED)  # states that have an index
OPEN = (State.QUEUED, State.SCHEDULED, State.RUNNING, State.RETRYING)
TOO_MUCH = (
    "Nothing answers this for all venues at once. Send a venueId, a fingerprint, or one of the states "
    f"{', '.join((*OPEN, *SEARCHED))}."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller asks for, and is bound to: None is anything."""

    tier: Tier | None = None
    state: State | None = None
    type: str | None = None
    venue_id: VenueId | None = None
    user_id: UserId | None = None
    batch_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None  # before this moment
    fingerprint: str | None = None

    def admits(self, job: Job) -> bool:
        """Whether a record is what is asked for.

        A job whose batch is not accepted yet is nobody's, and a delivery no user's: it says where the venue's
        systems listen.
        """
        pairs = (
            (self.tier, job.tier),
            (self.state, job.state),
            (self.type, job.type),
            (self.venue_id, job.venue_id),
            (self.user_id, job.user_id),
            (self.batch_id, job.batch_id),
            (self.fingerprint, fingerprint(job)),
        )
        return (
            job.stage is None
            and (self.user_id is None or job.type != DELIVERY)
            and all(wanted is None or wanted == has for wanted, has in pairs)
            and (self.since is None or job.created_at >= self.since)
            and (self.until is None or job.created_at < self.until)
        )

    def named(self) -> set[str]:
        """Return what is asked for beside the time."""
        return {name for name in self.__slots__ if getattr(self, name) is not None} - {"since", "until"}


class Listing:
    """The use case behind GET /v1/jobs."""

    def __init__(
        self, *, store: JobStore, index: JobIndex, types: Mapping[str, JobType], timing: Timing
    ) -> None:
        self._store = store
        self._index = index
        self._types = {name: each.name for each in types.values() for name in (each.name, *each.aliases)}
        self._schema = Schema({"type": "object", "properties": FILTERS})
        # A job's id is made before its record, by a clock that may be behind.
        self._early, self._late = timing.accept_within + timing.clock_skew, timing.clock_skew

    def page(
        self, asked: Mapping[str, str], principal: Principal, *, after: Place | None, limit: int
    ) -> tuple[list[Job], Place | None]:
        """Return a page of jobs, payloads left out, and the place to go on after, None at the end.

        Raises Forbidden, InvalidRequest with every problem, or StoreRefused.
        """
        wanted = self._read(asked, principal)
        if "key" in asked:
            return self._by_key(asked, wanted), None
        shelf, exact = self._shelf(wanted)
        most = MOST_READ if wanted.named() - exact else limit
        return read_page(shelf, self._store, wanted.admits, after=after, limit=limit, most=most)

    def select(self, asked: Mapping[str, str], principal: Principal) -> tuple[Shelf, Callable[[Job], bool]]:
        """Return where to look for jobs, and which of those there are wanted; raises as `page` does."""
        wanted = self._read(asked, principal)
        return self._shelf(wanted)[0], wanted.admits

    def _read(self, asked: Mapping[str, str], principal: Principal) -> Wanted:
        venue = _venue(asked, principal)
        problems = self._schema.problems({name: asked[name] for name in FILTERS if name in asked})
        since, until = (read_moment(asked, name, problems) for name in ("from", "to"))
        if "type" in asked and asked["type"] not in self._types:
            names = ", ".join(sorted(set(self._types.values())))
            problems.append(Problem("type", f"There is no such job type: use one of {names}."))
        if venue is None and (principal.role is Role.SERVICE or asked.keys() & {"batchId", "key"}):
            problems.append(Problem("venueId", "Name the venue: there is no looking at all of them with this."))
        if "key" in asked and "type" not in asked:
            problems.append(Problem("type", "Name the job type that the key was sent with."))
        if problems:
            raise InvalidRequest(problems)
        return Wanted(
            tier=Tier(asked["queue"]) if "queue" in asked else None,
            state=State(asked["state"]) if "state" in asked else None,
            type=self._types[asked["type"]] if "type" in asked else None,
            venue_id=venue,
            user_id=UserId(principal.sub) if principal.role is Role.USER else None,
            batch_id=asked.get("batchId"),
            since=since,
            until=until,
            fingerprint=asked.get("fingerprint"),
        )

    def _by_key(self, asked: Mapping[str, str], wanted: Wanted) -> list[Job]:
        """Return the job that a caller's key stands for; one that held it before is not found by it."""
        key_id = keys.key_id(wanted.venue_id or VenueId(""), wanted.type or "", given=asked["key"], natural=())
        key = self._store.load_key(key_id)
        job = None if key is None else self._store.load(key.job_id, wanted.venue_id)
        return [job] if job is not None and wanted.admits(job) else []

    def _shelf(self, wanted: Wanted) -> tuple[Shelf, set[str]]:
        """Return where to look for what is wanted, and which of the wishes all that is there fulfils."""
        states = SEARCHED if wanted.state is None else (wanted.state,)
        match wanted:
            case Wanted(user_id=str() as user):
                return self._newest(wanted, of_user(user)), {"user_id"}
            case Wanted(venue_id=str() as venue, batch_id=str() as batch):
                return self._newest(wanted, of_batch(venue, batch)), {"venue_id", "batch_id"}
            case Wanted(venue_id=str() as venue) if wanted.state in SEARCHED or wanted.fingerprint:
                found = [ended_of_venue(venue, state) for state in states if state in SEARCHED]
                return self._newest(wanted, *found), {"venue_id", "state"}
            case Wanted(venue_id=str() as venue):
                return self._newest(wanted, of_venue(venue)), {"venue_id"}
            case Wanted(fingerprint=str() as kind):
                found = [alike(kind, state) for state in states if state in SEARCHED]
                return self._newest(wanted, *found), {"fingerprint", "state"}
            case Wanted(state=State() as state) if state in SEARCHED:
                return self._newest(wanted, *_ended(state, wanted.tier)), {"state", "tier"}
            case Wanted(state=State() as state) if state in OPEN:
                tiers = tuple(Tier) if wanted.tier is None else (wanted.tier,)
                return Agenda(self._index, tiers, AGENDA_SHARDS), set()
        raise InvalidRequest([Problem("state", TOO_MUCH)], TOO_MUCH)

    def _newest(self, wanted: Wanted, *partitions: Partition) -> Newest:
        floor = None if wanted.since is None else ids.job_id(wanted.since, later=-self._early)
        roof = None if wanted.until is None else ids.job_id(wanted.until, later=self._late)
        return Newest(self._index, partitions, floor=floor, roof=roof)


def _venue(asked: Mapping[str, str], principal: Principal) -> VenueId | None:
    """Return the venue that a caller is bound to or names. Raises Forbidden."""
    named = asked.get("venueId")
    if principal.role is not Role.VENUE_ADMIN:
        return None if named is None else VenueId(named)
    if principal.venue_id is None:
        raise Forbidden("The token names no venue, so it may not list jobs.")
    if named not in (None, principal.venue_id):
        raise Forbidden("A venue's token may not list another venue's jobs.")
    return principal.venue_id


def _ended(state: State, tier: Tier | None) -> Sequence[Partition]:
    ways = [PARKED] if state is State.PARKED else list(Reason)
    return [ended(each, how) for each in (Tier if tier is None else [tier]) for how in ways]

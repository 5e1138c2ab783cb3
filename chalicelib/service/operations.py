"""Operations as operators begin, watch and stop them; every beginning and stop is audited."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain import operation as moves
from chalicelib.domain.errors import (
    ActionRefused,
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    StoreError,
    StoreRefused,
    StoreUnsure,
)
from chalicelib.domain.operation import (
    Action,
    Mode,
    Operation,
    OperationId,
    OperationStore,
    Starter,
    Status,
)
from chalicelib.domain.policies import Role, Tier
from chalicelib.domain.ports import Chance, Clock, Entry, Journal
from chalicelib.service.intake import IDENTITY, Schema
from chalicelib.service.listing import FILTERS, Listing
from chalicelib.service.principal import Principal, only_admin
from chalicelib.service.read import moment
from chalicelib.service.run_operations import RunOperations, address_mark
from chalicelib.service.schedule_intake import REASON
from chalicelib.service.writing import TRIES

AT_FIRST = timedelta(seconds=4)  # the turn within the request
ANSWERED_WITHIN = timedelta(seconds=12)  # the API's own time-out is 15 s
USUAL_RATE = 5  # jobs a second of a redrive
MODE: Mapping[str, Any] = {
    "enum": [mode.value for mode in Mode],
    "description": "preview counts and changes nothing; start does it.",
}
FILTER: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {name: shape for name, shape in FILTERS.items() if name != "key"},
    "description": "All the jobs that GET /v1/jobs lists by these, accepted up to now.",
}
BULK: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["mode", "action", "filter"],
    "properties": {
        "mode": MODE,
        "action": {"enum": ["retry", "cancel"]},
        "filter": FILTER,
        "reason": REASON,
    },
}
REDRIVE: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["mode"],
    "properties": {
        "mode": MODE,
        "fingerprint": FILTERS["fingerprint"],
        "limit": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
        "ratePerSecond": {"type": "integer", "minimum": 1, "maximum": 100, "default": USUAL_RATE},
        "reason": REASON,
    },
}
ERASURE: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["mode"],
    "properties": {
        "mode": MODE,
        "userId": {**IDENTITY, "description": "All jobs made on behalf of this user."},
        "venueId": {**IDENTITY, "description": "With `address`: the venue whose jobs are searched."},
        "address": {
            "type": "string",
            "minLength": 3,
            "maxLength": 320,
            "description": "A mail address or phone number: all jobs of the venue that have it in their data.",
        },
        "reason": REASON,
    },
}
WHY_STOP: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"reason": REASON},
}


class Operations:
    """The use cases behind POST /v1/jobs/bulk, a queue's redrive, erasures, and /v1/operations."""

    def __init__(
        self,
        *,
        operations: OperationStore,
        runs: RunOperations,
        listing: Listing,
        clock: Clock,
        chance: Chance,
        journal: Journal,
    ) -> None:
        self._operations = operations
        self._runs = runs
        self._listing = listing
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._bulk, self._redrive, self._stop = Schema(BULK), Schema(REDRIVE), Schema(WHY_STOP)
        self._erasure = Schema(ERASURE)

    def bulk(self, body: Mapping[str, Any], principal: Principal) -> Operation:
        """Begin to retry or cancel all jobs that match a filter, or to count what would come of it.

        Raises Forbidden, InvalidRequest with every problem, StoreRefused or StoreUnsure, as `redrive` does.
        """
        if principal.role not in (Role.VENUE_ADMIN, Role.ADMIN):
            raise Forbidden("A token of this role may not steer jobs.")
        self._check(self._bulk, body)
        self._listing.select(body["filter"], principal)  # refuses what could not be found
        return self._begin(Action(body["action"]), body["filter"], body, principal)

    def redrive(self, tier: str, body: Mapping[str, Any], principal: Principal) -> Operation:
        """Begin to put a tier's dead letters back in their queue, or to count what would come of it."""
        only_admin(principal, "redrive dead letters")
        self._check(self._redrive, body)
        if tier not in list(Tier):
            message = f"There is no such queue: use one of {', '.join(Tier)}."
            raise InvalidRequest([Problem("tier", message)])
        asked = {"queue": tier}
        asked |= {"fingerprint": body["fingerprint"]} if "fingerprint" in body else {}
        return self._begin(Action.REDRIVE, asked, body, principal)

    def erase(self, body: Mapping[str, Any], principal: Principal) -> Operation:
        """Begin to take a person's data from all jobs that have ended, or to count those jobs."""
        only_admin(principal, "erase")
        self._check(self._erasure, body)
        by_user, by_address = "userId" in body, "address" in body
        if by_user == by_address or by_address != ("venueId" in body):
            raise InvalidRequest([Problem("body", "Send either a userId, or a venueId and an address.")])
        return self._begin(Action.ERASE, {}, body, principal)

    def read(self, operation_id: str, principal: Principal) -> Operation:
        """Return an operation to its starter or an administrator. Raises NotFound or StoreRefused."""
        operation = self._operations.load(OperationId(operation_id))
        if operation is None or not _may_see(operation, principal):
            raise NotFound("There is no such operation.")
        return operation

    def page(
        self, principal: Principal, *, below: str | None, limit: int
    ) -> tuple[list[Operation], OperationId | None]:
        """Return operations that the caller may see, the latest first, and the id to go on below."""
        start = None if below is None else OperationId(below)
        found, more = self._operations.page(below=start, limit=limit)
        return [each for each in found if _may_see(each, principal)], more

    def stop(self, operation_id: str, body: Mapping[str, Any], principal: Principal) -> Operation:
        """Stop an operation; a page of jobs that is in hand is finished.

        Raises InvalidRequest, NotFound, ActionRefused where it has ended, StoreRefused or StoreUnsure.
        """
        problems = self._stop.problems(body)
        if problems:
            raise InvalidRequest(problems)
        entry_id = self._chance.entry_id()
        why, lost = body.get("reason", ""), False
        for _ in range(TRIES):
            standing = self.read(operation_id, principal)
            if standing.status is Status.STOPPED and standing.stopped_by == principal.sub:
                return standing  # asked for twice, or the reply was lost
            if standing.status is not Status.RUNNING:
                message = "It has ended: there is nothing to stop."
                raise ActionRefused("not_running", message, state=standing.status)
            now = self._clock.now()
            after = moves.stop(standing, why, by=principal.sub, now=now)
            entry = _entry(entry_id, f"stop_{_action(standing)}", standing, principal, why, now, after=after)
            try:
                if self._operations.swap(standing, after, entry):
                    self._journal.note("operation_stopped", operationId=after.id, actor=principal.sub)
                    return after
            except StoreUnsure:
                lost = True
        raise StoreUnsure if lost else StoreRefused

    def _check(self, schema: Schema, body: Mapping[str, Any]) -> None:
        problems = schema.problems(body)
        if not problems and body["mode"] == Mode.START and "reason" not in body:
            problems = [Problem("reason", "Say why: it stands in the audit log.")]
        if problems:
            raise InvalidRequest(problems)

    def _begin(
        self, action: Action, asked: Mapping[str, str], body: Mapping[str, Any], principal: Principal
    ) -> Operation:
        now, entry_id = self._clock.now(), self._chance.entry_id()
        operation_id = OperationId(f"op_{entry_id}")
        asked = _person(operation_id, body) if action is Action.ERASE else asked
        begun = Operation(
            id=operation_id,
            action=action,
            mode=Mode(body["mode"]),
            asked=dict(asked),
            starter=Starter(principal.sub, principal.role, principal.venue_id),
            reason=body.get("reason", ""),
            created_at=now,
            wakes_at=now,
            limit=body.get("limit"),
            rate=body.get("ratePerSecond", USUAL_RATE) if action is Action.REDRIVE else None,
        )
        entry = _entry(entry_id, _action(begun), begun, principal, begun.reason, now, after=begun)
        self._add(begun, entry)
        self._journal.note("operation_begun", operationId=begun.id, what=entry.action, actor=principal.sub)
        try:
            after = self._runs.go_on(begun.id, until=now + AT_FIRST, ends=now + ANSWERED_WITHIN)
        except StoreError as error:  # it has begun all the same, and is gone on with within a minute
            self._journal.alarm("operation_waits", operationId=begun.id, error=type(error).__name__)
            return begun
        return after or begun

    def _add(self, operation: Operation, entry: Entry) -> None:
        for _ in range(TRIES):
            try:
                self._operations.add(operation, entry)
            except StoreUnsure:
                continue
            return  # False: by an earlier try, since nobody else has this id
        raise StoreUnsure


def _may_see(operation: Operation, principal: Principal) -> bool:
    mine = (operation.starter.sub, operation.starter.venue_id) == (principal.sub, principal.venue_id)
    return principal.role is Role.ADMIN or (principal.role is operation.starter.role and mine)


def _person(operation_id: OperationId, body: Mapping[str, Any]) -> dict[str, str]:
    """Return what an erasure's record says of the person: a user's id, or a mark that is no address."""
    if "userId" in body:
        return {"userId": body["userId"]}
    return {"venueId": body["venueId"], "address": address_mark(operation_id, body["address"])}


def _action(operation: Operation) -> str:
    bulk = operation.action in (Action.RETRY, Action.CANCEL)
    word = f"bulk_{operation.action}" if bulk else operation.action.value
    return word if operation.acts else f"preview_{word}"


def _entry(
    entry_id: str,
    action: str,
    operation: Operation,
    principal: Principal,
    reason: str,
    now: datetime,
    *,
    after: Operation,
) -> Entry:
    return Entry(
        id=entry_id,
        at=now,
        actor=principal.sub,
        action=action,
        subject=f"operation/{operation.id}",
        venue_id=operation.starter.venue_id if operation.starter.role is Role.VENUE_ADMIN else None,
        reason=reason,
        before=operation.status if after is not operation else None,
        after=after.status,
    )


# --- as callers see it -------------------------------------------------------------------------


def shown(operation: Operation) -> dict[str, Any]:
    """Return an operation as callers see it."""
    tally, judged = operation.tally, operation.judged
    told: dict[str, Any] = {
        "operationId": operation.id,
        "action": operation.action,
        "mode": operation.mode,
        "status": operation.status,
        "message": sentence(operation),
        "filter": dict(operation.asked),
        "reason": operation.reason,
        "startedBy": operation.starter.sub,
        "createdAt": moment(operation.created_at),
        "updatedAt": moment(operation.updated_at or operation.created_at),
        "finishedAt": moment(operation.finished_at),
        "progress": {
            "matched": tally.matched,
            "done": tally.done,
            "skipped": dict(tally.skipped),
            "types": dict(tally.types),
        },
        "money": dict(tally.money),
    }
    if operation.action is Action.REDRIVE:
        told |= {
            "keysPastWindow": tally.old_keys,
            "alreadySucceeded": tally.skipped.get("already_succeeded", 0),
            "conflicts": tally.skipped.get("key_taken", 0),
            "ratePerSecond": operation.rate,
            "watched": {"well": judged.well, "failing": judged.failing, "open": judged.open},
        }
    if operation.status is Status.STOPPED:
        told |= {"stopped": {"by": operation.stopped_by, "why": operation.why}}
    return told


def sentence(operation: Operation) -> str:
    """Say in a sentence how far an operation is."""
    done, canary = operation.tally.done, next(iter(operation.watched), None)
    if operation.status is Status.STOPPED:
        by = operation.stopped_by or "itself"
        return f"It was stopped by {by} after {done} jobs; nothing else was changed."
    if not operation.acts:
        counted = f"It would be done to {done} of {operation.tally.matched} jobs"
        return f"{counted}." if operation.status is Status.COMPLETED else f"{counted}; the counting goes on."
    if operation.status is Status.COMPLETED:
        return f"It was done to {done} of {operation.tally.matched} jobs."
    if operation.paced and done == 1 and canary is not None:
        return f"Job {canary.id} goes ahead as the canary; the others wait until it has ended well."
    return f"It was done to {done} jobs so far and goes on."

"""Schedules as an administrator sees and changes them; every change and its audit entry are one transaction."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.domain.errors import (
    ActionRefused,
    CallerError,
    NotFound,
    StoreRefused,
    StoreUnsure,
)
from chalicelib.domain.keys import digest
from chalicelib.domain.ports import Chance, Clock, Entry, Journal
from chalicelib.domain.schedule import (
    Following,
    LastRun,
    Plan,
    Schedule,
    ScheduleId,
    ScheduleStore,
    create,
    describe,
    edit,
    order,
    order_key,
)
from chalicelib.service.cron import Cron, NoSuchZone, NotCron
from chalicelib.service.principal import Principal, only_admin
from chalicelib.service.read import moment
from chalicelib.service.run_schedules import RunSchedules
from chalicelib.service.schedule_intake import ScheduleIntake
from chalicelib.service.submit import Accepted
from chalicelib.service.writing import TRIES

SHOWN_RUNS = 5

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Created:
    """The schedule that stands for a request; `repeated`: an earlier request with its key had made it."""

    schedule: Schedule
    repeated: bool


DOING = "see or change schedules"


class Schedules:
    """The use cases behind /v1/schedules; all of them are an administrator's alone."""

    def __init__(
        self,
        *,
        schedules: ScheduleStore,
        intake: ScheduleIntake,
        runs: RunSchedules,
        clock: Clock,
        chance: Chance,
        journal: Journal,
    ) -> None:
        self._schedules = schedules
        self._intake = intake
        self._runs = runs
        self._clock = clock
        self._chance = chance
        self._journal = journal

    def create(self, body: Mapping[str, Any], principal: Principal, key: str | None) -> Created:
        """Make a schedule; with a key, the same one however often it is asked for.

        Raises Forbidden, InvalidRequest with every problem, UnknownType, ActionRefused (the key stands for
        another), StoreRefused or StoreUnsure.
        """
        only_admin(principal, DOING)
        plan = self._intake.new(body, principal, key)
        now, entry_id = self._clock.now(), self._chance.entry_id()
        schedule_id = ScheduleId(f"sch_{entry_id if key is None else digest([principal.sub, key])}")
        made = create(schedule_id, plan, following=_following(plan), actor=principal.sub, now=now)
        entry = self._entry(entry_id, "create_schedule", made, principal, body, after=describe(plan))
        for _ in range(TRIES):
            try:
                added = self._schedules.add(made, entry)
            except StoreUnsure:
                continue
            standing = made if added else self._load(schedule_id)
            if standing.plan != plan:
                message = f"The idempotency key stands for schedule {schedule_id}, which says something else."
                raise ActionRefused("idempotency_conflict", message, state=_state(standing))
            if standing == made:
                self._journal.note("create_schedule", scheduleId=schedule_id, actor=principal.sub)
            return Created(standing, repeated=standing != made)
        raise StoreUnsure

    def read(self, schedule_id: str, principal: Principal) -> Schedule:
        """Return a schedule. Raises Forbidden, NotFound or StoreRefused."""
        only_admin(principal, DOING)
        return self._load(schedule_id)

    def page(
        self, principal: Principal, *, after: str | None, limit: int
    ) -> tuple[list[Schedule], ScheduleId | None]:
        """Return schedules in the order of their ids, and the id to go on after, None at the end."""
        only_admin(principal, DOING)
        return self._schedules.page(after=None if after is None else ScheduleId(after), limit=limit)

    def change(self, schedule_id: str, body: Mapping[str, Any], principal: Principal) -> Schedule:
        """Replace what a schedule says. Raises as `create` does, and ActionRefused for an old version."""
        only_admin(principal, DOING)
        plan = self._intake.change(body, principal)
        following = _following(plan)

        def decide(standing: Schedule) -> Schedule:
            if body.get("version", standing.version) != standing.version:
                message = "The schedule has been changed since: read it again."
                raise ActionRefused("version_conflict", message, state=_state(standing))
            return edit(standing, plan, following=following, actor=principal.sub, now=self._clock.now())

        return self._act("change_schedule", schedule_id, principal, body, decide)

    def delete(self, schedule_id: str, body: Mapping[str, Any], principal: Principal) -> None:
        """Delete a schedule; its jobs stay. Raises Forbidden, InvalidRequest, NotFound or StoreError."""
        only_admin(principal, DOING)
        self._intake.why(body)
        lost = False
        for _ in range(TRIES):
            try:
                standing = self._load(schedule_id)
            except NotFound:
                if lost:
                    return  # it was this request that deleted it
                raise
            entry = self._entry(
                self._chance.entry_id(),
                "delete_schedule",
                standing,
                principal,
                body,
                before=describe(standing.plan),
            )
            try:
                if self._schedules.remove(standing, entry):
                    self._journal.note("delete_schedule", scheduleId=standing.id, actor=principal.sub)
                    return
            except StoreUnsure:
                lost = True
        raise StoreUnsure if lost else StoreRefused

    def run(self, schedule_id: str, body: Mapping[str, Any], principal: Principal, key: str | None) -> Accepted:
        """Run a schedule at once, active or not, and return its job; an order that waits already is that one.

        The order stands on the record before its job is submitted, so `run_schedules` carries it out if this
        request dies. Raises what Submit does, and as `delete` does.
        """
        only_admin(principal, DOING)
        self._intake.why(body, key)
        asked = self._chance.entry_id() if key is None else digest([principal.sub, key])

        def decide(standing: Schedule) -> Schedule:
            return standing if standing.ordered is not None else order(standing, asked, now=self._clock.now())

        standing = self._act("run_schedule", schedule_id, principal, body, decide)
        if standing.ordered is None:
            raise StoreRefused
        result = self._runs.carry_out(standing)[order_key(standing.id, standing.ordered)]
        if isinstance(result, CallerError):
            raise result
        return result

    def _act(
        self,
        action: str,
        schedule_id: str,
        principal: Principal,
        body: Mapping[str, Any],
        decide: Callable[[Schedule], Schedule],
    ) -> Schedule:
        """Save what is decided on the schedule as it stands, with its entry, and return it."""
        lost: Schedule | None = None  # what we wrote, if its reply was lost
        for _ in range(TRIES):
            before = self._load(schedule_id)
            if before == lost:
                return before
            after = decide(before)
            if after == before:
                return before
            entry = self._entry(
                self._chance.entry_id(),
                action,
                before,
                principal,
                body,
                before=describe(before.plan),
                after=describe(after.plan),
            )
            try:
                if self._schedules.swap(before, after, entry):
                    self._journal.note(action, scheduleId=before.id, actor=principal.sub)
                    return after
                lost = None  # a run or another caller was faster: decide again on what it left
            except StoreUnsure:
                lost = after
        raise StoreUnsure if lost is not None else StoreRefused

    def _load(self, schedule_id: str) -> Schedule:
        found = self._schedules.load(ScheduleId(schedule_id)) if _ID.fullmatch(schedule_id) else None
        if found is None:
            raise NotFound("There is no such schedule.")
        return found

    def _entry(
        self,
        entry_id: str,
        action: str,
        schedule: Schedule,
        principal: Principal,
        body: Mapping[str, Any],
        *,
        before: str | None = None,
        after: str | None = None,
    ) -> Entry:
        return Entry(
            id=entry_id,
            at=self._clock.now(),
            actor=principal.sub,
            action=action,
            subject=f"schedule/{schedule.id}",
            venue_id=schedule.plan.job.venue_id,
            reason=body.get("reason", ""),
            before=before,
            after=after,
        )


def _following(plan: Plan) -> Following:
    return Cron(plan.cron, plan.time_zone).following


def _state(schedule: Schedule) -> str:
    return f"version {schedule.version}"


def row(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as a list shows it: without its job's data, and with its next run alone."""
    plan = schedule.plan
    return {
        "id": schedule.id,
        "name": plan.name,
        "cronExpression": plan.cron,
        "timeZone": plan.time_zone,
        "job": {
            "type": plan.job.type,
            "options": dict(plan.job.options),
            "venueId": plan.job.venue_id,
            **plan.job.callbacks,
        },
        "active": plan.active,
        "missed": plan.missed,
        "version": schedule.version,
        "createdAt": moment(schedule.created_at),
        "createdBy": schedule.created_by,
        "updatedAt": moment(schedule.updated_at),
        "updatedBy": schedule.updated_by,
        "nextRun": moment(schedule.next_run),
        "lastRun": None if schedule.last_run is None else _last_run(schedule.last_run),
    }


def view(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule, whole, with its next five runs; one that is not active has none."""
    shown = row(schedule)
    shown["job"] |= {"data": schedule.plan.job.data}
    return shown | {"nextRuns": [moment(each) for each in _next_runs(schedule)]}


def _next_runs(schedule: Schedule) -> list[datetime]:
    if schedule.next_run is None:
        return []
    try:
        cron = Cron(schedule.plan.cron, schedule.plan.time_zone)
    except (NotCron, NoSuchZone):  # by the tables of this version; it can still be read, and mended
        return []
    return [schedule.next_run, *cron.upcoming(schedule.next_run, SHOWN_RUNS - 1)]


def _last_run(run: LastRun) -> dict[str, Any]:
    error = {} if run.error is None else {"error": run.error}
    return {"at": moment(run.at), "jobId": run.job_id, **error}

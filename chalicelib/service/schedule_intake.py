"""What a caller says of a schedule, checked all at once; its job is held to the rules of a job submitted."""

import re
from collections.abc import Mapping
from typing import Any

from chalicelib.domain.errors import InvalidRequest, Problem, UnknownType
from chalicelib.domain.schedule import Missed, Plan, Template
from chalicelib.service.cron import Cron, NoSuchZone, NotCron, zone
from chalicelib.service.intake import CALLBACKS, ENVELOPE, IDENTITY, KEY_PATTERN, Intake, Schema
from chalicelib.service.principal import Principal

LONGEST_EXPRESSION = 200  # characters; to read one takes time that grows with it

REASON: Mapping[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 500,
    "pattern": r"^[^\u0000-\u0009\u000B-\u001F\u007F-\u009F]+$",
    "description": "1 to 500 printable characters; newlines are allowed",
}
TEMPLATE: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "data", "venueId"],
    "properties": {
        **{name: ENVELOPE["properties"][name] for name in ("type", "data", "options", *CALLBACKS)},
        "venueId": IDENTITY,
    },
}
SCHEDULE: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "cronExpression", "timeZone", "job"],
    "properties": {
        "name": {
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "pattern": r"^[^\u0000-\u001F\u007F-\u009F]+$",
            "description": "1 to 100 printable characters",
        },
        "cronExpression": {"type": "string", "maxLength": LONGEST_EXPRESSION},
        "timeZone": {"type": "string", "maxLength": 64},
        "job": TEMPLATE,
        "active": {"type": "boolean", "default": True},
        "missed": {"enum": [missed.value for missed in Missed], "default": Missed.SKIP.value},
        "reason": REASON,
    },
}
# What is read of a schedule may be sent back to say which version was seen.
CHANGE: Mapping[str, Any] = {
    **SCHEDULE,
    "properties": {**SCHEDULE["properties"], "version": {"type": "integer", "minimum": 1}},
}
WHY: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"reason": REASON},
}

_KEY = re.compile(KEY_PATTERN)


class ScheduleIntake:
    """Turns bodies into plans."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._new, self._change, self._why = Schema(SCHEDULE), Schema(CHANGE), Schema(WHY)

    def new(self, body: Mapping[str, Any], principal: Principal, key: str | None) -> Plan:
        """Return what a body says of a new schedule. Raises Forbidden, InvalidRequest or UnknownType."""
        return self._plan(body, principal, [*self._new.problems(body), *_key_problems(key)])

    def change(self, body: Mapping[str, Any], principal: Principal) -> Plan:
        """Return what a body makes of a schedule; raises as `new` does."""
        return self._plan(body, principal, self._change.problems(body))

    def why(self, body: Mapping[str, Any], key: str | None = None) -> None:
        """Check a body that says nothing but why. Raises InvalidRequest."""
        problems = [*self._why.problems(body), *_key_problems(key)]
        if problems:
            raise InvalidRequest(problems)

    def _plan(self, body: Mapping[str, Any], principal: Principal, problems: list[Problem]) -> Plan:
        problems += _clock_problems(body)
        job = body.get("job")
        template = self._template(job, principal, problems) if isinstance(job, dict) else None
        if problems or template is None:
            raise InvalidRequest(list(dict.fromkeys(problems)))
        return Plan(
            name=body["name"],
            cron=" ".join(body["cronExpression"].split()),
            time_zone=body["timeZone"],
            job=template,
            active=body.get("active", True),
            missed=Missed(body.get("missed", Missed.SKIP)),
        )

    def _template(
        self, job: Mapping[str, Any], principal: Principal, problems: list[Problem]
    ) -> Template | None:
        callbacks = {name: job[name] for name in CALLBACKS if name in job}
        asked = {name: job[name] for name in ("type", "data", "options") if name in job} | callbacks
        asked |= {"onBehalfOf": {"venueId": job["venueId"]}} if "venueId" in job else {}
        try:
            submission = self._intake.read(asked, principal, None)
        except UnknownType as error:
            raise UnknownType(list(dict.fromkeys([*_of_job(error), *problems])), error.message) from None
        except InvalidRequest as error:
            problems += _of_job(error)
            return None
        name, options = submission.job_type.name, job.get("options", {})
        return Template(name, job["data"], options, submission.venue_id, callbacks)


def _clock_problems(body: Mapping[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    expression, time_zone = body.get("cronExpression"), body.get("timeZone")
    if isinstance(time_zone, str):
        try:
            zone(time_zone)
        except NoSuchZone:
            problems.append(Problem("timeZone", "Send the name of an IANA time zone, such as Europe/Berlin."))
    if isinstance(expression, str) and len(expression) <= LONGEST_EXPRESSION:
        try:
            Cron(expression, "UTC")
        except NotCron as error:
            problems.append(Problem("cronExpression", str(error)))
    return problems


def _key_problems(key: str | None) -> list[Problem]:
    if key is None or _KEY.fullmatch(key):
        return []
    wanted = "Send 1 to 255 printable ASCII characters, with no space at either end."
    return [Problem("Idempotency-Key", wanted)]


def _of_job(error: InvalidRequest) -> list[Problem]:
    """Return the problems of a submission as those of a schedule's job."""
    fields = {"onBehalfOf": "job.venueId", "onBehalfOf.venueId": "job.venueId"}
    return [Problem(fields.get(each.field, f"job.{each.field}"), each.message) for each in error.problems]

"""Intake: a caller's body and token become a submission, or everything that is wrong with them is said at once.

Shape is JSON Schema: one schema for the envelope, one per job type for `data`, each compiled when it is first
needed. Who someone is comes from the token alone; `data` is payload and never identity.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

import jsonschema_rs

from chalicelib.domain.endpoint import ID_PATTERN, MOST_URL, is_hook_url
from chalicelib.domain.errors import Forbidden, InvalidRequest, Problem, QueueMismatch, UnknownType
from chalicelib.domain.job import UserId, VenueId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.money import is_currency
from chalicelib.domain.policies import ATTEMPTS, MAX_DELAY, PRIORITIES, TIERS, Role, Tier
from chalicelib.service.principal import Principal
from chalicelib.service.problems import problems_of
from chalicelib.service.submit import Submission

IDENTITY = {"type": "string", "pattern": "^[!-~]{1,255}$", "description": "1 to 255 printable ASCII characters"}
KEY_PATTERN = "^[!-~]([ -~]{0,253}[!-~])?$"
ENVELOPE: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "data"],
    "properties": {
        "queue": {"enum": [tier.value for tier in Tier]},
        "type": {"type": "string"},
        "data": {"type": "object"},
        "options": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "priority": {"type": "integer", "minimum": PRIORITIES[0], "maximum": PRIORITIES[-1]},
                "delay": {"type": "integer", "minimum": 0, "maximum": MAX_DELAY // timedelta(milliseconds=1)},
                "attempts": {"type": "integer", "minimum": ATTEMPTS[0], "maximum": ATTEMPTS[-1]},
            },
        },
        "idempotencyKey": {
            "type": "string",
            "pattern": KEY_PATTERN,
            "description": "1 to 255 printable ASCII characters, with no space at either end",
        },
        "onBehalfOf": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"userId": IDENTITY, "venueId": IDENTITY},
        },
        "callbackUrl": {
            "type": "string",
            "maxLength": MOST_URL,
            "format": "hook-url",
            "description": "Where a signed event is posted when the job has ended; this or callbackEndpointId.",
        },
        "callbackEndpointId": {
            "type": "string",
            "pattern": ID_PATTERN,
            "description": "the id of an endpoint of the venue, which is told in place of a callbackUrl",
        },
    },
}
CALLBACKS = frozenset({"callbackUrl", "callbackEndpointId"})  # who is to be told of the job's end
EMAIL = jsonschema_rs.EmailOptions(require_tld=True, allow_domain_literal=False, allow_display_text=False)
_KEY = re.compile(KEY_PATTERN)
OUR_KEYS = "schedule:"  # a caller who guessed one would take a run's place


FORMATS: Mapping[str, Callable[[str], bool]] = {"currency": is_currency, "hook-url": is_hook_url}
# Where the service runs on one machine, so do the receivers.
OWN_FORMATS: Mapping[str, Callable[[str], bool]] = {**FORMATS, "hook-url": partial(is_hook_url, loopback=True)}


class Schema:
    """A JSON Schema, compiled when it is first needed."""

    def __init__(
        self, schema: Mapping[str, Any], formats: Mapping[str, Callable[[str], bool]] = FORMATS
    ) -> None:
        self._schema = schema
        self._formats = formats

    def problems(self, value: object, *, under: tuple[str, ...] = ()) -> list[Problem]:
        """Return every problem of a value that sits `under` a path of the body; none if it is valid."""
        if self.validator.is_valid(value):
            return []
        return problems_of(self.validator.iter_errors(value), self._schema, under=under)

    @cached_property
    def validator(self) -> jsonschema_rs.Draft202012Validator:
        """The compiled schema; raises if it is not valid, or names a format that is not known here."""
        return jsonschema_rs.Draft202012Validator(
            dict(self._schema),
            formats=dict(self._formats),
            validate_formats=True,
            ignore_unknown_formats=False,
            email_options=EMAIL,
        )


class Intake:
    """Turns requests for jobs into submissions; on its own machine it takes that machine's URLs, too."""

    def __init__(self, types: Mapping[str, JobType], *, own_machine: bool = False) -> None:
        formats = OWN_FORMATS if own_machine else FORMATS
        self._names = ", ".join(types)
        self._envelope = Schema(ENVELOPE, formats)
        self._types = {
            name: job_type for job_type in types.values() for name in (job_type.name, *job_type.aliases)
        }
        self._schemas = {name: Schema(job_type.schema, formats) for name, job_type in types.items()}

    def read(self, body: Mapping[str, Any], principal: Principal, key_header: str | None) -> Submission:
        """Return the submission that a body asks for.

        Raises Forbidden, InvalidRequest with every problem, UnknownType or QueueMismatch.
        """
        if not any(principal.role in job_type.submitters for job_type in self._types.values()):
            raise Forbidden("A token of this role may not submit jobs.")
        problems = self._envelope.problems(body)
        job_type = self._find(body.get("type"), problems)
        if principal.role not in job_type.submitters:
            raise Forbidden(f"A token of this role may not submit {job_type.name}.")
        if isinstance(body.get("data"), dict):
            wrong = self._schemas[job_type.name].problems(body["data"], under=("data",))
            problems += wrong or job_type.problems(body["data"])
        behalf = body.get("onBehalfOf")
        behalf = behalf if isinstance(behalf, dict) else {}
        venue = _venue(principal, behalf.get("venueId"), problems)
        key = _key(key_header, body.get("idempotencyKey"), problems)
        if body.keys() >= CALLBACKS:
            problems.append(Problem("callbackEndpointId", "Name a callbackUrl or an endpoint, not both."))
        if problems:
            raise InvalidRequest(problems)
        if body.get("queue", job_type.tier) != job_type.tier:
            raise QueueMismatch(f"{job_type.name} belongs to the queue {job_type.tier}: name that, or none.")
        options = body.get("options", {})
        return Submission(
            job_type=job_type,
            data=body["data"],
            venue_id=venue,
            user_id=UserId(behalf["userId"]) if "userId" in behalf else None,
            submitted_by=principal.sub,
            priority=options.get("priority", TIERS[job_type.tier].priority),
            attempts=options.get("attempts", job_type.most_attempts),
            delay=timedelta(milliseconds=options.get("delay", 0)),
            key=key,
            callback_url=body.get("callbackUrl"),
            callback_endpoint_id=body.get("callbackEndpointId"),
        )

    def _find(self, name: object, problems: Sequence[Problem]) -> JobType:
        """Return the job type of a name, old or new; raises InvalidRequest or UnknownType."""
        if not isinstance(name, str):
            raise InvalidRequest(problems)
        job_type = self._types.get(name)
        if job_type is None:
            unknown = Problem("type", f"There is no such job type: use one of {self._names}.")
            message = f"There is no such job type; the types are {self._names}."
            raise UnknownType([unknown, *problems], message)
        return job_type


def _venue(principal: Principal, named: object, problems: list[Problem]) -> VenueId:
    """Return the venue of the job: a venue's own token has no other; the platform's may name one.

    Raises Forbidden; a venue that is missing is one problem more.
    """
    if principal.role is Role.VENUE_ADMIN:
        if principal.venue_id is None:
            raise Forbidden("The token names no venue, so it may not submit jobs.")
        if isinstance(named, str) and named != principal.venue_id:
            raise Forbidden("A venue's token may not submit jobs for another venue.")
        return principal.venue_id
    if isinstance(named, str):
        return VenueId(named)
    if principal.venue_id is None and named is None:
        problems.append(Problem("onBehalfOf.venueId", "Name the venue of the job: the token names none."))
    return principal.venue_id or VenueId("")


def _key(header: str | None, given: object, problems: list[Problem]) -> str | None:
    """Return the caller's own key, from the header or the body; both may be sent if they agree."""
    if header is not None and not _KEY.fullmatch(header):
        wanted = "Send 1 to 255 printable ASCII characters, with no space at either end."
        problems.append(Problem("Idempotency-Key", wanted))
    elif header is not None and given is not None and header != given:
        problems.append(Problem("idempotencyKey", "It differs from the Idempotency-Key header: send one key."))
    key = header if header is not None else given if isinstance(given, str) else None
    if key is not None and key.startswith(OUR_KEYS):
        problems.append(Problem("idempotencyKey", f"Keys that begin with {OUR_KEYS} are the schedules' own."))
    return key

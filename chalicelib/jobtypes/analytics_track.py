"""analytics.track: one event for the analysts, put on the EventBridge bus.

Class D: whoever reads the bus knows an event by the job's id in its detail, so one of which nobody knows
whether it went is simply put again. One call per job: the jobs of a batch run side by side, and each has an
outcome of its own.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.errors import ProviderError
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.outcome import Completed, Outcome, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import AnalyticsEvent, Providers


def run(work: Work, providers: Providers) -> Outcome:
    """Put the event on the bus."""
    try:
        [became] = providers.analytics.put([_event(work)], deadline=work.deadline)
    except ProviderError as error:
        return outcome_of(error)
    if isinstance(became, ProviderError):
        return outcome_of(became)
    return Completed({"eventBridgeId": became})


def _event(work: Work) -> AnalyticsEvent:
    """Return the event as it goes out: made of what never changes, so that a repetition is the same event."""
    detail = {**work.data, "venueId": work.job.venue_id}
    if work.job.user_id is not None:
        detail["userId"] = work.job.user_id
    return AnalyticsEvent(
        job_id=work.job.id,
        kind=work.data["eventType"],
        at=datetime.fromisoformat(work.data["timestamp"]),
        detail=detail,
    )


def _natural_key(facts: Facts) -> tuple[object, ...]:
    data = facts.data
    return (
        data["eventType"],
        facts.venue_id or "global",
        facts.user_id or "anonymous",
        data["targetId"],
        data["timestamp"],
    )


def _id(description: str) -> Mapping[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": 255, "description": description}


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["eventType", "targetId", "timestamp"],
        "properties": {
            "eventType": {
                "type": "string",
                "pattern": "^[A-Za-z][A-Za-z0-9_.-]{0,127}$",
                "description": "What happened, such as ticket.viewed: the event's detail type on the bus.",
            },
            "targetId": _id("What it happened to: a ticket, a page, a campaign."),
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "pattern": "^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9]([.][0-9]{1,6})?Z$",
                "description": "When it happened, in UTC: 2026-11-24T19:30:00Z, at most six decimals.",
            },
            "eventId": _id("The event on sale that it belongs to."),
            "data": {
                "type": "object",
                "maxProperties": 50,
                "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9_]{0,63}$"},
                "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 2000},
                "description": "Plain values that go along.",
            },
        },
    }
)

JOB_TYPE = JobType(
    name="analytics.track",
    aliases=("analytics", "analytics-event"),
    tier=Tier.BACKGROUND,
    provider="internal",
    effect_class=EffectClass.RECEIVER_DEDUPS,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(days=7),
    retention=timedelta(days=14),
    archive=None,
    in_flight=20,
    retry=RETRY["default"],
    run=run,
    run_time=timedelta(seconds=6),  # one call
    attempts=3,
    example={
        "eventType": "ticket.viewed",
        "targetId": "ticket-9001",
        "timestamp": "2026-11-24T19:30:00Z",
        "eventId": "event-2041",
        "data": {"channel": "app"},
    },
)

"""webhook.deliver: post an event to one of a venue's endpoints, or to a URL that is given with the job.

Class D: the receiver knows a repetition by its `webhook-id`, which is the job's own, so a delivery of which
nobody knows what came is simply made again. Every answer but two is tried again, since a deploy may mend it:
2xx is done, 410 says that nobody wants it any more. An endpoint keeps since when it has been failing.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.endpoint import (
    DEFAULT,
    ID_PATTERN,
    MOST_URL,
    Endpoint,
    EndpointId,
    after_failure,
    after_success,
    default_of,
    describe,
    signing,
)
from chalicelib.domain.errors import ProviderError, StoreError, StoreRefused
from chalicelib.domain.ids import ulid
from chalicelib.domain.job import VenueId
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.keys import digest
from chalicelib.domain.outcome import Completed, Failure, HeldBack, Outcome, Refused, Retry, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.ports import Entry
from chalicelib.domain.providers import Hook, HookAnswer, Providers
from chalicelib.domain.standing import AtEndpoint, Need, SignedFor, refused

GONE = 410
NOT_FOR = timedelta(seconds=5)  # until an endpoint that could not be written is tried again
OURS = frozenset({"no_time_left"})  # what says nothing of the receiver


def run(work: Work, providers: Providers) -> Outcome:
    """Post the event, and note on the endpoint what came of it."""
    if work.objections:
        return refused(work.objections)
    try:
        endpoint = work.endpoint or _default(work, providers)
    except StoreError:
        return HeldBack("endpoint_unwritten", NOT_FOR)
    hook = Hook(
        id=work.job.id,
        url=endpoint.url or work.data["url"],
        body=_body(work),
        secrets=signing(endpoint, work.clock.now()),
    )
    try:
        answer = providers.hooks.post(hook, deadline=work.deadline)
    except ProviderError as error:
        if endpoint.url is not None and error.reason not in OURS:
            _note(work, providers, endpoint, failed=True)
        return outcome_of(error)
    if endpoint.url is not None:
        _note(work, providers, endpoint, failed=not _is_success(answer), gone=answer.status == GONE)
    return _outcome(answer)


def _default(work: Work, providers: Providers) -> Endpoint:
    """Make the endpoint whose secret signs what goes to the URLs of a venue; of two that do, one stands."""
    store, venue_id = providers.endpoints, work.job.venue_id
    made = default_of(venue_id, store.new_secret(), now=work.clock.now())
    standing = made if store.add(made) else store.load(venue_id, DEFAULT)
    if standing is None:
        raise StoreRefused
    return standing


def _body(work: Work) -> bytes:
    """Return what is posted: made of what never changes, so that a repetition is the same to the byte."""
    event = {
        "type": work.data["event"],
        "timestamp": work.job.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "eventId": work.data["eventId"],
        "data": work.data["payload"],
    }
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def _is_success(answer: HookAnswer) -> bool:
    return 200 <= answer.status < 300


def _outcome(answer: HookAnswer) -> Outcome:
    """Return what an answer makes of the attempt."""
    if _is_success(answer):
        reference = {} if answer.reference is None else {"reference": answer.reference}
        milliseconds = answer.took // timedelta(milliseconds=1)
        return Completed({"status": answer.status, "durationMs": milliseconds, **reference})
    if answer.status == GONE:
        return Refused(Failure("receiver_gone", "The receiver wants no more events.", answer.reference))
    # A redirect is one of these: it is not followed, since whoever answers could send us anywhere.
    failure = Failure(f"http_{answer.status}", "The receiver did not take the event.", answer.reference)
    return Retry(failure, after=answer.after)


def _note(work: Work, providers: Providers, endpoint: Endpoint, *, failed: bool, gone: bool = False) -> None:
    """Keep on the endpoint since when it fails; nothing is written where that has not changed.

    Whoever is faster has noted it, and a table that does not answer is asked again at the next delivery.
    """
    now = work.clock.now()
    after = after_failure(endpoint, gone=gone, now=now) if failed else after_success(endpoint)
    if after == endpoint:
        return
    ends = after.disabled is not endpoint.disabled
    try:
        stands = providers.endpoints.swap(endpoint, after, _entry(work, endpoint, after, now) if ends else None)
    except StoreError:
        return
    if stands and ends:
        work.alarm(
            "endpoint_disabled", endpointId=endpoint.id, venueId=endpoint.venue_id, reason=after.disabled
        )


def _entry(work: Work, before: Endpoint, after: Endpoint, now: datetime) -> Entry:
    """Return the audit entry of an endpoint that a job's delivery has disabled."""
    return Entry(
        id=ulid(now, int(digest([work.job.id, work.job.fence])[:20], 16)),
        at=now,
        actor="queue-service",
        action="disable_endpoint",
        subject=f"endpoint/{before.id}",
        venue_id=before.venue_id,
        reason=f"job {work.job.id}: {after.disabled}",
        before=describe(before),
        after=describe(after),
    )


def _needs(venue_id: VenueId, data: Mapping[str, Any]) -> Sequence[Need]:
    if "endpointId" in data:
        return (AtEndpoint("data.endpointId", venue_id, EndpointId(data["endpointId"])),)
    return (SignedFor(venue_id),)


def _natural_key(facts: Facts) -> tuple[object, ...]:
    data = facts.data
    return (data.get("endpointId") or data["url"], data["eventId"])


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["event", "eventId", "payload"],
        "oneOf": [{"required": ["url"]}, {"required": ["endpointId"]}],
        "properties": {
            "url": {
                "type": "string",
                "maxLength": MOST_URL,
                "format": "hook-url",
                "description": "Where it is posted, signed with the secret of the venue's endpoint `default`; "
                "either this or endpointId.",
            },
            "endpointId": {
                "type": "string",
                "pattern": ID_PATTERN,
                "description": "The venue's endpoint that it is posted to; either this or url.",
            },
            "event": {
                "type": "string",
                "pattern": "^[A-Za-z][A-Za-z0-9_.-]{0,127}$",
                "description": "What happened, such as order.paid.",
            },
            "eventId": {
                "type": "string",
                "pattern": "^[!-~]{1,255}$",
                "description": "Which event it is: 1 to 255 printable ASCII characters.",
            },
            "payload": {
                "type": "object",
                "additionalProperties": {},  # the venue's own affair
                "description": "What the receiver is told.",
            },
        },
    }
)

JOB_TYPE = JobType(
    name="webhook.deliver",
    aliases=("webhook", "webhook.process"),
    tier=Tier.BACKGROUND,
    provider="internal",
    effect_class=EffectClass.RECEIVER_DEDUPS,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(hours=24),
    retention=timedelta(days=30),
    archive="webhook_archive",
    in_flight=10,
    retry=RETRY["webhook"],
    run=run,
    run_time=timedelta(seconds=14),  # one call, and the endpoint's record before or after it
    needs=_needs,
    attempts=5,
    example={
        "url": "https://shop.example/hooks",
        "event": "order.paid",
        "eventId": "evt-77120",
        "payload": {"orderId": "order-77120", "total": 4500},
    },
)

"""Valid values by default; a test spells out only what it is about."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain import keys
from chalicelib.domain.claim import Claimed, claim
from chalicelib.domain.endpoint import Endpoint, EndpointId, Secret
from chalicelib.domain.job import Accepting, ClaimId, Job, JobId, KeyId, State, UserId, VenueId, accept
from chalicelib.domain.keys import Key
from chalicelib.domain.policies import RETRY, TIMING, EffectClass, Policy, Tier, Timing
from chalicelib.domain.stock import OPEN, Stock
from tests.fakes import START

VENUE = VenueId("venue-1")
PAYMENT: dict[str, Any] = {
    "amount": 4500,
    "currency": "EUR",
    "customerId": "cus_1",
    "eventId": "event-1",
    "paymentMethod": "pm_card_visa",
    "orderId": "order-1",
}


def a_job(job_id: str = "job_1", *, timing: Timing = TIMING, **changes: Any) -> Job:
    """Return a job just accepted; `changes` are fields of Accepting."""
    payload = changes.pop("payload", PAYMENT)
    offer: dict[str, Any] = {
        "id": JobId(job_id),
        "type": "payment.process",
        "tier": Tier.MONEY,
        "venue_id": VENUE,
        "submitted_by": "service-1",
        "user_id": UserId("user-1"),
        "key_id": KeyId(f"{VENUE}#payment.process#{job_id}"),
        "payload_hash": keys.payload_hash(payload),
        "payload": payload,
        "callback_url": None,
        "priority": 8,
        "attempts": 10,
        "delay": timedelta(0),
    }
    return accept(Accepting(**{**offer, **changes}), now=START, timing=timing)


def a_key(key_id: str = "venue-1#payment.process#k1", job_id: str = "job_1", **changes: Any) -> Key:
    """Return an idempotency record."""
    fields: dict[str, Any] = {
        "payload_hash": keys.payload_hash(PAYMENT),
        "natural": False,
        "created_at": START,
        "period": timedelta(hours=24),
    }
    return Key(id=KeyId(key_id), job_id=JobId(job_id), **{**fields, **changes})


def a_policy(effect_class: EffectClass = EffectClass.KEYED, **changes: Any) -> Policy:
    """Return what `claim` and `settle` must know of a type of this class."""
    fields: dict[str, Any] = {
        "retry": RETRY["payment"],
        "attempts": 10,
        "window": None,
        "retention": timedelta(days=90),
    }
    return Policy(effect_class=effect_class, **{**fields, **changes})


def is_sentence(text: str | None) -> bool:
    """Say whether a person can be shown this: one line, a capital first and a full stop last."""
    return bool(text) and re.fullmatch(r"[A-Z][a-z]*( .*)?[A-Za-z0-9]\.", text or "") is not None


def a_running_job(policy: Policy | None = None, *, now: datetime = START, **fields: Any) -> Job:
    """Return a job as its first claim leaves it, leased for 65 seconds; `fields` are fields of Job."""
    verdict = claim(
        a_job(),
        policy or a_policy(),
        claim_id=ClaimId("claim_1"),
        lease_until=now + timedelta(seconds=65),
        now=now,
    )
    assert isinstance(verdict, Claimed)
    return replace(verdict.job, **fields)


def an_endpoint(**changes: Any) -> Endpoint:
    """Return a webhook endpoint just made."""
    made = Endpoint(
        id=EndpointId("ep_1"),
        venue_id=VENUE,
        url="https://hooks.example/",
        description="",
        secrets=(Secret("whsec_bmV3"),),
        created_at=START,
        created_by="admin-1",
        updated_at=START,
        updated_by="admin-1",
    )
    return replace(made, **changes)


def a_stock(**changes: Any) -> Stock:
    """Return what a walk has found: in each tier three jobs of each state, some of money, nothing since."""
    states = dict.fromkeys((*OPEN, State.PARKED, State.FAILED), 3)
    made = Stock(counted_at=START, base={}, states=dict.fromkeys(Tier, states), money={"EUR": 4500})
    return replace(made, **changes)

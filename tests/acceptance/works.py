"""The service on the embedded AWS with its stand-ins, for the tests of the deluge and of the killed workers.

The protocol's times are seconds, and so is what a job type asks of an invocation: the lease of a killed worker
then runs out within the test.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.adapters import Adapters, on_aws
from chalicelib.domain.job import Job, JobId, VenueId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import TIERS
from chalicelib.jobtypes import discover
from chalicelib.service.submit import Submission
from chalicelib.settings import Settings
from chalicelib.wiring import Service, assemble
from local.assembly import SENDER, STRIPE_KEY, verify_sender
from local.event_sources import queue_urls
from local.sessions import session
from local.standins import StandIns

FULL = os.environ.get("QS_FULL") == "1"
FUNCTION_TIMEOUT = timedelta(seconds=15)
VISIBILITY_SECONDS = 4
TIMING = '{"clock_skew": 1, "settle_margin": 1, "absence_after": 3, "look_after": 10, "poll_every": 2}'
RUN_TIME = timedelta(seconds=10)  # one call to a provider
VENUES = tuple(VenueId(f"venue-{number}") for number in range(4))
ATTEMPTS = 10
VISIBLE = ("ApproximateNumberOfMessages",)
EVERY_MESSAGE = (*VISIBLE, "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")
PAGE = 100


def short_types() -> dict[str, JobType]:
    """The job types, content with an invocation that lasts for one call."""
    return {name: replace(job_type, run_time=RUN_TIME) for name, job_type in discover().items()}


def short_service(environment: Mapping[str, str]) -> tuple[Service, Adapters]:
    """The service on AWS with these job types, and what is behind it."""
    settings = Settings.from_env(environment)
    adapters = on_aws(settings)
    return assemble(settings, adapters, short_types()), adapters


@dataclass(frozen=True)
class Works:
    """A service, its surroundings, and the environment that tells another process of them."""

    environment: Mapping[str, str]
    service: Service
    adapters: Adapters
    stand_ins: StandIns

    def submit(self, numbers: Sequence[int]) -> list[Job]:
        """Accept a job for each number: two payments, then a mail; every eighth goes the express lane."""
        return [self._submit(number) for number in numbers]

    def load(self, job_ids: Sequence[JobId]) -> list[Job]:
        """Read the records."""
        jobs: list[Job] = []
        for start in range(0, len(job_ids), PAGE):
            jobs += self.adapters.store.load_batch(job_ids[start : start + PAGE])[0].values()
        return jobs

    def effects(self, operation: str) -> Counter[str]:
        """How often each job had an effect, by the stand-ins' ledger."""
        return Counter(
            effect["jobId"] for effect in self.stand_ins.effects() if effect["operation"] == operation
        )

    def queue_depths(self, which: Sequence[str] = EVERY_MESSAGE) -> dict[str, int]:
        """How many messages each queue has, seen and unseen, dead letters included."""
        client = session(self.environment["AWS_ENDPOINT_URL"]).client("sqs")
        try:
            return {name: _depth(client, url, which) for name, url in queue_urls(self.environment).items()}
        finally:
            client.close()

    def _submit(self, number: int) -> Job:
        name = "email.send" if number % 3 == 2 else "payment.process"
        job_type = short_types()[name]
        express = TIERS[job_type.tier].express_from
        return self.service.submit.submit(
            Submission(
                job_type=job_type,
                data=_mail(number) if name == "email.send" else _payment(number),
                venue_id=VENUES[number % len(VENUES)],
                user_id=None,
                submitted_by="service-1",
                priority=express if number % 8 == 0 else express - 1,
                attempts=ATTEMPTS,
                delay=timedelta(0),
                key=f"key-{number}",
                callback_url=None,
            )
        ).job


def _payment(number: int) -> dict[str, Any]:
    return {
        "amount": 1_000 + number,
        "currency": "EUR",
        "customerId": f"cus_{number}",
        "eventId": "ev_1",
        "paymentMethod": "pm_card_visa",
    }


def _mail(number: int) -> dict[str, Any]:
    data = {"customerName": "Ada", "eventName": "Night", "orderId": f"order-{number}", "total": "45.00 EUR"}
    return {"to": f"buyer-{number}@example.com", "template": "order_confirmation", "data": data}


def _depth(client: Any, url: str, which: Sequence[str]) -> int:
    attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=list(which))["Attributes"]
    return sum(int(text) for text in attributes.values())


@contextmanager
def works(stack: Mapping[str, str], patch: pytest.MonkeyPatch, **settings: str) -> Iterator[Works]:
    """Bring up a service on a stack of the embedded AWS."""
    aws = stack["AWS_ENDPOINT_URL"]
    verify_sender(SENDER, aws)
    with StandIns(ses=aws) as stand_ins:
        environment = {
            **stack,
            "STAGE": "test",
            "JWT_SECRET": "of no use here, nobody asks for a token",
            "STRIPE_SECRET_KEY": STRIPE_KEY,
            "STRIPE_API_BASE": stand_ins.url,
            "SES_SENDER": SENDER,
            "AWS_ENDPOINT_URL_SESV2": stand_ins.ses_url,
            "QUEUE_TIMING": TIMING,
            "ENABLE_METRICS": "false",  # the log alone is read here
            "ENABLE_RATE_LIMITING": "false",  # what is counted here is effects, not their pace
            "FUNCTION_TIMEOUT_SECONDS": str(int(FUNCTION_TIMEOUT.total_seconds())),
            **settings,
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        service, adapters = short_service(environment)
        yield Works(environment, service, adapters, stand_ins)

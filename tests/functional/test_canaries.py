"""No payload, address, number, card, key or token in the log, on a queue, in an error or in a redacted view.

Over the fakes, with the real log, the real Stripe client before a stand-in that quotes what it was sent, and
the real mailer before an SES that does. `tests/e2e/test_canaries.py` walks the same way over the real adapters.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import timedelta
from itertools import cycle
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from chalicelib import observability, wiring
from chalicelib.aws import ses_mailer
from chalicelib.aws.ses_mailer import SesMailer
from chalicelib.domain.emission import Figure
from chalicelib.domain.errors import Declined, Problem, StoreRefused, StoreUnsure
from chalicelib.domain.message import encode
from chalicelib.domain.policies import Lane, Role, Tier
from chalicelib.domain.ports import Entry
from chalicelib.domain.providers import Providers
from chalicelib.http import errors, traffic
from chalicelib.observability import EmbeddedMetrics, PowertoolsJournal
from chalicelib.providers import stripe_account, twilio_messages
from chalicelib.providers.solana_minter import SolanaMinter
from chalicelib.providers.stripe_payments import StripePayments
from chalicelib.providers.stripe_payouts import StripePayouts
from chalicelib.providers.twilio_messages import TwilioAccount, TwilioMessages
from chalicelib.providers.webhook_sender import WebhookSender
from chalicelib.service import manage, problems, read, sending, submit
from chalicelib.settings.environment import Secret
from chalicelib.settings.vendors import TwilioSettings
from chalicelib.tracing import Tracing
from chalicelib.worker import FunctionFailed
from local.standins import StandIns
from local.standins.server import CHAIN_AUTHORITY
from tests import fakes
from tests.canaries import MAIL, PERSON, STRIPE_KEY, TWILIO, Walk, leaks, types
from tests.collector import Collector, collecting
from tests.fakes import ListJournal, ManualClock, MemoryStore, told
from tests.fakes_endpoints import MemoryEndpointStore
from tests.fakes_quotas import MemoryQuotas
from tests.fakes_schedules import MemoryScheduleStore
from tests.fakes_search import MemoryAuditLog, MemoryJobIndex
from tests.front import Front
from tests.functional.test_functions import QUEUES, consume, run_dispatch, run_monitor

RAW = PERSON  # a poison message, which goes to the dead-letter queue as it came


class LoudJournal(ListJournal):
    """The service's own log, which a test can also read."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self._real = PowertoolsJournal(level="DEBUG", style=style)
        self.written = io.StringIO()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Have everything written that the handler of the log is given."""
        logger = self._real._logger
        handler = cast(Any, getattr(logger, "registered_handler", None) or logger.handlers[0])
        before = handler.setStream(self.written)
        yield
        handler.setStream(before)

    def note(self, action: str, **facts: str | int | float | None) -> None:
        super().note(action, **facts)
        self._real.note(action, **facts)

    def alarm(self, action: str, **facts: str | int | float | None) -> None:
        super().alarm(action, **facts)
        self._real.alarm(action, **facts)


class Figures:
    """What is told to CloudWatch, as it is written."""

    def __init__(self) -> None:
        self._real = EmbeddedMetrics("test")
        self.written = io.StringIO()

    def emit(self, figures: Mapping[Figure, float]) -> None:
        with redirect_stdout(self.written):
            self._real.emit(figures)


class RudeSes:
    """An SES that quotes in its errors what it was sent: it refuses one mail, fails at one, takes the rest."""

    def __init__(self) -> None:
        self._statuses = iter([400, 500])

    def send_email(self, *, Destination: Any, Content: Any, **_: Any) -> dict[str, str]:  # noqa: N803
        status = next(self._statuses, 200)
        if status == 200:
            return {"MessageId": "message-1"}
        told = {"Code": "MessageRejected", "Message": f"Cannot send to {Destination}: {Content}"}
        raise ClientError(
            {"Error": told, "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "r1"}}, "SendEmail"
        )


def rude_names(host: str, *_: Any) -> Any:
    """Be a name server that knows nobody, and says whom it does not know."""
    raise OSError(f"There is no {host}, {PERSON}")


class House:
    """The front, its surroundings, and all that it kept and said."""

    def __init__(self, stand_ins: StandIns, collector: Collector, style: str = "json") -> None:
        self.collector = collector
        self.journal, self.figures = LoudJournal(style), Figures()
        clock = ManualClock()
        self.payments = StripePayments(told(STRIPE_KEY), clock, api_base=stand_ins.url)
        self.payouts = StripePayouts(told(STRIPE_KEY), clock, api_base=stand_ins.url)
        mailer = SesMailer(RudeSes(), "tickets@sender.example", clock)
        account = TwilioSettings(
            TWILIO["TWILIO_ACCOUNT_SID"], Secret(None, None), TWILIO["TWILIO_PHONE"], stand_ins.twilio_url
        )
        stand_ins.arm("twilio", "decline")
        self.texts = TwilioMessages(TwilioAccount(account, told(TWILIO["TWILIO_AUTH_TOKEN"]), clock))
        made = SimpleNamespace(payments=self.payments, payouts=self.payouts, mailer=mailer, texts=self.texts)
        self.minter = SolanaMinter(lambda _: stand_ins.chain_url, CHAIN_AUTHORITY, "s" * 32, clock)
        made.minter = self.minter
        made.hooks = WebhookSender(clock, resolver=lambda _: rude_names)
        self.front = Front(
            types=types(),
            clock=clock,
            journal=self.journal,
            providers=cast(Providers, made),
            environment={**TWILIO, "TRACES": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
            emitter=self.figures,
        )
        made.endpoints = self.front.endpoints
        self.sent: list[str] = []
        self.walk = Walk(self.front.client, self._token, self._consume, self._broken)

    def go(self) -> list[str]:
        """Walk, and return where canaries are found."""
        with self.journal.open():
            self.front.queue.put(Tier.MONEY, Lane.MAIN, RAW)
            self.walk.go()
            self.front.quotas.fails = StoreUnsure()
            self.front.clock.advance(timedelta(minutes=2))
            self.walk.ask("GET", "/v1/jobs/job_1")
            run_dispatch()
            run_monitor()
        front = self.front
        assert front.outlets.sms.sent  # of what nobody could read
        return leaks(
            {
                "the log": self.journal.written.getvalue(),
                "the queues": "\n".join(self.sent),
                "the audit log": repr(front.store.audit) + repr(front.limiter.audit),
                "the counts of the callers": repr(front.quotas.used),
                "the limiter": repr(front.limiter.buckets()),
                "the keys": repr(front.store.keys),
                "the controls": repr(front.store.controls),
                "the suppressions": repr(front.suppressions.rows),
                "the operations": repr(front.operations.operations),
                "the counters": repr(front.metrics.minutes) + repr(front.metrics.kept),
                "the figures": self.figures.written.getvalue(),
                "the alerts": repr(front.alerts.alerts) + repr(front.outlets.sms.sent),
                "the traces": "\n".join(each.text for each in self.collector.spans()),
            },
            self.walk,
        )

    def close(self) -> None:
        """Close the connections to Stripe and Twilio."""
        self.payments.close()
        self.payouts.close()
        self.texts.close()
        self.minter.close()
        cast(Tracing, wiring.service().traces).close()

    def _token(self, role: str) -> str:
        return self.front.token(role, sub="user-1" if role == "user" else "caller-1")

    def _consume(self) -> None:
        queues = self.front.queue
        self.sent += [repr(m) for held in queues.messages.values() for m in held.values() if m.body != RAW]
        for _ in range(4):  # a batch has ten messages at most, and the limiter lets some of them wait
            for queue in QUEUES:
                with suppress(FunctionFailed):
                    consume(self.front, queue)
            self.front.clock.advance(timedelta(seconds=15))

    @contextmanager
    def _broken(self) -> Iterator[None]:
        """Have every call to a table fail, in three ways by turns, each of which says what is in the table."""
        ways = cycle([StoreRefused, StoreUnsure, RuntimeError])

        def breaks(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"Cannot read {PERSON}")

        def fails(*_: Any, **__: Any) -> Any:
            way = next(ways)
            if way is RuntimeError:
                breaks()
            raise way from ValueError(f"The item {PERSON} is not valid.")

        with pytest.MonkeyPatch.context() as patch:
            kinds = (MemoryStore, MemoryScheduleStore, MemoryJobIndex, MemoryAuditLog, MemoryEndpointStore)
            for kind in kinds:
                for name, method in vars(kind).items():
                    if callable(method) and not name.startswith("_"):
                        patch.setattr(kind, name, breaks if name == "load_batch" else fails)
            yield


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def house(stand_ins: StandIns, collector: Collector) -> Iterator[House]:
    made = House(stand_ins, collector)
    yield made
    made.close()
    wiring.install(None)


def test_no_canary_is_found_anywhere(house: House) -> None:
    assert house.go() == []

    # The walk has been everywhere that something could have been said.
    statuses = Counter(answer.status for answer in house.walk.answers)
    assert set(statuses) >= {200, 201, 202, 207, 400, 401, 403, 404, 409, 413, 415, 500, 503}
    jobs = house.front.store.jobs.values()
    assert {attempt.outcome for job in jobs for attempt in job.history} >= {"completed", "refused", "unknown"}
    codes = {attempt.code for job in jobs for attempt in job.history}
    assert codes >= {
        "name_not_resolved",
        "message_rejected",
        "provider_failed",
        "insufficient_funds",
        "resource_missing",
    }
    assert {"payment.retry", "payment.payout"} <= {job.type for job in jobs if job.history}
    assert set(house.journal.actions()) >= {
        *("accepted", "claimed", "moved", "run_failed", "poison", "cancel", "retry", "resolve_failed", "clone"),
        *("promote", "create_schedule", "delete_schedule", "emergency_stop", "resume", "request_failed"),
        *("request_unavailable", "quota_unknown", "function_failed", "sms_status", "opted_out"),
        *("create_endpoint", "rotate_secret"),
    }
    told = house.figures.written.getvalue()
    assert all(each in told for each in ("job_results_total", "http_requests_total", "function_runs"))
    assert {each.name for each in house.collector.spans()} >= {
        *("accept", "send", "consume", "payments.create", "payouts.pay_out", "mailer.send", "texts.send"),
        *("hooks.post", "minter.read"),
    }
    for line in house.journal.written.getvalue().splitlines():
        assert json.loads(line)["service"] == "queue-service"


def test_what_a_person_reads_at_a_terminal_holds_none_either(stand_ins: StandIns, collector: Collector) -> None:
    house = House(stand_ins, collector, "pretty")
    assert house.go() == []
    assert "run_failed" in house.journal.written.getvalue()
    house.close()
    wiring.install(None)


# --- the leaks that this must find


def note_the_payload(patch: pytest.MonkeyPatch) -> None:
    before = sending.send_accepted

    def send(queue: Any, journal: Any, jobs: Any, **rest: Any) -> None:
        before(queue, journal, jobs, **rest)
        for job in jobs:
            journal.note("looked_at", jobId=job.id, data=str(job.payload))

    patch.setattr(submit, "send_accepted", send)


def log_what_an_exception_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(observability, "_said", str)


def quote_the_value_that_is_wrong(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(problems, "_problems", lambda error, *_: [Problem("data", error.message)])


def answer_with_what_an_exception_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.http.views.answer", lambda error, _: errors._error(500, "oops", str(error)))


def keep_what_stripe_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stripe_account, "_translate", lambda error: Declined("no", str(error.user_message)))


def keep_what_ses_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ses_mailer, "_refused", lambda error: Declined("no", str(error)))


def keep_what_twilio_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(twilio_messages, "_refused", lambda reply, _: Declined("no", str(reply.document)))


def log_what_a_phone_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.http.callbacks_twilio._word", lambda text: text)


def put_data_in_a_message(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fakes, "encode", lambda hint: json.dumps({**json.loads(encode(hint)), "who": PERSON}))


def audit_a_person(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(manage, "Entry", lambda **told: Entry(**{**told, "after": PERSON}))


def show_a_service_the_data(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(read, "SEES_DATA", frozenset(Role))


def list_the_data(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.http.jobs.row", lambda job, **_: read.view(job, whole=True))


def list_the_money_to_everybody(patch: pytest.MonkeyPatch) -> None:
    before = read.row
    patch.setattr("chalicelib.http.jobs.row", lambda job, **_: before(job, money=True))


def count_under_an_address(patch: pytest.MonkeyPatch) -> None:
    before = MemoryQuotas.draw
    patch.setattr(MemoryQuotas, "draw", lambda self, who, *a, **rest: before(self, f"{who}{MAIL}", *a, **rest))


def count_a_path(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(traffic, "_asked", lambda request: (request.method, request.context["path"]))


def keep_whom_an_erasure_is_about(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.service.operations.address_mark", lambda _, address: address)


def tell_who_is_on_call_about_whom(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.service.alerting.message", lambda *_: f"A job of {MAIL} waits.")


def trace_the_payload(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.tracing.ports.facts_of", lambda job: {"job.data": str(job.payload)})


PLANTS: list[tuple[Callable[[pytest.MonkeyPatch], None], str]] = [
    (note_the_payload, "the log"),
    (log_what_an_exception_says, "the log"),
    (quote_the_value_that_is_wrong, "the 400 to POST /v1/jobs as service"),
    (answer_with_what_an_exception_says, "the 500 to POST /v1/jobs"),
    (keep_what_stripe_says, "as service"),
    (keep_what_ses_says, "the 200 to GET /v1/jobs?"),
    (keep_what_twilio_says, "the 200 to GET /v1/jobs?"),
    (log_what_a_phone_says, "the log"),
    (put_data_in_a_message, "the queues"),
    (audit_a_person, "the audit log"),
    (show_a_service_the_data, "as service"),
    (list_the_data, "the 200 to GET /v1/jobs?"),
    (list_the_money_to_everybody, "as user"),
    (count_under_an_address, "the counts of the callers"),
    (count_a_path, "the counters"),
    (keep_whom_an_erasure_is_about, "the operations"),
    (tell_who_is_on_call_about_whom, "the alerts"),
    (trace_the_payload, "the traces"),
]


@pytest.mark.parametrize(("plant", "place"), PLANTS, ids=[plant.__name__ for plant, _ in PLANTS])
def test_a_leak_that_is_planted_is_found(
    house: House, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], place: str
) -> None:
    plant(monkeypatch)
    found = house.go()
    assert any(place in each for each in found), found[:5]

"""Requests full of canaries, and the places where none of them may ever be found.

A canary is a piece of a caller's data that nobody would write by chance. The same walk goes over the fakes and
over the real adapters; what each of them keeps and says is searched afterwards.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from chalice.test import Client, HTTPResponse
from twilio.request_validator import RequestValidator

from chalicelib.domain.jobtype import JobType, Work
from chalicelib.domain.outcome import Outcome
from chalicelib.domain.providers import Providers
from chalicelib.jobtypes import discover
from chalicelib.service.read import OPERATORS
from tests.front import OTHER, OWN, SECRET

MARK = "qzxcanary"
MAIL, PHONE, CARD, AMOUNT = f"{MARK}@example.com", "+4915155500199", "4000056655665556", 73_219_045
NAME = f"Ada {MARK.title()}"
PERSON = f"{NAME}, {MAIL}, {PHONE}, {CARD}"
NEEDLES = (MARK, PHONE[1:], CARD, str(AMOUNT))
STRIPE_KEY = f"sk_test_{MARK}"

PAYMENT: Mapping[str, Any] = {
    "amount": AMOUNT,
    "currency": "EUR",
    "customerId": f"cus_{MARK}",
    "eventId": f"event-{MARK}",
    "paymentMethod": f"pm_{MARK}",
    "orderId": f"order-{MARK}",
    "description": PERSON,
}
MAILING: Mapping[str, Any] = {
    "to": MAIL,
    "template": "order_confirmation",
    "data": {"customerName": NAME, "seats": PERSON, "supportEmail": MAIL, "orderId": f"order-{MARK}"},
    "subject": f"For {PERSON}",
    "replyTo": MAIL,
}
TEXTING: Mapping[str, Any] = {"to": PHONE, "message": f"For {PERSON}"}
TEXT_BY_TEMPLATE: Mapping[str, Any] = {"to": PHONE, "template": "order_confirmation", "data": MAILING["data"]}
TWILIO: Mapping[str, str] = {
    "TWILIO_ACCOUNT_SID": f"AC{0:032x}",
    "TWILIO_AUTH_TOKEN": f"twilio_{MARK}",
    "TWILIO_PHONE": "+15005550006",
    "PUBLIC_BASE_URL": "https://queue.example",
}
TICKET: Mapping[str, Any] = {
    "eventId": f"event-{MARK}",
    "ticketId": f"ticket-{MARK}",
    "walletAddress": "7v91N7iZ9mNicL8WfG6cgSCKyRXydQjLh6UYBWwm6y1Q",
    "metadata": {
        "name": f"For {PERSON}"[:64],
        "uri": f"https://{MARK}.example/1.json",
        "attributes": {"holder": NAME},
    },
}
CALLBACK = f"https://{MARK}.example/done?who={MARK}"
HOOK: Mapping[str, Any] = {
    "url": f"https://hooks.example/{MARK}",
    "event": "order.paid",
    "eventId": f"evt-{MARK}",
    "payload": {"who": PERSON, "amount": AMOUNT},
}
REST: Mapping[str, Any] = {
    "options": {"attempts": 1},
    "onBehalfOf": {"venueId": OWN, "userId": "user-1"},
    "callbackUrl": CALLBACK,
}
# What the stand-ins make of a payment: it goes through, or Stripe's refusal quotes what was sent.
PAYMENTS: Sequence[Mapping[str, Any]] = (
    PAYMENT,
    {**PAYMENT, "customerId": f"cus_missing_{MARK}"},
    {**PAYMENT, "paymentMethod": f"pm_missing_{MARK}"},
    {**PAYMENT, "paymentMethod": "pm_card_chargeDeclinedInsufficientFunds"},
    {**PAYMENT, "paymentMethod": "pm_card_authenticationRequired"},
)
RETRIES: Sequence[Mapping[str, Any]] = (
    {"paymentIntentId": f"pi_{MARK}", "paymentMethod": f"pm_{MARK}"},
    {"paymentIntentId": f"pi_missing_{MARK}", "paymentMethod": "pm_card_visa"},
)
PAYOUTS: Sequence[Mapping[str, Any]] = (
    {"amount": AMOUNT, "currency": "EUR", "period": f"2026-{MARK}", "destination": f"acct_{MARK}"},
    {"amount": AMOUNT, "currency": "EUR", "payoutId": PERSON},
    {"amount": AMOUNT, "currency": "EUR", "period": PERSON, "destination": f"acct_missing_{MARK}"},
)
SCHEDULE: Mapping[str, Any] = {
    "name": "Every night",
    "cronExpression": "30 2 * * *",
    "timeZone": "Europe/Berlin",
    "job": {"type": "payment.process", "data": PAYMENT, "venueId": OWN},
}
CLUMSY = "test.clumsy"  # a job type whose work breaks, with the payload in what it says


def types() -> dict[str, JobType]:
    """Return the job types that there are, and one that breaks."""
    found = dict(discover())

    def breaks(work: Work, _: Providers) -> Outcome:
        raise ValueError(f"cannot make anything of {dict(work.data)}")

    return {**found, CLUMSY: replace(found["email.send"], name=CLUMSY, aliases=(), run=breaks)}


@dataclass(frozen=True)
class Answer:
    """What a request was answered with, and whether the caller may see in it what it has sent."""

    asked: str
    status: int
    text: str
    shows: bool


@dataclass
class Walk:
    """All that can be asked of the service, with canaries in it.

    `token` signs for a role; `consume` lets every consumer take what there is; `broken` makes the tables fail
    in words that hold a canary.
    """

    client: Client
    token: Callable[[str], str]
    consume: Callable[[], None]
    broken: Callable[[], AbstractContextManager[None]]
    answers: list[Answer] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)  # of endpoints

    def go(self) -> None:
        """Ask all of it."""
        jobs = self._submit()
        self.consume()
        self._read(jobs)
        self._steer(jobs)
        self.consume()
        self._batches()
        self._schedules()
        self._endpoints()
        self._controls()
        self._operations()
        self._texts_of_a_phone()
        self._bad_bodies()
        self._bad_tokens()
        self._bad_questions()
        with self.broken():
            self._ask_everything_once(jobs[0])
        self.consume()
        self._read(jobs)

    def ask(
        self, method: str, path: str, body: Any = None, *, role: str = "service", **headers: str
    ) -> HTTPResponse:
        """Send a request and keep what was answered; a body that is not bytes goes as JSON."""
        if "Authorization" not in headers:
            token = self.token(role)
            self.tokens.add(token)
            headers["Authorization"] = f"Bearer {token}"
        sent = {"Content-Type": "application/json", **{n.replace("_", "-"): v for n, v in headers.items()}}
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = self.client.http.request(method, path, headers=sent, body=raw)
        told = f"{answer.body.decode()} {json.dumps(dict(answer.headers))}"
        if role in OPERATORS:  # their lists tell the sums that jobs are about, and nothing else of their data
            told = told.replace(f'"amount":{AMOUNT}', '"amount":"told"')
        shows = answer.status_code < 400 and _shows_data(method, path, role)
        self.answers.append(Answer(f"{method} {path} as {role}", answer.status_code, told, shows))
        return answer

    def _submit(self) -> list[str]:
        bodies = [{"type": "payment.process", "data": data, **REST} for data in PAYMENTS]
        bodies += [{"type": "payment.retry", "data": data, **REST} for data in RETRIES]
        bodies += [{"type": "payment.payout", "data": data, **REST} for data in PAYOUTS]
        bodies += [{"type": "webhook.deliver", "data": HOOK, **REST}]
        bodies += [
            {"type": "ticket.mint", "data": data, **REST}
            for data in (TICKET, {**TICKET, "ticketId": "t", "walletAddress": f"{MARK}{MARK}{MARK}{MARK}"})
        ]
        bodies += [{"type": name, "data": MAILING, **REST} for name in ("email.send", "email", CLUMSY)]
        bodies += [{"type": "sms.send", "data": data, **REST} for data in (TEXTING, TEXT_BY_TEMPLATE)]
        large = {**MAILING, "data": {**MAILING["data"], "reason": f"{PERSON} " * 20}}
        bodies += [{"type": "email.send", "data": large, **REST}]
        bodies += [{**bodies[0], "options": {"delay": 3_600_000}}, {**bodies[-1], "options": {"delay": 1}}]
        made = [
            self.ask("POST", "/v1/jobs", body, Idempotency_Key=f"key-{MARK}-{number}")
            for number, body in enumerate(bodies)
        ]
        assert {answer.status_code for answer in made} == {201}
        for body in (bodies[0], {**bodies[0], "data": PAYMENTS[1]}):
            self.ask("POST", "/v1/jobs", body, Idempotency_Key=f"key-{MARK}-0")
        return [str(answer.json_body["jobId"]) for answer in made]

    def _read(self, jobs: Sequence[str]) -> None:
        for role in ("user", "venue_admin", "service", "admin"):
            for job in jobs:
                self.ask("GET", f"/v1/jobs/{job}", role=role)
            for asked in (f"venueId={OWN}", f"venueId={OWN}&state=failed", f"venueId={OWN}&state=parked"):
                self.ask("GET", f"/v1/jobs?{asked}", role=role)
            key = f"type=payment.process&key={quote(f'key-{MARK}-0')}"
            self.ask("GET", f"/v1/jobs?venueId={OWN}&{key}", role=role)
        for path in ("/v1/queues/money/dead-letters", "/v1/queues/communication/dead-letters", "/v1/audit"):
            self.ask("GET", path, role="admin")
        for path in ("/v1/queues", "/v1/rate-limits", "/v1/schedules", "/health", "/ready"):
            self.ask("GET", path, role="admin")

    def _steer(self, jobs: Sequence[str]) -> None:
        why = {"reason": "An operator wants it."}
        for job in jobs:
            self.ask("POST", f"/v1/jobs/{job}/promote", why, role="admin")
            self.ask("POST", f"/v1/jobs/{job}/resolve", {**why, "resolution": "failed"}, role="admin")
            self.ask("DELETE", f"/v1/jobs/{job}", why, role="venue_admin")
            copy = {**why, "data": {"description": PERSON}, "idempotencyKey": f"clone-{MARK}-{job}"}
            self.ask("POST", f"/v1/jobs/{job}/clone", copy, role="venue_admin")
            self.ask("POST", f"/v1/jobs/{job}/retry", why, role="admin")
            self.ask("POST", f"/v1/jobs/{job}/retry", {"reason": 1, "queue": MARK}, role="admin")
            self.ask("POST", f"/v1/jobs/{job}/retry", why, role="user")

    def _batches(self) -> None:
        good = {"type": "payment.process", "data": PAYMENT, "onBehalfOf": {"venueId": OWN}}
        jobs = [
            {**good, "idempotencyKey": f"batch-{MARK}-1"},
            {**good, "idempotencyKey": f"batch-{MARK}-1", "data": {**PAYMENT, "orderId": f"other-{MARK}"}},
            {**good, "data": {**PAYMENT, "amount": MARK}},
            {"type": "email.send", "data": {**MAILING, "to": f"no address {MARK}"}},
        ]
        for part in (jobs, jobs[:1], jobs[2:]):
            for together in (True, False):
                self.ask("POST", "/v1/jobs/batch", {"jobs": part, "options": {"stopOnError": together}})

    def _schedules(self) -> None:
        made = self.ask("POST", "/v1/schedules", SCHEDULE, role="admin", Idempotency_Key=f"sch-{MARK}")
        path = f"/v1/schedules/{made.json_body['id']}"
        self.ask("GET", "/v1/schedules", role="admin")
        self.ask("PUT", path, {**SCHEDULE, "active": False}, role="admin")
        self.ask("POST", f"{path}/run", role="admin", Idempotency_Key=f"run-{MARK}")
        for body in ({**SCHEDULE, "cronExpression": f"{MARK} * * * *"}, *_spoiled(SCHEDULE)):
            self.ask("POST", "/v1/schedules", body, role="admin")
            self.ask("PUT", path, body, role="admin")
        self.ask("DELETE", path, role="admin")

    def _endpoints(self) -> None:
        said = {"url": HOOK["url"], "description": f"Of {PERSON}"}
        made = self.ask("POST", "/v1/endpoints", said, role="venue_admin").json_body
        path = f"/v1/endpoints/{made['id']}"
        rotated = self.ask("POST", f"{path}/rotate-secret", role="venue_admin").json_body
        default = self.ask("POST", "/v1/endpoints/default/rotate-secret", role="venue_admin").json_body
        self.secrets |= {each["secret"].removeprefix("whsec_") for each in (made, rotated, default)}
        to_it = {name: value for name, value in HOOK.items() if name != "url"} | {"endpointId": made["id"]}
        self.ask("POST", "/v1/jobs", {"type": "webhook.deliver", "data": to_it, **REST})
        self.ask("POST", f"{path}/test", role="venue_admin")
        for asked in (path, "/v1/endpoints", f"/v1/endpoints/{MARK}", f"/v1/endpoints?cursor={MARK}"):
            self.ask("GET", asked, role="venue_admin")
        for body in _spoiled(said):
            self.ask("POST", "/v1/endpoints", body, role="venue_admin")
            self.ask("PUT", path, body, role="venue_admin")
        self.ask("PUT", path, {**said, "url": f"https://other.example/{MARK}"}, role="venue_admin")
        shut = self.ask("POST", "/v1/endpoints", {**said, "active": False}, role="venue_admin").json_body
        self.secrets.add(shut["secret"].removeprefix("whsec_"))
        self.ask("DELETE", f"/v1/endpoints/{shut['id']}", role="venue_admin")

    def _controls(self) -> None:
        why = {"reason": "Trouble at Stripe."}
        for name in ("provider", "type", "scope", "until"):
            self.ask("POST", "/v1/rate-limits/emergency-stop", {**why, name: MARK}, role="admin")
        self.ask("POST", "/v1/rate-limits/emergency-stop", {**why, "provider": "stripe"}, role="admin")
        self.ask("POST", "/v1/rate-limits/resume", {**why, "provider": "stripe"}, role="admin")
        self.ask("POST", "/v1/queues/money/pause", {**why, "until": MARK}, role="admin")
        self.ask("PUT", "/v1/rate-limits/stripe", {"maxPerSecond": MARK}, role="admin")
        self.ask("POST", "/v1/rate-limits/stripe/reset", why, role="admin")
        self.ask("GET", f"/v1/rate-limits/{MARK}", role="admin")

    def _operations(self) -> None:
        key = {"venueId": OWN, "type": "payment.process", "state": "failed"}
        bulk = {"mode": "preview", "action": "retry", "filter": key, "reason": "An operator wants it."}
        erase = {"mode": "preview", "venueId": OWN, "address": MAIL, "reason": "She asked for it."}
        redrive = {"mode": "preview", "reason": "An operator wants it."}
        for path, body in (
            ("/v1/jobs/bulk", bulk),
            ("/v1/erasures", erase),
            ("/v1/queues/communication/redrive", redrive),
        ):
            begun = self.ask("POST", path, body, role="admin")
            self.ask("GET", f"/v1/operations/{begun.json_body.get('operationId')}", role="admin")
            for wrong in (*_spoiled(body), {**body, "filter": {"state": MARK, "from": PERSON}}):
                self.ask("POST", path, wrong, role="admin")
        self.ask("GET", "/v1/operations", role="admin")
        self.ask("GET", f"/v1/operations/{MARK}", role="admin")

    def _texts_of_a_phone(self) -> None:
        """Tell, as Twilio, what becomes of texts and what a phone texts us; once not signed by it."""
        url = f"{TWILIO['PUBLIC_BASE_URL']}/v1/callbacks/twilio"
        told = {"MessageStatus": PERSON, "MessageSid": PHONE, "To": PHONE, "ErrorCode": MAIL}
        for form in (told, {"From": PHONE, "Body": f"I am {PERSON}"}, {"From": PHONE, "Body": "STOP"}):
            made = RequestValidator(TWILIO["TWILIO_AUTH_TOKEN"]).compute_signature(url, form)
            for signature in (made, MARK):
                self.ask(
                    "POST",
                    "/v1/callbacks/twilio",
                    urlencode(form).encode(),
                    Content_Type="application/x-www-form-urlencoded",
                    X_Twilio_Signature=signature,
                )
        self.ask("POST", "/v1/jobs", {"type": "sms.send", "data": TEXTING, **REST})
        self.ask("GET", "/v1/suppressions?channel=sms", role="admin")

    def _bad_bodies(self) -> None:
        samples = (
            (PAYMENT, "payment.process"),
            (MAILING, "email.send"),
            (TEXTING, "sms.send"),
            (HOOK, "webhook.deliver"),
        )
        for data, name in samples:
            for body in _spoiled({"type": name, "data": data, **REST, "idempotencyKey": f"bad-{MARK}"}):
                self.ask("POST", "/v1/jobs", body)
        whole = json.dumps({"type": "payment.process", "data": PAYMENT})
        for text in (
            whole[:-1],
            whole.replace(str(AMOUNT), "NaN"),
            whole.replace(str(AMOUNT), f"{AMOUNT}e999"),
            whole.replace('"EUR"', f'"\\ud800{MARK}"'),
            whole.replace("{", f'{{"{PERSON}": 1, "{PERSON}": 2, ', 1)[:-1],
            f'{{"a": {"[" * 50}"{PERSON}"{"]" * 50}}}',
            json.dumps(PERSON),
            whole.replace(CARD, CARD * 20_000),
        ):
            self.ask("POST", "/v1/jobs", text.encode())
        self.ask("POST", "/v1/jobs", whole.encode() + b"\xff")
        self.ask("POST", "/v1/jobs", whole.encode(), Content_Type="text/plain")
        for key in (f"other-{MARK}", f"{MARK} ", f"{MARK}\u00fc", MARK * 40):
            self.ask("POST", "/v1/jobs", {"idempotencyKey": f"one-{MARK}"}, Idempotency_Key=key)

    def _bad_tokens(self) -> None:
        good = self.token("admin")
        self.tokens.add(good)
        head, claims, signature = good.split(".")
        for header in (
            MARK,
            f"Basic {MARK}",
            f"Bearer {MARK}.{MARK}.{MARK}",
            f"Bearer {head}.{claims}.{MARK}",
            f"Bearer {head}.{MARK}.{signature}",
            f"Bearer {good} {MARK}",
            f"bearer {MARK * 600}.a.b",
        ):
            self.ask("GET", "/v1/jobs/job_1", Authorization=header)
        for signature in (f"t=1,v1={MARK}", f"{MARK}", ""):
            self.ask("POST", "/v1/callbacks/stripe", {"who": PERSON}, Stripe_Signature=signature)

    def _bad_questions(self) -> None:
        for path in (
            f"/v1/jobs/{MARK}",
            f"/v1/jobs/{quote(PERSON, safe='')}",
            f"/v1/jobs/job_1?queue={MARK}",
            *(f"/v1/jobs?{name}={quote(PERSON)}" for name in ("state", "from", "cursor", "limit", "type")),
            f"/v1/audit?from={MARK}",
            f"/v1/queues/{MARK}/dead-letters",
            f"/v1/schedules/{MARK}",
            f"/v1/schedules?cursor={MARK}",
        ):
            self.ask("GET", path, role="admin")

    def _ask_everything_once(self, job: str) -> None:
        payment = {"type": "payment.process", "data": PAYMENT, **REST, "idempotencyKey": f"late-{MARK}"}
        self.ask("POST", "/v1/jobs", payment)
        for together in (True, False):
            self.ask("POST", "/v1/jobs/batch", {"jobs": [payment], "options": {"stopOnError": together}})
        self.ask("GET", f"/v1/jobs/{job}")
        self.ask("GET", f"/v1/jobs?venueId={OTHER}")
        for action in ("retry", "promote", "clone"):
            self.ask("POST", f"/v1/jobs/{job}/{action}", role="admin")
        self.ask("DELETE", f"/v1/jobs/{job}", role="admin")
        self.ask("POST", "/v1/schedules", SCHEDULE, role="admin")
        self.ask("POST", "/v1/endpoints", {"url": HOOK["url"]}, role="venue_admin")
        self.ask("POST", "/v1/endpoints/default/rotate-secret", role="venue_admin")
        self.ask("POST", "/v1/rate-limits/emergency-stop", {"reason": "x", "type": "email"}, role="admin")
        self.ask("GET", "/v1/audit", role="admin")
        self.ask("GET", "/health")
        self.consume()


def _shows_data(method: str, path: str, role: str) -> bool:
    """Whether an answer is the whole of a job or a schedule, to one who may see it."""
    if path.startswith("/v1/endpoints"):
        return not path.endswith("/test")
    if path.startswith("/v1/schedules"):
        return not path.endswith("/run") and (method, path) != ("GET", "/v1/schedules")
    return method == "GET" and path.startswith("/v1/jobs/") and role != "service"


def _spoiled(body: Mapping[str, Any]) -> Iterator[Any]:
    """Give a body once with a canary in the place of each of its values, and once in the place of its parts."""
    for name, value in body.items():
        if isinstance(value, Mapping):
            for part in _spoiled(value):
                yield {**body, name: part}
        yield {**body, name: [PERSON]}
        if name != "name":  # a schedule's name is not a person's, and stands in lists
            yield {**body, name: f"{PERSON}\u0000"}


def leaks(places: Mapping[str, str], walk: Walk) -> list[str]:
    """Return where canaries are found: in what was answered, and in the places given by name."""
    answers = [answer for answer in walk.answers if not answer.shows]
    told = [(f"the {answer.status} to {answer.asked}", answer.text) for answer in answers]
    needles = [
        *NEEDLES,
        SECRET,
        *walk.secrets,
        *(part for token in walk.tokens for part in token.split(".")[1:]),
    ]
    return [
        f"{place}: …{text[max(at - 60, 0) : at + 40]}…"
        for place, text in (*places.items(), *told)
        for needle in needles
        if (at := text.lower().find(needle.lower())) >= 0
    ]

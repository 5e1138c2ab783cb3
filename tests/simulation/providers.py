"""One provider of each effect class, true to what its kind promises, with a ledger of what really happened.

A provider is where invariant 8 is watched: it knows whether an effect is in doubt, and sees every repetition.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from chalicelib.domain.endpoint import EndpointStore
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.minting import OnChain, SignedMint, Standing, Ticket
from chalicelib.domain.notice import DELIVERY
from chalicelib.domain.outcome import Completed, HeldBack, Outcome, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import (
    AnalyticsEvent,
    Begun,
    Fulfillment,
    Hook,
    HookAnswer,
    Intent,
    Mail,
    Money,
    PaymentOrder,
    Payout,
    PayoutOrder,
    Providers,
    Refund,
    RefundOrder,
    SentSms,
    Sms,
    Transaction,
)
from chalicelib.domain.quiet import QuietHours
from chalicelib.jobtypes import discover
from tests.fakes_endpoints import MemoryEndpointStore
from tests.simulation.world import HOUR, MINUTE, SECOND, Process, World

CALL = timedelta(seconds=10)
KEY_LIFE = 24 * HOUR
VALID_FOR = 90 * SECOND


class Violation(BaseException):
    """An invariant does not hold; no broad catch of the code under test may swallow it."""


@dataclass
class Provided:
    """What the providers remember between calls, whoever makes them."""

    world: World
    leased: Callable[[JobId], bool]  # whether a claim holds the job at this moment
    effects: dict[JobId, list[int]] = field(default_factory=dict)  # when each took place
    ids: dict[JobId, set[str]] = field(default_factory=dict)  # what each was known by to its receiver
    pending_effects: dict[JobId, int] = field(default_factory=dict)  # until when one may still take place
    doubts: dict[JobId, str] = field(default_factory=dict)  # the key under which an effect is in doubt
    doubts_since: dict[JobId, int] = field(default_factory=dict)
    forbidden: dict[JobId, int] = field(default_factory=dict)  # cancelled: no call may start
    intents: dict[str, "SimIntent"] = field(default_factory=dict)
    keys: dict[str, "Answer"] = field(default_factory=dict)
    endpoints: MemoryEndpointStore = field(default_factory=MemoryEndpointStore)
    quiet_hours: QuietHours | None = None  # of the venue
    held: set[tuple[JobId, int]] = field(default_factory=set)  # jobs and fences of runs that were held back

    def effect(self, job_id: JobId, known_by: str) -> None:
        """Let an effect happen."""
        self.world.note("provider", f"$ effect for {job_id} as {known_by}")
        self.effects.setdefault(job_id, []).append(self.world.now)
        self.ids.setdefault(job_id, set()).add(known_by)

    def starts(self, job_id: JobId, key: str, effect_class: EffectClass, *, replays: bool = False) -> None:
        """Watch a call that may have an effect start: invariants 5 and 8. A replay has none."""
        self.world.note("provider", f"call for {job_id} under {key}")
        if job_id in self.forbidden:
            raise Violation(f"5: a call for {job_id} started after it was cancelled")
        if not self.leased(job_id):
            raise Violation(f"3: a call for {job_id} started when its claim had run out")
        doubt = self.doubts.get(job_id)
        if doubt is None or replays or effect_class is EffectClass.RECEIVER_DEDUPS:
            return
        if effect_class is EffectClass.KEYED and doubt == key:
            answer = self.keys.get(key)
            if answer is not None and self.world.now < answer.at + KEY_LIFE:
                return
            if answer is None and self.world.now < self.doubts_since[job_id] + KEY_LIFE:
                return
        raise Violation(f"8: {job_id} was repeated although an effect is in doubt")

    def doubts_effect(self, job_id: JobId, key: str, until: int) -> None:
        """Remember that nobody knows, until a look-up after `until` or a definitive answer."""
        self.doubts[job_id] = key
        self.doubts_since[job_id] = self.world.now
        self.pending_effects[job_id] = max(until, self.pending_effects.get(job_id, 0))

    def nothing_new(self, job_id: JobId, earlier: str | None) -> None:
        """Take back the doubt of a call that was turned away; an earlier one stays."""
        if earlier is None:
            self.doubts.pop(job_id, None)
            self.doubts_since.pop(job_id, None)

    def is_charged(self, intent_id: str | None) -> bool:
        """Say whether an intent that jobs may name has been charged, whichever job it was."""
        intent = self.intents.get(intent_id or "")
        return intent is not None and intent.status == "succeeded"

    def certain(self, job_id: JobId) -> None:
        """Forget a doubt that a definitive answer or a look-up has cleared."""
        if self.pending_effects.get(job_id, 0) <= self.world.now:
            self.doubts.pop(job_id, None)
            self.doubts_since.pop(job_id, None)

    def may_still_happen(self, job_id: JobId) -> bool:
        """Say whether an effect of this job may still take place by itself."""
        return self.pending_effects.get(job_id, 0) > self.world.now


@dataclass
class SimIntent:
    """A PaymentIntent in the provider's books, a refund or a payout."""

    id: str
    job_id: JobId  # that made it; others may charge it
    order: PaymentOrder | RefundOrder | PayoutOrder  # all but the first are made at once, or are no object
    status: str
    error: str | None = None
    answer: Any = None


@dataclass
class Answer:
    """What is stored under a key: an intent's id, a decline or a 500; None while the call is under way."""

    at: int
    kind: str | None
    intent: str | None = None


class Caller:
    """One process's way to a provider; check and start are one step."""

    def __init__(self, process: Process, provided: Provided) -> None:
        self.process = process
        self.world = process.world
        self.provided = provided

    def start(self, deadline: datetime) -> str | None:
        """Begin a call that may have an effect; return the trouble that it will run into, if any."""
        world = self.world
        self.process.before("provider call")
        if self.process.now() + CALL > deadline:
            raise NotSent("no_time_left", "The call could not end before the deadline.")
        if not world.strikes("provider"):
            return None
        trouble = (world.aim and world.aim.trouble) or world.chance.choice(
            ("refused", "busy", "failed", "stored 500", "lost before", "lost after", "late", "late")
        )
        world.note("provider", f"! {trouble}")
        if trouble == "refused":
            raise NotSent("connection_refused", "Nobody listens there.")
        return trouble

    def read(self, deadline: datetime) -> None:
        """Begin a call that only reads."""
        world = self.world
        self.process.before("provider read")
        if self.process.now() + CALL > deadline or world.strikes("provider"):
            raise NotSent("connection_refused", "Nobody listens there.")

    def end(self) -> None:
        """Wait for the reply; the process may die meanwhile."""
        self.world.wait(self.process, self.world.chance.choice((5, 50, 3 * SECOND)))
        self.process.after("provider call")

    def time_out(self) -> None:
        """Wait for a reply that does not come."""
        self.world.wait(self.process, round(CALL / timedelta(milliseconds=1)))
        if self.world.strikes("hang"):
            self.process.crash("while the provider does not answer")
        self.process.after("provider call")


class SimPayments(Caller):
    """Payments, as the port has it: intents, keys that replay what was stored, listing."""

    def create(self, order: PaymentOrder, *, key: str, deadline: datetime) -> Intent:
        def make() -> SimIntent:
            intent = SimIntent(f"pi_{len(self.provided.intents) + 1}", order.job_id, order, "new")
            self.provided.intents[intent.id] = intent
            return intent

        return self._keyed(order.job_id, key, deadline, make)

    def known(self, intent_id: str, *, deadline: datetime) -> Intent:
        raise AssertionError("Only a retry names an intent; see SimRetries.")

    def confirm(self, intent_id: str, payment_method: str, *, key: str, deadline: datetime) -> Intent:
        intent = self.provided.intents[intent_id]
        return self._keyed(intent.job_id, key, deadline, lambda: intent)

    def cancel(self, intent_id: str, *, key: str, deadline: datetime) -> Intent:
        self.start(deadline)
        intent = self.provided.intents[intent_id]
        if intent.status != "succeeded":
            intent.status = "canceled"
            self.provided.pending_effects.pop(intent.job_id, None)
        self.end()
        return _told(intent)

    def retrieve(self, intent_id: str, *, deadline: datetime) -> Intent:
        self.read(deadline)
        intent = self.provided.intents[intent_id]
        self._looked_up(intent.job_id, intent)
        return _told(intent)

    def find(self, customer: str, job_id: JobId, *, since: datetime, deadline: datetime) -> Intent | None:
        self.read(deadline)
        found = [intent for intent in self.provided.intents.values() if intent.job_id == job_id]
        self._looked_up(job_id, found[0] if found else None)
        return _told(found[0]) if found else None

    def transaction(self, transaction_id: str, *, deadline: datetime) -> Transaction:
        self.read(deadline)
        return Transaction(transaction_id, "EUR", None)

    def refund(self, order: RefundOrder, *, key: str, deadline: datetime) -> Refund:
        made = self._made_at_once(order, key, deadline)
        return Refund(made.id, made.status)

    def find_refund(self, transaction_id: str, job_id: JobId, *, deadline: datetime) -> Refund | None:
        found = self._find(job_id, deadline)
        return Refund(found.id, found.status) if found else None

    def pay_out(self, order: PayoutOrder, *, key: str, deadline: datetime) -> Payout:
        made = self._made_at_once(order, key, deadline)
        return Payout(made.id, made.status)

    def find_payout(self, order: PayoutOrder, *, since: datetime, deadline: datetime) -> Payout | None:
        found = self._find(order.job_id, deadline)
        return Payout(found.id, found.status) if found else None

    def _made_at_once(self, order: RefundOrder | PayoutOrder, key: str, deadline: datetime) -> Intent:
        def make() -> SimIntent:
            made = SimIntent(f"once_{len(self.provided.intents) + 1}", order.job_id, order, "new")
            self.provided.intents[made.id] = made
            return made

        return self._keyed(order.job_id, key, deadline, make)

    def _find(self, job_id: JobId, deadline: datetime) -> SimIntent | None:
        """Look through what is made at once for that of a job; what was declined is no object."""
        self.read(deadline)
        of_job = [each for each in self.provided.intents.values() if each.job_id == job_id]
        found = next((each for each in of_job if each.status == "succeeded"), None)
        self._looked_up(job_id, found)
        return found

    def _looked_up(self, job_id: JobId, intent: SimIntent | None) -> None:
        """A look-up is definitive about an intent that is there; absence counts only after five minutes."""
        since = self.provided.doubts_since.get(job_id)
        old_enough = since is None or self.world.now >= since + 5 * MINUTE - 5 * SECOND
        if old_enough or intent is not None:
            self.provided.certain(job_id)

    def _keyed(self, job_id: JobId, key: str, deadline: datetime, make: Callable[[], SimIntent]) -> Intent:
        provided, world = self.provided, self.world
        trouble = self.start(deadline)
        earlier = provided.doubts.get(job_id)
        stored = provided.keys.get(key)
        if stored is not None and world.now >= stored.at + KEY_LIFE:
            stored = None
        provided.starts(job_id, key, EffectClass.KEYED, replays=stored is not None and stored.kind is not None)
        if stored is None or stored.kind is None:
            provided.doubts_effect(job_id, key, world.now)  # what is only replayed makes nothing new
        if trouble == "busy":
            self.end()
            provided.nothing_new(job_id, earlier)
            raise TurnedAway("rate_limited", "Too many requests.")
        if trouble == "lost before":
            self.time_out()
            raise Ambiguous("timeout", "No answer.")
        if stored is not None and stored.kind is None:
            self.end()
            provided.nothing_new(job_id, earlier)
            raise TurnedAway("idempotency_key_in_use", "A request with this key is under way.")
        replayed = stored is not None
        if stored is None:
            stored = Answer(world.now, None)
            provided.keys[key] = stored
            if trouble == "late":
                # The request lies somewhere on the way and is carried out after its sender has given up.
                until = world.now + world.chance.choice((12 * SECOND, 70 * SECOND, 4 * MINUTE))
                provided.doubts_effect(job_id, key, until)
                world.at(until - 1, lambda: self._carry_out(stored, job_id, make, None))
                self.time_out()
                raise Ambiguous("timeout", "No answer.")
            self._carry_out(stored, job_id, make, trouble)
        if trouble in ("lost after", "late"):
            self.time_out()
            raise Ambiguous("timeout", "No answer.")
        self.end()
        if trouble == "failed" or stored.kind == "500":
            raise Ambiguous("server_error", "The provider failed.", replayed=replayed and stored.kind == "500")
        provided.certain(job_id)
        intent = provided.intents[cast(str, stored.intent)]
        if stored.kind == "unexpected":
            raise TurnedAway("payment_intent_unexpected_state", "The payment has moved on since it was read.")
        if stored.kind == "declined":
            raise Declined("card_declined", "The card was declined.", handle=intent.id)
        return _told(intent) if not replayed else replace(_told(intent), status=cast(str, stored.kind))

    def _carry_out(
        self, answer: Answer, job_id: JobId, make: Callable[[], SimIntent], trouble: str | None
    ) -> None:
        """Do what was asked, once, and store the answer under the key."""
        world = self.world
        if trouble == "stored 500" and world.chance.random() < 0.5:
            answer.kind = "500"
            return
        intent = make()
        answer.intent = intent.id
        if intent.status in ("succeeded", "canceled"):
            answer.kind = "succeeded" if intent.status == "succeeded" else "declined"
            return
        if intent.status == "processing":
            answer.kind = "unexpected"  # somebody else has it charged at this moment
            return
        draw = world.fate()
        if draw < 0.15:
            intent.status, intent.error, answer.kind = "requires_payment_method", "card_declined", "declined"
        elif not isinstance(intent.order, PaymentOrder):
            intent.status = answer.kind = "succeeded"
            self.provided.effect(job_id, intent.id)
        elif draw < 0.25:
            intent.status = answer.kind = "processing"
            self._later(intent, job_id, world.chance.choice((30 * SECOND, 8 * MINUTE, 70 * MINUTE)))
        elif draw < 0.28:
            intent.status = answer.kind = "requires_action"
            if world.chance.random() < 0.9:
                self._later(intent, job_id, world.chance.choice((2 * MINUTE, 50 * MINUTE)))
        else:
            intent.status = answer.kind = "succeeded"
            self.provided.effect(job_id, intent.id)
        if trouble == "stored 500":
            answer.kind = "500"

    def _later(self, intent: SimIntent, job_id: JobId, after: int) -> None:
        """Let a payment that a job has begun, and that takes its time, come to an end."""

        def end() -> None:
            if intent.status not in ("processing", "requires_action"):
                return
            if self.world.chance.random() < 0.7:
                intent.status = "succeeded"
                self.provided.effect(job_id, intent.id)
            else:
                intent.status, intent.error = "requires_payment_method", "card_declined"

        until = self.world.now + after
        self.provided.pending_effects[job_id] = until + 1
        self.world.at(until, end)


class SimRetries(SimPayments):
    """Payments as a retry meets them: of intents that another job has made, which others may retry, too."""

    def __init__(self, process: Process, provided: Provided, job_id: JobId) -> None:
        super().__init__(process, provided)
        self.job_id = job_id

    def known(self, intent_id: str, *, deadline: datetime) -> Intent:
        self.read(deadline)
        intent = self._intent(intent_id)
        self._looked_up(self.job_id, intent)
        return _told(intent)

    def confirm(self, intent_id: str, payment_method: str, *, key: str, deadline: datetime) -> Intent:
        intent = self._intent(intent_id)
        return self._keyed(self.job_id, key, deadline, lambda: intent)

    def _intent(self, intent_id: str) -> SimIntent:
        if intent_id not in self.provided.intents:
            maker = JobId(f"maker of {intent_id}")
            order = PaymentOrder(maker, Money(4500, "EUR"), "cus_1", "pm_1", None, {})
            declined = SimIntent(intent_id, maker, order, "requires_payment_method", "card_declined")
            self.provided.intents[intent_id] = declined
        return self.provided.intents[intent_id]


def _told(intent: SimIntent) -> Intent:
    return Intent(
        id=intent.id,
        status=intent.status,
        charge_id="ch_1" if intent.status == "succeeded" else None,
        money=intent.order.money,
        next_action={"type": "use_stripe_sdk"} if intent.status == "requires_action" else None,
        error_code=intent.error,
        error_message="The card was declined." if intent.error else None,
        reference="req_1",
        job_id=intent.job_id,
    )


class SimBlind(Caller):
    """Class C: what has been sent cannot be asked for."""

    def hand_over(self, job_id: JobId, what: str, *, deadline: datetime) -> None:
        trouble = self.start(deadline)
        self.provided.starts(job_id, what, EffectClass.BLIND)
        self.provided.doubts_effect(job_id, what, self.world.now)
        if trouble == "busy":
            self.end()
            self.provided.nothing_new(job_id, None)
            raise TurnedAway("rate_limited", "Too many requests.")
        if trouble is None:
            self.provided.effect(job_id, what)
            self.end()
            self.provided.certain(job_id)
            return
        if trouble in ("lost after", "late", "stored 500"):
            self.provided.effect(job_id, what)
        self.time_out()
        raise Ambiguous("timeout", "No answer.")


class SimMailer(SimBlind):
    """Mail."""

    def send(self, mail: Mail, *, begun: Begun, deadline: datetime) -> str:
        self.hand_over(mail.job_id, "mail", deadline=deadline)
        return "ses-1"


class SimTexts(SimBlind):
    """Texts."""

    def send(self, sms: Sms, *, begun: Begun, deadline: datetime) -> SentSms:
        quiet, now = self.provided.quiet_hours, self.process.now()
        # The hours are looked at before `begun` is written, which may take as long as the invocation.
        if quiet is not None and quiet.until(now) and quiet.until(now - 12 * CALL):
            raise Violation(f"a text of {sms.job_id} went out in the quiet hours of its venue")
        self.hand_over(sms.job_id, "sms", deadline=deadline)
        return SentSms("SM1", "queued", 1, "USD")


class SimChain(Caller):
    """Tickets, as the port has it: what was submitted lands until its last block, or never; it is read back.

    A block is a millisecond.
    """

    def read(self, ticket: Ticket, *, sent: str | None, deadline: datetime) -> OnChain:  # type: ignore[override]  # reads more
        super().read(deadline)
        self.provided.certain(ticket.job_id)
        there = bool(self.provided.effects.get(ticket.job_id))
        standing = Standing.MINTED if there else Standing.ABSENT
        return OnChain(standing, self.world.now, "mint", "account", sent, 1, 10_000)

    def prepare(self, ticket: Ticket, *, deadline: datetime) -> SignedMint:
        super().read(deadline)
        last = self.world.now + VALID_FOR
        return SignedMint(ticket.job_id, "mint", f"signature-{last}", "blockhash", last, b"")

    def submit(self, mint: SignedMint, *, begun: Begun, deadline: datetime) -> None:
        job_id, last = mint.job_id, mint.last_valid_height
        trouble = self.start(deadline)
        self.provided.starts(job_id, "chain", EffectClass.LOOKED_UP)
        self.provided.doubts_effect(job_id, "chain", self.world.now)
        if trouble == "busy":
            self.end()
            self.provided.nothing_new(job_id, None)
            raise TurnedAway("rate_limited", "Too many requests.")
        self.provided.doubts_effect(job_id, "chain", last)
        if trouble in (None, "lost after"):
            self._land(job_id, last)
        elif trouble in ("late", "stored 500"):
            lands = self.world.chance.randrange(self.world.now, max(last, self.world.now + 1))
            self.world.at(lands, lambda: self._land(job_id, last))
        if trouble not in (None, "stored 500"):
            self.time_out()
            raise Ambiguous("timeout", "No answer.")
        self.end()  # a node that has taken it does not know yet whether it will be final

    def _land(self, job_id: JobId, last: int) -> None:
        if self.world.now > last:
            return
        self.provided.effect(job_id, "chain")
        self.provided.pending_effects.pop(job_id, None)


class SimReceiver(Caller):
    """Class D: the receiver takes the same id once, however often it comes."""

    def deliver(self, job_id: JobId, event_id: str, *, deadline: datetime) -> None:
        trouble = self.start(deadline)
        self.provided.starts(job_id, event_id, EffectClass.RECEIVER_DEDUPS)
        if trouble == "busy":
            self.end()
            raise TurnedAway("rate_limited", "Too many requests.")
        if trouble in ("failed", "lost before"):
            self.time_out()
            raise Ambiguous("timeout", "No answer.")
        self.provided.effect(job_id, event_id)
        if trouble is not None:
            self.time_out()
            raise Ambiguous("timeout", "No answer.")
        self.end()


class SimBus(SimReceiver):
    """The bus of analytics events, whose readers take the same id once."""

    def put(self, events: Sequence[AnalyticsEvent], *, deadline: datetime) -> list[str | ProviderError]:
        [event] = events
        try:
            self.deliver(event.job_id, f"event {event.job_id}", deadline=deadline)
        except TurnedAway as error:
            return [error]  # of an entry, not of the call
        return ["event_1"]


class SimOrders(SimReceiver):
    """The order service, which fulfils an order once per key."""

    def fulfill(self, order: Fulfillment, *, key: str, deadline: datetime) -> Mapping[str, Any]:
        self.deliver(order.job_id, key, deadline=deadline)
        return {"status": 201}


class SimHooks(SimReceiver):
    """Whoever a webhook goes to: it takes the same id once, and says nothing when it fails."""

    def post(self, hook: Hook, *, deadline: datetime) -> HookAnswer:
        try:
            self.deliver(JobId(hook.id), hook.id, deadline=deadline)
        except TurnedAway:
            return HookAnswer(429, timedelta(0), timedelta(seconds=7), None)
        return HookAnswer(204, timedelta(0), None, None)


class SimProviders:
    """Every provider, as one process calls it."""

    def __init__(self, process: Process, provided: Provided, endpoints: EndpointStore) -> None:
        self.endpoints = endpoints
        self.hooks = SimHooks(process, provided)
        self.payments = self.payouts = SimPayments(process, provided)
        self.mailer = SimMailer(process, provided)
        self.texts = SimTexts(process, provided)
        self.minter = SimChain(process, provided)
        self.receiver = SimReceiver(process, provided)
        self.analytics = SimBus(process, provided)
        self.orders = SimOrders(process, provided)


# --- the job type of the class that is not built yet


def run_receiver(work: Work, providers: Providers) -> Outcome:
    """Class D, as `webhook.deliver` will do it: repeat with the same id until it is taken."""
    receiver = cast(SimProviders, providers).receiver
    try:
        receiver.deliver(work.job.id, work.key("event"), deadline=work.deadline)
    except TurnedAway as error:
        return _held_back(receiver, work) if receiver.world.chance.random() < 0.5 else outcome_of(error)
    except (Ambiguous, NotSent) as error:
        return outcome_of(error)
    return Completed({"delivered": True})


def _held_back(receiver: Caller, work: Work) -> HeldBack:
    receiver.provided.held.add((work.job.id, work.job.fence))
    seconds = receiver.world.chance.choice((20, 300, 3_000))
    return HeldBack("receiver_busy", timedelta(seconds=seconds))


def run_retry(work: Work, providers: Providers) -> Outcome:
    """Run payment.retry before a provider that knows whose call it is."""
    payments = cast(SimProviders, providers).payments
    retries = SimRetries(payments.process, payments.provided, work.job.id)
    return discover()["payment.retry"].run(work, cast(Providers, SimpleNamespace(payments=retries)))


def noting_held_back(job_type: JobType) -> JobType:
    """Return a job type of which the providers hear when a run of it is held back."""

    def run(work: Work, providers: Providers) -> Outcome:
        outcome = job_type.run(work, providers)
        if isinstance(outcome, HeldBack):
            cast(SimProviders, providers).receiver.provided.held.add((work.job.id, work.job.fence))
        return outcome

    return replace(job_type, run=run)


def _natural(facts: Facts) -> tuple[object, ...]:
    return tuple(sorted(cast(Mapping[str, object], facts.data).items()))


RETRY_PAYMENT = replace(discover()["payment.retry"], run=run_retry)

WEBHOOK = JobType(
    name="sim.webhook",
    aliases=(),
    tier=Tier.BACKGROUND,
    provider="internal",
    effect_class=EffectClass.RECEIVER_DEDUPS,
    schema={},
    natural_key=_natural,
    key_period=timedelta(hours=24),
    retention=timedelta(days=30),
    archive="webhook_archive",
    in_flight=10,
    retry=RETRY["webhook"],
    run=run_receiver,
    run_time=timedelta(seconds=30),
)

DELIVER = noting_held_back(discover()[DELIVERY])  # what notices are

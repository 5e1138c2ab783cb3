"""The alerts over the fakes, on a clock that is moved: what fires, who is told, how often, and until when."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.alerting import Alert, AlertType, Channel, Severity, Word, acknowledged
from chalicelib.domain.controls import Controls
from chalicelib.domain.errors import Ambiguous, NotSent, StoreRefused
from chalicelib.domain.heartbeat import Function
from chalicelib.domain.job import Job, JobId, State, VenueId
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.tally import Measure, Name
from chalicelib.service.monitor import LATE
from tests.factories import a_job
from tests.functional.watch import OVERDUE, Watch

MINUTE = timedelta(minutes=1)
MOMENT = timedelta(milliseconds=1)
DOWN = NotSent("connection_failed", "No connection to Twilio came about.")
CRITICAL, WARNING = Severity.CRITICAL, Severity.WARNING
SUCCESS, FAILURE, REFUSED = (
    Name(each, "payment.process") for each in (Measure.SUCCESS, Measure.FAILURE, Measure.REFUSED)
)


@pytest.fixture
def watch() -> Watch:
    made = Watch()
    made.clock.advance(LATE)
    made.run()  # since when there is a series
    return made


def later(watch: Watch, by: timedelta = MINUTE) -> None:
    """Let the next runs come, one a minute."""
    for _ in range(by // MINUTE):
        watch.clock.advance(MINUTE)
        watch.run()


def standing(watch: Watch) -> list[tuple[AlertType, Severity, Tier]]:
    return sorted((each.type, each.severity, each.tier) for each in watch.book.standing())


def sole(watch: Watch) -> Alert:
    [alert] = watch.book.alerts.values()
    return alert


def words(watch: Watch, channel: Channel) -> list[Word]:
    return [notice.word for notice in getattr(watch.outlets, channel).sent]


def wait(watch: Watch, tier: Tier, count: int) -> None:
    for n in range(count):
        watch.queue.put(tier, Lane.MAIN, f"{n}")


def overdue(tier: Tier, *, age: timedelta) -> Callable[[Watch], None]:
    def come(watch: Watch) -> None:
        due = watch.clock.now() + MINUTE - age  # a minute later is the run
        watch.store.jobs[JobId("old")] = replace(OVERDUE, id=JobId("old"), tier=tier, due=due)

    return come


def ended(**counts: int) -> Callable[[Watch], None]:
    def come(watch: Watch) -> None:
        watch.count({Name(Measure(name), "payment.process"): count for name, count in counts.items()})

    return come


def waiting(tier: Tier, count: int) -> Callable[[Watch], None]:
    return lambda watch: wait(watch, tier, count)


def parked(tier: Tier) -> Callable[[Watch], None]:
    def come(watch: Watch) -> None:
        watch.store.jobs[JobId("p")] = replace(a_job("p"), tier=tier, state=State.PARKED, next_look=None)

    return come


def buried(watch: Watch) -> None:
    watch.queue.bury(Tier.BACKGROUND, "no job", "poison")


def quiet(function: Function, length: timedelta) -> Callable[[Watch], None]:
    """Have a function have been silent for that long at the run that comes a minute later."""

    def come(watch: Watch) -> None:
        watch.alive -= {function}
        watch.leases.run_well(function, at=watch.clock.now() + MINUTE - length)

    return come


# What is still well, and the least that is not.
BOUNDS: list[tuple[Callable[[Watch], None] | None, Callable[[Watch], None], AlertType, Severity, Tier]] = [
    (waiting(Tier.MONEY, 50), waiting(Tier.MONEY, 51), AlertType.QUEUE_DEPTH, CRITICAL, Tier.MONEY),
    (
        waiting(Tier.COMMUNICATION, 5_000),
        waiting(Tier.COMMUNICATION, 5_001),
        *(AlertType.QUEUE_DEPTH, WARNING, Tier.COMMUNICATION),
    ),
    (
        waiting(Tier.BACKGROUND, 50_000),
        waiting(Tier.BACKGROUND, 50_001),
        *(AlertType.QUEUE_DEPTH, WARNING, Tier.BACKGROUND),
    ),
    (
        overdue(Tier.MONEY, age=10 * MINUTE),
        overdue(Tier.MONEY, age=10 * MINUTE + MOMENT),
        *(AlertType.QUEUE_AGE, CRITICAL, Tier.MONEY),
    ),
    (
        overdue(Tier.COMMUNICATION, age=60 * MINUTE),
        overdue(Tier.COMMUNICATION, age=60 * MINUTE + MOMENT),
        *(AlertType.QUEUE_AGE, WARNING, Tier.COMMUNICATION),
    ),
    (
        ended(success=990, failure=10, refused=500),
        ended(success=990, failure=11),
        *(AlertType.DEAD_LETTERS, CRITICAL, Tier.MONEY),
    ),
    (
        ended(success=27, failure=3, refused=70),
        ended(success=26, failure=3),
        *(AlertType.FAILURE_RATE, WARNING, Tier.MONEY),
    ),
    (ended(success=9, failure=10), ended(success=10, failure=10), AlertType.FAILURE_RATE, WARNING, Tier.MONEY),
    (None, parked(Tier.MONEY), AlertType.PARKED, CRITICAL, Tier.MONEY),
    (None, parked(Tier.COMMUNICATION), AlertType.PARKED, WARNING, Tier.COMMUNICATION),
    (None, buried, AlertType.POISON, WARNING, Tier.BACKGROUND),
    (
        quiet(Function.DISPATCH, 5 * MINUTE),
        quiet(Function.DISPATCH, 5 * MINUTE + MOMENT),
        *(AlertType.HEARTBEAT, CRITICAL, Tier.MONEY),
    ),
    (
        quiet(Function.CLEANUP, timedelta(hours=26)),
        quiet(Function.CLEANUP, timedelta(hours=26) + MOMENT),
        *(AlertType.HEARTBEAT, WARNING, Tier.BACKGROUND),
    ),
]


@pytest.mark.parametrize(("well", "wrong", "kind", "severity", "tier"), BOUNDS)
def test_a_condition_fires_beyond_its_threshold_and_not_at_it(
    well: Callable[[Watch], None] | None,
    wrong: Callable[[Watch], None],
    kind: AlertType,
    severity: Severity,
    tier: Tier,
) -> None:
    for come, expected in ((well, []), (wrong, [(kind, severity, tier)])):
        watch = Watch()
        watch.clock.advance(LATE)
        watch.run()
        if come is not None:
            come(watch)
        later(watch)
        assert standing(watch) == expected


def test_old_background_jobs_are_nobodys_alert(watch: Watch) -> None:
    overdue(Tier.BACKGROUND, age=timedelta(days=3))(watch)
    later(watch)
    assert standing(watch) == []


def test_failures_count_for_an_hour(watch: Watch) -> None:
    ended(success=990, failure=11)(watch)
    later(watch, 60 * MINUTE)
    assert sole(watch).well_since is None
    later(watch)
    assert sole(watch).well_since is not None


def test_a_message_states_the_consequence_and_is_linked(watch: Watch) -> None:
    watch.count({SUCCESS: 120})
    for n, amount in enumerate((4_500, 1_550)):
        payload = {"amount": amount, "currency": "EUR"}
        job = replace(OVERDUE, id=JobId(f"j{n}"), payload=payload, due=watch.clock.now() - 12 * MINUTE)
        watch.store.jobs[job.id] = job
    wait(watch, Tier.MONEY, 24)
    later(watch)
    [notice] = watch.outlets.sms.sent
    assert notice.written == (
        "CRITICAL money: The oldest job has waited for 13 min, longer than 10 min. 24 jobs wait. "
        "The oldest has been due since 01 Mar 11:48 UTC. At the present rate they take 2 min. "
        "At least 60.50 EUR with the 2 oldest of them. https://queue.example/dashboard"
    )
    [call] = watch.outlets.phone.sent
    assert call.text in notice.written


def test_a_critical_alert_about_money_goes_everywhere_and_another_calls_nobody(watch: Watch) -> None:
    wait(watch, Tier.MONEY, 51)
    buried(watch)
    later(watch)
    told = {
        channel: [notice.condition.type for notice in getattr(watch.outlets, channel).sent]
        for channel in (Channel.SNS, Channel.SMS, Channel.PHONE)
    }
    both = [AlertType.QUEUE_DEPTH, AlertType.POISON]
    assert told == {Channel.SNS: both, Channel.SMS: both, Channel.PHONE: both[:1]}
    assert watch.journal.actions().count("alert") == 2


@pytest.mark.parametrize(
    ("tier", "count", "cooldown"),
    [(Tier.MONEY, 51, 5 * MINUTE), (Tier.COMMUNICATION, 5_001, 60 * MINUTE)],
)
def test_an_alert_that_nobody_acknowledges_is_told_again_after_each_cooldown(
    watch: Watch, tier: Tier, count: int, cooldown: timedelta
) -> None:
    wait(watch, tier, count)
    later(watch)
    later(watch, cooldown - MINUTE)
    assert words(watch, Channel.SMS) == [Word.ALERT]
    later(watch)
    assert words(watch, Channel.SMS) == [Word.ALERT] * 2


def test_an_acknowledged_alert_is_told_no_more(watch: Watch) -> None:
    wait(watch, Tier.MONEY, 51)
    later(watch)
    alert = sole(watch)
    assert watch.book.swap(alert, acknowledged(alert, "ada", watch.clock.now()))
    later(watch, 60 * MINUTE)
    assert words(watch, Channel.SMS) == words(watch, Channel.PHONE) == words(watch, Channel.SNS) == [Word.ALERT]


def test_a_critical_alert_is_escalated_once_on_every_channel_after_fifteen_minutes(watch: Watch) -> None:
    wait(watch, Tier.MONEY, 51)
    later(watch)
    later(watch, 14 * MINUTE)
    assert Word.ESCALATION not in words(watch, Channel.PHONE)
    later(watch)
    for channel in (Channel.SNS, Channel.SMS, Channel.PHONE):
        assert words(watch, channel)[-1] is Word.ESCALATION
        assert getattr(watch.outlets, channel).sent[-1].text.startswith("NOT ACKNOWLEDGED")
    later(watch, 60 * MINUTE)
    assert words(watch, Channel.PHONE).count(Word.ESCALATION) == 1


def test_a_warning_is_never_escalated(watch: Watch) -> None:
    buried(watch)
    later(watch, 120 * MINUTE)
    assert set(words(watch, Channel.SMS)) == {Word.ALERT}


def test_what_has_been_well_for_a_cooldown_is_resolved_and_those_who_were_told_hear_of_it_once(
    watch: Watch,
) -> None:
    wait(watch, Tier.MONEY, 51)
    later(watch)
    watch.queue.messages.clear()
    later(watch, 5 * MINUTE)
    assert words(watch, Channel.SNS) == [Word.ALERT]
    later(watch, 30 * MINUTE)
    assert words(watch, Channel.SNS) == words(watch, Channel.SMS) == [Word.ALERT, Word.RESOLVED]
    assert words(watch, Channel.PHONE) == [Word.ALERT]
    assert watch.outlets.sns.sent[-1].text.startswith("RESOLVED money: Well since 01 Mar 12:02 UTC. It was: 51")
    assert standing(watch) == []


def test_who_was_not_told_of_an_alert_is_not_told_that_it_is_resolved(watch: Watch) -> None:
    watch.outlets.sms.down = DOWN
    wait(watch, Tier.MONEY, 51)
    later(watch)
    watch.queue.messages.clear()
    watch.outlets.sms.down = None
    later(watch, 10 * MINUTE)
    assert words(watch, Channel.SMS) == []
    assert words(watch, Channel.SNS) == [Word.ALERT, Word.RESOLVED]
    assert standing(watch) == []


def test_a_condition_that_flaps_within_its_cooldown_is_one_alert(watch: Watch) -> None:
    for _ in range(3):
        wait(watch, Tier.MONEY, 51)
        later(watch)
        watch.queue.messages.clear()
        later(watch)
    assert words(watch, Channel.SMS) == [Word.ALERT]
    assert len(watch.book.alerts) == 1


def test_a_condition_that_comes_back_after_it_was_resolved_is_another_alert(watch: Watch) -> None:
    wait(watch, Tier.MONEY, 51)
    later(watch)
    watch.queue.messages.clear()
    later(watch, 10 * MINUTE)
    wait(watch, Tier.MONEY, 51)
    later(watch)
    assert words(watch, Channel.SMS) == [Word.ALERT, Word.RESOLVED, Word.ALERT]
    assert len(watch.book.alerts) == 2


@pytest.mark.parametrize("same_count", [True, False])
def test_another_parked_job_alerts_although_the_one_before_was_acknowledged(
    watch: Watch, same_count: bool
) -> None:
    parked(Tier.MONEY)(watch)
    later(watch)
    alert = sole(watch)
    watch.book.swap(alert, acknowledged(alert, "ada", watch.clock.now()))
    later(watch, 10 * MINUTE)
    assert words(watch, Channel.PHONE) == [Word.ALERT]
    watch.store.jobs[JobId("q")] = replace(watch.store.jobs[JobId("p")], id=JobId("q"))
    if same_count:
        del watch.store.jobs[JobId("p")]
    later(watch)
    assert words(watch, Channel.PHONE) == [Word.ALERT] * 2
    assert len(watch.book.alerts) == 2


@pytest.mark.parametrize(
    "failure",
    [
        DOWN,
        Ambiguous("provider_timeout", "The answer did not come in time."),
        StoreRefused("The secret cannot be read."),
        RuntimeError("Nobody thought of it."),
    ],
)
def test_only_the_channel_that_failed_is_due_again(watch: Watch, failure: Exception) -> None:
    watch.outlets.sms.down = failure
    wait(watch, Tier.MONEY, 51)
    later(watch, 3 * MINUTE)
    assert words(watch, Channel.SMS) == []
    assert words(watch, Channel.SNS) == words(watch, Channel.PHONE) == [Word.ALERT]
    watch.outlets.sms.down = None
    later(watch)
    assert words(watch, Channel.SMS) == [Word.ALERT]
    assert words(watch, Channel.SNS) == words(watch, Channel.PHONE) == [Word.ALERT]
    assert watch.journal.actions().count("alert_not_sent") == 3


def test_what_cannot_be_seen_neither_fires_nor_is_resolved(watch: Watch) -> None:
    wait(watch, Tier.MONEY, 51)
    later(watch)
    watch.backlog.down = True
    watch.queue.messages.clear()
    later(watch, 3 * MINUTE)
    assert sole(watch).well_since is None


def test_counters_that_do_not_answer_keep_nobody_from_being_told(watch: Watch) -> None:
    wait(watch, Tier.MONEY, 51)
    watch.metrics.fails = StoreRefused()
    watch.clock.advance(MINUTE)
    with pytest.raises(StoreRefused):
        watch.run()
    assert words(watch, Channel.SMS) == [Word.ALERT]


def test_alerts_that_cannot_be_kept_are_in_the_log(watch: Watch) -> None:
    wait(watch, Tier.MONEY, 51)
    watch.book.fails = StoreRefused()
    later(watch)
    [facts] = [facts for action, facts in watch.journal.events if action == "alert_not_kept"]
    assert facts["text"] is not None
    assert "51 jobs wait" in str(facts["text"])


def test_what_was_sent_is_counted_by_type_severity_and_channel(watch: Watch) -> None:
    wait(watch, Tier.MONEY, 51)
    later(watch, 2 * MINUTE)
    sent = {name.part: count for name, count in watch.series.totals.items() if name.measure is Measure.ALERTED}
    assert sent == {f"critical#{channel}": 1 for channel in Channel}


# --- heartbeats


def test_a_silent_function_is_told_of_with_the_consequence_until_it_runs_again(watch: Watch) -> None:
    watch.run()
    watch.alive -= {Function.DISPATCH}
    later(watch, 5 * MINUTE)
    assert standing(watch) == []
    later(watch)
    [call] = watch.outlets.phone.sent
    assert call.text == (
        "CRITICAL money: No run of dispatch has ended well since 01 Mar 12:00 UTC, 6 min: accepted jobs whose "
        "message was lost, that were held back or are due later are not sent again."
    )
    watch.alive |= {Function.DISPATCH}
    later(watch, 10 * MINUTE)
    assert words(watch, Channel.SMS) == [Word.ALERT, Word.RESOLVED]


def test_a_function_that_never_ran_is_missed_from_the_monitors_first_look(watch: Watch) -> None:
    """A fresh deployment, which has run for long elsewhere: nothing is told before five minutes are over."""
    watch.alive = set()
    watch.run()
    later(watch, 5 * MINUTE)
    assert standing(watch) == []
    later(watch)
    assert standing(watch) == [(AlertType.HEARTBEAT, CRITICAL, Tier.MONEY)]
    assert "monitor" not in sole(watch).message, "its silence is CloudWatch's to tell"


def test_another_silent_function_is_another_alert_although_the_first_was_acknowledged(watch: Watch) -> None:
    watch.run()
    watch.alive -= {Function.DISPATCH}
    later(watch, 6 * MINUTE)
    alert = sole(watch)
    watch.book.swap(alert, acknowledged(alert, "ada", watch.clock.now()))
    watch.alive -= {Function.RUN_SCHEDULES}
    later(watch, 6 * MINUTE)
    assert words(watch, Channel.PHONE) == [Word.ALERT] * 2
    assert "schedules that are due make no jobs" in watch.outlets.phone.sent[-1].text


def test_heartbeats_that_cannot_be_read_say_nothing(watch: Watch) -> None:
    watch.run()
    watch.alive -= {Function.DISPATCH}
    later(watch, 6 * MINUTE)
    watch.leases.fails = StoreRefused()
    later(watch, 3 * MINUTE)
    assert sole(watch).well_since is None
    assert watch.journal.actions().count("heartbeats_not_seen") == 3


# --- whose an alert is


def test_an_alert_about_the_parked_jobs_of_one_venue_is_that_venues_until_another_has_one(
    watch: Watch,
) -> None:
    parked(Tier.COMMUNICATION)(watch)
    job = watch.store.jobs[JobId("p")]
    later(watch)
    assert sole(watch).venue_id == job.venue_id
    watch.store.jobs[JobId("q")] = replace(job, id=JobId("q"), venue_id=VenueId("another"))
    later(watch)
    assert sole(watch).venue_id is None


def test_an_alert_about_more_parked_jobs_than_are_looked_at_is_no_venues(watch: Watch) -> None:
    parked(Tier.MONEY)(watch)
    job = watch.store.jobs[JobId("p")]
    for n in range(100):
        watch.store.jobs[JobId(f"p{n}")] = replace(job, id=JobId(f"p{n}"))
    later(watch)
    assert sole(watch).venue_id is None


def test_what_is_about_the_platform_is_no_venues(watch: Watch) -> None:
    overdue(Tier.MONEY, age=11 * MINUTE)(watch)
    later(watch)
    assert sole(watch).venue_id is None


def test_no_read_names_more_jobs_than_the_store_takes(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred parked and a hundred overdue, none of them both."""
    read, sizes = watch.store.load_batch, []

    def load_batch(job_ids: Sequence[JobId]) -> tuple[Mapping[JobId, Job], Controls]:
        sizes.append(len(job_ids))
        return read(job_ids)

    monkeypatch.setattr(watch.store, "load_batch", load_batch)
    parked(Tier.MONEY)(watch)
    overdue(Tier.MONEY, age=11 * MINUTE)(watch)
    for name in ("p", "old"):
        job = watch.store.jobs[JobId(name)]
        for n in range(100):
            watch.store.jobs[JobId(f"{name}{n}")] = replace(job, id=JobId(f"{name}{n}"))
    later(watch)
    assert (sum(sizes), max(sizes)) == (198, 99)

"""The commands that operators steer and watch the service with; the others stand in test_command_line.py."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from queue_service import Client, operation_commands, watch_commands
from queue_service.cli import main, parser
from queue_service.command import Unusable, ago, ahead
from queue_service.commands import COMMANDS

from chalicelib.domain.alerting import AlertType, Channel, Condition, Firing, Severity, began
from chalicelib.domain.job import Job, JobId, State, VenueId, rest
from chalicelib.domain.outcome import Failure, Retry
from chalicelib.domain.policies import Tier
from chalicelib.domain.settle import settle
from chalicelib.domain.standing import mail_address, phone_number
from chalicelib.domain.suppression import Cause, Suppression
from chalicelib.jobtypes import discover
from tests.contract.lives import claimed
from tests.factories import a_job
from tests.fakes import START
from tests.front import Front
from tests.functional.openapi_tools import ROOT, served

PAYMENT = dict(discover()["payment.process"].example)
POLICY = discover()["payment.process"].policy()
SECOND = timedelta(seconds=1)
Read = pytest.CaptureFixture[str]


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.fixture(autouse=True)
def url(front: Front, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with served(front) as url:
        monkeypatch.setenv("QUEUE_SERVICE_URL", url)
        monkeypatch.setenv("QUEUE_SERVICE_TOKEN", front.token("admin"))
        yield url


def a_stored_job(front: Front, number: int, **changes: Any) -> Job:
    job = a_job(f"job_{number:03}", **changes)
    assert front.store.add(job)
    return front.store.jobs[job.id]


def running(front: Front, job: Job) -> Job:
    front.store.jobs[job.id] = claimed(job, now=front.clock.now(), policy=POLICY)
    return front.store.jobs[job.id]


def a_dead_letter(front: Front, number: int, code: str = "timeout") -> Job:
    job = running(front, a_stored_job(front, number, attempts=1))
    failed = settle(job, Retry(Failure(code, "Stripe did not answer.")), POLICY, now=START, jitter=0.5)
    front.store.jobs[job.id] = failed
    assert failed.state is State.FAILED
    return failed


def said(capsys: Read, *words: str) -> Any:
    """Run a command and return its JSON."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def lines(capsys: Read, *words: str) -> list[Any]:
    """Run a command that shows things as they come, and return their JSON."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class Terminal(io.StringIO):
    """Standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


# --- jobs


def test_a_list_is_one_page_that_says_how_to_go_on(front: Front, capsys: Read) -> None:
    for number in range(5):
        a_stored_job(front, number)
    assert main(["jobs", "list", "--venue", "venue-1", "--limit", "2", "--json"]) == 0
    first = capsys.readouterr()
    assert ids(json.loads(first.out)) == ["job_004", "job_003"]
    cursor = first.err.split("--cursor ")[1].strip()
    assert ids(said(capsys, "jobs", "list", "--venue", "venue-1", "--cursor", cursor)) == [
        "job_002",
        "job_001",
        "job_000",
    ]
    assert capsys.readouterr().err == ""


def test_every_page_is_followed_to_the_end_or_to_the_limit(front: Front, capsys: Read) -> None:
    for number in range(130):
        a_stored_job(front, number)
    everything = [f"job_{number:03}" for number in reversed(range(130))]
    assert ids(said(capsys, "jobs", "list", "--venue", "venue-1", "--all")) == everything
    assert (
        ids(said(capsys, "jobs", "list", "--venue", "venue-1", "--all", "--limit", "110")) == everything[:110]
    )


@pytest.mark.parametrize(
    ("narrowed", "found"),
    [
        (["--venue", "venue-2"], {"job_001"}),
        (["--venue", "venue-1", "--type", "email.send"], {"job_002"}),
        (["--venue", "venue-1", "--queue", "communication"], {"job_002"}),
        (["--venue", "venue-1", "--batch", "b1"], {"job_003"}),
        (["--state", "failed"], {"job_004"}),
        (["--state", "failed", "--queue", "background"], set()),
        (["--fingerprint", "payment.process:timeout"], {"job_004"}),
        (["--state", "queued", "--type", "email.send"], {"job_002"}),
    ],
)
def test_a_list_is_narrowed_by_what_is_named(
    front: Front, capsys: Read, narrowed: list[str], found: set[str]
) -> None:
    a_stored_job(front, 1, venue_id=VenueId("venue-2"))
    a_stored_job(front, 2, type="email.send", tier=Tier.COMMUNICATION)
    a_stored_job(front, 3, batch_id="b1", batch_index=0)
    a_dead_letter(front, 4)
    assert set(ids(said(capsys, "jobs", "list", "--all", *narrowed))) == found


def test_a_list_is_narrowed_by_key_and_time(front: Front, capsys: Read) -> None:
    assert main(["jobs", "submit", "payment.process", json.dumps(PAYMENT), "--key", "order-1"]) == 0
    [job_id] = front.store.jobs
    narrowed = ["--venue", "venue-1", "--type", "payment.process"]
    assert ids(said(capsys, "jobs", "list", *narrowed, "--key", "order-1")) == [job_id]
    assert said(capsys, "jobs", "list", *narrowed, "--key", "order-2") == []
    later = (front.clock.now() + timedelta(hours=1)).isoformat()
    assert said(capsys, "jobs", "list", *narrowed, "--from", later) == []


def test_a_table_shows_what_a_list_is_read_for(front: Front, capsys: Read) -> None:
    a_dead_letter(front, 1)
    assert main(["jobs", "list", "--state", "failed"]) == 0
    heads, row = (line.split() for line in capsys.readouterr().out.splitlines())
    shown = dict(zip(heads, row, strict=True))
    assert (shown["id"], shown["state"], shown["reason"], shown["error"]) == (
        "job_001",
        "failed",
        "exhausted",
        "timeout",
    )


def test_what_no_index_answers_says_what_to_name(capsys: Read) -> None:
    assert main(["jobs", "list"]) == 1
    assert "Send a venueId" in capsys.readouterr().err


def test_a_job_is_cloned_with_other_data_and_with_a_key_it_is_one_job(front: Front, capsys: Read) -> None:
    a_stored_job(front, 1, payload=PAYMENT)
    edits = ["--data", '{"amount": 5000}', "--reason", "The price rose"]
    first = said(capsys, "jobs", "clone", "job_001", *edits, "--key", "again")
    second = said(capsys, "jobs", "clone", "job_001", *edits, "--key", "again")
    assert first["jobId"] == second["jobId"] != "job_001"
    assert front.store.jobs[first["jobId"]].payload == {**PAYMENT, "amount": 5000}
    assert [(entry.action, entry.reason) for entry in front.store.audit] == [("clone", "The price rose")]
    assert said(capsys, "jobs", "clone", "job_001")["jobId"] not in ("job_001", first["jobId"])


def test_the_client_lists_typed_jobs_page_after_page(front: Front, url: str) -> None:
    for number in range(120):
        a_stored_job(front, number)
    a_dead_letter(front, 500)
    client = Client(url, front.token("admin"))
    assert len(list(client.list(venue_id="venue-1"))) == 121
    [dead] = client.list(state="failed", queue="money", fingerprint="payment.process:timeout")
    assert (dead.id, dead.state, dead.data) == ("job_500", "failed", {})
    later = START + timedelta(hours=1)
    assert list(client.list(venue_id="venue-1", job_type="email.send")) == []
    assert list(client.list(venue_id="venue-1", batch_id="b", since=START, until=later)) == []
    assert list(client.list(venue_id="venue-1", job_type="payment.process", key="none")) == []


# --- queues and dead letters


def test_every_queue_is_shown_with_what_waits_and_why(front: Front, capsys: Read) -> None:
    assert main(["jobs", "submit", "payment.process", json.dumps(PAYMENT)]) == 0
    assert main(["queues", "pause", "money", "--reason", "bank", "--until", "2099-01-01T00:00:00Z"]) == 0
    capsys.readouterr()
    assert main(["queues"]) == 0
    heads, money, *_ = (line.split() for line in capsys.readouterr().out.splitlines())
    shown = dict(zip(heads, money[: heads.index("oldestAge")], strict=False))
    assert (shown["queue"], shown["state"], shown["waiting"]) == ("money", "paused", "1")
    assert money[-1] == "bank"
    assert [each["queue"] for each in said(capsys, "queues")] == list(Tier)
    assert main(["queues", "--json", "show", "money"]) == 0
    assert json.loads(capsys.readouterr().out)["lanes"]["main"]["waiting"] == 1


def test_a_pause_ends_after_a_span(front: Front, capsys: Read) -> None:
    now = datetime.now(UTC)
    said(capsys, "queues", "pause", "money", "--reason", "bank", "--until", "30m")
    [pause] = front.store.controls.entries
    assert pause.until is not None
    assert timedelta(minutes=29) < pause.until - now < timedelta(minutes=31)


def test_spans_are_moments_from_now_and_all_else_is_left_to_the_service() -> None:
    now = datetime.now(UTC)
    for text, span in (("90s", 90 * SECOND), ("2h", 7200 * SECOND), ("1d", timedelta(days=1))):
        until, since = ahead(text), ago(text)
        assert until is not None
        assert since is not None
        assert abs(datetime.fromisoformat(until) - now - span) < 5 * SECOND
        assert abs(now - datetime.fromisoformat(since) - span) < 5 * SECOND
    assert [ahead(text) for text in (None, "soon", "2026-03-01T12:00:00Z", "5")] == [
        None,
        "soon",
        "2026-03-01T12:00:00Z",
        "5",
    ]
    with pytest.raises(Unusable):
        ago("999999d")


def test_dead_letters_are_shown_in_groups_and_one_by_one(front: Front, capsys: Read) -> None:
    for number in range(3):
        a_dead_letter(front, number)
    a_dead_letter(front, 3, "rate_limit")
    groups = said(capsys, "dlq", "list", "money")
    counted = [(group["fingerprint"], group["count"]) for group in groups]
    assert counted == [("payment.process:timeout", 3), ("payment.process:rate_limit", 1)]
    assert said(capsys, "dlq", "list", "background") == []
    found = said(capsys, "dlq", "jobs", "money", "payment.process:timeout")
    assert ids(found) == ["job_002", "job_001", "job_000"]


def test_dead_letters_beyond_an_answer_are_counted_with_it_when_asked(front: Front, capsys: Read) -> None:
    for number in range(1100):
        a_dead_letter(front, number)
    assert main(["dlq", "list", "money"]) == 0
    assert "--all counts them" in capsys.readouterr().err
    [group] = said(capsys, "dlq", "list", "money", "--all")
    assert group["count"] == 1100


# --- many jobs at once


def test_many_jobs_are_counted_then_cancelled_and_followed_to_the_end(front: Front, capsys: Read) -> None:
    for number in range(30):
        a_stored_job(front, number)
    front.clock.advance(60 * SECOND)
    bulk = ["jobs", "bulk", "cancel", "--venue", "venue-1", "--state", "queued"]
    preview = lines(capsys, *bulk, "--preview")
    assert (preview[-1]["status"], preview[-1]["progress"]["done"]) == ("completed", 30)
    assert {job.state for job in front.store.jobs.values()} == {State.QUEUED}
    steps = lines(capsys, *bulk, "--reason", "sent twice", "--yes")
    assert [(step["mode"], step["status"]) for step in steps][-1] == ("start", "completed")
    assert {job.state for job in front.store.jobs.values()} == {State.CANCELLED}
    assert said(capsys, "operations", "list")[0]["operationId"] == steps[-1]["operationId"]


def test_nothing_is_begun_that_nobody_has_confirmed(
    front: Front, capsys: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_stored_job(front, 1)
    front.clock.advance(60 * SECOND)
    bulk = ["jobs", "bulk", "cancel", "--venue", "venue-1", "--state", "queued", "--reason", "sent twice"]
    for stdin, status in ((io.StringIO("yes\n"), 2), (Terminal("no\n"), 2), (Terminal("yes\n"), 0)):
        assert front.store.jobs[JobId("job_001")].state is State.QUEUED
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(bulk) == status
    assert front.store.jobs[JobId("job_001")].state is State.CANCELLED
    assert "Cancel 1 jobs? Type yes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["jobs", "bulk", "retry", "--reason", "x", "--yes"], "in common"),
        (["jobs", "bulk", "retry", "--state", "failed", "--yes"], "Say why"),
        (["dlq", "redrive", "money", "--yes"], "Say why"),
        (["erase", "--user", "user-1", "--yes"], "Say why"),
    ],
)
def test_what_is_done_to_many_needs_a_filter_and_a_reason(capsys: Read, words: list[str], told: str) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_nothing_to_do_is_told_and_not_begun(front: Front, capsys: Read) -> None:
    assert main(["dlq", "redrive", "money", "--reason", "x", "--yes"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert [each["mode"] for each in said(capsys, "operations", "list")] == ["preview"]


def test_dead_letters_are_redriven_one_first_and_watched_and_stopped(
    front: Front, capsys: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        a_dead_letter(front, number)
    front.clock.advance(60 * SECOND)
    looks: list[float] = []

    def look(pause: float) -> None:
        looks.append(pause)
        [begun] = [each for each in said(capsys, "operations", "list") if each["mode"] == "start"]
        said(capsys, "operations", "stop", begun["operationId"], "--reason", "the wrong group")

    monkeypatch.setattr(operation_commands, "sleep", look)
    redrive = ["dlq", "redrive", "money", "--fingerprint", "payment.process:timeout", "--rate", "2"]
    assert main([*redrive, "--reason", "the bank is back", "--yes", "--every", "0.5"]) == 1
    assert "was stopped" in capsys.readouterr().err
    assert looks == [0.5]
    queued = [job.id for job in front.store.jobs.values() if job.state is State.QUEUED]
    assert queued == ["job_002"]  # the canary
    [begun] = [each for each in said(capsys, "operations", "list") if each["mode"] == "start"]
    shown = said(capsys, "operations", "show", begun["operationId"])
    assert (shown["status"], shown["stopped"]["why"]) == ("stopped", "the wrong group")
    assert main(["operations", "watch", begun["operationId"]]) == 1
    assert main(["operations", "show", "op_9"]) == 1


def test_a_persons_data_is_erased(front: Front, capsys: Read) -> None:
    a_dead_letter(front, 1)
    front.clock.advance(60 * SECOND)
    assert lines(capsys, "erase", "--user", "user-1", "--preview")[-1]["progress"]["done"] == 1
    last = lines(capsys, "erase", "--user", "user-1", "--reason", "by letter", "--yes")[-1]
    assert (last["status"], last["progress"]["done"]) == ("completed", 1)
    assert not front.store.jobs[JobId("job_001")].payload
    assert main(["erase", "--user", "u", "--address", "a@example.com", "--reason", "x", "--yes"]) == 1


# --- suppressions


def test_an_address_is_found_and_lifted_by_its_name(front: Front, capsys: Read) -> None:
    ada, phone = mail_address("ada@example.com"), phone_number("+491512345678")
    front.suppressions.add(Suppression(ada, Cause.BOUNCE, front.clock.now()))
    front.suppressions.add(Suppression(phone, Cause.OPTED_OUT, front.clock.now()))
    assert ids(said(capsys, "suppressions", "list")) == [ada.id]
    assert ids(said(capsys, "suppressions", "list", "--channel", "sms")) == [phone.id]
    assert ids(said(capsys, "suppressions", "list", "--address", "+491512345678")) == [phone.id]
    lifted = said(capsys, "suppressions", "lift", "ADA@example.com", "--reason", "She is back")
    assert (lifted["lifted"], [entry.reason for entry in front.store.audit]) == (True, ["She is back"])
    assert main(["suppressions", "lift", "ada@example.com", "--reason", "Again"]) == 2


# --- alerts


def test_alerts_are_listed_and_acknowledged(front: Front, capsys: Read) -> None:
    for tier, severity in ((Tier.MONEY, Severity.CRITICAL), (Tier.BACKGROUND, Severity.WARNING)):
        condition = Condition(AlertType.QUEUE_DEPTH, severity, tier)
        assert front.alerts.begin(began(Firing(condition, 51, 50), "51 jobs wait.", front.clock.now()))
    [money] = ids(said(capsys, "alerts", "list", "--severity", "critical"))
    assert len(ids(said(capsys, "alerts", "list", "--limit", "1"))) == 1
    shown = said(capsys, "alerts", "ack", money, "--reason", "On it")
    assert (shown["acknowledged"], [entry.reason for entry in front.store.audit]) == (True, ["On it"])
    assert main(["alerts", "ack", money]) == 1


def test_a_test_of_the_alerts_says_who_was_not_told(front: Front, capsys: Read) -> None:
    front.outlets.unconfigured = {Channel.PHONE}
    results = said(capsys, "alerts", "test", "critical")
    assert [each["sent"] for each in results] == [True, True, True, False]
    assert len(front.outlets.sms.sent) == 1
    assert [each["channel"] for each in said(capsys, "alerts", "test", "info", "--channel", "sns")] == ["sns"]


# --- limits and stops


def test_limits_are_listed_and_figures_that_are_not_named_stay(front: Front, capsys: Read) -> None:
    before = said(capsys, "limits", "show", "stripe")["limit"]
    done = said(capsys, "limits", "set", "stripe", "--max-per-second", "5", "--reason", "gently")
    assert done["limit"] == {**before, "maxPerSecond": 5}
    assert said(capsys, "limits", "reset", "stripe", "--reason", "refilled")["key"] == "stripe"
    assert [entry.reason for entry in front.limiter.audit] == ["gently", "refilled"]
    assert main(["limits", "list"]) == 0
    assert "maxPerSecond" in capsys.readouterr().out.splitlines()[0]
    assert main(["limits", "set", "stripe"]) == 2
    assert main(["limits", "show", "../queues"]) == 1


def test_a_stop_ends_after_a_span(front: Front, capsys: Read) -> None:
    [stop] = said(capsys, "stop", "--provider", "stripe", "--reason", "Down", "--until", "2h")
    assert datetime.fromisoformat(stop["until"]) > datetime.now(UTC) + timedelta(minutes=119)
    assert said(capsys, "resume", "--provider", "stripe", "--reason", "Mended") == []


def test_a_schedule_is_switched_off_and_on_and_stays_what_it_is(front: Front, capsys: Read) -> None:
    template = {"type": "payment.process", "data": PAYMENT, "venueId": "venue-1", "options": {"attempts": 4}}
    body = {"name": "nightly", "cronExpression": "0 3 * * *", "timeZone": "UTC", "job": template}
    answer = front.client.http.post(
        "/v1/schedules",
        headers={"Authorization": f"Bearer {front.token('admin')}", "Content-Type": "application/json"},
        body=json.dumps({**body, "missed": "once"}).encode(),
    )
    made = answer.json_body
    off = said(capsys, "schedules", "off", made["id"], "--reason", "it mails everybody")
    assert (off["active"], off["nextRuns"]) == (False, [])
    assert {name: off[name] for name in (*body, "missed")} == {name: made[name] for name in (*body, "missed")}
    on = said(capsys, "schedules", "on", made["id"])
    assert (on["active"], on["version"]) == (True, made["version"] + 2)
    assert ids(said(capsys, "schedules", "list")) == [made["id"]]


def test_an_endpoint_is_kept_from_the_line_and_its_secret_shown_once(front: Front, capsys: Read) -> None:
    made = said(capsys, "endpoints", "add", "https://shop.example/hooks", "--description", "shop")
    venue = ("--venue", "venue-1")
    shown = said(capsys, "endpoints", "show", made["id"], *venue)
    assert made == {**shown, "secret": made["secret"]}
    rotated = said(capsys, "endpoints", "rotate", made["id"], "--reason", "it leaked")
    assert rotated["secret"] != made["secret"]
    off = said(capsys, "endpoints", "off", made["id"], *venue, "--reason", "it moves")
    assert (off["active"], off["url"], off["description"]) == (False, made["url"], "shop")
    assert main(["endpoints", "test", made["id"]]) == 1
    assert said(capsys, "endpoints", "on", made["id"])["active"] is True
    tested = said(capsys, "endpoints", "test", made["id"])
    assert front.store.jobs[JobId(tested["jobId"])].type == "webhook.deliver"
    assert ids(said(capsys, "endpoints", "list", "--all")) == [made["id"]]
    assert said(capsys, "endpoints", "delete", made["id"]) == {"id": made["id"], "deleted": True}
    assert main(["endpoints", "show", made["id"]]) == 1
    reasons = [entry.reason for entry in front.store.audit]
    assert reasons == ["", "it leaked", "it moves", "", ""]


# --- watching


def test_the_audit_log_is_shown_by_who_and_what(front: Front, capsys: Read) -> None:
    said(capsys, "queues", "pause", "money", "--reason", "bank")
    said(capsys, "queues", "pause", "background", "--reason", "storm")
    entries = said(capsys, "audit", "--from", "2026-03-01T00:00:00Z")
    assert [entry["subject"] for entry in entries] == ["queue/background", "queue/money"]
    assert [entry["reason"] for entry in said(capsys, "audit", "--subject", "queue/money")] == ["bank"]
    assert said(capsys, "audit", "--actor", "nobody", "--from", "2026-03-01T00:00:00Z", "--all") == []


def test_a_job_is_followed_attempt_by_attempt_until_it_ends(
    front: Front, capsys: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_stored_job(front, 1)

    def life(_: float) -> None:
        now = front.store.jobs[job.id]
        if now.state is State.RUNNING:
            failed = Retry(Failure("timeout", "No answer."))
            after = settle(now, failed, POLICY, now=front.clock.now(), jitter=0.5)
            front.store.jobs[job.id] = (
                after if now.attempts == 1 else rest(now, State.COMPLETED, POLICY, now=front.clock.now())
            )
        else:
            front.clock.advance(120 * SECOND)
            running(front, now)

    monkeypatch.setattr(watch_commands, "sleep", life)
    assert main(["tail", job.id, "--json"]) == 0
    steps = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    states = [step["state"] for step in steps if "state" in step]
    assert states == ["queued", "running", "retrying", "running", "completed"]
    assert [step["code"] for step in steps if "outcome" in step][:1] == ["timeout"]


def test_new_jobs_are_shown_once_each_as_they_come_and_an_interrupt_is_a_good_end(
    front: Front, capsys: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        a_stored_job(front, number)
    rounds: list[float] = []

    def come(pause: float) -> None:
        rounds.append(pause)
        if len(rounds) == 4:
            raise KeyboardInterrupt
        if len(rounds) < 3:
            a_stored_job(front, 10 * len(rounds))
            a_stored_job(front, 10 * len(rounds) + 1, venue_id=VenueId("venue-2"))

    monkeypatch.setattr(watch_commands, "sleep", come)
    assert main(["tail", "--venue", "venue-1", "--lines", "2", "--every", "0.5"]) == 0
    printed = capsys.readouterr()
    heads, *rows = (line.split() for line in printed.out.strip().splitlines())
    assert [row[1] for row in rows] == ["job_002", "job_003", "job_010", "job_020"]
    assert (heads[:2], printed.err, rounds) == (["createdAt", "id"], "", [0.5] * 4)


def test_jobs_that_come_to_stand_in_a_state_are_shown_however_old_they_are(
    front: Front, capsys: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = a_stored_job(front, 1, attempts=1)
    a_dead_letter(front, 2)
    rounds: list[float] = []

    def fail(pause: float) -> None:
        rounds.append(pause)
        if len(rounds) == 2:
            raise KeyboardInterrupt
        failed = Retry(Failure("timeout", "No answer."))
        front.store.jobs[old.id] = settle(running(front, old), failed, POLICY, now=START, jitter=0.5)

    monkeypatch.setattr(watch_commands, "sleep", fail)
    assert main(["tail", "--state", "failed", "--json"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [json.loads(line)["id"] for line in lines] == ["job_002", "job_001"]


def test_a_followed_list_that_is_interrupted_ends_well_and_says_nothing_of_it(front: Front) -> None:
    a_stored_job(front, 1)
    command = [sys.executable, "-m", "queue_service", "tail", "--venue", "venue-1", "--every", "0.05"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")}
    # A shell's background job, and so these tests in one, would hand an ignored SIGINT on.
    interruptible = signal.signal(signal.SIGINT, signal.default_int_handler)
    tail = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, interruptible)
    assert tail.stdout is not None
    lines = [tail.stdout.readline() for _ in range(2)]
    a_stored_job(front, 2)
    lines.append(tail.stdout.readline())
    tail.send_signal(signal.SIGINT)
    _, complaints = tail.communicate(timeout=10)
    assert (tail.returncode, complaints) == (0, "")
    assert [line.split()[1] for line in lines] == ["id", "job_001", "job_002"]


def test_what_nobody_reads_any_more_is_no_failure(front: Front) -> None:
    command = [sys.executable, "-m", "queue_service", "tail", "--venue", "venue-1", "--every", "0.05"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")}
    tail = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert tail.stdout is not None
    assert tail.stderr is not None
    assert tail.stdout.readline().split()[1] == "id"
    tail.stdout.close()
    a_stored_job(front, 1)
    with tail.stderr:
        assert (tail.wait(timeout=10), tail.stderr.read()) == (0, "")


def test_a_look_at_a_list_reads_a_few_pages_however_long_it_is(front: Front, url: str) -> None:
    for number in range(400):
        a_stored_job(front, number)
    latest = list(watch_commands._latest(Client(url, front.token("admin")), {"venueId": "venue-1"}))
    assert len(latest) == watch_commands.PAGES * 100


def test_nothing_is_followed_that_was_not_named(capsys: Read) -> None:
    assert main(["tail"]) == 2
    assert "Name a job" in capsys.readouterr().err
    assert main(["tail", "job_9"]) == 1


# --- the help


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: f"{row.group} {row.name}".strip())
def test_every_command_has_examples_that_are_commands_of_its_own(row: Any, capsys: Read) -> None:
    assert row.examples
    for example in row.examples:
        assert parser().parse_args(shlex.split(example)).command is row
    with pytest.raises(SystemExit):
        main([*f"{row.group} {row.name}".split(), "--help"])
    shown = capsys.readouterr().out
    assert all(f"queue-service {example}" in shown for example in row.examples)

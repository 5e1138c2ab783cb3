"""What each answer of the mailer makes of a mail."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.jobtype import Work
from chalicelib.domain.outcome import Completed, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Begun, Mail, Mailer, Providers
from chalicelib.jobtypes.email_send import JOB_TYPE
from tests.factories import a_job
from tests.fakes import ManualClock

ROOT = Path(__file__).parents[2]


@dataclass
class Post:
    """A mailer in memory that notes what happened in which order."""

    answer: ProviderError | None = None
    events: list[str] = field(default_factory=list)
    sent: list[Mail] = field(default_factory=list)

    def send(self, mail: Mail, *, begun: Begun, deadline: datetime) -> str:
        self.events.append("send")
        if self.answer is not None:
            raise self.answer
        self.sent.append(mail)
        return "ses-1"


def run(post: Post, leave: Leave = Leave.START, begin: Callable[[str | None], Begun] | None = None) -> Outcome:
    clock = ManualClock()
    job = a_job(type="email.send", payload=dict(JOB_TYPE.example))

    def write_begun(_: str | None) -> Begun:
        post.events.append("begin")
        return Begun(job.id, 1)

    work = Work(
        job=job,
        data=dict(JOB_TYPE.example),
        leave=leave,
        deadline=clock.now() + timedelta(minutes=1),
        clock=clock,
        timing=TIMING,
        begin=begin or write_begun,
    )
    mailer: Mailer = post
    return JOB_TYPE.run(work, cast(Providers, SimpleNamespace(mailer=mailer)))


def test_mail_is_sent_after_the_record_says_begun() -> None:
    post = Post()
    assert run(post) == Completed({"messageId": "ses-1"}, handle="ses-1")
    assert post.events == ["begin", "send"]
    assert post.sent[0].to == "ada@example.com"


@pytest.mark.parametrize("leave", [Leave.REPEAT, Leave.LOOK_UP, Leave.LOOK_ONLY])
def test_mail_in_doubt_is_never_sent_again(leave: Leave) -> None:
    post = Post()
    assert isinstance(run(post, leave), Unknown)
    assert post.events == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (NotSent("connection_failed", "No."), Retry),
        (TurnedAway("provider_rate_limited", "No.", after=timedelta(seconds=3)), Retry),
        (Declined("message_rejected", "No."), Refused),
        (Ambiguous("provider_timeout", "Who knows."), Unknown),
    ],
)
def test_answer_of_the_mailer(answer: ProviderError, kind: type) -> None:
    outcome = run(Post(answer))
    assert isinstance(outcome, Retry | Refused | Unknown)
    assert (type(outcome), outcome.failure.code) == (kind, answer.reason)


def test_record_that_does_not_say_begun_sends_nothing() -> None:
    post = Post()

    def lost(_: str | None) -> Begun:
        raise RuntimeError("the claim is another worker's")

    with pytest.raises(RuntimeError):
        run(post, begin=lost)
    assert post.events == []


@pytest.mark.parametrize(
    "job_type", ["analytics_track", "email_send", "order_fulfill", "payment_process", "sms_send"]
)
def test_job_type_loads_nothing_heavy_until_it_runs(job_type: str) -> None:
    program = f"import sys, chalicelib.jobtypes.{job_type}; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not set(ended.stdout.split()) & {"jinja2", "stripe", "botocore", "requests", "zoneinfo"}

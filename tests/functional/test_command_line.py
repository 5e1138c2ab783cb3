"""The operators' command line: what it prints, what it exits with, what it completes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from queue_service.cli import main, parser
from queue_service.commands import COMMANDS
from queue_service.completion import candidates
from queue_service.show import fields, table

from chalicelib.domain.job import ClaimId, State, rest, run
from chalicelib.domain.policies import Tier
from chalicelib.jobtypes import discover
from tests.front import Front
from tests.functional.openapi_tools import ROOT, served

PAYMENT = json.dumps(dict(discover()["payment.process"].example))


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.fixture(autouse=True)
def service(front: Front, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with served(front) as url:
        monkeypatch.setenv("QUEUE_SERVICE_URL", url)
        monkeypatch.setenv("QUEUE_SERVICE_TOKEN", front.token("admin"))
        yield


def test_a_job_is_submitted_and_shown(front: Front, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "submit", "payment.process", PAYMENT, "--key", "order-1", "--priority", "9"]) == 0
    [job] = front.store.jobs.values()
    assert capsys.readouterr().out.splitlines()[0].split() == ["jobId", job.id]
    assert main(["jobs", "show", job.id]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (shown["state"], shown["processedAt"]) == ("queued", "-")
    assert main(["jobs", "show", job.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == job.id


def test_a_payload_comes_from_a_file_or_from_standard_input(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "payment.json"
    file.write_text(PAYMENT)
    assert main(["jobs", "submit", "payment.process", f"@{file}", "--key", "1"]) == 0
    with file.open() as given:
        monkeypatch.setattr(sys, "stdin", given)
        assert main(["jobs", "submit", "payment.process", "-", "--key", "2"]) == 0
    assert len(front.store.jobs) == 2


def test_a_job_is_cancelled_and_retried_with_a_reason(front: Front, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "submit", "payment.process", PAYMENT]) == 0
    [job_id] = front.store.jobs
    assert main(["jobs", "promote", job_id]) == 0
    for action, state in (("cancel", "cancelled"), ("retry", "queued")):
        capsys.readouterr()
        assert main(["jobs", action, job_id, "--reason", f"{action} it", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["status"] == state
    assert [entry.reason for entry in front.store.audit][-2:] == ["cancel it", "retry it"]
    assert main(["jobs", "retry", job_id]) == 1
    assert "409 not_retryable" in capsys.readouterr().err


def test_a_queue_is_paused_and_resumed(front: Front, capsys: pytest.CaptureFixture[str]) -> None:
    until = "2099-03-01T12:00:00Z"
    assert main(["queues", "pause", "money", "--reason", "The bank is down", "--until", until, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "paused"
    [pause] = front.store.controls.entries
    assert (pause.value, pause.reason, pause.until is not None) == ("money", "The bank is down", True)
    assert main(["queues", "resume", "money"]) == 0
    assert "open" in capsys.readouterr().out
    assert not front.store.controls.paused(Tier.MONEY, front.clock.now())


@pytest.mark.parametrize(
    "what", [["--provider", "stripe"], ["--venue", "venue-1"], ["--type", "email.send"], ["--all"]]
)
def test_one_thing_is_stopped_and_goes_on(
    front: Front, capsys: pytest.CaptureFixture[str], what: list[str]
) -> None:
    assert main(["stop", *what, "--reason", "Chargebacks"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["scope", "value", "since", "until", "owner", "reason"]
    assert what[0] == f"--{row.split()[0]}"
    assert main(["resume", *what, "--reason", "Mended"]) == 0
    assert capsys.readouterr().out == "Nothing.\n"
    assert [entry.reason for entry in front.store.audit] == ["Chargebacks", "Mended"]


@pytest.mark.parametrize("what", [[], ["--all", "--venue", "venue-1"]])
def test_a_stop_of_nothing_or_of_two_things_is_not_asked_for(
    front: Front, capsys: pytest.CaptureFixture[str], what: list[str]
) -> None:
    assert main(["stop", *what, "--reason", "x"]) == 2
    assert "Name one thing" in capsys.readouterr().err
    assert front.store.audit == []


def test_a_parked_job_is_resolved(front: Front) -> None:
    assert main(["jobs", "submit", "payment.process", PAYMENT]) == 0
    [job] = front.store.jobs.values()
    now = front.clock.now()
    running = run(job, claim_id=ClaimId("c"), lease_until=now, now=now)
    policy = discover()["payment.process"].policy()
    front.store.jobs[job.id] = rest(running, State.PARKED, policy, now=now)
    assert main(["jobs", "resolve", job.id, "completed", "--reason", "seen at Stripe"]) == 0
    assert front.store.jobs[job.id].state is State.COMPLETED


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["jobs", "show", "job_9"], 1, "(404 not_found)"),
        (["jobs", "submit", "payment.process", '{"amount": 0}'], 1, "data.amount: Send at least 1."),
        (["jobs", "submit", "no.such", "{}"], 1, "unknown_type"),
        (["jobs", "submit", "payment.process", "{"], 2, "The data is not JSON"),
        (["jobs", "submit", "payment.process", "[]"], 2, "must be a JSON object"),
        (["jobs", "submit", "payment.process", "@/no/such/file"], 2, "cannot be read"),
        (["--token-file", "/no/such/file", "jobs", "show", "job_9"], 2, "cannot be read"),
        (["--url", "ftp://x", "jobs", "show", "job_9"], 2, "no http or https URL"),
        (["jobs", "submit", "payment.process", PAYMENT, "--wait", "0.01"], 4, "goes on"),
    ],
)
def test_what_fails_says_why_and_exits_with_its_status(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    assert main(arguments) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("queue-service: ")
    assert said in printed.err


def test_without_a_token_it_says_where_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("QUEUE_SERVICE_TOKEN")
    assert main(["jobs", "show", "job_1"]) == 2
    assert "set QUEUE_SERVICE_TOKEN" in capsys.readouterr().err


def test_a_token_comes_from_a_file(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUEUE_SERVICE_TOKEN")
    file = tmp_path / "token"
    file.write_text(f"{front.token('admin')}\n")
    assert main(["--token-file", str(file), "jobs", "submit", "payment.process", PAYMENT]) == 0


def test_a_service_that_is_not_there_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://127.0.0.1:9", "--tries", "2", "jobs", "show", "job_1"]) == 3
    assert "got no answer" in capsys.readouterr().err


ROWS = [f"{row.group} {row.name}".split() for row in COMMANDS]


@pytest.mark.parametrize("words", [[], ["jobs"], *ROWS, ["completion"]])
def test_everything_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: queue-service")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["j"], {"jobs"}),
        (["jobs", "s"], {"submit", "show"}),
        (["queues", ""], {"show", "pause", "resume", "--json", "--help"}),
        (["queues", "pause", "m"], {"money"}),
        (["jobs", "list", "--state", "p"], {"parked"}),
        (["dlq", "jobs", "--queue", "money", "--a"], {"--all"}),
        (["st"], {"stop"}),
        (["stop", "--pro"], {"--provider"}),
        (["tail", "--queue", "back"], {"background"}),
        (["audit", "--s"], {"--subject"}),
        (["limits", ""], {"list", "show", "set", "reset", "--help"}),
        (["--url", "http://x", "jobs", "sh"], {"show"}),
        (["jobs", "show", "--j"], {"--json"}),
        (["completion", ""], {"bash", "zsh", "fish", "--help"}),
        (["jobs", "submit", "--key", ""], set()),
    ],
)
def test_the_next_word_is_completed(words: list[str], expected: set[str]) -> None:
    assert set(candidates(parser(), words)) == expected


def test_bash_completes_what_is_typed(tmp_path: Path) -> None:
    tool = tmp_path / "queue-service"
    tool.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from queue_service.cli import main; main()" "$@"\n'
    )
    tool.chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    typed = """
        eval "$(queue-service completion bash)"
        COMP_WORDS=(queue-service jobs s); COMP_CWORD=2; _queue_service; echo "${COMPREPLY[@]}"
        COMP_WORDS=(queue-service jobs ""); COMP_CWORD=2; _queue_service; echo "${#COMPREPLY[@]}"
    """
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "clients" / "python")}
    done = subprocess.run(
        [bash, "-c", typed], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    first, second = done.stdout.splitlines()
    assert set(first.split()) == {"submit", "show"}
    assert int(second) >= len([row for row in COMMANDS if row.group == "jobs"])


def test_a_table_is_aligned_and_its_cells_are_cut() -> None:
    rows: list[dict[str, Any]] = [
        {"id": "1", "name": "a" * 80, "last": True},
        {"id": "22", "name": None, "last": []},
    ]
    head, first, second = table(rows, ("id", "name", "last")).splitlines()
    assert head.index("name") == first.index("aaa") == second.index("-")
    assert first.endswith("…  yes")
    assert table([], ("id",)) == "Nothing."


def test_nothing_that_a_caller_wrote_is_obeyed_by_the_terminal() -> None:
    text = fields({"data": {"to": "\x1b[2Jx"}, "error": "\x1b]0;evil\x07\r\n\u202e"})
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert len(text.splitlines()) == 2

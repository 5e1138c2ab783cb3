"""What others make of the API's description: 500 Schemathesis requests (QS_FULL=1: 10,000), and a client."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.jobtypes import discover
from tests.front import TWILIO, Front
from tests.functional.openapi_tools import NotInstalled, python, run, served

FULL = os.environ.get("QS_FULL") == "1"
REQUESTS = 10_000 if FULL else 500


@pytest.fixture(scope="module", autouse=True)
def tools() -> Path:
    try:
        return python()
    except NotInstalled as error:
        pytest.skip(str(error))


@pytest.fixture
def front() -> Front:
    return Front(environment=TWILIO)


@pytest.fixture
def url(front: Front) -> Iterator[str]:
    with served(front) as url:
        yield url


def test_every_answer_is_as_described_and_none_a_5xx(front: Front, url: str) -> None:
    jobs = [
        front.post({"type": name, "data": dict(each.example)}).json_body["jobId"]
        for name, each in discover().items()
    ]
    token = front.token("admin", sub="platform")
    order = {"url": url, "token": token, "requests": REQUESTS, "jobs": jobs, "full": FULL}
    said = run("schemathesis_process.py", order)
    assert said["failures"] == []
    answers = {int(status): count for status, count in said["answers"].items()}
    assert sum(answers.values()) >= REQUESTS, answers
    assert max(answers) < 500, answers
    assert answers[200] + answers[201] >= REQUESTS / 20, answers


def test_a_generated_client_submits_and_reads(front: Front, url: str, tools: Path, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(front.client.http.get("/openapi.json").body)
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    generator = [
        str(tools.with_name("openapi-python-client")),
        "generate",
        "--meta",
        "none",
        "--fail-on-warning",
    ]
    options = ["--path", str(document), "--output-path", str(tmp_path / "generated")]
    made = subprocess.run(
        [*generator, *options, "--config", str(tmp_path / "config.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    order = {"url": url, "token": front.token("service"), "folder": str(tmp_path)}
    said = run("generated_client_process.py", order)
    [stored] = front.store.jobs.values()
    assert (said["first"], said["again"]) == (False, True)
    assert (said["job"]["id"], said["job"]["state"]) == (stored.id, "queued")
    assert said["unknown"]["error"] == "not_found"
    assert said["refused"] == 401
    assert said["ready"]["status"] == "ok"

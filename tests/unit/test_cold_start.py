"""What a container loads before its first answer: nothing that the answer does not need."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.front import ENVIRONMENT

ROOT = Path(__file__).parents[2]
NEVER = {"stripe", "solders", "jinja2", "twilio", "moto", "requests", "pytest", "cryptography.x509"}
TRACING = ("opentelemetry", "google.protobuf", "chalicelib.tracing")
PROBE = """
import json, sys
import app
from chalicelib import wiring
wiring.service()
event = {
    "requestContext": {"httpMethod": "GET", "resourcePath": "/v1/jobs/{job_id}", "path": "/v1/jobs/job_1"},
    "headers": {}, "multiValueHeaders": {}, "multiValueQueryStringParameters": None,
    "pathParameters": {"job_id": "job_1"}, "stageVariables": None, "isBase64Encoded": False, "body": None,
}
answer = app.app(event, None)
print(json.dumps({"status": answer["statusCode"], "modules": sorted(sys.modules)}))
"""


def loaded(probe: str, **settings: str) -> dict[str, object]:
    """Return what a fresh interpreter prints at the end of a probe."""
    environment = {**ENVIRONMENT, "PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "eu-central-1", **settings}
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_first_answer_of_the_api_loads_no_providers() -> None:
    answer = loaded(PROBE)
    assert answer["status"] == 401
    modules = answer["modules"]
    assert isinstance(modules, list)
    assert [name for name in modules if name.split(".")[0] in NEVER] == []
    assert "chalicelib.providers.stripe_payments" not in modules
    assert "botocore.session" in modules  # the service was really built
    assert [name for name in modules if name.startswith(TRACING)] == []


def test_traces_are_loaded_where_they_are_wanted() -> None:
    modules = loaded(PROBE, TRACES="otlp")["modules"]
    assert isinstance(modules, list)
    assert {*TRACING} <= {*modules}


def test_importing_the_app_reads_no_environment_and_loads_no_sdk() -> None:
    bare = "import os; os.environ.clear(); import app, json, sys"
    answer = loaded(f"{bare}; print(json.dumps({{'modules': sorted(sys.modules)}}))")
    modules = answer["modules"]
    assert isinstance(modules, list)
    assert not {"botocore.session", "boto3", "pynamodb"} & set(modules)

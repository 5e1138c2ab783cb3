"""Send requests made of a description to the API that it describes, and hold every answer to it.

Run by the Python of .venv-openapi with one argument, JSON: {url, token, requests, jobs, full}. Half of the
requests hold to the description and half break it somewhere; of those that name a job every other one names one
of `jobs`. Prints `{"answers": {status: count}, "failures": [text]}` and nothing else.
"""

import json
import sys
from collections import Counter
from typing import Any

import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NotSet
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
FEW = 5  # requests to an operation that takes nothing: there is only one to make


def main(order: dict[str, Any]) -> None:
    """Send them all, whatever fails, and say what came of it."""
    schemathesis.openapi.format("currency", st.sampled_from(["EUR", "USD", "JPY", "KWD"]))
    schemathesis.openapi.format("hook-url", st.just("https://shop.example/done"))
    schema = schemathesis.openapi.from_url(f"{order['url']}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    taking = [each for each in operations if takes(each)]
    share = -(-order["requests"] // (2 * len(taking)))
    answers: Counter[int] = Counter()
    failures: list[str] = []
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE) if takes(operation) else (None,):
            try:
                send(operation, mode, share if mode else FEW, order, answers)
            except (FailureGroup, Exception) as failure:  # noqa: BLE001 - told at the end, whatever it is
                failures.append(f"{operation.label}: {failure}")
    sys.stdout.write(json.dumps({"answers": answers, "failures": failures}))


def counts(check: Any, case: Any) -> bool:
    """Whether a check has a say: what was broken in one choice of a body may be whole by another."""
    body = case.operation.definition.raw.get("requestBody")
    if check is not negative_data_rejection or body is None or isinstance(case.body, NotSet | bytes):
        return True
    document = case.operation.schema.raw_schema
    [content] = body["content"].values()
    shape = {**content["schema"], "components": document["components"]}
    return not jsonschema_rs.is_valid(shape, case.body)


def takes(operation: Any) -> bool:
    """Whether an operation takes anything that a request could hold to or break."""
    return bool(operation.definition.raw.keys() & {"parameters", "requestBody"})


def send(operation: Any, mode: Any, count: int, order: dict[str, Any], answers: "Counter[int]") -> None:
    """Send `count` requests of one kind; raises what the first answer that is not as described does."""

    @settings(
        max_examples=count,
        derandomize=not order["full"],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode or GenerationMode.POSITIVE),
        job=st.one_of(st.none(), st.sampled_from(order["jobs"])),
    )
    def ask(case: Any, job: str | None) -> None:
        if job is not None and "job_id" in (case.path_parameters or {}) and mode is not GenerationMode.NEGATIVE:
            case.path_parameters["job_id"] = job
        response = case.call(headers={"Authorization": f"Bearer {order['token']}"})
        answers[response.status_code] += 1
        case.validate_response(response, checks=[each for each in CHECKS if counts(each, case)])

    ask()


main(json.loads(sys.argv[1]))

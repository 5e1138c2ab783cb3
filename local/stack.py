"""The tables and queues on an emulator, made from the template that AWS gets."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from local.sessions import environment, session

TEMPLATE = Path(__file__).parents[1] / "infra" / "template.yaml"
# ministack's CloudFormation drops their TTL.
EXPIRING = (
    *("JobsTable", "IdempotencyKeysTable", "RateLimitsTable", "SchedulesTable", "QueueMetricsTable"),
    "AlertHistoryTable",
)
PATIENCE = 30.0  # seconds


def create_stack(endpoint: str, *, stage: str = "local", visibility_timeout: int = 360) -> dict[str, str]:
    """Create a stage's stack if it is not there, or bring one made from an older template up to this one.

    Returns the environment that names all of it. `visibility_timeout` is in seconds, and settled when the
    stack is made.
    """
    client = session(endpoint).client("cloudformation")
    name = f"queue-service-{stage}"
    try:
        outputs = _outputs(client, name)
        if outputs is None or not _is_current(client, name):
            make = client.create_stack if outputs is None else client.update_stack
            make(
                StackName=name,
                TemplateBody=TEMPLATE.read_text(),
                Parameters=_parameters(
                    {
                        "Stage": stage,
                        "VisibilityTimeoutSeconds": str(visibility_timeout),
                        "DeletionProtection": "false",
                    }
                ),
            )
            outputs = _await(client, name)
            _expire(endpoint, outputs)
    finally:
        client.close()
    names = {_variable(output): value for output, value in outputs.items() if not output.endswith("Arn")}
    # A queue's URL holds the address that it was made at; a second start may have another port.
    urls = {name: endpoint + urlsplit(url).path for name, url in names.items() if name.endswith("_URL")}
    return environment(endpoint) | names | urls


def _is_current(client: Any, name: str) -> bool:
    made_from: object = client.get_template(StackName=name)["TemplateBody"]
    return made_from == TEMPLATE.read_text()


def _outputs(client: Any, name: str) -> dict[str, str] | None:
    """Return the outputs of a stack that stands, None if there is none or it is still being made."""
    try:
        stack = client.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # "… does not exist"
            return None
        raise
    if stack["StackStatus"].endswith("FAILED") or "ROLLBACK" in stack["StackStatus"]:
        raise RuntimeError(f"stack {name}: {stack['StackStatus']} {stack.get('StackStatusReason', '')}")
    if not stack["StackStatus"].endswith("_COMPLETE"):
        return None
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _await(client: Any, name: str) -> dict[str, str]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (outputs := _outputs(client, name)) is not None:
            return outputs
        time.sleep(0.02)
    raise RuntimeError(f"stack {name} was not there after {PATIENCE:.0f} s")


def _expire(endpoint: str, outputs: Mapping[str, str]) -> None:
    client = session(endpoint).client("dynamodb")
    try:
        for table in EXPIRING:
            ttl = client.describe_time_to_live(TableName=outputs[table])["TimeToLiveDescription"]
            if ttl["TimeToLiveStatus"] == "DISABLED":
                client.update_time_to_live(
                    TableName=outputs[table],
                    TimeToLiveSpecification={"AttributeName": "expires_at", "Enabled": True},
                )
    finally:
        client.close()


def _parameters(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


def _variable(output: str) -> str:
    """Return an output's environment variable: MoneyQueueUrl is MONEY_QUEUE_URL."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", output).upper()

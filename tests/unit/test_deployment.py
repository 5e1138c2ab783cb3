"""What deploys beside the code: every function has a policy of its own that allows what it does and no more."""

import json
from pathlib import Path
from typing import Any

import pytest

from app import app
from tests.template import template

ROOT = Path(__file__).parents[2]
CONFIG = json.loads((ROOT / ".chalice" / "config.json").read_text())
FUNCTIONS = {"api_handler", *(each.name for each in app.event_sources)}
LOGS = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}
CONSUMES = {
    *("dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate"),
    *("dynamodb:GetItem", "dynamodb:UpdateItem"),  # the buckets of the limiter
    "dynamodb:PutItem",  # of the jobs that tell of others' ends
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"),
    "sqs:SendMessage",
}
SOURCES = {"lambda:ListEventSourceMappings", "lambda:UpdateEventSourceMapping"}
# These have no resource that a policy could name.
UNBOUNDED = {"lambda:ListEventSourceMappings"}
STRIPE, SES = {"secretsmanager:GetSecretValue"}, {"ses:SendEmail", "ses:SendRawEmail"}
BUS, TWILIO = {"events:PutEvents"}, {"secretsmanager:GetSecretValue"}
ENDPOINTS = {"dynamodb:GetItem", "dynamodb:PutItem"}
NOTICES = json.dumps({"Fn::GetAtt": ["BackgroundQueue", "Arn"]})  # where the jobs go that tell of ends
COUNTING = ("api_handler", "consume_", "monitor")
MAY: dict[str, set[str]] = {
    "api_handler": {
        *("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:BatchGetItem", "dynamodb:UpdateItem"),
        *("dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:PartiQLUpdate", "dynamodb:PartiQLInsert"),
        *("sqs:SendMessage", "sqs:GetQueueAttributes", "secretsmanager:GetSecretValue"),
        "sns:Publish",
        *SOURCES,
    },
    "consume_money": CONSUMES | STRIPE,
    "consume_money_express": CONSUMES | STRIPE,
    "consume_communication": CONSUMES | SES | TWILIO,
    "consume_communication_express": CONSUMES | SES | TWILIO,
    "consume_background": CONSUMES | BUS | ENDPOINTS,
    "consume_background_express": CONSUMES | BUS | ENDPOINTS,
    "dispatch": {
        *("dynamodb:Query", "dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate"),
        *("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:PartiQLDelete"),  # batches of all or nothing
        *("dynamodb:UpdateItem", "sqs:SendMessage"),
        "sqs:GetQueueAttributes",
        *SOURCES,
    },
    "monitor": {
        *("dynamodb:Query", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:BatchGetItem"),
        *("dynamodb:UpdateItem", "dynamodb:DeleteItem", "sqs:GetQueueAttributes", "sns:Publish"),
        *TWILIO,
    },
    "recount": {
        *("dynamodb:Query", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"),
        "dynamodb:UpdateItem",
    },
    "cleanup": {
        *("dynamodb:Query", "dynamodb:BatchGetItem", "dynamodb:PartiQLDelete", "dynamodb:BatchWriteItem"),
        *("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"),
        *("s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"),
    },
    "run_operations": {
        *("dynamodb:Query", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:BatchGetItem"),
        *("dynamodb:UpdateItem", "dynamodb:PartiQLUpdate", "dynamodb:DeleteItem", "sqs:SendMessage"),
    },
    "run_schedules": {
        *("dynamodb:Query", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:BatchGetItem"),
        *("dynamodb:UpdateItem", "sqs:SendMessage"),
    },
}


def statements(function: str) -> list[dict[str, Any]]:
    """Return the statements of a function's policy."""
    name = CONFIG["lambda_functions"][function]["iam_policy_file"]
    policy: dict[str, Any] = json.loads((ROOT / ".chalice" / name).read_text())
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def resources(statement: dict[str, Any]) -> list[str]:
    """Return what a statement is about, as text."""
    about = statement["Resource"]
    return [json.dumps(each) for each in (about if isinstance(about, list) else [about])]


def test_every_function_has_its_settings_and_its_rights() -> None:
    assert CONFIG["autogen_policy"] is False
    assert CONFIG["lambda_functions"].keys() == FUNCTIONS == MAY.keys()
    files = {path.name for path in (ROOT / ".chalice").glob("policy-*.json")}
    assert files == {each["iam_policy_file"] for each in CONFIG["lambda_functions"].values()}
    assert CONFIG["stages"].keys() == {"dev", "staging", "prod"}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_a_function_may_do_what_it_does_and_no_more(function: str) -> None:
    allowed = {action for statement in statements(function) for action in statement["Action"]}
    assert allowed == MAY[function] | LOGS


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_no_right_is_without_bounds(function: str) -> None:
    for statement in statements(function):
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in statement["Action"])
        assert '"*"' not in resources(statement) or set(statement["Action"]) <= UNBOUNDED


def may_do(function: str, table: str) -> set[str]:
    """Return what a function may do to a table."""
    arn = json.dumps({"Fn::GetAtt": [table, "Arn"]})
    return {action for each in statements(function) if arn in resources(each) for action in each["Action"]}


@pytest.mark.parametrize("function", sorted(name for name in FUNCTIONS if name.startswith(COUNTING)))
def test_who_counts_may_add_to_the_counters(function: str) -> None:
    assert "dynamodb:UpdateItem" in may_do(function, "QueueMetricsTable")


def test_the_monitor_may_read_the_limits_that_it_tells_of_and_change_none() -> None:
    assert may_do("monitor", "RateLimitsTable") == {"dynamodb:BatchGetItem"}


@pytest.mark.parametrize("function", ["api_handler", "dispatch"])
def test_nothing_but_the_consumers_event_sources_may_be_changed(function: str) -> None:
    [changes] = [each for each in statements(function) if "lambda:UpdateEventSourceMapping" in each["Action"]]
    consumers = {name.title().replace("_", "") for name in FUNCTIONS if name.startswith("consume_")}
    named = changes["Condition"]["ArnEquals"]["lambda:FunctionArn"]
    assert {each["Fn::GetAtt"][0] for each in named} == consumers


@pytest.mark.parametrize("function", sorted(name for name in FUNCTIONS if name.startswith("consume_")))
def test_a_consumer_touches_the_queues_of_its_own_tier_and_the_one_of_notices_alone(function: str) -> None:
    tier = function.split("_")[1].capitalize()
    own = f"{tier}QueueExpress" if function.endswith("express") else f"{tier}Queue"
    queues: dict[str, set[str]] = {}
    for statement in statements(function):
        for action in statement["Action"]:
            if action.startswith("sqs:"):
                queues.setdefault(action, set()).update(resources(statement))
    sends = queues.pop("sqs:SendMessage")
    assert sends == {json.dumps({"Fn::GetAtt": [f"{tier}QueueDlq", "Arn"]}), NOTICES}
    assert all(about == {json.dumps({"Fn::GetAtt": [own, "Arn"]})} for about in queues.values())


def test_the_api_may_verify_stripes_callbacks_and_not_call_stripe() -> None:
    secrets = {
        about.rpartition("/")[2].strip('"}')
        for each in statements("api_handler")
        if "secretsmanager:GetSecretValue" in each["Action"]
        for about in resources(each)
    }
    assert "webhook-stripe-*" in secrets
    assert not any("stripe-key".startswith(name.rstrip("*")) for name in secrets)


def test_only_the_consumers_of_money_may_read_what_mints() -> None:
    readers = {
        function
        for function in FUNCTIONS
        for each in statements(function)
        if any("/solana-*" in about for about in resources(each))
    }
    assert readers == {"consume_money", "consume_money_express"}


@pytest.mark.parametrize("function", ["consume_background", "consume_background_express"])
def test_events_go_on_our_own_bus_alone(function: str) -> None:
    [puts] = [each for each in statements(function) if "events:PutEvents" in each["Action"]]
    assert resources(puts) == [json.dumps({"Fn::GetAtt": ["AnalyticsBus", "Arn"]})]


def test_only_the_cleanup_may_delete_audit_entries_and_reach_the_archive() -> None:
    for function in FUNCTIONS - {"cleanup"}:
        for statement in statements(function):
            about = " ".join(resources(statement))
            assert "ArchiveBucket" not in about
            if "AuditLogTable" in about:
                assert set(statement["Action"]) <= {
                    "dynamodb:PutItem",
                    "dynamodb:Query",
                    "dynamodb:BatchGetItem",
                }


@pytest.mark.parametrize("function", ["monitor", "api_handler"])
def test_alerts_are_published_on_their_own_topic_alone(function: str) -> None:
    [publishes] = [each for each in statements(function) if "sns:Publish" in each["Action"]]
    assert resources(publishes) == [json.dumps({"Ref": "AlertTopic"})]


def test_the_api_may_ask_each_table_and_queue_whether_it_answers() -> None:
    asks = {"dynamodb:BatchGetItem": "AWS::DynamoDB::Table", "sqs:GetQueueAttributes": "AWS::SQS::Queue"}
    for action, kind in asks.items():
        there = {name for name, each in template()["Resources"].items() if each["Type"] == kind}
        asked = {
            about for each in statements("api_handler") if action in each["Action"] for about in resources(each)
        }
        assert asked == {json.dumps({"Fn::GetAtt": [name, "Arn"]}) for name in there}

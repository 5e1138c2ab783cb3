"""The template against the rest of what knows of tables and queues."""

from collections.abc import Mapping
from typing import Any

import pytest
from pynamodb.models import Model

from chalicelib.aws.tables import (
    AlertRecord,
    AuditRecord,
    ControlRecord,
    EndpointRecord,
    JobRecord,
    KeyRecord,
    LimitRecord,
    MetricRecord,
    ScheduleRecord,
)
from local.stack import EXPIRING
from tests.template import template

MODELS: Mapping[str, type[Model]] = {
    "JobsTable": JobRecord,
    "IdempotencyKeysTable": KeyRecord,
    "QueueControlsTable": ControlRecord,
    "AuditLogTable": AuditRecord,
    "RateLimitsTable": LimitRecord,
    "SchedulesTable": ScheduleRecord,
    "QueueMetricsTable": MetricRecord,
    "EndpointsTable": EndpointRecord,
    "AlertHistoryTable": AlertRecord,
}
RESOURCES: dict[str, Any] = template()["Resources"]


def of_kind(kind: str) -> dict[str, Any]:
    return {name: each["Properties"] for name, each in RESOURCES.items() if each["Type"] == kind}


TABLES = of_kind("AWS::DynamoDB::Table")
QUEUES = of_kind("AWS::SQS::Queue")
BUSES = of_kind("AWS::Events::EventBus")
BUCKETS = of_kind("AWS::S3::Bucket")
WORK_QUEUES = [name for name in QUEUES if not name.endswith("Dlq")]


def test_every_table_has_a_model() -> None:
    assert set(TABLES) == set(MODELS)


def keys(schema: list[Any]) -> dict[str, str]:
    return {key["KeyType"]: key["AttributeName"] for key in schema}


@pytest.mark.parametrize("logical", MODELS)
def test_model_and_template_define_the_same_table(logical: str) -> None:
    schema, properties = MODELS[logical]._get_schema(), TABLES[logical]

    assert keys(schema["key_schema"]) == keys(properties["KeySchema"])
    assert {each["AttributeName"]: each["AttributeType"] for each in schema["attribute_definitions"]} == {
        each["AttributeName"]: each["AttributeType"] for each in properties["AttributeDefinitions"]
    }
    assert {
        each["index_name"]: (keys(each["key_schema"]), each["projection"])
        for each in schema["global_secondary_indexes"]
    } == {
        each["IndexName"]: (keys(each["KeySchema"]), each["Projection"])
        for each in properties.get("GlobalSecondaryIndexes", [])
    }


@pytest.mark.parametrize("logical", TABLES)
def test_table_is_on_demand_encrypted_and_recoverable(logical: str) -> None:
    properties = TABLES[logical]

    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert RESOURCES[logical]["DeletionPolicy"].startswith("Retain")


@pytest.mark.parametrize(
    "logical", ["JobsTable", "IdempotencyKeysTable", "AuditLogTable", "SchedulesTable", "EndpointsTable"]
)
def test_table_that_nothing_brings_back_is_protected(logical: str) -> None:
    assert TABLES[logical]["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
    assert template()["Parameters"]["DeletionProtection"]["Default"] == "true"


def test_records_expire_where_the_local_stack_lets_them() -> None:
    expiring = {name for name, properties in TABLES.items() if "TimeToLiveSpecification" in properties}

    assert expiring == set(EXPIRING)
    for name in expiring:
        assert TABLES[name]["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


def test_every_tier_has_a_main_an_express_and_a_dead_letter_queue() -> None:
    names = {
        f"queue-service-${{Stage}}-{tier}-queue{suffix}"
        for tier in ("money", "communication", "background")
        for suffix in ("", "-express", "-dlq")
    }
    assert {properties["QueueName"]["Fn::Sub"] for properties in QUEUES.values()} == names


@pytest.mark.parametrize("logical", WORK_QUEUES)
def test_attempts_live_in_the_record_and_not_in_the_queue(logical: str) -> None:
    dead_letters = logical.removesuffix("Express") + "Dlq"

    assert QUEUES[logical]["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": f"{dead_letters}.Arn"},
        "maxReceiveCount": 1000,
    }
    sources = [source["Fn::Sub"] for source in QUEUES[dead_letters]["RedriveAllowPolicy"]["sourceQueueArns"]]
    assert any(source.endswith(QUEUES[logical]["QueueName"]["Fn::Sub"]) for source in sources)


def test_messages_stay_hidden_for_six_time_outs_of_a_function() -> None:
    default = {name: each.get("Default") for name, each in template()["Parameters"].items()}

    assert default["VisibilityTimeoutSeconds"] == 6 * default["FunctionTimeoutSeconds"]
    for logical in WORK_QUEUES:
        assert QUEUES[logical]["VisibilityTimeout"] == {"Ref": "VisibilityTimeoutSeconds"}


@pytest.mark.parametrize("logical", QUEUES)
def test_queue_is_encrypted_keeps_for_fourteen_days_and_refuses_plain_connections(logical: str) -> None:
    assert QUEUES[logical]["SqsManagedSseEnabled"] is True
    assert QUEUES[logical]["MessageRetentionPeriod"] == 14 * 24 * 3600
    [policy] = of_kind("AWS::SQS::QueuePolicy").values()
    assert {"Ref": logical} in policy["Queues"]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


@pytest.mark.parametrize("logical", BUCKETS)
def test_bucket_is_encrypted_nobody_elses_and_refuses_plain_connections(logical: str) -> None:
    properties = BUCKETS[logical]
    [encryption] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert "VersioningConfiguration" not in properties, "what is erased must be gone"
    assert RESOURCES[logical]["DeletionPolicy"].startswith("Retain")
    [policy] = of_kind("AWS::S3::BucketPolicy").values()
    assert policy["Bucket"] == {"Ref": logical}
    [statement] = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_outputs_name_every_table_and_queue() -> None:
    outputs = template()["Outputs"]
    expected = {name: {"Ref": name} for name in TABLES} | {f"{name}Url": {"Ref": name} for name in QUEUES}
    expected |= {f"{name}Arn": {"Fn::GetAtt": f"{name}.Arn"} for name in (*TABLES, *QUEUES, *BUSES, *BUCKETS)}
    expected |= {name: {"Ref": name} for name in (*BUSES, *BUCKETS, *of_kind("AWS::SNS::Topic"))}
    expected |= {name: {"Ref": name} for name in of_kind("AWS::SES::ConfigurationSet")}

    assert {name: output["Value"] for name, output in outputs.items()} == expected


def test_what_becomes_of_mails_is_published_by_ses_alone_and_signed_by_the_second_version() -> None:
    topic = of_kind("AWS::SNS::Topic")["SesTopic"]
    [policy] = of_kind("AWS::SNS::TopicPolicy").values()
    [statement] = policy["PolicyDocument"]["Statement"]
    [destination] = of_kind("AWS::SES::ConfigurationSetEventDestination").values()
    [subscription] = of_kind("AWS::SNS::Subscription").values()

    assert topic["SignatureVersion"] == "2"
    assert statement["Principal"] == {"Service": "ses.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert destination["ConfigurationSetName"] == {"Ref": "SesConfigurationSet"}
    assert {"bounce", "complaint", "delivery"} <= set(destination["EventDestination"]["MatchingEventTypes"])
    assert subscription["Endpoint"] == {"Fn::Sub": "${PublicBaseUrl}/v1/callbacks/ses"}
    assert RESOURCES["SesSubscription"]["Condition"] == "HasCallbacks"


def test_somebody_is_told_when_the_monitor_does_not_run_or_fails() -> None:
    silent, failing = (of_kind("AWS::CloudWatch::Alarm")[name] for name in ("MonitorSilent", "MonitorFailing"))
    for alarm in (silent, failing):
        assert alarm["AlarmActions"] == [{"Ref": "AlertTopic"}]
        [function] = alarm["Dimensions"]
        assert function["Value"] == {"Fn::Sub": "queue-service-${Stage}-monitor"}
    assert (silent["MetricName"], silent["Statistic"], silent["Period"]) == ("Invocations", "Sum", 300)
    assert (silent["ComparisonOperator"], silent["Threshold"]) == ("LessThanThreshold", 1)
    assert silent["TreatMissingData"] == "breaching"
    assert (failing["MetricName"], failing["Threshold"]) == ("Errors", 3)

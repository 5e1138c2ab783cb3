"""The AWS clients: how long they wait, how often they try, and that nothing connects before it must."""

import pytest

from chalicelib.aws.clients import Clients


@pytest.mark.parametrize(("service", "attempts"), [("dynamodb", 1), ("sqs", 3), ("sesv2", 1), ("secrets", 3)])
def test_client_waits_and_tries_as_its_service_allows(service: str, attempts: int) -> None:
    client = getattr(Clients("eu-central-1"), service)
    config = client.meta.config

    assert (config.connect_timeout, config.read_timeout) == (1.0, 3.0)
    assert config.retries["total_max_attempts"] == attempts
    assert client.meta.region_name == "eu-central-1"
    client.close()


def test_an_impatient_client_calls_once_and_gives_up_soon() -> None:
    patient = Clients("eu-central-1")
    client = patient.impatient(0.5).sqs
    config = client.meta.config

    assert (config.connect_timeout, config.read_timeout) == (0.5, 0.5)
    assert config.retries["total_max_attempts"] == 1
    assert client is not patient.sqs
    client.close()
    patient.sqs.close()


def test_client_is_made_once() -> None:
    clients = Clients("eu-central-1")

    assert clients.sqs is clients.sqs
    clients.sqs.close()


def test_endpoint_and_region_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    clients = Clients()

    assert clients.dynamodb.meta.endpoint_url == "http://127.0.0.1:1"
    assert clients.sqs.meta.endpoint_url == "http://127.0.0.1:2"
    assert clients.sqs.meta.region_name == "eu-west-1"
    clients.dynamodb.close()
    clients.sqs.close()

"""Secrets, on moto in process: one thread, no races."""

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from chalicelib.aws.clients import Clients
from chalicelib.aws.secrets import Secrets
from chalicelib.domain.errors import StoreRefused


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        made = Clients("us-east-1").secrets
        yield made
        made.close()


def test_secret_is_read_once(client: Any) -> None:
    arn = client.create_secret(Name="jwt", SecretString="old")["ARN"]
    secrets = Secrets(client)
    assert secrets.read(arn) == "old"
    client.put_secret_value(SecretId=arn, SecretString="new")

    assert secrets.read(arn) == "old"


def test_rotated_secret_is_known_once_refreshed(client: Any) -> None:
    arn = client.create_secret(Name="jwt", SecretString="old")["ARN"]
    secrets = Secrets(client)
    secrets.read(arn)
    client.put_secret_value(SecretId=arn, SecretString="new")

    assert secrets.refresh(arn) == "new"
    assert secrets.read(arn) == "new"


def test_secret_that_cannot_be_refreshed_stands(client: Any) -> None:
    arn = client.create_secret(Name="jwt", SecretString="old")["ARN"]
    secrets = Secrets(client)
    secrets.read(arn)
    client.delete_secret(SecretId=arn)

    with pytest.raises(StoreRefused):
        secrets.refresh(arn)
    assert secrets.read(arn) == "old"


def test_secret_that_is_not_there_or_not_text_is_refused(client: Any) -> None:
    binary = client.create_secret(Name="binary", SecretBinary=b"x")["ARN"]

    for arn in ("arn:aws:secretsmanager:us-east-1:123456789012:secret:none", binary):
        with pytest.raises(StoreRefused):
            Secrets(client).read(arn)

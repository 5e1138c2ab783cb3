"""The one place where the local stack gets its AWS clients from: localstack-client's session."""

import os
from urllib.parse import urlsplit

from localstack_client.session import Session

REGION = "us-east-1"


def session(endpoint: str) -> Session:
    """Return a session whose clients all talk to this endpoint (http://host:port).

    Credentials are the environment's, else made-up ones, which every emulator takes. As everywhere in
    localstack-client, an AWS_ENDPOINT_URL in the environment wins.
    """
    return Session(
        aws_access_key_id=os.environ.get("AWS_ACCESS_KEY_ID", "local"),
        aws_secret_access_key=os.environ.get("AWS_SECRET_ACCESS_KEY", "local"),
        region_name=os.environ.get("AWS_DEFAULT_REGION", REGION),
        localstack_host=urlsplit(endpoint).netloc,
    )


def environment(endpoint: str) -> dict[str, str]:
    """Return what makes plain boto3, in this process or another, talk to the same endpoint."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION", REGION),
        "AWS_ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", "local"),
        "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", "local"),
    }

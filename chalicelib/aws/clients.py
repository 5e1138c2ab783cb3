"""The AWS clients, each made when first asked for and kept for the container's life."""

from functools import cached_property
from typing import Any

import botocore.session
from botocore.config import Config

from chalicelib.aws.meter import Meter

CONNECT_TIMEOUT = 1.0  # seconds
READ_TIMEOUT = 3.0
POOL = 50  # connections; more threads than that wait for no connection, they open one and drop it


class Clients:
    """One client per service; region and endpoints come from the environment unless given.

    They are botocore's own: boto3's are the same objects, made in half as much time again at a cold start.
    Requests are built here alone, and tested, so botocore does not validate them once more.
    """

    def __init__(
        self, region: str | None = None, *, session: Any = None, patience: float | None = None
    ) -> None:
        self._session = session or botocore.session.get_session()
        self._region = region
        self._patience = patience
        self.meter = Meter()  # of the tables and the queues

    def impatient(self, seconds: float) -> "Clients":
        """Return others, which call once and wait no longer for a connection, nor for an answer."""
        return Clients(self._region, session=self._session, patience=seconds)

    @cached_property
    def dynamodb(self) -> Any:
        """Tables. It never retries by itself: `failures.py` does, where a repetition cannot blur the answer."""
        return self._metered(self._client("dynamodb", attempts=1))

    @cached_property
    def sqs(self) -> Any:
        """Queues. A message sent twice does no harm."""
        return self._metered(self._client("sqs", attempts=3))

    @cached_property
    def sesv2(self) -> Any:
        """Mail. A retry might send it twice, so there is none."""
        return self._client("sesv2", attempts=1)

    @cached_property
    def events(self) -> Any:
        """The bus. An event put twice does no harm, but its job tries again itself, in its own time."""
        return self._client("events", attempts=1)

    @cached_property
    def s3(self) -> Any:
        """The archive. The same object put twice, or deleted twice, does no harm."""
        return self._client("s3", attempts=3)

    @cached_property
    def sns(self) -> Any:
        """The topic of alerts. Whoever publishes tries again a minute later."""
        return self._client("sns", attempts=1)

    @cached_property
    def functions(self) -> Any:
        """Event source mappings. Whoever changes them tries again a minute later."""
        return self._client("lambda", attempts=1)

    @cached_property
    def secrets(self) -> Any:
        """Secrets."""
        return self._client("secretsmanager", attempts=3)

    def _metered(self, client: Any) -> Any:
        self.meter.watch(client)
        return client

    def _client(self, service: str, *, attempts: int) -> Any:
        return self._session.create_client(
            service,
            region_name=self._region,
            config=Config(
                connect_timeout=self._patience or CONNECT_TIMEOUT,
                read_timeout=self._patience or READ_TIMEOUT,
                retries={"total_max_attempts": 1 if self._patience else attempts, "mode": "standard"},
                max_pool_connections=POOL,
                parameter_validation=False,
                tcp_keepalive=True,
            ),
        )

"""Secrets from Secrets Manager, read once per container."""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.domain.errors import StoreRefused


class Secrets:
    """The values of secrets by ARN; `refresh` reads one again after a rotation."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._known: dict[str, str] = {}

    def read(self, arn: str) -> str:
        """Return the value of a secret. Raises StoreRefused when it cannot be read or is not a string."""
        known = self._known.get(arn)
        return self.refresh(arn) if known is None else known

    def refresh(self, arn: str) -> str:
        """Read a secret again and return its value; the one known so far stands if that fails."""
        try:
            value: str = self._client.get_secret_value(SecretId=arn)["SecretString"]
        except (ClientError, BotoCoreError, KeyError) as error:
            raise StoreRefused("A secret could not be read.") from error
        self._known[arn] = value
        return value

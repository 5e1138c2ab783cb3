"""Secrets, told to whoever needs them: of the environment, or kept of Secrets Manager."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from chalicelib.settings.environment import Secret

if TYPE_CHECKING:
    from chalicelib.aws.clients import Clients
    from chalicelib.aws.secrets import Secrets


class Teller:
    """Tells secrets: what the environment says itself, or what is kept of one behind an ARN."""

    def __init__(self, clients: "Clients", building: AbstractContextManager[object]) -> None:
        self._building = building  # a client is made by one thread at a time
        self._clients = clients
        self._kept: Secrets | None = None

    def __call__(self, secret: Secret, anew: bool) -> str:
        """Return a secret, read anew if asked to be; raises StoreRefused when it cannot be read."""
        if secret.arn is None:
            return secret.value or ""
        kept = self._secrets()
        return kept.refresh(secret.arn) if anew else kept.read(secret.arn)

    def _secrets(self) -> "Secrets":
        from chalicelib.aws.secrets import Secrets

        with self._building:
            if self._kept is None:
                self._kept = Secrets(self._clients.secrets)
            return self._kept

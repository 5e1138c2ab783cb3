"""What stands in a provider's place where the settings hold no credentials: it sends nothing and says so."""

from collections.abc import Callable
from typing import Any, NoReturn

from chalicelib.domain.errors import NotSent


class Unconfigured:
    """A client of which every call raises NotSent, whichever provider's port it is used as."""

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def __getattr__(self, operation: str) -> Callable[..., NoReturn]:
        """Return the operation that says what is missing."""

        def refuse(*_: Any, **__: Any) -> NoReturn:
            message = f"{self._provider} is not configured on this stage, so it cannot {operation}."
            raise NotSent("provider_not_configured", message)

        return refuse

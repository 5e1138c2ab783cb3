"""HTTP with patience: what may be repeated is, after the time that the service asks for or a growing one."""

import http.client
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from queue_service.errors import Refused, Unavailable

SURELY_NOT_DONE = frozenset({429})
PERHAPS_NOT_DONE = frozenset({502, 503, 504})
LOST = (OSError, http.client.HTTPException)  # refused, reset, timed out, or cut in the middle

Query = Mapping[str, str | int | None]


@dataclass(frozen=True)
class Patience:
    """How often a request is repeated and how long that may take; pauses double, with jitter, up to `cap`."""

    tries: int = 6
    pause: float = 0.25  # seconds
    cap: float = 10.0
    most: float = 60.0  # the longest pause that the service may ask for
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def before(self, next_try: int, asked: str | None) -> float | None:
        """Return how long to wait before a try, counted from 1; None: no longer."""
        if next_try >= self.tries:
            return None
        if asked is not None and asked.isdigit():
            return float(asked) if int(asked) <= self.most else None
        longest = min(self.pause * 2.0 ** (next_try - 1), self.cap)
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - it spreads callers, it hides nothing


class Transport:
    """Talks JSON to one base URL; the token is asked for anew at each request."""

    def __init__(self, url: str, token: Callable[[], str], *, timeout: float, patience: Patience) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https URL.")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._patience = patience

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Any:
        """Send a request and return the JSON of its answer; `path` is encoded already.

        `repeatable`: doing it twice is doing it once, so that a lost answer is asked for again. Raises Refused
        or Unavailable.
        """
        asked = {name: str(value) for name, value in (query or {}).items() if value is not None}
        target = self._base + path + (f"?{urlencode(asked)}" if asked else "")
        for next_try in range(1, self._patience.tries + 1):
            try:
                status, answered, text = self._once(method, target, body, headers or {})
            except LOST as error:
                why, wait_for, again = f"{type(error).__name__}: {error}", None, repeatable
            else:
                if status < 400:
                    return _json(text) if text else None
                again = status in SURELY_NOT_DONE or (repeatable and status in PERHAPS_NOT_DONE)
                if not again:
                    raise _refusal(status, text)
                why, wait_for = f"{status} {text.decode(errors='replace')[:200]}", answered.get("Retry-After")
            pause = self._patience.before(next_try, wait_for) if again else None
            if pause is None:
                break
            self._patience.sleep(pause)
        raise Unavailable(f"{method} {path} got no answer that holds: {why}")

    def _once(
        self, method: str, target: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        sent = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, target, body=None if body is None else json.dumps(body), headers=sent)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Unavailable("The answer is not JSON: is this the service's URL?") from None


def _refusal(status: int, text: bytes) -> Refused | Unavailable:
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    if status >= 500:
        message = body.get("message", "") if isinstance(body, dict) else ""
        return Unavailable(f"The service answered {status}. {message}".strip())
    return Refused(status, body if isinstance(body, dict) else {})

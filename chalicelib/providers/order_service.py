"""The order service over HTTP: one pool of connections, answers translated at the edge to `domain/errors.py`.

One POST to the service's URL, which knows a repetition by its `Idempotency-Key`. Redirects are not followed,
since the token would go along. Of a refusal only its code is kept: its words may quote names and addresses.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, StoreError, TurnedAway
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Fulfillment

if TYPE_CHECKING:
    import urllib3

CONNECT_SECONDS = 2.0
CALL_SECONDS = 9.0  # connecting included
CALL_TIME = timedelta(seconds=10)  # the longest that a call may take, our own part included
MOST_BYTES = 64 * 1024  # of an answer that are read
MOST_KEPT = 4 * 1024  # of an answer that go on the record
LONGEST_WAIT = timedelta(hours=1)  # whatever Retry-After says
POOL = 10  # connections; a batch has no more jobs

# Ours or the moment's, so the order itself may be sent again; every other 4xx is about the order.
TURNED_AWAY: Mapping[int, str] = {
    401: "provider_not_authenticated",
    403: "provider_not_permitted",
    408: "provider_rate_limited",
    425: "provider_rate_limited",
    429: "provider_rate_limited",
    503: "provider_unavailable",
}
CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
SENTENCES: Mapping[str, str] = {
    "order_refused": "The order service refused the order; see its code.",
    "provider_failed": "The order service failed.",
    "provider_moved": "The order service sends its callers elsewhere.",
    "provider_not_authenticated": "The order service does not take our token.",
    "provider_not_permitted": "Our token may not fulfil orders.",
    "provider_rate_limited": "The order service takes no more requests at the moment.",
    "provider_unavailable": "The order service is not available at the moment.",
}


class OrderService:
    """Implements `providers.Orders`, for any number of threads.

    `token` returns the bearer token, read anew if asked to be. `call_seconds` bounds one call.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[bool], str],
        clock: Clock,
        *,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        import urllib3

        self._url = url
        self._token = token
        self._clock = clock
        self._call_seconds = call_seconds
        self._pool = urllib3.PoolManager(
            maxsize=POOL,
            retries=False,
            timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, call_seconds), total=call_seconds),
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def fulfill(self, order: Fulfillment, *, key: str, deadline: datetime) -> Mapping[str, Any]:
        """Have an order fulfilled and return the service's answer, cut off where it is long."""
        body = {"jobId": order.job_id, "venueId": order.venue_id, **order.data}
        headers = {
            "Authorization": f"Bearer {self._token(False)}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Idempotency-Key": key,
        }
        # Check and call are one step, so that no call starts that cannot end in time.
        if self._clock.now() + CALL_TIME > deadline:
            raise NotSent("no_time_left", "The invocation ends too soon for a call to the order service.")
        status, answered, content = self._post(json.dumps(body).encode(), headers)
        if 200 <= status < 300:
            return _kept(status, content)
        if status == 401:
            self._read_token_anew()
        raise _refused(status, answered, content, self._clock.now())

    def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        import urllib3

        end = time.monotonic() + self._call_seconds
        try:
            response = self._pool.request(
                "POST", self._url, body=body, headers=headers, redirect=False, preload_content=False
            )
            try:
                content = _read(response, end)
            finally:
                # A connection on which some of the answer is left is of no more use.
                response.close() if response.length_remaining else response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise _broken(error) from error
        return response.status, response.headers, content

    def _read_token_anew(self) -> None:
        try:
            self._token(True)
        except StoreError:
            return  # the next attempt shows what becomes of the old one


def _read(response: "urllib3.BaseHTTPResponse", end: float) -> bytes:
    """Read an answer up to its bound, in what time is left of the call."""
    import urllib3

    content = b""
    while len(content) < MOST_BYTES:
        if time.monotonic() > end:
            raise urllib3.exceptions.ReadTimeoutError(None, "", "The answer took too long.")  # type: ignore[arg-type] # no pool is at hand, and none is asked for
        chunk = response.read1(8192)
        if not chunk:
            break
        content += chunk
    return content


def _kept(status: int, content: bytes) -> Mapping[str, Any]:
    """Return what the record keeps of an answer: all of a short JSON object, of others the status."""
    answer = _parsed(content) if len(content) <= MOST_KEPT else {}
    return {"status": status, **({"answer": answer} if answer else {})}


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _refused(status: int, headers: Mapping[str, str], content: bytes, now: datetime) -> ProviderError:
    """Translate an answer that is no success."""
    reference = headers.get("X-Request-Id")
    if status in TURNED_AWAY:
        reason = TURNED_AWAY[status]
        after = _retry_after(headers.get("Retry-After"), now)
        return TurnedAway(reason, SENTENCES[reason], reference=reference, after=after)
    if 300 <= status < 400:
        return TurnedAway("provider_moved", SENTENCES["provider_moved"], reference=reference)
    if 400 <= status < 500:
        code = _parsed(content).get("code")
        reason = code if isinstance(code, str) and CODE.fullmatch(code) else "order_refused"
        return Declined(reason, SENTENCES["order_refused"], reference=reference)
    return Ambiguous("provider_failed", SENTENCES["provider_failed"], reference=reference)


def _retry_after(text: str | None, now: datetime) -> timedelta | None:
    """Return how long the service wants to be left alone, within bounds; None if it does not say."""
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=min(int(text[:9]), 10**6)), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(until - now, timedelta(0)), LONGEST_WAIT)


def _broken(error: Exception) -> ProviderError:
    """Translate a call without an answer: NotSent only where the connection never came about."""
    from urllib3 import exceptions

    if isinstance(error, exceptions.NewConnectionError | exceptions.ConnectTimeoutError):
        return NotSent("connection_failed", "The order service could not be reached.")
    if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return NotSent("certificate_refused", "The order service's certificate does not hold.")
    if isinstance(error, exceptions.TimeoutError):
        return Ambiguous("provider_timeout", "The order service did not answer in time.")
    return Ambiguous("connection_broken", "The connection to the order service broke before it answered.")

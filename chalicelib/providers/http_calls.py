"""Calls over HTTP to a vendor without an SDK: one pool of connections, and what a call without an answer means.

Redirects are not followed, since credentials would go along, and nothing is repeated.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from chalicelib.domain.errors import Ambiguous, NotSent, ProviderError, StoreError
from chalicelib.domain.ports import Clock
from chalicelib.providers.cut_off import cut_off

if TYPE_CHECKING:
    import urllib3

CONNECT_SECONDS = 2.0
CALL_SECONDS = 9.0  # connecting included
CALL_TIME = timedelta(seconds=10)  # the longest that a call may take, our own part included
MOST_BYTES = 64 * 1024  # of an answer that are read
LONGEST_WAIT = timedelta(hours=1)  # whatever Retry-After says
POOL = 10  # connections; a batch has no more jobs
# A container that was frozen does not hear of connections that were closed meanwhile, and a request on one of
# them is lost in a way that nobody can tell from one that arrived: so none is used again after a while.
IDLE_FOR = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a vendor answered, cut off at MOST_BYTES."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether the vendor did as asked."""
        return 200 <= self.status < 300

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object of the answer; empty if it is none."""
        try:
            answer = json.loads(self.content)
        except (ValueError, RecursionError):
            return {}
        return answer if isinstance(answer, dict) else {}

    def retry_after(self, now: datetime) -> timedelta | None:
        """Return how long the vendor wants to be left alone, within bounds; None if it does not say."""
        text = self.headers.get("Retry-After")
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


class Line:
    """The way to one vendor, for any number of threads; `vendor` is what our sentences call it.

    `call_seconds` bounds one call; none starts that has less than `call_time` until the deadline.
    """

    def __init__(
        self,
        vendor: str,
        clock: Clock,
        *,
        call_seconds: float = CALL_SECONDS,
        call_time: timedelta = CALL_TIME,
    ) -> None:
        import urllib3

        from chalicelib.providers.bounded_pools import bound

        self._vendor = vendor
        self._clock = clock
        self._call_seconds = call_seconds
        self._call_time = call_time
        self._used_at = clock.now()
        self._pool = urllib3.PoolManager(
            maxsize=POOL,
            retries=False,
            timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, call_seconds), total=call_seconds),
        )
        bound(self._pool)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline: datetime) -> Reply:
        """Send a body and return the answer, whatever it says; raises NotSent or Ambiguous."""
        return self._call("POST", url, body, headers, deadline)

    def get(self, url: str, *, deadline: datetime) -> Reply:
        """Read a URL and return the answer; raises as `post` does."""
        return self._call("GET", url, None, {}, deadline)

    def _call(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: datetime
    ) -> Reply:
        import urllib3

        # Check and call are one step, so that no call starts that cannot end in time.
        now = self._clock.now()
        if now + self._call_time > deadline:
            raise NotSent("no_time_left", f"The invocation ends too soon for a call to {self._vendor}.")
        if now - self._used_at > IDLE_FOR:
            self._pool.clear()
        self._used_at = now
        with cut_off(time.monotonic() + self._call_seconds) as cut:
            try:
                response = self._pool.request(
                    method, url, body=body, headers=headers, redirect=False, preload_content=False
                )
                content = _read(response)
            except urllib3.exceptions.HTTPError as error:
                raise _broken(error, self._vendor, late=cut.over) from error
        if cut.over:  # an answer that was cut off may read as if it had ended
            raise _late(self._vendor)
        return Reply(response.status, response.headers, content)


def read_anew(token: Callable[[bool], str]) -> None:
    """Have a token that was not taken read anew, for the next attempt; a failure changes nothing."""
    try:
        token(True)
    except StoreError:
        return  # the next attempt shows what becomes of the old one


def _read(response: "urllib3.BaseHTTPResponse") -> bytes:
    """Read an answer up to its bound, and give its connection back if nothing of the answer is left on it."""
    content = b""
    try:
        content = response.read(MOST_BYTES)
    finally:
        whole = len(content) < MOST_BYTES and not response.length_remaining
        response.release_conn() if whole else response.close()
    return content


def _broken(error: Exception, vendor: str, *, late: bool) -> ProviderError:
    """Translate a call without an answer: NotSent only where the connection never came about."""
    from urllib3 import exceptions

    if isinstance(error, exceptions.NewConnectionError | exceptions.ConnectTimeoutError):
        return NotSent("connection_failed", f"No connection to {vendor} came about.")
    if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return NotSent("certificate_refused", f"The certificate of {vendor} does not hold.")
    if late or isinstance(error, exceptions.TimeoutError):
        return _late(vendor)
    return Ambiguous("connection_broken", f"The connection to {vendor} broke before it answered.")


def _late(vendor: str) -> ProviderError:
    return Ambiguous("provider_timeout", f"The answer of {vendor} did not come in time.")

"""The order service over HTTP, its answers translated at the edge to `domain/errors.py`.

One POST to the service's URL, which knows a repetition by its `Idempotency-Key`. Of a refusal only its code is
kept: its words may quote names and addresses.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from chalicelib.domain.errors import Ambiguous, Declined, ProviderError, TurnedAway
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Fulfillment
from chalicelib.providers.http_calls import CALL_SECONDS, Line, Reply, read_anew

MOST_KEPT = 4 * 1024  # of an answer that go on the record

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
        self._url = url
        self._token = token
        self._clock = clock
        self._line = Line("the order service", clock, call_seconds=call_seconds)

    def close(self) -> None:
        """Close the connections."""
        self._line.close()

    def fulfill(self, order: Fulfillment, *, key: str, deadline: datetime) -> Mapping[str, Any]:
        """Have an order fulfilled and return the service's answer, cut off where it is long."""
        body = {"jobId": order.job_id, "venueId": order.venue_id, **order.data}
        headers = {
            "Authorization": f"Bearer {self._token(False)}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Idempotency-Key": key,
        }
        reply = self._line.post(self._url, json.dumps(body).encode(), headers, deadline=deadline)
        if reply.ok:
            return _kept(reply)
        if reply.status == 401:
            read_anew(self._token)
        raise _refused(reply, self._clock.now())


def _kept(reply: Reply) -> Mapping[str, Any]:
    """Return what the record keeps of an answer: all of a short JSON object, of others the status."""
    answer = reply.document if len(reply.content) <= MOST_KEPT else {}
    return {"status": reply.status, **({"answer": answer} if answer else {})}


def _refused(reply: Reply, now: datetime) -> ProviderError:
    """Translate an answer that is no success."""
    reference = reply.headers.get("X-Request-Id")
    if reply.status in TURNED_AWAY:
        reason = TURNED_AWAY[reply.status]
        return TurnedAway(reason, SENTENCES[reason], reference=reference, after=reply.retry_after(now))
    if 300 <= reply.status < 400:
        return TurnedAway("provider_moved", SENTENCES["provider_moved"], reference=reference)
    if 400 <= reply.status < 500:
        code = reply.document.get("code")
        reason = code if isinstance(code, str) and CODE.fullmatch(code) else "order_refused"
        return Declined(reason, SENTENCES["order_refused"], reference=reference)
    return Ambiguous("provider_failed", SENTENCES["provider_failed"], reference=reference)

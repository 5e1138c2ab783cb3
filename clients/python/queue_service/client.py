"""The service as an object: one method per thing that a caller does."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from queue_service.errors import StillRunning
from queue_service.models import Job, Receipt
from queue_service.transport import Patience, Query, Transport

MOST = 100  # jobs of a page


class Client:
    """A caller of queue-service.

    `token` is a bearer token, or a function that returns a fresh one. What is safe to repeat (reading; and
    submitting, for it goes by a key) is repeated when an answer is lost, or is 429, 502, 503 or 504.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        timeout: timedelta = timedelta(seconds=35),  # a little above what API Gateway waits
        patience: Patience | None = None,
    ) -> None:
        fresh: Callable[[], str] = (lambda: token) if isinstance(token, str) else token
        self._patience = patience or Patience()
        self._transport = Transport(url, fresh, timeout=timeout.total_seconds(), patience=self._patience)

    def submit(
        self,
        job_type: str,
        data: Mapping[str, Any],
        *,
        key: str | None = None,
        priority: int | None = None,
        delay: timedelta | None = None,
        attempts: int | None = None,
        venue_id: str | None = None,
        user_id: str | None = None,
        callback_url: str | None = None,
        callback_endpoint_id: str | None = None,
    ) -> Receipt:
        """Submit a job, as often as it takes to get an answer: by its key it is one job all the same.

        Without a `key` the job type's natural one does that: the same work twice is then one job. Give a key
        where the same work may be wanted twice, and keep it until there is an answer.
        """
        options = _present(
            priority=priority,
            delay=None if delay is None else delay // timedelta(milliseconds=1),
            attempts=attempts,
        )
        behalf = _present(venueId=venue_id, userId=user_id)
        body = {"type": job_type, "data": dict(data)}
        body |= _present(
            options=options or None,
            onBehalfOf=behalf or None,
            callbackUrl=callback_url,
            callbackEndpointId=callback_endpoint_id,
        )
        headers = {"Idempotency-Key": key} if key is not None else {}
        return Receipt.of(self._transport.call("POST", "/v1/jobs", body=body, headers=headers, repeatable=True))

    def get(self, job_id: str) -> Job:
        """Return a job. Raises Refused (404): unknown, or somebody else's."""
        return Job.of(self._transport.call("GET", _job(job_id), repeatable=True))

    def list(
        self,
        *,
        queue: str | None = None,
        state: str | None = None,
        job_type: str | None = None,
        venue_id: str | None = None,
        batch_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        fingerprint: str | None = None,
        key: str | None = None,
    ) -> Iterator[Job]:
        """Give the jobs that a caller may see, the latest accepted first, page after page when asked for.

        `since` and `until` are aware moments of acceptance. Lists leave data and history out: see `get`. Raises
        Refused (400) where nothing answers such a question at once: name a venue, or a state.
        """
        query: Query = {
            "queue": queue,
            "state": state,
            "type": job_type,
            "venueId": venue_id,
            "batchId": batch_id,
            "from": None if since is None else since.isoformat(timespec="milliseconds"),
            "to": None if until is None else until.isoformat(timespec="milliseconds"),
            "fingerprint": fingerprint,
            "key": key,
            "limit": MOST,
        }
        return map(Job.of, self.pages("/v1/jobs", "jobs", query=query))

    def wait(self, job_id: str, *, timeout: timedelta = timedelta(minutes=5)) -> Job:
        """Return a job once it is at rest, whatever came of it: see `state`. Raises StillRunning."""
        ends, pause = time.monotonic() + timeout.total_seconds(), 0.2
        while True:
            job = self.get(job_id)
            if job.at_rest:
                return job
            if time.monotonic() + pause > ends:
                raise StillRunning(f"Job {job_id} is {job.state}; it goes on.")
            self._patience.sleep(pause)
            pause = min(pause * 1.5, 5.0)

    def cancel(self, job_id: str, *, reason: str | None = None) -> Mapping[str, Any]:
        """Cancel a job that waits. Raises Refused (409) where something may have happened.

        Like the other actions it is not asked for again when its answer is lost: read the job then.
        """
        return self._steer("DELETE", _job(job_id), reason=reason)

    def retry(self, job_id: str, *, reason: str | None = None) -> Mapping[str, Any]:
        """Let a failed or cancelled job start anew."""
        return self._steer("POST", f"{_job(job_id)}/retry", reason=reason)

    def promote(self, job_id: str, *, reason: str | None = None) -> Mapping[str, Any]:
        """Let a waiting job run now."""
        return self._steer("POST", f"{_job(job_id)}/promote", reason=reason)

    def resolve(self, job_id: str, resolution: str, *, reason: str) -> Mapping[str, Any]:
        """End the doubt about a parked job: `completed`, or, where nothing happened, `failed` or `retry`."""
        return self._steer("POST", f"{_job(job_id)}/resolve", reason=reason, resolution=resolution)

    def clone(
        self,
        job_id: str,
        *,
        data: Mapping[str, Any] | None = None,
        key: str | None = None,
        reason: str | None = None,
    ) -> Mapping[str, Any]:
        """Make a new job of this one's payload, in which `data` replaces whole keys.

        With a `key` it is asked for until there is an answer, and is one job; without, each call makes one.
        """
        cloned: Mapping[str, Any] = self._transport.call(
            "POST",
            f"{_job(job_id)}/clone",
            body=_present(data=None if data is None else dict(data), reason=reason),
            headers={"Idempotency-Key": key} if key is not None else {},
            repeatable=key is not None,
        )
        return cloned

    def _steer(self, method: str, path: str, **body: str | None) -> Mapping[str, Any]:
        done: Mapping[str, Any] = self._transport.call(method, path, body=_present(**body))
        return done

    def call(
        self, method: str, path: str, *, query: Query | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        """Ask for anything else that the API describes, by its encoded path; return the JSON of the answer.

        Reads are repeated like all reads; of all else only what was surely not done.
        """
        return self._transport.call(method, path, query=query, body=body, repeatable=method == "GET")

    def pages(self, path: str, items: str, *, query: Query | None = None) -> Iterator[Mapping[str, Any]]:
        """Give every item of a list, page after page; `items` is the key that a page holds them under."""
        cursor: str | None = None
        while True:
            page = self.call("GET", path, query={**(query or {}), "cursor": cursor})
            yield from page[items]
            cursor = page.get("cursor")
            if cursor is None:
                return


def _job(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}

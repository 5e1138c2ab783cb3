"""The clock, the chance and the crew of a real machine."""

import os
import random
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from chalicelib.domain.ids import JOB, RANDOM_BITS, ulid
from chalicelib.domain.job import ClaimId, JobId
from chalicelib.domain.ports import Clock

T = TypeVar("T")
R = TypeVar("R")


def signing_secret() -> str:
    """Return a secret of Standard Webhooks that nobody has: 192 bits of the operating system's chance."""
    return f"whsec_{b64encode(os.urandom(24)).decode()}"


class SystemClock:
    """The machine's own clock, cut to whole milliseconds."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        moment = datetime.now(UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class SystemChance:
    """The operating system's randomness; identities are ULIDs, which sort by the millisecond they are of."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def fraction(self) -> float:
        """Return a number uniform in [0, 1)."""
        return random.random()  # noqa: S311 - it spreads retries and holds; nothing secret depends on it

    def job_id(self) -> JobId:
        """Return an identity no job has, such as job_01KB3Y5W8M0000000000000000."""
        return JobId(JOB + self._ulid())

    def claim_id(self) -> ClaimId:
        """Return an identity no claim has."""
        return ClaimId(self._ulid())

    def entry_id(self) -> str:
        """Return an identity no audit entry has; later ones sort after earlier ones, to the millisecond."""
        return self._ulid()

    def _ulid(self) -> str:
        return ulid(self._clock.now(), int.from_bytes(os.urandom(RANDOM_BITS // 8), "big"))


class ThreadCrew:
    """Runs the tasks of a batch in threads and joins them all before it returns."""

    def run_all(self, task: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Run `task` on every item and return the results in order; an exception is raised at the end."""
        if len(items) == 1:
            return [task(items[0])]
        results: dict[int, R] = {}
        errors: dict[int, BaseException] = {}

        def run(index: int) -> None:
            try:
                results[index] = task(items[index])
            except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
                errors[index] = error

        threads = [threading.Thread(target=run, args=(index,)) for index in range(len(items))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[min(errors)]
        return [results[index] for index in range(len(items))]
